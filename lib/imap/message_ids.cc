// Message IDs in the one form that can be compared.
#include "lib/imap/message_ids.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::imap {

namespace {

constexpr std::size_t npos = std::string_view::npos;

// At "<": the size up to and with the ">" that ends it, and the form to compare in `scratch` or `id`; 0: none ends in
// time.
std::size_t read_id(std::string_view in, std::string_view& id, std::string& scratch)
{
    in = in.substr(0, longest_message_id);
    const std::size_t special = in.find_first_of("<>\"\\ \t\r\n", 1);
    if (special == npos) return 0;
    if (in[special] == '>') { // nothing to undo: nearly all are like that
        id = in.substr(1, special - 1);
        return special + 1;
    }
    scratch.clear();
    bool quoted = false;
    for (std::size_t i = 1; i < in.size(); ++i) {
        const char c = in[i];
        if (c == '\\' && i + 1 < in.size()) {
            scratch += in[++i];
        } else if (c == '"') {
            quoted = !quoted;
        } else if (c == '>' && !quoted) {
            id = scratch;
            return i + 1;
        } else if (c == '<' && !quoted) {
            return 0;
        } else if (quoted ? c != '\r' && c != '\n' : !is_space(c)) {
            scratch += c;
        }
    }
    return 0;
}

} // namespace

bool next_message_id(std::string_view& rest, std::string_view& id, std::string& scratch)
{
    for (;;) {
        rest.remove_prefix(std::min(rest.find('<'), rest.size()));
        if (rest.empty()) return false;
        const std::size_t size = read_id(rest, id, scratch);
        rest.remove_prefix(std::max<std::size_t>(size, 1));
        const std::size_t at = size ? id.rfind('@') : npos;
        if (at != npos && at > 0 && at + 1 < id.size()) return true;
    }
}

} // namespace veredus::imap

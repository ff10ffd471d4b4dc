// ENVELOPE and BODYSTRUCTURE of any bytes: always one balanced list of strings, numbers and NIL, the same however it is cut.
#include <cstdint>
#include <cstdlib>

#include "lib/base/text.h"
#include "lib/mail/structure.h"

using namespace veredus;

namespace {
// Takes one item at `at`; aborts when there is none.
void take(std::string_view s, std::size_t& at, int depth)
{
    if (at >= s.size() || depth > 400) std::abort();
    if (s[at] == '(') {
        ++at;
        while (at < s.size() && s[at] != ')') {
            take(s, at, depth + 1);
            if (at < s.size() && s[at] == ' ') ++at;
        }
        if (at++ >= s.size()) std::abort();
    } else if (s[at] == '"') {
        for (++at; at < s.size() && s[at] != '"'; ++at) {
            if (s[at] == '\\') ++at;
            else if (s[at] == '\r' || s[at] == '\n' || s[at] == '\0') std::abort();
        }
        if (at++ >= s.size()) std::abort();
    } else if (s[at] == '{') {
        const auto end = s.find("}\r\n", at);
        if (end == std::string_view::npos) std::abort();
        const auto size = parse_number<std::size_t>(s.substr(at + 1, end - at - 1));
        if (!size || s.size() - end - 3 < *size || s.substr(end + 3, *size).find('\0') != std::string_view::npos) std::abort();
        at = end + 3 + *size;
    } else if (s.substr(at).starts_with("NIL")) {
        at += 3;
    } else {
        const std::size_t start = at;
        while (at < s.size() && is_digit(s[at])) ++at;
        if (at == start) std::abort();
    }
}

std::string one_list(std::string text)
{
    std::size_t at = 0;
    if (!text.starts_with('(')) std::abort();
    take(text, at, 0);
    if (at != text.size()) std::abort();
    return text;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    mail::StructureMaker whole, trickled;
    whole.feed(in);
    whole.finish();
    for (const char& c : in) trickled.feed({&c, 1});
    trickled.finish();
    const std::string structure = one_list(whole.body_structure());
    if (structure != trickled.body_structure() || one_list(whole.envelope()) != trickled.envelope()) std::abort();
    (void)one_list(whole.body());
    std::size_t at = 0;
    const std::string list = mail::imap_addresses(in);
    take(list, at, 0);
    if (at != list.size()) std::abort();
    return 0;
}

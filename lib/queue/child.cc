#include "lib/queue/child.h"

#include <algorithm>
#include <string_view>

#include "lib/base/text.h"

namespace veredus::queue {

namespace {

bool is_control(char c) { return static_cast<unsigned char>(c) < 32 || c == 127; }
bool has_control(std::string_view text) { return std::any_of(text.begin(), text.end(), is_control); }

}  // namespace

std::string why_unfit(const Child& child)
{
    using Kind = Child::Kind;
    if (child.kind > Kind::file) return "neither an address nor a mailbox, a command or a file";
    const bool command = child.kind == Kind::command, file = child.kind == Kind::file;
    const char* const what = command ? "a command" : file ? "a file name" : "an address";
    const std::size_t most = command || file ? max_child_text : max_child_address;
    if (child.text.empty()) return cat(what, " that is empty");
    if (child.text.size() > most) return cat(what, " of ", child.text.size(), " bytes: at most ", most, " are taken");
    const auto bad = [&](char c) { return is_control(c) && !(command && c == '\t'); };
    if (std::any_of(child.text.begin(), child.text.end(), bad)) return cat(what, " with a control character in it");
    if (child.run_as.size() > max_child_run_as || has_control(child.run_as)) return cat(what, " whose user has a name that is too long or has control characters");
    if (child.sender.size() > max_child_address || has_control(child.sender)) return cat(what, " whose owner has an address that is too long or has control characters");
    return {};
}

}  // namespace veredus::queue

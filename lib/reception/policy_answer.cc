// Line by line, with the one line that counts.
#include "lib/reception/policy_answer.h"

#include <utility>

#include "lib/base/text.h"

namespace veredus::reception {

namespace {
constexpr std::size_t max_answer = 8192;
} // namespace

PolicyAnswer::State PolicyAnswer::feed(std::string_view bytes)
{
    seen_ += bytes.size();
    if (seen_ > max_answer || bytes.find('\0') != std::string_view::npos) return State::garbage;
    while (!bytes.empty()) {
        const std::size_t end = bytes.find('\n');
        partial_.append(bytes.substr(0, end));
        if (end == std::string_view::npos) return State::more;
        bytes.remove_prefix(end + 1);
        const std::string whole = std::exchange(partial_, {});
        const State state = line(whole);
        if (state == State::complete && !bytes.empty()) return State::garbage;
        if (state != State::more) return state;
    }
    return State::more;
}

PolicyAnswer::State PolicyAnswer::line(std::string_view text)
{
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (text.empty()) return has_action_ ? State::complete : State::garbage;
    const auto [name, value] = cut(text, '=');
    if (!value) return State::garbage;
    if (name == "action" && !has_action_) {
        action_ = trim(*value);
        has_action_ = !action_.empty();
    }
    return State::more;
}

} // namespace veredus::reception

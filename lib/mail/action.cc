// The right-hand side of access(5) tables and of header and body checks.
#include "lib/mail/action.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::mail {

namespace {

struct Row {
    std::string_view word;
    Verb verb;
    bool has_status;         // an enhanced status may lead its text
};
constexpr Row rows[] = {
    {"OK", Verb::ok, false}, {"RELAY", Verb::ok, false}, {"DUNNO", Verb::dunno, false}, {"REJECT", Verb::reject, true}, {"DEFER", Verb::defer, true},
    {"DEFER_IF_PERMIT", Verb::defer_if_permit, true}, {"DEFER_IF_REJECT", Verb::defer_if_reject, true}, {"HOLD", Verb::hold, false},
    {"DISCARD", Verb::discard, false}, {"PREPEND", Verb::prepend, false}, {"REDIRECT", Verb::redirect, false}, {"BCC", Verb::bcc, false},
    {"WARN", Verb::warn, false}, {"INFO", Verb::info, false}, {"FILTER", Verb::filter, false}, {"IGNORE", Verb::ignore, false},
    {"STRIP", Verb::strip, false}, {"REPLACE", Verb::replace, false},
};

bool all_digits(std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), is_digit); }

std::pair<std::string_view, std::string_view> first_word(std::string_view text)
{
    const auto end = std::find_if(text.begin(), text.end(), is_space);
    const auto size = static_cast<std::size_t>(end - text.begin());
    return {text.substr(0, size), trim(text.substr(size))};
}

void take_text(Action& action, std::string_view rest, bool has_status)
{
    if (const auto [word, after] = first_word(rest); has_status && is_enhanced_status(word)) {
        action.enhanced = word;
        rest = after;
    }
    action.text = rest;
}

}  // namespace

bool is_enhanced_status(std::string_view word)
{
    const auto parts = split_on(word, '.');
    if (parts.size() != 3 || (parts[0] != "2" && parts[0] != "4" && parts[0] != "5")) return false;
    return std::all_of(parts.begin() + 1, parts.end(), [](std::string_view part) { return part.size() <= 3 && all_digits(part); });
}

std::string status_for(int code, std::string_view enhanced)
{
    std::string out(enhanced);
    if (!out.empty()) out[0] = static_cast<char>('0' + code / 100);
    return out;
}

std::string_view verb_name(Verb verb)
{
    const auto row = std::find_if(std::begin(rows), std::end(rows), [verb](const Row& r) { return r.verb == verb; });
    return row == std::end(rows) ? std::string_view() : row->word;
}

std::optional<Action> parse_action(std::string_view text)
{
    const auto [word, rest] = first_word(trim(text));
    Action action;
    if (all_digits(word)) {
        // access(5): "550 text" is a reply, a number with nothing behind it is what address-to-number tables answer: OK.
        if (word.size() == 3 && (word[0] == '4' || word[0] == '5')) {
            action.verb = word[0] == '4' ? Verb::defer : Verb::reject;
            action.code = parse_number<int>(word).value_or(0);
            take_text(action, rest, true);
            return action;
        }
        if (!rest.empty()) return std::nullopt;
        action.verb = Verb::ok;
        return action;
    }
    for (const Row& row : rows) {
        if (!iequals(row.word, word)) continue;
        action.verb = row.verb;
        take_text(action, rest, row.has_status);
        return action;
    }
    return std::nullopt;
}

}  // namespace veredus::mail

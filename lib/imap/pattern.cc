// LIST's wildcards.
#include "lib/imap/pattern.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::imap {

std::string collapse_pattern(std::string_view pattern)
{
    std::string out;
    for (const char c : pattern) {
        const bool wild = c == '*' || c == '%';
        if (wild && !out.empty() && (out.back() == '*' || out.back() == '%')) {
            if (c == '*') out.back() = '*';
        } else {
            out += c;
        }
    }
    return out;
}

// All places of the pattern that the name so far may have led to, side by side: no pattern makes it go back.
bool list_matches(std::string_view pattern, std::string_view name, char separator)
{
    const auto is_wild = [](char c) { return c == '*' || c == '%'; };
    const auto literals =
        pattern.size() - static_cast<std::size_t>(std::count_if(pattern.begin(), pattern.end(), is_wild));
    if (literals > name.size()) return false;
    std::vector<char> at(pattern.size() + 1), next(pattern.size() + 1);
    const auto reach = [&](std::vector<char>& places, std::size_t i) {
        for (; !places[i]; ++i) {
            places[i] = 1;
            if (i == pattern.size() || !is_wild(pattern[i])) return;
        }
    };
    reach(at, 0);
    for (const char c : name) {
        std::fill(next.begin(), next.end(), 0);
        for (std::size_t i = 0; i < pattern.size(); ++i) {
            if (!at[i]) continue;
            if (pattern[i] == '*' || (pattern[i] == '%' && c != separator))
                reach(next, i);
            else if (pattern[i] == c && pattern[i] != '%')
                reach(next, i + 1);
        }
        at.swap(next);
    }
    return at[pattern.size()];
}

bool hides_children(const std::vector<std::string>& patterns)
{
    return std::any_of(patterns.begin(), patterns.end(), [](const auto& p) { return p.ends_with('%'); });
}

bool is_special_use(std::string_view use)
{
    static constexpr std::string_view known[] = {"\\All",       "\\Archive", "\\Drafts", "\\Flagged",
                                                 "\\Important", "\\Junk",    "\\Sent",   "\\Trash"};
    return std::any_of(std::begin(known), std::end(known), [&](std::string_view k) { return iequals(k, use); });
}

} // namespace veredus::imap

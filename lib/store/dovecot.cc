// Dovecot's text files.
#include "lib/store/dovecot.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/store/maildir_flags.h"

namespace veredus::store {

namespace {

constexpr std::size_t max_keyword_letters = 26;
constexpr std::size_t max_subscriptions = 100'000;

// "1 UIDVALIDITY NEXT" or "3 V1275660208 N22 G..." in any order.
bool parse_header(std::string_view line, DovecotUidlist& list)
{
    const auto words = split(line, " ");
    if (words.size() >= 3 && words[0] == "1") {
        list.uidvalidity = parse_number<uint32_t>(words[1]).value_or(0);
        list.uidnext = parse_number<uint32_t>(words[2]).value_or(0);
    } else if (!words.empty() && words[0] == "3") {
        for (const auto word : words) {
            if (word.starts_with('V')) list.uidvalidity = parse_number<uint32_t>(word.substr(1)).value_or(0);
            if (word.starts_with('N')) list.uidnext = parse_number<uint32_t>(word.substr(1)).value_or(0);
        }
    }
    return list.uidvalidity != 0 && list.uidnext != 0;
}

// Version 1: "UID NAME"; version 3: "UID X... Y... :NAME".
std::optional<DovecotUidlist::Entry> parse_entry(std::string_view line, bool extended)
{
    const auto [number, rest] = cut(line, ' ');
    const auto uid = parse_number<uint32_t>(number, UINT32_MAX - 1);
    if (!uid || *uid == 0 || !rest) return std::nullopt;
    std::string_view name = *rest;
    std::string uidl, guid;
    if (extended) {
        std::size_t colon = name.starts_with(':') ? 0 : name.find(" :");
        if (colon == std::string_view::npos) return std::nullopt;
        for (const auto field : split(name.substr(0, colon), " ")) {
            if (field.starts_with('P')) uidl = field.substr(1);
            if (field.starts_with('G')) guid = field.substr(1);
        }
        name.remove_prefix(colon + (name.starts_with(':') ? 1 : 2));
    }
    name = maildir_base(name);
    if (name.empty() || name.size() > 255 || name.find('/') != std::string_view::npos || name.starts_with('.')) return std::nullopt;
    return DovecotUidlist::Entry{*uid, std::string(name), std::move(uidl), std::move(guid)};
}

}  // namespace

std::optional<DovecotUidlist> parse_dovecot_uidlist(std::string_view text)
{
    DovecotUidlist list;
    const auto first = text.find('\n');
    if (first == std::string_view::npos || !parse_header(text.substr(0, first), list)) return std::nullopt;
    const bool extended = text.starts_with('3');
    text.remove_prefix(first + 1);
    while (!text.empty()) {
        const auto end = text.find('\n');
        if (end == std::string_view::npos) break;              // being written, or torn
        if (auto entry = parse_entry(text.substr(0, end), extended)) list.entries.push_back(std::move(*entry));
        text.remove_prefix(end + 1);
    }
    // Sessions of Dovecot append: the same UID may stand there twice, the last line rules.
    std::stable_sort(list.entries.begin(), list.entries.end(), [](const auto& a, const auto& b) { return a.uid < b.uid; });
    std::vector<DovecotUidlist::Entry> once;
    for (auto& entry : list.entries) {
        if (!once.empty() && once.back().uid == entry.uid) once.back() = std::move(entry);
        else once.push_back(std::move(entry));
    }
    list.entries = std::move(once);
    if (!list.entries.empty()) list.uidnext = std::max(list.uidnext, list.entries.back().uid + 1);
    return list;
}

std::vector<std::string> parse_dovecot_keywords(std::string_view text)
{
    std::vector<std::string> out;
    for (const auto line : split(text, "\r\n")) {
        const auto [number, word] = cut(line, ' ');
        const auto index = parse_number<std::size_t>(number, max_keyword_letters - 1);
        if (!index || !word || word->empty() || word->size() > 255) continue;
        if (out.size() <= *index) out.resize(*index + 1);
        out[*index] = *word;
    }
    return out;
}

std::string write_dovecot_keywords(const std::vector<std::string>& keywords)
{
    std::string out;
    for (std::size_t i = 0; i < keywords.size() && i < max_keyword_letters; ++i)
        if (!keywords[i].empty()) append(out, i, ' ', keywords[i], '\n');
    return out;
}

std::vector<std::string> parse_subscriptions(std::string_view text, char separator)
{
    const bool second = text.starts_with("V\t2\n");
    if (second) text.remove_prefix(4);
    std::vector<std::string> out;
    for (const auto line : split(text, "\r\n")) {
        if (line.empty() || line.size() > 1000 || out.size() >= max_subscriptions) continue;
        std::string name(line);
        if (second) std::replace(name.begin(), name.end(), '\t', separator);
        out.push_back(std::move(name));
    }
    return out;
}

}  // namespace veredus::store

// ASCII case, cutting, hex, and quoting for the log.
#include "lib/base/text.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace veredus {

std::string lower(std::string_view s)
{
    std::string out(s);
    for (char& c : out) c = to_lower(c);
    return out;
}

std::string upper(std::string_view s)
{
    std::string out(s);
    for (char& c : out) c = to_upper(c);
    return out;
}

bool iequals(std::string_view a, std::string_view b) noexcept
{
    return a.size() == b.size() &&
           std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return to_lower(x) == to_lower(y); });
}

bool istarts_with(std::string_view s, std::string_view prefix) noexcept
{
    return s.size() >= prefix.size() && iequals(s.substr(0, prefix.size()), prefix);
}

bool iends_with(std::string_view s, std::string_view suffix) noexcept
{
    return s.size() >= suffix.size() && iequals(s.substr(s.size() - suffix.size()), suffix);
}

std::string_view trim(std::string_view s) noexcept
{
    while (!s.empty() && is_space(s.front())) s.remove_prefix(1);
    while (!s.empty() && is_space(s.back())) s.remove_suffix(1);
    return s;
}

std::vector<std::string_view> split(std::string_view s, std::string_view separators)
{
    std::vector<std::string_view> out;
    std::size_t begin = 0;
    while ((begin = s.find_first_not_of(separators, begin)) != std::string_view::npos) {
        const std::size_t end = std::min(s.find_first_of(separators, begin), s.size());
        out.push_back(s.substr(begin, end - begin));
        begin = end;
    }
    return out;
}

std::vector<std::string_view> split_on(std::string_view s, char separator)
{
    std::vector<std::string_view> out;
    for (;;) {
        const std::size_t at = s.find(separator);
        out.push_back(s.substr(0, at));
        if (at == std::string_view::npos) return out;
        s.remove_prefix(at + 1);
    }
}

std::pair<std::string_view, std::optional<std::string_view>> cut(std::string_view s, char separator)
{
    const std::size_t at = s.find(separator);
    if (at == std::string_view::npos) return {s, std::nullopt};
    return {s.substr(0, at), s.substr(at + 1)};
}

std::string hex_upper(uint64_t value, int digits)
{
    std::string out(static_cast<std::size_t>(digits), '0');
    for (auto it = out.rbegin(); it != out.rend(); ++it, value >>= 4) *it = "0123456789ABCDEF"[value & 15];
    return out;
}

std::optional<uint64_t> parse_hex(std::string_view s)
{
    uint64_t value = 0;
    if (s.empty() || s.size() > 16) return std::nullopt;
    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value, 16);
    if (error != std::errc{} || end != s.data() + s.size()) return std::nullopt;
    return value;
}

namespace {
// The length of the valid UTF-8 sequence that `s` begins with, 0 when there is none (RFC 3629 §4).
std::size_t utf8_length(std::string_view s) noexcept
{
    const auto at = [&](std::size_t i) { return static_cast<unsigned char>(i < s.size() ? s[i] : 0); };
    const auto tail = [&](std::size_t i) { return (at(i) & 0xC0) == 0x80; };
    const unsigned char a = at(0), b = at(1);
    if (s.empty()) return 0;
    if (a < 0x80) return 1;
    if (a >= 0xC2 && a <= 0xDF) return tail(1) ? 2 : 0;
    if (a >= 0xE0 && a <= 0xEF) {
        if ((a == 0xE0 && b < 0xA0) || (a == 0xED && b > 0x9F)) return 0;
        return tail(1) && tail(2) ? 3 : 0;
    }
    if (a >= 0xF0 && a <= 0xF4) {
        if ((a == 0xF0 && b < 0x90) || (a == 0xF4 && b > 0x8F)) return 0;
        return tail(1) && tail(2) && tail(3) ? 4 : 0;
    }
    return 0;
}
}  // namespace

std::string printable(std::string_view s, std::size_t limit)
{
    std::string out;
    out.reserve(std::min(s.size(), limit) + 3);
    while (!s.empty()) {
        const std::size_t n = utf8_length(s);
        // C0, DEL, and C1 controls (which some terminals obey even inside UTF-8) are not printable.
        const auto a = static_cast<unsigned char>(s[0]);
        const bool control = a < 0x20 || a == 0x7F || (a == 0xC2 && n == 2 && static_cast<unsigned char>(s[1]) < 0xA0);
        const std::size_t step = n == 0 ? 1 : n;
        if (out.size() + step > limit) return out + "...";
        if (n == 0 || control)
            out.push_back('?');
        else
            out.append(s.substr(0, n));
        s.remove_prefix(step);
    }
    return out;
}

bool is_utf8(std::string_view s) noexcept
{
    while (!s.empty()) {
        const std::size_t n = utf8_length(s);
        if (n == 0) return false;
        s.remove_prefix(n);
    }
    return true;
}

bool is_ascii(std::string_view s) noexcept
{
    // Whole mails come through here: by words, and with no early end within a stride.
    constexpr uint64_t high = 0x8080808080808080u;
    const char* p = s.data();
    std::size_t left = s.size();
    for (; left >= 32; p += 32, left -= 32) {
        uint64_t words[4];
        std::memcpy(words, p, sizeof words);
        if ((words[0] | words[1] | words[2] | words[3]) & high) return false;
    }
    return std::all_of(p, p + left, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace veredus

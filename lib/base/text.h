// Bytes as text: ASCII case, cutting, checked integers, hex, quoting for the log. No locale is ever asked.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace veredus {

namespace text_detail {
inline void put(std::string& out, std::string_view s) { out.append(s); }
inline void put(std::string& out, char c) { out.push_back(c); }
template <std::integral T>
    requires(!std::same_as<T, char> && !std::same_as<T, bool>)
void put(std::string& out, T n)
{
    char buffer[24];
    out.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, n).ptr);
}
}  // namespace text_detail

// cat("port ", 25, '!'): one string out of many pieces. append(out, ...) adds to an existing one.
template <class... Parts> void append(std::string& out, const Parts&... parts) { (text_detail::put(out, parts), ...); }
template <class... Parts> std::string cat(const Parts&... parts)
{
    std::string out;
    append(out, parts...);
    return out;
}

constexpr char to_lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
constexpr char to_upper(char c) noexcept { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; }
constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr bool is_alpha(char c) noexcept { return to_lower(c) >= 'a' && to_lower(c) <= 'z'; }
constexpr bool is_alnum(char c) noexcept { return is_digit(c) || is_alpha(c); }
constexpr bool is_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }
std::string lower(std::string_view s);  // ASCII only
std::string upper(std::string_view s);
bool iequals(std::string_view a, std::string_view b) noexcept;
bool istarts_with(std::string_view s, std::string_view prefix) noexcept;
bool iends_with(std::string_view s, std::string_view suffix) noexcept;

std::string_view trim(std::string_view s) noexcept;  // white space at both ends
// Pieces between any of `separators`; empty pieces are dropped. split_on keeps them and cuts at one character.
std::vector<std::string_view> split(std::string_view s, std::string_view separators);
std::vector<std::string_view> split_on(std::string_view s, char separator);
// "a=b" at the first `separator`: {"a", "b"}; without one, second is nullopt.
std::pair<std::string_view, std::optional<std::string_view>> cut(std::string_view s, char separator);

// A whole decimal number and nothing else, within [0 or min, max]; no sign for unsigned types, no spaces.
template <std::integral T> std::optional<T> parse_number(std::string_view s, T max = std::numeric_limits<T>::max())
{
    T value{};
    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
    if (error != std::errc{} || end != s.data() + s.size() || value > max) return std::nullopt;
    return value;
}
std::string hex_upper(uint64_t value, int digits);
std::optional<uint64_t> parse_hex(std::string_view s);  // 1 to 16 digits, either case

// A peer's bytes for one log line: control and non-ASCII bytes that are not valid UTF-8 become '?', at most `limit`
// bytes, "..." when cut. Never contains CR, LF or NUL.
std::string printable(std::string_view s, std::size_t limit = 500);
bool is_utf8(std::string_view s) noexcept;
bool is_ascii(std::string_view s) noexcept;

}  // namespace veredus

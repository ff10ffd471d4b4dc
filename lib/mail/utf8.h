// UTF-8 (RFC 3629) character by character.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace veredus::mail {

constexpr std::string_view replacement_character = "\xEF\xBF\xBD"; // U+FFFD

// How `s`, which is not empty, begins.
struct Utf8Start {
    uint32_t character = 0;
    uint8_t size = 0;    // of a whole character; 0: none begins here
    bool is_cut = false; // size is 0, and more bytes could make it one
};

inline Utf8Start utf8_start(std::string_view s)
{
    const auto at = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
    const unsigned char first = at(0);
    if (first < 0x80) return {first, 1, false};
    if (first < 0xC2 || first > 0xF4) return {};
    const uint8_t size = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (s.size() == 1) return {0, 0, true};
    // Overlong forms, surrogates and what is beyond U+10FFFF show in the second byte.
    const unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (at(1) < low || at(1) > high) return {};
    uint32_t c = (first & (0xFFu >> (size + 1))) << 6 | (at(1) & 0x3Fu);
    for (uint8_t i = 2; i < size; ++i) {
        if (i >= s.size()) return {0, 0, true};
        if ((at(i) & 0xC0) != 0x80) return {};
        c = c << 6 | (at(i) & 0x3Fu);
    }
    return {c, size, false};
}

inline void put_utf8(std::string& out, uint32_t c)
{
    if (c < 0x80) {
        out += static_cast<char>(c);
        return;
    }
    if (c < 0x800) {
        out += static_cast<char>(0xC0 | c >> 6);
    } else {
        if (c < 0x10000) {
            out += static_cast<char>(0xE0 | c >> 12);
        } else {
            out += static_cast<char>(0xF0 | c >> 18);
            out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
        }
        out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    }
    out += static_cast<char>(0x80 | (c & 0x3F));
}

// How many bytes of ASCII `s` begins with.
std::size_t ascii_prefix(std::string_view s);

} // namespace veredus::mail

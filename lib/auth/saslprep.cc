// SASLprep (RFC 4013) without Unicode's normalisation tables.
#include "lib/auth/mechanism.h"
#include "lib/base/text.h"

namespace veredus::auth {

namespace {

struct Range {
    uint32_t first, last;
};

// RFC 3454 table B.1: commonly mapped to nothing.
constexpr Range vanishing[] = {{0xAD, 0xAD}, {0x34F, 0x34F}, {0x1806, 0x1806}, {0x180B, 0x180D}, {0x200B, 0x200D}, {0x2060, 0x2060}, {0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF}};
// Table C.1.2: spaces that are not ASCII's.
constexpr Range spaces[] = {{0xA0, 0xA0}, {0x1680, 0x1680}, {0x2000, 0x200A}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}};
// Tables C.2.1 to C.9: controls, private use, non-characters, surrogates, what changes display or is no plain text, tags.
constexpr Range prohibited[] = {{0x00, 0x1F}, {0x7F, 0x9F}, {0x340, 0x341}, {0x6DD, 0x6DD}, {0x70F, 0x70F}, {0x180E, 0x180E}, {0x200E, 0x200F}, {0x2028, 0x202E}, {0x2061, 0x2063},
                                {0x206A, 0x206F}, {0x2FF0, 0x2FFB}, {0xD800, 0xF8FF}, {0xFDD0, 0xFDEF}, {0xFFF9, 0xFFFF}, {0x1D173, 0x1D17A}, {0xE0001, 0xE007F},
                                {0xF0000, 0x10FFFF}};

template <std::size_t N> bool in(const Range (&table)[N], uint32_t c)
{
    for (const Range& range : table)
        if (c >= range.first && c <= range.last) return true;
    return false;
}

// One character of text that is known to be UTF-8.
uint32_t next_character(std::string_view text, std::size_t& at)
{
    const auto byte = static_cast<unsigned char>(text[at]);
    const std::size_t size = byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
    uint32_t c = size == 1 ? byte : byte & (0xFFu >> (size + 1));
    for (std::size_t i = 1; i < size; ++i) c = c << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3Fu);
    at += size;
    return c;
}

}  // namespace

std::optional<std::string> saslprep(std::string_view text)
{
    if (!is_utf8(text)) return std::nullopt;
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t start = at;
        const uint32_t c = next_character(text, at);
        if (in(vanishing, c)) continue;
        if (in(spaces, c)) {
            out += ' ';
            continue;
        }
        if (in(prohibited, c) || (c & 0xFFFE) == 0xFFFE) return std::nullopt;
        out += text.substr(start, at - start);
    }
    return out;
}

}  // namespace veredus::auth

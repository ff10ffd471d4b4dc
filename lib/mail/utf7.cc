// Modified UTF-7 in both directions, over UTF-16.
#include "lib/mail/utf7.h"

#include <cstdint>

#include "lib/base/text.h"

namespace veredus::mail {

namespace {

constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

bool is_direct(char c) { return c >= 0x20 && c <= 0x7e; }

// One code point of valid UTF-8.
uint32_t take_code_point(std::string_view& in)
{
    const auto first = static_cast<unsigned char>(in[0]);
    const std::size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    uint32_t out = size == 1 ? first : first & (0xffu >> (size + 1));
    for (std::size_t i = 1; i < size; ++i) out = out << 6 | (static_cast<unsigned char>(in[i]) & 0x3f);
    in.remove_prefix(size);
    return out;
}

void put_utf8(std::string& out, uint32_t c)
{
    if (c < 0x80) {
        out += static_cast<char>(c);
    } else if (c < 0x800) {
        out += static_cast<char>(0xc0 | c >> 6);
        out += static_cast<char>(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        out += static_cast<char>(0xe0 | c >> 12);
        out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
        out += static_cast<char>(0x80 | (c & 0x3f));
    } else {
        out += static_cast<char>(0xf0 | c >> 18);
        out += static_cast<char>(0x80 | (c >> 12 & 0x3f));
        out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
        out += static_cast<char>(0x80 | (c & 0x3f));
    }
}

// What stands between '&' and '-': false when it is no base64 of whole UTF-16.
bool decode_shifted(std::string_view text, std::string& out)
{
    uint32_t bits = 0, high = 0;
    int count = 0;
    for (const char c : text) {
        const auto digit = digits.find(c);
        if (digit == std::string_view::npos) return false;
        bits = bits << 6 | static_cast<uint32_t>(digit);
        count += 6;
        if (count < 16) continue;
        count -= 16;
        const uint32_t unit = bits >> count & 0xffff;
        bits &= (1u << count) - 1;
        if (high) {
            if (unit < 0xdc00 || unit > 0xdfff) return false;
            put_utf8(out, 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00));
            high = 0;
        } else if (unit >= 0xd800 && unit <= 0xdbff) {
            high = unit;
        } else if (unit >= 0xdc00 && unit <= 0xdfff) {
            return false;
        } else {
            put_utf8(out, unit);
        }
    }
    return high == 0 && count < 6 && bits == 0;
}

}  // namespace

std::optional<std::string> to_utf7(std::string_view in)
{
    if (!is_utf8(in)) return std::nullopt;
    std::string out;
    while (!in.empty()) {
        if (is_direct(in[0])) {
            out += in[0];
            if (in[0] == '&') out += '-';
            in.remove_prefix(1);
            continue;
        }
        out += '&';
        uint32_t bits = 0;
        int count = 0;
        const auto put = [&](uint32_t unit) {
            bits = bits << 16 | unit;
            for (count += 16; count >= 6; count -= 6) out += digits[bits >> (count - 6) & 0x3f];
            bits &= (1u << count) - 1;
        };
        while (!in.empty() && !is_direct(in[0])) {
            const uint32_t c = take_code_point(in);
            if (c >= 0x10000) {
                put(0xd800 + ((c - 0x10000) >> 10));
                put(0xdc00 + ((c - 0x10000) & 0x3ff));
            } else {
                put(c);
            }
        }
        if (count) out += digits[bits << (6 - count) & 0x3f];
        out += '-';
    }
    return out;
}

std::optional<std::string> from_utf7(std::string_view in)
{
    std::string out;
    const std::string_view whole = in;
    while (!in.empty()) {
        if (!is_direct(in[0])) return std::nullopt;
        if (in[0] != '&') {
            out += in[0];
            in.remove_prefix(1);
            continue;
        }
        const auto end = in.find('-');
        if (end == std::string_view::npos) return std::nullopt;
        if (end == 1) out += '&';
        else if (!decode_shifted(in.substr(1, end - 1), out)) return std::nullopt;
        in.remove_prefix(end + 1);
    }
    if (to_utf7(out) != whole) return std::nullopt;
    return out;
}

}  // namespace veredus::mail

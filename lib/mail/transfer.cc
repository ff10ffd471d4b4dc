// base64 and quoted-printable undone (RFC 2045 §6.7, §6.8), with all that mail programs get wrong in them.
#include "lib/mail/transfer.h"

#include <array>
#include <optional>

#include "lib/base/text.h"

namespace veredus::mail {

namespace {

constexpr std::size_t longest_hold = 1000; // a line of mail has no more blanks (RFC 5322 §2.1.1): then they are text

constexpr uint8_t no_digit = 0xFF;
constexpr std::array<uint8_t, 256> base64_digits = [] {
    std::array<uint8_t, 256> table{};
    table.fill(no_digit);
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (std::size_t i = 0; i < digits.size(); ++i)
        table[static_cast<unsigned char>(digits[i])] = static_cast<uint8_t>(i);
    return table;
}();

uint8_t digit_of(char c)
{
    return base64_digits[static_cast<unsigned char>(c)];
}

std::optional<unsigned> hex_value(char c)
{
    if (is_digit(c)) return static_cast<unsigned>(c - '0');
    const char l = to_lower(c);
    if (l >= 'a' && l <= 'f') return static_cast<unsigned>(l - 'a' + 10);
    return std::nullopt;
}

bool is_special(char c)
{
    return c == '=' || c == ' ' || c == '\t' || c == '\r';
}

} // namespace

void TransferDecoder::feed(std::string_view bytes, std::string& out)
{
    if (encoding_ == Encoding::base64)
        feed_base64(bytes, out);
    else if (encoding_ == Encoding::quoted_printable)
        feed_quoted(bytes, out);
    else
        out.append(bytes);
}

void TransferDecoder::finish(std::string& out)
{
    if (encoding_ == Encoding::base64) {
        if (count_ == 1) broken_ = true;
        base64_end(out);
    } else if (encoding_ == Encoding::quoted_printable) {
        // Blanks at the end go, a soft line break at the end breaks nothing.
        if (at_ == At::digit) let_go(out, true);
        held_.clear();
        at_ = At::text;
    }
}

// ---- base64 ----

void TransferDecoder::base64_end(std::string& out)
{
    if (count_ >= 2) out.push_back(static_cast<char>(count_ == 2 ? bits_ >> 4 : bits_ >> 10));
    if (count_ == 3) out.push_back(static_cast<char>(bits_ >> 2));
    count_ = 0;
    bits_ = 0;
}

void TransferDecoder::feed_base64(std::string_view bytes, std::string& out)
{
    std::size_t i = 0;
    while (i < bytes.size()) {
        while (count_ == 0 && !padded_ && i + 4 <= bytes.size()) { // the usual case, four digits in a row
            const uint32_t a = digit_of(bytes[i]), b = digit_of(bytes[i + 1]), c = digit_of(bytes[i + 2]),
                           d = digit_of(bytes[i + 3]);
            if ((a | b | c | d) & 0x80) break;
            const uint32_t word = a << 18 | b << 12 | c << 6 | d;
            const char three[] = {static_cast<char>(word >> 16), static_cast<char>(word >> 8), static_cast<char>(word)};
            out.append(three, 3);
            i += 4;
        }
        if (i >= bytes.size()) return;
        const char c = bytes[i++];
        const uint8_t digit = digit_of(c);
        if (digit != no_digit) {
            if (padded_) broken_ = true; // several encoded texts, one behind the other
            padded_ = false;
            bits_ = bits_ << 6 | digit;
            if (++count_ == 4) {
                const char three[] = {static_cast<char>(bits_ >> 16), static_cast<char>(bits_ >> 8),
                                      static_cast<char>(bits_)};
                out.append(three, 3);
                count_ = 0;
                bits_ = 0;
            }
        } else if (c == '=') {
            if (count_ == 1 || (count_ == 0 && !padded_)) broken_ = true;
            base64_end(out);
            padded_ = true;
        } else if (!is_space(c)) {
            broken_ = true;
        }
    }
}

// ---- quoted-printable ----

void TransferDecoder::let_go(std::string& out, bool was_broken)
{
    broken_ = broken_ || was_broken;
    out.append(held_);
    held_.clear();
    at_ = At::text;
}

void TransferDecoder::feed_quoted(std::string_view bytes, std::string& out)
{
    for (std::size_t i = 0; i < bytes.size();) {
        if (at_ == At::text) {
            std::size_t end = i;
            // A blank between words is no matter of the line's end.
            const auto within = [&] {
                return (bytes[end] == ' ' || bytes[end] == '\t') && end + 1 < bytes.size() &&
                       static_cast<unsigned char>(bytes[end + 1]) > ' ';
            };
            while (end < bytes.size() && (!is_special(bytes[end]) || within())) ++end;
            out.append(bytes.substr(i, end - i));
            i = end;
            if (i == bytes.size()) return;
        }
        if (quoted_step(bytes[i], out)) ++i;
    }
}

// False: the character is to be looked at once more, as text.
bool TransferDecoder::quoted_step(char c, std::string& out)
{
    const bool blank = c == ' ' || c == '\t' || c == '\r';
    switch (at_) {
    case At::text:
        held_.assign(1, c);
        at_ = c == '=' ? At::escape : At::blanks;
        return true;
    case At::blanks:
        if (c == '\n') {
            out.append(held_.ends_with('\r') ? "\r\n" : "\n");
            held_.clear();
            at_ = At::text;
            return true;
        }
        if (blank && held_.size() < longest_hold) {
            held_.push_back(c);
            return true;
        }
        let_go(out, false);
        return false;
    case At::escape:
        if (hex_value(c)) {
            held_.push_back(c);
            at_ = At::digit;
            return true;
        }
        at_ = At::soft;
        [[fallthrough]];
    case At::soft:
        if (c == '\n') {
            held_.clear();
            at_ = At::text;
            return true;
        }
        if (blank && held_.size() < longest_hold) {
            held_.push_back(c);
            return true;
        }
        let_go(out, true);
        return false;
    case At::digit:
        if (const auto low = hex_value(c)) {
            out.push_back(static_cast<char>(*hex_value(held_[1]) << 4 | *low));
            held_.clear();
            at_ = At::text;
            return true;
        }
        let_go(out, true);
        return false;
    }
    return true;
}

} // namespace veredus::mail

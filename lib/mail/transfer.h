// Content-transfer-encodings undone (RFC 2045 §6) while bytes stream by: base64 and quoted-printable as mail programs
// write them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/mail/mime_fields.h"

namespace veredus::mail {

class TransferDecoder {
public:
    // 7bit, 8bit, binary and what is unknown pass through.
    explicit TransferDecoder(Encoding encoding = Encoding::seven_bit) : encoding_(encoding) {}

    // Any cut, CRLF or LF line ends. In all, never more bytes come out than went in.
    void feed(std::string_view bytes, std::string& out);
    void finish(std::string& out);
    // Something was no base64, or no quoted-printable: it was left out, or taken as it stands (RFC 2045 §6.7, §6.8).
    bool broken() const { return broken_; }

private:
    // quoted-printable: within ordinary text; blanks that go when the line ends behind them; behind "="; "=X"; "=" and
    // blanks.
    enum class At : uint8_t { text, blanks, escape, digit, soft };
    void feed_base64(std::string_view bytes, std::string& out);
    void base64_end(std::string& out);
    void feed_quoted(std::string_view bytes, std::string& out);
    bool quoted_step(char c, std::string& out);
    void let_go(std::string& out, bool was_broken);

    Encoding encoding_;
    uint32_t bits_ = 0;
    uint8_t count_ = 0; // base64: digits in bits_
    At at_ = At::text;
    bool padded_ = false; // base64: padding was seen
    bool broken_ = false;
    std::string held_; // quoted-printable: what was seen since text
};

} // namespace veredus::mail

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

    // Any cut, CRLF or LF line ends. Appends at most as many bytes as it took, and three.
    void feed(std::string_view bytes, std::string& out);
    void finish(std::string& out);
    // Something was no base64, or no quoted-printable: it was left out, or taken as it stands (RFC 2045 §6.7, §6.8).
    bool broken() const { return broken_; }

private:
    void feed_base64(std::string_view bytes, std::string& out);
    void base64_slow(char c, std::string& out);
    void feed_quoted(std::string_view bytes, std::string& out);
    std::size_t take_escape(std::string_view bytes, std::string& out, bool last);

    Encoding encoding_;
    uint32_t bits_ = 0;
    uint8_t count_ = 0;   // base64: digits in bits_
    bool padded_ = false; // base64: within padding
    bool broken_ = false;
    std::string held_; // quoted-printable: blanks that may end the line, or a cut =XX
};

} // namespace veredus::mail

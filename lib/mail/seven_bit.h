// A message for a server that takes 7-bit content only (RFC 6152 §3): 8-bit and binary parts become quoted-printable or
// base64 while the bytes stream by. Pure, and bounded by one header block.
#pragma once

#include <string>
#include <string_view>

#include "lib/mail/mime.h"

namespace veredus::mail {

// What was quoted-printable, base64 or 7bit stays byte by byte. Text becomes quoted-printable, what is binary or no
// text base64. A multipart, and a part that is a message, cannot be encoded (RFC 2045 §6.4): what is inside is, and
// their own field says 7bit then. A part that says 7bit and is not stays as it is, for that is found too late; only of
// the whole message it is known before, or in a second run: see lost() and Care.
class SevenBit final : MimeSink {
public:
    // `unmarked`: the message has 8-bit bytes somewhere. When its header says nothing of them and it has no parts, its
    // body becomes text of charset unknown-8bit (RFC 1428 §3), unless a Content-Type says what it is.
    // `care` is for what may have come by BINARYMIME (RFC 3030 §3).
    enum class Care : uint8_t {
        text,      // content in lines
        binary,    // what stands in a multipart/signed stays as it is: encoded, its signature would be wrong
        all_parts, // and what claims to be text in 7 or 8 bits is taken for binary too
        store,     // for a store of lines that takes 8 bits: only what is marked as binary is encoded, as base64, and
                   // what holds such parts says 8bit (RFC 3516 §4.4)
    };
    explicit SevenBit(bool unmarked, Care care = Care::text);
    SevenBit(const SevenBit&) = delete;
    void feed(std::string_view bytes, std::string& out); // the whole message in CRLF form, header first; any cut
    void finish(std::string& out);
    bool lost() const { return lost_; } // quoted text had line ends without CR, which are CRLF now

private:
    enum class Way : uint8_t { keep, composite, quoted, base64 };
    void part_begins(const MimePart& part) override;
    void field(const MimePart& part, const MimeField& field) override;
    void headers_end(const MimePart& part) override;
    void line(const MimePart& part, const MimeLine& line) override;
    void part_ends(const MimePart& part) override;
    Way way_of(const MimePart& part) const;
    void write_header(const MimePart& part);
    void quote(std::string_view text, bool last);
    void encode(std::string_view bytes);
    void flush();

    bool unmarked_, lost_ = false;
    Care care_;
    uint32_t signed_ = 0;         // index of the outermost multipart/signed that is open, and 1; 0: none
    std::string* out_ = nullptr;  // of the call that is running
    std::string header_;          // of the innermost part, its Content-Transfer-Encoding left out
    std::string encoding_;        // that field
    std::size_t encoding_at_ = 0; // where it stood
    bool has_type_ = false, has_version_ = false;
    uint64_t stored_ = 0;    // offset up to which the header's input was dealt with
    Way way_ = Way::keep;    // of the innermost part: those with parts have no content of their own
    std::size_t column_ = 0; // quoted-printable
    std::string group_;      // base64: bytes of a line that is not full
    std::string line_end_;   // base64: held back, for the one before a boundary is no content (RFC 2046 §5.1.1)
    uint64_t seen_ = 0;      // base64: bytes of the body so far
    MimeParser parser_;      // last: it is given *this
};

} // namespace veredus::mail

// The text in a message, as UTF-8, while the message streams by: transfer encodings and charsets of its parts undone
// (RFC 2045, 2046).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/mail/charset.h"
#include "lib/mail/mime.h"
#include "lib/mail/transfer.h"

namespace veredus::mail {

class TextSink {
public:
    virtual ~TextSink() = default;
    // Every header field of the message, its parts and the messages within; before the part's begin_text().
    virtual void field(const MimePart&, const MimeField&) {}
    // A part of type text or message, of which no parts are taken apart, begins. Its text is appended to what is
    // returned, which lives until end_text(); nullptr: it is not wanted.
    virtual std::string* begin_text(const MimePart&) = 0;
    virtual void more_text(const MimePart&) {} // something was appended, whole characters
    virtual void end_text(const MimePart&) {}
};

// A sink for MimeParser.
class TextReader final : public MimeSink {
public:
    explicit TextReader(TextSink& sink) : sink_(sink) {} // borrowed
    void part_begins(const MimePart& part) override;
    void field(const MimePart& part, const MimeField& field) override;
    void headers_end(const MimePart& part) override;
    void line(const MimePart& part, const MimeLine& line) override;
    void part_ends(const MimePart& part) override;

private:
    TextSink& sink_;
    std::string charset_;
    bool has_type_ = false;
    std::string* out_ = nullptr;
    bool identity_ = true;
    TransferDecoder transfer_;
    CharsetDecoder decoder_;
    std::string scratch_;
};

} // namespace veredus::mail

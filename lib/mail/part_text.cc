// The text in a message as UTF-8.
#include "lib/mail/part_text.h"

#include "lib/base/text.h"

namespace veredus::mail {

void TextReader::part_begins(const MimePart&)
{
    charset_.clear();
    has_type_ = false;
}

void TextReader::field(const MimePart& part, const MimeField& field)
{
    if (!has_type_ && iequals(field.name(), "Content-Type")) {
        has_type_ = true;
        const ContentType type = parse_content_type(field.body());
        if (const MimeParameter* charset = find_parameter(type.parameters, "charset")) charset_ = charset->value;
    }
    sink_.field(part, field);
}

void TextReader::headers_end(const MimePart& part)
{
    out_ = nullptr;
    if (part.multipart || part.holds_message || (part.type != "text" && part.type != "message")) return;
    out_ = sink_.begin_text(part);
    if (!out_) return;
    identity_ = is_identity(part.encoding) || part.encoding == Encoding::unknown;
    transfer_ = TransferDecoder(part.encoding);
    decoder_ = CharsetDecoder(charset_);
}

void TextReader::line(const MimePart& part, const MimeLine& line)
{
    if (!out_ || line.where != MimeLine::Where::content) return;
    if (identity_) {
        decoder_.feed(line.bytes, *out_);
    } else {
        scratch_.clear();
        transfer_.feed(line.bytes, scratch_);
        decoder_.feed(scratch_, *out_);
    }
    sink_.more_text(part);
}

// Only a part that holds no others has text, so it is the first one to end.
void TextReader::part_ends(const MimePart& part)
{
    if (!out_) return;
    scratch_.clear();
    transfer_.finish(scratch_);
    decoder_.feed(scratch_, *out_);
    decoder_.finish(*out_);
    sink_.end_text(part);
    out_ = nullptr;
}

} // namespace veredus::mail

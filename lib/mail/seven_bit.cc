#include "lib/mail/seven_bit.h"

#include "lib/base/base64.h"
#include "lib/base/text.h"

namespace veredus::mail {

namespace {

constexpr std::size_t quoted_width = 76;      // RFC 2045 §6.7 (5), the soft line break included
constexpr std::size_t base64_line_bytes = 57; // 76 characters (RFC 2045 §6.8)

MimeLimits limits()
{
    MimeLimits all;
    all.field_bytes = all.header_bytes; // nothing of a field may get lost: it is written from here
    return all;
}

std::string_view line_end_of(std::string_view bytes)
{
    if (!bytes.ends_with('\n')) return {};
    return bytes.substr(bytes.size() - (bytes.ends_with("\r\n") ? 2 : 1));
}

} // namespace

SevenBit::SevenBit(bool unmarked, Care care) : unmarked_(unmarked), care_(care), parser_(static_cast<MimeSink&>(*this), limits()) {}

void SevenBit::feed(std::string_view bytes, std::string& out)
{
    out_ = &out;
    parser_.feed(bytes);
    out_ = nullptr;
}

void SevenBit::finish(std::string& out)
{
    out_ = &out;
    parser_.finish();
    out_ = nullptr;
}

void SevenBit::part_begins(const MimePart& part)
{
    header_.clear();
    encoding_.clear();
    encoding_at_ = 0;
    has_type_ = has_version_ = false;
    stored_ = part.header_offset;
    way_ = Way::keep;
}

void SevenBit::field(const MimePart&, const MimeField& field)
{
    stored_ = field.offset + field.size;
    if (iequals(field.name(), "Content-Transfer-Encoding") && encoding_.empty()) {
        encoding_ = field.raw;
        encoding_at_ = header_.size();
        return;
    }
    if (iequals(field.name(), "Content-Type")) has_type_ = true;
    if (iequals(field.name(), "MIME-Version")) has_version_ = true;
    header_.append(field.raw);
}

SevenBit::Way SevenBit::way_of(const MimePart& part) const
{
    const bool marked =
        part.encoding == Encoding::binary || (part.encoding == Encoding::eight_bit && care_ != Care::store);
    if (care_ != Care::text && care_ != Care::store && signed_ != 0 && part.index + 1 != signed_) return Way::keep;
    if (part.multipart || part.holds_message) return marked ? Way::composite : Way::keep;
    if (part.type == "multipart" || part.type == "message") return Way::keep; // too deep to be taken apart, or broken
    if (care_ == Care::all_parts && is_identity(part.encoding)) return Way::base64;
    if (marked) return part.type == "text" && part.encoding == Encoding::eight_bit ? Way::quoted : Way::base64;
    const bool unmarked = unmarked_ && part.kind == MimePart::Kind::message && part.encoding == Encoding::seven_bit;
    if (!unmarked) return Way::keep;
    return part.type == "text" ? Way::quoted : Way::base64;
}

void SevenBit::headers_end(const MimePart& part)
{
    if (signed_ == 0 && part.multipart && part.subtype == "signed") signed_ = part.index + 1;
    way_ = way_of(part);
    write_header(part);
    column_ = 0;
    seen_ = 0;
    group_.clear();
    line_end_.clear();
}

void SevenBit::write_header(const MimePart& part)
{
    const bool encoded = way_ == Way::quoted || way_ == Way::base64;
    if (way_ == Way::composite) encoding_ = cat("Content-Transfer-Encoding: ", care_ == Care::store ? "8bit" : "7bit", "\r\n");
    if (encoded)
        encoding_ = cat("Content-Transfer-Encoding: ", way_ == Way::quoted ? "quoted-printable" : "base64", "\r\n");
    if (encoded && part.kind == MimePart::Kind::message) {
        if (!has_version_) header_ += "MIME-Version: 1.0\r\n";
        if (!has_type_) header_ += "Content-Type: text/plain; charset=unknown-8bit\r\n"; // RFC 1428 §3
        if (encoding_at_ == 0) encoding_at_ = header_.size();
    }
    header_.insert(encoding_at_, encoding_);
    out_->append(header_);
    if (part.body_offset > stored_ || encoded) out_->append("\r\n"); // the blank line
    stored_ = part.body_offset;
}

void SevenBit::line(const MimePart&, const MimeLine& line)
{
    if (line.where != MimeLine::Where::content || way_ == Way::keep || way_ == Way::composite) {
        out_->append(line.bytes);
        return;
    }
    if (way_ == Way::quoted) {
        quote(line.text(), line.ends);
        if (line.ends) {
            lost_ = lost_ || !line.bytes.ends_with("\r\n");
            out_->append("\r\n");
            column_ = 0;
        }
        return;
    }
    encode(line_end_);
    line_end_ = line_end_of(line.bytes);
    encode(line.text());
    seen_ += line.bytes.size();
}

// RFC 2045 §6.7. A blank before a line end, or where a piece of a long line ends, is encoded.
void SevenBit::quote(std::string_view text, bool last)
{
    static constexpr char hex[] = "0123456789ABCDEF";
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        const bool blank = c == ' ' || c == '\t', at_end = i + 1 == text.size();
        const bool plain = (c > ' ' && c < 0x7f && c != '=') || (blank && !at_end);
        const std::size_t width = plain ? 1 : 3;
        const std::size_t room = at_end && last ? quoted_width : quoted_width - 1; // for the "=" of a soft line break
        if (column_ + width > room) {
            out_->append("=\r\n");
            column_ = 0;
        }
        if (plain) {
            out_->push_back(static_cast<char>(c));
        } else {
            const char token[] = {'=', hex[c >> 4], hex[c & 15]};
            out_->append(token, 3);
        }
        column_ += width;
    }
}

void SevenBit::encode(std::string_view bytes)
{
    while (!bytes.empty()) {
        const std::string_view piece = bytes.substr(0, base64_line_bytes - group_.size());
        group_.append(piece);
        bytes.remove_prefix(piece.size());
        if (group_.size() == base64_line_bytes) flush();
    }
}

void SevenBit::flush()
{
    append(*out_, base64_encode(group_), "\r\n");
    group_.clear();
}

void SevenBit::part_ends(const MimePart& part)
{
    if (way_ == Way::base64) {
        if (seen_ <= part.body_size) encode(line_end_); // else it is the boundary's
        if (!group_.empty()) flush();
    }
    if (part.index + 1 == signed_) signed_ = 0;
    way_ = Way::keep; // whatever is around it has parts
}

} // namespace veredus::mail

// Sections of messages.
#include "lib/imap/content.h"

#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"

namespace veredus::imap {

// --- parts

void PartMap::note(const mail::MimePart& part)
{
    if (parts_.size() <= part.index) {
        parts_.resize(part.index + 1u);
        children_.resize(part.index + 1u);
        if (part.index != part.parent) children_[part.parent].push_back(part.index);
    }
    parts_[part.index] = part;
}

void PartMap::headers_end(const mail::MimePart& part)
{
    note(part);
    if (part.index == 0) has_header_ = true;
}

const mail::MimePart* PartMap::child(const mail::MimePart& parent, uint32_t number) const
{
    const auto& all = children_[parent.index];
    return number == 0 || number > all.size() ? nullptr : &parts_[all[number - 1]];
}

// RFC 9051 §6.4.5.1: what is no multipart has one part, 1, which is its body; numbers go through a message into what it
// holds.
const mail::MimePart* PartMap::find(const std::vector<uint32_t>& numbers, bool message) const
{
    const mail::MimePart* at = parts_.empty() ? nullptr : &parts_.front();
    bool as_part = false;
    for (const uint32_t number : numbers) {
        if (at && as_part && !at->multipart) {
            at = at->holds_message ? child(*at, 1) : nullptr;
            as_part = false;
        }
        if (!at) return nullptr;
        if (at->multipart)
            at = child(*at, number);
        else if (number != 1)
            return nullptr;
        as_part = true;
    }
    if (at && message && as_part) return at->holds_message ? child(*at, 1) : nullptr;
    return at;
}

std::string choose_fields(std::string_view header, const std::vector<std::string>& names, bool others)
{
    std::string out;
    bool taking = false;
    while (!header.empty()) {
        const auto end = header.find('\n');
        const auto line = header.substr(0, end == std::string_view::npos ? header.size() : end + 1);
        header.remove_prefix(line.size());
        if (line == "\r\n" || line == "\n") break;
        if (line.front() != ' ' && line.front() != '\t') {
            const auto name = line.substr(0, mail::field_name_size(line));
            const bool named = !name.empty() &&
                               std::any_of(names.begin(), names.end(), [&](const auto& n) { return iequals(n, name); });
            taking = !name.empty() && named != others;
        }
        if (taking) out += line;
    }
    if (!out.empty() && !out.ends_with('\n')) out += "\r\n";
    return out += "\r\n";
}

// --- Content

Result<store::WireReader*> Content::reader()
{
    if (!reader_) reader_ = TRY(folder_.use([&](store::Folder& f) { return f.open(uid_); }));
    return reader_.get();
}

Result<std::string> Content::read(uint64_t offset, std::size_t size)
{
    auto* r = TRY(reader());
    return r->read(offset, size);
}

Result<std::string> Content::read_some(uint64_t offset, std::size_t size)
{
    auto* r = TRY(reader());
    return r->read_some(offset, size);
}

Result<void> Content::parse(bool header_only)
{
    auto map = std::make_unique<PartMap>();
    mail::MimeParser parser(*map);
    for (uint64_t at = 0; !(header_only && map->has_header());) {
        const std::string piece = TRY(read(at, header_only ? 8192 : Streaming::piece));
        if (piece.empty()) {
            parser.finish();
            break;
        }
        parser.feed(piece);
        at += piece.size();
    }
    (header_only ? header_ : parts_) = std::move(map);
    return {};
}

Result<Content::Piece> Content::locate(const Section& section)
{
    using Kind = Section::Kind;
    auto* r = TRY(reader());
    Piece out;
    if (section.part.empty() && section.kind == Kind::all) {
        out.there = true;
        out.size = TRY(r->size());
        return out;
    }
    const bool header_only = section.part.empty();
    if (!parts_ && !(header_only && header_)) TRY(parse(header_only));
    const PartMap& map = parts_ ? *parts_ : *header_;
    const bool of_message = section.kind != Kind::all && section.kind != Kind::mime;
    const mail::MimePart* part = map.find(section.part, of_message);
    if (!part) return out;
    out.there = true;
    if (section.kind == Kind::all || section.kind == Kind::text) {
        out.offset = part->body_offset;
        out.size = part->body_size;
        if (part->index == 0) out.size = TRY(r->size()) - std::min(TRY(r->size()), part->body_offset);
        if (section.kind == Kind::all) out.encoding = part->encoding;
    } else {
        out.offset = part->header_offset;
        out.size = part->header_size;
    }
    return out;
}

// --- Streaming

Streaming Streaming::of_text(std::string text)
{
    Streaming s;
    s.left_ = text.size();
    s.text_ = std::move(text);
    return s;
}

Streaming Streaming::of_piece(Content& content, const Content::Piece& piece)
{
    Streaming s;
    s.content_ = &content;
    s.offset_ = piece.offset;
    s.left_ = piece.size;
    return s;
}

Result<Streaming> Streaming::of_decoded(Content& content, const Content::Piece& where)
{
    if (where.encoding == mail::Encoding::seven_bit || where.encoding == mail::Encoding::eight_bit)
        return of_piece(content, where);
    Streaming s;
    s.content_ = &content;
    s.offset_ = where.offset;
    s.raw_left_ = where.size;
    s.decoding_ = true;
    mail::TransferDecoder decoder(where.encoding);
    std::string text;
    for (uint64_t at = 0; at < where.size;) {
        const std::string raw =
            TRY(content.read(where.offset + at, static_cast<std::size_t>(std::min<uint64_t>(piece, where.size - at))));
        if (raw.empty()) return fail_errno("a mail became shorter while it was read", EIO);
        at += raw.size();
        text.clear();
        decoder.feed(raw, text);
        if (at == where.size) decoder.finish(text);
        s.left_ += text.size();
        s.has_nul_ = s.has_nul_ || text.find('\0') != std::string::npos;
    }
    s.decoder_ = mail::TransferDecoder(where.encoding);
    return s;
}

void Streaming::cut(uint64_t offset, uint64_t count)
{
    offset = std::min(offset, left_);
    left_ = std::min(count, left_ - offset);
    if (decoding_)
        skip_ = offset;
    else if (content_)
        offset_ += offset;
    else
        text_at_ = static_cast<std::size_t>(offset);
}

Result<void> Streaming::decode_more()
{
    text_.clear();
    text_at_ = 0;
    while (text_.empty()) {
        if (raw_left_ == 0) return fail_errno("a mail changed while it was read", EIO);
        const std::string raw =
            TRY(content_->read(offset_, static_cast<std::size_t>(std::min<uint64_t>(piece, raw_left_))));
        if (raw.empty()) return fail_errno("a mail became shorter while it was read", EIO);
        offset_ += raw.size();
        raw_left_ -= raw.size();
        decoder_.feed(raw, text_);
        if (raw_left_ == 0) decoder_.finish(text_);
        const auto skipped = static_cast<std::size_t>(std::min<uint64_t>(skip_, text_.size()));
        text_.erase(0, skipped);
        skip_ -= skipped;
    }
    return {};
}

Result<void> Streaming::step(std::string& out)
{
    if (left_ == 0) return {};
    if (content_ && !decoding_) {
        std::string bytes =
            TRY(content_->read_some(offset_, static_cast<std::size_t>(std::min<uint64_t>(most, left_))));
        if (bytes.empty()) return fail_errno("a mail became shorter while it was read", EIO);
        // No literal may have a NUL (RFC 9051 §9); its place is kept, so that the size stays right.
        if (bytes.find('\0') != std::string::npos) std::replace(bytes.begin(), bytes.end(), '\0', '\x80');
        offset_ += bytes.size();
        left_ -= bytes.size();
        if (out.empty())
            out.swap(bytes);
        else
            out += bytes;
        return {};
    }
    if (decoding_ && text_at_ == text_.size()) TRY(decode_more());
    const auto take = static_cast<std::size_t>(std::min({uint64_t{piece}, left_, uint64_t{text_.size() - text_at_}}));
    out.append(text_, text_at_, take);
    text_at_ += take;
    left_ -= take;
    return {};
}

} // namespace veredus::imap

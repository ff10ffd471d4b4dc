// The MIME structure of a message while its bytes stream by (RFC 2045, 2046).
#include "lib/mail/mime.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::mail {

namespace {

constexpr std::size_t npos = std::string_view::npos;

bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}
bool is_blank_line(std::string_view line)
{
    return line == "\r\n" || line == "\n";
}

unsigned line_end_size(std::string_view bytes)
{
    if (!bytes.ends_with('\n')) return 0;
    return bytes.ends_with("\r\n") ? 2 : 1;
}

std::string_view without_line_end(std::string_view bytes)
{
    bytes.remove_suffix(line_end_size(bytes));
    return bytes;
}

} // namespace

std::string_view MimeField::body() const
{
    std::string_view s = raw;
    s.remove_prefix(std::min(s.size(), s.find(':', name_size) + 1));
    while (!s.empty() && is_blank(s.front())) s.remove_prefix(1);
    return without_line_end(s);
}

std::string_view MimeLine::text() const
{
    return without_line_end(bytes);
}

MimeParser::MimeParser(MimeSink& sink, const MimeLimits& limits)
    : sink_(sink), wants_lines_(sink.wants_lines()), limits_(limits)
{}

void MimeParser::feed(std::string_view bytes)
{
    if (finished_) return;
    fed_ += bytes.size();
    while (!bytes.empty()) {
        if (!wants_lines_ && in_ == In::body && begins_ && pending_.empty()) {
            bytes.remove_prefix(skip_lines(bytes));
            if (bytes.empty()) break;
        }
        // No further than a piece goes: the rest of a very long line is not looked through again for each piece of it.
        const std::string_view near = bytes.substr(0, mime_line_piece);
        const std::size_t line = std::min(near.find('\n'), near.size() - 1) + 1;
        if (pending_.empty() && line <= mime_line_piece && bytes[line - 1] == '\n') {
            take_piece(bytes.substr(0, line));
            bytes.remove_prefix(line);
            continue;
        }
        const std::size_t taken = std::min(line, mime_line_piece - pending_.size());
        pending_.append(bytes.substr(0, taken));
        bytes.remove_prefix(taken);
        if (pending_.back() != '\n' && pending_.size() < mime_line_piece) continue;
        // A line end is never cut in two.
        const std::size_t piece = pending_.size() - (pending_.back() == '\r' ? 1 : 0);
        take_piece(std::string_view(pending_).substr(0, piece));
        pending_.erase(0, piece);
    }
}

void MimeParser::finish()
{
    if (finished_) return;
    finished_ = true;
    if (!pending_.empty()) take_piece(pending_);
    pending_.clear();
    if (open_.empty()) push(MimePart::Kind::message, here_);
    while (in_ == In::header) end_header(here_, false);
    while (!open_.empty()) pop(false);
}

// Whole lines of a body that can be no boundary and that nobody wants: only counted. Their size.
std::size_t MimeParser::skip_lines(std::string_view bytes)
{
    std::size_t at = 0;
    unsigned end = last_end_;
    while (boundaries_ == 0 || !bytes.substr(at).starts_with("--")) {
        const std::size_t lf = bytes.find('\n', at);
        if (lf == npos) break;
        end = lf > at && bytes[lf - 1] == '\r' ? 2 : 1;
        ++here_.lines;
        here_.bare_lfs += end == 1;
        at = lf + 1;
    }
    here_.offset += at;
    last_end_ = end;
    return at;
}

void MimeParser::take_piece(std::string_view bytes)
{
    if (open_.empty()) push(MimePart::Kind::message, here_);
    const unsigned end = line_end_size(bytes);
    next_ = {here_.offset + bytes.size(), here_.lines + (end ? 1 : 0), here_.bare_lfs + (end == 1 ? 1 : 0)};
    if (in_ == In::header)
        header_piece(bytes, end != 0);
    else
        body_piece(bytes, end != 0);
    here_ = next_;
    last_end_ = end;
    begins_ = end != 0;
}

// ---- the header ----

void MimeParser::header_piece(std::string_view bytes, bool ends)
{
    if (begins_) {
        if (is_blank_line(bytes)) return end_header(next_, false);
        if (take_boundary(bytes, ends)) return;
    }
    const bool goes_on = !begins_ || (is_blank(bytes[0]) && field_size_ > 0);
    const std::size_t name = goes_on ? 0 : field_name_size(bytes);
    header_bytes_ += bytes.size();
    const bool cut = header_bytes_ > limits_.header_bytes;
    if (cut || (!goes_on && name == 0)) {
        // RFC 5322 §2.1 wants a blank line before the body; what is no field begins it all the same. The message within
        // a part may have no header at all: then its body begins here.
        while (in_ == In::header) end_header(here_, cut);
        return body_piece(bytes, ends);
    }
    if (!goes_on) {
        end_field();
        field_offset_ = here_.offset;
    }
    field_size_ += bytes.size();
    field_.append(bytes.substr(0, limits_.field_bytes - std::min(limits_.field_bytes, field_.size())));
}

void MimeParser::end_field()
{
    if (field_size_ == 0) return;
    MimeField field;
    field.raw = field_;
    field.name_size = field_name_size(field_);
    field.offset = field_offset_;
    field.size = field_size_;
    field.cut = field_.size() < field_size_;
    Open& open = open_.back();
    if (field.name_size != 0) {
        remember(open, field);
        sink_.field(open.part, field);
    }
    field_.clear();
    field_size_ = 0;
}

void MimeParser::remember(Open& open, const MimeField& field)
{
    if (!open.has_type && iequals(field.name(), "Content-Type")) {
        open.has_type = true;
        open.content_type = field.body();
    } else if (!open.has_encoding && iequals(field.name(), "Content-Transfer-Encoding")) {
        open.has_encoding = true;
        open.transfer_encoding = field.body();
    }
}

void MimeParser::end_header(const Mark& body, bool cut)
{
    end_field();
    Open& open = open_.back();
    MimePart& part = open.part;
    open.body = body;
    part.body_offset = body.offset;
    part.header_size = body.offset - open.header.offset;
    part.header_bare_lfs = body.bare_lfs - open.header.bare_lfs;
    part.header_cut = cut;
    decide(open);
    in_ = In::body;
    header_bytes_ = 0;
    sink_.headers_end(part);
    if (open_.back().part.holds_message) push(MimePart::Kind::nested, body);
}

// What the header says about the body.
void MimeParser::decide(Open& open)
{
    MimePart& part = open.part;
    if (open.has_encoding) part.encoding = parse_transfer_encoding(open.transfer_encoding);
    if (open.has_type) {
        const ContentType type = parse_content_type(open.content_type);
        part.type = type.type;
        part.subtype = type.subtype;
        if (part.type == "multipart" && has_room()) open.boundary = type.boundary();
    }
    open.content_type = {};
    open.transfer_encoding = {};
    part.multipart = !open.boundary.empty();
    boundaries_ += part.multipart;
    // RFC 2046 §5.2.1: a message is not encoded. One that is stays shut: its bytes are no lines of a message.
    part.holds_message = part.type == "message" && (part.subtype == "rfc822" || part.subtype == "global") &&
                         is_identity(part.encoding) && has_room();
}

// ---- the body ----

void MimeParser::body_piece(std::string_view bytes, bool ends)
{
    if (begins_ && take_boundary(bytes, ends)) return;
    const Open& open = open_.back();
    emit(open, open.part.multipart ? MimeLine::Where::outside : MimeLine::Where::content, bytes, ends);
}

void MimeParser::emit(const Open& open, MimeLine::Where where, std::string_view bytes, bool ends)
{
    MimeLine line;
    line.where = where;
    line.bytes = bytes;
    line.offset = here_.offset;
    line.begins = begins_;
    line.ends = ends;
    sink_.line(open.part, line);
}

MimeParser::Match MimeParser::find_boundary(std::string_view line) const
{
    Match match;
    line = without_line_end(line).substr(2);
    while (!line.empty() && is_blank(line.back())) line.remove_suffix(1); // RFC 2046 §5.1.1: transport padding
    const std::string_view open_form = line,
                           closed_form = line.ends_with("--") ? line.substr(0, line.size() - 2) : std::string_view();
    for (std::size_t i = open_.size(); i-- > 0;) { // RFC 2046 §5.1.2: those around it count too
        const std::string_view b = open_[i].boundary;
        if (b.empty()) continue;
        if (b == open_form) return {i, true, false};
        if (b == closed_form) return {i, true, true};
    }
    // RFC 2046 §5.1.1: it is enough that the line begins with it; the longest is meant.
    std::size_t longest = 0;
    for (std::size_t i = open_.size(); i-- > 0;) {
        const std::string_view b = open_[i].boundary;
        if (b.size() <= longest || !line.starts_with(b)) continue;
        longest = b.size();
        match = {i, true, line.substr(b.size()).starts_with("--")};
    }
    return match;
}

// True when the piece in hand is the boundary of something open: then it is dealt with.
bool MimeParser::take_boundary(std::string_view line, bool ends)
{
    if (boundaries_ == 0 || !line.starts_with("--") || !(ends || finished_)) return false;
    const Match match = find_boundary(line);
    if (!match.found) return false;
    while (in_ == In::header) end_header(here_, false);
    while (open_.size() > match.level + 1) pop(true);
    emit(open_.back(), MimeLine::Where::boundary, line, ends);
    if (match.closes) {
        open_.back().boundary.clear();
        --boundaries_;
    } else if (has_room()) {
        push(MimePart::Kind::part, next_);
    }
    return true;
}

// ---- the tree ----

void MimeParser::push(MimePart::Kind kind, const Mark& at)
{
    Open open;
    open.header = at;
    MimePart& part = open.part;
    part.kind = kind;
    part.index = parts_++;
    part.depth = static_cast<uint32_t>(open_.size());
    part.header_offset = at.offset;
    if (!open_.empty()) {
        MimePart& parent = open_.back().part;
        part.parent = parent.index;
        part.number = ++parent.children;
        if (kind == MimePart::Kind::part && parent.subtype == "digest") { // RFC 2046 §5.1.5
            part.type = "message";
            part.subtype = "rfc822";
        }
    }
    open_.push_back(std::move(open));
    in_ = In::header;
    header_bytes_ = 0;
    sink_.part_begins(open_.back().part);
}

void MimeParser::pop(bool before_boundary)
{
    Open& open = open_.back();
    MimePart& part = open.part;
    part.body_size = here_.offset - open.body.offset;
    part.body_lines = here_.lines - open.body.lines;
    part.body_bare_lfs = here_.bare_lfs - open.body.bare_lfs;
    if (before_boundary && part.body_size > 0) {
        part.body_size -= last_end_;
        --part.body_lines;
        part.body_bare_lfs -= last_end_ == 1;
    }
    boundaries_ -= !open.boundary.empty();
    const MimePart ended = std::move(part);
    open_.pop_back();
    sink_.part_ends(ended);
}

} // namespace veredus::mail

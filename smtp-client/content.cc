#include "smtp-client/content.h"

#include <sys/stat.h>

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::smtp_client {

namespace {

constexpr uint64_t small_body = 64 * 1024; // goes out in one write with all around it
constexpr std::size_t chunk = 64 * 1024;
constexpr int chunks_per_step = 16; // then other sessions get their turn

bool line_begins_with_dot(std::string_view header)
{
    return header.starts_with('.') || header.find("\n.") != std::string_view::npos;
}

bool within(uint64_t offset, uint64_t size, uint64_t file)
{
    return offset <= file && size <= file - offset;
}

} // namespace

Result<Content> Content::open(Fd file, const queue::Layout& layout, std::string_view delivered_to, bool binary)
{
    struct stat st {};
    if (::fstat(file.get(), &st) != 0) return fail_errno("queue file");
    const auto size = static_cast<uint64_t>(st.st_size);
    if (!S_ISREG(st.st_mode) || !within(layout.body_offset, layout.body_size, size) ||
        !within(layout.header_offset, layout.header_size, size))
        return fail("queue file: its parts do not lie within it");
    std::string header = TRY(queue::read_header(file, layout, queue::max_header_size));
    const bool one_line = delivered_to.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
    const std::string mark = delivered_to.empty() || !one_line ? std::string() : cat("Delivered-To: ", delivered_to, "\r\n");
    header.insert(0, mark);
    Content content(std::move(file), layout);
    content.set_header(std::move(header));
    content.end_ = ".\r\n";
    if (layout.body_size > 0 && !binary) {
        const uint64_t tail = std::min<uint64_t>(layout.body_size, 2);
        const auto last =
            TRY(pread_exact(content.file_.get(), static_cast<off_t>(layout.body_offset + layout.body_size - tail),
                            static_cast<std::size_t>(tail)));
        content.ends_line_ = last.ends_with("\r\n");
        if (!content.ends_line_) content.end_ = "\r\n.\r\n";
    }
    return content;
}

void Content::set_header(std::string header)
{
    header_ = std::move(header);
    if (!header_.empty() && !header_.ends_with("\r\n")) header_ += "\r\n";
    leading_dot_ = layout_.leading_dot || line_begins_with_dot(header_);
}

void Content::fold_header(std::size_t limit)
{
    std::size_t begin = 0, longest = 0;
    for (std::size_t lf = 0; (lf = header_.find('\n', begin)) != std::string::npos; begin = lf + 1) longest = std::max(longest, lf - begin);
    if (longest > limit) set_header(smtp::fold_header(header_, limit));
}

namespace {

// Whether bytes may go out as lines of 7 or 8 bits: no NUL, no CR or LF but in CRLF (RFC 5321 §2.3.8).
class LineJudge {
public:
    void feed(std::string_view bytes)
    {
        for (const char c : bytes) {
            clean_ = clean_ && c != '\0' && (c == '\n') == (last_ == '\r');
            eight_bit_ = eight_bit_ || static_cast<unsigned char>(c) >= 0x80;
            last_ = c;
        }
    }
    bool clean() const { return clean_ && !eight_bit_ && last_ != '\r'; }

private:
    bool clean_ = true, eight_bit_ = false;
    char last_ = '\n';
};

} // namespace

Result<std::optional<ReworkPlan>> Content::seven_bit_plan() const
{
    using Care = mail::SevenBit::Care;
    for (const Care care : {Care::binary, Care::all_parts}) {
        ReworkPlan plan;
        plan.seven_bit = true;
        plan.unmarked = layout_.eight_bit;
        plan.care = care;
        mail::SevenBit encoder(plan.unmarked, care);
        LineJudge judge;
        std::string out;
        encoder.feed(header_, out);
        encoder.feed("\r\n", out);
        out.clear(); // a header with UTF-8 in it is another's question
        for (uint64_t at = 0; at < layout_.body_size; at += chunk) {
            const auto size = static_cast<std::size_t>(std::min<uint64_t>(chunk, layout_.body_size - at));
            const std::string piece = TRY(pread_exact(file_.get(), static_cast<off_t>(layout_.body_offset + at), size));
            encoder.feed(piece, out);
            judge.feed(out);
            out.clear();
        }
        encoder.finish(out);
        judge.feed(out);
        if (judge.clean() && !encoder.lost()) return std::optional(std::move(plan));
    }
    return std::optional<ReworkPlan>();
}

ContentSender::Step ContentSender::step(net::Stream& stream)
{
    if (content_.plan_.any()) return reworked(stream);
    return content_.leading_dot_ && !chunk_ ? stuffed(stream) : plain(stream);
}

ContentSender::Step ContentSender::plain(net::Stream& stream)
{
    const queue::Layout& layout = content_.layout_;
    std::string text = cat(content_.header_, "\r\n");
    const std::string end = !chunk_ ? content_.end_ : content_.ends_line_ ? "" : "\r\n";
    if (layout.body_size <= small_body) {
        const auto body = pread_exact(content_.file_.get(), static_cast<off_t>(layout.body_offset),
                                      static_cast<std::size_t>(layout.body_size));
        if (!body) return Step::failed;
        append(text, *body, end);
        stream.write(text);
        return Step::queued;
    }
    stream.write(text);
    stream.send_file(content_.file_.get(), layout.body_offset, layout.body_size);
    if (!end.empty()) stream.write(end);
    return Step::queued;
}

ContentSender::Step ContentSender::stuffed(net::Stream& stream)
{
    const queue::Layout& layout = content_.layout_;
    if (!std::exchange(started_, true)) {
        std::string text;
        writer_.feed(content_.header_, text);
        writer_.feed("\r\n", text);
        stream.write(text);
    }
    for (int i = 0; i < chunks_per_step && sent_ < layout.body_size; ++i) {
        const auto size = static_cast<std::size_t>(std::min<uint64_t>(chunk, layout.body_size - sent_));
        const auto piece = pread_exact(content_.file_.get(), static_cast<off_t>(layout.body_offset + sent_), size);
        if (!piece) return Step::failed;
        std::string text;
        writer_.feed(*piece, text);
        stream.write(text);
        sent_ += size;
        if (stream.pending() > 0) break;
    }
    if (sent_ < layout.body_size) return Step::more;
    std::string text;
    writer_.finish(text);
    stream.write(text);
    return Step::queued;
}

// Through what changes it, in DATA form always.
ContentSender::Step ContentSender::reworked(net::Stream& stream)
{
    const queue::Layout& layout = content_.layout_;
    std::string changed, text;
    if (!std::exchange(started_, true)) {
        rework_ = std::make_unique<Rework>(content_.plan_);
        rework_->begin(content_.header_, changed);
    }
    for (int i = 0; i < chunks_per_step && sent_ < layout.body_size; ++i) {
        const auto size = static_cast<std::size_t>(std::min<uint64_t>(chunk, layout.body_size - sent_));
        const auto piece = pread_exact(content_.file_.get(), static_cast<off_t>(layout.body_offset + sent_), size);
        if (!piece) return Step::failed;
        rework_->body(*piece, changed);
        writer_.feed(changed, text);
        stream.write(text);
        changed.clear();
        text.clear();
        sent_ += size;
        if (stream.pending() > 0) break;
    }
    const bool over = sent_ == layout.body_size;
    if (over && !rework_->finish(changed)) return Step::failed;
    writer_.feed(changed, text);
    if (over) writer_.finish(text);
    stream.write(text);
    return over ? Step::queued : Step::more;
}

} // namespace veredus::smtp_client

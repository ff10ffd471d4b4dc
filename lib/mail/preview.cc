// The first words of a mail.
#include "lib/mail/preview.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/mail/html_text.h"
#include "lib/mail/part_text.h"
#include "lib/mail/utf8.h"

namespace veredus::mail {

namespace {

constexpr std::size_t most_looked_at = 1 << 20; // of a message: newsletters have long style sheets

bool is_blank(uint32_t c)
{
    return c <= 0x20 || c == 0x7F || (c >= 0x80 && c <= 0xA0) || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x3000;
}

// What is not seen; newsletters fill their first lines with it.
bool is_invisible(uint32_t c)
{
    return c == 0xAD || c == 0x34F || (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) ||
           (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF;
}

// Words with one space between them, up to a number of characters.
class Words {
public:
    void add(std::string_view utf8)
    {
        while (!utf8.empty() && !full()) {
            const Utf8Start start = utf8_start(utf8);
            const std::size_t size = std::max<std::size_t>(start.size, 1);
            if (start.size == 0 || is_invisible(start.character)) {
                // The text is UTF-8; what is not cannot be shown anyway.
            } else if (is_blank(start.character)) {
                blank_ = true;
            } else {
                if (blank_ && !text_.empty()) {
                    text_.push_back(' ');
                    ++characters_;
                }
                blank_ = false;
                if (full()) return;
                text_.append(utf8.substr(0, size));
                ++characters_;
            }
            utf8.remove_prefix(size);
        }
    }
    bool full() const { return characters_ >= preview_characters; }
    std::string take()
    {
        if (text_.ends_with(' ')) text_.pop_back();
        return std::move(text_);
    }
    bool empty() const { return text_.empty(); }

private:
    std::string text_;
    std::size_t characters_ = 0;
    bool blank_ = false;
};

// Plain text: lines that quote another mail go elsewhere.
class PlainText {
public:
    void feed(std::string_view utf8, Words& own, Words& quoted)
    {
        while (!utf8.empty()) {
            if (begins_) {
                quotes_ = utf8[0] == '>';
                begins_ = false;
            }
            const std::size_t end = std::min(utf8.find('\n'), utf8.size() - 1) + 1;
            std::string_view line = utf8.substr(0, end);
            begins_ = line.ends_with('\n');
            utf8.remove_prefix(end);
            if (quotes_)
                while (!line.empty() && (line[0] == '>' || line[0] == ' ')) line.remove_prefix(1);
            (quotes_ ? quoted : own).add(line);
        }
    }

private:
    bool begins_ = true, quotes_ = false;
};

} // namespace

struct PreviewMaker::Private final : TextSink {
    void field(const MimePart& part, const MimeField& field) override
    {
        if (iequals(field.name(), "Content-Disposition") && parse_disposition(field.body()).type == "attachment")
            attachment = part.index;
    }
    std::string* begin_text(const MimePart& part) override
    {
        const bool plain_text = part.subtype == "plain";
        if (done || part.type != "text" || (part.index == attachment && part.index != 0) ||
            (!plain_text && part.subtype != "html"))
            return nullptr;
        is_html = !plain_text;
        html = {};
        plain = {};
        return &text;
    }
    void more_text(const MimePart&) override
    {
        if (is_html) {
            words_of_html.clear();
            html.feed(text, words_of_html);
            own.add(words_of_html);
        } else {
            plain.feed(text, own, quoted);
        }
        text.clear();
        done = done || own.full();
    }
    void end_text(const MimePart& part) override
    {
        more_text(part);
        words_of_html.clear();
        html.finish(words_of_html);
        own.add(words_of_html);
        done = done || !own.empty();
    }

    TextReader reader{*this};
    MimeParser parser{reader};
    uint32_t attachment = UINT32_MAX; // the part that was last said to be one
    bool is_html = false, done = false;
    std::string text, words_of_html;
    HtmlText html;
    PlainText plain;
    Words own, quoted;
};

PreviewMaker::PreviewMaker() : private_(std::make_unique<Private>()) {}
PreviewMaker::~PreviewMaker() = default;

bool PreviewMaker::feed(std::string_view bytes)
{
    Private& p = *private_;
    constexpr std::size_t slice = 1024; // so that a message that comes at once is left early too
    for (; !bytes.empty() && !p.done; bytes.remove_prefix(std::min(slice, bytes.size()))) {
        const std::size_t left = most_looked_at - std::min<std::size_t>(p.parser.offset(), most_looked_at);
        if (left == 0) return false;
        p.parser.feed(bytes.substr(0, std::min(slice, left)));
    }
    return !p.done;
}

std::string PreviewMaker::finish()
{
    Private& p = *private_;
    p.parser.finish();
    std::string out = p.own.take();
    return out.empty() ? p.quoted.take() : out;
}

} // namespace veredus::mail

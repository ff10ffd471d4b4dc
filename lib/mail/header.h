// A header block: fields in order, each kept as it came (RFC 5322 §2.2), with finding, adding and removing.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace veredus::mail {

struct Field {
    std::string raw;   // "Name: value" with its folding, CRLF line ends, the last CRLF included
    std::size_t name_size = 0;
    std::string_view name() const { return std::string_view(raw).substr(0, name_size); }
    std::string_view body() const;   // after the colon, leading blanks and the last CRLF dropped, folding kept
    std::string unfolded() const;    // body() with each CRLF before white space removed
};

class HeaderBlock {
public:
    // `bytes` is a whole header block in CRLF form without the blank line that ends it. A line that is no field and
    // no continuation is kept as the tail (`rest()`), to become the first line of the body.
    static HeaderBlock parse(std::string_view bytes);

    const std::vector<Field>& fields() const { return fields_; }
    const Field* find(std::string_view name) const;               // the first of that name; case does not matter
    std::size_t count(std::string_view name) const;
    void prepend(std::string_view name, std::string_view body);   // body is folded by the caller or short
    void append(std::string_view name, std::string_view body);
    std::size_t remove(std::string_view name);                    // how many went
    void replace(std::string_view name, std::string_view body);   // first one replaced, others of that name removed
    std::string text() const;                                     // all fields, CRLF, without the blank line
    std::string_view rest() const { return rest_; }
    bool has_8bit() const;

private:
    std::vector<Field> fields_;
    std::string rest_;
};

// Cuts header from body while content streams in: CRLF form, any cut. Gathers at most `limit` bytes of header.
// Lines "From " or ">From " that it begins with, as those of an mbox, become fields X-Mailbox-Line (as Postfix has it): the header behind them stays a header.
class HeaderCutter {
public:
    explicit HeaderCutter(std::size_t limit) : limit_(limit) {}
    // Takes what belongs to the header; what is left of `bytes` afterwards is body. Call until done().
    std::string_view feed(std::string_view bytes);
    bool done() const { return done_; }          // the blank line, or a line that is no field, was seen
    bool too_long() const { return too_long_; }
    void finish();                               // the content ended inside the header
    std::string take_header() { return std::move(header_); }   // without the blank line
    // Bytes that turned out to be body when the header ended with a line that is no field (no blank line there).
    std::string take_body_start() { return std::move(body_start_); }

private:
    void end_line(bool cut);
    std::size_t limit_;
    std::string header_;
    std::string line_;
    std::string body_start_;
    bool begins_ = true;                         // nothing but lines of an mbox so far
    bool done_ = false;
    bool too_long_ = false;
};

// A word of RFC 5322 "phrase" for a display name: quoted when it must be, never with CR or LF.
std::string quote_phrase(std::string_view phrase);

}  // namespace veredus::mail

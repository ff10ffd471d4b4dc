// The MIME structure of a message (RFC 2045, 2046) while its bytes stream by: pure, bounded, tolerant of every broken
// mail.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/mail/mime_fields.h"

namespace veredus::mail {

// Beyond them nothing is taken apart any more: the rest counts as plain body.
struct MimeLimits {
    unsigned depth = 100; // parts within parts; the message itself is at depth 0
    unsigned parts = 10'000;
    std::size_t header_bytes = 1 << 20; // of one header block
    std::size_t field_bytes = 102'400;  // of one field: what is longer is handed on cut
};

// One node of the structure. A part of type message/rfc822 has one child, the message in it, which has a header and a
// body of its own; a multipart has its parts. Offsets count the bytes fed.
struct MimePart {
    enum class Kind : uint8_t { message, part, nested }; // the whole; one between boundaries; the message within a part
    Kind kind = Kind::message;
    uint32_t index = 0;  // in order of beginning, 0 is the message
    uint32_t parent = 0; // index of the node around it; of the message: itself
    uint32_t depth = 0;
    uint32_t number = 1;   // among its parent's children, from 1
    uint32_t children = 0; // so far
    uint64_t header_offset = 0;

    // Known from headers_end() on:
    std::string type = "text", subtype = "plain"; // lower case; what RFC 2046 says when there is no Content-Type
    Encoding encoding = Encoding::seven_bit;
    bool multipart = false;       // is taken apart at its boundary
    bool holds_message = false;   // message/rfc822 or message/global that is taken apart
    bool header_cut = false;      // the header was longer than MimeLimits::header_bytes; the rest is body
    uint64_t header_size = 0;     // the blank line included
    uint64_t header_bare_lfs = 0; // of its line ends, those without CR: each is one byte more in CRLF form
    uint64_t body_offset = 0;

    // Known at part_ends(). The line end before a boundary belongs to the boundary (RFC 2046 §5.1.1) and is not
    // counted.
    uint64_t body_size = 0;
    uint64_t body_lines = 0; // line ends in the body
    uint64_t body_bare_lfs = 0;
};

struct MimeField {
    std::string_view raw; // name, colon, value, folding and the last line end, as they came; lives for the call only
    std::size_t name_size = 0;
    uint64_t offset = 0;
    uint64_t size = 0; // in the message; more than raw has when `cut`
    bool cut = false;
    std::string_view name() const { return raw.substr(0, name_size); }
    std::string_view body() const; // after the colon, blanks before and the line end after it dropped; folding kept
};

// A line of a body or a piece of a very long one. The pieces are the same however the bytes were fed.
struct MimeLine {
    enum class Where : uint8_t {
        content,
        outside,
        boundary
    }; // outside: before, between and after the parts of a multipart
    Where where = Where::content;
    std::string_view bytes; // with the line end; lives for the call only
    uint64_t offset = 0;
    bool begins = true,
         ends = true; // this piece begins the line, ends it (false for the last one of a body without line end)
    std::string_view text() const; // without the line end
};
constexpr std::size_t mime_line_piece = 4096;

class MimeSink {
public:
    virtual ~MimeSink() = default;
    // False, always: line() is not asked for, and bodies go by much faster.
    virtual bool wants_lines() const { return true; }
    virtual void part_begins(const MimePart&) {}
    virtual void field(const MimePart&, const MimeField&) {}
    virtual void headers_end(const MimePart&) {}
    virtual void line(const MimePart&, const MimeLine&) {
    } // of the innermost part; boundaries and outside: of the multipart
    virtual void part_ends(const MimePart&) {}
};

class MimeParser {
public:
    explicit MimeParser(
        MimeSink& sink,
        const MimeLimits& limits = {}); // the sink is borrowed; the message begins with the first byte, or finish()
    void feed(std::string_view bytes);  // any cut; CRLF or LF line ends
    void finish();                      // the message is over: all that is open ends
    uint64_t offset() const { return fed_; }
    uint64_t bare_lfs() const { return here_.bare_lfs; } // line ends without CR so far; all of them after finish()

private:
    enum class In : uint8_t { header, body };
    struct Mark { // a place between two pieces, and what was counted up to there
        uint64_t offset = 0, lines = 0, bare_lfs = 0;
    };
    struct Open {
        MimePart part;
        std::string boundary;                        // of a multipart that is not closed yet
        std::string content_type, transfer_encoding; // field bodies, until the header ends
        bool has_type = false, has_encoding = false;
        Mark header, body; // where they begin
    };
    struct Match {
        std::size_t level = 0; // in open_
        bool found = false, closes = false;
    };
    void take_piece(std::string_view bytes);
    std::size_t skip_lines(std::string_view bytes);
    void header_piece(std::string_view bytes, bool ends);
    void body_piece(std::string_view bytes, bool ends);
    void emit(const Open& open, MimeLine::Where where, std::string_view bytes, bool ends);
    void end_field();
    void end_header(const Mark& body, bool cut);
    void remember(Open& open, const MimeField& field);
    void decide(Open& open);
    void push(MimePart::Kind kind, const Mark& at);
    void pop(bool before_boundary);
    Match find_boundary(std::string_view line) const;
    bool take_boundary(std::string_view line, bool ends);
    bool has_room() const { return parts_ < limits_.parts && open_.size() <= limits_.depth; }

    MimeSink& sink_;
    const bool wants_lines_;
    MimeLimits limits_;
    std::vector<Open> open_; // the message and what is open within it, innermost last
    std::string pending_;    // a piece whose end has not come
    std::string field_;      // the field that may go on in the next line
    uint64_t field_offset_ = 0, field_size_ = 0, header_bytes_ = 0, fed_ = 0;
    Mark here_, next_; // before and after the piece in hand
    uint32_t parts_ = 0;
    std::size_t boundaries_ = 0; // how many of open_ have one to look for
    unsigned last_end_ = 0;      // bytes of the line end before the piece in hand
    In in_ = In::header;
    bool begins_ = true; // the piece in hand begins a line
    bool finished_ = false;
};

} // namespace veredus::mail

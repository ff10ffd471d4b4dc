// One message's bytes and what can be said of them only by reading: sections, transfer encodings undone (RFC 9051
// §6.4.5). Reads as little as the question allows: the header alone where that is enough.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/imap/account.h"
#include "lib/imap/command.h"
#include "lib/mail/mime.h"
#include "lib/mail/transfer.h"

namespace veredus::imap {

// Where the parts of a message are, while it streams by.
class PartMap final : public mail::MimeSink {
public:
    void part_begins(const mail::MimePart& part) override { note(part); }
    void headers_end(const mail::MimePart& part) override;
    void part_ends(const mail::MimePart& part) override { note(part); }
    bool has_header() const { return has_header_; } // the message's own
    const mail::MimePart& message() const { return parts_.front(); }
    // The node whose header and body a section's numbers mean; null: there is none. `message`: HEADER, TEXT and the
    // fields are asked for, which only a message has.
    const mail::MimePart* find(const std::vector<uint32_t>& numbers, bool message) const;

private:
    void note(const mail::MimePart& part);
    const mail::MimePart* child(const mail::MimePart& parent, uint32_t number) const;
    std::vector<mail::MimePart> parts_; // by index
    std::vector<std::vector<uint32_t>> children_;
    bool has_header_ = false;
};

// The fields of a header block that a section names, each as it came, and the blank line (RFC 9051 §6.4.5.1).
std::string choose_fields(std::string_view header, const std::vector<std::string>& names, bool others);

class Content {
public:
    Content(OpenFolder& folder, uint32_t uid) : folder_(folder), uid_(uid) {}
    uint32_t uid() const { return uid_; }

    struct Piece {
        bool there = false;
        uint64_t offset = 0, size = 0; // of the wire form
        mail::Encoding encoding = mail::Encoding::seven_bit;
    };
    // header_fields and header_fields_not: the whole header.
    Result<Piece> locate(const Section& section);
    Result<std::string> read(uint64_t offset, std::size_t size); // at most `size`; empty at the end
    Result<std::string> read_some(uint64_t offset, std::size_t size); // likewise, what comes without a copy

private:
    Result<store::WireReader*> reader();
    Result<void> parse(bool header_only);
    OpenFolder& folder_;
    uint32_t uid_;
    std::unique_ptr<store::WireReader> reader_;
    std::unique_ptr<PartMap> header_, parts_;
};

// What goes out for one section, piece by piece: bytes of the message, these decoded, or a text that was made.
class Streaming {
public:
    static constexpr std::size_t piece = 64 * 1024;       // of what is decoded or parsed
    static constexpr std::size_t most = 2 * piece;        // at once, of what goes out as it is: a block and its CRs
    static Streaming of_text(std::string text);
    static Streaming of_piece(Content& content, const Content::Piece& piece);
    // Decodes it once to learn its size and whether it has a NUL.
    static Result<Streaming> of_decoded(Content& content, const Content::Piece& piece);
    void cut(uint64_t offset, uint64_t count); // RFC 9051 §6.4.5.1: <partial>
    uint64_t left() const { return left_; }
    bool has_nul() const { return has_nul_; }
    Result<void> step(std::string& out); // the next bytes; an error: fewer than was said

private:
    Result<void> decode_more();
    Content* content_ = nullptr;       // null: text_ is all
    uint64_t offset_ = 0, left_ = 0;   // left_: of what goes out
    uint64_t raw_left_ = 0, skip_ = 0; // when decoding
    bool decoding_ = false, has_nul_ = false;
    mail::TransferDecoder decoder_;
    std::string text_;
    std::size_t text_at_ = 0;
};

} // namespace veredus::imap

// A mail on its way into a mailbox: out of the queue file's wire form (CRLF) into Unix lines, in pieces of any cut.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace veredus::store {

struct Content {
    std::string from_line;            // "From sender date\n": mbox and commands only
    std::string head;                 // the header block, LF lines, without the blank line that ends it
    int file = -1;                    // borrowed; the body is an extent of it, CRLF lines
    uint64_t offset = 0, size = 0;
    // The body came by BINARYMIME (RFC 3030 §3): lines in a file would not bring its bytes back, so its parts are stored in base64. What
    // cannot be encoded (within a multipart/signed, or no MIME at all) is stored as it is.
    bool binary = false;
    std::string status;               // mbox only: the header lines that say its flags (status_headers() of mbox_reader.h); empty: a new mail
};

// CRLF becomes LF; a CR or LF by itself stays what it is.
class LineEnds {
public:
    void feed(std::string_view in, std::string& out);
    void finish(std::string& out);

private:
    bool cr_ = false;                 // the last byte was a CR: its fate hangs on the next one
};

// Lines that begin with "From " get a '>' in front (mboxo, as every delivery agent of Unix writes it: readers that undo the
// quoting of mboxrd are the exception, and would show these lines no worse).
class FromQuoter {
public:
    void feed(std::string_view in, std::string& out);
    void finish(std::string& out);

private:
    int matched_ = 0;                 // bytes of "From " seen and withheld at the start of a line; -1: within a line
};

struct Sizes {
    uint64_t stored = 0;              // with LF
    uint64_t wire = 0;                // with CRLF: RFC822.SIZE of IMAP, W= of a Maildir name
};

using Sink = std::function<Result<void>(std::string_view)>;

// Header, blank line, body, each last line ended; the body is read in blocks, never as a whole.
Result<Sizes> stream(const Content& content, const Sink& sink);
// A header block (LF lines) without Status, X-Status, X-Keywords, X-UID, X-IMAP and X-IMAPbase: in an mbox these are what the mailbox
// itself says of a mail, so no sender may write them. Nor Content-Length and Lines: mail programs that believe them look for the next mail
// there, in the midst of this one.
std::string without_status_fields(std::string_view head);
// The same for an mbox: the From_ line before it, quoted, without_status_fields(), an empty line behind it.
Result<void> stream_mbox(const Content& content, const Sink& sink);

}  // namespace veredus::store

// The mail file (veredus-queue(5)): body extent, header extent, envelope records, END. Immutable once queued.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/disk/disk.h"
#include "lib/mail/envelope.h"

namespace veredus::queue {

inline constexpr std::size_t file_start_size = 16;
inline constexpr std::size_t end_size = 72;
inline constexpr uint64_t max_header_size = 16u << 20;
inline constexpr uint64_t max_envelope_size = 64u << 20;
inline constexpr std::size_t max_recipients = 200'000;
inline constexpr std::size_t usual_line = 998;         // RFC 5322 §2.1.1: what no line should pass

// Where things lie and what END says of them; validated against the file's size before anyone uses it.
struct Layout {
    uint64_t body_offset = 0, body_size = 0;
    uint64_t header_offset = 0, header_size = 0;      // without the blank line
    uint64_t envelope_offset = 0, envelope_size = 0;
    uint32_t body_crc = 0, meta_crc = 0;              // meta: header, envelope and END itself
    bool leading_dot = false;                         // a line of header or body begins with '.'
    bool eight_bit = false;                           // the body or header has bytes >= 0x80
    uint32_t longest_line = 0;                        // of the body, CRLF not counted, when that is over usual_line; else 0
    uint64_t content_size() const { return header_size + 2 + body_size; }
};

// The limits that a reader insists on: a writer asks before it encodes.
Result<void> check_envelope(const mail::Envelope& envelope);
// NUL, CR and LF in anything but an address become '?', and such strings are cut at 65535 bytes.
std::string encode_envelope(const mail::Envelope& envelope);
Result<mail::Envelope> decode_envelope(std::string_view bytes);   // bounded, typed, every length checked

// Encodes the tail (header, envelope, END) that follows `body_size` bytes of body. A header line that begins with a dot
// and bytes >= 0x80 of the header are noticed here. `longest_line` of the body, as in Layout or exact.
std::string encode_tail(uint64_t body_size, uint32_t body_crc, bool leading_dot, bool eight_bit, std::string_view header,
                        const mail::Envelope& envelope, uint64_t longest_line = 0);
std::string file_start();        // the magic and version that begin a file, before the body

// END alone: `bytes` are the last end_size bytes of a file of `file_size`.
Result<Layout> decode_end(std::string_view bytes, uint64_t file_size);

struct MailFile {
    Layout layout;
    mail::Envelope envelope;
};
// Reads END and the meta part and checks it; `check_body` reads the body for its CRC too (start-up scan).
// An error with code 0 says that the file is corrupt; others are the world's (EIO, ENOMEM …): try again later.
Result<MailFile> read_mail_file(disk::Disk& disk, const Fd& file, bool check_body);
Result<MailFile> read_mail_file(disk::Disk& disk, const Fd& file, uint64_t size, bool check_body);     // whose size is known
// The body alone against its checksum: for large mail, on a pool thread. Errors as above.
Result<void> check_body(disk::Disk& disk, const Fd& file, const Layout& layout);
// For agents: the header block of a file whose layout qmgr vouched for; still bounded by what the file has.
Result<std::string> read_header(const Fd& file, const Layout& layout, std::size_t limit);

}  // namespace veredus::queue

// The maildrop file (veredus-queue(5), "Maildrop files"): what sendmail(1) writes, veredus-drop checks and submission takes up.
// The parser needs nothing but libc, so that the set-id program stays small.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace veredus::queue::drop {

// The magic, then records: u8 type, u32 length (little-endian), payload. In this order:
//   S  sender, external form; empty is the null sender     once
//   B  "8BITMIME"      T  "FULL" or "HDRS"      V  envelope ID      U  (empty) the addresses need SMTPUTF8      each at most once
//   R  u8 NOTIFY flags, u16 size of ORCPT, ORCPT, address in external form     one or more
//   C  a piece of the content: CRLF line ends, not dot-stuffed     any number
//   E  u64 bytes in all C together, u32 CRC-32C of every byte before this record     once, and nothing follows
enum class Type : uint8_t {
    sender = 'S', body = 'B', ret = 'T', envid = 'V', utf8 = 'U', recipient = 'R', content = 'C', end = 'E',
};

inline constexpr std::string_view magic = "veredus-drop 1\n";
inline constexpr std::size_t header_size = 5;           // of a record
inline constexpr std::size_t max_envelope_record = 2048;
inline constexpr std::size_t max_chunk = 65'536;        // of a C record
inline constexpr std::size_t max_recipients = 100'000;
inline constexpr std::size_t end_size = 12;

// Puts a record's header into `out`.
inline void put_header(char (&out)[header_size], Type type, uint32_t size)
{
    out[0] = static_cast<char>(type);
    for (unsigned i = 0; i < 4; ++i) out[1 + i] = static_cast<char>(size >> (8 * i) & 0xFF);
}

struct RecipientView {
    uint8_t notify = 0;
    std::string_view orcpt, address;
};
// False when the payload is no recipient.
bool split_recipient(std::string_view payload, RecipientView& out);

// Judges a maildrop file as it streams by; any cut. Pull: call next() until it says `more`, then bring more bytes.
class Parser {
public:
    using Crc = uint32_t (*)(uint32_t, std::string_view);
    // `size_limit`: bytes of content, 0 for none. `crc` null: the checksum is not checked (veredus-drop is not where a disk lies).
    explicit Parser(uint64_t size_limit, Crc crc = nullptr) : size_limit_(size_limit), crc_(crc) {}
    enum class Step : uint8_t {
        more,      // all of `in` was taken
        record,    // an envelope record: type() and payload()
        content,   // a piece of content: payload(), good until `in` is touched
        end,       // the file is whole; a byte after this makes it bad
        bad,       // error() says why; for ever
    };
    Step next(std::string_view& in);
    Type type() const { return type_; }
    std::string_view payload() const { return payload_; }
    const char* error() const { return error_; }
    bool too_big() const { return too_big_; }
    bool ended() const { return state_ == State::ended; }
    uint64_t content_size() const { return content_; }
    std::size_t recipients() const { return recipients_; }

private:
    enum class State : uint8_t { start, header, payload, content, ended, bad };
    Step bad(const char* why);
    bool gather(std::string_view& in, std::size_t want);   // into buffer_, until it holds `want` bytes
    Step begin_record();
    Step end_record();
    const char* check_order(Type type, uint32_t size);
    const char* check_payload() const;

    uint64_t size_limit_;
    Crc crc_;
    State state_ = State::start;
    Type type_ = Type::sender;
    uint32_t left_ = 0;             // payload bytes of the running record not yet seen
    uint32_t checksum_ = 0;
    uint64_t content_ = 0;
    std::size_t recipients_ = 0;
    std::size_t held_ = 0;
    bool started_ = false, in_content_ = false, too_big_ = false;
    uint8_t seen_ = 0;              // once-only records that were there, a bit each
    const char* error_ = "";
    std::string_view payload_;
    char buffer_[max_envelope_record] = {};
};

}  // namespace veredus::queue::drop

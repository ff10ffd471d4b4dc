// An mbox taken apart (RFC 4155): where each mail lies, what its Status headers say, and a fingerprint to know it again by.
// Bytes in, in any cut; nothing is kept but places.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/store/uid_table.h"
#include "lib/store/wire_reader.h"

namespace veredus::store {

struct MboxStatus {
    uint8_t flags = 0;
    bool old = false;                          // O: no new mail any more
    std::vector<std::string> keywords;
    bool operator==(const MboxStatus&) const = default;
};

struct MboxMail {
    uint64_t start = 0;                        // of its From_ line
    uint64_t content = 0;                      // after it
    uint64_t head_end = 0;                     // of the blank line behind the header, or where the mail ends
    uint64_t end = 0;                          // without the blank line before the next From_
    uint64_t next = 0;                         // where the next From_ begins, or the file ends
    uint64_t wire_size = 0;                    // of what a client sees, with CRLF
    std::vector<Extent> hidden;                // header lines that no client sees
    std::vector<Extent> status_lines;          // those of them that say the status
    MboxStatus status;
    uint32_t uid = 0;                          // X-UID
    int64_t date = unknown_time;               // of the From_ line
    std::string fingerprint;                   // the same until the mail itself is edited; not unique
    bool internal = false;                     // the folder data (X-IMAP) that UW imapd and Dovecot keep as a first mail: no mail
    std::vector<Extent> visible() const;       // what a client sees, in order
};

class MboxReader {
public:
    // `at`: where in the file the bytes begin; a mail begins there.
    explicit MboxReader(uint64_t at = 0) : begun_at_(at), offset_(at), line_start_(at) {}
    void feed(std::string_view bytes);
    void finish();                             // the file ends here
    bool is_mbox() const { return !wrong_; }   // it is empty or begins with a From_ line
    std::vector<MboxMail> take_mails() { return std::move(mails_); }
    uint32_t uidvalidity() const { return uidvalidity_; }   // X-IMAPbase or X-IMAP of the first mail; 0: none
    uint32_t uidnext() const { return uidnext_; }
    const std::vector<std::string>& base_keywords() const { return base_keywords_; }

private:
    static constexpr std::size_t max_line = 2000;      // of which more is not looked at
    uint64_t wire_size_of(uint64_t start, uint64_t end) const { return end - start + (bare_lf_ ? 1 : 0); }
    void line(std::string_view text, uint64_t start, uint64_t end);
    void header_line(std::string_view text, uint64_t start, uint64_t end);
    void begin_mail(std::string_view from_line, uint64_t start, uint64_t end);
    void end_mail(uint64_t at);
    void hash(std::string_view text);
    void take_base(std::string_view value);

    std::vector<MboxMail> mails_;
    MboxMail mail_;
    bool in_mail_ = false, in_head_ = false, after_blank_ = true, hiding_ = false, wrong_ = false;
    bool unended_ = false;                             // the file ends within a line
    bool words_go_on_ = false;                         // a folded X-Keywords
    bool from_daemon_ = false, x_imap_ = false, internal_subject_ = false;   // what makes a first mail `internal`
    bool bare_lf_ = false;                             // the line ends with an LF that has no CR
    char last_ = 0;                                    // byte of the piece before
    uint64_t begun_at_, offset_, line_start_, blank_at_ = 0, blank_wire_ = 0, hash_ = 0;
    std::string partial_;                              // the beginning of a line that goes on
    uint32_t uidvalidity_ = 0, uidnext_ = 0;
    std::vector<std::string> base_keywords_;
};

// "From sender Tue Nov 24 14:00:00 2026", with or without seconds and zone. Nothing: no separator.
bool is_from_line(std::string_view line);
int64_t from_line_date(std::string_view line);         // seconds; local time

// "RO,AF,word word": how the UID log notes what the file last said, behind the fingerprint.
std::string status_text(const MboxStatus& status);
MboxStatus parse_status_text(std::string_view text);
// Header lines, LF; empty when there is nothing to say.
std::string status_headers(const MboxStatus& status);

}  // namespace veredus::store

// How values look in an answer (RFC 9051 §9): strings, mailbox names, flags, sets, dates. Pure; each appends to `out`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/store/uid_table.h"

namespace veredus::imap {

// A quoted string where that can hold it, else a literal; NUL, which no string may have, is left out. `utf8`: quoted
// strings may have UTF-8 (RFC 9755, IMAP4rev2).
void put_string(std::string& out, std::string_view s, bool utf8);
// A mailbox name, given in UTF-8: as it is where `utf8`, else in modified UTF-7 (RFC 3501 §5.1.3).
void put_mailbox(std::string& out, std::string_view name, bool utf8);
// "(\Seen $Junk)"; bits of `keywords` mean names of `words`.
void put_flags(std::string& out, uint8_t flags, uint64_t keywords, const std::vector<std::string>& words, bool recent);
// "1:3,7"; nothing for no ranges.
void put_ranges(std::string& out, const std::vector<store::UidRange>& ranges);
// "* VANISHED (EARLIER) 1:3,7" (RFC 7162 §3.2.10) in lines of bounded length.
class VanishedLines {
public:
    VanishedLines() = default;
    VanishedLines(std::vector<store::UidRange> uids, bool earlier) : uids_(std::move(uids)), earlier_(earlier) {}
    bool step(std::string& out, std::size_t most); // until `out` has `most` bytes; true: all of it is said
private:
    std::vector<store::UidRange> uids_;
    std::size_t at_ = 0;
    bool earlier_ = false;
};
// "17-Jul-1996 02:44:25 -0700", quoted, in local time.
void put_date_time(std::string& out, int64_t seconds);
void put_number(std::string& out, uint64_t number);
// OBJECTIDs (RFC 8474 §7): one letter, 16 hex digits.
void put_object_id(std::string& out, char kind, uint64_t id);

// Adds `number` to ranges that end below it or with it.
void add_to_ranges(std::vector<store::UidRange>& ranges, uint32_t number);

} // namespace veredus::imap

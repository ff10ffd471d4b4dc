// The Date field as SEARCH, SORT and THREAD take it (RFC 9051 §6.4.4, RFC 5256 §2.2): more tolerant than lib/mail/date,
// and quick.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace veredus::mail {

struct SentDate {
    int64_t local = 0; // what the writer's clock showed, as seconds since 1970
    int64_t utc = 0;   // the same moment, seconds since 1970
    // Days since 1970 as written, whatever the zone.
    int32_t day() const { return static_cast<int32_t>((local >= 0 ? local : local - 86399) / 86400); }
};

// Takes a field body. A zone that is none counts as UTC, a time that is none as 00:00:00 (RFC 5256 §2.2); nothing: no
// date.
std::optional<SentDate> parse_sent_date(std::string_view body);

} // namespace veredus::mail

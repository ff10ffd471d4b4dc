// Dates of mail: RFC 5322 §3.3 date-time, the From_ line's asctime, and mailq's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace veredus::mail {

std::string date_rfc5322(int64_t wall_us);   // "Tue, 24 Nov 2026 14:00:00 +0000 (UTC)" in local time; English always
std::string date_asctime(int64_t wall_us);   // "Tue Nov 24 14:00:00 2026", local time: From_ line (RFC 4155) and mailq
std::optional<int64_t> parse_date_rfc5322(std::string_view text);  // microseconds; obsolete zones too (§4.3)

}  // namespace veredus::mail

// The sent date of a message (RFC 5256 §2.2).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "lib/imap/candidate.h"
#include "lib/mail/sent_date.h"

namespace veredus::imap {

// Seconds since 1970, UTC: of the first Date field; when there is none that can be read, INTERNALDATE. `bodies` is
// scratch.
inline Result<int64_t> sent_time(Candidate& candidate, std::vector<std::string_view>& bodies)
{
    bodies.clear();
    TRY(candidate.header("date", bodies));
    if (!bodies.empty())
        if (const auto date = mail::parse_sent_date(bodies[0])) return date->utc;
    return candidate.received();
}

} // namespace veredus::imap

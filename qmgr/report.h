// Notifications: the mail that tells a sender, or the postmaster, what could not be delivered (RFC 3464).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/mail/envelope.h"
#include "lib/mail/header.h"
#include "qmgr/limits.h"
#include "qmgr/world.h"

namespace veredus::qmgr {

struct ComposedNotice {
    mail::HeaderBlock header;
    mail::Envelope envelope;
    std::string body;
    bool eight_bit = false;
};

// Whether the whole mail comes back: of a failure, what RET asks for (RFC 3461 §4.3), within bounce_size_limit.
bool returns_whole(const Notice& notice, const Mail& about, const Limits& limits);
// Reads the returned part from the mail's file: at most the header and bounce_size_limit bytes.
Result<ComposedNotice> compose(const Notice& notice, const Mail& about, const Limits& limits, int64_t wall_us);

}  // namespace veredus::qmgr

// What smtpd asks qmgr when a client says ETRN (RFC 1985): try what waits for this domain now.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace veredus::ipc {

constexpr uint16_t flush_site_type = 220; // smtpd -> qmgr, call: FlushSite; answer: SiteFlushed. Beside the QueueType numbers of queue.h

struct FlushSite {
    std::string domain;
    std::string encode() const;
    static Result<FlushSite> decode(std::string_view body);
};

struct SiteFlushed {
    enum class How : uint8_t { started = 1, lately = 2, busy = 3 } how = How::busy; // lately: that was done a moment ago. busy: not now
    uint64_t waiting = 0;                                                           // of started: mails that are tried
    std::string encode() const;
    static Result<SiteFlushed> decode(std::string_view body);
};

} // namespace veredus::ipc

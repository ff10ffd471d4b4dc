// What smtpd and submission tell anvil about their clients, and how often that has happened lately.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/ipc/message.h"

namespace veredus::ipc {

enum class AnvilType : uint16_t {
    count = 700, // smtpd, submission -> anvil, call: AnvilEvent; answer: AnvilCounts
    note = 701,  // the same, one-way: nobody waits for the counts
};

constexpr std::size_t max_anvil_client = 256;

struct AnvilEvent {
    // held: this process has `amount` connections of the client open, whatever was told before (anvil was away).
    enum class Kind : uint8_t {
        connect = 1,
        disconnect = 2,
        message = 3,
        recipient = 4,
        auth = 5,
        new_tls = 6,
        held = 7
    } kind = Kind::connect;
    std::string client;  // an address, a network, or a user; anvil takes it as it is
    uint32_t amount = 1; // 0: count nothing, only tell
    std::string encode() const;
    static Result<AnvilEvent> decode(std::string_view body);
};

struct AnvilCounts {
    uint32_t rate = 0;        // events of that kind in the running anvil_rate_time_unit, this one included
    uint32_t connections = 0; // open now, in all processes of the service
    std::string encode() const;
    static Result<AnvilCounts> decode(std::string_view body);
};

} // namespace veredus::ipc

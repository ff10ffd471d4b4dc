// The next hop that router names, as parts: whom to ask DNS for, or whom to call straight.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/net/address.h"

namespace veredus::smtp_client {

// "example.org", "example.org:587": its MX hosts. "[mx.example.org]", "[mx.example.org]:587": that host.
// "[192.0.2.1]:25", "[IPv6:2001:db8::1]", "[2001:db8::1]": that address.
struct NextHop {
    std::string host; // in lower case; for an address its text
    uint16_t port = 25;
    bool use_mx = false;
    std::optional<net::Address> literal;
    std::string text; // as router wrote it, the key of tables
    std::string key() const; // the same for all spellings of one destination
};

Result<NextHop> parse_nexthop(std::string_view text, uint16_t default_port);
// LMTP: "unix:/path", "inet:host:24", "host", "[192.0.2.1]:24": never by MX (RFC 2033 §4: local delivery is no matter of DNS's mail routing).
Result<NextHop> parse_lmtp_nexthop(std::string_view text, uint16_t default_port);

} // namespace veredus::smtp_client

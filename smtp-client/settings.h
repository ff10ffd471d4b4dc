// What main.cf says about the way out, typed.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "lib/conf/values.h"
#include "smtp-client/nexthop.h"
#include "smtp-client/order.h"

namespace veredus::smtp_client {

enum class TlsLevel : uint8_t { none, may, encrypt };

struct Settings {
    using Time = std::chrono::milliseconds;
    std::string myhostname, helo_name;
    uint16_t port = 25;
    Time connect{30'000}, helo{300'000}, starttls{300'000}, mail{300'000}, rcpt{300'000};
    Time data_init{120'000}, data_xfer{180'000}, data_done{600'000}, rset{20'000};
    std::size_t mx_session_limit = 2; // 0: none
    OrderRules order;
    bool ipv4 = true, ipv6 = true;
    std::optional<net::Address> bind4, bind6;
    TlsLevel tls_level = TlsLevel::may;
    bool tls_log = true;
    bool skip_5xx_greeting = true;
    bool ignore_mx_lookup_error = false, defer_if_no_mx_address = false;
    bool cache_connections = true;
    Time cache_time{2'000}, reuse_time{300'000};
    std::size_t reuse_count = 0; // 0: no limit
    std::vector<NextHop> fallback;
};

Result<Settings> read_settings(const conf::Values& values);

} // namespace veredus::smtp_client

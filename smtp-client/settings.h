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
    using Seconds = std::chrono::seconds;
    std::string myhostname, helo_name;
    uint16_t port = 25;
    Seconds connect{30}, helo{300}, starttls{300}, mail{300}, rcpt{300}, data_init{120}, data_xfer{180}, data_done{600},
        rset{20};
    std::size_t mx_session_limit = 2; // 0: none
    OrderRules order;
    bool ipv4 = true, ipv6 = true;
    std::optional<net::Address> bind4, bind6;
    TlsLevel tls_level = TlsLevel::may;
    bool tls_log = true;
    bool skip_5xx_greeting = true;
    bool ignore_mx_lookup_error = false, defer_if_no_mx_address = false;
    bool cache_connections = true;
    Seconds cache_time{2}, reuse_time{300};
    std::size_t reuse_count = 0; // 0: no limit
    std::vector<NextHop> fallback;
};

Result<Settings> read_settings(const conf::Values& values);

} // namespace veredus::smtp_client

// What main.cf says about the way out, typed.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "lib/conf/values.h"
#include "lib/net/hosts.h"
#include "smtp-client/login.h"
#include "smtp-client/nexthop.h"
#include "smtp-client/order.h"
#include "smtp-client/rework.h"
#include "smtp-client/tls_policy.h"

namespace veredus::smtp_client {

// Logging in to servers: smtp_sasl_….
struct SaslSettings {
    bool enabled = false, by_sender = false;
    SaslRules clear{.no_plaintext = true}, tls, verified;
    std::vector<std::string> filter;
    std::shared_ptr<const Lookup> table = std::make_shared<const Lookup>(); // shared: settings are copied
};

// How the addresses of hosts are found: smtp_host_lookup, smtp_dns_support_level.
struct HostLookup {
    bool mx = true;      // domains have MX hosts; else they are hosts themselves
    bool dns_first = true;
    std::shared_ptr<const net::HostNames> names; // of hosts(5), after or before the DNS; null: not looked at
};

struct Settings {
    using Time = std::chrono::milliseconds;
    bool lmtp = false; // RFC 2033
    std::string myhostname, helo_name;
    uint16_t port = 25;
    Time head_start{250}; // of an address before one of the host's other family (RFC 8305 §5)
    Time connect{30'000}, helo{300'000}, starttls{300'000}, mail{300'000}, rcpt{300'000};
    Time data_init{120'000}, data_xfer{180'000}, data_done{600'000}, rset{20'000};
    std::size_t mx_session_limit = 2; // 0: none
    OrderRules order;
    HostLookup lookup;
    bool ipv4 = true, ipv6 = true;
    std::optional<net::Address> bind4, bind6;
    TlsRules tls;
    SaslSettings sasl;
    ReworkRules rework;
    std::vector<std::string> discard_keywords;
    std::shared_ptr<const Lookup> discard_by_address = std::make_shared<const Lookup>();     // shared: settings are copied
    std::shared_ptr<const Lookup> reply_filter = std::make_shared<const Lookup>();
    std::size_t line_limit = 998; // bytes of a line of content without its CRLF; 0: any
    bool tls_log = true;
    bool skip_5xx_greeting = true;
    bool ignore_mx_lookup_error = false, defer_if_no_mx_address = false;
    bool cache_connections = true;
    Time cache_time{2'000}, reuse_time{300'000};
    std::size_t reuse_count = 0; // 0: no limit
    std::chrono::microseconds prompt{1000}; // a peer that answers a content so soon does no work worth a connection of its own
    std::vector<NextHop> fallback;
};

constexpr const char* hosts_file = "/etc/hosts";

// `read`: the files of its tables, and hosts(5), which the jail hides.
Result<Settings> read_settings(const conf::Values& values, const ReadText& read, bool lmtp = false);

} // namespace veredus::smtp_client

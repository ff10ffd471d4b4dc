// Which addresses to try, in which order (RFC 5321 §5.1), as pure functions.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/dns/resolver.h"
#include "lib/net/address.h"

namespace veredus::smtp_client {

struct Mx {
    std::string host;
    uint16_t preference = 0;
    bool operator==(const Mx&) const = default;
};

struct Endpoint {
    net::Address address; // with the port
    std::string host;     // the MX host's name, or the address text
    uint16_t preference = 0;
    bool is_unix() const { return address.family() == AF_UNIX; }
    std::string path() const { return address.text().substr(5); }                      // of a Unix socket
    std::string name() const { return host + "[" + (is_unix() ? path() : address.ip()) + "]"; } // "mx.example.org[192.0.2.1]"
    std::string relay() const { return is_unix() ? name() : name() + ":" + std::to_string(address.port()); } // with ":25"
};

constexpr std::size_t max_mx_hosts = 20; // whose addresses are looked up; the least wanted beyond are dropped

bool is_null_mx(const dns::Answer& answer);          // RFC 7505 §3
std::vector<Mx> mx_hosts(const dns::Answer& answer); // best first, doubles dropped, bounded

// The best preference at which this host itself stands in the list.
std::optional<uint16_t> own_preference(const std::vector<Endpoint>& endpoints, const std::vector<net::Address>& own,
                                       const std::string& myhostname);

enum class Family : uint8_t { any, ipv4, ipv6 };
struct OrderRules {
    Family prefer = Family::any;
    std::size_t limit = 5; // 0: none
    bool randomize = true, balance = true;
};
// Best preference first, equals by chance, then by family; cut to the limit so that both families keep a place.
std::vector<Endpoint> order(std::vector<Endpoint> endpoints, const OrderRules& rules,
                            const std::function<uint32_t(uint32_t)>& random_below);

} // namespace veredus::smtp_client

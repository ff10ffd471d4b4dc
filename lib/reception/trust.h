// Which clients are ours: mynetworks, without the addresses behind which every stranger stands.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/net/address.h"
#include "lib/table/table.h"

namespace veredus::reception {

// Gateways in /proc/net/route and /proc/net/ipv6_route, as text.
std::vector<net::Address> parse_routes(std::string_view ipv4, std::string_view ipv6);
// This host's gateways and the addresses of its bridges: read before the jail hides /proc and /sys.
std::vector<net::Address> hops_of_host();

class Trust {
public:
    // A hop is trusted only when it is listed by itself: behind NAT every stranger has its address (design.md §3).
    Trust(table::MatchList networks, std::vector<net::Address> hops) : networks_(std::move(networks)), hops_(std::move(hops)) {}
    bool trusts(const net::Address& client) const;
    void warn() const;                       // a line for each hop that a range would have let in
    const std::vector<net::Address>& hops() const { return hops_; }
    Result<bool> refresh() { return networks_.refresh(); }

private:
    bool listed(const net::Address& client) const;
    table::MatchList networks_;
    std::vector<net::Address> hops_;
};

}  // namespace veredus::reception

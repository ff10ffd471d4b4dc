// Which clients are ours: mynetworks, or lmtpd's list, without the addresses behind which every stranger stands.
#pragma once

#include <vector>

#include "lib/net/address.h"
#include "lib/table/table.h"

namespace veredus::reception {

class Trust {
public:
    // A hop is trusted only when it is listed by itself: behind NAT every stranger has its address (design.md §3).
    // `hops` is asked for each client: a default route may come at any time. It must outlive this.
    // `setting`: that lists the networks, for the log.
    Trust(table::MatchList networks, const std::vector<net::Address>& hops, const char* setting = "mynetworks") : networks_(std::move(networks)), hops_(hops), setting_(setting) {}
    Trust(table::MatchList, std::vector<net::Address>&&, const char* = nullptr) = delete;
    bool trusts(const net::Address& client) const;
    void warn(const std::vector<net::Address>& of) const;    // a line for each hop that a range would have let in

private:
    bool listed(const net::Address& client) const;
    table::MatchList networks_;
    const std::vector<net::Address>& hops_;
    const char* setting_;
};

}  // namespace veredus::reception

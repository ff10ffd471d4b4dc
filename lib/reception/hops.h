// The addresses behind which strangers may stand: this host's gateways and bridges, as rtnetlink tells them while we run.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/fd.h"
#include "lib/loop/loop.h"
#include "lib/net/address.h"

namespace veredus::reception {

// Grows with each rtnetlink message; what went away is gone in the next one, made afresh from a dump.
class HopTable {
public:
    enum class Heard { more, done, broken, unsupported };    // unsupported: this kernel has nothing of that kind
    // One datagram of messages (rtnetlink(7)). `number`: of the dump that is read, 0 for tidings.
    Heard feed(std::string_view datagram, uint32_t number);
    bool lost() const { return lost_; }          // something was removed since the dump
    std::vector<net::Address> addresses() const;

private:
    void route(std::string_view payload);
    void nexthop(std::string_view payload);
    void address(std::string_view payload);
    void link(std::string_view payload);
    void add(std::set<std::string>& to, std::string_view bytes);
    std::set<std::string> gateways_;                       // 4 or 16 bytes
    std::set<int> bridges_;                                // interface numbers
    std::map<int, std::set<std::string>> of_interface_;    // a link and its address may come in either order
    bool lost_ = false;
};

class Hops {
public:
    // Reads the table once and listens from then on. Inside a jail too, when it was made outside.
    Hops();
    // From now on by itself; `come` hears of new addresses.
    void watch(Loop& loop, std::function<void(const std::vector<net::Address>&)> come);
    // What the kernel has told up to now is known when this returns; cheap enough for every client.
    void catch_up();
    const std::vector<net::Address>& addresses() const { return addresses_; }

private:
    bool dump();
    void adopt();
    Fd tidings_;
    HopTable table_;
    std::vector<net::Address> addresses_;
    std::function<void(const std::vector<net::Address>&)> come_;
    std::unique_ptr<Timer> timer_;
    std::unique_ptr<Watch> watch_;
    bool stale_ = false;                         // the table may lack something
};

}  // namespace veredus::reception

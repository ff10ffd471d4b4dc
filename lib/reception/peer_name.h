// The name of a client's address: /etc/hosts as it was before the jail, else PTR confirmed by A or AAAA, in bounded time.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "lib/dns/resolver.h"

namespace veredus::reception {

// The first name of each address of a hosts(5) file.
std::map<std::string, std::string> parse_hosts(std::string_view text);

struct PeerName {
    std::string name = "unknown";
    std::string reverse = "unknown";   // what the address claims to be called, confirmed or not
    bool trouble = false;            // it may only be unknown because DNS failed
    std::string warning;             // for the log: a name that does not lead back to the address
};

class PeerNames {
public:
    explicit PeerNames(Loop& loop);
    ~PeerNames();
    PeerNames(const PeerNames&) = delete;
    void set_hosts(std::map<std::string, std::string> hosts) { hosts_ = std::move(hosts); }
    void set_resolver(dns::Config config);          // again when resolv.conf changed
    dns::Resolver* resolver() { return resolver_.get(); }   // null until set_resolver()
    // Known at once (hosts, or no resolver): the answer. Else `done` comes later, after `at_most` as "unknown".
    std::optional<PeerName> find(const net::Address& address, std::chrono::milliseconds at_most, std::function<void(PeerName)> done);

private:
    struct Lookup;
    void end(Lookup* lookup, PeerName name);
    void on_name(Lookup* lookup, const dns::Answer& answer);
    void on_address(Lookup* lookup, const dns::Answer& answer);
    Loop& loop_;
    std::map<std::string, std::string> hosts_;
    std::unique_ptr<dns::Resolver> resolver_;
    std::map<Lookup*, std::unique_ptr<Lookup>> running_;
};

}  // namespace veredus::reception

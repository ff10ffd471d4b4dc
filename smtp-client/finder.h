// From a next hop to the addresses to try: MX, implicit MX, null MX, A and AAAA, and ourselves left out (RFC 5321
// §5.1).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lib/dns/resolver.h"
#include "smtp-client/nexthop.h"
#include "smtp-client/order.h"
#include "smtp-client/settings.h"

namespace veredus::smtp_client {

// Why a destination or a connection is of no use; in Postfix's words, without "(…)".
struct Failure {
    bool permanent = false;
    std::string dsn;
    std::string text;
};

struct Found {
    std::vector<Endpoint> endpoints; // to try in this order; empty: see failure
    Failure failure;
};

class Finder {
public:
    using Done = std::function<void(Found)>;
    // Never calls `done` from inside the constructor. The owner may destroy the finder in `done`.
    Finder(Loop& loop, dns::Resolver& resolver, std::shared_ptr<const Settings> settings, NextHop hop,
           const std::vector<net::Address>& own, Done done);
    ~Finder();
    Finder(const Finder&) = delete;

private:
    void heard_mx(const dns::Answer& answer);
    void look_up_hosts(std::vector<Mx> hosts);
    bool take_native(const Mx& mx);
    bool knows_native(const std::string& name) const;
    void ask(const Mx& mx, dns::Kind kind);
    void heard_address(const Mx& mx, dns::Kind kind, const dns::Answer& answer);
    void conclude();
    void finish(Found found);
    void fail_with(bool permanent, std::string dsn, std::string text);
    void note_nobodys(const std::string& name, const net::Address& address);
    void note_failure(const std::string& name, std::string_view type, dns::Status status);
    Loop& loop_;
    dns::Resolver& resolver_;
    std::shared_ptr<const Settings> settings_; // shared: a reload brings new ones
    NextHop hop_;
    std::vector<net::Address> own_;
    Done done_;
    std::map<dns::Resolver::Ticket, int> tickets_; // open questions
    std::vector<Mx> hosts_;
    std::vector<Endpoint> endpoints_;
    std::set<std::string> unsure_; // hosts of which the DNS does not answer everything now
    Failure failure_; // the most hopeful one so far
    bool failed_ = false;
    std::shared_ptr<int> alive_ = std::make_shared<int>(); // shared: deferred calls see whether we still are
};

} // namespace veredus::smtp_client

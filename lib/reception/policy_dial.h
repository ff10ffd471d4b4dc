// How a jailed role reaches a policy service: inet: by itself, unix: through master, which brokers the sockets that main.cf names.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "lib/dns/resolver.h"
#include "lib/net/hosts.h"
#include "lib/net/stream.h"

namespace veredus::reception {

class PolicyDialer {
public:
    using Done = std::function<void(Result<Fd>)>;
    PolicyDialer(Loop& loop, net::HostNames hosts, std::function<dns::Resolver*()> resolver);
    ~PolicyDialer();
    PolicyDialer(const PolicyDialer&) = delete;
    // For PolicyServices::Dial. Names are looked up in hosts, then in DNS (A, then AAAA); the addresses are tried in order.
    void dial(const std::string& endpoint, Done done);

private:
    struct Call;
    void look_up(const std::shared_ptr<Call>& call, dns::Kind kind);
    void connect(const std::shared_ptr<Call>& call);

    Loop& loop_;
    net::HostNames hosts_;
    std::function<dns::Resolver*()> resolver_;
    std::shared_ptr<PolicyDialer*> self_ = std::make_shared<PolicyDialer*>(this);   // late answers find null when we are gone
};

}  // namespace veredus::reception

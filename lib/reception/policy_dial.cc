// How a jailed role reaches a policy service.
#include "lib/reception/policy_dial.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/daemon/service.h"

namespace veredus::reception {

namespace {
constexpr std::chrono::milliseconds connect_time{30'000};
}

struct PolicyDialer::Call {
    std::string host;
    uint16_t port = 0;
    std::vector<net::Address> addresses;
    std::size_t next = 0;
    std::unique_ptr<net::Connector> connector;
    Done done;
};

PolicyDialer::PolicyDialer(Loop& loop, net::HostNames hosts, std::function<dns::Resolver*()> resolver)
    : loop_(loop), hosts_(std::move(hosts)), resolver_(std::move(resolver))
{
}

PolicyDialer::~PolicyDialer() = default;

void PolicyDialer::dial(const std::string& endpoint, Done done)
{
    if (endpoint.starts_with("unix:")) return daemon::context().neighbour(endpoint, 0, std::move(done));
    auto call = std::make_shared<Call>();
    const std::size_t colon = endpoint.rfind(':');     // "inet:host:port", checked at start-up
    call->host = lower(std::string_view(endpoint).substr(5, colon - 5));
    if (call->host.starts_with('[') && call->host.ends_with(']')) call->host = call->host.substr(1, call->host.size() - 2);
    call->port = parse_number<uint16_t>(std::string_view(endpoint).substr(colon + 1)).value_or(0);
    call->done = std::move(done);
    if (const auto literal = net::Address::parse_ip(call->host, 0)) call->addresses.push_back(*literal);
    else if (const auto known = hosts_.find(call->host); known != hosts_.end()) call->addresses = known->second;
    if (!call->addresses.empty()) return connect(call);
    look_up(call, dns::Kind::a);
}

void PolicyDialer::look_up(const std::shared_ptr<Call>& call, dns::Kind kind)
{
    dns::Resolver* resolver = resolver_();
    if (!resolver) {
        loop_.defer([call] { call->done(fail(cat(call->host, ": DNS cannot be asked yet"))); });
        return;
    }
    (void)resolver->lookup(call->host, kind, [self = std::weak_ptr(self_), call, kind](const dns::Answer& answer) {
        const auto alive = self.lock();
        if (!alive) return;
        for (const dns::Record& record : answer.records) call->addresses.push_back(record.address);
        if (!call->addresses.empty()) return (*alive)->connect(call);
        if (kind == dns::Kind::a) return (*alive)->look_up(call, dns::Kind::aaaa);
        call->done(fail(cat(call->host, ": ", dns::status_text(answer.status))));
    });
}

void PolicyDialer::connect(const std::shared_ptr<Call>& call)
{
    const net::Address to = call->addresses[call->next++].with_port(call->port);
    call->connector = std::make_unique<net::Connector>(loop_, to, nullptr, connect_time, [self = std::weak_ptr(self_), call](Result<Fd> fd) {
        const auto alive = self.lock();
        if (!alive) return;
        // The connector that calls us goes after this turn; until then it keeps the call, and the call keeps it.
        std::shared_ptr<net::Connector> last(std::move(call->connector));
        (*alive)->loop_.defer([last] {});
        if (!fd && call->next < call->addresses.size()) return (*alive)->connect(call);
        call->done(std::move(fd));
    });
}

}  // namespace veredus::reception

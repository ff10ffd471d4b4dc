#include "smtp-client/finder.h"

#include <algorithm>

#include "lib/base/random.h"
#include "lib/base/text.h"

namespace veredus::smtp_client {

namespace {

constexpr uint16_t smtp_port = 25;

std::string name_service_error(const std::string& name, std::string_view type, dns::Status status)
{
    return cat("Host or domain name not found. Name service error for name=", name, " type=", type, ": ",
               dns::status_text(status));
}

// 0.0.0.0/8 and :: mean "this host" and are no address of anybody.
bool is_nobodys(const net::Address& address)
{
    const std::string bytes = address.ip_bytes();
    if (bytes.size() == 4) return bytes[0] == '\0';
    return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == '\0'; });
}

} // namespace

Finder::Finder(Loop& loop, dns::Resolver& resolver, std::shared_ptr<const Settings> settings, NextHop hop,
               const std::vector<net::Address>& own, Done done)
    : loop_(loop), resolver_(resolver), settings_(std::move(settings)), hop_(std::move(hop)), own_(own),
      done_(std::move(done))
{
    if (hop_.literal) {
        loop_.defer([this, life = std::weak_ptr<int>(alive_)] {
            if (life.expired()) return;
            endpoints_.push_back({*hop_.literal, hop_.host, 0});
            conclude();
        });
    } else if (hop_.use_mx && settings_->lookup.mx) {
        const auto ticket = std::make_shared<dns::Resolver::Ticket>();
        *ticket = resolver_.lookup(hop_.host, dns::Kind::mx, [this, ticket](const dns::Answer& answer) {
            tickets_.erase(*ticket);
            heard_mx(answer);
        });
        tickets_[*ticket] = 1;
    } else {
        look_up_hosts({{hop_.host, 0}});
    }
}

Finder::~Finder()
{
    for (const auto& [ticket, unused] : tickets_) resolver_.cancel(ticket);
}

void Finder::heard_mx(const dns::Answer& answer)
{
    if (answer.status == dns::Status::ok) {
        if (is_null_mx(answer))
            return fail_with(true, "5.1.10",
                             cat("Domain ", hop_.host, " does not accept mail (nullMX)")); // RFC 7505 §3
        auto hosts = mx_hosts(answer);
        if (!hosts.empty()) return look_up_hosts(std::move(hosts));
    }
    // RFC 5321 §5.1: without MX records the domain itself is the host.
    if (answer.status == dns::Status::nodata || answer.status == dns::Status::ok ||
        (dns::temporary(answer.status) ? settings_->ignore_mx_lookup_error : knows_native(hop_.host)))
        return look_up_hosts({{hop_.host, 0}});
    const bool permanent = !dns::temporary(answer.status);
    fail_with(permanent, permanent ? "5.4.4" : "4.4.3", name_service_error(hop_.host, "MX", answer.status));
}

void Finder::look_up_hosts(std::vector<Mx> hosts)
{
    hosts_ = std::move(hosts);
    for (const Mx& mx : hosts_) {
        if (!settings_->lookup.dns_first && take_native(mx)) continue;
        if (settings_->ipv4) ask(mx, dns::Kind::a);
        if (settings_->ipv6) ask(mx, dns::Kind::aaaa);
    }
    if (tickets_.empty()) {
        loop_.defer([this, life = std::weak_ptr<int>(alive_)] {
            if (life.expired()) return;
            if (!endpoints_.empty()) conclude();
            else fail_with(false, "4.3.5", "inet_protocols leaves no address family to use");
        });
    }
}

bool Finder::knows_native(const std::string& name) const
{
    const auto& names = settings_->lookup.names;
    return names && names->contains(name);
}

// What hosts(5) says; false: nothing of use.
bool Finder::take_native(const Mx& mx)
{
    if (!knows_native(mx.host)) return false;
    const std::size_t before = endpoints_.size();
    for (const net::Address& address : settings_->lookup.names->at(mx.host))
        if (address.family() == AF_INET ? settings_->ipv4 : settings_->ipv6) endpoints_.push_back({address.with_port(hop_.port), mx.host, mx.preference});
    return endpoints_.size() > before;
}

void Finder::ask(const Mx& mx, dns::Kind kind)
{
    const auto ticket = std::make_shared<dns::Resolver::Ticket>();
    *ticket = resolver_.lookup(mx.host, kind, [this, ticket, mx, kind](const dns::Answer& answer) {
        tickets_.erase(*ticket);
        heard_address(mx, kind, answer);
    });
    tickets_[*ticket] = 1;
}

void Finder::heard_address(const Mx& mx, dns::Kind kind, const dns::Answer& answer)
{
    for (const dns::Record& record : answer.records) {
        if (is_nobodys(record.address)) note_nobodys(mx.host, record.address);
        else endpoints_.push_back({record.address.with_port(hop_.port), mx.host, mx.preference});
    }
    if (dns::temporary(answer.status)) unsure_.insert(mx.host);
    if (answer.status != dns::Status::ok) note_failure(mx.host, kind == dns::Kind::a ? "A" : "AAAA", answer.status);
    if (!tickets_.empty()) return;
    // hosts(5) comes after a DNS that says that there is nothing, not after one that says nothing now.
    if (settings_->lookup.dns_first)
        for (const Mx& host : hosts_)
            if (!unsure_.contains(host.host) && std::none_of(endpoints_.begin(), endpoints_.end(), [&](const Endpoint& e) { return e.host == host.host; })) take_native(host);
    conclude();
}

// 0.0.0.0 or :: would lead to this host itself; other hosts of the list may be real.
void Finder::note_nobodys(const std::string& name, const net::Address& address)
{
    if (failed_) return;
    failed_ = true;
    failure_ = {true, "5.4.4", cat("host ", name, " has the address ", address.ip(), ", which is no host's")};
}

// A temporary failure is worth more than a permanent one, and IPv4's word more than IPv6's.
void Finder::note_failure(const std::string& name, std::string_view type, dns::Status status)
{
    const bool permanent = !dns::temporary(status);
    if (failed_ && (permanent || !failure_.permanent) && type != "A") return;
    if (failed_ && permanent && !failure_.permanent) return;
    failed_ = true;
    failure_ = {permanent, permanent ? "5.4.4" : "4.4.3", name_service_error(name, type, status)};
    if (permanent && hop_.use_mx && settings_->defer_if_no_mx_address) {
        failure_.permanent = false;
        failure_.dsn = "4.4.4";
    }
}

void Finder::conclude()
{
    if (endpoints_.empty()) return finish({{}, failure_});
    // Another port of this host is another server, which main.cf names on purpose.
    if (hop_.port == smtp_port) {
        if (const auto mine = own_preference(endpoints_, own_, settings_->myhostname)) {
            std::erase_if(endpoints_, [&](const Endpoint& e) { return e.preference >= *mine; });
            if (endpoints_.empty())
                return fail_with(true, "5.4.6", cat("mail for ", hop_.host, " loops back to myself"));
        }
    }
    finish({order(std::move(endpoints_), settings_->order, random_below), {}});
}

void Finder::fail_with(bool permanent, std::string dsn, std::string text)
{
    finish({{}, {permanent, std::move(dsn), std::move(text)}});
}

void Finder::finish(Found found)
{
    const Done done = std::move(done_); // the owner may destroy us in it
    done(std::move(found));
}

} // namespace veredus::smtp_client

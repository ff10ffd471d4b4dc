// The name of a client's address, confirmed in both directions.
#include "lib/reception/peer_name.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/mail/address.h"
#include "lib/reception/client.h"

namespace veredus::reception {

std::map<std::string, std::string> parse_hosts(std::string_view text)
{
    std::map<std::string, std::string> out;
    for (std::string_view line : split_on(text, '\n')) {
        line = line.substr(0, line.find('#'));
        const auto words = split(line, " \t\r");
        if (words.size() < 2 || !mail::is_domain(words[1])) continue;
        if (const auto address = net::Address::parse_ip(words[0], 0)) out.emplace(address->ip(), words[1]);
    }
    return out;
}

struct PeerNames::Lookup {
    net::Address address;
    std::string name;
    dns::Resolver::Ticket ticket = 0;
    std::unique_ptr<Timer> deadline;
    std::function<void(PeerName)> done;
};

PeerNames::PeerNames(Loop& loop) : loop_(loop) {}
PeerNames::~PeerNames() = default;

void PeerNames::set_resolver(dns::Config config)
{
    if (resolver_) resolver_->set_config(std::move(config));
    else resolver_ = std::make_unique<dns::Resolver>(loop_, std::move(config));
}

std::optional<PeerName> PeerNames::find(const net::Address& address, std::chrono::milliseconds at_most, std::function<void(PeerName)> done)
{
    if (const auto host = hosts_.find(address.ip()); host != hosts_.end()) return PeerName{host->second, host->second, false, ""};
    if (!resolver_ || !address.is_ip()) return PeerName();
    auto lookup = std::make_unique<Lookup>();
    Lookup* raw = lookup.get();
    raw->address = address;
    raw->done = std::move(done);
    raw->deadline = std::make_unique<Timer>(loop_, [this, raw] {
        resolver_->cancel(raw->ticket);
        PeerName nobody;
        nobody.trouble = true;
        end(raw, std::move(nobody));
    });
    raw->deadline->start(at_most);
    raw->ticket = resolver_->lookup(dns::reverse_name(address), dns::Kind::ptr, [this, raw](const dns::Answer& answer) { on_name(raw, answer); },
                                    {client_network(address), true});
    running_.emplace(raw, std::move(lookup));
    return std::nullopt;
}

void PeerNames::on_name(Lookup* lookup, const dns::Answer& answer)
{
    const auto usable = [](const dns::Record& r) { return mail::is_domain(r.name); };
    const auto record = std::find_if(answer.records.begin(), answer.records.end(), usable);
    if (answer.status != dns::Status::ok || record == answer.records.end()) {
        PeerName nobody;
        nobody.trouble = dns::temporary(answer.status);
        return end(lookup, std::move(nobody));
    }
    lookup->name = record->name;
    const dns::Kind kind = lookup->address.family() == AF_INET ? dns::Kind::a : dns::Kind::aaaa;
    lookup->ticket = resolver_->lookup(lookup->name, kind, [this, lookup](const dns::Answer& a) { on_address(lookup, a); },
                                       {client_network(lookup->address), true});
}

void PeerNames::on_address(Lookup* lookup, const dns::Answer& answer)
{
    const bool same = std::any_of(answer.records.begin(), answer.records.end(), [&](const dns::Record& r) { return r.address.same_ip(lookup->address); });
    if (same) return end(lookup, PeerName{lookup->name, lookup->name, false, ""});
    PeerName out;
    out.reverse = lookup->name;
    out.trouble = dns::temporary(answer.status);
    out.warning = cat("hostname ", lookup->name, " does not resolve to address ", lookup->address.ip());
    if (answer.status != dns::Status::ok) append(out.warning, ": ", dns::status_text(answer.status));
    end(lookup, std::move(out));
}

void PeerNames::end(Lookup* lookup, PeerName name)
{
    // We may be inside the lookup's own timer: it goes when this turn is over.
    const auto it = running_.find(lookup);
    std::shared_ptr<Lookup> last(std::move(it->second));
    running_.erase(it);
    last->deadline->stop();
    loop_.defer([last] {});
    last->done(std::move(name));
}

}  // namespace veredus::reception

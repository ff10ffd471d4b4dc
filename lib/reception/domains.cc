// MX, then A, then AAAA (RFC 5321 section 5.1); the resolver keeps what it heard.
#include "lib/reception/domains.h"

#include <algorithm>

namespace veredus::reception {

struct Domains::Lookup {
    std::string domain;
    dns::Resolver::Ticket ticket = 0;
    bool doubt = false; // one of the answers was a temporary failure
    std::unique_ptr<Timer> deadline;
    Done done;
};

void Domains::find(const std::string& domain, std::chrono::milliseconds at_most, Done done)
{
    if (!resolver_() || domain.empty() || domain.front() == '[') {
        const Found found = domain.starts_with('[') ? Found::yes : Found::unknown;
        return loop_.defer([done = std::move(done), found] { done(found); });
    }
    auto lookup = std::make_shared<Lookup>();
    Lookup* raw = lookup.get();
    raw->domain = domain;
    raw->done = std::move(done);
    raw->deadline = std::make_unique<Timer>(loop_, [this, raw] {
        resolver_()->cancel(raw->ticket);
        end(raw, Found::unknown);
    });
    raw->deadline->start(at_most);
    running_.emplace(raw, std::move(lookup));
    ask(raw, dns::Kind::mx);
}

void Domains::ask(Lookup* lookup, dns::Kind kind)
{
    lookup->ticket = resolver_()->lookup(
        lookup->domain, kind, [this, lookup, kind](const dns::Answer& answer) { heard(lookup, kind, answer); });
}

void Domains::heard(Lookup* lookup, dns::Kind kind, const dns::Answer& answer)
{
    if (answer.status == dns::Status::ok && !answer.records.empty()) {
        const bool null_mx = kind == dns::Kind::mx && std::all_of(answer.records.begin(), answer.records.end(),
                                                                  [](const dns::Record& r) { return r.name.empty(); });
        return end(lookup, null_mx ? Found::refuses : Found::yes);
    }
    if (answer.status == dns::Status::nxdomain) return end(lookup, Found::no);
    lookup->doubt = lookup->doubt || dns::temporary(answer.status);
    if (kind == dns::Kind::mx) return ask(lookup, dns::Kind::a);
    if (kind == dns::Kind::a) return ask(lookup, dns::Kind::aaaa);
    end(lookup, lookup->doubt ? Found::unknown : Found::no);
}

void Domains::end(Lookup* lookup, Found found)
{
    const auto it = running_.find(lookup);
    const std::shared_ptr<Lookup> last = std::move(it->second);
    running_.erase(it);
    last->deadline->stop();
    loop_.defer([last] {});
    last->done(found);
}

} // namespace veredus::reception

// MX, then A, then AAAA (RFC 5321 section 5.1); the resolver keeps what it heard.
#include "lib/reception/domains.h"

#include <algorithm>

#include "lib/base/clock.h"
#include "lib/base/text.h"

namespace veredus::reception {

namespace {
constexpr int64_t remembered_us = 60 * us_per_second;
constexpr std::chrono::milliseconds short_patience{1000};
constexpr std::size_t most_troubled = 1000;
} // namespace

struct Domains::Lookup {
    std::string domain, who;
    int64_t began_us = 0;
    dns::Resolver::Ticket ticket = 0;
    bool doubt = false; // one of the answers was a temporary failure
    std::unique_ptr<Timer> deadline;
    Done done;
};

void Domains::find(const std::string& name, std::chrono::milliseconds at_most, const std::string& who, Done done)
{
    const std::string domain = lower(name);
    if (!resolver_() || domain.empty() || domain.front() == '[') {
        const Found found = domain.starts_with('[') ? Found::yes : Found::unknown;
        return loop_.defer([done = std::move(done), found] { done(found); });
    }
    const int64_t now = loop_.now_us();
    if (now < mute_until_us_) at_most = std::min(at_most, short_patience);
    const auto trouble = troubled_.find(domain);
    if (trouble == troubled_.end() || trouble->second.until_us <= now) return begin(domain, at_most, who, std::move(done));
    loop_.defer([done = std::move(done)] { done(Found::unknown); });
    if (!std::exchange(trouble->second.asked_again, true)) begin(domain, at_most, who, [](Found) {});
}

void Domains::begin(const std::string& domain, std::chrono::milliseconds at_most, const std::string& who, Done done)
{
    auto lookup = std::make_shared<Lookup>();
    Lookup* raw = lookup.get();
    raw->domain = domain;
    raw->who = who;
    raw->began_us = loop_.now_us();
    raw->done = std::move(done);
    Asked& asked = asked_.try_emplace(domain, Asked{raw->began_us, 0}).first->second;
    ++asked.lookups;
    // Who comes when the domain is being asked for already waits with the first one.
    at_most -= std::min(at_most, std::chrono::milliseconds((raw->began_us - asked.since_us) / 1000));
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
        lookup->domain, kind, [this, lookup, kind](const dns::Answer& answer) { heard(lookup, kind, answer); }, {lookup->who});
}

void Domains::heard(Lookup* lookup, dns::Kind kind, const dns::Answer& answer)
{
    if (!dns::temporary(answer.status)) {
        heard_us_ = loop_.now_us();
        mute_until_us_ = 0;
    }
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
    if (const auto asked = asked_.find(last->domain); --asked->second.lookups == 0) asked_.erase(asked);
    const int64_t now = loop_.now_us();
    const bool in_vain = found == Found::unknown && now - last->began_us >= us_per_second / 2;
    if (in_vain && troubled_.size() >= most_troubled) troubled_.clear();
    if (in_vain) troubled_.insert_or_assign(last->domain, Trouble{now + remembered_us, false});
    else if (found != Found::unknown) troubled_.erase(last->domain);
    if (in_vain && heard_us_ <= last->began_us) mute_until_us_ = now + remembered_us;
    loop_.defer([last] {});
    last->done(found);
}

} // namespace veredus::reception

// Does a domain take mail? Asked of the DNS before a user's mail is taken, so that he hears of a typing error at once.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "lib/dns/resolver.h"

namespace veredus::reception {

class Domains {
public:
    // yes: it has MX, A or AAAA records. refuses: a null MX (RFC 7505). unknown: the DNS did not say in time.
    enum class Found { yes, no, refuses, unknown };
    using Done = std::function<void(Found)>;
    // `resolver`: null while resolv.conf is not known; then everything is unknown.
    Domains(Loop& loop, std::function<dns::Resolver*()> resolver) : loop_(loop), resolver_(std::move(resolver)) {}
    Domains(const Domains&) = delete;
    // `done` comes later, after `at_most` with unknown. A literal is a yes. `who` asks: his network, as of dns::Asker.
    // Nobody waits for the same silence twice: a domain that the DNS did not speak of in time is unknown at once for a minute (and asked
    // for again meanwhile), and while the DNS speaks of none at all, each waits for a second.
    void find(const std::string& domain, std::chrono::milliseconds at_most, const std::string& who, Done done);

private:
    struct Lookup;
    struct Trouble {
        int64_t until_us;
        bool asked_again;
    };
    struct Asked {
        int64_t since_us;
        unsigned lookups;
    };
    void begin(const std::string& domain, std::chrono::milliseconds at_most, const std::string& who, Done done);
    void ask(Lookup* lookup, dns::Kind kind);
    void heard(Lookup* lookup, dns::Kind kind, const dns::Answer& answer);
    void end(Lookup* lookup, Found found);
    Loop& loop_;
    std::function<dns::Resolver*()> resolver_;
    std::map<Lookup*, std::shared_ptr<Lookup>> running_; // shared_ptr: one may end inside its own timer
    std::unordered_map<std::string, Asked> asked_;       // domains of running_
    std::unordered_map<std::string, Trouble> troubled_;  // that were not spoken of in time
    int64_t heard_us_ = 0;                               // when the DNS last spoke
    int64_t mute_until_us_ = 0;
};

} // namespace veredus::reception

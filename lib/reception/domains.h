// Does a domain take mail? Asked of the DNS before a user's mail is taken, so that he hears of a typing error at once.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

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
    // `done` comes later, after `at_most` with unknown. A literal is a yes.
    void find(const std::string& domain, std::chrono::milliseconds at_most, Done done);

private:
    struct Lookup;
    void ask(Lookup* lookup, dns::Kind kind);
    void heard(Lookup* lookup, dns::Kind kind, const dns::Answer& answer);
    void end(Lookup* lookup, Found found);
    Loop& loop_;
    std::function<dns::Resolver*()> resolver_;
    std::map<Lookup*, std::shared_ptr<Lookup>> running_; // shared_ptr: one may end inside its own timer
};

} // namespace veredus::reception

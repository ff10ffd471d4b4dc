// What our users may do (RFC 6409): send to anyone, once they have said who they are, as themselves.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "lib/ipc/route.h"
#include "lib/reception/domains.h"
#include "lib/reception/recipients.h"
#include "lib/reception/session.h"
#include "lib/reception/trust.h"
#include "submission/mend.h"

namespace veredus::submission {

struct PolicySettings {
    bool auth_required = true; // else mynetworks may send without a login
    bool check_owner = true;   // a user sends as an address of his own
    bool verify_domains = true;
    unsigned messages_per_unit = 0, recipients_per_unit = 0; // of one user; 0: no limit
    std::chrono::seconds unit{60};
    MendSettings mend;
    queue::InspectSettings inspect;
};

// Events of each user in the running unit of time. Bounded: who did nothing in it is forgotten with it.
class Rates {
public:
    explicit Rates(const Clock& clock) : clock_(clock) {}
    // Counts one more; false when that is more than `limit` (0: none).
    bool add(const std::string& user, unsigned limit, std::chrono::seconds unit);

private:
    const Clock& clock_;
    int64_t began_us_ = 0;
    std::unordered_map<std::string, unsigned> counts_;
};

class UserPolicy final : public reception::Policy {
public:
    using OwnerDone = std::function<void(const ipc::OwnerReply&)>;
    struct Doors {
        reception::Recipients& recipients;
        reception::Domains& domains;
        std::function<void(ipc::OwnerRequest, OwnerDone)>
            owner; // answers later, with temporary when router cannot be asked
        const Clock& clock;
    };
    UserPolicy(Doors doors, std::shared_ptr<const reception::Trust> trust,
               std::shared_ptr<const reception::Trust> exempt, PolicySettings settings)
        : doors_(std::move(doors)), messages_(doors_.clock), recipients_(doors_.clock), trust_(std::move(trust)),
          exempt_(std::move(exempt)), settings_(std::move(settings))
    {}
    void configure(std::shared_ptr<const reception::Trust> trust, std::shared_ptr<const reception::Trust> exempt,
                   PolicySettings settings);
    mail::Origin origin(const net::Address& client) override;
    bool counted(const net::Address& client) override { return !exempt_->trusts(client); }
    smtp::Outcome sender(reception::Session& session, const mail::Envelope& envelope) override;
    smtp::Outcome recipient(reception::Session& session, const mail::Recipient& rcpt,
                            const mail::Envelope& envelope) override;
    void foresee(const std::vector<mail::Address>& coming) override;
    std::vector<std::unique_ptr<queue::Inspector>> inspectors(const reception::Session& session,
                                                              const std::string& id) override;

    // Pure: what a route means for a user's recipient, and what an owner's word means for his sender address.
    static smtp::Reply verdict(const ipc::Route& route, const mail::Address& address);
    static smtp::Reply verdict(const ipc::OwnerReply& owner, const mail::Address& address, const std::string& user);
    // The domain that the mail's way is to be found by in the DNS; empty when the way is configured, or leads to
    // ourselves.
    static std::string domain_to_verify(const ipc::Route& route);

private:
    smtp::Outcome judge(const ipc::Route& route, const mail::Address& address,
                        const std::function<void(const smtp::Reply&)>& later);
    void verify(const std::string& domain, const mail::Address& address, const char* what,
                const std::function<void(const smtp::Reply&)>& later);

    Doors doors_;
    Rates messages_, recipients_;
    std::shared_ptr<const reception::Trust> trust_, exempt_; // shared_ptr: a reload brings others while they are in use
    PolicySettings settings_;
    std::shared_ptr<UserPolicy*> self_ = std::make_shared<UserPolicy*>(this); // answers that outlive us find null
};

} // namespace veredus::submission

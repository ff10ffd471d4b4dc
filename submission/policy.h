// What our users may do (RFC 6409): send to anyone, once they have said who they are, as themselves.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/ipc/route.h"
#include "lib/reception/domains.h"
#include "lib/reception/lists.h"
#include "lib/reception/recipients.h"
#include "submission/mend.h"

namespace veredus::submission {

struct PolicySettings {
    bool auth_required = true; // else mynetworks may send without a login
    bool check_owner = true;   // a user sends as an address of his own
    bool verify_domains = true;
    unsigned messages_per_unit = 0, recipients_per_unit = 0; // of one user in anvil_rate_time_unit; 0: no limit
    MendSettings mend;
    queue::InspectSettings inspect;
};

class UserPolicy final : public reception::ListPolicy {
public:
    using OwnerDone = std::function<void(const ipc::OwnerReply&)>;
    struct Doors {
        reception::Recipients& recipients;
        reception::Domains& domains;
        std::function<void(ipc::OwnerRequest, OwnerDone)>
            owner; // answers later, with temporary when router cannot be asked
        reception::Meters& meters; // counts users in all processes
        reception::Examiner& examiner;
    };
    UserPolicy(Doors doors, std::shared_ptr<const reception::Trust> trust,
               std::shared_ptr<const reception::Trust> exempt, PolicySettings settings)
        : ListPolicy(doors.examiner, std::move(trust), std::move(exempt)), doors_(std::move(doors)),
          settings_(std::move(settings))
    {}
    void configure(PolicySettings settings) { settings_ = std::move(settings); }
    mail::Origin origin(const net::Address& client) override;
    smtp::Outcome sender(reception::Session& session, const mail::Envelope& envelope) override;
    smtp::Outcome recipient(reception::Session& session, const mail::Recipient& rcpt,
                            const mail::Envelope& envelope) override;
    void foresee(const reception::Session& session, const std::vector<mail::Address>& coming) override;
    std::vector<std::unique_ptr<queue::Inspector>> inspectors(const reception::Session& session,
                                                              const std::string& id) override;

    // Pure: what a route means for a user's recipient, and what an owner's word means for his sender address.
    static smtp::Reply verdict(const ipc::Route& route, const mail::Address& address);
    static smtp::Reply verdict(const ipc::OwnerReply& owner, const mail::Address& address, const std::string& user);
    // The domain that the mail's way is to be found by in the DNS; empty when the way is configured, or leads to
    // ourselves.
    static std::string domain_to_verify(const ipc::Route& route);

private:
    smtp::Outcome own_sender(reception::Session& session, const mail::Address& sender);
    smtp::Outcome own_recipient(reception::Session& session, const mail::Address& address);
    smtp::Outcome counted_user(reception::Session& session, reception::Meters::Kind kind,
                               const reception::Examiner::Then& then);
    smtp::Outcome judge(const ipc::Route& route, const mail::Address& address, const std::string& who,
                        const std::function<void(const smtp::Reply&)>& later);
    void verify(const std::string& domain, const mail::Address& address, const char* what, const std::string& who,
                const std::function<void(const smtp::Reply&)>& later);
    void look_ahead(const ipc::Route& route, const mail::Address& address, const std::string& who);

    Doors doors_;
    PolicySettings settings_;
    std::shared_ptr<UserPolicy*> self_ = std::make_shared<UserPolicy*>(this); // answers that outlive us find null
};

} // namespace veredus::submission

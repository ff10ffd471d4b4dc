// A policy that follows restriction lists: what smtpd and submission ask at each command, and how the answer of the lists and
// the policy's own checks go together.
#pragma once

#include <memory>
#include <vector>

#include "lib/reception/examiner.h"
#include "lib/reception/session.h"
#include "lib/reception/trust.h"

namespace veredus::reception {

class ListPolicy : public Policy {
public:
    using Then = Examiner::Then;
    // `trust`: mynetworks; `exempt`: clients without limits.
    ListPolicy(Examiner& examiner, std::shared_ptr<const Trust> trust, std::shared_ptr<const Trust> exempt)
        : examiner_(examiner), trust_(std::move(trust)), exempt_(std::move(exempt))
    {
    }
    void set_trust(std::shared_ptr<const Trust> trust, std::shared_ptr<const Trust> exempt)
    {
        trust_ = std::move(trust);
        exempt_ = std::move(exempt);
    }
    bool counted(const net::Address& client) override { return !exempt_->trusts(client); }
    smtp::Outcome helo(Session& session) override;
    smtp::Outcome data(Session& session, const mail::Envelope& envelope) override;
    smtp::Outcome end_of_data(Session& session, const mail::Envelope& envelope, uint64_t size) override;
    smtp::Outcome etrn(Session& session, std::string_view domain, Then then) override;
    // What the lists said about the mail comes first.
    std::vector<std::unique_ptr<queue::Inspector>> inspectors(const Session& session, const std::string& id) override;

protected:
    // The lists that are due, `accepted` recipients before this one; `then`: what the policy itself has to say once they permit (null: `welcome`).
    smtp::Outcome ask_sender(Session& session, const mail::Address& sender, const smtp::Reply& welcome, Then then = nullptr);
    smtp::Outcome ask_recipient(Session& session, const mail::Address& sender, std::size_t accepted, const mail::Address& recipient, const smtp::Reply& welcome, Then then = nullptr);
    const Trust& trust() const { return *trust_; }

private:
    Situation situation(const Session& session) const;
    bool asks(Stage stage) const { return !examiner_.program()->rules.list(stage).empty(); }
    bool early() const { return !examiner_.program()->rules.settings.delay_reject; }
    Examiner& examiner_;
    std::shared_ptr<const Trust> trust_, exempt_;   // shared_ptr: a reload brings others while they are in use
};

bool is_bare_postmaster(const mail::Address& address);   // RFC 5321 §4.5.1: taken from everybody

}  // namespace veredus::reception

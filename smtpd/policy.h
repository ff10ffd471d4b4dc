// What strangers may do: what the restriction lists of main.cf say; without any, mail for us from anyone, and mail for others from
// mynetworks only.
#pragma once

#include <memory>

#include "lib/reception/examiner.h"
#include "lib/reception/recipients.h"
#include "lib/reception/session.h"
#include "lib/reception/trust.h"

namespace veredus::smtpd {

class MxPolicy final : public reception::Policy {
public:
    MxPolicy(std::shared_ptr<const reception::Trust> trust, std::shared_ptr<const reception::Trust> exempt, reception::Recipients& recipients,
             reception::Examiner& examiner)
        : trust_(std::move(trust)), exempt_(std::move(exempt)), recipients_(recipients), examiner_(examiner)
    {
    }
    void set_trust(std::shared_ptr<const reception::Trust> trust, std::shared_ptr<const reception::Trust> exempt)
    {
        trust_ = std::move(trust);
        exempt_ = std::move(exempt);
    }
    mail::Origin origin(const net::Address& client) override;
    bool counted(const net::Address& client) override { return !exempt_->trusts(client); }
    smtp::Outcome helo(reception::Session& session) override;
    smtp::Outcome sender(reception::Session& session, const mail::Envelope& envelope) override;
    smtp::Outcome recipient(reception::Session& session, const mail::Recipient& rcpt, const mail::Envelope& envelope) override;
    smtp::Outcome data(reception::Session& session, const mail::Envelope& envelope) override;
    smtp::Outcome end_of_data(reception::Session& session, const mail::Envelope& envelope, uint64_t size) override;
    std::vector<std::unique_ptr<queue::Inspector>> inspectors(const reception::Session& session, const std::string& id) override;
    void foresee(const std::vector<mail::Address>& coming) override;

private:
    reception::Situation situation(const reception::Session& session) const;
    bool asks(reception::Stage stage) const { return !examiner_.program()->rules.list(stage).empty(); }
    bool early() const { return !examiner_.program()->rules.settings.delay_reject; }
    std::shared_ptr<const reception::Trust> trust_, exempt_;   // shared_ptr: a reload brings others while they are in use
    reception::Recipients& recipients_;
    reception::Examiner& examiner_;
};

}  // namespace veredus::smtpd

// What strangers may do: what the restriction lists of main.cf say; without any, mail for us from anyone, and mail for others from
// mynetworks only.
#pragma once

#include <memory>

#include "lib/reception/lists.h"
#include "lib/reception/recipients.h"

namespace veredus::smtpd {

class MxPolicy final : public reception::ListPolicy {
public:
    MxPolicy(std::shared_ptr<const reception::Trust> trust, std::shared_ptr<const reception::Trust> exempt, reception::Recipients& recipients,
             reception::Examiner& examiner)
        : ListPolicy(examiner, std::move(trust), std::move(exempt)), recipients_(recipients)
    {
    }
    mail::Origin origin(const net::Address& client) override { return trust().trusts(client) ? mail::Origin::network : mail::Origin::stranger; }
    smtp::Outcome sender(reception::Session& session, const mail::Envelope& envelope) override;
    smtp::Outcome recipient(reception::Session& session, const mail::Recipient& rcpt, const mail::Envelope& envelope) override;
    void foresee(const reception::Session& session, const std::vector<mail::Address>& coming) override;

private:
    reception::Recipients& recipients_;
};

}  // namespace veredus::smtpd

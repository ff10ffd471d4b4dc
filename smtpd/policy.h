// What strangers may do: mail for us, from anyone; mail for others, only from mynetworks.
#pragma once

#include <memory>

#include "lib/reception/recipients.h"
#include "lib/reception/session.h"
#include "lib/reception/trust.h"

namespace veredus::smtpd {

class MxPolicy final : public reception::Policy {
public:
    MxPolicy(std::shared_ptr<const reception::Trust> trust, std::shared_ptr<const reception::Trust> exempt, reception::Recipients& recipients)
        : trust_(std::move(trust)), exempt_(std::move(exempt)), recipients_(recipients)
    {
    }
    void set_trust(std::shared_ptr<const reception::Trust> trust, std::shared_ptr<const reception::Trust> exempt)
    {
        trust_ = std::move(trust);
        exempt_ = std::move(exempt);
    }
    mail::Origin origin(const net::Address& client) override;
    bool counted(const net::Address& client) override { return !exempt_->trusts(client); }
    smtp::Outcome recipient(reception::Session& session, const mail::Recipient& rcpt, const mail::Envelope& envelope) override;

    void foresee(const std::vector<mail::Address>& coming) override;

    // What a route means for a client; pure.
    static smtp::Reply verdict(const ipc::Route& route, const mail::Address& address, mail::Origin origin);

private:
    std::shared_ptr<const reception::Trust> trust_, exempt_;   // shared_ptr: a reload brings others while they are in use
    reception::Recipients& recipients_;
};

}  // namespace veredus::smtpd

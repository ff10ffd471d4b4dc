// Who may hand in mail over LMTP, and for whom: hosts of lmtp_trusted_networks and this host's users, for mailboxes here.
#pragma once

#include <memory>

#include "lib/reception/recipients.h"
#include "lib/reception/session.h"
#include "lib/reception/trust.h"

namespace veredus::lmtpd {

class Policy final : public reception::Policy {
public:
    Policy(std::shared_ptr<const reception::Trust> trusted, reception::Recipients& recipients) : trusted_(std::move(trusted)), recipients_(recipients) {}
    void set_trusted(std::shared_ptr<const reception::Trust> trusted) { trusted_ = std::move(trusted); }
    mail::Origin origin(const net::Address& client) override;
    bool counted(const net::Address&) override { return false; }
    std::optional<smtp::Reply> greet(const reception::Client& client) override;
    smtp::Outcome recipient(reception::Session& session, const mail::Recipient& rcpt, const mail::Envelope& envelope) override;
    void foresee(const reception::Session& session, const std::vector<mail::Address>& coming) override;

private:
    std::shared_ptr<const reception::Trust> trusted_;    // shared_ptr: a reload brings another while it is in use
    reception::Recipients& recipients_;
};

// router's word at RCPT, for mail that must end here.
smtp::Reply reply_to_recipient(const ipc::Route& route, const mail::Address& address);

}  // namespace veredus::lmtpd

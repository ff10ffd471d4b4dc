// What strangers may do.
#include "smtpd/policy.h"

namespace veredus::smtpd {

using reception::is_bare_postmaster;
using reception::Session;

smtp::Outcome MxPolicy::sender(Session& session, const mail::Envelope& envelope) { return ask_sender(session, envelope.sender, {250, "2.1.0", "Ok"}); }

smtp::Outcome MxPolicy::recipient(Session& session, const mail::Recipient& rcpt, const mail::Envelope& envelope)
{
    const smtp::Reply welcome{250, "2.1.5", "Ok"};
    if (is_bare_postmaster(rcpt.address)) return welcome;
    return ask_recipient(session, envelope.sender, envelope.recipients.size(), rcpt.address, welcome);
}

void MxPolicy::foresee(const Session&, const std::vector<mail::Address>& coming)
{
    for (const mail::Address& address : coming)
        if (!is_bare_postmaster(address)) (void)recipients_.check(address.text(), [](const ipc::Route&) {});
}

}  // namespace veredus::smtpd

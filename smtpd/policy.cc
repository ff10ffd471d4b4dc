// What strangers may do.
#include "smtpd/policy.h"

#include "lib/base/text.h"

namespace veredus::smtpd {

namespace {

using reception::At;
using reception::Session;
using reception::Situation;
using reception::Stage;

const smtp::Reply welcome{250, "2.1.5", "Ok"};

bool bare_postmaster(const mail::Address& address) { return address.domain.empty() && iequals(address.local, "postmaster"); }

void set_sender(Situation& s, const mail::Envelope& envelope)
{
    s.has_sender = true;
    s.sender = envelope.sender;
    s.recipients = envelope.recipients.size();
}

// Once all recipients are known, the only one still counts as "the recipient" (Postfix's smtpd).
void set_all(Situation& s, const mail::Envelope& envelope)
{
    set_sender(s, envelope);
    if (envelope.recipients.size() != 1) return;
    s.has_recipient = true;
    s.recipient = envelope.recipients[0].address;
}

}  // namespace

mail::Origin MxPolicy::origin(const net::Address& client)
{
    return trust_->trusts(client) ? mail::Origin::network : mail::Origin::stranger;
}

Situation MxPolicy::situation(const Session& session) const
{
    Situation s = session.situation();
    s.ours = session.client().origin == mail::Origin::network;
    return s;
}

smtp::Outcome MxPolicy::helo(Session& session)
{
    const smtp::Reply fine{250, "", ""};
    return early() ? examiner_.examine(session, At::helo, situation(session), fine) : smtp::Outcome(fine);
}

smtp::Outcome MxPolicy::sender(Session& session, const mail::Envelope& envelope)
{
    const smtp::Reply fine{250, "2.1.0", "Ok"};
    if (!early()) return fine;
    Situation s = situation(session);
    set_sender(s, envelope);
    return examiner_.examine(session, At::mail, std::move(s), fine);
}

smtp::Outcome MxPolicy::recipient(Session& session, const mail::Recipient& rcpt, const mail::Envelope& envelope)
{
    if (bare_postmaster(rcpt.address)) return welcome;           // RFC 5321 §4.5.1
    Situation s = situation(session);
    set_sender(s, envelope);
    s.has_recipient = true;
    s.recipient = rcpt.address;
    return examiner_.examine(session, At::rcpt, std::move(s), welcome);
}

smtp::Outcome MxPolicy::data(Session& session, const mail::Envelope& envelope)
{
    const smtp::Reply fine{354, "", ""};
    if (!asks(Stage::data)) return fine;
    Situation s = situation(session);
    set_all(s, envelope);
    return examiner_.examine(session, At::data, std::move(s), fine);
}

smtp::Outcome MxPolicy::end_of_data(Session& session, const mail::Envelope& envelope, uint64_t size)
{
    const smtp::Reply fine{250, "2.0.0", "Ok"};
    if (!asks(Stage::end_of_data)) return fine;
    Situation s = situation(session);
    set_all(s, envelope);
    s.size = size;
    return examiner_.examine(session, At::end_of_data, std::move(s), fine);
}

std::vector<std::unique_ptr<queue::Inspector>> MxPolicy::inspectors(const Session& session, const std::string&)
{
    std::vector<std::unique_ptr<queue::Inspector>> chain;
    if (auto deeds = reception::Examiner::deeds_of(session)) chain.push_back(std::move(deeds));
    return chain;
}

void MxPolicy::foresee(const std::vector<mail::Address>& coming)
{
    for (const mail::Address& address : coming)
        if (!bare_postmaster(address)) (void)recipients_.check(address.text(), [](const ipc::Route&) {});
}

}  // namespace veredus::smtpd

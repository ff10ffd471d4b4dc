// A policy that follows restriction lists.
#include "lib/reception/lists.h"

#include "lib/base/text.h"

namespace veredus::reception {

namespace {

void set_sender(Situation& s, const mail::Address& sender, std::size_t recipients)
{
    s.has_sender = true;
    s.sender = sender;
    s.recipients = recipients;
}

// Once all recipients are known, the only one still counts as "the recipient" (Postfix's smtpd).
void set_all(Situation& s, const mail::Envelope& envelope)
{
    set_sender(s, envelope.sender, envelope.recipients.size());
    if (envelope.recipients.size() != 1) return;
    s.has_recipient = true;
    s.recipient = envelope.recipients[0].address;
}

}  // namespace

bool is_bare_postmaster(const mail::Address& address) { return address.domain.empty() && iequals(address.local, "postmaster"); }

Situation ListPolicy::situation(const Session& session) const
{
    Situation s = session.situation();
    s.ours = trust_->trusts(session.client().address);
    return s;
}

smtp::Outcome ListPolicy::helo(Session& session)
{
    const smtp::Reply fine{250, "", ""};
    return early() ? examiner_.examine(session, At::helo, situation(session), fine) : smtp::Outcome(fine);
}

smtp::Outcome ListPolicy::ask_sender(Session& session, const mail::Address& sender, const smtp::Reply& welcome, Then then)
{
    if (!early()) return then ? then(session) : smtp::Outcome(welcome);
    Situation s = situation(session);
    set_sender(s, sender, 0);
    return examiner_.examine(session, At::mail, std::move(s), welcome, std::move(then));
}

smtp::Outcome ListPolicy::ask_recipient(Session& session, const mail::Address& sender, std::size_t accepted, const mail::Address& recipient, const smtp::Reply& welcome, Then then)
{
    Situation s = situation(session);
    set_sender(s, sender, accepted);
    s.has_recipient = true;
    s.recipient = recipient;
    return examiner_.examine(session, At::rcpt, std::move(s), welcome, std::move(then));
}

smtp::Outcome ListPolicy::data(Session& session, const mail::Envelope& envelope)
{
    const smtp::Reply fine{354, "", ""};
    if (!asks(Stage::data)) return fine;
    Situation s = situation(session);
    set_all(s, envelope);
    return examiner_.examine(session, At::data, std::move(s), fine);
}

smtp::Outcome ListPolicy::end_of_data(Session& session, const mail::Envelope& envelope, uint64_t size)
{
    const smtp::Reply fine{250, "2.0.0", "Ok"};
    if (!asks(Stage::end_of_data)) return fine;
    Situation s = situation(session);
    set_all(s, envelope);
    s.size = size;
    return examiner_.examine(session, At::end_of_data, std::move(s), fine);
}

smtp::Outcome ListPolicy::etrn(Session& session, std::string_view domain, Then then)
{
    if (!asks(Stage::etrn) && (early() || (!asks(Stage::client) && !asks(Stage::helo)))) return then(session);
    Situation s = situation(session);
    s.etrn_domain = domain.starts_with('@') ? domain.substr(1) : domain;
    return examiner_.examine(session, At::etrn, std::move(s), {250, "2.0.0", "Ok"}, std::move(then));
}

std::vector<std::unique_ptr<queue::Inspector>> ListPolicy::inspectors(const Session& session, const std::string&)
{
    std::vector<std::unique_ptr<queue::Inspector>> chain;
    if (auto deeds = Examiner::deeds_of(session)) chain.push_back(std::move(deeds));
    return chain;
}

}  // namespace veredus::reception

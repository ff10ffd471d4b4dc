// What strangers may do: mail for us, from anyone; mail for others, only from mynetworks.
#include "smtpd/policy.h"

#include "lib/base/text.h"

namespace veredus::smtpd {

namespace {

const smtp::Reply welcome{250, "2.1.5", "Ok"};

// "user%elsewhere@relay.example": whoever is behind us may send it on to elsewhere, for a stranger (Postfix's allow_untrusted_routing).
bool routes_on(const mail::Address& address) { return address.local.find_first_of("@%!") != std::string::npos; }
bool is_postmaster(const mail::Address& address) { return iequals(address.local, "postmaster"); }

}  // namespace

mail::Origin MxPolicy::origin(const net::Address& client)
{
    return trust_->trusts(client) ? mail::Origin::network : mail::Origin::stranger;
}

smtp::Reply MxPolicy::verdict(const ipc::Route& route, const mail::Address& address, mail::Origin origin)
{
    const std::string who = cat('<', printable(address.text()), ">: ");
    const auto enhanced = [&](const char* otherwise, char digit) { return !route.dsn.empty() && route.dsn[0] == digit ? route.dsn : std::string(otherwise); };
    if (route.kind == ipc::Route::Kind::defer) return {451, enhanced("4.3.0", '4'), cat(who, route.text.empty() ? "Temporary lookup failure" : route.text)};
    // Relaying comes first: who may not use us learns nothing else.
    if (route.address_class == ipc::AddressClass::remote && origin == mail::Origin::stranger) return {554, "5.7.1", cat(who, "Relay access denied")};
    if (route.address_class == ipc::AddressClass::relay && origin == mail::Origin::stranger && routes_on(address))
        return {554, "5.7.1", cat(who, "Relay access denied")};
    if (route.kind == ipc::Route::Kind::reject) {
        // RFC 5321 §4.5.1: whoever answers for a domain hears its postmaster's mail.
        if (is_postmaster(address) && route.address_class != ipc::AddressClass::remote) return welcome;
        return {550, enhanced("5.1.1", '5'), cat(who, "Recipient address rejected: ", route.text)};
    }
    return welcome;
}

smtp::Outcome MxPolicy::recipient(reception::Session& session, const mail::Recipient& rcpt, const mail::Envelope&)
{
    if (rcpt.address.domain.empty() && is_postmaster(rcpt.address)) return welcome;
    const mail::Origin origin = session.client().origin;
    auto reply = session.later();
    const auto route = recipients_.check(rcpt.address.text(), [reply, address = rcpt.address, origin](const ipc::Route& r) { reply(verdict(r, address, origin)); });
    if (route) return verdict(*route, rcpt.address, origin);
    return smtp::Pending{};
}

void MxPolicy::foresee(const std::vector<mail::Address>& coming)
{
    for (const mail::Address& address : coming)
        if (!(address.domain.empty() && is_postmaster(address))) (void)recipients_.check(address.text(), [](const ipc::Route&) {});
}

}  // namespace veredus::smtpd

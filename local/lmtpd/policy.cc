// Who may hand in mail over LMTP, and for whom.
#include "local/lmtpd/policy.h"

#include "lib/base/text.h"
#include "lib/mail/dsn.h"

namespace veredus::lmtpd {

using reception::Client;
using smtp::Reply;

mail::Origin Policy::origin(const net::Address& client)
{
    if (!client.is_ip()) return mail::Origin::network;    // a Unix socket: who may connect is said by its folder
    return trusted_->trusts(client) ? mail::Origin::network : mail::Origin::stranger;
}

std::optional<Reply> Policy::greet(const Client& client)
{
    if (client.origin == mail::Origin::network) return std::nullopt;
    return Reply{554, "5.7.1", cat(client.label(), " may not hand in mail here; lmtp_trusted_networks says who may")};
}

Reply reply_to_recipient(const ipc::Route& route, const mail::Address& address)
{
    using Kind = ipc::Route::Kind;
    using Class = ipc::AddressClass;
    const std::string text = cat('<', printable(address.text(), 255), "> ");
    const auto code = [&](char wanted, const char* fallback) { return mail::is_enhanced_code(route.dsn) && route.dsn[0] == wanted ? route.dsn : std::string(fallback); };
    if (route.kind == Kind::reject) return {550, code('5', "5.1.1"), cat(text, printable(route.text, 300))};
    if (route.kind == Kind::defer) return {451, code('4', "4.3.0"), cat(text, printable(route.text, 300))};
    const bool ours = route.address_class == Class::local || route.address_class == Class::virtual_mailbox || route.address_class == Class::virtual_alias;
    if (!ours) return {550, "5.7.1", cat(text, "no mailbox of this host: mail for elsewhere is not taken here")};
    return {250, "2.1.5", "Ok"};
}

smtp::Outcome Policy::recipient(reception::Session& session, const mail::Recipient& rcpt, const mail::Envelope&)
{
    if (rcpt.address.domain.empty() && iequals(rcpt.address.local, "postmaster")) return Reply{250, "2.1.5", "Ok"};    // RFC 5321 §4.5.1
    auto say = std::make_shared<std::function<void(const Reply&)>>();    // shared_ptr: it is known only when the answer is not
    const auto known = recipients_.check(rcpt.address.text(), [say, address = rcpt.address](const ipc::Route& route) {
        if (*say) (*say)(reply_to_recipient(route, address));
    });
    if (known) return reply_to_recipient(*known, rcpt.address);
    *say = session.later();
    return smtp::Pending{};
}

void Policy::foresee(const reception::Session&, const std::vector<mail::Address>& coming)
{
    for (const mail::Address& address : coming) (void)recipients_.check(address.text(), [](const ipc::Route&) {});
}

}  // namespace veredus::lmtpd

#include "submission/policy.h"

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/reception/meters.h"

namespace veredus::submission {

namespace {

using smtp::Reply;
using Later = std::function<void(const Reply&)>;

constexpr std::chrono::seconds dns_patience{8};
const Reply who_are_you{
    530, "5.7.0", "Authentication required: set the mail program to log in to this server with user name and password"};
const Reply welcome_sender{250, "2.1.0", "Ok"}, welcome{250, "2.1.5", "Ok"};

std::string shown(const mail::Address& address)
{
    return cat('<', printable(address.text(), 320), ">: ");
}

Reply too_many(const char* what, const std::string& user)
{
    return {450, "4.7.1", cat("Error: too many ", what, " from ", printable(user, 100), ": try again in a while")};
}

} // namespace

mail::Origin UserPolicy::origin(const net::Address& client)
{
    return !settings_.auth_required && trust().trusts(client) ? mail::Origin::network : mail::Origin::stranger;
}

Reply UserPolicy::verdict(const ipc::OwnerReply& owner, const mail::Address& address, const std::string& user)
{
    using Word = ipc::OwnerReply::Word;
    if (owner.word == Word::yes) return welcome_sender;
    if (owner.word == Word::temporary)
        return {451, "4.3.0", cat(shown(address), "Sender address rejected: Temporary lookup failure")};
    return {553, "5.7.1",
            cat(shown(address), "Sender address rejected: not owned by user ", printable(user, 100),
                "; choose one of your own addresses as sender")};
}

// In all processes: a user is one, however many connections he has.
smtp::Outcome UserPolicy::counted_user(reception::Session& session, reception::Meters::Kind kind,
                                       const reception::Examiner::Then& then)
{
    const bool mails = kind == reception::Meters::Kind::message;
    const unsigned most = mails ? settings_.messages_per_unit : settings_.recipients_per_unit;
    const std::string& user = session.user();
    if (!most || user.empty() || !doors_.meters.there()) return then(session);
    auto later = session.later_here();
    doors_.meters.count(kind, reception::user_meter_name(user), [later, then, most, user, mails](const std::optional<ipc::AnvilCounts>& counts) {
        later([&](reception::Session& here) -> smtp::Outcome {
            if (!counts || counts->rate <= most) return then(here);
            log::warning(mails ? "Message" : "Recipient", " rate limit of a user exceeded: ", counts->rate, " by ", printable(user, 100),
                         " from ", here.client().label());
            return too_many(mails ? "messages" : "recipients", user);
        });
    });
    return smtp::Pending{};
}

smtp::Outcome UserPolicy::sender(reception::Session& session, const mail::Envelope& envelope)
{
    if (session.client().origin == mail::Origin::stranger) return who_are_you;
    const mail::Address address = envelope.sender;
    return counted_user(session, reception::Meters::Kind::message, [this, address](reception::Session& here) {
        return ask_sender(here, address, welcome_sender,
                          [this, address](reception::Session& again) { return own_sender(again, address); });
    });
}

smtp::Outcome UserPolicy::own_sender(reception::Session& session, const mail::Address& sender)
{
    if (sender.empty()) return welcome_sender; // a report, or an answer that shall not be answered
    const std::string& user = session.user();
    const bool owner = settings_.check_owner && !user.empty();
    if (!owner && !settings_.verify_domains) return welcome_sender;
    auto reply = session.later();
    const std::string who = reception::client_network(session.client().address);
    mail::Address address = sender;
    complete(address, settings_.mend.origin);
    // Without a user to check, the owner's question still tells whether the domain is ours.
    doors_.owner({user.empty() ? std::string("-") : user, address.text()},
                 [this, alive = std::weak_ptr(self_), reply, address, user, owner, who](const ipc::OwnerReply& said) {
                     if (alive.expired()) return;
                     const Reply word = owner ? verdict(said, address, user) : welcome_sender;
                     if (!word.positive() || !settings_.verify_domains ||
                         said.address_class != ipc::AddressClass::remote)
                         return reply(word);
                     verify(address.domain, address, "Sender", who, reply);
                 });
    return smtp::Pending{};
}

Reply UserPolicy::verdict(const ipc::Route& route, const mail::Address& address)
{
    const auto enhanced = [&](const char* otherwise, char digit) {
        return !route.dsn.empty() && route.dsn[0] == digit ? route.dsn : std::string(otherwise);
    };
    if (route.kind == ipc::Route::Kind::defer)
        return {451, enhanced("4.3.0", '4'),
                cat(shown(address), route.text.empty() ? "Temporary lookup failure" : route.text)};
    if (route.kind == ipc::Route::Kind::reject) {
        // RFC 5321 section 4.5.1: whoever answers for a domain hears its postmaster's mail.
        if (iequals(address.local, "postmaster") && route.address_class != ipc::AddressClass::remote) return welcome;
        return {550, enhanced("5.1.1", '5'), cat(shown(address), "Recipient address rejected: ", route.text)};
    }
    return welcome;
}

std::string UserPolicy::domain_to_verify(const ipc::Route& route)
{
    if (route.kind != ipc::Route::Kind::deliver || route.address_class != ipc::AddressClass::remote ||
        route.transport != "smtp")
        return {};
    const std::size_t at = route.address.rfind('@');
    const std::string domain = at == std::string::npos ? std::string() : route.address.substr(at + 1);
    return iequals(route.nexthop, domain) ? domain : std::string();
}

void UserPolicy::verify(const std::string& domain, const mail::Address& address, const char* what, const std::string& who,
                        const Later& later)
{
    doors_.domains.find(domain, dns_patience, who, [later, address, what](reception::Domains::Found found) {
        using Found = reception::Domains::Found;
        const bool sender = what[0] == 'S';
        const std::string prefix = cat(shown(address), what, " address rejected: ");
        // What the DNS does not say now, qmgr asks again later: nobody's mail program has to.
        if (found == Found::no)
            return later({550, sender ? "5.1.8" : "5.1.2", cat(prefix, "Domain not found: is it spelled right?")});
        if (found == Found::refuses)
            return later({sender ? 550 : 556, sender ? "5.7.27" : "5.1.10",
                          cat(prefix, "Domain does not accept mail (null MX)")}); // RFC 7505 section 4
        later(sender ? welcome_sender : welcome);
    });
}

smtp::Outcome UserPolicy::judge(const ipc::Route& route, const mail::Address& address, const std::string& who, const Later& later)
{
    Reply reply = verdict(route, address);
    const std::string domain = reply.positive() && settings_.verify_domains ? domain_to_verify(route) : std::string();
    if (domain.empty()) return reply;
    verify(domain, address, "Recipient", who, later);
    return smtp::Pending{};
}

smtp::Outcome UserPolicy::recipient(reception::Session& session, const mail::Recipient& rcpt, const mail::Envelope& envelope)
{
    if (session.client().origin == mail::Origin::stranger) return who_are_you;
    mail::Address address = rcpt.address;
    if (reception::is_bare_postmaster(address)) return welcome;
    complete(address, settings_.mend.origin);
    return counted_user(session, reception::Meters::Kind::recipient,
                        [this, address, sender = envelope.sender, accepted = envelope.recipients.size()](reception::Session& here) {
                            return ask_recipient(here, sender, accepted, address, welcome, [this, address](reception::Session& again) {
                                return own_recipient(again, address);
                            });
                        });
}

smtp::Outcome UserPolicy::own_recipient(reception::Session& session, const mail::Address& address)
{
    auto later = session.later();
    const std::string who = reception::client_network(session.client().address);
    const auto route = doors_.recipients.check(
        address.text(), [this, alive = std::weak_ptr(self_), later, address, who](const ipc::Route& r) {
            if (alive.expired()) return;
            if (const auto outcome = judge(r, address, who, later); const auto* reply = std::get_if<Reply>(&outcome))
                later(*reply);
        });
    if (route) return judge(*route, address, who, later);
    return smtp::Pending{};
}

// The domains of a group are looked up side by side: waiting for each in its turn would take longer than a mail program waits.
void UserPolicy::foresee(const reception::Session& session, const std::vector<mail::Address>& coming)
{
    if (session.client().origin == mail::Origin::stranger) return;
    const std::string who = reception::client_network(session.client().address);
    for (mail::Address address : coming) {
        if (reception::is_bare_postmaster(address)) continue;
        complete(address, settings_.mend.origin);
        const auto route = doors_.recipients.check(address.text(), [this, alive = std::weak_ptr(self_), address, who](const ipc::Route& r) {
            if (!alive.expired()) look_ahead(r, address, who);
        });
        if (route) look_ahead(*route, address, who);
    }
}

void UserPolicy::look_ahead(const ipc::Route& route, const mail::Address& address, const std::string& who)
{
    const std::string domain = settings_.verify_domains && verdict(route, address).positive() ? domain_to_verify(route) : std::string();
    if (!domain.empty()) doors_.domains.find(domain, dns_patience, who, [](reception::Domains::Found) {});
}

std::vector<std::unique_ptr<queue::Inspector>> UserPolicy::inspectors(const reception::Session& session, const std::string& id)
{
    auto chain = ListPolicy::inspectors(session, id);
    chain.push_back(completer(settings_.mend));
    chain.push_back(queue::mender(settings_.inspect, id));
    return chain;
}

} // namespace veredus::submission

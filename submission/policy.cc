#include "submission/policy.h"

#include "lib/base/text.h"

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

bool Rates::add(const std::string& user, unsigned limit, std::chrono::seconds unit)
{
    if (limit == 0) return true;
    const int64_t now = clock_.mono_us();
    if (counts_.empty() || now - began_us_ >= std::chrono::microseconds(unit).count()) {
        counts_.clear();
        began_us_ = now;
    }
    return ++counts_[user] <= limit;
}

void UserPolicy::configure(std::shared_ptr<const reception::Trust> trust,
                           std::shared_ptr<const reception::Trust> exempt, PolicySettings settings)
{
    trust_ = std::move(trust);
    exempt_ = std::move(exempt);
    settings_ = std::move(settings);
}

mail::Origin UserPolicy::origin(const net::Address& client)
{
    return !settings_.auth_required && trust_->trusts(client) ? mail::Origin::network : mail::Origin::stranger;
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

smtp::Outcome UserPolicy::sender(reception::Session& session, const mail::Envelope& envelope)
{
    const mail::Origin origin = session.client().origin;
    const std::string& user = session.user();
    if (origin == mail::Origin::stranger) return who_are_you;
    if (!user.empty() && !messages_.add(user, settings_.messages_per_unit, settings_.unit))
        return too_many("messages", user);
    if (envelope.sender.empty()) return welcome_sender; // a report, or an answer that shall not be answered
    const bool owner = settings_.check_owner && !user.empty();
    if (!owner && !settings_.verify_domains) return welcome_sender;
    auto reply = session.later();
    mail::Address address = envelope.sender;
    complete(address, settings_.mend.origin);
    // Without a user to check, the owner's question still tells whether the domain is ours.
    doors_.owner({user.empty() ? std::string("-") : user, address.text()},
                 [this, alive = std::weak_ptr(self_), reply, address, user, owner](const ipc::OwnerReply& said) {
                     if (alive.expired()) return;
                     const Reply word = owner ? verdict(said, address, user) : welcome_sender;
                     if (!word.positive() || !settings_.verify_domains ||
                         said.address_class != ipc::AddressClass::remote)
                         return reply(word);
                     verify(address.domain, address, "Sender", reply);
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

void UserPolicy::verify(const std::string& domain, const mail::Address& address, const char* what, const Later& later)
{
    doors_.domains.find(domain, dns_patience, [later, address, what](reception::Domains::Found found) {
        using Found = reception::Domains::Found;
        const bool sender = what[0] == 'S';
        const std::string who = cat(shown(address), what, " address rejected: ");
        // What the DNS does not say now, qmgr asks again later: nobody's mail program has to.
        if (found == Found::no)
            return later({550, sender ? "5.1.8" : "5.1.2", cat(who, "Domain not found: is it spelled right?")});
        if (found == Found::refuses)
            return later({sender ? 550 : 556, sender ? "5.7.27" : "5.1.10",
                          cat(who, "Domain does not accept mail (null MX)")}); // RFC 7505 section 4
        later(sender ? welcome_sender : welcome);
    });
}

smtp::Outcome UserPolicy::judge(const ipc::Route& route, const mail::Address& address, const Later& later)
{
    Reply reply = verdict(route, address);
    const std::string domain = reply.positive() && settings_.verify_domains ? domain_to_verify(route) : std::string();
    if (domain.empty()) return reply;
    verify(domain, address, "Recipient", later);
    return smtp::Pending{};
}

smtp::Outcome UserPolicy::recipient(reception::Session& session, const mail::Recipient& rcpt, const mail::Envelope&)
{
    if (session.client().origin == mail::Origin::stranger) return who_are_you;
    const std::string& user = session.user();
    if (!user.empty() && !recipients_.add(user, settings_.recipients_per_unit, settings_.unit))
        return too_many("recipients", user);
    mail::Address address = rcpt.address;
    if (address.domain.empty() && iequals(address.local, "postmaster")) return welcome;
    complete(address, settings_.mend.origin);
    auto later = session.later();
    const auto route = doors_.recipients.check(
        address.text(), [this, alive = std::weak_ptr(self_), later, address](const ipc::Route& r) {
            if (alive.expired()) return;
            if (const auto outcome = judge(r, address, later); const auto* reply = std::get_if<Reply>(&outcome))
                later(*reply);
        });
    if (route) return judge(*route, address, later);
    return smtp::Pending{};
}

void UserPolicy::foresee(const std::vector<mail::Address>& coming)
{
    for (mail::Address address : coming) {
        if (address.domain.empty() && iequals(address.local, "postmaster")) continue;
        complete(address, settings_.mend.origin);
        (void)doors_.recipients.check(address.text(), [](const ipc::Route&) {});
    }
}

std::vector<std::unique_ptr<queue::Inspector>> UserPolicy::inspectors(const reception::Session&, const std::string& id)
{
    std::vector<std::unique_ptr<queue::Inspector>> chain;
    chain.push_back(completer(settings_.mend));
    chain.push_back(queue::mender(settings_.inspect, id));
    return chain;
}

} // namespace veredus::submission

// Whose an address is: smtpd_sender_login_maps says it, and where it says nothing an address at our domains belongs to
// the user that its mail ends with, and with nobody else. So his aliases are his, and a list that he is on is not.
#include <algorithm>

#include "lib/base/text.h"
#include "lib/conf/expand.h"
#include "qmgr/router/routing.h"

namespace veredus::router {

namespace {
using ipc::AddressClass;
using ipc::OwnerReply;
constexpr int longest_chain = 20; // of aliases; one that goes on leads nowhere
constexpr std::string_view nobody = "-";    // has no address at any domain
} // namespace

// Does an address that looks like somebody's with an extension exist in its own right: as an alias, a mailbox, a user?
Result<bool> Routing::is_own_thing(const mail::Address& address, const Place& place, const Accounts& accounts) const
{
    const bool is_local = place.address_class == AddressClass::local;
    const Held<table::Chain>* const tables[] = {&virtual_alias_maps_, is_local ? &local_recipients_ : &virtual_mailboxes_};
    for (const auto* maps : tables) {
        if (!maps->get()) return unexpected(maps->get().error());
        const auto hit = TRY(table::find_address_hit(*maps->get(), address, delimiters_, place.ours));
        if (hit && hit->extension.empty() && !hit->key.starts_with('@')) return true;
    }
    if (is_local && TRY(all_aliases_.has(lower(address.local)))) return true;
    // Mail goes to the user of the whole name first, and so does what he may write as.
    if (is_local && TRY(name_exists(lower(address.local), accounts.users, accounts.ask))) return true;
    return name_exists(lower(cat(address.local, '@', address.domain)), accounts.users, accounts.ask);
}

// "alice" is alice at every domain whose users are the system's; "bob@example.net" is himself alone. With an extension the address is
// his as well, unless it is something of its own.
Result<bool> Routing::is_user(const mail::Address& address, const Place& place, const std::string& user, const Accounts& accounts) const
{
    const std::size_t at = user.rfind('@');
    if (at == std::string::npos ? place.address_class != AddressClass::local : !iequals(std::string_view(user).substr(at + 1), address.domain)) return false;
    const std::string_view name = std::string_view(user).substr(0, at);
    if (iequals(address.local, name)) return true;
    if (!iequals(mail::split_extension(address.local, delimiters_).user, name)) return false;
    return !TRY(is_own_thing(address, place, accounts));
}

// Where the mail of an alias goes when it goes to one address alone; nothing when it is no alias, or leads to several.
Result<std::optional<mail::Address>> Routing::only_child(const mail::Address& address, const Place& place) const
{
    if (!virtual_alias_maps_.get()) return unexpected(virtual_alias_maps_.get().error());
    if (const auto hit = TRY(table::find_address_hit(*virtual_alias_maps_.get(), address, delimiters_, place.ours))) {
        auto children = TRY(children_of(*hit, address));
        if (children.size() != 1) return std::optional<mail::Address>();
        return std::optional(std::move(children[0]));
    }
    if (place.address_class != AddressClass::local) return std::optional<mail::Address>();
    const mail::Split parts = mail::split_extension(address.local, delimiters_);
    auto entry = TRY(all_aliases_.find(lower(address.local)));
    if (!entry && parts.extension) entry = TRY(all_aliases_.find(lower(parts.user)));
    if (!entry || entry->targets.size() != 1 || entry->targets[0].kind != table::AliasTarget::Kind::address)
        return std::optional<mail::Address>();
    return std::optional(TRY(qualified(entry->targets[0].text)));
}

Result<OwnerReply> Routing::owner(const std::string& user, const std::string& text, const Users& users, std::vector<std::string>& ask) const
{
    OwnerReply reply;
    reply.word = OwnerReply::Word::no;
    reply.address = text;
    auto named = qualified(text);
    if (!named) return reply;
    mail::Address address = std::move(*named);
    reply.address = address.text();
    Place place = TRY(classify(address.domain));
    reply.address_class = place.address_class;
    if (!sender_logins_.get()) return unexpected(sender_logins_.get().error());
    if (const auto listed = TRY(table::find_address(*sender_logins_.get(), address, delimiters_, place.ours))) {
        reply.listed = true;
        const auto owners = conf::split_list(*listed);
        if (std::any_of(owners.begin(), owners.end(), [&](std::string_view owner) { return iequals(owner, user); }))
            reply.word = OwnerReply::Word::yes;
        return reply;
    }
    for (int step = 0; step < longest_chain && place.address_class != AddressClass::remote &&
                       place.address_class != AddressClass::relay;
         ++step) {
        if (TRY(is_user(address, place, user, {users, ask}))) {
            reply.word = OwnerReply::Word::yes;
            break;
        }
        auto next = TRY(only_child(address, place));
        if (!next || iequals(next->text(), address.text())) break;
        address = std::move(*next);
        place = TRY(classify(address.domain));
    }
    if (reply.word == OwnerReply::Word::no && place.doubt && user != nobody) return unexpected(*place.doubt);
    return reply;
}

} // namespace veredus::router

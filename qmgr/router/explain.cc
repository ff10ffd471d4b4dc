// Routing told step by step, for `veredus explain`: the look-ups of route(), each with the setting and the table line behind it.
#include <algorithm>

#include "lib/base/text.h"
#include "qmgr/router/routing.h"

namespace veredus::router {

using ipc::AddressClass;

namespace {

std::string quoted(std::string_view text) { return cat('"', printable(text, 200), '"'); }

Step from_table(const char* about, const char* setting, const table::Chain& chain, const table::AddressHit& hit)
{
    return {about, cat(quoted(hit.key), " has ", quoted(hit.value)), setting, chain.origin(hit.key)};
}

std::string targets_of(const table::Aliases::Entry& entry)
{
    constexpr std::size_t most = 10;
    std::string out;
    for (std::size_t i = 0; i < std::min(most, entry.targets.size()); ++i) append(out, i ? ", " : "", quoted(entry.targets[i].text));
    if (entry.targets.size() > most) append(out, " and ", entry.targets.size() - most, " more");
    return out;
}

Step class_step(AddressClass found, const std::string& domain, bool own_literal)
{
    if (own_literal) return {"class", cat("local: ", domain, " is an address of this host"), "inet_interfaces", ""};
    switch (found) {
    case AddressClass::local: return {"class", cat("local: ", domain, " is listed"), "mydestination", ""};
    case AddressClass::virtual_alias: return {"class", cat("virtual alias: ", domain, " is listed"), "virtual_alias_domains", ""};
    case AddressClass::virtual_mailbox: return {"class", cat("virtual mailbox: ", domain, " is listed"), "virtual_mailbox_domains", ""};
    case AddressClass::relay: return {"class", cat("relay: ", domain, " is listed"), "relay_domains", ""};
    case AddressClass::remote: break;
    }
    return {"class", cat("remote: ", domain, " is in none of mydestination, virtual_alias_domains, virtual_mailbox_domains, relay_domains"), "", ""};
}

}  // namespace

Result<void> Routing::explain_local(const mail::Address& address, const Users& users, std::vector<Step>& steps) const
{
    const mail::Split parts = mail::split_extension(address.local, delimiters_);
    std::vector<std::string> names = {lower(parts.user)};
    if (parts.extension) names.push_back(lower(address.local));
    for (const std::string& name : names)
        if (const auto entry = TRY(aliases().find(name))) {
            steps.push_back({"recipient", cat("alias ", quoted(name), ", which local expands to ", targets_of(*entry)), "alias_maps", aliases().origin(name)});
            return {};
        }
    if (!local_recipients_.get()) return unexpected(local_recipients_.get().error());
    if (const auto hit = TRY(table::find_address_hit(*local_recipients_.get(), address, delimiters_, true))) {
        steps.push_back(from_table("recipient", "local_recipient_maps", *local_recipients_.get(), *hit));
        return {};
    }
    for (const std::string& name : names)
        if (ask_users_ && users.known(name) == Known::yes) {
            steps.push_back({"recipient", cat("there is a user ", quoted(name)), "local_recipient_maps", "unix:passwd.byname"});
            return {};
        }
    if (names[0] == "root") steps.push_back({"recipient", "root always exists", "", ""});
    return {};
}

Result<void> Routing::explain_recipient(const mail::Address& address, const Place& place, const Users& users, std::vector<Step>& steps) const
{
    const auto look = [&](bool all, const Held<table::Chain>& maps, const char* setting) -> Result<void> {
        if (all) {
            steps.push_back({"recipient", "every recipient is taken, for the table is not set", setting, ""});
            return {};
        }
        if (!maps.get()) return unexpected(maps.get().error());
        const auto hit = TRY(&maps == &virtual_mailboxes_ ? table::find_virtual_mailbox(*maps.get(), address, delimiters_)
                                                          : table::find_address_hit(*maps.get(), address, delimiters_, place.ours));
        if (hit) steps.push_back(from_table("recipient", setting, *maps.get(), *hit));
        return {};
    };
    switch (place.address_class) {
    case AddressClass::local:
        if (all_local_exist_) return look(true, local_recipients_, "local_recipient_maps");
        return explain_local(address, users, steps);
    case AddressClass::virtual_mailbox:
        TRY(look(all_virtual_exist_, virtual_mailboxes_, "virtual_mailbox_maps"));
        if (steps.empty() || steps.back().about != "recipient")
            for (const std::string& name : virtual_users(address, delimiters_))
                if (users.known(name) == Known::yes) {
                    steps.push_back({"recipient", cat("there is a user ", quoted(name)), "passdb", ""});
                    break;
                }
        return {};
    case AddressClass::relay: return look(all_relay_exist_, relay_recipients_, "relay_recipient_maps");
    default: return {};
    }
}

// In the order in which each outdoes the one before.
Result<void> Routing::explain_hop(const mail::Address& address, const Place& place, const std::string& sender, std::vector<Step>& steps) const
{
    const auto say = [&](const char* setting, const std::string& value) { steps.push_back({"transport", value, setting, ""}); };
    switch (place.address_class) {
    case AddressClass::local: say("local_transport", local_transport_); break;
    case AddressClass::virtual_mailbox: say("virtual_transport", virtual_transport_); break;
    case AddressClass::relay: say("relay_transport", relay_transport_); break;
    default: {
        const auto own = TRY(of_sender(sender_transport_, sender));
        if (own) steps.push_back(from_table("transport", "sender_dependent_default_transport_maps", *sender_transport_.get(), *own));
        else say("default_transport", default_transport_);
    }
    }
    if (place.address_class != AddressClass::local && place.address_class != AddressClass::virtual_mailbox) {
        const auto relay = TRY(of_sender(sender_relayhost_, sender));
        if (relay) steps.push_back(from_table("next hop", "sender_dependent_relayhost_maps", *sender_relayhost_.get(), *relay));
        else if (!relayhost_.empty()) steps.push_back({"next hop", relayhost_, "relayhost", ""});
    }
    if (const auto entry = TRY(transport_entry(address))) steps.push_back(from_table("transport", "transport_maps", *transport_maps_.get(), *entry));
    return {};
}

Result<void> Routing::explain_canonical(mail::Address& address, std::vector<Step>& steps) const
{
    for (const Canonical& table : canonical_) {
        if (!(table.classes & (1U << static_cast<unsigned>(ipc::RewriteRequest::Kind::envelope_recipient)))) continue;
        if (!table.maps.get()) return unexpected(table.maps.get().error());
        const Place place = TRY(classify(address.domain));
        const auto hit = TRY(table::find_address_hit(*table.maps.get(), address, delimiters_, place.ours));
        if (hit) steps.push_back(from_table("canonical", table.setting, *table.maps.get(), *hit));
    }
    address = TRY(canonical(std::move(address), ipc::RewriteRequest::Kind::envelope_recipient));
    return {};
}

Result<std::vector<Step>> Routing::explain(const Question& question, const Users& users) const
{
    std::vector<Step> steps;
    auto address = qualified(question.recipient);
    if (!address) {
        steps.push_back({"address", cat("no address: ", address.error().text), "", ""});
        return steps;
    }
    const auto given = mail::parse_address(question.recipient);
    if (given->domain.empty()) steps.push_back({"address", cat("without a domain it is ", address->text()), "myorigin", ""});
    else if (given->domain != address->domain) steps.push_back({"address", cat("a domain without a dot is completed: ", address->text()), "append_dot_mydomain", ""});
    if (!question.final_only) TRY(explain_canonical(*address, steps));
    const Place place = TRY(classify(address->domain));
    if (place.doubt) return unexpected(*place.doubt);
    steps.push_back(class_step(place.address_class, address->domain, is_own_literal(address->domain)));
    if (!virtual_alias_maps_.get()) return unexpected(virtual_alias_maps_.get().error());
    if (const auto hit = TRY(table::find_address_hit(*virtual_alias_maps_.get(), *address, delimiters_, place.ours))) {
        steps.push_back(from_table("alias", "virtual_alias_maps", *virtual_alias_maps_.get(), *hit));
        std::vector<std::string> ask;
        if (route(question, users, ask).kind == ipc::Route::Kind::expand) return steps;
        steps.back().text += question.final_only ? ", which was expanded before" : ", which is the address itself";
    }
    TRY(explain_recipient(*address, place, users, steps));
    TRY(explain_hop(*address, place, question.sender, steps));
    return steps;
}

}  // namespace veredus::router

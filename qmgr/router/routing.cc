// Where an address goes: trivial-rewrite(8) and the recipient checks of Postfix, as one decision.
#include "qmgr/router/routing.h"

#include <ifaddrs.h>

#include <algorithm>
#include <set>

#include "lib/base/text.h"
#include "lib/conf/expand.h"
#include "lib/conf/pipes.h"
#include "lib/table/substitution.h"

namespace veredus::router {

using ipc::AddressClass;
using ipc::Route;
using Kind = ipc::Route::Kind;

namespace {

constexpr std::string_view transports[] = {"local", "virtual", "smtp", "relay", "lmtp"};   // that a delivery agent of this version serves

bool lists(const std::vector<std::string>& words, std::string_view word)
{
    return std::any_of(words.begin(), words.end(), [&](const std::string& w) { return iequals(w, word); });
}

// Transports whose next hop is a text for people.
bool takes_words(std::string_view transport)
{
    return transport == "error" || transport == "retry" || transport == "defer" || transport == "discard";
}

// "5.2.1 text" as error: and retry: take it; without a code, `fallback`.
void put_reason(Route& route, Kind kind, std::string_view text, std::string_view fallback, std::string_view wordless)
{
    route.kind = kind;
    route.dsn = fallback;
    text = trim(text);
    const std::string_view code = text.substr(0, text.find(' '));
    const auto parts = split_on(code, '.');
    const bool is_code = parts.size() == 3 && parts[0].size() == 1 && parts[0][0] == fallback[0] &&
                         std::all_of(parts.begin(), parts.end(), [](std::string_view p) { return !p.empty() && p.size() <= 3 && parse_number<unsigned>(p); });
    if (is_code) {
        route.dsn = code;
        text = trim(text.substr(code.size()));
    }
    route.text = text.empty() ? wordless : text;
}

void refuse(Route& route, std::string_view dsn, std::string_view text)
{
    route.kind = Kind::reject;
    route.dsn = dsn;
    route.text = text;
}

// The route that a transport and a next hop amount to.
void put_hop(Route& route, std::string transport, std::string nexthop, const std::set<std::string, std::less<>>& pipes)
{
    route.kind = Kind::deliver;
    if (transport == "error") return put_reason(route, Kind::reject, nexthop, "5.0.0", "the address is undeliverable");
    if (transport == "retry" || transport == "defer") return put_reason(route, Kind::defer, nexthop, "4.0.0", "delivery is put off");
    if (transport == "discard") {
        route.kind = Kind::discard;
        route.text = nexthop.empty() ? "discarded by transport_maps" : nexthop;
        return;
    }
    if (std::find(std::begin(transports), std::end(transports), transport) == std::end(transports) && !pipes.contains(transport)) {
        route.kind = Kind::defer;
        route.dsn = "4.3.5";
        route.text = cat("mail transport unavailable: there is no transport \"", printable(transport, 60), "\"; known are local, virtual, smtp, relay, lmtp and those of pipe_transports");
        return;
    }
    route.nexthop = transport == "local" || transport == "virtual" ? std::string() : std::move(nexthop);
    route.transport = std::move(transport);
}

template <class T> auto opener(std::vector<std::string> specs)
{
    return [specs = std::move(specs)] { return T::open(specs); };
}

auto domain_list(std::vector<std::string> patterns, bool parents)
{
    return [patterns = std::move(patterns), parents] { return table::MatchList::domains(patterns, parents); };
}

}  // namespace

std::pair<std::string, std::string> cut_transport(std::string_view text)
{
    const auto [transport, nexthop] = cut(trim(text), ':');
    return {std::string(trim(transport)), std::string(trim(nexthop.value_or("")))};
}

std::vector<net::Address> own_addresses(const std::vector<std::string>& inet_interfaces)
{
    std::vector<net::Address> own;
    const bool all = lists(inet_interfaces, "all"), loopback = lists(inet_interfaces, "loopback-only");
    for (const std::string& text : inet_interfaces)
        if (auto address = net::Address::parse_ip(text, 0)) own.push_back(*address);
    ifaddrs* first = nullptr;
    if ((!all && !loopback) || ::getifaddrs(&first) != 0) return own;
    for (const ifaddrs* i = first; i; i = i->ifa_next) {
        if (!i->ifa_addr || (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6)) continue;
        const auto address = net::Address::from_sockaddr(i->ifa_addr, i->ifa_addr->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
        if (all || address.loopback()) own.push_back(address);
    }
    ::freeifaddrs(first);
    return own;
}

Routing::Routing(const conf::Values& values, std::vector<net::Address> own, uint64_t at_once, Routing* before) : own_(std::move(own)), at_once_(at_once)
{
    myorigin_ = lower(values.text("myorigin"));
    mydomain_ = lower(values.text("mydomain"));
    delimiters_ = values.text("recipient_delimiter");
    relayhost_ = values.text("relayhost");
    default_transport_ = values.text("default_transport");
    relay_transport_ = values.text("relay_transport");
    local_transport_ = values.text("local_transport");
    virtual_transport_ = values.text("virtual_transport");
    append_dot_ = values.flag("append_dot_mydomain");
    if (const auto pipes = conf::parse_pipe_transports(values.text("pipe_transports")))
        for (const conf::PipeTransport& pipe : *pipes) pipes_.insert(pipe.name);
    propagate_ = lists(values.list("propagate_unmatched_extensions"), "virtual");
    expansion_limit_ = static_cast<std::size_t>(values.number("virtual_alias_expansion_limit"));
    const auto parents = values.list("parent_domain_matches_subdomains");
    transport_parents_ = lists(parents, "transport_maps");

    // What local_recipient_maps shares with alias_maps is in the grammar of aliases(5), and users are the resolver's to know.
    std::set<std::string> alias_files;
    for (const std::string& spec : values.list("alias_maps"))
        if (auto path = table::text_file_of(spec)) alias_files.insert(std::move(*path));
    std::vector<std::string> aliases, others;
    const auto recipients = values.list("local_recipient_maps");
    for (const std::string& spec : recipients) {
        const auto path = table::text_file_of(spec);
        if (spec.ends_with("unix:passwd.byname")) ask_users_ = true;
        else (path && alias_files.count(*path) ? aliases : others).push_back(spec);
    }
    all_local_exist_ = recipients.empty();
    all_relay_exist_ = values.list("relay_recipient_maps").empty();
    // Delivered here, they have to be somewhere: in the table, or users of a passwd-file. Elsewhere the other server knows.
    all_virtual_exist_ = values.list("virtual_mailbox_maps").empty() && cut_transport(virtual_transport_).first != "virtual";

    using Chain = Held<table::Chain>;
    using List = Held<table::MatchList>;
    mydestination_ = List(domain_list(values.list("mydestination"), false));
    virtual_alias_domains_ = List(domain_list(values.list("virtual_alias_domains"), false));
    virtual_mailbox_domains_ = List(domain_list(values.list("virtual_mailbox_domains"), false));
    relay_domains_ = List(domain_list(values.list("relay_domains"), lists(parents, "relay_domains")));
    virtual_alias_maps_ = Chain(opener<table::Chain>(values.list("virtual_alias_maps")));
    virtual_mailboxes_ = Chain(opener<table::Chain>(values.list("virtual_mailbox_maps")));
    transport_maps_ = Chain(opener<table::Chain>(values.list("transport_maps")));
    relay_recipients_ = Chain(opener<table::Chain>(values.list("relay_recipient_maps")));
    const auto alias_maps = values.list("alias_maps");
    const bool of_aliases = std::any_of(others.begin(), others.end(), [&](const std::string& spec) { return std::find(alias_maps.begin(), alias_maps.end(), spec) != alias_maps.end(); });
    local_recipients_ = Chain([others, of_aliases] {
        const table::WithoutSubstitution scope(of_aliases);    // whoever waits there is not taken here
        return table::Chain::open(others);
    });
    sender_relayhost_ = Chain(opener<table::Chain>(values.list("sender_dependent_relayhost_maps")));
    sender_transport_ = Chain(opener<table::Chain>(values.list("sender_dependent_default_transport_maps")));
    sender_logins_ = Chain(opener<table::Chain>(values.list("smtpd_sender_login_maps")));
    read_rewriting(values);
    const auto all = values.list("alias_maps");
    same_aliases_ = aliases == all;
    const auto prepared = [](const std::vector<std::string>& specs, table::AliasMaps* old) { return table::AliasMaps::prepare(specs, old ? std::move(*old) : table::AliasMaps()); };
    all_aliases_ = prepared(all, before ? &before->all_aliases_ : nullptr);
    if (!same_aliases_) aliases_ = prepared(aliases, before ? &before->aliases_ : nullptr);
    for (table::AliasMaps* maps : {&all_aliases_, &aliases_}) (void)maps->refresh(at_once_);    // trouble() tells
}

template <class Self, class F> void Routing::each_table(Self& self, F f)
{
    f(self.mydestination_), f(self.virtual_alias_domains_), f(self.virtual_mailbox_domains_), f(self.relay_domains_);
    f(self.virtual_alias_maps_), f(self.virtual_mailboxes_), f(self.transport_maps_);
    f(self.relay_recipients_), f(self.local_recipients_), f(self.sender_relayhost_), f(self.sender_transport_), f(self.sender_logins_);
    f(self.sender_copies_), f(self.recipient_copies_);
    for (auto& canonical : self.canonical_) f(canonical.maps);
}

bool Routing::restless() const
{
    bool any = false;
    each_table(*this, [&](const auto& held) { any = any || held.restless(); });
    return any || all_aliases_.restless() || aliases_.restless();
}

bool Routing::refresh(std::vector<std::string>& trouble)
{
    bool changed = false;
    each_table(*this, [&](auto& held) { changed = held.refresh(trouble) || changed; });
    for (table::AliasMaps* maps : {&all_aliases_, &aliases_}) {
        const auto fresh = maps->refresh(at_once_);
        changed = changed || (fresh && *fresh);
    }
    auto now = alias_trouble();    // nobody is unknown then
    trouble.insert(trouble.end(), now.begin(), now.end());
    return now != std::exchange(alias_trouble_, now) || changed;
}

std::vector<std::shared_ptr<table::AliasMaps::Reading>> Routing::due_aliases()
{
    auto due = all_aliases_.due();
    for (auto& reading : aliases_.due()) due.push_back(std::move(reading));
    return due;
}

bool Routing::take_aliases(table::AliasMaps::Reading& reading)
{
    for (table::AliasMaps* maps : {&all_aliases_, &aliases_})
        if (const auto taken = maps->take(reading); taken && *taken) return true;
    return false;
}

bool Routing::reading_aliases() const { return all_aliases_.reading() || aliases_.reading(); }

std::vector<std::string> Routing::trouble() const
{
    std::vector<std::string> out;
    each_table(*this, [&](const auto& held) { held.tell(out); });
    for (auto& text : alias_trouble()) out.push_back(std::move(text));
    return out;
}

std::vector<std::string> Routing::alias_trouble() const
{
    auto out = all_aliases_.troubles();
    for (std::string& text : aliases_.troubles()) out.push_back(std::move(text));
    return out;
}

Result<mail::Address> Routing::qualified(std::string_view text) const
{
    mail::Address address = TRY(mail::parse_address(text));
    if (address.domain.empty()) address.domain = myorigin_;
    else if (append_dot_ && address.domain.find('.') == std::string::npos && address.domain.front() != '[') append(address.domain, '.', mydomain_);
    return address;
}

// "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321 §4.1.3), when that address is ours.
bool Routing::is_own_literal(std::string_view domain) const
{
    if (domain.size() < 3 || domain.front() != '[' || domain.back() != ']') return false;
    std::string_view inner = domain.substr(1, domain.size() - 2);
    if (istarts_with(inner, "ipv6:")) inner.remove_prefix(5);
    const auto address = net::Address::parse_ip(inner, 0);
    return address && std::any_of(own_.begin(), own_.end(), [&](const net::Address& own) { return own.same_ip(*address); });
}

bool Routing::is_strange_literal(std::string_view recipient) const
{
    const std::size_t at = recipient.rfind('@');
    return at != std::string_view::npos && recipient.ends_with(']') && recipient.substr(at).starts_with("@[") && !is_own_literal(recipient.substr(at + 1));
}

bool Routing::set_own(std::vector<net::Address> own)
{
    const auto same = [](const net::Address& a, const net::Address& b) { return a.same_ip(b); };
    const bool changed = !std::is_permutation(own.begin(), own.end(), own_.begin(), own_.end(), same);
    own_ = std::move(own);
    return changed;
}

Result<Routing::Place> Routing::classify(const std::string& domain) const
{
    std::optional<Error> doubt;
    const auto in = [&](const Held<table::MatchList>& list) -> Result<bool> {
        if (!list.get()) return unexpected(list.get().error());
        if (list.stale()) doubt = list.stale();
        return list.get()->matches_domain(domain);
    };
    if (is_own_literal(domain) || TRY(in(mydestination_))) return Place{AddressClass::local, true};
    const bool ours = domain == myorigin_;
    if (TRY(in(virtual_alias_domains_))) return Place{AddressClass::virtual_alias, ours};
    if (TRY(in(virtual_mailbox_domains_))) return Place{AddressClass::virtual_mailbox, ours};
    if (TRY(in(relay_domains_))) return Place{AddressClass::relay, ours};
    return Place{AddressClass::remote, ours, std::move(doubt)};
}

Result<std::vector<mail::Address>> Routing::children_of(const table::AddressHit& hit, const mail::Address& address) const
{
    std::vector<mail::Address> children;
    for (const std::string_view piece : conf::split_list(hit.value)) {      // "@domain" keeps the user
        if (!piece.starts_with('@')) continue;
        mail::Address child = address;
        child.domain = lower(piece.substr(1));
        if (!mail::is_domain(child.domain)) return fail(cat("virtual_alias_maps: ", printable(hit.key, 100), ": \"", printable(piece, 100), "\" is no domain"));
        if (trim(hit.value) != piece) return fail(cat("virtual_alias_maps: ", printable(hit.key, 100), ": @domain must stand alone"));
        children.push_back(std::move(child));
        return children;
    }
    const auto list = mail::parse_address_list(hit.value, expansion_limit_);
    if (!list || list->empty())
        return fail(cat("virtual_alias_maps: ", printable(hit.key, 100), ": ", list ? std::string("no address in it") : list.error().text));
    for (const mail::Mailbox& box : *list) {
        mail::Address child = TRY(qualified(box.address.text()));
        if (propagate_) child.local += hit.extension;
        children.push_back(std::move(child));
    }
    return children;
}

// True when `route` is an expansion. An address that is among its own children is one of them, for good.
Result<bool> Routing::expand(const Question& question, const mail::Address& address, const Place& place, Route& route) const
{
    if (question.final_only) return false;
    if (!virtual_alias_maps_.get()) return unexpected(virtual_alias_maps_.get().error());
    const auto hit = TRY(table::find_address_hit(*virtual_alias_maps_.get(), address, delimiters_, place.ours));
    if (!hit) return false;
    const auto children = TRY(children_of(*hit, address));
    if (children.size() == 1 && iequals(children[0].text(), route.address)) return false;
    route.kind = Kind::expand;
    if (!question.check_only)
        for (const mail::Address& child : children) route.children.push_back({queue::Child::Kind::address, child.text(), "", "-"});
    return true;
}

Result<bool> name_exists(const std::string& name, const Users& users, std::vector<std::string>& ask)
{
    const Known known = users.known(name);
    if (known == Known::temporary) return fail(cat("user ", printable(name, 60), ": the user database gives no answer"));
    if (known == Known::ask) ask.push_back(name);
    return known == Known::yes;
}

std::vector<std::string> virtual_users(const mail::Address& address, std::string_view delimiters)
{
    std::vector<std::string> names = {lower(cat(address.local, '@', address.domain))};
    std::string plain = lower(cat(mail::split_extension(address.local, delimiters).user, '@', address.domain));
    if (plain != names[0]) names.push_back(std::move(plain));
    return names;
}

Result<bool> Routing::virtual_person(const mail::Address& address, const Users& users, std::vector<std::string>& ask) const
{
    for (const std::string& name : virtual_users(address, delimiters_))
        if (TRY(name_exists(name, users, ask))) return true;
    return false;
}

Result<bool> Routing::local_exists(const mail::Address& address, const Users& users, std::vector<std::string>& ask) const
{
    if (all_local_exist_) return true;
    const mail::Split parts = mail::split_extension(address.local, delimiters_);
    std::vector<std::string> names = {lower(parts.user)};
    if (parts.extension) names.push_back(lower(address.local));
    for (const std::string& name : names)
        if (TRY(aliases().has(name))) return true;
    if (!local_recipients_.get()) return unexpected(local_recipients_.get().error());
    if (TRY(table::find_address(*local_recipients_.get(), address, delimiters_, true))) return true;
    if (names[0] == "root") return true;    // somebody must get what nobody wants
    // One with an @ is a virtual user's, whom his own address leads to, past every rule that goes by it, and by virtual(8) alone.
    for (const std::string& name : names)
        if (ask_users_ && name.find('@') == std::string::npos && TRY(name_exists(name, users, ask))) return true;
    // What was read of a file before still answers; who is not in that may be in what cannot be read.
    if (auto trouble = aliases().troubles(); !trouble.empty()) return fail(std::move(trouble[0]));
    return false;
}

// RFC 5321 §4.5.1: postmaster is always there, and reports need somebody to go to.
Result<bool> Routing::stands_for_another(const mail::Address& address, const Place& place, const Question& question, Route& route) const
{
    const bool postmaster = iequals(address.local, "postmaster"), daemon = iequals(address.local, "mailer-daemon");
    if (!postmaster && !daemon) return false;
    if (place.address_class != AddressClass::local) {      // the postmaster of a virtual domain is ours
        if (!postmaster || question.final_only || place.address_class == AddressClass::relay) return false;
        const Place origin = TRY(classify(myorigin_));
        if (origin.doubt) return unexpected(*origin.doubt);
        if (origin.address_class != AddressClass::local) return false;
        route.kind = Kind::expand;
        if (!question.check_only) route.children.push_back({queue::Child::Kind::address, mail::Address{"postmaster", myorigin_}.text(), "", "-"});
        return true;
    }
    if (question.final_only) return true;
    route.kind = Kind::expand;
    const std::string child = mail::Address{postmaster ? "root" : "postmaster", address.domain}.text();
    if (!question.check_only) route.children.push_back({queue::Child::Kind::address, child, "", "-"});
    return true;
}

// False when the recipient does not exist: then `route` refuses it. Nobody is refused for what a file said before it could not be read.
Result<bool> Routing::exists(const mail::Address& address, const Place& place, const Users& users, std::vector<std::string>& ask, Route& route) const
{
    const auto unknown = [&](const char* text, const Held<table::Chain>* recipients) -> Result<bool> {
        for (const auto* maps : {&virtual_alias_maps_, recipients})
            if (maps && maps->stale()) return unexpected(*maps->stale());
        refuse(route, "5.1.1", text);
        return false;
    };
    switch (place.address_class) {
    case AddressClass::local:
        if (TRY(local_exists(address, users, ask))) return true;
        return unknown("User unknown in local recipient table", &local_recipients_);
    case AddressClass::virtual_alias: return unknown("User unknown in virtual alias table", nullptr);
    case AddressClass::virtual_mailbox:
        if (all_virtual_exist_) return true;
        if (!virtual_mailboxes_.get()) return unexpected(virtual_mailboxes_.get().error());
        if (TRY(table::find_virtual_mailbox(*virtual_mailboxes_.get(), address, delimiters_))) return true;
        if (cut_transport(virtual_transport_).first == "virtual" && TRY(virtual_person(address, users, ask))) return true;
        return unknown("User unknown in virtual mailbox table", &virtual_mailboxes_);
    case AddressClass::relay:
        if (all_relay_exist_) return true;
        if (!relay_recipients_.get()) return unexpected(relay_recipients_.get().error());
        if (TRY(table::find_address(*relay_recipients_.get(), address, delimiters_, place.ours))) return true;
        return unknown("User unknown in relay recipient table", &relay_recipients_);
    default: return true;
    }
}

Result<std::optional<table::AddressHit>> Routing::transport_entry(const mail::Address& address) const
{
    using Hit = std::optional<table::AddressHit>;
    if (!transport_maps_.get()) return unexpected(transport_maps_.get().error());
    const table::Chain& maps = *transport_maps_.get();
    if (maps.empty()) return Hit();
    const std::string whole = cat(address.local, '@', address.domain);
    if (auto value = TRY(maps.find(whole))) return Hit({std::move(*value), whole, ""});
    const auto part = [&](const std::string& key) -> Result<Hit> {
        auto value = TRY(maps.find_part(key));
        return value ? Hit({std::move(*value), key, ""}) : Hit();
    };
    if (const mail::Split parts = mail::split_extension(address.local, delimiters_); parts.extension)
        if (auto hit = TRY(part(cat(parts.user, '@', address.domain)))) return hit;
    if (auto hit = TRY(part(address.domain))) return hit;
    if (address.domain.front() != '[')
        for (std::size_t dot = address.domain.find('.'); dot != std::string::npos; dot = address.domain.find('.', dot + 1))
            if (auto hit = TRY(part(address.domain.substr(transport_parents_ ? dot + 1 : dot)))) return hit;
    return part("*");
}

// What a table says for the sender's address or @domain; DUNNO ends the search.
Result<std::optional<table::AddressHit>> Routing::of_sender(const Held<table::Chain>& maps, const std::string& sender) const
{
    using Hit = std::optional<table::AddressHit>;
    Hit hit;
    if (!maps.get()) return unexpected(maps.get().error());
    if (maps.get()->empty()) return hit;
    if (sender.empty()) {
        auto value = TRY(maps.get()->find("<>"));
        if (value) hit = Hit({std::move(*value), "<>", ""});
    } else if (const auto address = qualified(sender)) {
        hit = TRY(table::find_address_hit(*maps.get(), *address, delimiters_, false));
    }
    if (hit && iequals(trim(hit->value), "DUNNO")) hit.reset();
    return hit;
}

// From weak to strong: the domain, relayhost, the sender's relayhost, the transport of the class, transport_maps.
Result<Routing::Hop> Routing::hop_of(const mail::Address& address, const Place& place, const std::string& sender) const
{
    Hop hop{"", address.domain};
    std::string channel = place.address_class == AddressClass::local ? local_transport_ : virtual_transport_;
    if (place.address_class != AddressClass::local && place.address_class != AddressClass::virtual_mailbox) {
        const auto relay = TRY(of_sender(sender_relayhost_, sender));
        if (relay) hop.nexthop = trim(relay->value);
        else if (!relayhost_.empty()) hop.nexthop = relayhost_;
        channel = relay_transport_;
        if (place.address_class != AddressClass::relay) {
            const auto own = TRY(of_sender(sender_transport_, sender));
            channel = own ? own->value : default_transport_;
        }
    }
    auto [transport, nexthop] = cut_transport(channel);
    if (!nexthop.empty() || takes_words(transport)) hop.nexthop = nexthop;
    hop.transport = std::move(transport);
    const auto entry = TRY(transport_entry(address));
    if (!entry) return hop;
    auto [new_transport, new_nexthop] = cut_transport(entry->value);
    if (!new_nexthop.empty() || takes_words(new_transport)) hop.nexthop = std::move(new_nexthop);
    else if (!new_transport.empty()) hop.nexthop = address.domain;
    if (!new_transport.empty()) hop.transport = std::move(new_transport);
    return hop;
}

Result<void> Routing::decide(const Question& question, const Users& users, std::vector<std::string>& ask, Route& route) const
{
    auto address = qualified(question.recipient);
    if (!address) {
        refuse(route, "5.1.3", "Bad recipient address syntax");
        return {};
    }
    if (!question.final_only) address = TRY(canonical(std::move(*address), ipc::RewriteRequest::Kind::envelope_recipient));
    route.address = address->text();
    const Place place = TRY(classify(address->domain));
    route.address_class = place.address_class;
    if (place.doubt) return unexpected(*place.doubt);
    if (TRY(expand(question, *address, place, route))) return {};
    if (!TRY(exists(*address, place, users, ask, route))) {
        if (!TRY(stands_for_another(*address, place, question, route))) return {};
        route.dsn.clear();
        route.text.clear();
        if (route.kind == Kind::expand) return {};
    }
    Hop hop = TRY(hop_of(*address, place, question.sender));
    put_hop(route, std::move(hop.transport), std::move(hop.nexthop), pipes_);
    return {};
}

Route Routing::route(const Question& question, const Users& users, std::vector<std::string>& ask, std::string* why) const
{
    Route route;
    route.address = question.recipient;
    if (auto decided = decide(question, users, ask, route); !decided) {    // our own trouble never refuses a mail
        if (why) *why = std::move(decided).error().text;
        route.kind = Kind::defer;
        route.children.clear();
        route.dsn = "4.3.0";
        route.text = "Temporary lookup failure";
    }
    return route;
}

}  // namespace veredus::router

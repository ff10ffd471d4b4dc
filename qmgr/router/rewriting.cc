// What cleanup(8) does to addresses in Postfix: canonical forms, masquerading, and who gets blind copies.
#include <algorithm>
#include <set>

#include "lib/base/text.h"
#include "lib/conf/expand.h"
#include "qmgr/router/routing.h"

namespace veredus::router {

namespace {
using Kind = ipc::RewriteRequest::Kind;
constexpr int most_steps = 20;      // of canonical forms that have canonical forms

unsigned bit(Kind kind) { return 1U << static_cast<unsigned>(kind); }

unsigned classes(const std::vector<std::string>& words)
{
    unsigned out = 0;
    for (const std::string& word : words) {
        if (iequals(word, "envelope_sender")) out |= bit(Kind::envelope_sender);
        if (iequals(word, "envelope_recipient")) out |= bit(Kind::envelope_recipient);
        if (iequals(word, "header_sender")) out |= bit(Kind::header_sender);
        if (iequals(word, "header_recipient")) out |= bit(Kind::header_recipient);
    }
    return out;
}
}  // namespace

void Routing::read_rewriting(const conf::Values& values)
{
    const auto open = [&](const char* name) {
        return Held<table::Chain>([specs = values.list(name)] { return table::Chain::open(specs); });
    };
    canonical_[0] = {open("sender_canonical_maps"), "sender_canonical_maps", classes(values.list("sender_canonical_classes"))};
    canonical_[1] = {open("recipient_canonical_maps"), "recipient_canonical_maps", classes(values.list("recipient_canonical_classes"))};
    canonical_[2] = {open("canonical_maps"), "canonical_maps", classes(values.list("canonical_classes"))};
    sender_copies_ = open("sender_bcc_maps");
    recipient_copies_ = open("recipient_bcc_maps");
    masquerade_ = values.list("masquerade_domains");
    masquerade_classes_ = classes(values.list("masquerade_classes"));
    masquerade_exceptions_ = values.list("masquerade_exceptions");
    const auto propagate = values.list("propagate_unmatched_extensions");
    propagate_canonical_ = std::any_of(propagate.begin(), propagate.end(), [](const std::string& w) { return iequals(w, "canonical"); });
}

// One look into one table: the address that stands there for this one.
Result<std::optional<mail::Address>> Routing::canonical_step(const Canonical& table, const mail::Address& address) const
{
    if (!table.maps.get()) return unexpected(table.maps.get().error());
    if (table.maps.get()->empty()) return std::optional<mail::Address>();
    const Place place = TRY(classify(address.domain));
    const auto hit = TRY(table::find_address_hit(*table.maps.get(), address, delimiters_, place.ours));
    if (!hit) return std::optional<mail::Address>();
    const auto wrong = [&](std::string_view why) { return fail(cat(table.setting, ": ", printable(hit->key, 100), ": \"", printable(hit->value, 100), "\" ", why)); };
    const std::string_view value = trim(hit->value);
    if (value.starts_with('@')) {                      // another domain, the same user
        mail::Address other = address;
        other.domain = lower(value.substr(1));
        if (!mail::is_domain(other.domain)) return wrong("is no domain");
        return std::optional(std::move(other));
    }
    auto other = qualified(value);
    if (!other) return wrong("is not one address");
    if (propagate_canonical_ && !hit->extension.empty()) other->local += hit->extension;
    return std::optional(std::move(*other));
}

Result<mail::Address> Routing::canonical(mail::Address address, ipc::RewriteRequest::Kind kind) const
{
    for (const Canonical& table : canonical_) {
        if (!(table.classes & bit(kind))) continue;
        std::set<std::string> seen = {lower(address.text())};
        for (int step = 0; step < most_steps; ++step) {
            auto next = TRY(canonical_step(table, address));
            if (!next || !seen.insert(lower(next->text())).second) break;      // a form of its own, or round and round
            address = std::move(*next);
        }
    }
    return address;
}

// "host.example.org" is shown as "example.org" when masquerade_domains has that; the first entry that fits decides, "!" keeps.
void Routing::masquerade(mail::Address& address) const
{
    if (std::any_of(masquerade_exceptions_.begin(), masquerade_exceptions_.end(), [&](const std::string& user) { return iequals(user, address.local); })) return;
    for (const std::string& entry : masquerade_) {
        std::string_view domain = entry;
        const bool keep = domain.starts_with('!');
        if (keep) domain.remove_prefix(1);
        const std::string have = lower(address.domain), parent = lower(domain);
        if (have == parent) return;
        if (!have.ends_with(cat('.', parent))) continue;
        if (!keep) address.domain = parent;
        return;
    }
}

Result<void> Routing::add_copies(const Held<table::Chain>& maps, const mail::Address& address, std::vector<std::string>& copies) const
{
    if (!maps.get()) return unexpected(maps.get().error());
    if (maps.get()->empty()) return {};
    const Place place = TRY(classify(address.domain));
    const auto hit = TRY(table::find_address_hit(*maps.get(), address, delimiters_, place.ours));
    if (!hit) return {};
    for (const std::string_view piece : conf::split_list(hit->value)) {
        const auto copy = qualified(piece);
        if (!copy) return fail(cat("bcc table: ", printable(hit->key, 100), ": \"", printable(piece, 100), "\" is no address"));
        copies.push_back(copy->text());
    }
    return {};
}

Result<ipc::RewriteReply::Item> Routing::rewrite(const ipc::RewriteRequest::Item& item) const
{
    ipc::RewriteReply::Item out{item.address, {}};
    const auto given = qualified(item.address);
    if (!given) return out;                            // nothing that could be looked up: it stays
    mail::Address address = TRY(canonical(*given, item.kind));
    if (masquerade_classes_ & bit(item.kind)) masquerade(address);
    out.address = address.text();
    if (item.kind == Kind::envelope_sender) TRY(add_copies(sender_copies_, address, out.copies));
    if (item.kind == Kind::envelope_recipient) TRY(add_copies(recipient_copies_, address, out.copies));
    return out;
}

}  // namespace veredus::router

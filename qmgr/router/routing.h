// Where an address goes: its class, whether it exists, what it expands to, which transport and next hop. Decides from tables and
// from what is known about users; asks nobody and waits for nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/result.h"
#include "lib/conf/values.h"
#include "lib/ipc/route.h"
#include "lib/net/address.h"
#include "lib/table/aliases.h"
#include "lib/table/held.h"
#include "lib/table/table.h"
#include "lib/table/virtual_mailboxes.h"

namespace veredus::router {

// What is known about a name in the user database at this moment.
enum class Known { yes, no, temporary, ask };
class Users {
public:
    virtual ~Users() = default;
    virtual Known known(const std::string& name) const = 0;
};

struct Question {
    std::string sender;          // external form, "" for <>
    std::string recipient;       // external form
    bool check_only = false;     // children are not wanted
    bool final_only = false;     // virtual aliases are not asked
};

// One step of a decision, for people: what was found, and which setting or line of a table said so.
struct Step {
    std::string about;           // "class", "alias", "recipient", "transport"
    std::string text;
    std::string setting;         // "transport_maps"
    std::string origin;          // "/etc/veredus/transport:3" when a table's line decided
};

using table::Held;

// Is there such a user? False also when it is not known yet: then `ask` has the name.
Result<bool> name_exists(const std::string& name, const Users& users, std::vector<std::string>& ask);

// The names that a user of a virtual domain may have in a passwd-file: user@domain in lower case, as it is, and without an extension.
std::vector<std::string> virtual_users(const mail::Address& address, std::string_view delimiters);

class Routing {
public:
    // Aliases files of more than `at_once` bytes are not read here: due_aliases() has them. `before` gives those that it has read.
    Routing(const conf::Values& values, std::vector<net::Address> own_addresses, uint64_t at_once = UINT64_MAX, Routing* before = nullptr);

    // The answer; when users must be asked first, their names are added to `ask` and the answer counts for nothing.
    // `why`, when given, gets what is behind a temporary failure; peers are not told paths and errors of ours.
    ipc::Route route(const Question& question, const Users& users, std::vector<std::string>& ask, std::string* why = nullptr) const;

    // May `user`, as authd calls him, write as `address` (external form)? ownership.cc says by which rule. `ask` as in route().
    Result<ipc::OwnerReply> owner(const std::string& user, const std::string& address, const Users& users, std::vector<std::string>& ask) const;

    // The form of an address that the envelope or the header shall have, and its blind copies (rewriting.cc).
    Result<ipc::RewriteReply::Item> rewrite(const ipc::RewriteRequest::Item& item) const;

    // Why route() answers what it answers (explain.cc): the same look-ups, told one by one.
    Result<std::vector<Step>> explain(const Question& question, const Users& users) const;

    // "user@[192.0.2.1]" that is not ours as far as is known: interfaces come and go.
    bool is_strange_literal(std::string_view recipient) const;
    bool set_own(std::vector<net::Address> own);            // true when they are others than before

    // Looks at the files behind all tables; true when an answer may differ now. `trouble`: what cannot be read, once more
    // each time.
    bool refresh(std::vector<std::string>& trouble);
    std::vector<std::string> trouble() const;
    // Long aliases files that are new or have changed, for a thread that calls AliasMaps::read(); what was read before answers until
    // take_aliases() has the reading back. That is true when an answer may differ now.
    std::vector<std::shared_ptr<table::AliasMaps::Reading>> due_aliases();
    bool take_aliases(table::AliasMaps::Reading& reading);
    bool reading_aliases() const;        // what is not known now may be known when that is over
    // A file behind a table may be half written: who is unknown now may be known in a second.
    bool restless() const;

private:
    struct Place {
        ipc::AddressClass address_class;
        bool ours = false;          // local or myorigin: "user" alone is a key
        std::optional<Error> doubt = {};    // remote as far as is known: a list that may have it cannot be read
    };
    struct Hop {
        std::string transport, nexthop;
    };
    Result<mail::Address> qualified(std::string_view text) const;
    bool is_own_literal(std::string_view domain) const;
    Result<Place> classify(const std::string& domain) const;
    Result<bool> expand(const Question& question, const mail::Address& address, const Place& place, ipc::Route& route) const;
    Result<std::vector<mail::Address>> children_of(const table::AddressHit& hit, const mail::Address& address) const;
    Result<bool> exists(const mail::Address& address, const Place& place, const Users& users, std::vector<std::string>& ask, ipc::Route& route) const;
    Result<bool> virtual_person(const mail::Address& address, const Users& users, std::vector<std::string>& ask) const;
    Result<bool> local_exists(const mail::Address& address, const Users& users, std::vector<std::string>& ask) const;
    Result<bool> stands_for_another(const mail::Address& address, const Place& place, const Question& question, ipc::Route& route) const;
    Result<Hop> hop_of(const mail::Address& address, const Place& place, const std::string& sender) const;
    Result<std::optional<table::AddressHit>> of_sender(const Held<table::Chain>& maps, const std::string& sender) const;
    Result<std::optional<table::AddressHit>> transport_entry(const mail::Address& address) const;
    Result<void> explain_recipient(const mail::Address& address, const Place& place, const Users& users, std::vector<Step>& steps) const;
    Result<void> explain_canonical(mail::Address& address, std::vector<Step>& steps) const;
    Result<void> explain_local(const mail::Address& address, const Users& users, std::vector<Step>& steps) const;
    Result<void> explain_hop(const mail::Address& address, const Place& place, const std::string& sender, std::vector<Step>& steps) const;
    struct Accounts {           // what is known of them, and what is asked
        const Users& users;
        std::vector<std::string>& ask;
    };
    Result<bool> is_user(const mail::Address& address, const Place& place, const std::string& user, const Accounts& accounts) const;
    Result<bool> is_own_thing(const mail::Address& address, const Place& place, const Accounts& accounts) const;
    Result<std::optional<mail::Address>> only_child(const mail::Address& address, const Place& place) const;
    struct Canonical {
        Held<table::Chain> maps;
        const char* setting = "";
        unsigned classes = 0;        // bits of RewriteRequest::Kind
    };
    void read_rewriting(const conf::Values& values);
    Result<std::optional<mail::Address>> canonical_step(const Canonical& table, const mail::Address& address) const;
    Result<mail::Address> canonical(mail::Address address, ipc::RewriteRequest::Kind kind) const;
    void masquerade(mail::Address& address) const;
    Result<void> add_copies(const Held<table::Chain>& maps, const mail::Address& address, std::vector<std::string>& copies) const;
    Result<void> decide(const Question& question, const Users& users, std::vector<std::string>& ask, ipc::Route& route) const;
    template <class Self, class F> static void each_table(Self& self, F f);

    std::string myorigin_, mydomain_, delimiters_, relayhost_, default_transport_, relay_transport_, local_transport_, virtual_transport_;
    std::set<std::string, std::less<>> pipes_;     // transports of pipe_transports
    bool append_dot_ = false, propagate_ = false, transport_parents_ = false;
    bool all_local_exist_ = false, ask_users_ = false, all_relay_exist_ = false, all_virtual_exist_ = false;
    std::size_t expansion_limit_ = 1000;
    std::vector<net::Address> own_;
    Held<table::MatchList> mydestination_, virtual_alias_domains_, virtual_mailbox_domains_, relay_domains_;
    Held<table::Chain> virtual_alias_maps_, virtual_mailboxes_, transport_maps_, relay_recipients_, local_recipients_, sender_relayhost_, sender_transport_,
        sender_logins_;
    const table::AliasMaps& aliases() const { return same_aliases_ ? all_aliases_ : aliases_; }    // those of local_recipient_maps
    table::AliasMaps aliases_;                // empty when they are all of alias_maps
    bool same_aliases_ = false;
    table::AliasMaps all_aliases_;            // alias_maps, for owner()
    std::vector<std::string> alias_trouble() const;
    std::vector<std::string> alias_trouble_;  // as of the last refresh()
    uint64_t at_once_;
    Canonical canonical_[3];
    Held<table::Chain> sender_copies_, recipient_copies_;
    std::vector<std::string> masquerade_, masquerade_exceptions_;
    unsigned masquerade_classes_ = 0;
    bool propagate_canonical_ = false;
};

// "transport:nexthop" (transport(5)); either may be empty.
std::pair<std::string, std::string> cut_transport(std::string_view text);
// The addresses of this host that mail may be addressed to as [literal], as inet_interfaces limits them.
std::vector<net::Address> own_addresses(const std::vector<std::string>& inet_interfaces);

}  // namespace veredus::router

// Questions to router and its answers: does this recipient exist, what does it expand to, which transport and next hop.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/ipc/message.h"
#include "lib/queue/journal.h"

namespace veredus::ipc {

enum class AddressClass : uint8_t { local = 1, virtual_alias = 2, virtual_mailbox = 3, relay = 4, remote = 5 };

enum class RouterType : uint16_t { route = 100, routes = 101, owner = 102, owner_said = 103, rewrite = 104, rewritten = 105 };

// submission at MAIL, and restriction lists: may this user write mails as that address? Answered by OwnerReply.
struct OwnerRequest {
    std::string user;         // by authd's word: "alice", "bob@example.org"; "-" for who has not logged in
    std::string address;      // external form, not empty
    std::string encode() const;
    static Result<OwnerRequest> decode(std::string_view body);
};
struct OwnerReply {
    enum class Word : uint8_t { yes = 1, no = 2, temporary = 3 } word = Word::temporary;
    std::string address;      // as it is with its domain
    AddressClass address_class = AddressClass::remote;
    bool listed = false;      // smtpd_sender_login_maps says whose it is
    std::string encode() const;
    static Result<OwnerReply> decode(std::string_view body);
};


struct RouteRequest {
    std::string sender;                     // external form, "" for <>
    bool check_only = false;                // smtpd at RCPT: existence and class; no expansion lists are needed
    std::vector<std::string> recipients;    // external form; at most 500, longer lists in pages
    bool final_only = false;                // qmgr: these came out of their own expansion ("a: a, b"), so no virtual alias is asked
    std::string encode() const;
    static Result<RouteRequest> decode(std::string_view body);
};

struct Route {
    enum class Kind : uint8_t { deliver = 1, expand = 2, reject = 3, defer = 4, discard = 5 } kind = Kind::defer;
    AddressClass address_class = AddressClass::remote;
    std::string address;      // the recipient after canonical rewriting, external form
    std::string transport;    // "local", "smtp", "relay", "lmtp", "virtual", "error" …
    std::string nexthop;      // "example.org", "[mx.example.org]:587", "" for local
    std::vector<queue::Child> children;
    std::string dsn;          // reject, defer: "5.1.1"
    std::string text;         // reject, defer: "User unknown in local recipient table"; for people
};

struct RouteReply {
    uint32_t generation = 0;  // of the tables: another number means that cached answers are stale
    std::vector<Route> routes;            // one for each recipient asked, in order
    std::string encode() const;
    static Result<RouteReply> decode(std::string_view body);
};

// smtpd and submission when a mail has come: canonical forms, masquerading and blind copies. Longer lists in pages.
struct RewriteRequest {
    enum class Kind : uint8_t { envelope_sender = 1, envelope_recipient = 2, header_sender = 3, header_recipient = 4 };
    struct Item {
        Kind kind = Kind::envelope_sender;
        std::string address;                // external form
        bool operator<(const Item& other) const { return kind != other.kind ? kind < other.kind : address < other.address; }
    };
    std::vector<Item> items;
    std::string encode() const;
    static Result<RewriteRequest> decode(std::string_view body);
};
struct RewriteReply {
    struct Item {
        std::string address;                // the new form, or the same
        std::vector<std::string> copies;    // envelope_sender, envelope_recipient: who gets a blind copy
    };
    std::string trouble;                    // not empty: nothing could be said now
    std::vector<Item> items;                // one for each, in order
    std::string encode() const;
    static Result<RewriteReply> decode(std::string_view body);
};

}  // namespace veredus::ipc

// Who is at the other end of a session, and the lines that name him: Received and rejects (dropin.md's shapes).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/mail/envelope.h"
#include "lib/net/address.h"
#include "lib/smtp/reply.h"
#include "lib/tls/tls.h"

namespace veredus::reception {

struct Client {
    net::Address address;
    std::string name = "unknown";           // confirmed in both directions, else "unknown"
    std::string reverse_name = "unknown";   // what DNS calls the address, confirmed or not
    bool name_trouble = false;              // it is unknown, and DNS failed
    mail::Origin origin = mail::Origin::stranger;
    std::optional<tls::PeerCertificate> certificate;      // that he showed, with his fingerprints: what check_ccert_access looks up
    std::string label() const;              // "mail.example.org[192.0.2.7]"
};

// What limits per client count by: the IPv4 address, or the /64 of an IPv6 one, because a single host has a whole /64 to choose from.
std::string client_network(const net::Address& address);

// What the log and the Received field say of the conversation.
struct Talk {
    std::string_view helo, protocol;        // protocol as in RFC 3848
    std::string tls = {};                        // tls::Session::summary(), when Received shall say it
    bool hide_client = false;               // Received shall not say where a user was
};

// "reject: RCPT from host[ip]: 554 5.7.1 <r>: Relay access denied; from=<s> to=<r> proto=ESMTP helo=<h>", to follow "NOQUEUE: " or
// "ID: ". `to` null: not about one recipient.
std::string reject_line(std::string_view stage, const Client& client, const smtp::Reply& reply, const mail::Address& from, const mail::Address* to,
                        const Talk& talk);

// The same for what else befalls a command: what = "reject_warning", "hold", "discard" ...
std::string event_line(std::string_view what, std::string_view stage, const Client& client, std::string_view text, const mail::Address& from,
                       const mail::Address* to, const Talk& talk);

// The body of the Received field (RFC 5321 §4.4). `only`: the recipient when there is a single one.
std::string received_body(const Client& client, const Talk& talk, std::string_view hostname, std::string_view id, const mail::Address* only,
                          int64_t now_us);

}  // namespace veredus::reception

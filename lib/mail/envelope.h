// The envelope: what travels beside the content (RFC 5321 §2.3.1), with the parameters of RFC 3461, 6152, 6531.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/mail/address.h"

namespace veredus::mail {

enum class Body : uint8_t { seven_bit, eight_bit, binary };
enum class TlsNeed : uint8_t { unset, required, waived };                                 // RFC 8689: MAIL REQUIRETLS; "TLS-Required: No" (§4.1)
enum class Ret : uint8_t { unset, full, headers };                                      // RFC 3461 §4.3
enum Notify : uint8_t { notify_unset = 0, notify_never = 1, notify_success = 2, notify_failure = 4, notify_delay = 8 };  // §4.1
enum class Origin : uint8_t { stranger, network, authenticated, local, internal };      // who handed it in

struct Recipient {
    Address address;
    uint8_t notify = notify_unset;
    std::string orcpt;      // "rfc822;addr" as given, xtext decoded; empty when absent
};

struct Envelope {
    Address sender;         // empty: the null sender <>
    std::vector<Recipient> recipients;
    Body body = Body::seven_bit;
    bool smtputf8 = false;
    TlsNeed tls = TlsNeed::unset;
    Ret ret = Ret::unset;
    std::string envid;      // xtext decoded
    Origin origin = Origin::stranger;
    int64_t arrival_us = 0; // wall clock
    std::string client_name;     // "mail.example.org" or "unknown"; empty for local origin
    std::string client_address;  // "192.0.2.7"; empty for local origin
    std::string helo;
    std::string protocol;        // "SMTP", "ESMTP", "ESMTPS", … (RFC 3848); empty for local origin
    std::string auth_user;       // SASL identity, or the Unix user of a local submission
    uint32_t uid = 0xFFFFFFFF;   // of a local submission
    bool filtered = false;       // has passed Inspect
    bool hold = false;           // put aside at intake
};

}  // namespace veredus::mail

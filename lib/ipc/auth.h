// A role that talks to clients (submission, later the login stages) and authd: SASL exchanges by number, bytes in and bytes out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/ipc/message.h"

namespace veredus::ipc {

// An exchange is begin, then step as long as the answer is `challenge`. authd delays answers to slow guessing down, so give a call
// auth_deadline_ms; an error of the call (authd is away, too many exchanges) is a temporary failure (454 4.7.0).
enum class AuthType : uint16_t {
    begin = 600,       // role -> authd, call: AuthBegin; answer: AuthReply
    step = 601,        // role -> authd, call: AuthStep; answer: AuthReply
    cancel = 602,      // role -> authd: u64 exchange: the client gave up or is gone (RFC 4954 §4: "*"). One-way
    withdraw = 604,    // role -> authd: u64 call: its client is gone before the answer, which comes at once and says so. One-way
    offer = 603,       // authd -> role: AuthOffer, first thing on a channel and whenever it changes. One-way
};
constexpr uint32_t auth_deadline_ms = 60'000;
constexpr std::size_t max_sasl = 12'288;          // RFC 4954 §4: base64 lines up to that length; decoded they are shorter still.
                                                  // A role refuses what is longer; authd calls it malformed

// What the users of the passdb can do, strongest first: "SCRAM-SHA-256-PLUS", …, "PLAIN", "LOGIN". The role leaves out -PLUS when it has
// no channel binding bytes for this client, and all of it before TLS. SCRAM is in it only if every user has a secret for it: clients take
// the strongest that is offered and do not fall back.
struct AuthOffer {
    std::vector<std::string> mechanisms;
    std::string encode() const;
    static Result<AuthOffer> decode(std::string_view body);
};

struct AuthBegin {
    std::string mechanism;                        // any case
    std::optional<std::string> initial;           // decoded initial response; "" when the client sent "=", absent when it sent none
    std::string service;                          // "submission", "imap", "pop3": for the log
    std::string client;                           // address as text, "192.0.2.7", "2001:db8::7"
    bool tls = false;
    bool plus_offered = false;                    // -PLUS stood in what this client was offered (RFC 5802 §6: flag y is refused then)
    std::string tls_exporter;                     // RFC 9266: 32 bytes, or empty when there is none
    std::string tls_unique;                       // RFC 5929: of TLS 1.2 only, or empty
    uint64_t connection = 0;                      // of a login stage: its number of the client, for which the ticket is good; 0: none is wanted
    uint64_t call = 0;                            // the role's own number of this call, for `withdraw`; 0: it will not be
    std::string encode() const;
    static Result<AuthBegin> decode(std::string_view body);
};

struct AuthStep {
    uint64_t exchange = 0;
    std::string response;                         // decoded
    uint64_t call = 0;                            // as in AuthBegin
    std::string encode() const;
    static Result<AuthStep> decode(std::string_view body);
};

enum class AuthFailure : uint8_t {
    none = 0,
    unknown_user = 1,
    password_mismatch = 2,
    locked = 3,               // the account is disabled, or may not log in from there
    expired = 4,              // account or password
    malformed = 5,            // the client does not speak the mechanism right
    no_mechanism = 6,         // not one of ours, or switched off
    throttled = 7,            // too many failures from there: temporary
    internal = 8,             // ours: temporary
};
constexpr bool is_temporary(AuthFailure why) { return why == AuthFailure::throttled || why == AuthFailure::internal; }

struct AuthReply {
    enum class Kind : uint8_t { challenge = 1, ok = 2, failed = 3 } kind = Kind::failed;
    uint64_t exchange = 0;                        // challenge: for the next step
    std::string data;                             // challenge: raw, to be sent as "334 base64"
    std::string user;                             // ok: who he is, as the passdb and `local` know him ("alice", "bob@example.org")
    std::string login;                            // ok, failed: what the client called himself, printable: sasl_username=
    AuthFailure why = AuthFailure::none;          // failed: for the log; what the client may hear is reply_line()
    std::string ticket{};                         // ok, to a login stage that named a connection: lib/ipc/login.h
    std::string encode() const;
    static Result<AuthReply> decode(std::string_view body);
};

// For the asking role's log: "warning: host[ip]: SASL PLAIN authentication failed: " + this. The same words for a wrong password and an
// unknown user: the log of a role that faces strangers is no directory either; authd's own log tells them apart.
const char* failure_text(AuthFailure why);
// For the client (RFC 4954 §6): "535 5.7.8 Error: authentication failed: …", "454 4.7.0 …", "504 5.5.4 …"; without CRLF.
const char* smtp_failure_reply(AuthFailure why);

}  // namespace veredus::ipc

// qmgr and its delivery agents: an attempt with the mail's fd, and a verdict per recipient. Local's dispatcher and its
// workers speak the same.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/ipc/message.h"
#include "lib/mail/envelope.h"
#include "lib/queue/file.h"
#include "lib/queue/journal.h"

namespace veredus::ipc {

enum class AgentType : uint16_t {
    attempt = 300,     // qmgr -> agent: Attempt; fd: the mail file, read-only. One-way
    verdicts = 301,    // agent -> qmgr: Verdicts. One-way; several may answer one attempt. One without a verdict: the attempt, or what
                       // was to be said of it, could not be read; all that is open of it is to be deferred
    cancel = 302,      // qmgr -> agent: u64 attempt: give up, answer what you know
};

// Target::run_as: between dispatcher and worker a mailbox's path or the command in its place, with the mark in front.
constexpr std::size_t max_run_as = 4097;

struct Target {
    uint32_t index = 0;                 // qmgr's number of this recipient; once in an attempt
    queue::Child::Kind kind = queue::Child::Kind::address;
    std::string address;                // external form; for mailbox: user name; command: command line; file: path
    std::string original;               // orig_to= in the log: the address as it came with the mail; empty when the same
    std::string run_as;                 // command, file
    std::string sender;                 // replaces Attempt::sender unless "-"
    uint8_t notify = 0;
    std::string orcpt;
    std::string extension;              // local: of a mailbox the "+ext" cut off the address; of a command or a file the address whose alias or .forward names it
};

struct Attempt {
    uint64_t attempt = 0;               // qmgr's number, echoed in Verdicts
    std::string queue_id;
    std::string sender;                 // external form, "" is <>
    std::string transport, nexthop;
    std::string delivered_to;           // smtp: the local recipient whose alias or .forward sends it on; goes on top of the header
    queue::Layout layout;               // validated by qmgr; still bounded by the file's size
    mail::Body body = mail::Body::seven_bit;
    bool smtputf8 = false;
    mail::TlsNeed tls = mail::TlsNeed::unset;   // RFC 8689
    mail::Ret ret = mail::Ret::unset;
    std::string envid;
    int64_t arrival_us = 0;             // wall clock
    int64_t active_us = 0;              // wall clock when qmgr began with it: delays=a/b/c/d
    std::string client_name, client_address, helo, protocol, auth_user;    // for the environment of commands
    std::vector<Target> targets;
    std::string encode() const;
    static Result<Attempt> decode(std::string_view body);
};

enum class Outcome : uint8_t { delivered = 1, deferred = 2, failed = 3, expanded = 4 };

struct Verdict {
    uint32_t index = 0;
    Outcome outcome = Outcome::deferred;
    std::string dsn;                    // "2.0.0"
    std::string text;                   // printable: "250 2.0.0 Ok: queued as X", "delivered to maildir", "host mx[ip] said: 550 …"
    std::string relay;                  // "mx.example.org[192.0.2.1]:25", "local", "none"
    std::string remote_mta;             // DSN: name of the peer that said it; empty when we did
    bool site = false;                  // deferred by the destination as a whole (connect failed …), not this recipient
    std::vector<queue::Child> children; // expanded
    bool more = false;                  // expanded: further children of this recipient come in another Verdicts
    bool dsn_taken = false;             // delivered: the peer announced DSN and was given NOTIFY and ORCPT, so that it reports
                                        // success itself; else a report "relayed" is ours to make (RFC 3461 §6.2)
};

struct Verdicts {
    uint64_t attempt = 0;
    std::vector<Verdict> verdicts;
    std::string encode() const;
    static Result<Verdicts> decode(std::string_view body);      // an Error for two final verdicts on one recipient, too
};

// Of an attempt or of verdicts that do not decode; nothing: not even that can be read.
std::optional<uint64_t> attempt_number(std::string_view body);

// "to=<…>, orig_to=<…>, relay=…, delay=…, delays=a/b/c/d, dsn=…, status=sent (text)" after "QID: " (dropin.md §3.3).
// The four delays are seconds: before qmgr, in qmgr, connection set-up, transmission.
std::string delivery_line(const Attempt& attempt, const Target& target, const Verdict& verdict, double in_qmgr, double setup,
                          double transmission, int64_t now_us);
std::string format_delay(double seconds);   // Postfix's rounding: "0.03", "1.2", "330"

}  // namespace veredus::ipc

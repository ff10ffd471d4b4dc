// From a password to a mailbox: the ticket that authd gives master, the client that a login stage hands over with it,
// and what master and the session processes of users say to each other (design.md §1, "Identity is vouched for by
// authd").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/ipc/message.h"

namespace veredus::ipc {

enum class LoginType : uint16_t {
    arrive = 800, // master -> session process, call: Arrival; fd: the client, or the login stage's relay to it. Answer:
                  // u32, its process ID for the log, as soon as the client is taken over; until then master can give him
                  // to a successor
    idle = 801,   // session process -> master: u64, how many arrivals it has taken: it has no client left and would go.
                  // One-way
    who = 802,    // master -> session process, call: u64, a connection; answer: Presences, of those above it, in order
    kick = 803,   // master -> session process, call: u64 connection, 0: every one; answer: u64, how many were told
    ask_who = 804,  // veredus(8) -> master, call: empty; answer: Status, after all `present`
    ask_kick = 805, // veredus(8) -> master, call: Kick; answer: Status, its text the number of connections
    present = 806,  // master -> veredus(8): Presences. One-way
    ping = 807,     // master -> session process, call: empty; answer: empty
};

constexpr std::size_t ticket_size = 16;       // random bytes
constexpr int64_t ticket_life_s = 30;         // counted by master from when authd told it
constexpr std::size_t max_hand_over = 4096;   // Arrival::hand_over
constexpr std::size_t max_unread = 32'768;    // Arrival::input
constexpr std::size_t max_mailbox_user = 255; // bytes of a mailbox user's name

// authd -> master (Control::ticket): this connection of this process of this login stage may enter as this user, once.
struct Ticket {
    std::string id;          // ticket_size random bytes
    std::string role;        // of the login stage: "imapd", "pop3d"
    uint32_t instance = 0;   // which of its processes
    uint64_t connection = 0; // that process's number of the client; never 0
    std::string user;        // as the passdb spells it
    std::string encode() const;
    static Result<Ticket> decode(std::string_view body);
};

// A client that has logged in. What the login stage says of it is for log lines and for the protocol, never for a
// decision.
struct Arrival {
    uint64_t connection = 0;   // login stage -> master: its own number; master -> session: master's, for who and kick
    std::string service;       // "imap", "pop3"; master's word
    std::string user;          // the mailbox user; master's word
    std::string login, method; // what the client called himself; "PLAIN"
    std::string remote, local; // addresses without port: "192.0.2.7"
    uint16_t remote_port = 0, local_port = 0;
    std::string tls;       // "TLSv1.3 with cipher …"; empty: in clear
    std::string session;   // the ID in log lines, session=<…>
    std::string hand_over; // from the protocol's half before the login to its half after it: a tag, a command
    std::string input;     // bytes of the client that were read and not used
    std::string encode() const;
    static Result<Arrival> decode(std::string_view body);
};

// Login stage -> master (Control::enter), with the descriptor of the client or of a relay.
struct Enter {
    std::string ticket;
    Arrival arrival;
    std::string encode() const;
    static Result<Enter> decode(std::string_view body);
};

// One connection of `veredus who`.
struct Presence {
    uint64_t connection = 0;
    std::string user, service, remote, folder; // folder: empty when none is open
    bool tls = false;
    int64_t since = 0;        // wall clock, seconds
    uint32_t idle = 0;        // seconds since the client's last byte
    uint64_t in = 0, out = 0; // bytes of the client, bytes to him
    uint32_t pid = 0;
};
struct Presences {
    std::vector<Presence> list; // as many as a message holds: max_presences
    std::string encode() const;
    static Result<Presences> decode(std::string_view body);
};
constexpr std::size_t max_presences = 50;

struct Kick {
    std::string user;
    std::string encode() const;
    static Result<Kick> decode(std::string_view body);
};

} // namespace veredus::ipc

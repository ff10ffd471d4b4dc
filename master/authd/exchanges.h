// The SASL exchanges under way: messages of the roles in, answers out; passwords are checked on threads, guessers wait at the gate.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lib/auth/chain.h"
#include "lib/auth/mechanism.h"
#include "lib/auth/names.h"
#include "lib/base/clock.h"
#include "lib/disk/pool.h"
#include "lib/ipc/auth.h"
#include "lib/ipc/channel.h"
#include "lib/ipc/login.h"
#include "lib/loop/loop.h"
#include "master/authd/cache.h"
#include "master/authd/gate.h"
#include "master/authd/turns.h"

namespace veredus::authd {

using auth::Chain;
using auth::Secret;
using auth::Verdict;

struct Rules {
    std::vector<std::string> mechanisms;           // empty: those that all users can do
    std::string username_format = "%u";
    auth::IsLocal is_local = [](std::string_view) -> Result<bool> { return false; };
    std::chrono::milliseconds failure_delay{2000};
    std::chrono::milliseconds patience{180'000};   // for a client between two steps
    std::chrono::milliseconds greeting_patience{180'000};    // for APOP's answer to the greeting
    int64_t cache_us = 60 * us_per_second;
    std::size_t per_peer = 20'000;                 // exchanges of one channel
    std::size_t per_address = 500;                 // logins under way of one client address, failures that are told late among them
    std::size_t greetings_per_peer = 20'000;       // of APOP, which begin with the greeting, beside the others
};

class Exchanges {
public:
    Exchanges(Loop& loop, const Clock& clock, unsigned threads, Gate::Limits limits);
    ~Exchanges();
    Exchanges(const Exchanges&) = delete;
    // Of what is made up for names that nobody has; a random one by default. For the passdbs that are set after it.
    void set_key(std::string key) { key_ = std::move(key); }
    void set_rules(Rules rules);
    void set_passdbs(Chain::List list);
    void configure(Rules rules, Chain::List list);    // both in one step
    void add_peer(const std::string& role, uint32_t instance, Fd channel);
    // How a login stage's client gets his ticket: master is told, and confirms before the client's process hears of it.
    using GiveTicket = std::function<void(const ipc::Ticket& ticket, std::function<void(Result<void>)> done)>;
    void set_tickets(GiveTicket give) { give_ticket_ = std::move(give); }
    std::vector<std::string> offered() const;
    std::size_t under_way() const { return exchanges_.size(); }
    std::size_t awaited() const { return deadlines_.size(); }    // of them, those whose client has the turn
    std::size_t waiting() const { return gate_.waiting(); }

private:
    struct Peer {
        std::string role;
        uint32_t instance = 0;
        std::unique_ptr<ipc::Channel> channel;
        std::size_t exchanges = 0, greetings = 0;
        std::vector<std::string> offer;            // as it was told last
    };
    struct Exchange {
        uint64_t peer = 0;
        uint32_t request = 0;                      // waits for an answer; 0: the client's turn
        uint64_t call = 0;                         // while it waits: the peer's own number of it, 0 for none
        std::unique_ptr<auth::Mechanism> mechanism;
        std::string name;                          // of the mechanism
        std::string from;                          // guesser_of() the client
        bool crowded = false;                      // counted in crowds_
        ipc::AuthBegin facts;
        std::string login, user_key, attempt;      // attempt: mark of what was tried
        bool greeting = false;                     // APOP: there before its client has said anything
        bool admitted = false;                     // owes the gate a done()
        Secret secret;                             // SCRAM: who he will be when he has proven it
        int64_t until_us = 0;                      // 0: not the client's turn
    };
    struct Later {                                 // a failure is told late
        uint64_t peer;
        uint32_t request;                          // 0: it has been told already
        uint64_t call;
        ipc::AuthReply reply;
        std::string from;
    };
    // What an address has under way. A client who hangs up leaves his try behind, so connections bound nothing.
    struct Crowd {
        std::size_t size = 0;
        bool told = false;
    };
    void on_message(uint64_t peer, ipc::Message message);
    void begin(uint64_t peer, const ipc::Message& message);
    void step(uint64_t peer, const ipc::Message& message);
    void withdraw(uint64_t peer, uint64_t call);
    bool unwanted(uint64_t id);
    void wait_for_us(uint64_t id, Exchange& exchange, uint32_t request, uint64_t call);
    uint32_t wait_no_more(Exchange& exchange);
    void drop_peer(uint64_t peer, const std::string& why);
    void abandon(uint64_t id);
    void end(uint64_t id, Gate::Outcome outcome);
    void stop_waiting(uint64_t id, Exchange& exchange);
    void take(uint64_t id, auth::Mechanism::Step step);
    void challenge(uint64_t id, std::string data);
    void ask_password(uint64_t id, std::string password);
    void check_password(uint64_t id, std::string password);
    struct PasswordJob;
    void ask_judge(uint64_t id, std::shared_ptr<PasswordJob> job);
    void password_checked(uint64_t id, PasswordJob& job);
    void ask_digest(uint64_t id, std::string timestamp, std::string digest);
    void check_digest(uint64_t id, const std::string& timestamp, const std::string& digest);
    bool join_crowd(const std::string& from, const std::string& client);
    void leave_crowd(const std::string& from);
    static std::size_t& count_of(Peer& peer, const Exchange& exchange) { return exchange.greeting ? peer.greetings : peer.exchanges; }
    void ask_secret(uint64_t id);
    void look_up_secret(uint64_t id);
    void enter_gate(uint64_t id, std::function<void()> then);
    bool is_full(const Turns& turns, uint64_t id);
    void take_turn(Turns& turns, uint64_t id, std::function<void()> work, std::function<void()> done);
    void decide(uint64_t id, Verdict verdict);
    void succeed(uint64_t id, auth::Found found);
    void admit(const Exchange& exchange, ipc::AuthReply reply);
    void refuse(uint64_t id, ipc::AuthFailure why, const std::string& source, const std::string& text);
    void log_failure(const Exchange& exchange, const std::string& source, const std::string& text);
    void send(uint64_t peer, uint32_t request, const ipc::AuthReply& reply);
    void take_rules(Rules rules);
    void take_passdbs(Chain::List list);
    void tell_offers();
    void arm();
    void turn();

    Loop& loop_;
    const Clock& clock_;
    Gate gate_;
    Cache cache_, wrong_;                          // right passwords; wrong ones, of an address
    std::string key_;                              // of salts that are made up
    Rules rules_;
    GiveTicket give_ticket_;
    bool said_nothing_left_ = false;
    std::shared_ptr<const Chain> chain_;           // shared with the jobs on the threads
    uint64_t next_peer_ = 1, next_exchange_;
    std::unordered_map<uint64_t, Peer> peers_;
    std::unordered_map<uint64_t, Exchange> exchanges_;
    std::unordered_map<std::string, Crowd> crowds_;
    std::multimap<int64_t, Later> later_;
    using Call = std::pair<uint64_t, uint64_t>;                   // peer, and its number
    std::map<Call, uint64_t> calls_;                              // exchanges that wait for us
    std::map<Call, std::multimap<int64_t, Later>::iterator> late_calls_;
    std::set<std::pair<int64_t, uint64_t>> deadlines_;    // of clients between steps: until_us and exchange
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);      // completions of the pool may come after our end
    Timer timer_;
    disk::Pool pool_;                              // computes
    disk::Pool judges_;                            // waits for PAM
    Turns turns_, judge_turns_;
};

}  // namespace veredus::authd

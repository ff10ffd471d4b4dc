// The dispatcher: takes attempts from qmgr, expands aliases, hands recipients to processes of their users, and vouches for
// what these answer.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "lib/daemon/lookups.h"
#include "lib/ipc/agent.h"
#include "lib/ipc/channel.h"
#include "lib/ipc/control.h"
#include "lib/ipc/user.h"
#include "lib/loop/loop.h"
#include "local/alias_maps.h"
#include "local/expand.h"
#include "local/places.h"
#include "lib/table/virtual_mailboxes.h"

namespace veredus::local {

using table::VirtualMailbox;
using table::VirtualMailboxes;

struct DispatchRules {
    Policy policy;
    std::string default_privs = "nobody", root_mailbox_user;
    std::string home_mailbox;                        // of users of a passwd-file
    std::string luser_relay;                         // where mail for users that are not there goes
    std::chrono::milliseconds idle{10'000}, timeout{300'000}, command_time{1'000'000};
    std::chrono::milliseconds patience{10'000};      // with master, while its zygote starts anew
    std::chrono::milliseconds lane_life{3'600'000};  // after that a process gets no more mail: its user is looked up again
    std::size_t workers = 200;
    std::chrono::milliseconds slow{10'000};          // without a word from a process: mail for other mailboxes goes to another one
    std::size_t lmtp_attempts = 5'000;               // of lmtpd at once: each holds a descriptor, and qmgr's need some, too
    std::size_t lmtp_per_mailbox = 200;              // recipients of lmtpd that may wait for one mailbox
    std::map<std::string, std::string, std::less<>> pipes;    // transports that are commands: whom each runs as
    std::shared_ptr<Places> places;                  // null: everybody's own mailbox; shared_ptr as the next
    std::shared_ptr<VirtualMailboxes> virtual_mailboxes;   // shared_ptr: questions under way keep the one they began with
};

// A worker's verdict as far as it may count: known to us, in form, and with no right that its user does not have.
// An Error says what is wrong with it.
Result<ipc::Verdict> vouch(ipc::Verdict verdict, queue::Child::Kind kind, std::string_view user);

// The local part and what follows from it for a target, whatever qmgr sent (an address, "\user", "user@domain", "user").
struct Addressee {
    std::string full;             // local@domain: Delivered-To
    std::string local, domain;
    std::string user, extension;  // of local, cut at the delimiter; user in lower case
    bool aliases = true;          // ask alias_maps
    bool forward = true;          // ask ~/.forward
};
Result<Addressee> addressee(const ipc::Target& target, const Policy& policy);

class Dispatcher {
public:
    using WorkerSource = std::function<void(const ipc::Worker& who, std::function<void(ipc::Code, std::string, Fd)> done)>;
    // Who has a line in a passwd-file, or an account, under this name; `done` later, once.
    using UserSource = std::function<void(const std::string& name, std::function<void(Result<ipc::UserReply>)> done)>;
    Dispatcher(Loop& loop, DispatchRules rules, AliasMaps& aliases, WorkerSource source, UserSource users);
    ~Dispatcher();
    Dispatcher(const Dispatcher&) = delete;
    void set_rules(DispatchRules rules);             // processes with the old settings get no more mail
    // lmtp: lmtpd, whose word counts for less, because strangers to the queue speak to it: addresses only, and what an alias expands to
    // is none of its business. Else qmgr.
    enum class From : uint8_t { queue, lmtp };
    void take_peer(Fd channel, From from = From::queue);
    void stop(std::function<void()> done);           // nothing new; done when what is in flight has been answered
    std::size_t in_flight() const { return flights_.size(); }

private:
    struct Flight;                                   // an attempt that is not fully answered
    struct Lane;                                     // one process of a user
    struct Apart;                                    // mailboxes of one account that have a process each
    struct Pages {
        std::vector<queue::Child> children;
        std::size_t bytes = 0;
    };
    struct Job {                                     // some recipients of one attempt at one lane
        uint64_t flight = 0;
        ipc::Worker who;                             // whose lane
        std::map<uint32_t, ipc::Target> open;        // as the worker got them, by index
        std::map<uint32_t, Pages> gathered;          // pages of expansions that go on
        int64_t handed_us = 0;
        bool survived_one = false;                   // a process died with it already
        int64_t missed_us = 0;                       // when a process first ended before it got this; 0: none did
    };
    struct Peer {
        std::unique_ptr<ipc::Channel> channel;
        From from = From::queue;
    };

    void on_peer_message(uint64_t peer, ipc::Message message);
    void begin(uint64_t peer, ipc::Attempt attempt, Fd mail);
    using ByUser = std::map<std::string, std::vector<ipc::Target>>;
    void look_at_aliases();
    void route_local(uint64_t flight, const std::vector<ipc::Target>& targets);
    void route_unrouted();
    template <class Which> void give_up_unrouted(Which which, const char* why);
    void route(uint64_t flight, const ipc::Target& target, ByUser& by_user);
    void route_virtual(uint64_t flight, std::vector<ipc::Target> targets);
    void virtual_found(uint64_t flight, const std::vector<ipc::Target>& targets, const std::vector<VirtualMailbox>& mailboxes);
    void expand(uint64_t flight, const ipc::Target& target, const Addressee& to, bool lists = false);
    void expand_now(uint64_t flight, const ipc::Target& target, const Addressee& to, bool lists);
    void next_with_lists(const std::string& name);
    void expanded(uint64_t flight, const ipc::Target& target, const Addressee& to, Expansion expansion);
    void without_alias(uint64_t flight, const ipc::Target& target, const Addressee& to, ByUser& by_user);
    void to_user(uint64_t flight, const ipc::Target& target, const Addressee& to, ByUser& by_user);
    bool admit(Flight& flight, uint64_t number, const std::string& user, const ipc::Target& target);
    void look_for_person(uint64_t flight, const ipc::Target& target, const VirtualMailbox& mailbox, std::vector<std::string> names);
    void to_person(uint64_t flight, const ipc::Target& target, const ipc::UserReply& person);
    void hand_over(uint64_t flight, const ipc::Worker& who, std::vector<ipc::Target> targets, bool command);
    Lane& lane_for(const std::string& user);
    Lane& lane_for_command(const std::string& user, const std::string& what);
    Lane& lane_of(const Job& job, bool command);
    void add_job(Lane& lane, uint64_t flight, const ipc::Worker& who, std::vector<ipc::Target> targets);
    using Lanes = std::map<std::string, std::unique_ptr<Lane>>;
    Lane& make_lane(const std::string& key, const std::string& user, bool command);
    void end_lane(Lanes::iterator lane);
    bool is_old(const Lane& lane) const;
    bool end_old(Lanes::iterator lane);              // true: it was old and had nothing to do, and is gone
    void start(Lane& lane);
    void start_later(Lane& lane);
    bool may_wait_on(Job& job) const;
    void ask_master(Lane& lane);
    void started(const std::string& key, uint64_t life, ipc::Code code, const std::string& text, Fd channel);
    bool is_virtual(uint64_t job) const;
    void to_pipe(uint64_t flight, const std::vector<ipc::Target>& targets);
    std::string pipe_of(uint64_t job) const;         // the transport of a job that is one; else empty
    void find_places(uint64_t flight, ByUser by_user);
    void hand_out(uint64_t flight, ByUser by_user, const std::map<std::string, Place>& places);
    void pass_on(uint64_t flight, const ipc::Target& target, const std::string& transport, int64_t handed_us);
    void unknown_user(uint64_t job, const std::string& user);
    void refused_user(uint64_t job, const std::string& user, const std::string& why);
    bool has_alias_now(const ipc::Target& target) const;
    void relay_unknown(const Job& job, const std::string& user, const Place& place);
    void send_waiting(Lane& lane);
    bool send(Lane& lane, uint64_t job);
    void on_worker_message(const std::string& key, uint64_t life, ipc::Message message);
    void take_verdicts(Lane& lane, ipc::Verdicts all);
    void take_verdict(Lane& lane, uint64_t job, ipc::Verdict verdict);
    void unreadable(Lane& lane, const ipc::Message& message, const std::string& why);
    void give_up(Lane& lane, uint64_t job, const char* what);
    const Flight* flight_of(uint64_t job) const;     // null: none, or none any more
    const std::string& transport_of(uint64_t job) const;
    enum class Loss : uint8_t { died, hangs };
    void lose_later(const std::string& key, Loss loss);
    void lose(const std::string& key, Loss loss);
    std::set<std::string> stain_all(const Lane& lane);
    bool is_stuck(const Lane& lane) const;
    bool stands_apart(const std::string& user, const ipc::Target& target) const;
    void set_apart(Job job);
    void set_apart_each(Job job);
    bool room_apart(const std::string& user, const Apart& apart);
    bool is_one_too_many(const std::string& user, const Apart& apart, const std::string& path) const;
    std::size_t held_apart(const std::string& user) const;
    std::size_t stuck_apart(const Apart& apart) const;
    void start_apart(const std::string& user);
    void start_all_apart();
    void hold(const Lane& lane, std::unique_ptr<ipc::Channel> channel);
    void came_back(uint64_t life);
    void answered(const std::string& user, const ipc::Target& target);
    void tidy_apart(const std::string& user);
    void rest(Lane& lane);
    void retire(const std::string& key);
    void start_waiting();
    bool make_room();
    void forget_the_gone();
    void refuse(uint64_t job, ipc::Outcome outcome, const std::string& dsn, const std::string& text);
    void finish(uint64_t flight, uint32_t index, ipc::Verdict verdict, int64_t handed_us);
    void schedule_flush();
    void flush();
    void cancel(uint64_t peer, uint64_t attempt);

    Loop& loop_;
    DispatchRules rules_;
    AliasMaps& aliases_;
    WorkerSource source_;
    UserSource users_;
    std::shared_ptr<bool> alive_;                    // shared_ptr: late answers of master and of the pool look at it first
    uint64_t last_number_ = 0;
    uint64_t age_ = 0;                               // of the settings: part of each lane's key
    std::map<uint64_t, Peer> peers_;
    std::map<uint64_t, std::unique_ptr<Flight>> flights_;
    std::size_t lmtp_flights_ = 0;                   // of flights_
    std::map<std::string, std::size_t> of_lmtp_;     // recipients of lmtpd on their way, by mailbox
    std::vector<std::pair<uint64_t, std::vector<ipc::Target>>> unrouted_;    // of flights, until long aliases files have been read
    struct WithLists {
        uint64_t flight = 0;
        ipc::Target target;
        Addressee to;
    };
    std::map<std::string, std::deque<WithLists>> with_lists_;    // by alias, while its lists are read for one mail: what waits for its turn
    std::map<uint64_t, Job> jobs_;
    Lanes lanes_;
    std::map<std::string, Apart> apart_;             // by account
    std::map<uint64_t, std::pair<std::string, std::string>> held_;    // account and path of what apart_ holds, by the life of its process
    std::unique_ptr<Timer> apart_timer_;             // some wait for room there
    std::deque<std::string> waiting_lanes_;          // wait for a free process
    std::deque<std::string> resting_;                // lanes that had nothing to do when they came here, and may make room for others
    std::size_t processes_ = 0;
    std::set<uint64_t> ready_;                       // flights with verdicts to send
    bool flush_scheduled_ = false;
    std::function<void()> stopped_;
    std::unique_ptr<daemon::Lookups> lookups_;               // tables, lists and headers are read there; last: it ends first
};

}  // namespace veredus::local

// Who is in: the process of each mailbox user and service, found or started when a client enters with a ticket.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/fd.h"
#include "lib/ipc/channel.h"
#include "lib/ipc/control.h"
#include "lib/ipc/login.h"
#include "lib/ipc/user.h"
#include "lib/loop/loop.h"
#include "master/tickets.h"

namespace veredus::master {

class Sessions {
public:
    struct Doors {
        // Who this user is, by the resolver's word; later, once.
        std::function<void(const std::string& user, std::function<void(Result<ipc::UserReply>)> done)> resolve;
        // May he have a process; the worker policy.
        std::function<Result<void>(const ipc::UserReply& user)> allow;
        // A new process of this zygote for him; its channel. ENOTCONN: the zygote is not there, and zygote_ready() follows.
        std::function<Result<Fd>(const std::string& zygote, const ipc::UserReply& user)> spawn;
    };
    using Done = std::function<void(ipc::Code code, const std::string& text)>;
    Sessions(Loop& loop, Doors doors) : loop_(loop), doors_(std::move(doors)), ping_(loop, [this] { look_for_hung(); }), parking_(loop, [this] { refuse_parked("the process that sessions come from does not start"); })
    {}
    // How long a process may be silent that has been given a client, or asked whether it is alive; then it is given up,
    // and killed by its zygote (watchdog_timeout). 0: for ever.
    void set_patience(std::chrono::milliseconds patience) { patience_ = patience; }

    Result<void> add_ticket(ipc::Ticket ticket) { return tickets_.add(std::move(ticket), loop_.now_us()); }
    // `zygote`: of the asking role's service, "pop3-session". `done` is called once, perhaps within this call; with ok, its text is
    // the ID of the user's process, where that says one.
    void enter(const std::string& role, uint32_t instance, const std::string& zygote, ipc::Enter enter, Fd client,
               Done done);
    // Clients of a zygote that was away, as it is for a moment at each reload, can have their processes now.
    void zygote_ready(std::string_view zygote);
    void process_ended(std::string_view role, uint32_t instance) { tickets_.forget(role, instance); }
    // Pages of what the processes answer within a moment, then `done`.
    void who(std::function<void(ipc::Presences)> page, std::function<void()> done);
    // Connections of this user that were told to end; a process that does not say how many counts as one. The processes
    // are given up with them: what is left of them is killed.
    void kick(const std::string& user, std::function<void(uint64_t)> done);
    void stop(); // every process hears that its time is over
    std::size_t size() const { return sessions_.size(); }

private:
    using Key = std::pair<std::string, std::string>; // zygote, user
    struct Waiting { // for the resolver, or for a process to take him over
        ipc::Arrival arrival;
        Fd client;
        Done done{};         // null: the login stage has had its answer
        bool again = false;  // the process that was given him ended
        void answer(ipc::Code code, const std::string& text)
        {
            if (done) std::exchange(done, nullptr)(code, text);
        }
    };
    struct Session {
        std::map<uint64_t, Waiting> given; // clients that it has not taken over yet, by connection
        std::unique_ptr<ipc::Channel> channel;
        uint64_t sent = 0; // arrivals
        uint32_t pid = 0;  // as it says, for log lines; 0: it has taken nobody over yet
        std::unique_ptr<Timer> unknown; // until then; the login stage waits for it no longer than that
    };
    void resolved(const Key& key, const Result<ipc::UserReply>& reply);
    void park(const Key& key, std::vector<Waiting> line);
    void refuse_parked(const std::string& why);
    Result<Session*> start(const Key& key, const ipc::UserReply& user);
    void pass(const Key& key, Session& session, Waiting waiting);
    void look_up(const Key& key, Waiting waiting);
    void say_in(Session& session);
    void taken(const Key& key, uint64_t connection, const Result<ipc::Message>& answer);
    void give_up(Key key, bool successor);
    void look_for_hung();
    void hung(const Key& key);
    void on_message(const Key& key, const ipc::Message& message);
    class Gathering;
    // Page by page: those of this process above connection `after`.
    void ask_who(const Key& key, uint64_t after, uint64_t listed, const std::function<void(ipc::Presences)>& page,
                 const std::shared_ptr<Gathering>& gathering);

    Loop& loop_;
    Doors doors_;
    Tickets tickets_;
    bool stopping_ = false;
    std::chrono::milliseconds patience_{60'000};
    uint64_t next_connection_ = 1;
    std::map<Key, Session> sessions_;
    std::map<Key, std::vector<Waiting>> waiting_;
    std::set<Key> parked_; // of waiting_: for the zygote
    Timer ping_, parking_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true); // first in death: what is gathered then is told to nobody
};

} // namespace veredus::master

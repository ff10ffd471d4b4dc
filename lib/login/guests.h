// The clients of one process of a login stage, and the rules that hold for all of them.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "lib/base/clock.h"
#include "lib/conf/values.h"
#include "lib/ipc/control.h"
#include "lib/login/dialect.h"
#include "lib/login/guest.h"
#include "lib/loop/loop.h"
#include "lib/reception/logins.h"
#include "lib/reception/meters.h"
#include "lib/table/table.h"
#include "lib/tls/tls.h"

namespace veredus::login {

struct Rules {
    std::string greeting;
    std::chrono::milliseconds timeout{180'000}, proxy_timeout{3000};
    std::size_t connections = 10'000;
    unsigned failures = 10;
    unsigned per_client = 0, client_rate = 0;
    unsigned pop3_login_delay_s = 0;
    bool passwords_in_clear = false;
    bool needs_certificate = false;
    table::MatchList trusted, exempt, proxies;
    static Result<Rules> read(const conf::Values& values, const std::string& service); // "imap", "pop3"
};

class Guests {
public:
    struct Parts {
        Loop& loop;
        const Clock& clock;
        std::string service; // "imap", "pop3"
        MakeDialect dialect;
        reception::Logins& logins;
        reception::Meters* meters; // null: nobody counts
        tls::ServerContext* tls;   // null: none ever
        // Control::enter: the body, the descriptor; the answer comes later, once.
        std::function<void(std::string body, int fd, std::function<void(ipc::Code, std::string text)> done)> enter;
        bool timestamps = false;   // the greeting has one where authd offers APOP: POP3 (RFC 1939 §7)
    };
    Guests(Parts parts, std::shared_ptr<const Rules> rules);
    ~Guests();
    Guests(const Guests&) = delete;
    void configure(std::shared_ptr<const Rules> rules) { rules_ = std::move(rules); }
    void accept(Fd client, net::Address remote, bool tls_first);
    void offers_changed();
    // Who has not logged in is told and goes; those that are relayed for end with their sessions. Then `done`.
    void stop(std::function<void()> done);
    // All that have no login are told and go.
    void shed_strangers();
    // Once, when there is no client any more: not before the end of this turn.
    void when_empty(std::function<void()> done);
    std::size_t size() const { return guests_.size(); }

private:
    friend class Guest;
    Guest* find(uint64_t number);
    void forget(uint64_t number); // after this turn
    void say_empty();
    void heard(Guest& guest);        // something of it, or of authd about it: it is not silent
    void is_no_stranger(Guest& guest);
    // Of those without a login the one that was silent longest goes, at once. False: there is none but the newcomer.
    bool make_room(uint64_t newcomer);
    bool nearly_full() const { return guests_.size() > rules_->connections - rules_->connections / 4; }
    bool tls_ready() const { return parts_.tls && parts_.tls->ready(); }

    Parts parts_;
    std::shared_ptr<const Rules> rules_; // shared: a guest keeps those it came under
    uint64_t next_ = 1;
    int64_t warned_us_ = 0;
    std::list<uint64_t> strangers_; // who has shown no good password yet; who was heard last stands last
    std::function<void()> stopped_, emptied_;
    std::shared_ptr<Guests*> self_ = std::make_shared<Guests*>(this); // answers find us, or nobody
    std::unordered_map<uint64_t, std::unique_ptr<Guest>> guests_;
};

} // namespace veredus::login

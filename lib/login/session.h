// The process of one mailbox user: takes over his clients as they log in, serves all of them in one loop, and goes when
// it has had none for a while. It runs with the user's rights and is trusted with nothing but his mail (design.md §1).
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/fd.h"
#include "lib/conf/values.h"
#include "lib/ipc/control.h"
#include "lib/ipc/login.h"
#include "lib/loop/loop.h"

namespace veredus::login {

// What imapd and pop3d make of it. Their objects may be destroyed only after run_session's loop has ended.
class House {
public:
    virtual ~House() = default;
    // The descriptor is a connected stream, non-blocking: the client's own socket, or a socket pair whose other end the
    // login stage keeps. The client waits for the word that he is in: a tagged OK, +OK. arrival.input comes before what
    // the descriptor has. For each arrival, SessionHost::gone() once, at its end.
    virtual void on_client(ipc::Arrival arrival, Fd client) = 0;
    virtual std::vector<ipc::Presence> who() const = 0; // user, service and pid are filled in by the host
    // 0: all. They are told (BYE), and end soon: gone(). How many were told.
    virtual std::size_t kick(uint64_t connection) = 0;
    // The mail system stops, or master does not want this process any more: all clients are told and end now.
    virtual void stop() = 0;
    virtual void idle() {} // the last client has gone: what can be given back is
};

class SessionHost {
public:
    virtual ~SessionHost() = default;
    virtual void gone(uint64_t connection) = 0;     // a client of on_client() is no more
    virtual const ipc::Serve& user() const = 0;     // name, home, uid, gid
    virtual const std::string& service() const = 0; // "imap"
    // More connections of this user from that address than mail_max_userip_connections: his client is told so and goes.
    virtual bool crowded(const ipc::Arrival& arrival) const { return (void)arrival, false; }
    // "imap(alice)<1234><session>: ", what log lines of one client begin with.
    virtual std::string log_prefix(const ipc::Arrival& arrival) const = 0;
};

using MakeHouse =
    std::function<Result<std::unique_ptr<House>>(Loop& loop, SessionHost& host, const conf::Values& values)>;

// What a client hears, instead of the word that he is in, when his mailbox cannot be opened. Of Arrival::hand_over.
using NoMailbox = std::function<std::string(std::string_view hand_over)>;

// The whole life of a session process, for daemon::run_zygote: returns its exit status. `linger`: how long it stays
// without clients.
int run_session(const std::string& service, std::chrono::milliseconds linger, const conf::Values& values,
                const ipc::Serve& who, Fd channel, const MakeHouse& make, const NoMailbox& no_mailbox);

} // namespace veredus::login

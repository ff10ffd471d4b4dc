// The skeleton of every daemon: log, settings, jail, rights, neighbours, watchdog, orderly stop.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "lib/conf/values.h"
#include "lib/ipc/channel.h"
#include "lib/ipc/control.h"
#include "lib/loop/loop.h"
#include "lib/net/address.h"

namespace veredus::daemon {

struct Place {                       // where this instance runs, as master told it
    std::string role;
    uint32_t instance = 0, slot = 0;
    bool unprivileged = false;
    std::string jail;                // the path the jail has outside; "." inside is that directory in every mode
    std::string config_directory, queue_directory, run_directory;
    bool quiet = false;              // what each process of the role would say when it starts was said a while ago
};

class Service {
public:
    virtual ~Service() = default;
    // Outside the jail, still root: open what the jail will hide. No byte of a peer is read here.
    virtual Result<void> before_jail(const conf::Values& values, const Place& place) { (void)values, (void)place; return {}; }
    // Inside, as the role's user: meet the neighbours, then return; master hears "ready". The working directory is the jail
    // (or queue_directory for roles without one).
    virtual Result<void> after_jail(Loop& loop) = 0;
    // `listener`: where the client came to, "0.0.0.0:465/tls" or a path; "/tls": TLS comes before everything else.
    virtual void on_client(const std::string& listener, Fd client, net::Address peer) { (void)listener, (void)client, (void)peer; }
    // A listener of the role's own making (datagram, seqpacket): return true to take the fd instead of the Acceptor.
    virtual bool on_listener(const ipc::Listener& listener, Fd& fd) { (void)listener, (void)fd; return false; }   // after after_jail
    virtual void on_peer(const ipc::Neighbour& peer, Fd channel) { (void)peer, (void)channel; }   // a neighbour came to us
    virtual Result<void> reload(const conf::Values& values) { (void)values; return {}; }          // an error keeps the old ones
    virtual void on_file(const std::string& name, Fd fd) { (void)name, (void)fd; }   // "resolv.conf", "passdb:/path": it changed
    virtual void make_room() {}    // of a process that accepts no more: other clients wait for its place
    // SIGTERM or master's stop: no new clients come; finish and call done (at most stop_seconds pass before exit anyway).
    virtual void stop(std::function<void()> done) { done(); }
};

// What a running service may ask its skeleton; valid from after_jail on.
class Context {
public:
    virtual ~Context() = default;
    virtual void neighbour(const std::string& role, uint32_t instance, std::function<void(Result<Fd>)> done) = 0;
    virtual void worker(ipc::Worker who, std::function<void(ipc::Code, std::string text, Fd)> done) = 0;   // local only
    virtual const Place& place() const = 0;
    // A connection to a Unix socket outside the jail, smtp-client only; master looks whether main.cf allows it.
    virtual void unix_socket(const std::string& path, std::function<void(Result<Fd>)> done) { (void)path, done(fail("not for this role")); }
    // This process has the clients that it is to have: it accepts no more, and master starts another one in its place. Then leave(), when
    // they are gone.
    virtual void accept_no_more() {}
    virtual void leave() {}
    // To master as it stands, with a descriptor or without (-1): Control::ticket of authd, Control::enter of the login stages.
    virtual void tell_master(ipc::Control type, std::string body, int fd, std::function<void(ipc::Code, std::string text)> done)
    {
        (void)type, (void)body, (void)fd, done(ipc::Code::unavailable, "not for this role");
    }
};
Context& context();
void set_context(Context* context);    // the skeleton's; tests of services bring a Context of their own

// Reaches a neighbour through master and again after it died, with back-off. A call without descriptors that is made while it is
// away waits some seconds for its return (at start-up everyone is away for a moment), and one that had no answer when it died is
// made once more, so it must be a question that may be asked twice; after that it fails as temporary.
class Link {
public:
    Link(Loop& loop, std::string role, uint32_t instance = 0);
    ~Link();
    Link(const Link&) = delete;
    void on_message(std::function<void(ipc::Message)> message);      // requests and one-way messages of the neighbour
    void on_state(std::function<void(bool connected)> state);        // each (re)connection and loss
    void start();
    bool connected() const;
    ipc::Channel* channel();                                         // null while away
    // `wanted`: as with a channel.
    void call(uint16_t type, std::string body, std::span<const int> fds, std::chrono::milliseconds deadline, std::function<void(Result<ipc::Message>)> done,
              ipc::Channel::Wanted wanted = nullptr);
    Result<void> send(uint16_t type, std::string body, std::span<const int> fds = {});

private:
    struct Private;
    std::shared_ptr<Private> private_;    // shared_ptr: a pending answer of master may outlive the link
};

struct RoleName {
    const char* role;        // "smtpd"
    conf::Who who;
    const char* log_name;    // in the log line: "smtpd", "smtp", "qmgr"
};

// The whole life of a daemon; main() returns its value. Without a control channel on fd 3 it says how it is meant to be
// started (by `veredus start`) and exits 78.
int run(const RoleName& role, Service& service, int argc, char** argv);

// A zygote: waits on fd 3 for ipc::Serve, forks, drops to that user for good, verifies, and calls `serve` in the child
// with the channel's fd; the child exits with what it returns. `values` are the public settings.
int run_zygote(const RoleName& role, std::function<int(const conf::Values& values, const ipc::Serve& who, Fd channel)> serve, int argc, char** argv);

// Drops every right to this user for good and proves it (design.md §1). Unprivileged: only no_new_privs.
Result<void> drop_rights(uint32_t uid, uint32_t gid, const std::vector<uint32_t>& groups);
Result<void> enter_jail(const std::string& path);

}  // namespace veredus::daemon

// The one place where a daemon's order of steps is decided: log, settings, jail, rights, neighbours, ready, loop, stop.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>

#include "config.h"
#include "lib/base/panic.h"
#include "lib/base/text.h"
#include "lib/conf/port.h"
#include "lib/daemon/memory.h"
#include "lib/daemon/rights.h"
#include "lib/daemon/service.h"
#include "lib/daemon/start.h"
#include "lib/log/log.h"
#include "lib/net/stream.h"

namespace veredus::daemon {

namespace {

using std::chrono::milliseconds;
constexpr int control_fd = 3;
constexpr int start_timeout_ms = 60'000;
constexpr milliseconds broker_deadline{10'000};

Context* the_context = nullptr;

class Skeleton final : public Context {
public:
    Skeleton(Loop& loop, Service& service, const RoleName& role, Start start)
        : loop_(loop), service_(service), role_(role), start_(std::move(start)), stop_timer_(loop, [this] { loop_.stop(); }), settled_(loop, give_back_memory),
          terminate_(loop, SIGTERM, [this] { begin_stop(); }),
          control_(loop, Fd(control_fd), {[this](ipc::Message m) { on_control(std::move(m)); }, [this](const std::string&) { begin_stop(); }})
    {
    }

    void neighbour(const std::string& role, uint32_t instance, std::function<void(Result<Fd>)> done) override
    {
        ask(ipc::Control::neighbour, ipc::Neighbour{role, instance}.encode(), [done](ipc::Code code, const std::string& text, Fd fd) {
            if (code == ipc::Code::ok) return done(std::move(fd));
            done(unexpected(Error{0, text}));
        });
    }
    void worker(ipc::Worker who, std::function<void(ipc::Code, std::string, Fd)> done) override
    {
        ask(ipc::Control::worker, who.encode(), std::move(done));
    }
    void unix_socket(const std::string& path, std::function<void(Result<Fd>)> done) override
    {
        ask(ipc::Control::unix_socket, ipc::File{path}.encode(), [done](ipc::Code code, const std::string& text, Fd fd) {
            if (code == ipc::Code::ok) return done(std::move(fd));
            done(unexpected(Error{0, text}));
        });
    }
    void tell_master(ipc::Control type, std::string body, int fd, std::function<void(ipc::Code, std::string text)> done) override
    {
        control_.call(static_cast<uint16_t>(type), std::move(body), fd < 0 ? std::span<const int>() : std::span<const int>(&fd, 1), broker_deadline,
                      [done = std::move(done)](const Result<ipc::Message>& answer) {
                          auto status = answer ? ipc::Status::decode(answer->body) : Result<ipc::Status>(unexpected(answer.error()));
                          if (!status) return done(ipc::Code::unavailable, status.error().text);
                          done(status->code, status->text);
                      });
    }
    void accept_no_more() override
    {
        if (std::exchange(taken_, true)) return;
        for (auto& [name, acceptor] : acceptors_) acceptor->pause(true);
        loop_.defer([this] { acceptors_.clear(); });    // one of them is calling
        (void)control_.send(static_cast<uint16_t>(ipc::Control::taken), "");
    }
    void leave() override { begin_stop(); }
    const Place& place() const override { return place_; }

    void set_place(Place place) { place_ = std::move(place); }
    void set_stop_timeout(int64_t seconds) { stop_timeout_ = std::chrono::seconds(seconds); }
    Result<void> meet_neighbours()
    {
        TRY(service_.after_jail(loop_));
        for (auto& [file, fd] : start_.files) service_.on_file(file.name, std::move(fd));
        for (auto& [listener, fd] : start_.listeners) listen(listener, std::move(fd));
        start_ = Start();
        settled_.start(start_settles);
        return control_.send(static_cast<uint16_t>(ipc::Control::ready), "");
    }
    void tell_failure(const std::string& why)
    {
        (void)ipc::send_blocking(control_.fd(), {static_cast<uint16_t>(ipc::Control::failed), false, 0, 0, ipc::Status{ipc::Code::invalid, why}.encode(), {}}, 1000);
    }

private:
    void ask(ipc::Control type, std::string body, std::function<void(ipc::Code, std::string, Fd)> done)
    {
        control_.call(static_cast<uint16_t>(type), std::move(body), {}, broker_deadline, [done = std::move(done)](Result<ipc::Message> answer) {
            if (!answer) return done(ipc::Code::unavailable, answer.error().text, Fd());
            auto status = ipc::Status::decode(answer->body);
            if (!status) return done(ipc::Code::unavailable, status.error().text, Fd());
            if (status->code != ipc::Code::ok) return done(status->code, status->text, Fd());
            if (answer->fds.size() != 1) return done(ipc::Code::unavailable, "master's answer has no descriptor", Fd());
            done(ipc::Code::ok, status->text, std::move(answer->fds[0]));
        });
    }

    void listen(const ipc::Listener& listener, Fd fd)
    {
        if (stopping_ || taken_) return;
        if (service_.on_listener(listener, fd)) return;
        const std::string name = listener.address;
        acceptors_[listener.name + ' ' + listener.address] = std::make_unique<net::Acceptor>(
            loop_, std::move(fd), [this, name](Fd client, net::Address peer) { service_.on_client(name, std::move(client), std::move(peer)); });
    }

    void on_control(ipc::Message message)
    {
        const bool with_fd = message.fds.size() == 1;
        switch (static_cast<ipc::Control>(message.type)) {
        case ipc::Control::peer:
            if (auto peer = ipc::Neighbour::decode(message.body); peer && with_fd) return service_.on_peer(*peer, std::move(message.fds[0]));
            break;
        case ipc::Control::listener:
            if (auto listener = ipc::Listener::decode(message.body); listener && with_fd) return listen(*listener, std::move(message.fds[0]));
            break;
        case ipc::Control::unlisten:
            if (auto listener = ipc::Listener::decode(message.body)) {
                acceptors_.erase(listener->name + ' ' + listener->address);
                return;
            }
            break;
        case ipc::Control::file:
            if (auto file = ipc::File::decode(message.body); file && with_fd) return service_.on_file(file->name, std::move(message.fds[0]));
            break;
        case ipc::Control::log_file:
            if (with_fd) return log::reopen(std::move(message.fds[0]));
            break;
        case ipc::Control::settings:
            return answer(message, reload(message));
        case ipc::Control::make_room:
            return service_.make_room();
        case ipc::Control::ping:
            return answer(message, {});
        case ipc::Control::stop:
            return begin_stop();
        default:
            break;
        }
        log::warning("control channel: message ", message.type, " is malformed or not for a role");
    }

    Result<void> reload(ipc::Message& message)
    {
        if (message.fds.size() != 1) return fail("settings without their memory file");
        const std::string bytes = TRY(read_settings(message.fds[0]));
        const auto values = TRY(conf::Values::deserialize(bytes));
        TRY(service_.reload(values));
        set_stop_timeout(values.seconds("stop_timeout"));
        return {};
    }

    void answer(const ipc::Message& message, const Result<void>& result)
    {
        ipc::Status status;
        if (!result) status = {ipc::Code::invalid, result.error().text};
        (void)control_.reply(message, message.type, status.encode());
    }

    void begin_stop()
    {
        if (stopping_) return;
        stopping_ = true;
        acceptors_.clear();
        stop_timer_.start(stop_timeout_);
        service_.stop([this] { loop_.defer([this] { loop_.stop(); }); });
    }

    Loop& loop_;
    Service& service_;
    RoleName role_;
    Start start_;
    Place place_;
    milliseconds stop_timeout_{10'000};
    bool stopping_ = false, taken_ = false;
    std::map<std::string, std::unique_ptr<net::Acceptor>> acceptors_;
    Timer stop_timer_, settled_;
    Signal terminate_;
    ipc::Channel control_;
};

[[noreturn]] void refuse_to_run(const RoleName& role)
{
    std::fprintf(stderr, "veredus %s is a part of the mail system and is started by master (type `veredus start`).\n", role.role);
    std::exit(EX_CONFIG);
}

bool on_control_channel()
{
    int type = 0;
    socklen_t size = sizeof type;
    return ::getsockopt(control_fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

[[noreturn]] void fail_start(int status, const std::string& why)
{
    (void)ipc::send_blocking(control_fd, {static_cast<uint16_t>(ipc::Control::failed), false, 0, 0, ipc::Status{ipc::Code::invalid, why}.encode(), {}}, 1000);
    log::fatal_exit(status, why);
}

Place place_of(const ipc::Hello& hello)
{
    return {hello.role, hello.instance, hello.slot, hello.unprivileged, hello.jail, hello.config_directory, hello.queue_directory, hello.run_directory, hello.quiet};
}

// Names are looked up outside the jail, rights are given up inside it.
Result<void> leave_root(const ipc::Hello& hello)
{
    if (hello.unprivileged) {
        // No wall and no other user; a developer's debugger stays welcome.
        const std::string& home = hello.jail.empty() ? hello.queue_directory : hello.jail;
        if (::chdir(home.c_str()) < 0) return fail_errno(cat("chdir ", home));
        return hello.keep_privilege_gain ? Result<void>() : forbid_privilege_gain();
    }
    const Identity identity = TRY(find_identity(hello.user, hello.group, hello.extra_groups));
    if (!hello.jail.empty()) {
        TRY(enter_jail(hello.jail));
    } else if (::chdir(hello.queue_directory.c_str()) < 0) {
        return fail_errno(cat("chdir ", hello.queue_directory));
    }
    TRY(drop_rights(identity.uid, identity.gid, identity.groups));
    if (!hello.keep_privilege_gain) TRY(forbid_privilege_gain());
    return forbid_tracing();
}

void quiet_signals()
{
    for (const int number : {SIGPIPE, SIGHUP, SIGINT, SIGUSR1, SIGUSR2}) ::signal(number, SIG_IGN);
}

}  // namespace

Context& context()
{
    if (!the_context) panic("daemon::context() outside a running daemon");
    return *the_context;
}

void set_context(Context* context) { the_context = context; }

int run(const RoleName& role, Service& service, int, char**)
{
    if (!on_control_channel()) refuse_to_run(role);
    quiet_signals();
    ::fcntl(control_fd, F_SETFD, FD_CLOEXEC);
    ::tzset();    // /etc/localtime is out of reach in a jail
    conf::remember_services();
    keep_memory_small();
    ::umask(007);  // queue files are made 0660 for qmgr; nobody else gets anything
    auto start = receive_start(control_fd, start_timeout_ms);
    if (!start) {
        std::fprintf(stderr, "veredus %s: %s\n", role.role, start.error().text.c_str());
        return EX_SOFTWARE;
    }
    if (auto opened = log::open(log_settings(start->hello, role.log_name), std::move(start->log)); !opened) fail_start(EX_OSERR, opened.error().text);
    const ipc::Hello hello = start->hello;
    if (hello.role != role.role) fail_start(EX_SOFTWARE, cat("started as role ", hello.role));
    const auto values = conf::Values::deserialize(start->settings);
    if (!values) fail_start(EX_CONFIG, values.error().text);

    set_limits();
    if (auto ok = service.before_jail(*values, place_of(hello)); !ok) fail_start(EX_CONFIG, ok.error().text);
    if (auto ok = leave_root(hello); !ok) fail_start(EX_OSERR, ok.error().text);

    auto loop = Loop::create();
    if (!loop) fail_start(EX_OSERR, loop.error().text);
    (*loop)->each_turn([] { log::flush(); });
    {
        Skeleton skeleton(**loop, service, role, std::move(*start));
        skeleton.set_place(place_of(hello));
        skeleton.set_stop_timeout(values->seconds("stop_timeout"));
        set_context(&skeleton);
        if (auto ready = skeleton.meet_neighbours(); !ready) {
            skeleton.tell_failure(ready.error().text);
            log::fatal_exit(EX_CONFIG, ready.error().text);
        }
        log::flush();    // what was said so far must not wait for the first event
        (*loop)->run();
        log::flush();
        // The service outlives the loop in main(), but its channels and timers belong to the loop: leave now, with nothing
        // to unwind that could still call back.
        std::fflush(nullptr);
        std::_Exit(0);
    }
}

}  // namespace veredus::daemon

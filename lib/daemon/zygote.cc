// A zygote: started and linked once as root, it forks a process per user on master's word and never comes back from there.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/daemon/children.h"
#include "lib/daemon/rights.h"
#include "lib/daemon/service.h"
#include "lib/daemon/start.h"
#include "lib/daemon/zygote.h"
#include "lib/log/log.h"

namespace veredus::daemon {

namespace {

constexpr int control_fd = 3;
constexpr int channel_fd = 4;

constexpr int most_orders = 16;

// How long a process may take to end once nobody listens to it any more.
constexpr int64_t grace_us = 5 * us_per_second;

void reap(Children& children)
{
    int status = 0;
    for (pid_t pid; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
        children.waited_for(pid);
        if (WIFSIGNALED(status)) log::warning("process of a user, pid ", pid, ", killed by signal ", WTERMSIG(status));
        if (WIFEXITED(status) && WEXITSTATUS(status) == EX_OSERR) log::warning("process of a user, pid ", pid, ", could not start");
    }
    log::flush();
}

// Keeps 0 to 2, the channel as fd 4, and the log; nothing else of master's or of another user's comes along.
void close_all_but(int log_fd)
{
    int next = channel_fd + 1;
    if (log_fd >= next) {
        if (log_fd > next) ::syscall(SYS_close_range, next, log_fd - 1, 0);
        next = log_fd + 1;
    }
    ::syscall(SYS_close_range, next, ~0U, 0);
}

Result<void> become_user(const ipc::Serve& who)
{
    if (who.unprivileged) {
        if (who.uid != ::getuid()) return fail("asked to serve another user without the right to");
        return {};
    }
    TRY(drop_rights(who.uid, who.gid, {who.gid}));
    return forbid_tracing();
}

// The zygote holds a descriptor for each of its children; these begin with what master gave it.
rlimit given_files{};

void allow_many_files()
{
    if (::getrlimit(RLIMIT_NOFILE, &given_files) < 0) log::fatal_exit(EX_OSERR, "getrlimit");
    rlimit more = given_files;
    more.rlim_cur = std::max<rlim_t>(more.rlim_cur, std::min<rlim_t>(more.rlim_max, 131'072));
    (void)::setrlimit(RLIMIT_NOFILE, &more);    // else fewer processes at a time
}

// Never returns. Privilege gain stays allowed: a command of .forward must be able to call sendmail.
[[noreturn]] void child(const conf::Values& values, const ipc::Serve& who, Fd channel, const ServeFunction& serve)
{
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    for (const int number : {SIGCHLD, SIGTERM, SIGHUP, SIGINT}) ::signal(number, SIG_DFL);
    ::setsid();
    ::umask(077);
    ::setrlimit(RLIMIT_NOFILE, &given_files);
    ::prctl(PR_SET_NAME, who.name, 0, 0, 0);    // so that ps and top tell the processes of users apart
    int log_fd = log::target_fd();
    if (log_fd == control_fd || log_fd == channel_fd) log_fd = -1;    // cannot be: the log was opened after both were taken
    if (channel.get() != channel_fd && ::dup2(channel.release(), channel_fd) < 0) ::_exit(EX_OSERR);
    (void)channel.release();
    ::fcntl(channel_fd, F_SETFD, FD_CLOEXEC);
    ::close(control_fd);
    close_all_but(log_fd);
    if (auto dropped = become_user(who); !dropped) {
        log::error("user ", std::string_view(who.name), ": ", dropped.error().text);
        log::flush();
        ::_exit(EX_OSERR);
    }
    const int status = serve(values, who, Fd(channel_fd));
    log::flush();
    ::_exit(status);
}

void fork_child(const conf::Values& values, const ipc::Serve& who, Fd channel, const ServeFunction& serve, Children& children)
{
    log::flush();    // or the child would say it again
    const pid_t pid = ::fork();
    if (pid == 0) child(values, who, std::move(channel), serve);
    if (pid < 0) return log::warning("fork for user ", std::string_view(who.name), ": ", std::string_view(::strerror(errno)));
    children.add(pid, std::move(channel), who.name);
}

// Some at once: between two the channels of all children are looked at. false: master is gone or tells us to go.
bool take_orders(const conf::Values& values, bool unprivileged, const ServeFunction& serve, Children& children)
{
    for (int i = 0; i < most_orders; ++i) {
        auto order = receive_serve(control_fd, unprivileged);
        if (!order) {
            if (order.error().code == EAGAIN || order.error().code == EINTR) return true;
            if (order.error().code != ENOTCONN) log::error("zygote: ", order.error().text);
            return order.error().code == EBADMSG;
        }
        fork_child(values, order->who, std::move(order->channel), serve, children);
    }
    return true;
}

Fd block_signals()
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    return Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

// false: told to terminate.
bool take_signals(const Fd& signals, Children& children)
{
    signalfd_siginfo info{};
    while (::read(signals.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info))
        if (info.ssi_signo == SIGTERM) return false;
    reap(children);
    return true;
}

}  // namespace

Result<void> check_serve(const ipc::Serve& who, bool unprivileged)
{
    const auto ends = [](const char* text, std::size_t size) { return ::memchr(text, 0, size) != nullptr; };
    if (!ends(who.name, sizeof who.name) || !ends(who.home, sizeof who.home) || !ends(who.shell, sizeof who.shell) || !ends(who.mailbox, sizeof who.mailbox))
        return fail_errno("serve: a text without its end", EBADMSG);
    if (who.name[0] == 0) return fail_errno("serve: no name", EBADMSG);
    if ((who.unprivileged != 0) != unprivileged) return fail_errno("serve: not the mode we were started in", EBADMSG);
    if (!unprivileged && who.uid == 0) return fail_errno("serve: refusing uid 0", EBADMSG);
    return {};
}

Result<Order> receive_serve(int control, bool unprivileged)
{
    Order order;
    iovec io{&order.who, sizeof order.who};
    alignas(cmsghdr) char space[CMSG_SPACE(4 * sizeof(int))];
    msghdr message{};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    message.msg_control = space;
    message.msg_controllen = sizeof space;
    const ssize_t size = ::recvmsg(control, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (size < 0) return fail_errno("serve");
    if (size == 0) return fail_errno("serve: master closed", ENOTCONN);
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            order.channel = Fd(fd);    // of several, all but the last are closed here; the count below refuses them
            ++order.descriptors;
        }
    }
    if (static_cast<std::size_t>(size) != sizeof order.who || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || order.descriptors != 1)
        return fail_errno("serve: not one message with one descriptor", EBADMSG);
    TRY(check_serve(order.who, unprivileged));
    return order;
}

int run_zygote(const RoleName& role, ServeFunction serve, int argc, char** argv)
{
    return run_prepared_zygote(role, [&](const conf::Values&) { return std::move(serve); }, argc, argv);
}

int run_prepared_zygote(const RoleName& role, const std::function<ServeFunction(const conf::Values&)>& prepare, int, char**)
{
    int type = 0;
    socklen_t size = sizeof type;
    if (::getsockopt(control_fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET) {
        std::fprintf(stderr, "veredus %s is a part of the mail system and is started by master (type `veredus start`).\n", role.role);
        return EX_CONFIG;
    }
    ::signal(SIGPIPE, SIG_IGN);
    for (const int number : {SIGHUP, SIGINT}) ::signal(number, SIG_IGN);
    ::fcntl(control_fd, F_SETFD, FD_CLOEXEC);
    const Fd place_holder(::open("/dev/null", O_RDWR | O_CLOEXEC));    // fd 4 is the channel's number in a child
    ::tzset();
    auto start = receive_start(control_fd, 60'000);
    if (!start) {
        std::fprintf(stderr, "veredus %s: %s\n", role.role, start.error().text.c_str());
        return EX_SOFTWARE;
    }
    if (auto opened = log::open(log_settings(start->hello, role.log_name), std::move(start->log)); !opened) log::fatal_exit(EX_OSERR, opened.error().text);
    const auto values = conf::Values::deserialize(start->settings);
    if (!values) log::fatal_exit(EX_CONFIG, values.error().text);
    if (::chdir("/") < 0) log::fatal_exit(EX_OSERR, "chdir /");
    const Fd signals = block_signals();
    allow_many_files();
    const ServeFunction serve = prepare(*values);
    if (auto sent = ipc::send_blocking(control_fd, {static_cast<uint16_t>(ipc::Control::ready), false, 0, 0, "", {}}, 10'000); !sent)
        log::fatal_exit(EX_OSERR, sent.error().text);
    Children children(grace_us);
    std::vector<pollfd> fds;
    for (;;) {
        fds.assign({{control_fd, POLLIN, 0}, {signals.get(), POLLIN, 0}});
        children.watch(fds);
        if (::poll(fds.data(), fds.size(), children.patience_ms(system_clock().mono_us())) < 0) {
            if (errno != EINTR) log::fatal_exit(EX_OSERR, "poll");
            continue;
        }
        const int64_t now_us = system_clock().mono_us();
        children.take(fds.data() + 2, now_us);
        if (fds[1].revents && !take_signals(signals, children)) return 0;    // first who ended, then who must: no pid is anyone else's yet
        for (const std::string& who : children.kill_overdue(now_us)) log::warning("process of user ", who, ", did not end when it was given up: killed");
        if (fds[0].revents && !take_orders(*values, start->hello.unprivileged, serve, children)) return 0;
    }
}

}  // namespace veredus::daemon

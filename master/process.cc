// Starting a process so that it inherits nothing by accident.
#include "master/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"

namespace veredus::master {

namespace {

constexpr int control_fd = 3, report_fd = 4;

rlimit given_files{};    // the limit before allow_many_files

std::vector<char*> pointers(const std::vector<std::string>& strings)
{
    std::vector<char*> list;
    for (const std::string& s : strings) list.push_back(const_cast<char*>(s.c_str()));
    list.push_back(nullptr);
    return list;
}

// In the child, after fork: only async-signal-safe calls.
[[noreturn]] void exec_child(const char* path, char* const* argv, char* const* envp, int control, int report, bool keep_output)
{
    // Both are moved out of the way first: either may sit on 3 or 4 already.
    control = ::fcntl(control, F_DUPFD, 10);
    report = ::fcntl(report, F_DUPFD, 10);
    int error = 0;
    if (control < 0 || report < 0 || ::dup2(control, control_fd) < 0 || ::dup2(report, report_fd) < 0) error = errno;
    const int null = ::open("/dev/null", O_RDWR);
    if (null < 0 || ::dup2(null, 0) < 0) error = errno;
    if (!keep_output && (::dup2(null, 1) < 0 || ::dup2(null, 2) < 0)) error = errno;
    ::fcntl(report_fd, F_SETFD, FD_CLOEXEC);
    ::syscall(SYS_close_range, report_fd + 1, ~0U, 0);
    if (given_files.rlim_max != 0) ::setrlimit(RLIMIT_NOFILE, &given_files);
    // A session of its own: the terminal's Ctrl-C is for master, which stops the others in order.
    ::setsid();
    for (int number = 1; number < 32; ++number)
        if (number != SIGKILL && number != SIGSTOP) ::signal(number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    if (error == 0) {
        ::execve(path, argv, envp);
        error = errno;
    }
    [[maybe_unused]] const auto n = ::write(report_fd, &error, sizeof error);
    ::_exit(127);
}

}  // namespace

void allow_many_files()
{
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
    given_files = limit;
    limit.rlim_cur = std::max<rlim_t>(limit.rlim_cur, std::min<rlim_t>(limit.rlim_max, 131'072));
    (void)::setrlimit(RLIMIT_NOFILE, &limit);    // else fewer users at a time
}

namespace {

// Users come in bursts (a thousand mail programs after an outage), and a zygote takes one order after the other: with the
// kernel's usual room all but some dozens would be turned away. Without root the kernel gives what wmem_max allows.
void make_room_for_orders(int channel)
{
    const int room = 8 << 20;
    if (::setsockopt(channel, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) < 0)
        (void)::setsockopt(channel, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
}

} // namespace

Result<Spawned> spawn(const Launch& launch)
{
    auto [ours, theirs] = TRY(socket_pair(SOCK_SEQPACKET));
    make_room_for_orders(ours.get());
    int pipe_fds[2];
    if (::pipe2(pipe_fds, O_CLOEXEC) < 0) return fail_errno("pipe");
    const Fd read_end(pipe_fds[0]);
    Fd write_end(pipe_fds[1]);
    std::vector<std::string> arguments = launch.arguments;
    arguments.insert(arguments.begin(), launch.path);
    const auto argv = pointers(arguments);
    const auto envp = pointers(launch.environment);
    const pid_t pid = ::fork();
    if (pid < 0) return fail_errno("fork");
    if (pid == 0) exec_child(launch.path.c_str(), argv.data(), envp.data(), theirs.get(), write_end.get(), launch.keep_output);
    write_end.reset();
    int error = 0;
    ssize_t got = 0;
    while ((got = ::read(read_end.get(), &error, sizeof error)) < 0 && errno == EINTR) {
    }
    if (got == static_cast<ssize_t>(sizeof error)) {
        while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
        }
        return fail_errno(cat("exec ", launch.path), error);
    }
    return Spawned{pid, std::move(ours)};
}

std::string describe_end(int wait_status)
{
    if (WIFSIGNALED(wait_status)) return cat("killed by signal ", WTERMSIG(wait_status));
    return cat("exit status ", WEXITSTATUS(wait_status));
}

const char* Process::state_name() const
{
    switch (state) {
    case State::down: return "down";
    case State::starting: return "starting";
    case State::ready: return "ready";
    case State::stopping: return "stopping";
    }
    return "down";
}

}  // namespace veredus::master

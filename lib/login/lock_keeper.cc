#include "lib/login/lock_keeper.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "lib/base/text.h"

namespace veredus::login {

namespace {

struct Answer {
    int32_t code = 0; // errno
    int32_t held = 0; // by somebody else
};

constexpr int its_channel = 3;

} // namespace

Result<std::shared_ptr<LockKeeper>> LockKeeper::start(const std::string& mbox)
{
    auto pair = TRY(socket_pair(SOCK_SEQPACKET));
    const pid_t pid = ::fork();
    if (pid < 0) return fail_errno(cat("a process for the dotlock of ", mbox));
    if (pid == 0) serve(pair.second.get(), mbox);
    return std::shared_ptr<LockKeeper>(new LockKeeper(mbox, std::move(pair.first)));
}

// Nothing of the session is left here but its memory: no channel to master, no mailbox, and no signal that ends it before its lock is gone.
void LockKeeper::serve(int channel, const std::string& mbox)
{
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) ::signal(number, SIG_IGN);
    if (channel != its_channel && ::dup3(channel, its_channel, O_CLOEXEC) < 0) ::_exit(1);
    if (::syscall(SYS_close_range, its_channel + 1, ~0U, 0) < 0) ::_exit(1);
    store::OwnKeeper keeper(mbox);
    char act = 0;
    while (::recv(its_channel, &act, sizeof act, 0) == sizeof act) {
        Answer answer;
        switch (static_cast<Act>(act)) {
        case Act::lock:
            if (const auto locked = keeper.lock(); locked) answer.held = !*locked;
            else answer.code = locked.error().code != 0 ? locked.error().code : EIO;
            break;
        case Act::unlock: keeper.unlock(); break;
        case Act::create:
            if (const auto made = keeper.create(); !made) answer.code = made.error().code != 0 ? made.error().code : EIO;
            break;
        default: answer.code = EINVAL;
        }
        if (::send(its_channel, &answer, sizeof answer, MSG_NOSIGNAL) != sizeof answer) break;
    }
    keeper.unlock();
    ::_exit(0);
}

Result<bool> LockKeeper::ask(Act act)
{
    const char byte = static_cast<char>(act);
    Answer answer;
    ssize_t n = ::send(channel_.get(), &byte, sizeof byte, MSG_NOSIGNAL);
    if (n == sizeof byte)
        do n = ::recv(channel_.get(), &answer, sizeof answer, 0);
        while (n < 0 && errno == EINTR);
    if (n != sizeof answer) return fail(cat("dotlock of ", mbox_, ": the process that keeps it has ended"));
    if (answer.code != 0) return fail_errno(cat("dotlock of ", mbox_), answer.code);
    return answer.held == 0;
}

bool LockKeeper::has_ended() const
{
    char byte = 0;
    const ssize_t n = ::recv(channel_.get(), &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

Result<bool> LockKeeper::lock() { return ask(Act::lock); }
void LockKeeper::unlock() { (void)ask(Act::unlock); } // it has ended, and with it the lock
Result<void> LockKeeper::create()
{
    TRY(ask(Act::create));
    return {};
}

} // namespace veredus::login

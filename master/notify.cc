// sd_notify by hand.
#include "master/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "lib/base/text.h"

namespace veredus::master {

Notifier Notifier::from_environment()
{
    Notifier notifier;
    const char* path = std::getenv("NOTIFY_SOCKET");
    if (path && (*path == '/' || *path == '@') && std::strlen(path) < sizeof(sockaddr_un::sun_path)) {
        notifier.path_ = path;
        notifier.socket_ = Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    }
    const char* pid = std::getenv("WATCHDOG_PID");
    const char* usec = std::getenv("WATCHDOG_USEC");
    if (usec && (!pid || parse_number<pid_t>(pid) == ::getpid())) notifier.watchdog_ms_ = parse_number<int64_t>(usec).value_or(0) / 1000;
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}) ::unsetenv(name);
    return notifier;
}

void Notifier::say(std::string_view lines) const
{
    if (!socket_) return;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    if (address.sun_path[0] == '@') address.sun_path[0] = '\0';    // an abstract socket
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path_.size());
    (void)::sendto(socket_.get(), lines.data(), lines.size(), MSG_NOSIGNAL | MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&address), size);
}

void Notifier::reloading() const
{
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    say(cat("RELOADING=1\nMONOTONIC_USEC=", int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000));
}

}  // namespace veredus::master

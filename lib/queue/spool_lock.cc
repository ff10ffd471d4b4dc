// The lock of a spool: log/lock, which holds the number of the process that has it.
#include "lib/queue/spool_lock.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::queue {

namespace {
constexpr std::chrono::milliseconds pause_between{50};

// Of the open file, not of the process: closing another descriptor of that file lets go of nothing.
bool take(int fd)
{
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return ::fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

bool is_taken(int error) { return error == EAGAIN || error == EACCES; }
}  // namespace

Result<Fd> lock_spool(const std::string& base, std::chrono::milliseconds patience)
{
    const std::string path = cat(base, "/log/lock");
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) return fail_errno(cat("open ", path));
    const int64_t until_us = system_clock().mono_us() + std::chrono::microseconds(patience).count();
    while (!take(fd.get())) {
        if (errno == EINTR) continue;
        if (!is_taken(errno)) {
            log::warning(path, ": this file system has no locks; no second queue manager may work on this spool");
            return fd;
        }
        if (system_clock().mono_us() >= until_us) {
            char holder[20]{};
            const ssize_t size = ::pread(fd.get(), holder, sizeof holder, 0);
            return fail(cat(path, ": another queue manager, process ", printable(std::string_view(holder, size > 0 ? static_cast<std::size_t>(size) : 0)),
                            ", works on this spool: do two configurations have one queue_directory?"));
        }
        std::this_thread::sleep_for(pause_between);
    }
    const std::string pid = std::to_string(::getpid());
    if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) return fd;      // for people only: the lock counts
    return fd;
}

}  // namespace veredus::queue

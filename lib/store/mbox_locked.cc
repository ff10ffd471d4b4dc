// The locks of an mbox that is read and changed in place.
#include <chrono>
#include <thread>

#include "lib/base/clock.h"
#include "lib/log/log.h"
#include "lib/store/mbox_mark.h"
#include "lib/store/mbox_parts.h"

namespace veredus::store {

Result<MboxFolder::Locked> MboxFolder::Locked::take(const MboxPlace& place, For what, std::chrono::milliseconds patience)
{
    const int64_t until = system_clock().mono_us() + int64_t{patience.count()} * 1000;
    std::chrono::milliseconds wait{2};
    bool may_mend = what == For::reading, mending = false;
    for (;;) {
        Locked out(place, what);
        auto done = out.try_take();
        const bool final_error = !done && done.error().code != EAGAIN;
        if (final_error && !mending) return unexpected(std::move(done).error());
        if (final_error) {                                   // on a disk that cannot be written, say: then as it is
            mending = may_mend = false;
            what = For::reading;
            continue;
        }
        // Half a mail is read by nobody who can take it out first.
        if (done && *done && what == For::reading && may_mend && out.exists() && has_append_mark(out.fd())) {
            mending = true;
            what = For::writing;
            continue;
        }
        if (done && *done) return out;
        if (system_clock().mono_us() >= until) return fail_errno(cat("mailbox ", place.path, ": is locked by another program"), EAGAIN);
        std::this_thread::sleep_for(wait);
        wait = std::min(wait * 2, std::chrono::milliseconds(250));
    }
}

Result<bool> MboxFolder::Locked::try_take()
{
    const int flags = (writable() ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    file_ = Fd(::open(place_.path.c_str(), flags));
    if (!file_ && errno == ENOENT) {
        if (!writable()) return true;
        if (!place_.inbox) return fail_errno(cat("mailbox ", place_.path), ENOENT);
        TRY(place_.keeper->create());
        return false;
    }
    if (!file_) return fail_errno(cat("open ", place_.path));
    struct stat held {}, named {};
    if (::fstat(fd(), &held) < 0) return fail_errno(cat("look at ", place_.path));
    if (!S_ISREG(held.st_mode)) return fail_errno(cat("mailbox ", place_.path, ": is not a regular file"), EINVAL);
    if (held.st_nlink > 1) return fail_errno(cat("mailbox ", place_.path, ": has more than one hard link"), EINVAL);
    if (held.st_uid != ::geteuid()) return fail_errno(cat("mailbox ", place_.path, ": belongs to uid ", held.st_uid), EPERM);
    struct flock lock {};
    lock.l_type = writable() ? F_WRLCK : F_RDLCK;
    lock.l_whence = SEEK_SET;
    if (::fcntl(fd(), F_OFD_SETLK, &lock) != 0) {
        if (errno == EAGAIN || errno == EACCES) return false;
        return fail_errno(cat("lock ", place_.path));
    }
    if (::lstat(place_.path.c_str(), &named) < 0 || named.st_ino != held.st_ino || named.st_dev != held.st_dev) return false;
    if (!writable()) return true;
    dotlocked_ = TRY(place_.keeper->lock());
    if (!dotlocked_) return false;
    if (const uint64_t cut = TRY(cut_half_append(fd()))) log::warning("mailbox ", printable(place_.path), ": ", cut, " bytes of a delivery that was cut short are taken out");
    return true;
}

Result<void> write_at(int fd, uint64_t offset, std::string_view bytes)
{
    while (!bytes.empty()) {
        const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno("write");
        offset += static_cast<uint64_t>(n);
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
}

}  // namespace veredus::store

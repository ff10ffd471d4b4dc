// An OFD lock on a file that is never replaced.
#include "lib/store/index_lock.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/store/beneath.h"

namespace veredus::store {

Result<IndexLock> IndexLock::take(const disk::Directory& index)
{
    Fd fd(::openat(index.fd.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return fail_errno(cat("open ", index.path, "/lock"));
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    while (::fcntl(fd.get(), F_OFD_SETLKW, &lock) != 0)
        if (errno != EINTR) return fail_errno(cat("lock ", index.path, "/lock"));
    return IndexLock(std::move(fd));
}

Result<uint32_t> new_uidvalidity(const disk::Directory& index)
{
    const IndexLock lock = TRY(IndexLock::take(index));
    const auto last = TRY(read_small(index, "uidvalidity", 64));
    const uint32_t before = last ? parse_number<uint32_t>(trim(*last), UINT32_MAX - 1).value_or(0) : 0;
    const auto now = static_cast<uint32_t>(system_clock().wall_us() / us_per_second);
    const uint32_t next = std::max(now, before + 1);
    TRY(replace_file(index, "uidvalidity", cat(next, '\n')));
    return next;
}

}  // namespace veredus::store

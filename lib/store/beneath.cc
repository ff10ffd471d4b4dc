// openat2(2), and O_NOFOLLOW component by component where the kernel does not have it.
#include "lib/store/beneath.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "lib/base/random.h"
#include "lib/base/text.h"

namespace veredus::store {

namespace {

constexpr int directory_flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

Fd open_each(int base, const std::string& path)
{
    Fd at(::fcntl(base, F_DUPFD_CLOEXEC, 0));
    for (const auto part : split(path, "/")) {
        if (!at) return at;
        if (part == "..") {
            errno = EXDEV;
            return Fd();
        }
        at = Fd(::openat(at.get(), std::string(part).c_str(), directory_flags | O_NOFOLLOW));
    }
    return at;
}

Fd open_at(int base, const std::string& path)
{
    open_how how{};
    how.flags = directory_flags;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    for (int attempt = 0; attempt < 20; ++attempt) {
        const long fd = ::syscall(SYS_openat2, base, path.c_str(), &how, sizeof how);
        if (fd >= 0) return Fd(static_cast<int>(fd));
        if (errno == ENOSYS || errno == EPERM) return open_each(base, path);
        if (errno != EINTR && errno != EAGAIN) return Fd();      // EAGAIN: a rename raced with ".."
    }
    return Fd();
}

}  // namespace

Result<disk::Directory> open_beneath(const disk::Directory& base, const std::string& path)
{
    std::string full = cat(base.path, '/', path);
    Fd fd = open_at(base.fd.get(), path);
    if (!fd) return fail_errno(cat("open directory ", full));
    return disk::Directory{std::move(fd), std::move(full)};
}

Result<disk::Directory> make_beneath(const disk::Directory& base, const std::string& name)
{
    auto dir = open_beneath(base, name);
    if (dir || dir.error().code != ENOENT) return dir;
    if (::mkdirat(base.fd.get(), name.c_str(), 0700) < 0 && errno != EEXIST) return fail_errno(cat("create ", base.path, '/', name));
    if (::fsync(base.fd.get()) < 0) return fail_errno(cat("sync ", base.path));
    return open_beneath(base, name);
}

Result<disk::Directory> make_way(const std::string& path)
{
    auto dir = disk::posix_disk().open_directory(nullptr, path);
    const auto slash = path.find_last_of('/');
    if (dir || dir.error().code != ENOENT || slash == std::string::npos || slash + 1 == path.size()) return dir;
    const disk::Directory parent = TRY(make_way(slash == 0 ? "/" : path.substr(0, slash)));
    return make_beneath(parent, path.substr(slash + 1));
}

Result<void> reopen_if_removed(disk::Directory& dir, const disk::Directory& base, const std::string& name)
{
    struct stat st {};
    if (::fstat(dir.fd.get(), &st) != 0) return fail_errno(cat("look at ", dir.path));
    if (st.st_nlink > 0) return {};
    dir = TRY(make_beneath(base, name));
    return {};
}

bool is_forbidden(const Error& error) { return error.code == EACCES || error.code == EPERM || error.code == ELOOP || error.code == EXDEV; }

Result<bool> is_directory(const disk::Directory& base, const std::string& name)
{
    struct stat st {};
    if (::fstatat(base.fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) return S_ISDIR(st.st_mode);
    if (errno == ENOENT || errno == ENOTDIR) return false;
    return fail_errno(cat("look at ", base.path, '/', name));
}

Result<void> replace_file(const disk::Directory& dir, const std::string& name, std::string_view content)
{
    disk::Disk& disk = disk::posix_disk();
    const std::string draft = cat(name, '.', hex_upper(random_u64(), 16));
    const Fd file = TRY(disk.create(dir, draft, 0600));
    auto done = disk.write(file, content);
    if (done) done = disk.sync(file);
    if (done) done = disk.rename(dir, draft, dir, name);
    if (!done) {
        (void)disk.unlink(dir, draft);
        return done;
    }
    return disk.sync(dir);
}

Result<std::optional<std::string>> read_small(const disk::Directory& dir, const std::string& name, std::size_t limit)
{
    auto file = disk::posix_disk().open_read(dir, name);
    if (!file && (file.error().code == ENOENT || file.error().code == ENOTDIR)) return std::optional<std::string>();
    if (!file) return unexpected(std::move(file).error());
    std::string text = TRY(read_all(file->get(), limit));
    return std::optional<std::string>(std::move(text));
}

int64_t time_grain_us(int fd)
{
    constexpr int64_t tick = 50'000, coarse = 2'000'000;       // a slow kernel's tick, and FAT, NFS and the like
    struct statfs fs {};
    if (::fstatfs(fd, &fs) != 0) return coarse;
    constexpr unsigned long local[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC, F2FS_SUPER_MAGIC, 0x2fc12fc1 /* ZFS */};
    return std::find(std::begin(local), std::end(local), static_cast<unsigned long>(fs.f_type)) != std::end(local) ? tick : coarse;
}

}  // namespace veredus::store

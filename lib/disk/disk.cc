// The kernel's disk: each step is one system call, or the two that it takes to be exact.
#include "lib/disk/disk.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "lib/base/directory.h"
#include "lib/base/text.h"
#include "lib/disk/in_place.h"

namespace veredus::disk {

namespace {

std::string where(const Directory& dir, const std::string& name) { return cat(dir.path, '/', name); }

Result<Fd> open_at(const Directory& dir, const std::string& name, int flags, mode_t mode, const char* verb)
{
    for (;;) {
        const int fd = ::openat(dir.fd.get(), name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode);
        if (fd >= 0) return Fd(fd);
        if (errno != EINTR) return fail_errno(cat(verb, ' ', where(dir, name)));
    }
}

class PosixDisk final : public Disk, public InPlace {
public:
    Result<Directory> open_directory(const Directory* base, const std::string& path) override
    {
        const int at = base ? base->fd.get() : AT_FDCWD;
        const int fd = ::openat(at, path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        std::string full = base ? where(*base, path) : path;
        if (fd < 0) return fail_errno(cat("open directory ", full));
        return Directory{Fd(fd), std::move(full)};
    }

    Result<Fd> create(const Directory& dir, const std::string& name, mode_t mode) override
    {
        Fd file = TRY(open_at(dir, name, O_CREAT | O_EXCL | O_RDWR, mode, "create"));
        // Most daemons' umask leaves the mode alone; a chmod would be one more change of the inode to journal.
        struct stat st{};
        if (::fstat(file.get(), &st) != 0) return fail_errno(cat("stat ", where(dir, name)));
        if ((st.st_mode & 07777) == mode) return file;
        if (::fchmod(file.get(), mode) != 0) return fail_errno(cat("chmod ", where(dir, name)));
        return file;
    }

    Result<Fd> open_read(const Directory& dir, const std::string& name) override
    {
        Fd file = TRY(open_at(dir, name, O_RDONLY | O_NONBLOCK, 0, "open"));
        struct stat st{};
        if (::fstat(file.get(), &st) != 0) return fail_errno(cat("stat ", where(dir, name)));
        if (!S_ISREG(st.st_mode)) return fail_errno(cat("open ", where(dir, name), ": no regular file"), EINVAL);
        return file;
    }

    Result<Fd> open_append(const Directory& dir, const std::string& name, mode_t mode) override
    {
        return open_at(dir, name, O_CREAT | O_RDWR | O_APPEND, mode, "open");
    }

    Result<void> write(const Fd& file, std::string_view bytes) override { return write_all(file.get(), bytes); }

    Result<Fd> open_in_place(const Directory& dir, const std::string& name) override
    {
        Fd file = TRY(open_at(dir, name, O_RDWR, 0, "open"));
        if (::lseek(file.get(), 0, SEEK_END) < 0) return fail_errno(cat("seek ", where(dir, name)));    // where write() goes
        return file;
    }

    Result<void> write_at(const Fd& file, uint64_t offset, std::string_view bytes) override
    {
        while (!bytes.empty()) {
            const ssize_t n = ::pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return fail_errno("write");
            offset += static_cast<uint64_t>(n);
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
        return {};
    }

    Result<void> truncate(const Fd& file, uint64_t size) override
    {
        if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) return fail_errno("truncate");
        // A file that was created, not opened for appending, writes at its offset: keep that at the end.
        if (::lseek(file.get(), static_cast<off_t>(size), SEEK_SET) < 0) return fail_errno("seek");
        return {};
    }

    Result<std::string> read(const Fd& file, uint64_t offset, std::size_t size) override
    {
        std::string out(size, '\0');
        std::size_t got = 0;
        while (got < size) {
            const ssize_t n = ::pread(file.get(), out.data() + got, size - got, static_cast<off_t>(offset + got));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return fail_errno("read");
            if (n == 0) break;
            got += static_cast<std::size_t>(n);
        }
        out.resize(got);
        return out;
    }

    Result<uint64_t> size(const Fd& file) override
    {
        struct stat st{};
        if (::fstat(file.get(), &st) != 0) return fail_errno("stat");
        return static_cast<uint64_t>(st.st_size);
    }

    Result<void> write_out(const Fd& file) override
    {
#ifdef SYNC_FILE_RANGE_WRITE
        constexpr unsigned all = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
        // A file system or kernel that knows no such call has told us nothing that a sync would not tell.
        if (::sync_file_range(file.get(), 0, 0, all) != 0 && errno != ENOSYS && errno != ESPIPE && errno != EOPNOTSUPP) return fail_errno("write");
#else
        (void)file;
#endif
        return {};
    }

    Result<void> sync(const Fd& file) override
    {
        if (::fdatasync(file.get()) != 0) return fail_errno("fdatasync");
        return {};
    }

    Result<void> sync(const Directory& dir) override
    {
        if (::fsync(dir.fd.get()) != 0) return fail_errno(cat("fsync ", dir.path));
        return {};
    }

    Result<void> rename(const Directory& from, const std::string& name, const Directory& to, const std::string& new_name) override
    {
        if (::renameat(from.fd.get(), name.c_str(), to.fd.get(), new_name.c_str()) != 0)
            return fail_errno(cat("rename ", where(from, name), " to ", where(to, new_name)));
        return {};
    }

    Result<void> rename_new(const Directory& from, const std::string& name, const Directory& to, const std::string& new_name) override
    {
        if (::renameat2(from.fd.get(), name.c_str(), to.fd.get(), new_name.c_str(), RENAME_NOREPLACE) == 0) return {};
        if (errno != EINVAL && errno != ENOSYS) return fail_errno(cat("rename ", where(from, name), " to ", where(to, new_name)));
        // NFS and some others cannot do it in one step.
        TRY(link(from, name, to, new_name));
        return unlink(from, name);
    }

    Result<void> link(const Directory& from, const std::string& name, const Directory& to, const std::string& new_name) override
    {
        if (::linkat(from.fd.get(), name.c_str(), to.fd.get(), new_name.c_str(), 0) != 0)
            return fail_errno(cat("link ", where(from, name), " to ", where(to, new_name)));
        return {};
    }

    Result<void> unlink(const Directory& dir, const std::string& name) override
    {
        if (::unlinkat(dir.fd.get(), name.c_str(), 0) != 0) return fail_errno(cat("unlink ", where(dir, name)));
        return {};
    }

    Result<std::vector<std::string>> list(const Directory& dir) override
    {
        std::vector<std::string> names;
        TRY(for_each_entry(dir.fd.get(), dir.path, [&](const DirectoryEntry& entry) {
            names.emplace_back(entry.name);
            return true;
        }));
        return names;
    }

    Result<FileInfo> stat(const Directory& dir, const std::string& name) override
    {
        struct stat st{};
        if (::fstatat(dir.fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return fail_errno(cat("stat ", where(dir, name)));
        FileInfo info;
        info.file = st.st_ino;
        info.size = static_cast<uint64_t>(st.st_size);
        info.changed_us = int64_t{st.st_mtim.tv_sec} * 1'000'000 + st.st_mtim.tv_nsec / 1000;
        info.uid = st.st_uid;
        info.links = static_cast<uint32_t>(st.st_nlink);
        info.regular = S_ISREG(st.st_mode);
        return info;
    }

    Result<uint64_t> free_bytes(const Directory& dir) override
    {
        struct statvfs st{};
        if (::fstatvfs(dir.fd.get(), &st) != 0) return fail_errno(cat("statvfs ", dir.path));
        return uint64_t{st.f_bavail} * st.f_frsize;
    }
};

}  // namespace

Disk& posix_disk()
{
    static PosixDisk disk;
    return disk;
}

}  // namespace veredus::disk

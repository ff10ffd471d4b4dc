// Reading the key, or making it.
#include "master/authd/lasting_key.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "lib/base/fd.h"
#include "lib/base/random.h"
#include "lib/base/text.h"

namespace veredus::authd {

namespace {

constexpr std::size_t key_size = 32;

// Empty: there is none that could be used.
Result<std::string> read_key(const std::string& path)
{
    const Fd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!fd) return errno == ENOENT || errno == ELOOP ? Result<std::string>("") : fail_errno(path);
    struct stat info {};
    if (::fstat(fd.get(), &info) < 0) return fail_errno(path);
    const bool ours = S_ISREG(info.st_mode) && info.st_uid == ::geteuid() && (info.st_mode & 077) == 0;
    if (!ours || info.st_size != key_size) return std::string();
    return read_all(fd.get(), key_size);
}

Result<void> sync_directory_of(const std::string& path)
{
    const Fd directory(::open(path.substr(0, path.rfind('/') + 1).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory || ::fsync(directory.get()) < 0) return fail_errno(cat("sync the directory of ", path));
    return {};
}

} // namespace

Result<std::string> lasting_key(const std::string& path)
{
    std::string key = TRY(read_key(path));
    if (!key.empty()) return key;
    key = random_bytes(key_size);
    const std::string draft = path + ".new";
    if (::unlink(draft.c_str()) < 0 && errno != ENOENT) return fail_errno(cat("remove ", draft));
    const Fd fd(::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return fail_errno(cat("create ", draft));
    TRY(write_all(fd.get(), key));
    if (::fsync(fd.get()) < 0) return fail_errno(cat("sync ", draft));
    if (::rename(draft.c_str(), path.c_str()) < 0) return fail_errno(cat("rename ", draft, " to ", path));
    TRY(sync_directory_of(path));
    return key;
}

} // namespace veredus::authd

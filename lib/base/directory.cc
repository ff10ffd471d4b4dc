#include "lib/base/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "lib/base/text.h"

namespace veredus {

Result<void> for_each_entry(int dir, std::string_view path, const std::function<bool(const DirectoryEntry&)>& take)
{
    // An open file description of its own: an offset of its own.
    const int fd = ::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail_errno(cat("list ", path));
    const std::unique_ptr<DIR, decltype([](DIR* d) { ::closedir(d); })> stream(::fdopendir(fd));
    if (!stream) {
        const int code = errno;
        ::close(fd);
        return fail_errno(cat("list ", path), code);
    }
    for (;;) {
        errno = 0;
        const dirent* entry = ::readdir(stream.get());
        if (!entry && errno != 0) return fail_errno(cat("list ", path));
        if (!entry) return {};
        const std::string_view name = entry->d_name;
        if (name != "." && name != ".." && !take({entry->d_name, entry->d_type})) return {};
    }
}

Result<void> for_each_entry(const std::string& path, const std::function<bool(const DirectoryEntry&)>& take)
{
    const int fd = ::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail_errno(cat("list ", path));
    auto done = for_each_entry(fd, path, take);
    ::close(fd);
    return done;
}

}  // namespace veredus

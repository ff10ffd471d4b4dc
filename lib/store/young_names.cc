// Which names may not be durable yet.
#include "lib/store/young_names.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <mutex>
#include <set>

#include "lib/base/clock.h"

namespace veredus::store {

namespace {

// Longer than a mail waits after a first failure, and than any file system keeps names to itself; a clock that was set back makes young.
constexpr int64_t youth_us = 3600 * us_per_second;
constexpr std::size_t most_known = 50'000;

class Known {
public:
    bool has(const NameStamp& stamp)
    {
        const std::lock_guard guard(mutex_);
        return stamps_.contains(stamp);
    }
    void add(const std::vector<NameStamp>& stamps)
    {
        const std::lock_guard guard(mutex_);
        if (stamps_.size() + stamps.size() > most_known) stamps_.clear();    // they are synced once more, no harm
        stamps_.insert(stamps.begin(), stamps.end());
    }

private:
    std::mutex mutex_;
    std::set<NameStamp> stamps_;
};

Known& known()
{
    static Known all;
    return all;
}

std::string parent_of(const std::string& path)
{
    const auto slash = path.find_last_of('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

std::optional<NameStamp> young_name(const std::string& path)
{
    struct statx st {};
    if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW | AT_STATX_SYNC_AS_STAT, STATX_INO | STATX_CTIME | STATX_BTIME, &st) < 0) return std::nullopt;
    if ((st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0) return std::nullopt;    // what is mounted there is no name of that directory
    const bool born = (st.stx_mask & STATX_BTIME) != 0;
    const auto& time = born ? st.stx_btime : st.stx_ctime;
    const NameStamp stamp{::makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino, time.tv_sec * us_per_second + time.tv_nsec / 1000};
    if (born && system_clock().wall_us() - stamp.born_us > youth_us) return std::nullopt;
    if (known().has(stamp)) return std::nullopt;
    return stamp;
}

}  // namespace

std::optional<YoungParent> young_parent(const std::string& path)
{
    const auto stamp = young_name(path);
    if (!stamp) return std::nullopt;
    std::string parent = parent_of(path);
    struct stat st {};
    const uint64_t device = ::stat(parent.c_str(), &st) == 0 ? st.st_dev : 0;
    return YoungParent{std::move(parent), device, {*stamp}};
}

std::vector<YoungParent> young_parents(std::string path)
{
    std::vector<YoungParent> all;
    for (; !path.empty() && path != "/" && path != "."; path = parent_of(path))
        if (auto parent = young_parent(path)) all.push_back(std::move(*parent));
    return all;
}

Result<void> settle(disk::Disk& disk, const YoungParent& parent)
{
    const auto passed_over = [](const Error& error) { return error.code == EACCES || error.code == EPERM || error.code == EINVAL || error.code == EROFS; };
    auto dir = disk.open_directory(nullptr, parent.directory);
    if (!dir) return passed_over(dir.error()) ? Result<void>() : Result<void>(unexpected(std::move(dir).error()));
    if (auto synced = disk.sync(*dir); !synced && !passed_over(synced.error())) return synced;
    settled(parent);
    return {};
}

void settled(const YoungParent& parent) { known().add(parent.names); }

}  // namespace veredus::store

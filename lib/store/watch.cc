// inotify: one instance, a watch for each directory.
#include "lib/store/watch.h"

#include <linux/magic.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

namespace veredus::store {

namespace {

// A file that is written to matters at each write only where that is one file; a mail in tmp/ is nobody's business.
constexpr uint32_t names = IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF;
constexpr uint32_t writes = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE;

// Other hosts change files there, and no kernel tells.
bool tells_all(const std::string& path)
{
    struct statfs fs {};
    if (::statfs(path.c_str(), &fs) != 0) return false;
    constexpr unsigned long remote[] = {NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, SMB2_SUPER_MAGIC, CIFS_SUPER_MAGIC, CODA_SUPER_MAGIC, AFS_SUPER_MAGIC, AFS_FS_MAGIC,
                                        V9FS_MAGIC,      FUSE_SUPER_MAGIC, CEPH_SUPER_MAGIC, 0x01161970 /* GFS2 */, 0x7461636f /* OCFS2 */, 0x0bd00bd0 /* Lustre */};
    return std::find(std::begin(remote), std::end(remote), static_cast<unsigned long>(fs.f_type)) == std::end(remote);
}

}  // namespace

Watch::Watch() : fd_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {}

bool Watch::watch(int token, const WatchPoint& point)
{
    if (!fd_) return false;
    const uint32_t mask = names | (point.file || !point.name.empty() ? writes : 0);
    const int wd = ::inotify_add_watch(fd_.get(), point.path.c_str(), mask | IN_MASK_ADD | (point.file ? 0 : IN_ONLYDIR));
    if (wd < 0) return false;
    if (!tells_all(point.path)) {
        if (!interests_.contains(wd)) (void)::inotify_rm_watch(fd_.get(), wd);
        return false;
    }
    interests_[wd].push_back({token, point});
    watches_[token].push_back(wd);
    return true;
}

int Watch::add(const std::vector<WatchPoint>& points)
{
    const int token = ++last_token_;
    watches_[token];
    for (const WatchPoint& point : points)
        if (!watch(token, point)) blind_.push_back({token, point});
    return token;
}

void Watch::remove(int token)
{
    std::erase_if(blind_, [&](const Blind& b) { return b.token == token; });
    const auto found = watches_.find(token);
    if (found == watches_.end()) return;
    for (const int wd : found->second) {
        const auto here = interests_.find(wd);
        if (here == interests_.end()) continue;
        std::erase_if(here->second, [&](const Interest& i) { return i.token == token; });
        if (!here->second.empty()) continue;
        interests_.erase(here);
        (void)::inotify_rm_watch(fd_.get(), wd);
    }
    watches_.erase(found);
}

std::vector<int> Watch::poll()
{
    std::vector<int> out;
    for (const Blind& b : blind_) out.push_back(b.token);
    std::erase_if(blind_, [&](const Blind& b) { return watch(b.token, b.point); });
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
}

// What is gone or has another name: nothing of the folder comes from there any more.
void Watch::lose(int wd)
{
    const auto here = interests_.find(wd);
    if (here == interests_.end()) return;
    for (Interest& i : here->second) {
        std::erase(watches_[i.token], wd);
        blind_.push_back({i.token, std::move(i.point)});
    }
    interests_.erase(here);
}

bool Watch::another_file(const std::string& path, int wd) const
{
    const int now = ::inotify_add_watch(fd_.get(), path.c_str(), IN_ATTRIB | IN_MASK_ADD);
    if (now == wd) return false;
    if (now >= 0 && !interests_.contains(now)) (void)::inotify_rm_watch(fd_.get(), now);
    return true;
}

void Watch::all_tokens(std::vector<int>& out) const
{
    for (const auto& [token, watches] : watches_) out.push_back(token);
}

std::vector<int> Watch::read(std::size_t bound)
{
    std::vector<int> out;
    alignas(inotify_event) char buffer[16 * 1024];
    static_assert(sizeof buffer > sizeof(inotify_event) + NAME_MAX + 1);
    std::size_t seen = 0;
    while (fd_ && seen < bound) {
        const ssize_t n = ::read(fd_.get(), buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        for (std::size_t at = 0; at + sizeof(inotify_event) <= static_cast<std::size_t>(n);) {
            inotify_event event;
            std::memcpy(&event, buffer + at, sizeof event);
            const char* name = buffer + at + sizeof event;
            at += sizeof event + event.len;
            ++seen;
            if (event.mask & IN_Q_OVERFLOW) all_tokens(out);         // some were lost: of whom, nobody knows
            const auto here = interests_.find(event.wd);
            if (here == interests_.end()) continue;
            for (const Interest& i : here->second)
                if (i.point.name.empty() || event.len == 0 || i.point.name == name) out.push_back(i.token);
            // A file that somebody holds open keeps its watch when its name is taken away: look what the name means now.
            const bool renamed = event.mask & IN_ATTRIB && here->second.front().point.file && another_file(here->second.front().point.path, event.wd);
            if (renamed || event.mask & IN_MOVE_SELF) (void)::inotify_rm_watch(fd_.get(), event.wd);
            if (renamed || event.mask & (IN_IGNORED | IN_MOVE_SELF)) lose(event.wd);
        }
        std::sort(out.begin(), out.end());
        out.erase(std::unique(out.begin(), out.end()), out.end());
    }
    return out;
}

}  // namespace veredus::store

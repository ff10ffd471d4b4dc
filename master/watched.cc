// Watched files.
#include "master/watched.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::master {

namespace {
// Editors and resolvconf write in several steps; half a file helps nobody.
constexpr std::chrono::milliseconds settle_time{200}, longest_time{60'000};
constexpr uint32_t events = IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE | IN_ATTRIB;
}  // namespace

Watched::Watched(Loop& loop, std::function<void(const std::string&)> changed)
    : loop_(loop), changed_(std::move(changed)), settle_(loop, [this] { compare(); }), minute_(loop, [this] { compare(); })
{
}

std::string Watched::stamp(const std::string& path)
{
    struct stat info{};
    if (::stat(path.c_str(), &info) < 0) return "";
    return cat(info.st_dev, ' ', info.st_ino, ' ', info.st_size, ' ', info.st_mtim.tv_sec, ' ', info.st_mtim.tv_nsec);
}

void Watched::set(std::vector<std::pair<std::string, std::string>> name_and_path)
{
    watch_.reset();
    const std::vector<Entry> before = std::exchange(entries_, {});
    std::map<std::pair<std::string_view, std::string_view>, const Entry*> known;
    for (const Entry& entry : before) known.emplace(std::pair<std::string_view, std::string_view>(entry.name, entry.path), &entry);
    for (auto& [name, path] : name_and_path) {
        const auto at = known.find({name, path});
        std::string seen = at == known.end() ? stamp(path) : at->second->stamp;
        entries_.push_back({std::move(name), std::move(path), std::move(seen)});
    }
    inotify_ = Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!inotify_) log::warning("inotify: changed files will be seen once a minute only");
    else watch_ = std::make_unique<Watch>(loop_, inotify_.get(), readable, [this](unsigned) { drain(); });
    watch_directories();
    settle_.start(settle_time);
    minute_.start(longest_time);
}

// Those of the files and all above them, as they are spelled and as they are in truth. A second watch on a directory is none.
void Watched::watch_directories()
{
    if (!inotify_) return;
    std::set<std::string> directories;
    char real[PATH_MAX];
    for (const Entry& entry : entries_)
        for (const std::string& path : {entry.path, std::string(::realpath(entry.path.c_str(), real) ? real : "")})
            for (auto slash = path.rfind('/'); slash != std::string::npos; slash = slash == 0 ? std::string::npos : path.rfind('/', slash - 1))
                if (!directories.insert(slash == 0 ? "/" : path.substr(0, slash)).second) break;
    for (const std::string& directory : directories) watch_directory(directory);
}

void Watched::watch_directory(const std::string& directory)
{
    if (::inotify_add_watch(inotify_.get(), directory.c_str(), events | IN_MASK_ADD) >= 0) return;
    // One that is not there is seen when it is made.
    if (errno == ENOENT || errno == ENOTDIR || errno == EACCES || std::exchange(watch_failed_, true)) return;
    log::warning(fail_errno(cat("watch ", directory)).error.text, "; changed files there will be seen once a minute only");
}

void Watched::drain()
{
    alignas(inotify_event) char buffer[8192];
    while (::read(inotify_.get(), buffer, sizeof buffer) > 0) {
    }
    if (!settle_.armed()) settle_.start(settle_time);
}

void Watched::compare()
{
    minute_.start(longest_time);
    watch_directories();             // before the look: what changes after it is told
    std::vector<std::string> changed;
    for (Entry& entry : entries_) {
        std::string now = stamp(entry.path);
        if (now == entry.stamp || now.empty()) continue;    // gone for a moment: the old one stays in force
        entry.stamp = std::move(now);
        changed.push_back(entry.name);
    }
    for (const std::string& name : changed) changed_(name);
}

Result<Fd> Watched::open(const std::string& name) const
{
    for (const Entry& entry : entries_) {
        if (entry.name != name) continue;
        Fd fd(::open(entry.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
        if (!fd) return fail_errno(cat("open ", entry.path));
        return fd;
    }
    return fail(cat(name, ": not watched"));
}

std::vector<std::string> Watched::names() const
{
    std::vector<std::string> list;
    for (const Entry& entry : entries_) list.push_back(entry.name);
    return list;
}

}  // namespace veredus::master

// Watched files.
#include "master/watched.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <cstdlib>

#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::master {

namespace {
// Editors and resolvconf write in several steps; half a file helps nobody.
constexpr std::chrono::milliseconds settle_time{200};
constexpr uint32_t events = IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE | IN_ATTRIB;
}  // namespace

Watched::Watched(Loop& loop, std::function<void(const std::string&)> changed)
    : loop_(loop), changed_(std::move(changed)), settle_(loop, [this] { compare(); })
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
    entries_.clear();
    inotify_ = Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!inotify_) log::warning("inotify: changed files will be seen at the next reload only");
    for (auto& [name, path] : name_and_path) {
        entries_.push_back({name, path, stamp(path)});
        watch_directories(entries_.back());
    }
    if (inotify_) watch_ = std::make_unique<Watch>(loop_, inotify_.get(), readable, [this](unsigned) { drain(); });
}

void Watched::watch_directories(const Entry& entry)
{
    if (!inotify_) return;
    char real[PATH_MAX];
    for (const std::string& path : {entry.path, std::string(::realpath(entry.path.c_str(), real) ? real : "")}) {
        const auto slash = path.rfind('/');
        if (slash == std::string::npos) continue;
        const std::string directory = slash == 0 ? "/" : path.substr(0, slash);
        if (::inotify_add_watch(inotify_.get(), directory.c_str(), events | IN_MASK_ADD) < 0)
            log::warning(fail_errno(cat("watch ", directory)).error.text);
    }
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
    for (Entry& entry : entries_) {
        std::string now = stamp(entry.path);
        if (now == entry.stamp || now.empty()) continue;    // gone for a moment: the old one stays in force
        entry.stamp = std::move(now);
        watch_directories(entry);                           // the link may point elsewhere now
        changed_(entry.name);
    }
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

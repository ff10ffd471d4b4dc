// Making, judging and breaking dotlocks.
#include "lib/store/dotlock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "lib/base/fd.h"
#include "lib/base/random.h"
#include "lib/base/text.h"

namespace veredus::store {

namespace {

constexpr std::size_t max_text = 512;

bool is_gone(pid_t pid) { return ::kill(pid, 0) < 0 && errno == ESRCH; }

// A file of our own beside the lock: its name is what link(2) gives away, its time is the file system's "now".
class Draft {
public:
    Draft(const disk::Directory& dir, std::string name) : dir_(dir), name_(std::move(name)) {}
    ~Draft()
    {
        if (made_) ::unlinkat(dir_.fd.get(), name_.c_str(), 0);
    }
    Draft(const Draft&) = delete;
    Result<struct stat> write(std::string_view text)
    {
        Fd file(::openat(dir_.fd.get(), name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444));
        if (!file) return fail_errno(cat("make a lock in ", dir_.path));
        made_ = true;
        TRY(write_all(file.get(), text));
        struct stat st {};
        if (::fstat(file.get(), &st) < 0) return fail_errno(cat("make a lock in ", dir_.path));
        return st;
    }
    // False: the name is taken.
    Result<bool> link_as(const std::string& lock)
    {
        if (::linkat(dir_.fd.get(), name_.c_str(), dir_.fd.get(), lock.c_str(), 0) == 0) return true;
        if (errno == EEXIST) return false;
        return fail_errno(cat("make ", dir_.path, '/', lock));
    }

private:
    const disk::Directory& dir_;
    std::string name_;
    bool made_ = false;
};

struct Found {
    struct stat st {};
    std::string text;
};

Result<std::optional<Found>> look_at(const disk::Directory& dir, const std::string& name)
{
    Found found;
    if (::fstatat(dir.fd.get(), name.c_str(), &found.st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno == ENOENT) return std::optional<Found>();
        return fail_errno(cat("look at ", dir.path, '/', name));
    }
    const Fd file(::openat(dir.fd.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (file)    // unreadable or no file at all: judged by its age alone
        if (auto text = read_all(file.get(), max_text)) found.text = std::move(*text);
    return std::optional<Found>(std::move(found));
}

// Between the look and the unlink another breaker may have put his own lock there: look again, as late as can be.
void break_lock(const disk::Directory& dir, const std::string& name, const struct stat& seen)
{
    struct stat now {};
    if (::fstatat(dir.fd.get(), name.c_str(), &now, AT_SYMLINK_NOFOLLOW) < 0) return;
    if (now.st_dev != seen.st_dev || now.st_ino != seen.st_ino || now.st_mtim.tv_sec != seen.st_mtim.tv_sec) return;
    ::unlinkat(dir.fd.get(), name.c_str(), 0);
}

}  // namespace

std::string Holder::text() const { return cat(pid, ' ', host, ' ', boot, '\n'); }

std::optional<Holder> Holder::parse(std::string_view text)
{
    if (!text.ends_with('\n')) return std::nullopt;
    const auto words = split_on(text.substr(0, text.size() - 1), ' ');
    if (words.size() != 3 || words[1].empty() || words[2].empty()) return std::nullopt;
    const auto pid = parse_number<pid_t>(words[0]);
    if (!pid || *pid <= 0) return std::nullopt;
    return Holder{*pid, std::string(words[1]), std::string(words[2])};
}

std::string host_name()
{
    char name[256] = {};
    if (::gethostname(name, sizeof name - 1) < 0 || name[0] == 0) return "localhost";
    std::string clean;
    for (const char c : std::string_view(name)) clean += is_alnum(c) || c == '.' || c == '-' || c == '_' ? c : '_';
    return clean;
}

Holder this_process()
{
    auto boot = read_file("/proc/sys/kernel/random/boot_id", 100);
    return {::getpid(), host_name(), boot && !trim(*boot).empty() ? std::string(trim(*boot)) : "-"};
}

bool is_stale(std::string_view text, std::chrono::seconds age, const Holder& me)
{
    if (age >= stale_after) return true;
    const auto holder = Holder::parse(text);
    if (!holder || holder->host != me.host) return age <= -stale_after;    // of a clock that was ahead: it would not grow old for ever so long
    if (holder->boot != me.boot) return me.boot != "-" && holder->boot != "-";
    return *holder == me || is_gone(holder->pid);    // our own: of a life before this one, or we would not ask
}

Result<std::optional<HeldLock>> try_dotlock(const disk::Directory& dir, const std::string& name, const Holder& me)
{
    Draft draft(dir, cat('.', me.host.substr(0, 64), '.', me.pid, '.', hex_upper(random_u64(), 16)));
    const struct stat mine = TRY(draft.write(me.text()));
    if (TRY(draft.link_as(name))) return std::optional(HeldLock{mine.st_dev, mine.st_ino});
    const auto found = TRY(look_at(dir, name));
    if (found) {
        const auto age = std::chrono::seconds(mine.st_mtim.tv_sec - found->st.st_mtim.tv_sec);
        if (!is_stale(found->text, age, me)) return std::optional<HeldLock>();
        break_lock(dir, name, found->st);
    }
    if (TRY(draft.link_as(name))) return std::optional(HeldLock{mine.st_dev, mine.st_ino});
    return std::optional<HeldLock>();
}

void release_dotlock(const disk::Directory& dir, const std::string& name, const HeldLock& held)
{
    struct stat st {};
    if (::fstatat(dir.fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0) return;
    if (st.st_dev == held.device && st.st_ino == held.inode) ::unlinkat(dir.fd.get(), name.c_str(), 0);
}

}  // namespace veredus::store

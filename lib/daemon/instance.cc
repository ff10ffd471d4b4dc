// Pid file and status file.
#include "lib/daemon/instance.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "lib/base/text.h"

namespace veredus::daemon {

namespace {

struct flock whole_file(short type)
{
    struct flock lock{};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    return lock;
}

std::string pid_path(const std::string& run_directory) { return cat(run_directory, "/master.pid"); }

}  // namespace

Result<PidFile> PidFile::take(const std::string& run_directory)
{
    const std::string path = pid_path(run_directory);
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!fd) return fail_errno(cat("open ", path));
    struct flock lock = whole_file(F_WRLCK);
    if (::fcntl(fd.get(), F_SETLK, &lock) == 0) return PidFile(std::move(fd), path);
    if (errno != EACCES && errno != EAGAIN) return fail_errno(cat("lock ", path));
    struct flock holder = whole_file(F_WRLCK);
    if (::fcntl(fd.get(), F_GETLK, &holder) < 0 || holder.l_type == F_UNLCK) return fail(cat(path, " is locked: the mail system is already running"));
    return fail(cat("the mail system is already running: pid ", holder.l_pid));
}

void PidFile::write(pid_t pid)
{
    const std::string text = cat(pid, '\n');
    if (::ftruncate(fd_.get(), 0) < 0 || ::pwrite(fd_.get(), text.data(), text.size(), 0) < 0) return;    // for people only: the lock counts
}

void PidFile::remove() { ::unlink(path_.c_str()); }

Result<Running> find_running(const std::string& run_directory)
{
    const std::string path = pid_path(run_directory);
    // A read lock test needs no right to write: F_GETLK tells who holds the write lock.
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) {
        if (errno == ENOENT || errno == ENOTDIR) return Running{};
        return fail_errno(cat("open ", path));
    }
    struct flock holder = whole_file(F_RDLCK);
    if (::fcntl(fd.get(), F_GETLK, &holder) < 0) return fail_errno(cat("lock ", path));
    if (holder.l_type == F_UNLCK) return Running{0, true};
    return Running{holder.l_pid, false};
}

std::string Status::encode() const
{
    std::string out = cat("version ", version, "\npid ", pid, "\nsince ", since, "\nreloads ", reloads, ' ', last_reload_good ? "good" : "failed", '\n');
    if (unprivileged) out += "unprivileged\n";
    for (const ProcessStatus& p : processes)
        append(out, "process ", p.role, ' ', p.instance, ' ', p.state, ' ', p.pid, ' ', p.since, ' ', p.restarts, ' ', printable(p.last_end), '\n');
    return out;
}

namespace {

Result<ProcessStatus> decode_process(std::string_view line)
{
    ProcessStatus p;
    std::string_view fields[6];
    for (std::string_view& field : fields) {
        const auto [first, rest] = cut(line, ' ');
        if (!rest) return fail("status: a process line is too short");
        field = first;
        line = *rest;
    }
    p.role = fields[0];
    p.state = fields[2];
    const auto instance = parse_number<uint32_t>(fields[1]);
    const auto pid = parse_number<pid_t>(fields[3]);
    const auto since = parse_number<int64_t>(fields[4]);
    const auto restarts = parse_number<uint32_t>(fields[5]);
    if (!instance || !pid || !since || !restarts) return fail("status: a process line has no number where one belongs");
    p.instance = *instance;
    p.pid = *pid;
    p.since = *since;
    p.restarts = *restarts;
    p.last_end = line;
    return p;
}

}  // namespace

Result<Status> Status::decode(std::string_view text)
{
    Status status;
    for (const std::string_view line : split(text, "\n")) {
        const auto [word, rest_or_none] = cut(line, ' ');
        const std::string_view rest = rest_or_none.value_or("");
        if (word == "version") status.version = rest;
        if (word == "pid") status.pid = parse_number<pid_t>(rest).value_or(0);
        if (word == "since") status.since = parse_number<int64_t>(rest).value_or(0);
        if (word == "unprivileged") status.unprivileged = true;
        if (word == "reloads") {
            const auto [count, how] = cut(rest, ' ');
            status.reloads = parse_number<uint32_t>(count).value_or(0);
            status.last_reload_good = how == "good";
        }
        if (word == "process") status.processes.push_back(TRY(decode_process(rest)));
    }
    if (status.pid <= 0) return fail("status: no pid of master");
    return status;
}

Result<void> write_status(const std::string& run_directory, const Status& status)
{
    const std::string path = cat(run_directory, "/status"), fresh = path + ".new";
    ::unlink(fresh.c_str());
    {
        const Fd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
        if (!fd) return fail_errno(cat("create ", fresh));
        TRY(write_all(fd.get(), status.encode()));
        if (::fchmod(fd.get(), 0644) < 0) return fail_errno(cat("chmod ", fresh));
    }
    if (::rename(fresh.c_str(), path.c_str()) < 0) return fail_errno(cat("rename ", fresh));
    return {};
}

Result<Status> read_status(const std::string& run_directory)
{
    const std::string text = TRY(read_file(cat(run_directory, "/status"), 1 << 20));
    return Status::decode(text);
}

}  // namespace veredus::daemon

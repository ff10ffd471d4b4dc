// Log lines to syslog, a file or standard error: gathered, then sent in one system call per loop turn.
#include "lib/log/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/panic.h"

namespace veredus::log {

namespace {

constexpr std::size_t max_line = 4000;
constexpr std::size_t max_gathered = 256;      // lines; then they leave at once

struct State {
    std::mutex mutex;
    Settings settings;
    Fd fd;
    std::vector<std::string> lines;
    uint64_t dropped = 0;
    std::string* sink = nullptr;
    std::string host;              // asked once: lines are many, and a host is not renamed under a mail server
    pid_t pid = 0;                 // of this process; a child asks anew
    int64_t stamped = -1;          // the second that these are of; with many lines in each, they are made once
    std::string date, zone;        // for RFC 3339 without the fraction between them
};

State& state()
{
    static State* s = [] {            // never destroyed: exit handlers and threads may still log
        auto* made = new State;
        char name[256] = "localhost";
        ::gethostname(name, sizeof name - 1);
        made->host.assign(name, std::strcspn(name, "."));
        ::pthread_atfork(nullptr, nullptr, [] { state().pid = 0; });
        return made;
    }();
    return *s;
}

int priority(Level level)
{
    switch (level) {
    case Level::info: return LOG_INFO;
    case Level::warning: return LOG_WARNING;
    case Level::error: return LOG_ERR;
    case Level::fatal: return LOG_CRIT;
    }
    return LOG_INFO;
}

std::string_view word(Level level)
{
    switch (level) {
    case Level::info: return "";
    case Level::warning: return "warning: ";
    case Level::error: return "error: ";
    case Level::fatal: return "fatal: ";
    }
    return "";
}

// /dev/log knows the old form only.
bool precise(const State& s) { return s.settings.rfc3339 && s.settings.target != Target::syslog; }

// Under the mutex, like the next.
void make_stamp(State& s, int64_t second)
{
    static constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const time_t seconds = second;
    tm t{};
    localtime_r(&seconds, &t);
    char text[64];
    s.stamped = second;
    std::snprintf(text, sizeof text, "%s %2d %02d:%02d:%02d", months[t.tm_mon % 12], t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec);
    s.date = text;
    if (!precise(s)) return;
    std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec);
    s.date = text;
    const long offset = t.tm_gmtoff / 60;
    std::snprintf(text, sizeof text, "%c%02ld:%02ld", offset < 0 ? '-' : '+', std::labs(offset) / 60, std::labs(offset) % 60);
    s.zone = text;
}

std::string stamp(State& s)
{
    const int64_t now = system_clock().wall_us();
    if (now / us_per_second != s.stamped) make_stamp(s, now / us_per_second);
    if (!precise(s)) return s.date;
    return cat(s.date, cat(us_per_second + now % us_per_second).substr(1), s.zone);
}

Fd connect_syslog(const std::string& path)
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return Fd();
    std::memcpy(address.sun_path, path.data(), path.size());
    Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd && ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
    return Fd();
}

// Under the mutex. A full socket may drop lines rather than stop a daemon; how many is said later.
void send_syslog(State& s)
{
    if (!s.fd) s.fd = connect_syslog(s.settings.path);
    std::vector<mmsghdr> headers(s.lines.size());
    std::vector<iovec> ios(s.lines.size());
    for (std::size_t i = 0; i < s.lines.size(); ++i) {
        ios[i] = {s.lines[i].data(), s.lines[i].size()};
        headers[i] = {};
        headers[i].msg_hdr.msg_iov = &ios[i];
        headers[i].msg_hdr.msg_iovlen = 1;
    }
    std::size_t sent = 0;
    int tries = 0;
    while (sent < headers.size()) {
        const int n = s.fd ? ::sendmmsg(s.fd.get(), headers.data() + sent, static_cast<unsigned>(headers.size() - sent), MSG_NOSIGNAL) : -1;
        if (n > 0) {
            sent += static_cast<std::size_t>(n);
            continue;
        }
        if (n < 0 && errno == EINTR) continue;
        if (++tries > 3) break;
        if (!s.fd || errno == ECONNREFUSED || errno == ENOTCONN || errno == ECONNRESET || errno == EPIPE)
            s.fd = connect_syslog(s.settings.path);      // syslogd was restarted; in a jail this fails, and lines are counted
        else if (errno == EAGAIN || errno == ENOBUFS) {
            const timespec pause{0, 2'000'000};
            ::nanosleep(&pause, nullptr);
        }
    }
    s.dropped += headers.size() - sent;
}

void send_file(State& s)
{
    std::string all;
    for (const auto& l : s.lines) all.append(l);
    if (!write_all(s.fd ? s.fd.get() : 2, all)) s.dropped += s.lines.size();
}

void gather(State& s, Level level, std::string_view line)
{
    std::string out;
    if (s.pid == 0) s.pid = ::getpid();
    const std::string name = cat(s.settings.ident, '/', s.settings.role, '[', s.pid, "]: ");
    if (s.settings.target == Target::syslog)
        append(out, '<', (s.settings.facility << 3) | priority(level), '>', stamp(s), ' ', name, word(level), line.substr(0, max_line));
    else
        append(out, stamp(s), ' ', s.host, ' ', name, word(level), line.substr(0, max_line), '\n');
    // One event, one line: whatever slipped through quoting must not forge another.
    for (std::size_t i = 0; i + 1 < out.size(); ++i)
        if (out[i] == '\n' || out[i] == '\r' || out[i] == '\0') out[i] = '?';
    s.lines.push_back(std::move(out));
}

// Under the mutex.
void flush_locked(State& s)
{
    if (s.lines.empty()) return;
    const uint64_t before = s.dropped;
    if (s.settings.target == Target::syslog)
        send_syslog(s);
    else
        send_file(s);
    s.lines.clear();
    if (before != 0 && s.dropped == before) {        // it works again: say what is missing, with the next lines
        s.dropped = 0;
        gather(s, Level::warning, cat("log: ", before, " lines were lost while the log could not be written"));
    }
}

void on_panic(std::string_view text)
{
    write(Level::fatal, cat("panic: ", text));    // nothing in this room panics while it holds the mutex
    flush();
}

}  // namespace

Result<void> open(Settings settings, Fd fd)
{
    State& s = state();
    static const bool registered = [] {
        set_panic_hook(on_panic);
        std::atexit([] { flush(); });
        return true;
    }();
    (void)registered;
    if (!fd && settings.target == Target::file) {
        fd = Fd(::open(settings.path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640));
        if (!fd) return fail_errno(cat("open the log file ", settings.path));
    }
    if (settings.target == Target::syslog && settings.path.empty()) settings.path = "/dev/log";
    if (!fd && settings.target == Target::syslog) fd = connect_syslog(settings.path);
    tzset();      // the zone file is outside the jail
    const std::lock_guard lock(s.mutex);
    flush_locked(s);      // what was gathered has the form of the old target
    s.settings = std::move(settings);
    s.stamped = -1;       // maybe another form, or another zone
    s.fd = std::move(fd);
    return {};
}

void reopen(Fd fd)
{
    State& s = state();
    const std::lock_guard lock(s.mutex);
    flush_locked(s);
    s.fd = std::move(fd);
}

void flush() noexcept
{
    State& s = state();
    std::unique_lock lock(s.mutex);
    if (s.lines.empty()) return;
    flush_locked(s);
}

int target_fd() noexcept { return state().fd.get(); }

void set_role(std::string role)
{
    const std::lock_guard lock(state().mutex);
    state().settings.role = std::move(role);
}

void write(Level level, std::string_view line)
{
    State& s = state();
    const std::lock_guard lock(s.mutex);
    if (s.sink) {
        append(*s.sink, word(level), line.substr(0, max_line), '\n');
        return;
    }
    gather(s, level, line);
    if (s.lines.size() >= max_gathered || level >= Level::error) flush_locked(s);
}

void fatal_exit(int status, std::string_view line)
{
    write(Level::fatal, line);
    flush();
    State& s = state();
    if (s.settings.target != Target::standard_error || s.sink) {
        const std::string text = cat(s.settings.ident, '/', s.settings.role, ": fatal: ", line, '\n');
        [[maybe_unused]] const auto n = ::write(2, text.data(), text.size());
    }
    std::exit(status);
}

void capture(std::string* sink) noexcept
{
    const std::lock_guard lock(state().mutex);
    state().sink = sink;
}

}  // namespace veredus::log

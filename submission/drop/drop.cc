#include "submission/drop/drop.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "lib/queue/drop_format.h"

namespace veredus::drop {

namespace {

constexpr std::size_t largest_config = 1 << 20;

int64_t wall_us()
{
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

struct File {            // closes once
    int fd;
    explicit File(int number) : fd(number) {}
    File(const File&) = delete;
    ~File()
    {
        if (fd >= 0) close(fd);
    }
};

bool write_whole(int fd, const char* bytes, std::size_t size)
{
    while (size) {
        const ssize_t n = write(fd, bytes, size);
        if (n < 0) {
            if (errno == EINTR) continue;
            return false;
        }
        bytes += n;
        size -= static_cast<std::size_t>(n);
    }
    return true;
}

bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

// "10240000", "50M"; false for what is no plain size.
bool plain_size(const char* s, const char* end, uint64_t& out)
{
    uint64_t value = 0;
    if (s == end || *s < '0' || *s > '9') return false;
    for (; s < end && *s >= '0' && *s <= '9'; ++s) {
        if (value > (UINT64_MAX >> 34) / 10) return false;     // room for "G" later
        value = value * 10 + static_cast<uint64_t>(*s - '0');
    }
    if (s < end) {
        switch (*s++) {
        case 'k': case 'K': value <<= 10; break;
        case 'm': case 'M': value <<= 20; break;
        case 'g': case 'G': value <<= 30; break;
        default: return false;
        }
    }
    if (s != end) return false;
    out = value;
    return true;
}

// The whole of a small regular file, malloc'ed; null when there is none.
char* read_small(int dir, const char* name, std::size_t& size)
{
    const File file(openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat st {};
    if (file.fd < 0 || fstat(file.fd, &st) || !S_ISREG(st.st_mode) || st.st_size <= 0) return nullptr;
    if (static_cast<uint64_t>(st.st_size) > largest_config) return nullptr;
    char* bytes = static_cast<char*>(malloc(static_cast<std::size_t>(st.st_size)));
    if (!bytes) return nullptr;
    const ssize_t n = read(file.fd, bytes, static_cast<std::size_t>(st.st_size));
    if (n > 0) {
        size = static_cast<std::size_t>(n);
        return bytes;
    }
    free(bytes);
    return nullptr;
}

void config_from(int dir, const char* name, Config& config)
{
    std::size_t size = 0;
    if (char* text = read_small(dir, name, size)) {
        parse_config(text, size, config);
        free(text);
    }
}

// The logical lines of main.cf: a line that begins with white space goes on with the one before; comments and empty lines
// between them do not end it.
class LogicalLines {
public:
    LogicalLines(const char* text, std::size_t size) : at_(text), stop_(text + size) {}
    // False at the end. What does not fit the buffer is cut: no setting of ours is that long.
    bool next()
    {
        if (at_ >= stop_) return false;
        size_ = 0;
        take();
        while (at_ < stop_ && (blank(*at_) || *at_ == '#' || *at_ == '\n')) {
            const char* s = at_;
            while (s < stop_ && blank(*s)) ++s;
            if (s < stop_ && (*s == '#' || *s == '\n')) skip();
            else take();
        }
        return true;
    }
    const char* begin() const { return line_; }
    const char* end() const { return line_ + size_; }

private:
    const char* line_end() const
    {
        const void* end = memchr(at_, '\n', static_cast<std::size_t>(stop_ - at_));
        return end ? static_cast<const char*>(end) : stop_;
    }
    void skip() { at_ = line_end() < stop_ ? line_end() + 1 : stop_; }
    void take()
    {
        for (const char* end = line_end(); at_ < end && size_ < sizeof line_; ++at_) line_[size_++] = *at_;
        skip();
    }
    const char* at_;
    const char* stop_;
    std::size_t size_ = 0;
    char line_[2048] = {};
};

// The value when the line sets `name`: from after '=' without blanks around it; null otherwise.
const char* value_of(const LogicalLines& line, const char* name, std::size_t& size)
{
    const char* s = line.begin();
    const std::size_t n = strlen(name);
    if (static_cast<std::size_t>(line.end() - s) <= n || memcmp(s, name, n) != 0) return nullptr;
    s += n;
    while (s < line.end() && blank(*s)) ++s;
    if (s == line.end() || *s != '=') return nullptr;
    do ++s;
    while (s < line.end() && blank(*s));
    const char* end = line.end();
    while (end > s && blank(end[-1])) --end;
    size = static_cast<std::size_t>(end - s);
    return s;
}

int is_cf(const dirent* entry)
{
    const std::size_t n = strlen(entry->d_name);
    return entry->d_name[0] != '.' && n > 3 && !strcmp(entry->d_name + n - 3, ".cf");
}

// The draft's life: made in tmp, and gone from there unless it was published.
class Draft {
public:
    Draft(int tmp, int published) : tmp_(tmp), new_(published) {}
    Draft(const Draft&) = delete;
    ~Draft()
    {
        if (fd_ >= 0) close(fd_);
        if (made_) unlinkat(tmp_, id_, 0);
    }
    int fd() const { return fd_; }
    const char* id() const { return id_; }

    // The name has our pid in it, so a clash is a name left by an earlier process of that number: two microseconds on, it is over.
    bool create()
    {
        for (int tries = 0; tries < 1000; ++tries) {
            make_id(id_, wall_us(), getpid());
            struct stat st {};
            if (fstatat(new_, id_, &st, AT_SYMLINK_NOFOLLOW) == 0) {
                usleep(10);
                continue;
            }
            fd_ = openat(tmp_, id_, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
            made_ = fd_ >= 0;
            if (made_ || errno != EEXIST) return made_;
            usleep(10);
        }
        return false;
    }

    // Synced, moved without ever replacing anything, and the name synced too (strict POSIX: a name lasts only after that). The file
    // first, though a file system with a journal commits twice for it: submission takes a mail up as soon as it has a name, and one
    // whose bytes could not be synced would go out while its caller hears of a failure and tries again.
    const char* publish()
    {
        if (fsync(fd_)) return "fsync";
        const int closed = close(fd_);
        fd_ = -1;
        if (closed) return "close";
        if (syscall(SYS_renameat2, tmp_, id_, new_, id_, 1U /* RENAME_NOREPLACE */)) {
            if (errno != ENOSYS && errno != EINVAL) return "rename";
            if (linkat(tmp_, id_, new_, id_, 0)) return "link";
            unlinkat(tmp_, id_, 0);
        }
        made_ = false;
        if (fsync(new_) == 0) return nullptr;
        const int why = errno;
        unlinkat(new_, id_, 0);        // the caller hears of a failure, so nothing of it may go out later
        errno = why;
        return "fsync of the directory";
    }

private:
    int tmp_, new_;
    int fd_ = -1;
    bool made_ = false;
    char id_[17] = {};
};

// Copies what the parser agrees with.
int copy(int in, int out, uint64_t size_limit)
{
    static char buffer[65'536];
    queue::drop::Parser parser(size_limit);
    for (;;) {
        const ssize_t n = read(in, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            complain("reading the mail", strerror(errno));
            return EX_IOERR;
        }
        if (n == 0) break;
        std::string_view rest(buffer, static_cast<std::size_t>(n));
        using Step = queue::drop::Parser::Step;
        for (Step step = Step::record; step != Step::more && step != Step::end;) {
            step = parser.next(rest);
            if (step == Step::end && !rest.empty()) step = parser.next(rest);    // to hear what it says of the surplus
            if (step != Step::bad) continue;
            complain("mail refused", parser.error());
            return EX_DATAERR;
        }
        if (!write_whole(out, buffer, static_cast<std::size_t>(n))) {
            complain("writing to the maildrop", strerror(errno));
            return EX_TEMPFAIL;
        }
    }
    if (parser.ended()) return EX_OK;
    complain("mail refused", "it ends too early");
    return EX_DATAERR;
}

}  // namespace

void complain(const char* what, const char* why)
{
    char line[300];
    const int n = snprintf(line, sizeof line, "veredus-drop: %s%s%s\n", what, why ? ": " : "", why ? why : "");
    if (n > 0) write_whole(2, line, static_cast<std::size_t>(n) < sizeof line ? static_cast<std::size_t>(n) : sizeof line - 1);
}

int parse(int argc, char** argv, Options& options)
{
    for (int i = 1; i < argc; ++i) {
        const char* word = argv[i];
        if (!strcmp(word, "-p")) {
            options.print_id = true;
        } else if ((!strcmp(word, "-q") || !strcmp(word, "-C")) && i + 1 < argc && argv[i + 1][0] == '/') {
            (word[1] == 'q' ? options.spool : options.config) = argv[++i];
        } else {
            complain("usage: veredus-drop [-p] [-q SPOOL] [-C CONFIG] <mail; sendmail(1) runs it, see veredus-drop(8)");
            return EX_USAGE;
        }
    }
    return EX_OK;
}

void make_id(char (&out)[17], int64_t wall, int pid)
{
    const uint64_t seconds = static_cast<uint64_t>(wall / 1'000'000) & 0xFFFF'FFFF;
    const uint64_t half_us = static_cast<uint64_t>(wall % 1'000'000) / 2;
    uint64_t value = seconds << 32 | half_us << 12 | (static_cast<uint64_t>(pid) & 0xFFF);
    for (int i = 15; i >= 0; --i, value >>= 4) out[i] = "0123456789ABCDEF"[value & 15];
    out[16] = 0;
}

void parse_config(const char* text, std::size_t size, Config& config)
{
    LogicalLines line(text, size);
    while (line.next()) {
        std::size_t n = 0;
        if (const char* value = value_of(line, "message_size_limit", n)) {
            if (!plain_size(value, value + n, config.size_limit)) config.size_limit = Config().size_limit;
        } else if (const char* path = value_of(line, "queue_directory", n)) {
            config.bad_spool = n == 0 || n >= sizeof config.spool || *path != '/' || memchr(path, '$', n);
            if (config.bad_spool) continue;
            memcpy(config.spool, path, n);
            config.spool[n] = 0;
        }
    }
}

void read_config(const char* directory, Config& config)
{
    const File dir(open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (dir.fd < 0) return;
    config_from(dir.fd, "main.cf", config);
    const File more(openat(dir.fd, "main.cf.d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    dirent** entries = nullptr;
    const int count = more.fd < 0 ? 0 : scandirat(dir.fd, "main.cf.d", &entries, is_cf, nullptr);
    // Bytewise, as lib/conf sorts them: alphasort would ask a locale.
    if (count > 1)
        qsort(entries, static_cast<std::size_t>(count), sizeof *entries, [](const void* a, const void* b) {
            return strcmp((*static_cast<dirent* const*>(a))->d_name, (*static_cast<dirent* const*>(b))->d_name);
        });
    for (int i = 0; i < count; ++i) {
        config_from(more.fd, entries[i]->d_name, config);
        free(entries[i]);
    }
    free(entries);
}

bool settle()
{
    // Whoever closed 0 to 2 would have our files take those numbers, and a complaint be written into a mail.
    for (int fd = 0; fd < 3; ++fd) {
        if (fcntl(fd, F_GETFD) >= 0) continue;
        if (open("/dev/null", O_RDWR) != fd) return false;
    }
    syscall(SYS_close_range, 3U, ~0U, 0U);
    umask(0);      // the mode is given with each open
    clearenv();

    sigset_t all;
    sigfillset(&all);
    for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGALRM, SIGVTALRM, SIGPROF, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ,
                             SIGTSTP, SIGTTIN, SIGTTOU, SIGIO, SIGPWR})
        signal(number, SIG_IGN);
    // What is still fatal kills at once and leaves a draft, which the sweep of maildrop/tmp finds; nothing half-written is seen.
    sigprocmask(SIG_UNBLOCK, &all, nullptr);
    const itimerval none{};
    for (const int which : {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF}) setitimer(static_cast<__itimer_which>(which), &none, nullptr);

    for (const int which : {RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_CPU}) {
        rlimit limit{};
        if (getrlimit(static_cast<__rlimit_resource>(which), &limit)) continue;
        limit.rlim_cur = limit.rlim_max;
        setrlimit(static_cast<__rlimit_resource>(which), &limit);
    }
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    return true;
}

int take(int in, const char* spool, uint64_t size_limit, char (&id)[17])
{
    const File base(open(spool, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const File tmp(base.fd < 0 ? -1 : openat(base.fd, "maildrop/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    const File published(base.fd < 0 ? -1 : openat(base.fd, "maildrop/new", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (tmp.fd < 0 || published.fd < 0) {
        const int why = errno;
        char text[300];
        snprintf(text, sizeof text, "opening the maildrop below %.200s (\"veredus setup\" makes and mends it)", spool);
        complain(text, strerror(why));
        return why == EACCES ? EX_NOPERM : EX_TEMPFAIL;
    }
    Draft draft(tmp.fd, published.fd);
    if (!draft.create()) {
        const int why = errno;
        complain("creating a file in the maildrop", strerror(why));
        return why == EACCES ? EX_NOPERM : EX_CANTCREAT;
    }
    if (const int status = copy(in, draft.fd(), size_limit)) return status;
    if (const char* step = draft.publish()) {
        complain(step, strerror(errno));
        return EX_TEMPFAIL;
    }
    memcpy(id, draft.id(), sizeof id);
    return EX_OK;
}

}  // namespace veredus::drop

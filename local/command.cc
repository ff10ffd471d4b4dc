// Commands: from a line to a verdict.
#include "local/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/mail/dsn.h"

namespace veredus::local {

namespace {

constexpr std::size_t max_output = 4096;
constexpr const char* search_path = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
constexpr std::string_view safe_characters = "!@%-_=+:,./";

bool is_plain(char c) { return is_alnum(c) || c == ' ' || c == '\t' || safe_characters.find(c) != std::string_view::npos; }

struct SysExit {
    int status;
    const char* dsn;
    const char* text;
};
constexpr SysExit sys_exits[] = {
    {EX_USAGE, "5.3.5", "command line usage error"},
    {EX_DATAERR, "5.6.0", "data format error"},
    {EX_NOINPUT, "5.3.0", "cannot open input"},
    {EX_NOUSER, "5.1.1", "user unknown"},
    {EX_NOHOST, "5.1.2", "host name unknown"},
    {EX_UNAVAILABLE, "5.3.0", "service unavailable"},
    {EX_SOFTWARE, "5.3.0", "internal software error"},
    {EX_OSERR, "4.3.0", "system resource problem"},
    {EX_OSFILE, "5.3.5", "critical OS file missing"},
    {EX_CANTCREAT, "5.2.0", "can't create user output file"},
    {EX_IOERR, "4.3.0", "input/output error"},
    {EX_TEMPFAIL, "4.3.0", "temporary failure"},
    {EX_PROTOCOL, "5.5.0", "remote error in protocol"},
    {EX_NOPERM, "5.7.0", "permission denied"},
    {EX_CONFIG, "5.3.5", "local system configuration error"},
};

struct Pipes {
    Fd in_read, in_write, out_read, out_write;
    static Result<Pipes> open()
    {
        int a[2], b[2];
        if (::pipe2(a, O_CLOEXEC) < 0) return fail_errno("pipe");
        Pipes p;
        p.in_read = Fd(a[0]);
        p.in_write = Fd(a[1]);
        if (::pipe2(b, O_CLOEXEC) < 0) return fail_errno("pipe");
        p.out_read = Fd(b[0]);
        p.out_write = Fd(b[1]);
        return p;
    }
};

// In the child: only what the command shall see, then become it. `only`: these words or nothing, never /bin/sh.
[[noreturn]] void become(const Pipes& pipes, const std::vector<std::string>& words, const std::string& line, const std::vector<std::string>& environment,
                         const std::string& directory, bool only, pid_t worker)
{
    ::setpgid(0, 0);
    // Should the worker be killed, half a mail must not look like a whole one: the command goes first.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != worker) ::_exit(EX_TEMPFAIL);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
    // pipes may lie on 0 to 2 when those were closed: first out of the way
    const int in = ::fcntl(pipes.in_read.get(), F_DUPFD, 3), out = ::fcntl(pipes.out_write.get(), F_DUPFD, 3);
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::dup2(out, 2);
    ::syscall(SYS_close_range, 3U, ~0U, 0U);
    if (directory.empty() || ::chdir(directory.c_str()) < 0)
        if (::chdir("/") < 0) ::_exit(EX_OSERR);
    std::vector<char*> env, argv;
    for (const auto& e : environment) env.push_back(const_cast<char*>(e.c_str()));
    env.push_back(nullptr);
    for (const auto& w : words) argv.push_back(const_cast<char*>(w.c_str()));
    argv.push_back(nullptr);
    if (!words.empty()) {
        ::execvpe(argv[0], argv.data(), env.data());
        if (only || (errno != ENOENT && errno != EACCES)) ::_exit(126);
        // Postfix gives the shell a try then, and its words about it ("not found") reach the log.
    }
    char sh[] = "sh", c[] = "-c";
    char* shell[] = {sh, c, const_cast<char*>(line.c_str()), nullptr};
    ::execve("/bin/sh", shell, env.data());
    ::_exit(126);
}

// The mail towards a pipe whose reader may be slow, gone, or first wants to be heard: what it writes is taken meanwhile.
class Feeder {
public:
    Feeder(Pipes pipes, int64_t until_us) : pipes_(std::move(pipes)), until_us_(until_us)
    {
        (void)set_nonblocking(pipes_.in_write.get(), true);
        (void)set_nonblocking(pipes_.out_read.get(), true);
    }
    bool timed_out() const { return timed_out_; }
    void close_input() { pipes_.in_write.reset(); }
    std::string take_output() { return std::move(output_); }

    Result<void> feed(std::string_view bytes)
    {
        while (!bytes.empty()) {
            const ssize_t n = ::write(pipes_.in_write.get(), bytes.data(), bytes.size());
            if (n > 0) {
                bytes.remove_prefix(static_cast<std::size_t>(n));
                continue;
            }
            if (n < 0 && errno == EPIPE) return fail_errno("write to command", EPIPE);
            if (n < 0 && errno != EAGAIN && errno != EINTR) return fail_errno("write to command");
            if (!wait(pipes_.in_write.get(), POLLOUT)) return fail_errno("write to command", ETIMEDOUT);
        }
        return {};
    }

    // Until `pid` has ended; its children may keep the output open for longer, nobody waits for them.
    void wait_for(pid_t pid)
    {
        const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));    // none: an old kernel, then we look often
        longest_ms_ = process ? 60'000 : 50;
        siginfo_t info{};
        while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) < 0 ? errno == EINTR : info.si_pid == 0)
            if (!wait(process.get(), POLLIN)) break;
        read_output();
    }

private:
    // One poll round; false when the time is up.
    bool wait(int fd, short events)
    {
        const int64_t left_ms = (until_us_ - system_clock().mono_us()) / 1000;
        if (left_ms <= 0) return !(timed_out_ = true);
        pollfd fds[2] = {{fd, events, 0}, {output_open_ ? pipes_.out_read.get() : -1, POLLIN, 0}};
        const int n = ::poll(fds, 2, static_cast<int>(std::min<int64_t>(left_ms, longest_ms_)));
        if (n <= 0) return true;
        if (fds[1].revents) read_output();
        return true;
    }
    void read_output()
    {
        char buffer[4096];
        for (ssize_t n; output_open_ && (n = ::read(pipes_.out_read.get(), buffer, sizeof buffer)) != -1;) {
            if (n == 0) output_open_ = false;
            const std::size_t room = max_output - std::min(output_.size(), max_output);
            output_.append(buffer, std::min(static_cast<std::size_t>(n), room));
        }
    }

    Pipes pipes_;
    int64_t until_us_;
    std::string output_;
    int64_t longest_ms_ = 60'000;
    bool output_open_ = true, timed_out_ = false;
};

std::string first_lines(std::string_view output)
{
    std::string text;
    for (const auto line : split(output, "\r\n")) {
        if (trim(line).empty()) continue;
        if (!text.empty()) text += ' ';
        text += trim(line);
    }
    std::replace(text.begin(), text.end(), '\t', ' ');
    return printable(text, 400);
}

// With its children; itself, too, when it has left its process group. Its number is nobody else's before it was waited for.
void kill_command(pid_t pid)
{
    ::kill(-pid, SIGKILL);
    ::kill(pid, SIGKILL);
}

Ending wait_for_end(pid_t pid, Feeder& feeder)
{
    feeder.wait_for(pid);
    if (feeder.timed_out()) kill_command(pid);
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    Ending ending;
    ending.output = feeder.take_output();
    if (feeder.timed_out())
        ending.how = Ending::How::timed_out;
    else if (WIFSIGNALED(status))
        ending = {Ending::How::signalled, WTERMSIG(status), std::move(ending.output)};
    else
        ending.status = WEXITSTATUS(status);
    return ending;
}

}  // namespace

std::vector<std::string> split_command(std::string_view line)
{
    static constexpr const char* shell_words[] = {".",    ":",    "alias", "bg",   "break",  "case",   "cd",    "command", "continue", "do",    "eval",
                                                  "exec", "exit", "export", "fc",  "fg",     "for",    "getopts", "hash",  "if",       "jobs",  "read",
                                                  "readonly", "return", "set", "shift", "times", "trap", "type", "ulimit", "umask",   "unset", "until",
                                                  "wait", "while"};
    if (!std::all_of(line.begin(), line.end(), is_plain)) return {};
    std::vector<std::string> words;
    for (const auto word : split(line, " \t")) words.emplace_back(word);
    if (words.empty() || words[0].find('=') != std::string::npos) return {};
    for (const char* own : shell_words)
        if (words[0] == own) return {};
    return words;
}

std::string harmless(std::string_view value, std::string_view filter)
{
    std::string out(value.substr(0, 1024));
    for (char& c : out)
        if (filter.find(c) == std::string_view::npos || static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '_';
    return out;
}

std::vector<std::string> command_environment(const Person& person, const Facts& facts, const std::vector<std::string>& exported,
                                             std::string_view filter)
{
    std::vector<std::string> env{cat("PATH=", search_path)};
    for (const std::string& item : exported) {
        if (item.find('=') != std::string::npos)
            env.push_back(item);
        else if (const char* value = ::getenv(item.c_str()))
            env.push_back(cat(item, '=', value));
    }
    if (!person.home.empty()) append(env.emplace_back(), "HOME=", person.home);
    if (!person.home.empty()) append(env.emplace_back(), "SHELL=", person.shell.empty() ? std::string("/bin/sh") : person.shell);
    const std::string user = harmless(person.user, filter);
    append(env.emplace_back(), "USER=", user);
    append(env.emplace_back(), "LOGNAME=", user);
    const auto add = [&](const char* name, std::string_view value, bool always) {
        if (always || !value.empty()) env.push_back(cat(name, '=', harmless(value, filter)));
    };
    add("SENDER", facts.sender.empty() ? "MAILER-DAEMON" : std::string_view(facts.sender), true);
    add("RECIPIENT", facts.recipient, true);
    add("ORIGINAL_RECIPIENT", facts.original_recipient.empty() ? facts.recipient : facts.original_recipient, true);
    add("LOCAL", facts.local, true);
    add("DOMAIN", facts.domain, false);
    add("EXTENSION", facts.extension, false);
    add("CLIENT_HOSTNAME", facts.client_name, false);
    add("CLIENT_ADDRESS", facts.client_address, false);
    add("CLIENT_HELO", facts.helo, false);
    add("CLIENT_PROTOCOL", facts.protocol, false);
    add("SASL_USERNAME", facts.auth_user, false);
    return env;
}

ipc::Verdict judge(const Ending& ending, std::string_view command)
{
    using ipc::Outcome;
    const std::string output = first_lines(ending.output);
    const auto told = [&](Outcome outcome, std::string dsn, std::string text) {
        ipc::Verdict v;
        v.outcome = outcome;
        v.dsn = std::move(dsn);
        v.text = output.empty() || outcome == Outcome::delivered ? std::move(text) : cat(text, ". Command output: ", output);
        return v;
    };
    const std::string name = printable(command, 200);
    switch (ending.how) {
    case Ending::How::not_started: return told(Outcome::deferred, "4.3.0", cat("command could not be started: ", name));
    case Ending::How::timed_out: return told(Outcome::deferred, "4.3.0", cat("Command time limit exceeded: \"", name, '"'));
    case Ending::How::signalled: return told(Outcome::deferred, "4.3.0", cat("Command died with signal ", ending.status, ": \"", name, '"'));
    case Ending::How::exited: break;
    }
    if (ending.status == 0) return told(Outcome::delivered, "2.0.0", cat("delivered to command: ", name));
    // "5.7.1 not today": the command's own word comes before its exit status, as Postfix has it. One of success from a command that
    // failed is none.
    if (const auto coded = mail::cut_enhanced_code(output); !coded.code.empty() && coded.code[0] != '2') {
        const std::string_view words = trim(coded.text);
        ipc::Verdict v;
        v.outcome = coded.code[0] == '4' ? Outcome::deferred : Outcome::failed;
        v.dsn = coded.code;
        v.text = words.empty() ? cat("Command died with status ", ending.status, ": \"", name, '"') : std::string(words);
        return v;
    }
    // 126 and 127 are the shell's "cannot execute" and "not found": a person can mend that, so the mail waits.
    if (ending.status == 126 || ending.status == 127) return told(Outcome::deferred, "4.3.5", cat("Command died with status ", ending.status, ": \"", name, '"'));
    std::string dsn = "5.3.0", text = cat("Command died with status ", ending.status, ": \"", name, '"');
    for (const SysExit& known : sys_exits)
        if (known.status == ending.status) dsn = known.dsn, text = known.text;
    return told(dsn[0] == '5' ? Outcome::failed : Outcome::deferred, dsn, text);
}

namespace {

// `only`: these words or nothing, never /bin/sh with the line.
Ending run(const std::vector<std::string>& words, bool only, const std::string& line, const std::vector<std::string>& environment, const CommandRules& rules,
           const store::Content& mail)
{
    ::signal(SIGPIPE, SIG_IGN);    // a command may stop reading: EPIPE says so
    auto pipes = Pipes::open();
    if (!pipes) return {Ending::How::not_started, 0, pipes.error().text};
    const pid_t self = ::getpid(), pid = ::fork();
    if (pid < 0) return {Ending::How::not_started, 0, fail_errno("fork").error.text};
    if (pid == 0) become(*pipes, words, line, environment, rules.directory, only, self);
    ::setpgid(pid, pid);    // whoever of both comes first
    pipes->in_read.reset();
    pipes->out_write.reset();
    Feeder feeder(std::move(*pipes), system_clock().mono_us() + rules.time_limit.count() * 1000);
    auto fed = feeder.feed(mail.from_line);
    if (fed) {
        auto streamed = store::stream(mail, [&](std::string_view bytes) { return feeder.feed(bytes); });
        if (!streamed) fed = unexpected(streamed.error());
    }
    // A command may end, or stop listening, before it has read all: its exit status speaks. But half a mail that our own
    // file could not give must not count as delivered.
    const bool ours = !fed && fed.error().code != EPIPE && fed.error().code != ETIMEDOUT;
    if (ours) kill_command(pid);
    feeder.close_input();
    Ending ending = wait_for_end(pid, feeder);
    if (ours) return {Ending::How::not_started, 0, fed.error().text};
    return ending;
}

}  // namespace

Ending run_words(std::vector<std::string> words, const std::vector<std::string>& environment, const CommandRules& rules, const store::Content& mail)
{
    return run(words, true, {}, environment, rules, mail);
}

Ending run_command(const std::string& line, const std::vector<std::string>& environment, const CommandRules& rules, const store::Content& mail)
{
    std::vector<std::string> words;
    for (const auto word : split(rules.shell, " \t")) words.emplace_back(word);
    const bool only = !words.empty();
    if (only) words.push_back(line);
    else words = split_command(line);
    return run(words, only, line, environment, rules, mail);
}

}  // namespace veredus::local

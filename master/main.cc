// master: binds ports, spawns roles, restarts them, brokers connections; reads no mail and no peer.  Manual: man/master.8
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "config.h"
#include "lib/base/text.h"
#include "lib/conf/values.h"
#include "lib/daemon/instance.h"
#include "lib/daemon/memory.h"
#include "lib/daemon/prepare.h"
#include "lib/daemon/tls_files.h"
#include "lib/log/log.h"
#include "lib/reception/check.h"
#include "lib/loop/loop.h"
#include "master/notify.h"
#include "master/supervisor.h"

namespace veredus::master {

namespace {

struct Arguments {
    Options options;
    Fd status;                // `veredus start` waits at the other end
};

// Tells whoever waits for the start how it went, once: "ok" or the reason.
class Verdict {
public:
    Verdict(Fd status, bool foreground) : status_(std::move(status)), foreground_(foreground) {}
    void good()
    {
        tell("ok\n");
        if (!foreground_) silence();
    }
    void bad(const std::string& why) { tell(cat(why, "\n")); }

private:
    void tell(const std::string& text)
    {
        if (status_) (void)write_all(status_.get(), text);
        status_.reset();
    }
    // From now on nobody listens on the starter's terminal.
    static void silence()
    {
        const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        for (int fd = 0; null && fd <= 2; ++fd) ::dup2(null.get(), fd);
    }
    Fd status_;
    bool foreground_;
};

[[noreturn]] void usage()
{
    std::fprintf(stderr, "usage: master -f [-c DIR] [-l LIBEXEC] [-s FD]\nmaster is started by `veredus start`.\n");
    std::exit(EX_USAGE);
}

Arguments parse(int argc, char** argv)
{
    Arguments arguments;
    arguments.options.config_directory = conf::default_directory();
    arguments.options.libexec = VEREDUS_LIBEXECDIR;
    arguments.options.unprivileged = ::geteuid() != 0;
    const char* libexec = ::getuid() == ::geteuid() ? std::getenv("VEREDUS_LIBEXEC") : nullptr;
    if (libexec && *libexec) arguments.options.libexec = libexec;
    for (int option; (option = ::getopt(argc, argv, "fc:l:s:")) != -1;) {
        switch (option) {
        case 'f': arguments.options.foreground = true; break;
        case 'c': arguments.options.config_directory = ::optarg; break;
        case 'l': arguments.options.libexec = ::optarg; break;
        case 's':
            if (const auto fd = parse_number<int>(::optarg); fd && *fd > 2) {
                arguments.status = Fd(*fd);
                ::fcntl(*fd, F_SETFD, FD_CLOEXEC);
            } else {
                usage();
            }
            break;
        default: usage();
        }
    }
    if (::optind != argc || (!arguments.options.foreground && !arguments.status)) usage();
    return arguments;
}

std::string absolute(const std::string& path)
{
    if (path.starts_with('/')) return path;
    char* real = ::realpath(path.c_str(), nullptr);
    if (!real) return path;
    std::string result = real;
    std::free(real);
    return result;
}

// All errors of the configuration, one per line.
std::string errors_of(const conf::File& file)
{
    std::string errors;
    for (const conf::Diagnostic& diagnostic : file.diagnostics())
        if (diagnostic.error) append(errors, errors.empty() ? "" : "\n", diagnostic.str());
    return errors;
}

Result<void> prepare_disk(const conf::Values& values, const std::string& libexec, bool unprivileged)
{
    TRY(daemon::make_directories(daemon::run_directories(values, unprivileged), false));
    const auto wanted = TRY(daemon::wanted_directories(values, unprivileged));
    if (unprivileged) {
        TRY(daemon::make_directories(wanted, false));
        return {};
    }
    auto wrong = daemon::check_directories(wanted);
    // A system whose users' sendmail fails must not look as if it were up.
    if (std::string drop = daemon::check_drop_program(libexec); !drop.empty()) wrong.push_back(std::move(drop));
    if (wrong.empty()) return {};
    std::string text;
    for (const std::string& line : wrong) append(text, line, "\n");
    return fail(cat(text, "`veredus setup` mends that"));
}

struct Outcome {
    int status;
    std::string why;
};

Outcome run(Arguments& arguments, Verdict& verdict)
{
    Options& options = arguments.options;
    const auto file = conf::File::load(options.config_directory);
    if (!file.ok()) return {EX_CONFIG, errors_of(file)};
    const auto lists = reception::check_restrictions(file);
    for (const conf::Diagnostic& diagnostic : lists)
        if (diagnostic.error) return {EX_CONFIG, diagnostic.str()};
    conf::Values values = file.values();
    auto target = LogTarget::open(values, options.foreground);
    if (!target) return {EX_CONFIG, target.error().text};
    if (auto started = target->start("master"); !started) return {EX_CANTCREAT, started.error().text};
    for (const conf::Diagnostic& diagnostic : file.diagnostics()) log::warning(diagnostic.file, ':', diagnostic.line, ": ", diagnostic.text);
    if (target->settings().target == log::Target::syslog && target->fd() < 0)
        std::fprintf(stderr, "master: warning: no syslog daemon listens on %s: what is logged is lost until one does (or set maillog_file)\n", target->settings().path.c_str());
    if (auto ready = prepare_disk(values, options.libexec, options.unprivileged); !ready) return {EX_CONFIG, ready.error().text};
    // A trial's, and that of a host that `veredus setup` last saw before there was TLS.
    if (auto made = daemon::make_own_certificate(values, options.config_directory); !made) log::warning("no certificate for TLS: ", made.error().text);
    else if (!made->empty()) log::info(*made);
    const std::string run_directory(values.text("run_directory"));
    auto pid_file = daemon::PidFile::take(run_directory);
    if (!pid_file) return {EX_UNAVAILABLE, pid_file.error().text};
    pid_file->write(::getpid());
    if (options.unprivileged)
        log::warning("running WITHOUT root, as uid ", ::geteuid(), ": no jails, no separate users; every role can read all mail. This is for trials only");

    auto loop = Loop::create();
    if (!loop) return {EX_OSERR, loop.error().text};
    (*loop)->each_turn([] { log::flush(); });
    Notifier notifier = Notifier::from_environment();
    std::string failure;
    {
        Supervisor supervisor(**loop, options, std::move(values), *target, notifier, [&](const std::string& why) {
            failure = why;
            if (why.empty()) verdict.good();
        });
        const Signal terminate(**loop, SIGTERM, [&] { supervisor.stop(SIGTERM); });
        const Signal interrupt(**loop, SIGINT, [&] { supervisor.stop(SIGINT); });
        Timer settled(**loop, daemon::give_back_memory);     // settings of all roles were read, which takes much more than is kept
        const Signal hangup(**loop, SIGHUP, [&] {
            supervisor.reload();
            settled.start(daemon::start_settles);
        });
        settled.start(daemon::start_settles);
        if (auto begun = supervisor.begin(); !begun) {
            pid_file->remove();
            return {EX_UNAVAILABLE, begun.error().text};
        }
        (*loop)->run();
    }
    pid_file->remove();
    ::unlink(cat(run_directory, "/status").c_str());
    return {failure.empty() ? 0 : EX_UNAVAILABLE, failure};
}

}  // namespace

int run_master(int argc, char** argv);

int run_master(int argc, char** argv)
{
    Arguments arguments = parse(argc, argv);
    Options& options = arguments.options;
    options.config_directory = absolute(options.config_directory);
    options.libexec = absolute(options.libexec);
    ::signal(SIGPIPE, SIG_IGN);
    ::umask(022);
    if (!options.foreground) ::setsid();
    if (::chdir("/") < 0) return EX_OSERR;
    Verdict verdict(std::move(arguments.status), options.foreground);
    log::Settings first;
    first.target = options.foreground ? log::Target::standard_error : log::Target::syslog;
    (void)log::open(first);
    const Outcome outcome = run(arguments, verdict);
    if (!outcome.why.empty()) {
        verdict.bad(outcome.why);
        for (const auto line : split(outcome.why, "\n")) log::error("cannot start: ", line);
    }
    log::flush();
    return outcome.status;
}

}  // namespace veredus::master

int main(int argc, char** argv) { return veredus::master::run_master(argc, argv); }

// start, stop, restart, reload, status: what speaks to a running master, by signal, pid file and status file.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "config.h"
#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/daemon/instance.h"
#include "lib/ipc/message.h"
#include "lib/ipc/queue.h"
#include "master/veredus/commands.h"
#include "master/veredus/report.h"
#include "master/veredus/surroundings.h"

namespace veredus::admin {

namespace {

enum Lsb { lsb_running = 0, lsb_dead = 1, lsb_stopped = 3, lsb_unknown = 4 };    // LSB 3.1 §20.2: status

struct StartOptions {
    bool foreground = false;
    std::string libexec;
};

bool parse_start(int argc, char** argv, StartOptions& options)
{
    std::string libexec;
    ::optind = 1;
    for (int option; (option = ::getopt(argc, argv, "fl:")) != -1;) {
        if (option == 'f') options.foreground = true;
        if (option == 'l') libexec = ::optarg;
        if (option == '?') return false;
    }
    options.libexec = libexec_directory(libexec);
    return ::optind == argc;
}

std::vector<std::string> master_arguments(const Common& common, const StartOptions& options)
{
    std::vector<std::string> arguments = {cat(options.libexec, "/master"), "-c", common.config_directory, "-l", options.libexec};
    if (options.foreground) arguments.push_back("-f");
    return arguments;
}

[[noreturn]] void exec_master(const std::vector<std::string>& arguments)
{
    std::vector<char*> argv;
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    complain("%s: %s", argv[0], std::strerror(errno));
    ::_exit(EX_OSFILE);
}

// Master's word over the pipe: "ok", or the reason; nothing when it died without one.
int await_start(const Fd& pipe, pid_t child)
{
    auto said = read_all(pipe.get(), 1 << 20);
    if (said && *said == "ok\n") return 0;
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    const bool never_ran = WIFEXITED(status) && WEXITSTATUS(status) == EX_OSFILE;    // exec_master() has said so
    std::string why = said && !said->empty() ? *said : std::string(never_ran ? "" : "master ended without saying why; the log knows more\n");
    for (const auto line : split(why, "\n")) complain("%.*s", static_cast<int>(line.size()), line.data());
    complain("not started");
    return WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : EX_SOFTWARE;
}

int start_in_background(const Common& common, const StartOptions& options)
{
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) < 0) {
        complain("pipe: %s", std::strerror(errno));
        return EX_OSERR;
    }
    const Fd read_end(fds[0]);
    Fd write_end(fds[1]);
    auto arguments = master_arguments(common, options);
    arguments.push_back("-s");
    arguments.push_back("3");
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) {
        complain("fork: %s", std::strerror(errno));
        return EX_OSERR;
    }
    if (child == 0) {
        const int null = ::open("/dev/null", O_RDWR);
        if (null >= 0) ::dup2(null, 0);
        if (write_end.get() == 3) ::fcntl(3, F_SETFD, 0);
        else ::dup2(write_end.get(), 3);
        ::syscall(SYS_close_range, 4, ~0U, 0);
        exec_master(arguments);
    }
    write_end.reset();
    return await_start(read_end, child);
}

// The running master, or a complaint and the status to exit with.
struct Found {
    daemon::Running running;
    int status = 0;
};

Found find_master(const std::string& run_directory)
{
    auto running = daemon::find_running(run_directory);
    if (!running) {
        complain("%s", running.error().text.c_str());
        return {{}, EX_NOPERM};
    }
    return {*running, 0};
}

bool wait_for_end(const Fd& pidfd, int64_t seconds)
{
    pollfd watch{pidfd.get(), POLLIN, 0};
    const int64_t until = system_clock().mono_us() + seconds * us_per_second;
    for (;;) {
        const int64_t left = (until - system_clock().mono_us()) / 1000;
        if (left <= 0) return false;
        const int n = ::poll(&watch, 1, static_cast<int>(left));
        if (n > 0) return true;
        if (n < 0 && errno != EINTR) return false;
    }
}

std::string age(int64_t since, int64_t now)
{
    const int64_t s = std::max<int64_t>(now - since, 0);
    if (s < 120) return cat(s, "s");
    if (s < 7200) return cat(s / 60, "m");
    if (s < 172'800) return cat(s / 3600, "h");
    return cat(s / 86'400, "d");
}

void print_status(const daemon::Status& status)
{
    const int64_t now = system_clock().wall_us() / us_per_second;
    std::printf("veredus %s is running: master pid %d, for %s%s\n", status.version.c_str(), static_cast<int>(status.pid), age(status.since, now).c_str(),
                status.unprivileged ? ", WITHOUT root (a trial)" : "");
    if (!status.last_reload_good) std::printf("the last reload failed: older settings are in force (see the log)\n");
    std::printf("%-14s %7s %-9s %6s %8s\n", "process", "pid", "state", "for", "restarts");
    for (const auto& p : status.processes) {
        const std::string name = cat(p.role, p.instance ? cat("/", p.instance) : "");
        std::printf("%-14s %7d %-9s %6s %8u", name.c_str(), static_cast<int>(p.pid), p.state.c_str(), p.pid ? age(p.since, now).c_str() : "-", p.restarts);
        if (p.restarts > 0 && !p.last_end.empty()) std::printf("  last: %s", p.last_end.c_str());
        std::printf("\n");
    }
}

// What qmgr says of the queue; silence when it does not answer (the table above shows why).
void print_queue(const std::string& run_directory)
{
    auto socket = ipc::connect_unix(run_directory + "/public");
    if (!socket) return;
    const ipc::Message question{static_cast<uint16_t>(ipc::QueueType::status), false, 1, 5000, "", {}};
    if (!ipc::send_blocking(socket->get(), question, 5000)) return;
    auto answer = ipc::recv_blocking(socket->get(), 5000);
    if (!answer || !*answer || !(*answer)->answer) return;
    for (const auto line : split((*answer)->body, "\n")) std::printf("queue: %s\n", printable(line).c_str());
}

}  // namespace

// Each is said by check, too, as an error; running without it is better than not at all.
void warn_of_passwd_files(const conf::Values& values)
{
    for (const std::string& source : values.list("passdb"))
        if (source.starts_with("file:") && ::access(source.c_str() + 5, F_OK) < 0 && errno == ENOENT)
            complain("warning: passdb: %s is not there (`veredus passwd USER` makes it): until then who may be in it cannot log in, and mail for him waits", source.c_str() + 5);
}

int start(const Common& common, int argc, char** argv)
{
    StartOptions options;
    if (!parse_start(argc, argv, options)) return usage("start", false);
    const auto values = load_settings_and_tables(common);
    if (!values) return EX_CONFIG;
    const Found found = find_master(std::string(values->text("run_directory")));
    if (found.status) return found.status;
    if (found.running.pid) {
        // LSB: start on a running service is a success; in the foreground it would be a lie.
        complain("already running: master pid %d", static_cast<int>(found.running.pid));
        return options.foreground ? EX_UNAVAILABLE : 0;
    }
    const auto certificates = look_at_certificates(*values, common.config_directory, false);    // the first start makes our own
    for (const auto* texts : {&certificates.errors, &certificates.warnings})
        for (const std::string& text : *texts) complain("warning: %s", text.c_str());
    if (const auto missing = client_tls_problems(*values); !missing.empty()) {
        for (const std::string& text : missing) complain("%s", text.c_str());
        complain("not started");
        return EX_CONFIG;
    }
    warn_of_passwd_files(*values);
    if (options.foreground) exec_master(master_arguments(common, options));
    return start_in_background(common, options);
}

int stop(const Common& common, int argc, char** argv)
{
    (void)argv;
    if (argc != 1) return usage("stop", false);
    const Found found = find_master(run_directory_of(common));
    if (found.status) return found.status;
    if (!found.running.pid) {
        complain("not running");
        return 0;    // LSB: stop on a stopped service is a success
    }
    const Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, found.running.pid, 0)));
    if (::kill(found.running.pid, SIGTERM) < 0) {
        complain("master pid %d: %s", static_cast<int>(found.running.pid), std::strerror(errno));
        return errno == EPERM ? EX_NOPERM : EX_OSERR;
    }
    // Three phases, each with its time-out and some grace (master(8)); with a broken main.cf nobody knows which time-out.
    const auto file = conf::File::load(common.config_directory);
    const int64_t phase = file.ok() ? file.values().seconds("stop_timeout") + 5 : 60;
    if (pidfd && wait_for_end(pidfd, 3 * phase)) return 0;
    complain("master pid %d does not end; the log knows more", static_cast<int>(found.running.pid));
    return EX_TEMPFAIL;
}

int restart(const Common& common, int argc, char** argv)
{
    StartOptions options;
    if (!parse_start(argc, argv, options)) return usage("restart", false);
    if (!load_settings_and_tables(common, true)) return EX_CONFIG;    // a stop that no start follows helps nobody
    char name[] = "stop";
    char* none[] = {name, nullptr};
    if (const int status = stop(common, 1, none); status != 0) return status;
    return start(common, argc, argv);
}

int reload(const Common& common, int argc, char** argv)
{
    (void)argv;
    if (argc != 1) return usage("reload", false);
    const auto values = load_settings_and_tables(common);
    if (!values) {
        complain("not reloaded: the settings in force are kept");
        return EX_CONFIG;
    }
    const Found found = find_master(std::string(values->text("run_directory")));
    if (found.status) return found.status;
    if (!found.running.pid) {
        complain("not running");
        return EX_UNAVAILABLE;
    }
    warn_of_passwd_files(*values);
    const std::string run_directory(values->text("run_directory"));
    const auto before = daemon::read_status(run_directory);
    if (::kill(found.running.pid, SIGHUP) < 0) {
        complain("master pid %d: %s", static_cast<int>(found.running.pid), std::strerror(errno));
        return errno == EPERM ? EX_NOPERM : EX_OSERR;
    }
    for (int i = 0; before && i < 200; ++i) {
        const auto now = daemon::read_status(run_directory);
        if (now && now->reloads != before->reloads) {
            if (now->last_reload_good) return 0;
            complain("the reload failed in part: see the log");
            return EX_CONFIG;
        }
        const timespec pause{0, 50'000'000};
        ::nanosleep(&pause, nullptr);
    }
    complain("master pid %d has not said yet that it reloaded; see the log", static_cast<int>(found.running.pid));
    return EX_TEMPFAIL;
}

int status(const Common& common, int argc, char** argv)
{
    bool quiet = false;
    ::optind = 1;
    for (int option; (option = ::getopt(argc, argv, "q")) != -1;) {
        if (option == '?') return usage("status", false);
        quiet = true;
    }
    if (::optind != argc) return usage("status", false);
    const std::string run_directory = run_directory_of(common);
    const auto running = daemon::find_running(run_directory);
    if (!running) {
        complain("%s", running.error().text.c_str());
        return lsb_unknown;
    }
    if (!running->pid) {
        if (!quiet) std::printf(running->stale_file ? "veredus is not running, but its master.pid is there: it died\n" : "veredus is not running\n");
        return running->stale_file ? lsb_dead : lsb_stopped;
    }
    if (quiet) return lsb_running;
    if (const auto known = daemon::read_status(run_directory))
        print_status(*known);
    else
        std::printf("veredus is running: master pid %d; %s\n", static_cast<int>(running->pid), known.error().text.c_str());
    print_queue(run_directory);
    return lsb_running;
}

}  // namespace veredus::admin

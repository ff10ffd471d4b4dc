// The life of processes: started with the table's rights, watched, restarted with back-off, stopped in order.
#include "master/supervisor.h"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>

#include "config.h"
#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::master {

using std::chrono::milliseconds;

namespace {
constexpr milliseconds hang_grace{5000};        // between SIGABRT and SIGKILL
constexpr milliseconds stop_grace{2000};        // beyond the role's own stop_timeout
constexpr milliseconds watchdog_interval{5000};  // at most: a short time-out is looked at more often
}  // namespace

Supervisor::Supervisor(Loop& loop, Options options, conf::Values values, LogTarget& log, Notifier& notifier, std::function<void(const std::string&)> started)
    : loop_(loop), options_(std::move(options)), values_(std::move(values)), policy_(daemon::WorkerPolicy::from(values_, options_.unprivileged, ::geteuid())), log_(log), notifier_(notifier), started_(std::move(started)),
      sessions_(loop, {[this](const std::string& user, auto done) { ask_resolver(ipc::UserType::resolve, user, std::move(done)); },
                       [this](const ipc::UserReply& user) { return policy_.check(user); },
                       [this](const std::string& zygote, const ipc::UserReply& user) { return order_process(zygote.c_str(), user); }}),
      control_socket_(loop, sessions_), watched_(loop, [this](const std::string& name) { file_changed(name); }), watchdog_(loop, [this] { check_hung(); }),
      phase_timer_(loop,
                   [this] {
                       for (auto& p : processes_)
                           if (p->pid && static_cast<int>(p->role->phase) <= phase_) {
                               log::warning("process ", p->path, " pid ", p->pid, " does not stop: killed");
                               ::kill(p->pid, SIGKILL);
                           }
                   }),
      notify_timer_(loop,
                    [this] {
                        notifier_.say("WATCHDOG=1");
                        notify_timer_.start(milliseconds(notifier_.watchdog_ms() / 2));
                    }),
      ticket_timer_(loop, [this] { turn_ticket_keys(); }), child_signal_(loop, SIGCHLD, [this] { children_ended(); })
{
    since_wall_ = system_clock().wall_us() / us_per_second;
}

Result<void> Supervisor::begin()
{
    allow_many_files();
    TRY(listeners_.apply(values_));
    TRY(control_socket_.open(std::string(values_.text("run_directory"))));
    watch_files();
    add_processes();
    start_phase();
    sessions_.set_patience(std::chrono::seconds(values_.seconds("watchdog_timeout")));
    watchdog_.start(watchdog_pause());
    ticket_timer_.start(ticket_turn);
    if (notifier_.watchdog_ms() > 0) notify_timer_.start(milliseconds(notifier_.watchdog_ms() / 2));
    return {};
}

// The other way round than the stop: whom others ask is there before they ask. Called again at each "ready".
void Supervisor::start_phase()
{
    for (const auto phase : {daemon::Phase::agents, daemon::Phase::queue, daemon::Phase::intake}) {
        bool waiting = false;
        for (auto& process : processes_) {
            if (process->role->phase != phase || !process->wanted) continue;
            if (process->state == Process::State::down) start(*process);
            if (failed_) return;
            waiting = waiting || process->state != Process::State::ready;
        }
        if (waiting) return;
    }
}

void Supervisor::add_processes()
{
    for (const daemon::Role& role : daemon::roles()) fill(role);
}

// As many as the settings ask for that serve: new ones are added, surplus ones are no longer wanted. Beside them are those of a login stage
// that have taken their client.
void Supervisor::fill(const daemon::Role& role)
{
    const uint32_t count = daemon::process_count(role, values_, daemon::usable_cores()), limit = daemon::process_limit(role, values_, count);
    uint32_t serving = 0, all = 0, instances = 0;
    for (auto& process : processes_) {
        if (process->role != &role) continue;
        ++instances;
        if (process->wanted && (count == 0 || (!process->taken && serving == count))) process->wanted = false;
        if (process->wanted && !process->taken) ++serving;
        if (process->wanted || process->pid) ++all;
    }
    // Who is on his way out comes back.
    for (auto& process : processes_) {
        if (process->role != &role || process->wanted || process->taken || serving == count || (all >= limit && !process->pid)) continue;
        process->wanted = true;
        if (!process->pid) ++all;
        ++serving;
    }
    const Backoff backoff(values_.seconds("restart_delay") * 1000, values_.seconds("restart_delay_max") * 1000);
    for (; serving < count && all < limit; ++serving, ++all) {
        processes_.push_back(std::make_unique<Process>(role, instances++, backoff));
        Process& process = *processes_.back();
        process.path = cat(options_.libexec, "/", role.program);
        process.restart_timer = std::make_unique<Timer>(loop_, [this, &process] { start(process); });
        process.kill_timer = std::make_unique<Timer>(loop_, [&process] {
            if (process.pid) ::kill(process.pid, SIGKILL);
        });
    }
}

void Supervisor::start_wanted(const daemon::Role& role)
{
    // By number: a start that fails may stop everything, but adds none.
    for (std::size_t i = 0; i < processes_.size(); ++i)
        if (processes_[i]->role == &role && processes_[i]->wanted && processes_[i]->state == Process::State::down && !processes_[i]->restart_timer->armed()) start(*processes_[i]);
}

Process* Supervisor::find(std::string_view role, uint32_t instance)
{
    for (auto& process : processes_)
        if (process->instance == instance && role == process->role->name) return process.get();
    return nullptr;
}

std::vector<std::string> Supervisor::environment() const
{
    // Nothing of the caller's but the time zone; a trial keeps its path, and the sanitizers' options.
    const char* path = options_.unprivileged ? std::getenv("PATH") : nullptr;
    std::vector<std::string> list = {cat("PATH=", path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
                                     cat("VEREDUS_CONFIG=", options_.config_directory)};
    for (const char* name : {"TZ", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS"})
        if (const char* value = std::getenv(name)) list.push_back(cat(name, "=", value));
    return list;
}

void Supervisor::start(Process& process)
{
    if (stopping_ || failed_ || !process.wanted || process.state != Process::State::down) return;
    Launch launch{process.path, {}, environment(), options_.foreground};
    if (process.role->option) launch.arguments.push_back(process.role->option);
    process.said.clear();
    process.stale = process.expected_end = process.ping_out = process.taken = process.retiring = process.entered = process.shed = false;
    process.entering = 0;
    process.since_us = loop_.now_us();
    process.since_wall = system_clock().wall_us() / us_per_second;
    auto spawned = spawn(launch);
    if (spawned) {
        process.pid = spawned->pid;
        process.state = Process::State::starting;
        if (auto done = introduce(process, std::move(spawned->control)); !done) {
            process.said = done.error().text;
            ::kill(process.pid, SIGKILL);    // its end is seen like any other
        }
    } else {
        process.last_end = spawned.error().text;
        log::warning("cannot start ", process.role->name, ": ", process.last_end);
        if (!running_) return start_failed(process.last_end);
        process.restart_timer->start(milliseconds(process.backoff.died(0, false)));
    }
    publish();
}

ipc::Hello Supervisor::hello_for(const Process& process) const
{
    const daemon::Role& role = *process.role;
    ipc::Hello hello;
    hello.role = role.name;
    hello.user = role.user;
    hello.group = role.group;
    hello.extra_groups = role.extra_groups;
    hello.jail = daemon::jail_path(role, values_);
    hello.instance = process.instance;
    hello.slot = role.slot + process.instance;
    hello.unprivileged = options_.unprivileged;
    hello.keep_privilege_gain = role.zygote;
    hello.config_directory = options_.config_directory;
    hello.queue_directory = std::string(values_.text("queue_directory"));
    hello.run_directory = std::string(values_.text("run_directory"));
    hello.log_ident = log_.settings().ident;
    hello.log_path = log_.settings().path;
    hello.log_target = static_cast<uint8_t>(log_.settings().target);
    hello.log_rfc3339 = log_.settings().rfc3339;
    return hello;
}

// All that a role gets before begin.
Result<void> Supervisor::introduce(Process& process, Fd control)
{
    process.settings = values_.serialize(process.role->who, process.role->zygote);
    process.control = std::make_unique<ipc::Channel>(
        loop_, std::move(control),
        ipc::Channel::User{[this, &process](Message m) { on_message(process, std::move(m)); },
                           [this, &process, pid = process.pid](const std::string& why) {
                               if (process.pid == pid && process.state != Process::State::stopping) hang_up(process, why);
                           }});
    ipc::Channel& channel = *process.control;
    const Fd memfd = TRY(sealed_memfd("settings", process.settings));
    std::vector<int> fds = {memfd.get()};
    if (log_.fd() >= 0) fds.push_back(log_.fd());
    const auto send = [&](ipc::Control type, std::string body, std::span<const int> with) { return channel.send(static_cast<uint16_t>(type), std::move(body), with); };
    ipc::Hello hello = hello_for(process);
    hello.quiet = begins_quietly(process);
    TRY(send(ipc::Control::hello, hello.encode(), fds));
    for (const Bound& bound : listeners_.all()) {
        if (bound.role != process.role) continue;
        const int fd = bound.fd.get();
        TRY(send(ipc::Control::listener, ipc::Listener{bound.name, bound.text}.encode(), {&fd, 1}));
    }
    if (process.role->tls()) TRY(send_ticket_keys(process));
    // Watched files are not sent here: before_jail opens them itself, and a change from now on queues behind begin.
    return send(ipc::Control::begin, "", {});
}

// The control channel ended but the process may not have: SIGCHLD usually follows at once, otherwise it is made to go.
void Supervisor::hang_up(Process& process, const std::string&)
{
    process.control.reset();
    if (process.role->name == std::string_view("resolver")) resolver_.reset();
    if (process.pid) kill_later(process, hang_grace);
}

void Supervisor::kill_later(Process& process, milliseconds delay)
{
    if (!process.kill_timer->armed()) process.kill_timer->start(delay);
}

void Supervisor::children_ended()
{
    int status = 0;
    for (pid_t pid; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;)
        for (auto& process : processes_)
            if (process->pid == pid) {
                ended(*process, status);
                break;
            }
}

// What it said on its way out may still lie in the channel: SIGCHLD is often faster.
static void drain_last_words(Process& process)
{
    if (!process.control) return;
    for (int i = 0; i < 100; ++i) {
        auto message = ipc::recv_blocking(process.control->fd(), 0);
        if (!message || !*message) return;
        const auto type = static_cast<ipc::Control>((*message)->type);
        if (type == ipc::Control::taken && !daemon::session_zygote(process.role->name).empty()) process.taken = true;
        if (type != ipc::Control::failed) continue;
        if (const auto status = ipc::Status::decode((*message)->body)) process.said = printable(status->text);
    }
}

void Supervisor::ended(Process& process, int wait_status)
{
    drain_last_words(process);
    const pid_t pid = std::exchange(process.pid, 0);
    const bool served = process.taken && WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;    // its client has gone
    const bool expected = process.expected_end || served || stopping_ || failed_;
    const bool was_ready = std::exchange(process.state, Process::State::down) == Process::State::ready;
    process.control.reset();
    process.kill_timer->stop();
    if (process.role->name == std::string_view("resolver")) resolver_.reset();
    sessions_.process_ended(process.role->name, process.instance);
    process.last_end = process.said.empty() ? describe_end(wait_status) : process.said;
    const bool told_to_go = expected && WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGTERM;    // before it could listen for that
    if (!expected || (WIFSIGNALED(wait_status) && !told_to_go)) log::warning("process ", process.path, " pid ", pid, " ", describe_end(wait_status));
    publish();
    if (stopping_ || failed_) return stop_phase();
    if (served) process.backoff.did_its_work();
    if (process.taken) return taker_ended(process);
    if (!running_) return start_failed(process.said.empty() ? cat(process.role->name, ": ", describe_end(wait_status)) : cat(process.role->name, ": ", process.said));
    if (!process.wanted) return;
    if (process.expected_end) return start(process);
    ++process.restarts;
    const int64_t wait = process.backoff.died((loop_.now_us() - process.since_us) / 1000, was_ready);
    if (wait > 0) log::warning(process.path, ": bad command startup -- throttling");
    process.restart_timer->start(milliseconds(wait));
}

void Supervisor::start_failed(const std::string& why)
{
    if (failed_) return;
    failed_ = true;
    failure_ = why;
    log::error("start failed: ", why);
    loop_.defer([this] {
        started_(failure_);
        stop_phase();
    });
}

void Supervisor::became_ready(Process& process)
{
    if (process.state != Process::State::starting) return;
    process.state = Process::State::ready;
    publish();
    if (process.role->name == std::string_view("resolver")) meet_resolver(process);
    if (process.stale) {
        process.stale = false;
        if (process.role->zygote)
            recycle_zygote(process);
        else
            tell_settings(process);
    }
    if (process.role->zygote && process.state == Process::State::ready) sessions_.zygote_ready(process.role->name);
    const bool all = std::all_of(processes_.begin(), processes_.end(), [](const auto& p) { return !p->wanted || p->state == Process::State::ready; });
    if (running_ || failed_ || stopping_) return;
    if (!all) return start_phase();
    running_ = true;
    log::info("daemon started -- version " VEREDUS_VERSION ", configuration ", options_.config_directory);
    notifier_.say(cat("READY=1\nMAINPID=", ::getpid(), "\nSTATUS=running"));
    started_("");
}

milliseconds Supervisor::watchdog_pause() const
{
    const milliseconds quarter(values_.seconds("watchdog_timeout") * 250);
    return quarter.count() == 0 ? watchdog_interval : std::min(quarter, watchdog_interval);
}

// Every role answers a ping; one that does not is stuck, and a core of SIGABRT (where cores are allowed) says in what.
void Supervisor::check_hung()
{
    const int64_t limit_us = values_.seconds("watchdog_timeout") * us_per_second;
    const int64_t start_limit_us = values_.seconds("start_timeout") * us_per_second;
    for (auto& p : processes_) {
        Process& process = *p;
        if (process.state == Process::State::starting && loop_.now_us() - process.since_us > start_limit_us && !process.kill_timer->armed()) {
            log::warning("process ", process.path, " pid ", process.pid, " is not ready after ", start_limit_us / us_per_second, " seconds: killed");
            ::kill(process.pid, SIGABRT);
            kill_later(process, hang_grace);
        }
        if (limit_us == 0 || process.state != Process::State::ready || process.role->zygote || process.ping_out || !process.control) continue;
        process.ping_out = true;
        process.control->call(static_cast<uint16_t>(ipc::Control::ping), "", {}, milliseconds(limit_us / 1000), [this, &process, pid = process.pid](Result<Message> pong) {
            if (process.pid != pid) return;
            process.ping_out = false;
            if (pong || pong.error().code != ETIMEDOUT || process.state != Process::State::ready) return;
            log::warning("process ", process.path, " pid ", pid, " does not answer: killed");
            ::kill(pid, SIGABRT);
            kill_later(process, hang_grace);
        });
    }
    if (log_.moved()) {
        if (auto renewed = log_.renew())
            hand_log();
        else
            log::warning(renewed.error().text);
    }
    watchdog_.start(watchdog_pause());
}

void Supervisor::stop(int signal)
{
    if (stopping_) {    // asked twice: now
        for (auto& p : processes_)
            if (p->pid) ::kill(p->pid, SIGKILL);
        return;
    }
    stopping_ = true;
    full_.clear();
    sessions_.stop();
    log::info("terminating on signal ", signal);
    notifier_.say("STOPPING=1\nSTATUS=stopping");
    phase_ = 0;
    stop_phase();
}

// Intake first, then qmgr, then the agents that it was waiting for. Called again at each end of a process.
void Supervisor::stop_phase()
{
    for (; phase_ <= static_cast<int>(daemon::Phase::agents); ++phase_) {
        bool alive = false;
        for (auto& p : processes_) {
            if (static_cast<int>(p->role->phase) != phase_ || p->pid == 0) continue;
            alive = true;
            if (p->state == Process::State::stopping) continue;
            p->state = Process::State::stopping;
            p->expected_end = true;
            if (p->role->zygote || !p->control || !p->control->send(static_cast<uint16_t>(ipc::Control::stop), "")) ::kill(p->pid, SIGTERM);
            phase_timer_.start(std::chrono::seconds(values_.seconds("stop_timeout")) + stop_grace);
        }
        if (alive) return publish();
    }
    phase_timer_.stop();
    loop_.stop();
}

void Supervisor::publish()
{
    if (publish_soon_) return;
    publish_soon_ = true;
    loop_.defer([this] {
        publish_soon_ = false;
        daemon::Status status;
        status.version = VEREDUS_VERSION;
        status.pid = ::getpid();
        status.since = since_wall_;
        status.reloads = reloads_;
        status.last_reload_good = last_reload_good_;
        status.unprivileged = options_.unprivileged;
        for (const auto& p : processes_)
            if (p->wanted || p->pid) status.processes.push_back({p->role->name, p->state_name(), p->instance, p->pid, p->since_wall, p->restarts, p->last_end});
        if (auto written = daemon::write_status(std::string(values_.text("run_directory")), status); !written) log::warning(written.error().text);
    });
}

}  // namespace veredus::master

// Reload: new settings without dropping a session, and files that changed outside the jails.
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "config.h"
#include "lib/base/text.h"
#include "lib/conf/values.h"
#include "lib/daemon/client_files.h"
#include "lib/daemon/table_files.h"
#include "lib/daemon/tls_files.h"
#include "lib/log/log.h"
#include "lib/reception/check.h"
#include "master/supervisor.h"

namespace veredus::master {

using std::chrono::milliseconds;

namespace {

// What cannot change under running processes: their jails, their sockets, the lock.
constexpr const char* fixed[] = {"queue_directory", "run_directory", "mail_spool_directory"};

}  // namespace

void Supervisor::reload()
{
    if (stopping_ || failed_ || !running_) return;
    log::info("reload -- version " VEREDUS_VERSION ", configuration ", options_.config_directory);
    notifier_.reloading();
    const auto file = conf::File::load(options_.config_directory);
    for (const conf::Diagnostic& diagnostic : file.diagnostics()) log::write(diagnostic.error ? log::Level::error : log::Level::warning, cat(diagnostic.file, ':', diagnostic.line, ": ", diagnostic.text));
    last_reload_good_ = file.ok();
    if (file.ok())
        for (const conf::Diagnostic& diagnostic : reception::check_restrictions(file)) {
            log::write(diagnostic.error ? log::Level::error : log::Level::warning, cat(diagnostic.file, ':', diagnostic.line, ": ", diagnostic.text));
            last_reload_good_ = last_reload_good_ && !diagnostic.error;
        }
    if (last_reload_good_)
        apply(file.values());
    else
        log::error("the configuration has errors: the settings in force are kept");
    ++reloads_;
    publish();
    notifier_.say("READY=1\nSTATUS=running");
}

void Supervisor::apply(conf::Values values)
{
    for (const char* name : fixed) {
        if (values.text(name) == values_.text(name)) continue;
        log::error(name, " cannot change while the mail system runs: `veredus restart` is needed; the settings in force are kept");
        last_reload_good_ = false;
        return;
    }
    values_ = std::move(values);
    policy_ = daemon::WorkerPolicy::from(values_, options_.unprivileged, ::geteuid());
    sessions_.set_patience(std::chrono::seconds(values_.seconds("watchdog_timeout")));
    renew_log();
    aloud_us_.clear();
    watch_files();
    apply_listeners();
    add_processes();
    for (auto& process : processes_) {
        if (!process->wanted && process->pid && process->state != Process::State::stopping) {
            process->state = Process::State::stopping;
            process->expected_end = true;
            if (process->control) (void)process->control->send(static_cast<uint16_t>(ipc::Control::stop), "");
            kill_later(*process, std::chrono::seconds(values_.seconds("stop_timeout")) + milliseconds(2000));
            continue;
        }
        if (process->state == Process::State::starting) process->stale = true;
        if (process->state == Process::State::down && process->wanted && !process->restart_timer->armed()) start(*process);
        if (process->state != Process::State::ready) continue;
        if (process->role->zygote)
            recycle_zygote(*process);
        else
            tell_settings(*process);
    }
    for (const daemon::Role& role : daemon::roles())
        if (!daemon::session_zygote(role.name).empty()) watch_for_more(role);
    hand_log();
}

// The same kind of log, opened anew: after a rotation, or at another path.
void Supervisor::renew_log()
{
    auto target = LogTarget::open(values_, options_.foreground);
    if (!target) return log::warning(target.error().text, ": the log goes where it went");
    const log::Settings &now = log_.settings(), &then = target->settings();
    if (now.target != then.target || now.ident != then.ident)
        return log::warning("syslog_name, and whether the log is a file, change with `veredus restart`: the log goes where it went");
    log_ = std::move(*target);
    if (auto started = log_.start("master"); !started) log::warning(started.error().text);
}

void Supervisor::apply_listeners()
{
    full_.clear();    // they may be closed
    auto change = listeners_.apply(values_);
    if (!change) {
        log::error(change.error().text, ": the listeners stay as they are (when it is veredus itself that has the port, `veredus restart` helps)");
        last_reload_good_ = false;
        return;
    }
    for (auto& process : processes_) {
        if (!process->control) continue;
        for (const auto& [role, text] : change->removed)
            if (role == process->role) (void)process->control->send(static_cast<uint16_t>(ipc::Control::unlisten), ipc::Listener{role->name, text}.encode());
        for (const std::size_t i : change->added) {
            const Bound& bound = listeners_.all()[i];
            const int fd = bound.fd.get();
            // One that has its client is to meet no other.
            if (bound.role == process->role && !process->taken) (void)process->control->send(static_cast<uint16_t>(ipc::Control::listener), ipc::Listener{bound.name, bound.text}.encode(), {&fd, 1});
        }
    }
}

void Supervisor::tell_settings(Process& process)
{
    std::string settings = values_.serialize(process.role->who, process.role->zygote);
    if (settings == process.settings) return;
    auto memfd = sealed_memfd("settings", settings);
    if (!memfd) {
        log::warning(process.role->name, ": ", memfd.error().text);
        return;
    }
    const int fd = memfd->get();
    process.control->call(static_cast<uint16_t>(ipc::Control::settings), "", {&fd, 1}, milliseconds(60'000),
                          [this, &process, pid = process.pid, settings = std::move(settings)](Result<Message> reply) {
                              if (process.pid != pid) return;
                              // Of a process for each client some end at any moment; who follows begins with these.
                              const bool may_end = !daemon::session_zygote(process.role->name).empty();
                              if (may_end && !reply && reply.error().code != ETIMEDOUT) return;
                              const auto status = reply ? ipc::Status::decode(reply->body) : Result<ipc::Status>(unexpected(reply.error()));
                              if (status && status->code == ipc::Code::ok) {
                                  process.settings = settings;
                                  return;
                              }
                              last_reload_good_ = false;
                              log::warning(process.role->name, " pid ", pid, " keeps its old settings: ", printable(status ? status->text : status.error().text));
                              publish();
                          });
    // A passwd-file that is new in passdb follows its setting, and so does a certificate; resolv.conf is sent when it changes.
    for (const std::string& name : files_of(*process.role))
        if (name.starts_with("passdb:") || name.starts_with("tls:") || name.starts_with(daemon::client_file_mark) ||
            name.starts_with(daemon::table_file_mark))
            send_file(process, name);
}

void Supervisor::send_file(Process& process, const std::string& name)
{
    auto file = watched_.open(name);
    if (!file) return log::warning(file.error().text);
    const int fd = file->get();
    (void)process.control->send(static_cast<uint16_t>(ipc::Control::file), ipc::File{name}.encode(), {&fd, 1});
}

// Children share the zygote's memory: new settings (or a new log file) mean a new zygote. Its children go on.
void Supervisor::recycle_zygote(Process& process)
{
    const bool same = values_.serialize(process.role->who, true) == process.settings && log_.settings().target != log::Target::file;
    if (same) return;
    process.state = Process::State::stopping;
    process.expected_end = true;
    ::kill(process.pid, SIGTERM);
    kill_later(process, milliseconds(5000));
}

void Supervisor::hand_log()
{
    const int fd = log_.fd();
    if (fd < 0) return;
    for (auto& process : processes_) {
        if (!process->control || process->role->zygote) continue;
        (void)process->control->send(static_cast<uint16_t>(ipc::Control::log_file), "", {&fd, 1});
    }
}

// "passdb" of the role table stands for every file: that the setting names, "tls" for every file of ROLE_tls_…, "tables" for the
// files behind its lookup tables.
std::vector<std::string> Supervisor::files_of(const daemon::Role& role) const
{
    std::vector<std::string> list;
    const auto tls = tls_files_.find(role.name);
    for (const std::string& name : watched_.names()) {
        if (name.starts_with("tls:")) {
            if (tls != tls_files_.end() && tls->second.contains(name)) list.push_back(name);
            continue;
        }
        if (name.starts_with(daemon::table_file_mark)) {
            const auto tables = table_files_.find(role.name);
            if (tables != table_files_.end() && tables->second.contains(name.substr(daemon::table_file_mark.size()))) list.push_back(name);
            continue;
        }
        const std::string_view kind = name.starts_with("passdb:") ? "passdb" : name.starts_with(daemon::client_file_mark) ? "client" : std::string_view(name);
        for (const auto word : split(role.files, " "))
            if (word == kind) list.push_back(name);
    }
    return list;
}

void Supervisor::watch_files()
{
    std::vector<std::pair<std::string, std::string>> files = {{"resolv.conf", "/etc/resolv.conf"}};
    for (const std::string& source : values_.list("passdb"))
        if (source.starts_with("file:")) files.emplace_back(cat("passdb:", source.substr(5)), source.substr(5));
    for (const std::string& path : daemon::client_files(values_)) files.emplace_back(cat(daemon::client_file_mark, path), path);
    tls_files_.clear();
    std::set<std::string> paths;
    for (const daemon::Role& role : daemon::roles()) {
        if (!role.tls()) continue;
        for (const std::string& path : daemon::tls_files(values_, role.name, options_.config_directory, daemon::read_tls_file).all()) {
            tls_files_[role.name].insert(cat("tls:", path));
            paths.insert(path);
        }
    }
    for (const std::string& path : paths) files.emplace_back(cat("tls:", path), path);
    table_files_.clear();
    std::set<std::string> tables;
    for (const daemon::Role& role : daemon::roles()) {
        if (!role.tables()) continue;
        table_files_[role.name] = daemon::table_files(values_, role.who);
        tables.insert(table_files_[role.name].begin(), table_files_[role.name].end());
    }
    for (const std::string& path : tables) files.emplace_back(cat(daemon::table_file_mark, path), path);
    watched_.set(std::move(files));
}

void Supervisor::file_changed(const std::string& name)
{
    // A table of names may name other files now. The list is made anew when nobody is walking along it.
    if (name.starts_with("tls:")) {
        if (!std::exchange(tls_changed_, true)) loop_.defer([this] { tls_changed(); });
        return;
    }
    for (auto& process : processes_) {
        if (!process->control || process->role->zygote) continue;
        const auto names = files_of(*process->role);
        if (std::find(names.begin(), names.end(), name) == names.end()) continue;
        send_file(*process, name);
    }
}

void Supervisor::tls_changed()
{
    tls_changed_ = false;
    aloud_us_.clear();
    watch_files();
    for (auto& process : processes_) {
        if (!process->control || !process->role->tls()) continue;
        for (const std::string& name : files_of(*process->role))
            if (name.starts_with("tls:")) send_file(*process, name);
    }
}

Result<void> Supervisor::send_ticket_keys(Process& process)
{
    const Fd memfd = TRY(sealed_memfd("ticket-keys", ticket_keys_[process.role->name].ring()));
    const int fd = memfd.get();
    return process.control->send(static_cast<uint16_t>(ipc::Control::file), ipc::File{"ticket-keys"}.encode(), {&fd, 1});
}

void Supervisor::turn_ticket_keys()
{
    ticket_timer_.start(ticket_turn);
    for (auto& [role, keys] : ticket_keys_) keys.rotate();
    for (auto& process : processes_) {
        if (!process->control || !process->role->tls()) continue;
        if (auto sent = send_ticket_keys(*process); !sent) log::warning(process->role->name, ": ", sent.error().text);
    }
}

}  // namespace veredus::master

// The supervisor: keeps every role of the table running with the settings in force, and brokers who talks to whom.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "lib/conf/values.h"
#include "lib/daemon/instance.h"
#include "lib/daemon/worker_policy.h"
#include "lib/ipc/control.h"
#include "lib/ipc/user.h"
#include "lib/loop/loop.h"
#include "master/listeners.h"
#include "master/log_target.h"
#include "master/notify.h"
#include "master/control_socket.h"
#include "master/process.h"
#include "master/sessions.h"
#include "master/ticket_keys.h"
#include "master/watched.h"

namespace veredus::master {

struct Options {
    std::string config_directory;
    std::string libexec;
    bool foreground = false;
    bool unprivileged = false;
};

constexpr std::chrono::minutes ticket_turn{60};    // also how long a ticket is good: it is opened with the key before, too

class Supervisor {
public:
    // `started` is called once: with nothing when all roles are ready, or with the reason why the start failed (the
    // roles are stopped then, and run() of the loop ends).
    Supervisor(Loop& loop, Options options, conf::Values values, LogTarget& log, Notifier& notifier, std::function<void(const std::string& why)> started);
    Result<void> begin();
    void reload();
    void stop(int signal);
    bool failed() const { return failed_; }

private:
    using Message = ipc::Message;
    // Life of processes (supervisor.cc)
    void start_phase();
    void add_processes();
    void fill(const daemon::Role& role);
    void start_wanted(const daemon::Role& role);
    void start(Process& process);
    Result<void> introduce(Process& process, Fd control);
    void children_ended();
    void ended(Process& process, int wait_status);
    void start_failed(const std::string& why);
    void became_ready(Process& process);
    void hang_up(Process& process, const std::string& why);
    void kill_later(Process& process, std::chrono::milliseconds delay);
    void stop_phase();
    std::chrono::milliseconds watchdog_pause() const;
    void check_hung();
    void publish();
    ipc::Hello hello_for(const Process& process) const;
    std::vector<std::string> environment() const;
    Process* find(std::string_view role, uint32_t instance);

    // Messages of roles (broker.cc)
    void on_message(Process& from, Message message);
    void answer(Process& to, uint32_t request, ipc::Control type, ipc::Code code, const std::string& text, int fd = -1);
    void give_socket(Process& asker, uint32_t request, const std::string& endpoint);
    void give_neighbour(Process& asker, const Message& message);
    void give_unix_socket(Process& asker, const Message& message);
    void give_worker(Process& asker, const Message& message);
    void worker_resolved(const std::string& role, uint32_t instance, pid_t pid, uint32_t request, const ipc::Worker& wish, const Result<ipc::UserReply>& found);
    Result<Fd> order_process(const char* zygote, const ipc::UserReply& user);
    void ask_resolver(ipc::UserType type, const std::string& user, std::function<void(Result<ipc::UserReply>)> done);
    // Of processes of a login stage that take no more clients (takers.cc)
    void has_taken(Process& process);
    void may_retire(Process& process, const Message& message);
    bool begins_quietly(const Process& process);
    void enter_begins(Process& process);
    void enter_answered(Process& process, bool in);
    void taker_ended(Process& process);
    void fill_up(const daemon::Role& role);
    void watch_for_more(const daemon::Role& role);
    void make_room(const daemon::Role& role);
    void take_ticket(Process& from, const Message& message);
    void let_enter(Process& from, Message& message);
    void meet_resolver(Process& resolver);

    // Reload (reload.cc)
    void apply(conf::Values values);
    void renew_log();
    void apply_listeners();
    void tell_settings(Process& process);
    void recycle_zygote(Process& process);
    void hand_log();
    void watch_files();
    void send_file(Process& process, const std::string& name);
    void file_changed(const std::string& name);
    std::vector<std::string> files_of(const daemon::Role& role) const;
    void tls_changed();
    Result<void> send_ticket_keys(Process& process);
    void turn_ticket_keys();

    Loop& loop_;
    Options options_;
    conf::Values values_;
    daemon::WorkerPolicy policy_;
    LogTarget& log_;
    Notifier& notifier_;
    std::function<void(const std::string&)> started_;
    bool running_ = false, failed_ = false, stopping_ = false, publish_soon_ = false;
    std::string failure_;
    int phase_ = 0;
    int64_t since_wall_ = 0;
    uint32_t reloads_ = 0;
    bool last_reload_good_ = true;
    Listeners listeners_;
    Sessions sessions_;
    ControlSocket control_socket_;
    Watched watched_;
    std::vector<std::unique_ptr<Process>> processes_;
    std::unique_ptr<ipc::Channel> resolver_;
    std::map<std::string, std::set<std::string>, std::less<>> tls_files_;     // role -> names in watched_
    std::map<std::string, std::set<std::string>, std::less<>> table_files_;   // role -> paths behind its tables
    std::map<std::string, TicketKeys, std::less<>> ticket_keys_;              // role -> its ring
    std::map<std::string, std::vector<std::unique_ptr<Watch>>, std::less<>> full_;    // role -> its listeners, while nobody accepts there
    int64_t full_said_us_ = 0;
    std::map<std::string, int64_t, std::less<>> aloud_us_;    // login stage -> when a process of it began that says what all see
    bool tls_changed_ = false;
    Timer watchdog_, phase_timer_, notify_timer_, ticket_timer_;
    Signal child_signal_;
};

}  // namespace veredus::master

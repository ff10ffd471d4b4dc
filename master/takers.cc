// Processes of a login stage that have taken their client (login_process_per_connection), or as many as they shall (login_max_use): others
// take their place, up to a limit, and then whoever has not logged in has to make room.
#include "lib/base/clock.h"
#include "lib/log/log.h"
#include "master/supervisor.h"

namespace veredus::master {

namespace {
constexpr std::chrono::milliseconds leave_grace{5000};
constexpr int64_t say_again_us = 10 * us_per_second;
constexpr int64_t day_us = 24 * 3600 * us_per_second;
} // namespace

void Supervisor::has_taken(Process& process)
{
    if (daemon::session_zygote(process.role->name).empty()) {
        log::warning(process.role->name, " pid ", process.pid, ": its clients are not for it to count");
        return;
    }
    if (process.taken || process.state != Process::State::ready) return;
    process.taken = true;
    process.retiring = false;
    process.taken_us = loop_.now_us();
    fill_up(*process.role);
}

// Never two at once, so that those who knock do not wait for both; nor where no other one could come.
void Supervisor::may_retire(Process& process, const Message& message)
{
    const daemon::Role& role = *process.role;
    const auto say = [&](ipc::Code code, const std::string& text) { answer(process, message.request, ipc::Control::worn, code, text); };
    if (daemon::session_zygote(role.name).empty()) return say(ipc::Code::refused, "not for this role");
    const uint32_t count = daemon::process_count(role, values_, daemon::usable_cores()), limit = daemon::process_limit(role, values_, count);
    uint32_t all = 0;
    for (const auto& other : processes_) {
        if (other->role != &role || !(other->wanted || other->pid)) continue;
        ++all;
        const bool settled = other->taken || !other->wanted || (other->state == Process::State::ready && !other->retiring);
        if (!settled && other.get() != &process) return say(ipc::Code::unavailable, "another one is about to start");
    }
    if (all >= limit) return say(ipc::Code::unavailable, "login_process_limit reached");
    process.retiring = true;
    say(ipc::Code::ok, "");
}

// What all of them see when they start, as how long a certificate is good, the first one of them says: and one of them again after
// a day, a reload, or a change of the certificates.
bool Supervisor::begins_quietly(const Process& process)
{
    if (process.instance != 0 || daemon::session_zygote(process.role->name).empty()) return false;
    const int64_t now = loop_.now_us();
    const auto [last, first] = aloud_us_.try_emplace(process.role->name, now);
    if (!first && now - last->second < day_us) return true;
    last->second = now;
    return false;
}

// Who has given a password is not cut off on his way in; had that been asked for in the same moment, somebody else goes.
void Supervisor::enter_begins(Process& process)
{
    ++process.entering;
    if (!std::exchange(process.shed, false)) return;
    process.kill_timer->stop();
    watch_for_more(*process.role);
}

void Supervisor::enter_answered(Process& process, bool in)
{
    --process.entering;
    process.entered = process.entered || in;
    if (process.taken) watch_for_more(*process.role);
}

// Its place is free.
void Supervisor::taker_ended(Process& process)
{
    process.taken = process.wanted = false;
    fill_up(*process.role);
}

void Supervisor::fill_up(const daemon::Role& role)
{
    fill(role);
    if (running_)
        start_wanted(role);
    else
        start_phase();
    watch_for_more(role);
}

// While there is no process that accepts, somebody who knocks has one without a login sent away.
void Supervisor::watch_for_more(const daemon::Role& role)
{
    auto& watches = full_[role.name];
    watches.clear();
    if (stopping_ || failed_) return;
    for (const auto& process : processes_)
        if (process->role == &role && process->wanted && !process->taken) return;
    for (const Bound& bound : listeners_.all())
        if (bound.role == &role)
            watches.push_back(
                std::make_unique<Watch>(loop_, bound.fd.get(), readable, [this, &role](unsigned) { make_room(role); }));
}

// Who came first of them has had the longest time for his login. Looked at again when a process has ended, and when one was
// told whether its client is in.
void Supervisor::make_room(const daemon::Role& role)
{
    full_[role.name].clear();
    Process* first = nullptr;
    for (auto& process : processes_)
        if (process->role == &role && process->taken && !process->entered && process->entering == 0 && process->state == Process::State::ready &&
            process->control && (!first || process->taken_us < first->taken_us))
            first = process.get();
    const int64_t now = loop_.now_us();
    if (full_said_us_ == 0 || now - full_said_us_ > say_again_us) {
        full_said_us_ = now;
        log::warning("login_process_limit (", values_.number("login_process_limit"), ") of ", role.name, " reached: ",
                     first ? "who came first and has not logged in is sent away"
                           : "all have logged in, and others wait");
    }
    if (!first || first->shed) return;
    first->shed = true;
    (void)first->control->send(static_cast<uint16_t>(ipc::Control::make_room), "");
    kill_later(*first, leave_grace);
}

} // namespace veredus::master

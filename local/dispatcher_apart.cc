// Mailboxes of an account that keeps those of many users: one whose process died, hangs, or may wait for a lock, does so alone.
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "local/dispatcher.h"
#include "local/dispatcher_parts.h"

namespace veredus::local {

using ipc::Outcome;
using ipc::Target;
using std::chrono::milliseconds;

namespace {

constexpr std::size_t most_stains = 10'000;          // of one account
// Processes of one account for mailboxes that stand apart, while they are heard of.
std::size_t most_at_once(std::size_t workers) { return std::clamp<std::size_t>(workers / 16, 1, 8); }
constexpr std::size_t stuck_for_each = 4;            // as many times that with those that say nothing, also those given up that are still there
constexpr const char* too_many_silent = "too many mailboxes of this account do not answer";
constexpr milliseconds between_looks{1'000};
constexpr int64_t longest_hold_us = 3600 * us_per_second;

}  // namespace

// It has work and has said nothing for long: its disk may stand still.
bool Dispatcher::is_stuck(const Lane& lane) const
{
    return lane.state == Lane::State::running && !lane.sent.empty() && system_clock().mono_us() - lane.heard_us > rules_.slow.count() * 1000;
}

// The mailboxes that a process has to do with are suspects; gives their paths.
std::set<std::string> Dispatcher::stain_all(const Lane& lane)
{
    std::set<std::string> paths;
    for (const uint64_t number : lane.sent)
        if (const auto job = jobs_.find(number); job != jobs_.end())
            for (const auto& [index, target] : job->second.open)
                if (is_placed(target)) paths.insert(target.run_as);
    if (paths.empty()) return paths;
    Apart& apart = apart_[lane.user];
    for (const std::string& path : paths) {
        if (apart.stains.size() >= most_stains && !apart.stains.contains(path)) break;
        Apart::Stain& stain = apart.stains[path];
        stain.alone = stain.alone || paths.size() == 1;
    }
    return paths;
}

bool Dispatcher::stands_apart(const std::string& user, const Target& target) const
{
    if (!is_placed(target)) return false;
    if (!target.run_as.ends_with('/')) return true;    // an mbox: somebody else may have its lock
    const auto apart = apart_.find(user);
    return apart != apart_.end() && apart->second.stains.contains(target.run_as);
}

// A job with one recipient, for a process that serves his mailbox and no other.
void Dispatcher::set_apart(Job job)
{
    const auto [index, target] = *job.open.begin();
    const std::string user = job.who.user;
    const auto defer = [&](const char* text) {
        finish(job.flight, index, verdict(Outcome::deferred, "4.3.0", text), job.handed_us);
        tidy_apart(user);
    };
    Apart& apart = apart_[user];
    const std::string key = cat(user, "/apart", target.run_as, '/', age_);
    auto lane = lanes_.find(key);
    if (const auto stain = apart.stains.find(target.run_as); stain != apart.stains.end() && lane == lanes_.end())
        if (stain->second.lost && system_clock().mono_us() < stain->second.until_us) return defer("a delivery process of this mailbox does not answer, and is still there");
    if (lane == lanes_.end() && is_one_too_many(user, apart, target.run_as)) return defer(too_many_silent);
    if (lane == lanes_.end()) {
        make_lane(key, user, false).path = target.run_as;
        lane = lanes_.find(key);
        apart.waiting.push_back(key);
    }
    const uint64_t number = ++last_number_;
    jobs_[number] = std::move(job);
    lane->second->waiting.push_back(number);
    lane->second->idle.stop();
    if (lane->second->state == Lane::State::running) return send_waiting(*lane->second);
    if (lane->second->state == Lane::State::waiting) start_apart(user);
}

void Dispatcher::set_apart_each(Job job)
{
    for (const auto& [index, target] : job.open) {
        Job one;
        one.flight = job.flight;
        one.who = job.who;
        if (one.who.by == ipc::Worker::By::table && !one.who.of.empty()) one.who.of = target.address;
        one.survived_one = job.survived_one;
        one.missed_us = job.missed_us;
        one.open.emplace(index, target);
        set_apart(std::move(one));
    }
}

std::size_t Dispatcher::stuck_apart(const Apart& apart) const
{
    return static_cast<std::size_t>(std::count_if(apart.lanes.begin(), apart.lanes.end(), [&](const std::string& key) {
        const auto lane = lanes_.find(key);
        return lane != lanes_.end() && is_stuck(*lane->second);
    }));
}

std::size_t Dispatcher::held_apart(const std::string& user) const
{
    return static_cast<std::size_t>(std::count_if(held_.begin(), held_.end(), [&](const auto& held) { return held.second.first == user; }));
}

// Each more on a disk that stands still costs a process that stays. What is not known to hang may have the second half.
bool Dispatcher::is_one_too_many(const std::string& user, const Apart& apart, const std::string& path) const
{
    const std::size_t most = most_at_once(rules_.workers) * stuck_for_each;
    return stuck_apart(apart) + held_apart(user) >= (apart.stains.contains(path) ? most / 2 : most);
}

// For one process more; an idle one makes room. One that says nothing does not count among the few: it holds up its own mailbox alone.
bool Dispatcher::room_apart(const std::string& user, const Apart& apart)
{
    const std::size_t most = most_at_once(rules_.workers);
    std::size_t busy = 0;
    auto idle = lanes_.end();
    for (const std::string& key : apart.lanes) {
        const auto lane = lanes_.find(key);
        if (lane == lanes_.end()) continue;
        if (lane->second->state == Lane::State::running && lane->second->load() == 0) idle = lane;
        else if (!is_stuck(*lane->second)) ++busy;
    }
    if (busy >= most) return false;
    if (apart.lanes.size() + held_apart(user) < most * stuck_for_each) return true;
    if (idle == lanes_.end()) return false;
    end_lane(idle);
    return true;
}

// As many as may run. (Each start may end what is asked for here: nothing is kept over it.)
void Dispatcher::start_apart(const std::string& user)
{
    for (;;) {
        const auto found = apart_.find(user);
        if (found == apart_.end() || found->second.waiting.empty()) break;
        Apart& apart = found->second;
        const std::string key = apart.waiting.front();
        const auto lane = lanes_.find(key);
        if (lane == lanes_.end() || lane->second->state != Lane::State::waiting || lane->second->load() == 0) {
            apart.waiting.pop_front();
            if (lane != lanes_.end() && lane->second->state == Lane::State::waiting) end_lane(lane);
            continue;
        }
        if (is_one_too_many(user, apart, lane->second->path)) {
            apart.waiting.pop_front();
            const std::deque<uint64_t> jobs = std::move(lane->second->waiting);
            end_lane(lane);
            for (const uint64_t job : jobs) refuse(job, Outcome::deferred, "4.3.0", too_many_silent);
            continue;
        }
        if (!room_apart(user, apart) || (processes_ >= rules_.workers && !make_room())) {
            if (!apart_timer_->armed()) apart_timer_->start(between_looks);
            return;
        }
        apart.waiting.pop_front();
        apart.lanes.insert(key);
        start(*lane->second);
    }
    tidy_apart(user);
}

void Dispatcher::start_all_apart()
{
    apart_timer_->stop();
    std::vector<std::string> users;
    for (const auto& [user, apart] : apart_)
        if (!apart.waiting.empty()) users.push_back(user);
    for (const std::string& user : users) start_apart(user);
}

// On a disk that stands still its process cannot even be killed: each that is tried beside it would stay, too, and deliver once more in the end.
// What is closed is only the way to it: its parent kills it, and the end of the way back tells that it has gone.
void Dispatcher::hold(const Lane& lane, std::unique_ptr<ipc::Channel> channel)
{
    const auto apart = apart_.find(lane.user);
    if (apart == apart_.end()) return;
    const auto stain = apart->second.stains.find(lane.path);
    if (stain == apart->second.stains.end() || !channel) return;
    (void)::shutdown(channel->fd(), SHUT_WR);
    held_.erase(stain->second.life);
    stain->second.life = lane.life;
    stain->second.lost = std::move(channel);
    stain->second.until_us = system_clock().mono_us() + longest_hold_us;
    held_[lane.life] = {lane.user, lane.path};
}

// It ended, or said something, too late to count.
void Dispatcher::came_back(uint64_t life)
{
    if (!held_.contains(life)) return;
    loop_.defer([this, life, alive = alive_] {    // not inside its own channel
        if (!*alive) return;
        const auto held = held_.find(life);
        if (held == held_.end()) return;
        if (const auto apart = apart_.find(held->second.first); apart != apart_.end())
            if (const auto stain = apart->second.stains.find(held->second.second); stain != apart->second.stains.end()) stain->second.lost.reset();
        held_.erase(held);
    });
}

// Whatever became of his mail: the mailbox does not hold up a process.
void Dispatcher::answered(const std::string& user, const Target& target)
{
    const auto apart = apart_.find(user);
    if (apart == apart_.end()) return;
    const auto stain = apart->second.stains.find(target.run_as);
    if (stain == apart->second.stains.end() || stain->second.lost) return;
    apart->second.stains.erase(stain);
    tidy_apart(user);
}

void Dispatcher::tidy_apart(const std::string& user)
{
    const auto found = apart_.find(user);
    if (found != apart_.end() && found->second.stains.empty() && found->second.waiting.empty() && found->second.lanes.empty()) apart_.erase(found);
}

}  // namespace veredus::local

// Lanes: the processes of users, how they come and go, and what each is given.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "local/dispatcher.h"
#include "local/dispatcher_parts.h"
#include "local/forward.h"

namespace veredus::local {

using ipc::Outcome;
using ipc::Target;
using ipc::Verdict;
using Kind = queue::Child::Kind;
using std::chrono::milliseconds;

namespace {

// Processes for the commands of one user, beside the one that fills his mailbox; those of all aliases are of one user.
constexpr std::size_t lanes_of_command = 2, most_command_lanes = 20;

// Of an account that keeps the mailboxes of many: another process when one says nothing.
constexpr int mail_lanes = 4;

constexpr std::size_t most_forgotten = 100;     // keys of lanes that are gone

constexpr milliseconds pause_of_starts{100};    // between two questions for a process that did not come to be

constexpr std::size_t room_for_targets = 40'000;    // of a message; the rest is about the mail
// Of what a process says in pages. Lists of .forward are much shorter: 10,000 addresses fit.
constexpr std::size_t most_gathered_bytes = 4 << 20;

std::size_t size_of(const Target& t)
{
    return 60 + t.address.size() + t.original.size() + t.run_as.size() + t.sender.size() + t.orcpt.size() + t.extension.size();
}

std::size_t size_of(const std::vector<queue::Child>& children)
{
    std::size_t size = 0;
    for (const queue::Child& child : children) size += sizeof child + child.text.size() + child.run_as.size() + child.sender.size();
    return size;
}

// Of a user whose mailbox is elsewhere: where his .forward says "mailbox", he stands himself, past aliases and .forward. Which transport
// takes him is asked at each attempt: settings may change while the mail waits.
std::vector<queue::Child> passed_on(std::vector<queue::Child> children, const Target& target, std::string_view user)
{
    if (!is_addressed(target) || !target.run_as.starts_with(transport_mark)) return children;
    const bool alone = children.size() == 1;    // nothing has to be kept
    for (queue::Child& child : children)
        if (child.kind == Kind::mailbox && child.text == final_mailbox(user))
            child = {Kind::address, target.address, alone ? target.run_as.substr(1) : std::string(queue::by_place), child.sender};
    return children;
}

}  // namespace

// A mailbox whose process hangs collects no mail without end: whoever hands it in over LMTP keeps it himself. False: he was told.
bool Dispatcher::admit(Flight& flight, uint64_t number, const std::string& user, const Target& target)
{
    if (!flight.lmtp || flight.counted.contains(target.index)) return true;
    std::string key = cat(user, '\0', target.run_as);
    std::size_t& now = of_lmtp_[key];
    if (now >= rules_.lmtp_per_mailbox) {
        finish(number, target.index, verdict(Outcome::deferred, "4.3.2", "too much mail waits for this mailbox"), 0);
        return false;
    }
    ++now;
    flight.counted.emplace(target.index, std::move(key));
    return true;
}

void Dispatcher::hand_over(uint64_t flight, const ipc::Worker& who, std::vector<Target> targets, bool command)
{
    if (const auto of = flights_.find(flight); of != flights_.end()) std::erase_if(targets, [&](const Target& target) { return !admit(*of->second, flight, who.user, target); });
    std::vector<Target> together;
    for (Target& target : targets) {
        if (command || !stands_apart(who.user, target)) {
            together.push_back(std::move(target));
            continue;
        }
        Job job;
        job.flight = flight;
        job.who = who;
        const uint32_t index = target.index;
        job.open.emplace(index, std::move(target));
        set_apart_each(std::move(job));
    }
    if (!command) {
        if (together.empty()) return;
        Lane& lane = lane_for(who.user);
        lane.shared = lane.shared || is_placed(together.front());
        return add_job(lane, flight, who, std::move(together));
    }
    // Commands take their time: each is given to a process by itself.
    std::map<std::string, std::vector<Target>> turns;
    for (Target& target : together) turns[turn_of(target)].push_back(std::move(target));
    for (auto& [what, list] : turns) add_job(lane_for_command(who.user, what), flight, who, std::move(list));
}

void Dispatcher::add_job(Lane& lane, uint64_t flight, const ipc::Worker& who, std::vector<Target> targets)
{
    std::size_t size = SIZE_MAX;
    for (Target& target : targets) {
        // Each job is one message to the process: paths and commands in the place of mailboxes may be long.
        if (size > room_for_targets || size_of(target) > room_for_targets - size) {
            lane.waiting.push_back(++last_number_);
            jobs_[last_number_].flight = flight;
            jobs_[last_number_].who = who;
            size = 0;
        }
        size += size_of(target);
        const uint32_t index = target.index;
        jobs_[last_number_].open[index] = std::move(target);
    }
    lane.idle.stop();
    if (lane.state == Lane::State::running) return send_waiting(lane);
    if (lane.state == Lane::State::waiting) start_waiting();
}

Dispatcher::Lane& Dispatcher::lane_for(const std::string& user)
{
    std::string best;
    // One that says nothing gets no more mail, if it is not all one mailbox; nor does an old one, whose user may have moved.
    for (int i = 0; i < mail_lanes; ++i) {
        best = cat(user, "/mail", i, '/', age_);
        const auto it = lanes_.find(best);
        if (it == lanes_.end() || end_old(it)) break;
        const bool stuck = is_stuck(*it->second);
        if (stuck ? !it->second->shared : !is_old(*it->second)) break;
        if (stuck && !std::exchange(it->second->stained, true)) stain_all(*it->second);
    }
    if (const auto it = lanes_.find(best); it != lanes_.end()) return *it->second;
    waiting_lanes_.push_back(best);
    return make_lane(best, user, false);
}

// One that rests, or a new one; while what is slow has its two it waits behind itself, and the last ones are for what has none.
Dispatcher::Lane& Dispatcher::lane_for_command(const std::string& user, const std::string& what)
{
    const std::size_t most = std::clamp<std::size_t>(rules_.workers / 8, lanes_of_command, most_command_lanes);
    std::size_t there = 0, of_it = 0;
    Lane *own = nullptr, *resting = nullptr, *least = nullptr;
    std::string fresh;
    for (std::size_t i = 0; i < most; ++i) {
        std::string key = cat(user, "/command", i, '/', age_);
        const auto it = lanes_.find(key);
        if (it == lanes_.end() || end_old(it)) {
            if (fresh.empty()) fresh = std::move(key);
            continue;
        }
        ++there;
        Lane& lane = *it->second;
        const auto lighter = [&](const Lane* than) { return !than || lane.load() < than->load(); };
        if (lane.load() == 0) {
            resting = &lane;
            continue;
        }
        if (lane.what == what && ++of_it > 0 && lighter(own)) own = &lane;
        if (lighter(least)) least = &lane;
    }
    if (of_it >= lanes_of_command) return *own;
    if (!resting && !fresh.empty() && (of_it == 0 || there < most / 2 || there < lanes_of_command)) {
        waiting_lanes_.push_back(fresh);
        resting = &make_lane(fresh, user, true);
    }
    if (!resting) return own ? *own : *least;
    resting->what = what;
    return *resting;
}

Dispatcher::Lane& Dispatcher::lane_of(const Job& job, bool command)
{
    return command ? lane_for_command(job.who.user, job.open.empty() ? std::string() : turn_of(job.open.begin()->second)) : lane_for(job.who.user);
}

Dispatcher::Lane& Dispatcher::make_lane(const std::string& key, const std::string& user, bool command)
{
    auto& lane = lanes_[key];
    lane = std::make_unique<Lane>(loop_, key, user, age_, command, [this, key] { retire(key); }, [this, key] { lose_later(key, Loss::hangs); },
                                  [this, key] {
                                      if (const auto it = lanes_.find(key); it != lanes_.end()) ask_master(*it->second);
                                  });
    return *lane;
}

// What a process knows of its user, his ids, home and mailbox, is as old as itself.
bool Dispatcher::is_old(const Lane& lane) const { return lane.state == Lane::State::running && system_clock().mono_us() - lane.started_us > rules_.lane_life.count() * 1000; }

bool Dispatcher::end_old(Lanes::iterator lane)
{
    if (lane->second->load() != 0 || !is_old(*lane->second)) return false;
    end_lane(lane);
    return true;
}

void Dispatcher::end_lane(Lanes::iterator lane)
{
    if (lane->second->state != Lane::State::waiting) --processes_;
    if (const auto apart = lane->second->path.empty() ? apart_.end() : apart_.find(lane->second->user); apart != apart_.end()) apart->second.lanes.erase(lane->first);
    lanes_.erase(lane);
}

// Starts lanes while there may be more processes; an idle one makes room.
void Dispatcher::start_waiting()
{
    while (!waiting_lanes_.empty() && (processes_ < rules_.workers || make_room())) {
        const std::string key = waiting_lanes_.front();
        waiting_lanes_.pop_front();
        if (const auto it = lanes_.find(key); it != lanes_.end() && it->second->state == Lane::State::waiting) start(*it->second);
    }
    if (apart_timer_->armed()) start_all_apart();
}

// The one that has rested longest ends. False: all are at work.
bool Dispatcher::make_room()
{
    while (!resting_.empty()) {
        const auto found = lanes_.find(resting_.front());
        resting_.pop_front();
        if (found == lanes_.end()) continue;
        found->second->rests = false;
        if (found->second->state != Lane::State::running || found->second->load() != 0) continue;
        end_lane(found);
        return true;
    }
    return false;
}

// Lanes that ended by themselves leave their keys in resting_.
void Dispatcher::forget_the_gone()
{
    for (const auto& [key, lane] : lanes_) lane->rests = false;
    std::erase_if(resting_, [this](const std::string& key) {
        const auto found = lanes_.find(key);
        return found == lanes_.end() || found->second->state != Lane::State::running || found->second->load() != 0 || std::exchange(found->second->rests, true);
    });
}

void Dispatcher::start(Lane& lane)
{
    ++processes_;
    lane.state = Lane::State::starting;
    lane.asked_us = system_clock().mono_us();
    ask_master(lane);
}

// Processes of this user end as soon as they begin: master and its zygote get a rest between two of them.
void Dispatcher::start_later(Lane& lane)
{
    if (processes_ >= rules_.workers) return;    // waits for a free process anyway
    ++processes_;
    lane.state = Lane::State::starting;
    lane.asked_us = system_clock().mono_us();
    lane.again.start(pause_of_starts);
}

// A process ended before it got the job: once that is chance; then it is tried as long as patience with master lasts.
bool Dispatcher::may_wait_on(Job& job) const
{
    const int64_t now = system_clock().mono_us();
    if (job.missed_us != 0) return now - job.missed_us < rules_.patience.count() * 1000;
    job.missed_us = now;
    return true;
}

void Dispatcher::ask_master(Lane& lane)
{
    lane.life = ++last_number_;
    // Of ids without a name master wants to know whose mailbox they keep: any of those that wait here.
    ipc::Worker who{lane.user};
    for (const uint64_t number : lane.waiting)
        if (const auto job = jobs_.find(number); job != jobs_.end()) {
            who = job->second.who;
            break;
        }
    source_(who, [this, key = lane.key, life = lane.life, alive = alive_](ipc::Code code, std::string text, Fd channel) {
        if (*alive) started(key, life, code, text, std::move(channel));
    });
}

void Dispatcher::started(const std::string& key, uint64_t life, ipc::Code code, const std::string& text, Fd channel)
{
    const auto it = lanes_.find(key);
    if (it == lanes_.end() || it->second->life != life || it->second->state != Lane::State::starting) return;
    Lane& lane = *it->second;
    if (code == ipc::Code::ok) {
        lane.state = Lane::State::running;
        lane.started_us = system_clock().mono_us();
        ipc::Channel::User user{[this, key, life](ipc::Message m) { on_worker_message(key, life, std::move(m)); },
                                [this, key, life](const std::string&) {
                                    if (held_.contains(life)) came_back(life);
                                    else lose_later(key, Loss::died);
                                }};
        lane.channel = std::make_unique<ipc::Channel>(loop_, std::move(channel), std::move(user));
        return send_waiting(lane);
    }
    if (code == ipc::Code::unavailable && system_clock().mono_us() - lane.asked_us < rules_.patience.count() * 1000) return lane.again.start(pause_of_starts);
    const std::deque<uint64_t> jobs = std::move(lane.waiting);
    const std::string user = lane.user;
    end_lane(it);
    for (const uint64_t job : jobs) {
        const auto found = jobs_.find(job);
        const bool placed = found != jobs_.end() && !found->second.open.empty() && !found->second.open.begin()->second.run_as.empty();
        if (user == rules_.root_mailbox_user && code != ipc::Code::unavailable)
            refuse(job, Outcome::deferred, "4.3.5", cat("root has no alias and there is no user ", user, " to keep root's mailbox: add \"root: you\" to the aliases"));
        else if (user == rules_.default_privs && code != ipc::Code::unavailable)
            refuse(job, Outcome::deferred, "4.3.5", cat("default_privs = ", user, ": ", text));
        else if (const std::string pipe = pipe_of(job); code != ipc::Code::unavailable && !pipe.empty())
            refuse(job, Outcome::deferred, "4.3.5", cat("pipe_transports: ", pipe, ": user ", user, ": ", text));
        else if (code != ipc::Code::unavailable && is_virtual(job) && placed && found->second.who.by == ipc::Worker::By::line)
            refuse(job, Outcome::deferred, "4.3.5", cat("passdb: user ", found->second.who.of, ": ", text));
        else if (code != ipc::Code::unavailable && is_virtual(job) && placed)
            refuse(job, Outcome::deferred, "4.3.5", cat(table::is_ids(user) ? "virtual_uid_maps, virtual_gid_maps: " : "virtual_uid_maps: user ", user, ": ", text));
        else if (code == ipc::Code::unknown || code == ipc::Code::invalid)    // invalid: no account can have such a name
            unknown_user(job, user);
        else if (code == ipc::Code::refused)
            refused_user(job, user, text);
        else
            refuse(job, Outcome::deferred, "4.3.0", cat("no process for user \"", user, "\": ", text));
    }
    start_waiting();
}

void Dispatcher::send_waiting(Lane& lane)
{
    while (!lane.waiting.empty()) {
        const uint64_t job = lane.waiting.front();
        if (!send(lane, job)) return;          // lose() comes, and takes what waits along
        lane.waiting.pop_front();
    }
    rest(lane);
}

// False: the process is dead, though the channel has not told yet.
bool Dispatcher::send(Lane& lane, uint64_t number)
{
    if (!lane.channel->open()) return false;
    const Flight* const flight = flight_of(number);
    if (!flight) {    // nobody waits for it
        jobs_.erase(number);
        return true;
    }
    Job& job = jobs_.find(number)->second;
    ipc::Attempt attempt = flight->attempt;
    attempt.attempt = number;
    for (const auto& [index, target] : job.open) attempt.targets.push_back(target);
    job.handed_us = system_clock().mono_us();
    if (lane.sent.empty()) lane.heard_us = job.handed_us;
    const int fd = flight->mail->get();
    lane.sent.insert(number);
    if (auto sent = lane.channel->send(static_cast<uint16_t>(ipc::AgentType::attempt), attempt.encode(), std::span(&fd, 1)); !sent) {
        lane.sent.erase(number);
        if (sent.error().code == EPIPE || sent.error().code == ECONNRESET) return false;
        refuse(number, Outcome::deferred, "4.3.0", cat("process of user \"", lane.user, "\": ", sent.error().text));
    }
    return true;
}

// After a change in what a lane has to do: which clock runs.
void Dispatcher::rest(Lane& lane)
{
    if (lane.sent.empty()) {
        lane.late.stop();
        if (lane.waiting.empty()) {
            lane.idle.start(lane.age == age_ && !is_old(lane) ? rules_.idle : milliseconds(0));
            if (!std::exchange(lane.rests, true)) resting_.push_back(lane.key);
            if (resting_.size() > 2 * lanes_.size() + most_forgotten) forget_the_gone();
        }
    } else if (!lane.late.armed()) {    // since it was last heard: further mail is no sign of life
        lane.late.start(rules_.timeout + (lane.command ? rules_.command_time : milliseconds(0)));
    }
}

void Dispatcher::on_worker_message(const std::string& key, uint64_t life, ipc::Message message)
{
    const auto it = lanes_.find(key);
    if (it == lanes_.end() || it->second->life != life) return came_back(life);
    Lane& lane = *it->second;
    lane.heard_us = system_clock().mono_us();
    lane.stained = false;
    lane.late.stop();
    if (message.type != static_cast<uint16_t>(ipc::AgentType::verdicts)) return log::warning("process of user ", lane.user, ": message ", message.type, " is not for us");
    auto verdicts = ipc::Verdicts::decode(message.body);
    if (verdicts && !lane.sent.count(verdicts->attempt)) return log::warning("process of user ", lane.user, ": a verdict about a mail that it was not given");
    if (verdicts) take_verdicts(lane, std::move(*verdicts));
    else unreadable(lane, message, verdicts.error().text);
    rest(lane);
    // Not from within a lane's own channel: it may be the one that makes room.
    if (lane.load() == 0 && (!waiting_lanes_.empty() || apart_timer_->armed())) loop_.defer([this, alive = alive_] {
        if (*alive) start_waiting();
    });
}

void Dispatcher::take_verdicts(Lane& lane, ipc::Verdicts all)
{
    if (all.verdicts.empty()) return give_up(lane, all.attempt, "could not read what it was to deliver");
    for (Verdict& v : all.verdicts) take_verdict(lane, all.attempt, std::move(v));
    const auto job = jobs_.find(all.attempt);
    if (job != jobs_.end() && !job->second.open.empty()) return;
    if (job != jobs_.end()) jobs_.erase(job);
    lane.sent.erase(all.attempt);
}

// What cannot be read costs the mail that it is about another attempt, and no other; when not even that can be told, the process is lost.
void Dispatcher::unreadable(Lane& lane, const ipc::Message& message, const std::string& why)
{
    log::warning("process of user ", lane.user, ": ", why);
    const auto number = ipc::attempt_number(message.body);
    if (!number || !lane.sent.count(*number)) return lose_later(lane.key, Loss::died);
    give_up(lane, *number, "answered nonsense");
}

// Of what a process has: it waits for another time, whatever the process still says of it.
void Dispatcher::give_up(Lane& lane, uint64_t number, const char* what)
{
    if (const auto job = jobs_.find(number); job != jobs_.end())
        for (const auto& [index, pages] : job->second.gathered) lane.gathered_bytes -= pages.bytes;
    refuse(number, Outcome::deferred, "4.3.0", cat("the process of user \"", lane.user, "\" ", what));
    lane.sent.erase(number);
}

void Dispatcher::take_verdict(Lane& lane, uint64_t number, Verdict v)
{
    const auto found = jobs_.find(number);
    if (found == jobs_.end()) return;
    Job& job = found->second;
    const auto target = job.open.find(v.index);
    if (target == job.open.end()) return log::warning("process of user ", lane.user, ": a verdict about a recipient that it was not given");
    const uint32_t index = v.index;
    const bool expands = v.outcome == Outcome::expanded;
    auto good = vouch(std::move(v), target->second.kind, lane.user);
    auto& [children, bytes] = job.gathered[index];
    if (good && expands && !pipe_of(number).empty()) good = fail("an expansion of what a command takes");
    if (good && children.size() + good->children.size() > max_forward_children) good = fail("too many children");
    if (good && lane.gathered_bytes + size_of(good->children) > most_gathered_bytes) good = fail("children that are too long");
    if (!good) {
        log::warning("process of user ", lane.user, ": ", good.error().text);
        good = verdict(Outcome::deferred, "4.3.0", cat("the process of user \"", lane.user, "\" answered nonsense"));
        good->index = index;
    }
    const std::size_t more_bytes = size_of(good->children);
    children.insert(children.end(), std::make_move_iterator(good->children.begin()), std::make_move_iterator(good->children.end()));
    if (good->outcome == Outcome::expanded && good->more) {
        bytes += more_bytes;
        lane.gathered_bytes += more_bytes;
        return;
    }
    lane.gathered_bytes -= bytes;
    if (good->outcome == Outcome::expanded) good->children = passed_on(std::move(children), target->second, lane.user);
    job.gathered.erase(index);
    if (is_placed(target->second) && !apart_.empty()) answered(lane.user, target->second);
    job.open.erase(target);
    finish(job.flight, index, std::move(*good), job.handed_us);
}

// Not inside the lane's own channel or timer.
void Dispatcher::lose_later(const std::string& key, Loss loss)
{
    const auto it = lanes_.find(key);
    if (it == lanes_.end()) return;
    loop_.defer([this, key, loss, life = it->second->life, alive = alive_] {
        if (!*alive) return;
        const auto now = lanes_.find(key);
        if (now != lanes_.end() && now->second->life == life) lose(key, loss);
    });
}

// The process died or hangs: what it had not got yet goes to its successor, and so does what it died with, once; of an account that keeps
// the mailboxes of many each of these apart, for one of them alone may be the cause. What it hangs with, or what its successor died with
// too, waits for another time.
void Dispatcher::lose(const std::string& key, Loss loss)
{
    const char* const why = loss == Loss::died ? "ended unexpectedly" : "does not answer";
    const auto it = lanes_.find(key);
    if (it == lanes_.end()) return;
    const std::string user = it->second->user;
    const bool command = it->second->command;
    const bool apart = !it->second->path.empty();
    (void)stain_all(*it->second);
    if (apart && loss == Loss::hangs) hold(*it->second, std::move(it->second->channel));
    const std::set<uint64_t> sent = std::move(it->second->sent);
    const std::deque<uint64_t> waiting = std::move(it->second->waiting);
    end_lane(it);
    if (!sent.empty()) log::warning("the process of user ", user, " ", why, "; it had ", sent.size(), " deliveries");
    std::deque<uint64_t> next;
    std::vector<Job> each;
    const auto is_kept = [](const Job& job) { return !job.open.empty() && is_placed(job.open.begin()->second); };
    for (const uint64_t number : sent) {
        const auto found = jobs_.find(number);
        if (found == jobs_.end()) continue;
        Job& job = found->second;
        job.gathered.clear();
        const bool again = loss == Loss::died && !std::exchange(job.survived_one, true);
        if (again && is_kept(job)) each.push_back(std::move(jobs_.extract(found).mapped()));
        else if (again) next.push_back(number);
        else refuse(number, Outcome::deferred, "4.3.0", cat("the delivery process of user \"", user, "\" ", why));
    }
    bool again = false;
    for (const uint64_t number : waiting) {
        const auto found = jobs_.find(number);
        if (found == jobs_.end()) continue;
        Job& job = found->second;
        again = again || job.missed_us != 0;
        const bool may = apart ? job.missed_us == 0 && may_wait_on(job) : may_wait_on(job);
        if (may && apart) each.push_back(std::move(jobs_.extract(found).mapped()));
        else if (may) next.push_back(number);
        else refuse(number, Outcome::deferred, "4.3.0", cat("the delivery processes of user \"", user, "\" end before they take mail"));
    }
    for (const uint64_t number : next) {
        Lane& lane = lane_of(jobs_.at(number), command);
        lane.waiting.push_back(number);
        lane.idle.stop();
        if (lane.state == Lane::State::running) send_waiting(lane);    // another one for commands
        else if (lane.state == Lane::State::waiting && again) start_later(lane);
    }
    for (Job& job : each) set_apart_each(std::move(job));
    start_waiting();
}

void Dispatcher::retire(const std::string& key)
{
    const auto it = lanes_.find(key);
    if (it == lanes_.end() || it->second->load() != 0) return;
    loop_.defer([this, key, life = it->second->life, alive = alive_] {    // not inside its own timer
        if (!*alive) return;
        const auto lane = lanes_.find(key);
        if (lane == lanes_.end() || lane->second->life != life || lane->second->load() != 0) return;
        const std::string user = lane->second->user;
        end_lane(lane);
        start_waiting();
        tidy_apart(user);
    });
}

}  // namespace veredus::local

// Scheduler: destinations, attempts, and what agents answer.
#include <algorithm>
#include <utility>

#include "lib/base/clock.h"
#include "lib/base/panic.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/mail/dsn.h"
#include "lib/queue/child.h"
#include "qmgr/scheduler.h"

namespace veredus::qmgr {

namespace {
constexpr int64_t timer_slack_us = us_per_second / 10;
constexpr std::size_t attempt_bytes = 40'000;               // of the targets of one attempt: it must fit into a message
constexpr std::size_t destinations_kept = 2000;             // idle ones beyond that are forgotten
constexpr int64_t attempt_patience_us = 6 * 3600 * us_per_second;
constexpr unsigned crashes_limit = 3;
constexpr int64_t scan_pause_us = us_per_second;

bool is_passed_on(const queue::Child& child)
{
    return child.kind == queue::Child::Kind::address && !child.run_as.empty() && child.run_as != queue::by_place && queue::why_unfit(child).empty();
}

bool fits(const std::string& dsn, char status_class) { return mail::is_enhanced_code(dsn) && dsn[0] == status_class; }
}  // namespace

Destination& Scheduler::destination(const std::string& transport, const std::string& nexthop, Agent agent)
{
    std::string key = destination_key(transport, nexthop);
    auto& slot = destinations_[key];
    if (slot) return *slot;    // of the same agent: a transport's name decides which one that is, and pipes may not take the names of others
    const bool local = agent.kind == Agent::Kind::local, pipe = limits_.pipes.contains(transport);
    const TransportLimits& limits = limits_.transport(transport);
    slot = std::make_unique<Destination>(key, agent, Window(local && !pipe ? limits.concurrency : limits.initial, limits.concurrency, limits.cohorts));
    slot->hash = destination_hash(key);
    while (slot->hash == 0 || by_hash_.contains(slot->hash)) ++slot->hash;     // another one has it: queues must not be mixed up
    slot->transport = transport;
    slot->nexthop = local && !pipe ? "" : nexthop;
    slot->recipients_limit = limits.recipients;
    slot->rate_delay_us = limits.rate_delay_us;
    by_hash_[slot->hash] = slot.get();
    return *slot;
}

// While there is room, a queue holds open what will be sent soon; when there is little, only what is next.
std::size_t Scheduler::enough(const Destination& d) const
{
    const std::size_t window = d.window.size();
    return little_room_ && d.agent.kind == Agent::Kind::smtp ? std::max<std::size_t>(5, window) : std::max<std::size_t>(50, 4 * window);
}

// A fifth of the open mails is kept for what stays here: no number of slow hosts delays local mail.
bool Scheduler::remote_is_crowded() const { return remote_active_ * 5 >= limits_.active * 4; }

void Scheduler::enqueue(Mail& mail, Destination& d, uint32_t index)
{
    MailRecipient& r = mail.recipients[index];
    if (d.window.dead()) {
        if (world_.now().mono_us < d.dead_until_us) {
            const std::string text = cat("delivery temporarily suspended: ", d.dead_text);
            mail.site = d.hash;
            defer(mail, index, d.dead_dsn, text);
            say(mail, index, ipc::Outcome::deferred, d.dead_dsn, text);
            return;
        }
        d.window.probe();
    }
    r.progress = Progress::queued;
    const bool remote = d.agent.kind == Agent::Kind::smtp;
    const bool no_room = remote && !mail.remote && remote_is_crowded();
    if (no_room)
        mail.no_room = true;
    else if (remote)
        count_remote(mail);
    const std::string& sender = mail.effective_sender(r);
    const std::string mark = remote ? mail.forwarded_by(r) : std::string();
    if (!d.queue.has(mail.number)) mail.queued_at.push_back(d.hash);
    d.queue.add(mail.number, sender, mark, index, d.recipients_limit);
    if (!no_room) ring(d);
    touch(mail);
}

void Scheduler::count_remote(Mail& mail)
{
    if (std::exchange(mail.remote, true)) return;
    if (++remote_active_ * 2 > limits_.active) little_room_ = true;
}

void Scheduler::ring(Destination& d)
{
    if (d.in_ring || d.queue.empty() || !d.room(world_.now().mono_us)) return;
    d.in_ring = true;
    rings_[d.agent.number()][d.window.proven()].add(d, d.queue.front().mail);
}

// A mail whose every open recipient stands in a long queue need not be open: its record waits with the destination.
bool Scheduler::try_to_park(Mail& mail)
{
    if (mail.waits > 0 || mail.attempts_in_flight > 0) return false;
    Destination* where = nullptr;
    for (const uint32_t hash : mail.queued_at) {
        const auto found = by_hash_.find(hash);
        if (found == by_hash_.end()) continue;
        Destination& d = *found->second;
        where = &d;
        if (mail.no_room) continue;
        if (d.queue.mails() <= enough(d)) return false;      // it stands in that queue itself
        // Never the one that is to be sent next: nothing would be left to make room.
        if (d.in_flight == 0 && !d.queue.empty() && d.queue.front().mail == mail.number) return false;
    }
    const auto waits_in_queue = [](const MailRecipient& r) { return !r.open() || r.progress == Progress::queued; };
    if (!where || !std::all_of(mail.recipients.begin(), mail.recipients.end(), waits_in_queue)) return false;
    if (std::any_of(mail.recipients.begin(), mail.recipients.end(), [](const MailRecipient& r) { return r.progress == Progress::deferred; })) {
        // It was tried, so it stays open until this round of it ends.
        if (std::exchange(mail.no_room, false))
            for (const uint32_t hash : mail.queued_at)
                if (const auto found = by_hash_.find(hash); found != by_hash_.end()) ring(*found->second);
        return false;
    }
    record_outcomes(mail);
    Entry& entry = *catalog_.find(mail.number);
    catalog_.summarize(entry, mail.layout, mail.envelope);
    close(mail);
    park(entry, *where);
    return true;
}

void Scheduler::unqueue(Mail& mail)
{
    for (const uint32_t hash : mail.queued_at) {
        const auto found = by_hash_.find(hash);
        if (found != by_hash_.end()) found->second->queue.drop(mail.number);
    }
    mail.queued_at.clear();
}

// The last quarter of local's attempts is for whoever has few: one user who has much and is slow leaves way for the others.
bool Scheduler::must_wait(const Destination& d) const
{
    if (d.agent.kind == Agent::Kind::smtp) return false;
    const std::size_t few = std::max<std::size_t>(1, limits_.attempts / 20);
    return d.in_flight >= few && load_[d.agent.number()] * 4 >= limits_.attempts * 3;
}

// Hosts that have not answered yet get three quarters of an agent's attempts: a list full of dead ones, each waiting for
// its time-out, leaves way for those that answer.
Ring* Scheduler::next_ring(std::size_t agent)
{
    auto& [unknown, proven] = rings_[agent];
    const bool unknown_may = agent == 0 || unknown_load_[agent] * 4 < limits_.attempts * 3;
    if (unknown.empty() || !unknown_may) return proven.empty() ? nullptr : &proven;
    return proven.empty() || unknown.round() < proven.round() ? &unknown : &proven;
}

std::size_t Scheduler::remembered_turns() const
{
    std::size_t n = 0;
    for (const auto& [unknown, proven] : rings_) n += unknown.remembered() + proven.remembered();
    return n;
}

// One attempt of each destination in turn, so that none waits for another, up to what the agent takes at once.
void Scheduler::dispatch()
{
    for (std::size_t agent = 0; agent < rings_.size(); ++agent) {
        std::vector<Destination*> later;
        while (up_[agent] && load_[agent] < limits_.attempts) {
            Ring* const line = next_ring(agent);
            if (!line) break;
            Destination& d = line->take();
            for (Ring& one : rings_[agent]) one.catch_up(line->now());     // their rounds are compared
            d.in_ring = false;
            if (d.queue.empty() || !d.room(world_.now().mono_us)) continue;
            if (must_wait(d)) {
                later.push_back(&d);
                continue;
            }
            const bool sent = send(d);
            ring(d);
            if (!sent && !up_[agent]) break;
        }
        for (Destination* d : later) ring(*d);
    }
}

bool Scheduler::send(Destination& d)
{
    Group& group = d.queue.front();
    Mail* const mail = find(group.mail);
    ipc::Attempt attempt;
    std::size_t bytes = 0, taken = 0;
    Flight flight;
    while (mail && taken < group.recipients.size() && flight.pending.size() < d.recipients_limit && bytes < attempt_bytes) {
        const uint32_t index = group.recipients[taken++];
        const MailRecipient& r = mail->recipients[index];
        if (r.progress != Progress::queued) continue;
        ipc::Target t;
        t.index = index;
        t.kind = r.kind;
        t.address = r.address;
        if (r.original != r.address) t.original = r.original;
        if (d.transport == "local") t.run_as = r.run_as;
        const bool named = (r.kind == queue::Child::Kind::command || r.kind == queue::Child::Kind::file) && r.parent != no_recipient;
        if (named) t.extension = local_name(mail->recipients[r.parent]);
        t.sender = "-";
        t.notify = r.notify;
        t.orcpt = r.orcpt;
        bytes += t.address.size() + t.original.size() + t.extension.size() + t.run_as.size() + t.orcpt.size() + 64;
        flight.pending.push_back(index);
        attempt.targets.push_back(std::move(t));
    }
    if (attempt.targets.empty()) {
        d.queue.pop_front();
        return false;
    }
    attempt.attempt = next_attempt_++;
    attempt.queue_id = mail->id;
    attempt.sender = group.sender;
    attempt.transport = d.transport;
    attempt.nexthop = d.nexthop;
    attempt.delivered_to = group.delivered_to;
    attempt.layout = mail->layout;
    attempt.body = mail->envelope.body;
    attempt.smtputf8 = mail->envelope.smtputf8;
    attempt.tls = mail->envelope.tls;
    if (group.sender == mail->sender) {     // RFC 3461 §5.2.7.1 (b): nothing of it goes on to the members of a list
        attempt.ret = mail->envelope.ret;
        attempt.envid = mail->envelope.envid;
    }
    attempt.arrival_us = mail->envelope.arrival_us;
    attempt.active_us = mail->active_wall_us;
    attempt.client_name = mail->envelope.client_name;
    attempt.client_address = mail->envelope.client_address;
    attempt.helo = mail->envelope.helo;
    attempt.protocol = mail->envelope.protocol;
    attempt.auth_user = mail->envelope.auth_user;
    if (!world_.attempt(d.agent, attempt, mail->file)) {
        up_[d.agent.number()] = 0;
        return false;
    }
    if (d.agent.kind == Agent::Kind::smtp) count_remote(*mail);
    for (const uint32_t index : flight.pending) mail->recipients[index].progress = Progress::in_flight;
    group.recipients.erase(group.recipients.begin(), group.recipients.begin() + static_cast<std::ptrdiff_t>(taken));
    if (group.recipients.empty()) d.queue.pop_front();
    flight.mail = mail->number;
    flight.destination = &d;
    flight.agent = d.agent;
    flight.started_us = world_.now().mono_us;
    flight.unknown = !d.window.proven();
    if (flight.unknown) ++unknown_load_[d.agent.number()];
    flights_.emplace(attempt.attempt, std::move(flight));
    ++mail->attempts_in_flight;
    ++d.in_flight;
    ++load_[d.agent.number()];
    return true;
}

void Scheduler::agent_up(Agent agent)
{
    if (agent.number() >= up_.size()) return;
    up_[agent.number()] = 1;
    world_.wake();
}

// It died or was restarted: what it had is tried again, and no destination is blamed. A mail that was there at
// several deaths may be their cause and waits.
void Scheduler::agent_down(Agent agent)
{
    if (agent.number() >= up_.size()) return;
    up_[agent.number()] = 0;
    std::vector<uint64_t> lost;
    for (const auto& [number, flight] : flights_)
        if (flight.agent == agent) lost.push_back(number);
    std::sort(lost.rbegin(), lost.rend());               // each goes to the front: the oldest last
    for (const uint64_t number : lost) {
        Flight flight = std::move(flights_.at(number));
        flights_.erase(number);
        Destination& d = *flight.destination;
        --d.in_flight;
        --load_[agent.number()];
        if (flight.unknown) --unknown_load_[agent.number()];
        Mail* const mail = find(flight.mail);
        if (!mail) continue;
        --mail->attempts_in_flight;
        touch(*mail);
        if (++mail->crashes >= crashes_limit) {
            for (const uint32_t index : flight.pending) {
                defer(*mail, index, "4.3.0", "the delivery agent died several times with this mail");
                say(*mail, index, ipc::Outcome::deferred, "4.3.0", "the delivery agent died several times with this mail");
            }
            continue;
        }
        const bool remote = agent.kind == Agent::Kind::smtp;
        std::map<std::pair<std::string, std::string>, std::vector<uint32_t>> groups;
        for (const uint32_t index : flight.pending) {
            mail->recipients[index].progress = Progress::queued;
            const MailRecipient& r = mail->recipients[index];
            groups[{mail->effective_sender(r), remote ? mail->forwarded_by(r) : std::string()}].push_back(index);
        }
        if (!d.queue.has(mail->number)) mail->queued_at.push_back(d.hash);
        for (auto& [like, indexes] : groups) d.queue.again({mail->number, like.first, std::move(indexes), like.second});
        ring(d);
    }
    if (!lost.empty()) log::warning(lost.size(), " delivery attempts were lost with their agent and will be made again");
    world_.wake();
}

void Scheduler::verdicts(Agent agent, const ipc::Verdicts& all)
{
    const auto found = flights_.find(all.attempt);
    if (found == flights_.end() || !(found->second.agent == agent)) {
        log::warning("a delivery agent answered attempt ", all.attempt, ", which it does not have");
        return;
    }
    Flight& flight = found->second;
    Mail* const mail = find(flight.mail);
    if (!mail) panic("qmgr: a mail was closed under its attempt");
    if (all.verdicts.empty()) {    // one side could not read what the other said
        log::warning(mail->id, ": attempt ", all.attempt, ", or the answer to it, could not be read; its recipients wait for another");
        for (const uint32_t index : std::exchange(flight.pending, {})) {
            defer(*mail, index, "4.3.0", "mail system error");
            say(*mail, index, ipc::Outcome::deferred, "4.3.0", "mail system error");
        }
    }
    for (const ipc::Verdict& v : all.verdicts) {
        const auto pending = std::find(flight.pending.begin(), flight.pending.end(), v.index);
        if (pending == flight.pending.end()) {
            log::warning(mail->id, ": a delivery agent answered for a recipient that it does not have");
            continue;
        }
        take_verdict(flight, *mail, v);
    }
    touch(*mail);
    if (flight.pending.empty()) end_flight(all.attempt);
    world_.wake();
}

void Scheduler::take_verdict(Flight& flight, Mail& mail, ipc::Verdict v)
{
    const uint32_t index = v.index;
    MailRecipient& r = mail.recipients[index];
    const std::string text = printable(v.text, 1000);
    if (v.outcome == ipc::Outcome::expanded) {
        auto& page = flight.pages[index];
        page.insert(page.end(), std::make_move_iterator(v.children.begin()), std::make_move_iterator(v.children.end()));
        const bool endless = page.size() > limits_.expansion;
        if (v.more && !endless) return;
    }
    std::erase(flight.pending, index);
    r.remote_mta = printable(v.remote_mta, 255);
    switch (v.outcome) {
    case ipc::Outcome::delivered:
        delivered(mail, index, flight, v, text);
        break;
    case ipc::Outcome::failed:
        refuse(mail, index, fits(v.dsn, '5') ? v.dsn : "5.0.0", text, true);
        break;
    case ipc::Outcome::expanded:
        // Commands and users to run them as come from aliases(5) and .forward only: an SMTP client knows neither.
        if (flight.agent.kind != Agent::Kind::local) {
            log::warning(mail.id, ": smtp-client answered with an expansion; refused");
            defer(mail, index, "4.3.0", "mail system error");
            break;
        }
        if (const auto& page = flight.pages[index]; flight.destination->transport == "local" && page.size() == 1 && is_passed_on(page[0])) {
            pass_on(mail, index, page[0]);
            break;
        }
        expand(mail, index, std::move(flight.pages[index]), local_name(r));
        break;
    case ipc::Outcome::deferred: {
        const std::string dsn = fits(v.dsn, '4') ? v.dsn : "4.0.0";
        mail.site = flight.destination->hash;
        if (v.site) {
            flight.site_failed = true;
            flight.site_dsn = dsn;
            flight.site_text = text;
        }
        defer(mail, index, dsn, text);
        break;
    }
    }
}

// Another transport takes the recipient (mailbox_transport, fallback_transport). For this attempt only, and so not in the journal: the
// next one asks local again, whose tables may have changed.
void Scheduler::pass_on(Mail& mail, uint32_t index, const queue::Child& to)
{
    MailRecipient& r = mail.recipients[index];
    r.kind = queue::Child::Kind::address;
    r.address = to.text;
    const auto [transport, nexthop] = cut(to.run_as, ':');
    deliver_to(mail, index, std::string(transport), std::string(nexthop.value_or("")));
}

void Scheduler::end_flight(uint64_t number)
{
    const Flight flight = std::move(flights_.at(number));
    flights_.erase(number);
    Destination& d = *flight.destination;
    if (Mail* mail = find(flight.mail)) --mail->attempts_in_flight;
    --load_[flight.agent.number()];
    if (flight.unknown) --unknown_load_[flight.agent.number()];
    const bool was_probing = d.window.probing();
    if (flight.site_failed) {
        --d.in_flight;
        if (d.window.dead()) d.dead_until_us = world_.now().mono_us + limits_.minimal_backoff_us;
        else if (d.window.failed()) died(d, flight.site_dsn, flight.site_text);
    } else {
        const bool was_dead = d.window.dead() || was_probing;
        d.window.succeeded(d.in_flight);
        --d.in_flight;
        if (was_dead) revived(d);
    }
    pause(d);
    ring(d);
    drop_if_idle(d);
}

// The pause of a rate delay begins when an attempt ends.
void Scheduler::pause(Destination& d)
{
    if (d.rate_delay_us == 0) return;
    d.not_before_us = world_.now().mono_us + d.rate_delay_us;
    world_.after(d.rate_delay_us, [this, hash = d.hash] {
        const auto found = by_hash_.find(hash);
        if (found == by_hash_.end()) return;
        // Timers come some milliseconds early: what is left of the pause then would never be waited for.
        Destination& due = *found->second;
        const int64_t left = due.not_before_us - world_.now().mono_us;
        if (left > 0 && left < timer_slack_us) due.not_before_us = 0;
        ring(due);
        world_.wake();
    });
}

// Nobody there: all that waits for it waits for the next probe, by this one finding.
void Scheduler::died(Destination& d, const std::string& dsn, const std::string& text)
{
    d.dead_until_us = world_.now().mono_us + limits_.minimal_backoff_us;
    d.dead_dsn = dsn;
    d.dead_text = text;
    const std::string said = cat("delivery temporarily suspended: ", text);
    for (const Group& group : d.queue.take_all()) {
        Mail* const mail = find(group.mail);
        if (!mail) continue;
        mail->site = d.hash;
        for (const uint32_t index : group.recipients) {
            if (mail->recipients[index].progress != Progress::queued) continue;
            defer(*mail, index, dsn, said);
            say(*mail, index, ipc::Outcome::deferred, dsn, said);
        }
    }
    const int64_t now = world_.now().mono_us;
    for (const uint64_t id : std::exchange(d.parked, {})) {
        Entry* const entry = catalog_.find(id);
        if (!entry || entry->stage != Stage::parked || entry->site != d.hash) continue;
        if (entry->attempts == 0) {        // its first deferral is said for each recipient, and moves it
            entry->stage = Stage::ready;
            ready_.push_back(id);
            continue;
        }
        catalog_.set_reason(*entry, cat(dsn, " ", said));
        catalog_.schedule(*entry, now + backoff(*entry));
    }
}

// It answers again: all its mail may go now, however long each would still have to wait.
void Scheduler::revived(Destination& d)
{
    revived_.insert(d.hash);
    const int64_t left = next_scan_us_ - world_.now().mono_us;
    if (left <= 0 || std::exchange(scan_timer_, true)) return;
    world_.after(left, [this] {
        scan_timer_ = false;
        next_scan_us_ = 0;      // timers come some milliseconds early
        world_.wake();
    });
}

// To look for their mail is to look at all mail, so that is done for many at once: after an outage thousands answer again.
void Scheduler::take_revived()
{
    const int64_t now = world_.now().mono_us;
    if (revived_.empty() || now < next_scan_us_) return;
    const auto hashes = std::exchange(revived_, {});
    next_scan_us_ = now + scan_pause_us;
    ++scans_;
    std::vector<Entry*> waiting;
    catalog_.each([&](Entry& e) {
        if (e.stage == Stage::timed && e.attempts > 0 && hashes.contains(e.site)) waiting.push_back(&e);
    });
    std::sort(waiting.begin(), waiting.end(), [](const Entry* a, const Entry* b) { return a->id < b->id; });
    for (Entry* e : waiting) {
        const auto found = by_hash_.find(e->site);
        if (found == by_hash_.end() || found->second->window.dead()) continue;
        catalog_.unschedule(*e);
        e->skipped = 0;
        park(*e, *found->second);
    }
}

void Scheduler::drop_if_idle(Destination& d)
{
    if (!d.idle() || d.in_ring || d.in_parked_ring || revived_.contains(d.hash) || world_.now().mono_us < d.not_before_us) return;
    if (d.agent.kind == Agent::Kind::smtp && destinations_.size() < destinations_kept) return;
    const auto known = by_hash_.find(d.hash);
    if (known != by_hash_.end() && known->second == &d) by_hash_.erase(known);
    const std::string key = d.key;
    destinations_.erase(key);
}

void Scheduler::sweep()
{
    const int64_t now = world_.now().mono_us;
    for (auto& [number, flight] : flights_) {
        if (flight.cancelled || now - flight.started_us < attempt_patience_us) continue;
        log::warning(id_text(flight.mail), ": an attempt lasts since ", (now - flight.started_us) / us_per_second, " s; it is cancelled");
        flight.cancelled = true;
        world_.cancel(flight.agent, number);
    }
    std::vector<Destination*> idle;
    for (auto& [key, d] : destinations_) {
        const bool long_dead = d->window.dead() && now > d->dead_until_us + limits_.maximal_backoff_us && d->queue.empty() && d->parked.empty() && d->in_flight == 0;
        if (long_dead) d->window.revive();
        if (d->idle()) idle.push_back(d.get());
    }
    for (Destination* d : idle) drop_if_idle(*d);
}

}  // namespace veredus::qmgr

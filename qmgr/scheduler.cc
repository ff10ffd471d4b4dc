#include "qmgr/scheduler.h"

#include <algorithm>
#include <utility>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "qmgr/records.h"

namespace veredus::qmgr {

namespace {
constexpr unsigned routing_limit = 200;              // questions to the router at once
constexpr unsigned skips_limit = 3;                  // a mail put off unopened that often is looked at
constexpr int64_t trouble_delay_us = 60 * us_per_second;
constexpr int64_t told_lately_us = 60 * us_per_second;
// A queue that nobody works on ages by no more than this, or a fifth of the shorter lifetime: a machine that was off for a week, or whose
// clock said so until the network knew better, returns nothing after its first attempt, for which the network may not be up yet.
constexpr int64_t longest_absence_us = 86'400 * us_per_second;
constexpr int64_t rebuild_delay_us = 10 * us_per_second;
}  // namespace

Scheduler::Scheduler(World& world, Limits limits, uint32_t smtp_instances)
    : world_(world), limits_(std::move(limits)), smtp_instances_(std::max(1u, smtp_instances)),
      rings_(1 + smtp_instances_), up_(1 + smtp_instances_, 0), load_(1 + smtp_instances_, 0),
      unknown_load_(1 + smtp_instances_, 0)
{
}

Scheduler::~Scheduler() = default;

void Scheduler::set_limits(Limits limits)
{
    limits_ = std::move(limits);
    for (auto& [key, d] : destinations_) {
        const TransportLimits& t = limits_.transport(d->transport);
        d->window.set_limit(t.concurrency, t.cohorts);
        d->recipients_limit = t.recipients;
        d->rate_delay_us = t.rate_delay_us;
    }
    world_.wake();
}

Mail* Scheduler::find(uint64_t id) const
{
    const auto found = mails_.find(id);
    return found == mails_.end() ? nullptr : found->second.get();
}

const Mail* Scheduler::active(uint64_t id) const { return find(id); }

int64_t Scheduler::backoff(const Entry& entry) const
{
    return std::clamp(age_us(entry, world_.now()), limits_.minimal_backoff_us, limits_.maximal_backoff_us);
}

bool Scheduler::expired(const Entry& entry, bool null_sender) const
{
    return age_us(entry, world_.now()) >= (null_sender ? limits_.bounce_lifetime_us : limits_.lifetime_us);
}

void Scheduler::found(uint64_t id, queue::Place place)
{
    if (place.state == queue::State::corrupt) return;      // a person's business
    if (!catalog_.found(id, place, world_.now())) {
        leaving_.insert(id);
        unlink_soon(id, place);
    }
}

void Scheduler::begin()
{
    catalog_.scanned();
    const Now now = world_.now();
    int64_t absence_us = longest_absence_us;
    for (const int64_t lifetime_us : {limits_.lifetime_us, limits_.bounce_lifetime_us})
        if (lifetime_us > 0) absence_us = std::min(absence_us, lifetime_us / 5);      // 0: returned at the first failure, of whatever age
    std::vector<uint64_t> fresh;
    catalog_.each([&](Entry& e) {
        // Nobody has tried it since it was due: we did not run, or the clock was set.
        const int64_t unattended_us = now.mono_us - (e.attempts > 0 ? std::max(e.next_us, e.age_zero_us) : e.age_zero_us);
        if (e.state != queue::State::hold) e.age_zero_us += std::max<int64_t>(0, unattended_us - absence_us);
        if (e.state == queue::State::hold) {
            e.stage = Stage::held;
        } else if (e.attempts == 0 && e.state == queue::State::incoming) {
            e.stage = Stage::fresh;
            fresh.push_back(e.id);
        } else {
            // The journal says when on the wall clock; that clock may have been set since.
            catalog_.schedule(e, std::clamp(e.next_us, now.mono_us, now.mono_us + limits_.maximal_backoff_us));
            if (e.state == queue::State::incoming) moves_[{static_cast<uint8_t>(e.state), e.writer}].push_back(e.id);
        }
    });
    std::sort(fresh.begin(), fresh.end());
    fresh_.assign(fresh.begin(), fresh.end());
    world_.wake();
}

void Scheduler::disowned(uint64_t id, uint8_t writer)
{
    if (catalog_.done(id) || leaving_.contains(id)) return log::warning(id_text(id), ": refused by its writer for want of a sync, and delivered already: it may come twice");
    log::warning(id_text(id), ": refused by its writer for want of a sync; its file goes");
    if (catalog_.find(id)) remove({id});
    else leave(id, {queue::State::incoming, writer}, "");
}

void Scheduler::queued(uint64_t id, uint8_t writer, bool told)
{
    if (catalog_.find(id) || catalog_.done(id) || leaving_.contains(id)) return;
    Entry& entry = catalog_.add(id, {queue::State::incoming, writer}, world_.now());
    entry.stage = Stage::fresh;
    entry.told = told;
    fresh_.push_back(id);
    world_.wake();
}

void Scheduler::pump()
{
    if (!broken_ && !draining_) {
        take_revived();
        take_due();
        unpark();
    }
    conclude_touched();
    if (!broken_ && !draining_) {
        while (open_some()) conclude_touched();
        dispatch();
    }
    conclude_touched();
    save();
}

void Scheduler::take_due()
{
    const int64_t now = world_.now().mono_us;
    while (Entry* entry = catalog_.due(now)) admit(*entry);
}

// Its time has come: in line to be opened, unless what is known of its destination says that it would be in vain.
void Scheduler::admit(Entry& entry)
{
    if (diverted(entry)) return;
    entry.stage = Stage::ready;
    ready_.push_back(entry.id);
}

// Put off, or parked with its destination, without being opened.
bool Scheduler::diverted(Entry& entry)
{
    const auto known = by_hash_.find(entry.site);
    if (known == by_hash_.end()) return false;
    Destination& d = *known->second;
    const int64_t now = world_.now().mono_us;
    if (d.window.dead() && now >= d.dead_until_us) d.window.probe();
    if (d.window.dead()) {
        if (entry.attempts == 0 || entry.skipped >= skips_limit || expired(entry, false) || delay_due(entry)) return false;
        ++entry.skipped;
        catalog_.set_reason(entry, cat(d.dead_dsn, " ", d.dead_text));
        catalog_.schedule(entry, std::max(d.dead_until_us, now + backoff(entry)));
        return true;
    }
    const bool busy = d.window.probing() ? d.in_flight > 0 || !d.queue.empty() : full(d);
    if (busy) park(entry, d);
    return busy;
}

void Scheduler::park(Entry& entry, Destination& d)
{
    entry.stage = Stage::parked;
    entry.site = d.hash;
    d.parked.push_back(entry.id);
    if (!d.in_parked_ring) {
        d.in_parked_ring = true;
        parked_ring_.push_back(&d);
    }
}

// One mail of each destination in turn, for those that can take more.
void Scheduler::unpark()
{
    std::size_t fruitless = 0;
    while (!parked_ring_.empty() && fruitless < parked_ring_.size() && ready_.size() < 100 && !remote_is_crowded()) {
        Destination& d = *parked_ring_.front();
        parked_ring_.pop_front();
        while (!d.parked.empty()) {
            Entry* front = catalog_.find(d.parked.front());
            if (front && front->stage == Stage::parked && front->site == d.hash) break;
            d.parked.pop_front();
        }
        if (d.parked.empty()) {
            d.in_parked_ring = false;
            drop_if_idle(d);
            continue;
        }
        parked_ring_.push_back(&d);
        const std::size_t coming = d.queue.mails() + d.in_flight;
        if (d.window.dead() || d.window.probing() ? coming > 0 : full(d) || coming >= 2 * std::size_t{d.window.size()} + 10) {
            ++fruitless;
            continue;
        }
        fruitless = 0;
        Entry& entry = *catalog_.find(d.parked.front());
        d.parked.pop_front();
        entry.stage = Stage::ready;
        ready_.push_back(entry.id);
        if (d.window.dead() || d.window.probing()) return;   // one is enough to find out
    }
}

// Opens what is in line: three fresh ones for one that was deferred. True when something was opened.
bool Scheduler::open_some()
{
    bool any = false;
    while (mails_.size() < limits_.active && routing_ < routing_limit) {
        const bool old_may = !ready_.empty() && !remote_is_crowded();
        const bool old_turn = old_may && (fresh_.empty() || ++turn_ % 4 == 0);
        std::deque<uint64_t>& line = old_turn ? ready_ : fresh_;
        if (line.empty()) break;
        const uint64_t id = line.front();
        line.pop_front();
        Entry* entry = catalog_.find(id);
        if (!entry || entry->stage != (old_turn ? Stage::ready : Stage::fresh)) continue;
        if (old_turn && diverted(*entry)) continue;     // more is known now than when it got in line
        entry->skipped = 0;
        open(*entry);
        any = true;
        if (touched_.size() > 100) break;
    }
    return any;
}

void Scheduler::open(Entry& entry)
{
    const std::string id = id_text(entry.id);
    Opened opened = world_.open(id, entry.place());
    const auto target = moving_.find(entry.id);
    if (opened.how == Opened::How::gone && target != moving_.end()) opened = world_.open(id, target->second);
    // A move of many that failed at its end may have moved this one.
    if (const auto twice = doubled_.find(entry.id); opened.how == Opened::How::gone && twice != doubled_.end()) {
        for (const queue::Place place : twice->second) {
            opened = world_.open(id, place);
            if (opened.how == Opened::How::gone) continue;
            entry.state = place.state;
            entry.writer = place.writer;
            std::erase(twice->second, place);
            if (twice->second.empty()) doubled_.erase(twice);
            break;
        }
    }
    switch (opened.how) {
    case Opened::How::gone:
        // A fresh one may be named twice: by its writer and by a look into the directory. One that waited went by hand.
        if (entry.stage == Stage::fresh && !entry.history) {
            catalog_.forget(entry.id);
            return;
        }
        log::warning(id, ": the mail file is gone: ", opened.why);
        leave(entry.id, entry.place(), "");
        return;
    case Opened::How::corrupt:
        put_corrupt_aside(entry, opened.why);
        return;
    case Opened::How::trouble:
        log::warning(id, ": cannot open, will try again: ", opened.why);
        catalog_.schedule(entry, world_.now().mono_us + trouble_delay_us);
        return;
    case Opened::How::open: break;
    }
    if (opened.envelope.hold && entry.state == queue::State::incoming && entry.attempts == 0) {
        log::info(id, ": from=<", printable(opened.envelope.sender.text()), ">, size=", opened.layout.content_size(),
                  ", nrcpt=", opened.envelope.recipients.size(), " (queue hold)");
        set_aside(entry, queue::State::hold);
        return;
    }
    auto mail = std::make_unique<Mail>(entry.id, std::move(opened.file), opened.layout, std::move(opened.envelope));
    Mail& m = *mail;
    mails_[entry.id] = std::move(mail);
    start(m, entry);
    // The checksum of a large body is for what the disk gives back, not for what was written a moment ago.
    const bool in_memory = std::exchange(entry.told, false) && age_us(entry, world_.now()) < told_lately_us;
    opened.body_unchecked && !in_memory ? check_first(m) : go_on(m, entry);
    touch(m);
}

void Scheduler::put_corrupt_aside(Entry& entry, std::string_view why)
{
    const bool new_here = entry.state == queue::State::incoming && entry.attempts == 0 && !entry.history;
    log::error(id_text(entry.id), ": damaged mail file, put aside in corrupt/: ", why,
               new_here ? "; if the machine has just lost its power: nobody was told that this mail is queued" : "");
    catalog_.unschedule(entry);
    entry.stage = Stage::leaving;
    move_now({entry.id}, entry.place(), {queue::State::corrupt, 0});
}

void Scheduler::start(Mail& mail, Entry& entry)
{
    const Now now = world_.now();
    mail.active_wall_us = now.wall_us;
    mail.active_mono_us = now.mono_us;
    mail.forced = std::exchange(entry.forced, false);
    entry.stage = Stage::active;
    unrouted_.erase(entry.id);
    if (mail.envelope.arrival_us > 0) entry.arrival_us = mail.envelope.arrival_us;
    log::info(mail.id, ": from=<", printable(mail.sender), ">, size=", mail.layout.content_size(),
              ", nrcpt=", mail.recipients.size(), " (queue active)");
    if (entry.history) mail.restore(*entry.history, catalog_.reasons(), expansion_limits());
}

// A large body is read for its checksum before anybody gets a byte of it, by a thread: the loop goes on meanwhile.
void Scheduler::check_first(Mail& mail)
{
    ++mail.waits;
    world_.check_body(mail, [this, id = mail.number](Result<void> result) {
        checked(id, result);
        world_.wake();
    });
}

void Scheduler::checked(uint64_t id, const Result<void>& result)
{
    Mail* const mail = find(id);
    if (!mail) return;
    --mail->waits;
    touch(*mail);
    if (mail->hold_wanted || mail->remove_wanted) return;      // concluding does that
    Entry& entry = *catalog_.find(id);
    if (result) return go_on(*mail, entry);
    if (result.error().code == 0) {
        close(*mail);
        put_corrupt_aside(entry, result.error().text);
        return;
    }
    log::warning(mail->id, ": cannot be read, will try again: ", result.error().text);
    postpone(*mail, trouble_delay_us);
}

void Scheduler::go_on(Mail& mail, Entry& entry)
{
    if (entry.history) pay_owed(mail, entry);
    route(mail);
}

void Scheduler::close(Mail& mail)
{
    unqueue(mail);
    // Far below where it begins, or mails would be opened and parked in turn for ever.
    if (mail.remote && --remote_active_ * 4 < limits_.active) little_room_ = false;
    for (auto& [unknown, proven] : rings_) {
        unknown.forget(mail.number);
        proven.forget(mail.number);
    }
    deeds_.erase(mail.number);
    mails_.erase(mail.number);
}

// Back into the queue without a deferral: the trouble was ours, or its destination has enough to do.
void Scheduler::postpone(Mail& mail, int64_t delay_us)
{
    record_outcomes(mail);
    Entry& entry = *catalog_.find(mail.number);
    catalog_.schedule(entry, world_.now().mono_us + delay_us);
    catalog_.summarize(entry, mail.layout, mail.envelope);
    close(mail);
}

void Scheduler::set_aside(Entry& entry, queue::State state, const Deeds& deeds)
{
    catalog_.unschedule(entry);
    entry.stage = Stage::held;
    move_now({entry.id}, entry.place(), {state, 0}, deeds);
}

void Scheduler::move_when_durable(Entry& entry, queue::State state)
{
    if (entry.state == state) return;
    moves_[{static_cast<uint8_t>(entry.state), entry.writer}].push_back(entry.id);
}

void Scheduler::move_now(const std::vector<uint64_t>& ids, queue::Place from, queue::Place to, const Deeds& deeds)
{
    std::vector<uint64_t> now;
    std::vector<std::string> names;
    for (const uint64_t id : ids) {
        const auto under_way = moving_.find(id);
        if (under_way != moving_.end()) {
            // One move after another; the last wish counts.
            after_move_[id] = [this, id, to, deeds] {
                if (Entry* e = catalog_.find(id); e && (e->state != to.state)) move_now({id}, e->place(), to, deeds);
            };
            continue;
        }
        if (from == to) continue;
        moving_[id] = to;
        if (const auto twice = doubled_.find(id); twice != doubled_.end()) {
            std::vector<queue::Place> places{from};
            for (const queue::Place place : twice->second)
                if (!(place == from) && !(place == to)) places.push_back(place);
            if (places.size() > 1) {
                move_from(id, std::move(places), to, deeds);
                continue;
            }
        }
        now.push_back(id);
        names.push_back(id_text(id));
    }
    if (now.empty()) return;
    world_.move(std::move(names), from, to, [this, now, to, deeds](Result<void> result) { moved(now, to, result, deeds); });
}

// One whose moves failed before: its names may lie in any of these places, the last of which comes first.
void Scheduler::move_from(uint64_t id, std::vector<queue::Place> places, queue::Place to, const Deeds& deeds)
{
    const queue::Place from = places.back();
    places.pop_back();
    world_.move({id_text(id)}, from, to, [this, id, places, to, deeds](Result<void> result) {
        if (result && !places.empty()) move_from(id, places, to, deeds);
        else moved({id}, to, result, deeds);
    });
}

void Scheduler::moved(const std::vector<uint64_t>& ids, queue::Place to, const Result<void>& result, const Deeds& deeds)
{
    if (!result) {
        log::warning("moving ", ids.size(), " mails into ", queue::state_name(to.state), ": ", result.error().text, "; they stay where they are for now");
        for (const auto& deed : deeds) {
            deed->failed += ids.size();
            deed->trouble = result.error().text;
        }
        if (to.state != queue::State::corrupt) world_.after(trouble_delay_us, [this, ids] { move_again(ids); });
    }
    for (const uint64_t id : ids) {
        moving_.erase(id);
        if (!result) {
            std::vector<queue::Place>& places = doubled_[id];
            if (std::find(places.begin(), places.end(), to) == places.end()) places.push_back(to);
        }
        Entry* entry = catalog_.find(id);
        if (entry && result) {
            entry->state = to.state;
            entry->writer = 0;
            doubled_.erase(id);
            if (to.state == queue::State::corrupt) catalog_.forget(id);
        } else if (entry && entry->stage == Stage::leaving && to.state == queue::State::corrupt) {
            catalog_.schedule(*entry, world_.now().mono_us + limits_.minimal_backoff_us);
        }
        if (auto next = after_move_.extract(id)) next.mapped()();
        if (moving_.contains(id)) continue;
        if (Entry* const e = catalog_.find(id)) released(*e);
    }
    world_.wake();
}

// What a person put on hold, or took off it, is so for us at once; the disk must come to say the same, or a restart forgets it.
void Scheduler::move_again(std::vector<uint64_t> ids)
{
    Departures to_hold, to_deferred;
    for (const uint64_t id : ids) {
        const Entry* const e = catalog_.find(id);
        if (!e || e->stage == Stage::leaving || moving_.contains(id)) continue;
        const bool on_disk = e->state == queue::State::hold;
        if (on_disk != (e->stage == Stage::held)) (on_disk ? to_deferred : to_hold)[{static_cast<uint8_t>(e->state), e->writer}].push_back(id);
    }
    move_all(to_hold, queue::State::hold, {});
    move_all(to_deferred, queue::State::deferred, {});
    world_.wake();
}

// The end of a mail: durable first, then the name goes.
void Scheduler::leave(uint64_t id, queue::Place place, std::string_view log_text, Deeds deeds)
{
    leaving_.insert(id);
    std::vector<queue::Place> places{place};
    // A move that is under way may end before or after this is durable: its name may then be in either place.
    if (const auto move = moving_.find(id); move != moving_.end()) places.push_back(move->second);
    record(qmgr::record(queue::Event::done, id_text(id)));
    when_durable([this, id, places, text = std::string(log_text), deeds = std::move(deeds)] {
        if (!text.empty()) log::info(id_text(id), ": ", text);
        const auto unlink = [this, id, places] {
            for (const queue::Place p : places) unlink_soon(id, p);
        };
        if (moving_.contains(id)) after_move_[id] = unlink;
        else unlink();
    });
}

void Scheduler::unlink_soon(uint64_t id, queue::Place place)
{
    unlinks_.emplace_back(id, place);
    const auto twice = doubled_.find(id);
    if (twice != doubled_.end()) {
        for (const queue::Place other : twice->second) unlinks_.emplace_back(id, other);
        doubled_.erase(twice);
    }
    world_.wake();
}

void Scheduler::record(queue::Record r)
{
    catalog_.apply(r, world_.now());
    records_.push_back(std::move(r));
}

// One commit, one batch of moves and one of unlinks for all that this turn brought.
void Scheduler::save()
{
    if (!unlinks_.empty()) {
        std::vector<std::pair<std::string, queue::Place>> mails;
        std::vector<uint64_t> ids;
        for (const auto& [id, place] : unlinks_) {
            mails.emplace_back(id_text(id), place);
            ids.push_back(id);
        }
        world_.remove(std::move(mails), [this, again = unlinks_, ids](Result<void> result) {
            if (result) {
                for (const uint64_t id : ids) leaving_.erase(id);
                return;
            }
            log::warning("unlinking finished mail: ", result.error().text, "; will try again");
            world_.after(trouble_delay_us, [this, again] {
                unlinks_.insert(unlinks_.end(), again.begin(), again.end());
                world_.wake();
            });
        });
        unlinks_.clear();
    }
    for (const auto& [from, ids] : std::exchange(moves_, {}))
        when_durable([this, ids = ids, place = queue::Place{static_cast<queue::State>(from.first), from.second}] {
            std::vector<uint64_t> still;
            for (const uint64_t id : ids) {
                const Entry* e = catalog_.find(id);
                if (e && e->state == place.state && e->writer == place.writer && e->stage != Stage::held) still.push_back(id);
            }
            move_now(still, place, {queue::State::deferred, 0});
        });
    if (records_.empty() && afters_.empty()) return;
    auto then = std::exchange(afters_, {});
    auto records = std::exchange(records_, {});
    if (broken_) {     // the catalog has what the records say, and the next journal is written from it
        stalled_.insert(stalled_.end(), std::make_move_iterator(then.begin()), std::make_move_iterator(then.end()));
        return;
    }
    if (records.empty()) {
        for (auto& work : then) work();
        return;
    }
    ++commits_in_flight_;
    world_.commit(std::move(records), [this, then = std::move(then)](Result<void> result) mutable { saved(result, std::move(then)); });
}

void Scheduler::saved(const Result<void>& result, std::vector<std::function<void()>> then)
{
    --commits_in_flight_;
    if (result) {
        for (auto& work : then) work();
    } else {
        stalled_.insert(stalled_.end(), std::make_move_iterator(then.begin()), std::make_move_iterator(then.end()));
        if (!std::exchange(broken_, true)) {
            log::error("qmgr's log cannot be written: ", result.error().text, "; deliveries stop until a new one is written");
            rebuild();
        }
    }
    world_.wake();
}

void Scheduler::rebuild()
{
    // What stalls after this snapshot is not in it: those records wait for the next commit or rebuild.
    const std::size_t covered = stalled_.size();
    world_.rebuild(catalog_.live(world_.now()), [this, covered](Result<void> result) {
        if (!result) {
            world_.after(rebuild_delay_us, [this] { rebuild(); });
            return;
        }
        std::vector<std::function<void()>> then(std::make_move_iterator(stalled_.begin()), std::make_move_iterator(stalled_.begin() + static_cast<std::ptrdiff_t>(covered)));
        stalled_.erase(stalled_.begin(), stalled_.begin() + static_cast<std::ptrdiff_t>(covered));
        for (auto& work : then) work();
        if (!stalled_.empty()) {
            rebuild();
            return;
        }
        broken_ = false;
        log::info("qmgr's log is written again; deliveries go on");
        world_.wake();
    });
}

std::vector<uint64_t> Scheduler::forgettable() const
{
    std::vector<uint64_t> ids = catalog_.done_ids();
    std::erase_if(ids, [&](uint64_t id) { return leaving_.contains(id) || doubled_.contains(id); });
    return ids;
}

Counts Scheduler::counts()
{
    Counts c;
    catalog_.each([&](const Entry& e) {
        if (e.stage == Stage::held) ++c.hold;
        else if (e.stage == Stage::active) ++c.active;
        else if (e.stage == Stage::fresh) ++c.incoming;
        else ++c.deferred;
    });
    return c;
}

}  // namespace veredus::qmgr

// Scheduler: what people may do to mail: try now, hold, release, remove, requeue.
#include <algorithm>
#include <utility>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "qmgr/records.h"
#include "qmgr/scheduler.h"

namespace veredus::qmgr {

namespace {
constexpr int64_t move_patience_us = 30 * us_per_second, move_of_one_us = 50;
}  // namespace

std::size_t Scheduler::flush_all()
{
    std::vector<uint64_t> all;
    catalog_.each([&](Entry& e) {
        if (e.stage == Stage::timed) all.push_back(e.id);
        else if (e.stage == Stage::active) e.forced = true;    // should this attempt fail, the next one is now
    });
    for (auto& [key, d] : destinations_) d->window.revive();
    std::sort(all.begin(), all.end());
    return flush(all);
}

std::size_t Scheduler::flush(const std::vector<uint64_t>& ids)
{
    std::size_t met = 0;
    const int64_t now = world_.now().mono_us;
    for (const uint64_t id : ids) {
        Entry* const e = catalog_.find(id);
        if (!e || e->stage == Stage::held || e->stage == Stage::leaving) continue;
        ++met;
        e->forced = true;
        const auto d = by_hash_.find(e->site);
        if (d != by_hash_.end()) d->second->window.revive();
        if (e->stage != Stage::timed) continue;
        catalog_.schedule(*e, now);
    }
    world_.wake();
    return met;
}

// Many mails are one move for each directory that they leave, with few syncs.
void Scheduler::move_all(const Departures& from, queue::State to, const Deeds& deeds)
{
    for (const auto& [place, ids] : from) move_now(ids, {static_cast<queue::State>(place.first), place.second}, {to, 0}, deeds);
}

namespace {
Deeds deeds_of(const std::shared_ptr<Deed>& deed) { return deed ? Deeds{deed} : Deeds(); }
}  // namespace

// Of an open mail: nobody waits for the end of an attempt, which may take hours; the rest is a matter of moments.
void Scheduler::note_deed(Mail& mail, const std::shared_ptr<Deed>& deed)
{
    if (!deed) return;
    if (mail.attempts_in_flight > 0) ++deed->later;
    else deeds_[mail.number].push_back(deed);
}

std::size_t Scheduler::hold(const std::vector<uint64_t>& ids, const std::shared_ptr<Deed>& deed)
{
    std::size_t met = 0;
    Departures from;
    for (const uint64_t id : ids) {
        Entry* const e = catalog_.find(id);
        if (!e || e->stage == Stage::held || e->stage == Stage::leaving) continue;
        ++met;
        log::info(id_text(id), ": placed on hold");
        if (Mail* mail = find(id)) {
            mail->hold_wanted = true;
            note_deed(*mail, deed);
            unqueue(*mail);
            touch(*mail);
        } else {
            catalog_.unschedule(*e);
            e->stage = Stage::held;
            from[{static_cast<uint8_t>(e->state), e->writer}].push_back(id);
        }
    }
    move_all(from, queue::State::hold, deeds_of(deed));
    world_.wake();
    return met;
}

// Of thousands the first attempts would be in the way of the moves: they begin when all of those are done, or when that takes long.
void Scheduler::release_one(Entry& e, Departures& from)
{
    const bool must_move = e.state != queue::State::deferred || moving_.contains(e.id);
    e.released = must_move;
    catalog_.schedule(e, world_.now().mono_us + (must_move ? move_patience_us : 0));
    if (must_move) from[{static_cast<uint8_t>(e.state), e.writer}].push_back(e.id);
}

void Scheduler::released(Entry& e)
{
    if (!std::exchange(e.released, false) || e.stage != Stage::timed) return;
    const auto others = static_cast<int64_t>(moving_.size());
    catalog_.schedule(e, world_.now().mono_us + std::min(others * move_of_one_us, move_patience_us));
}

std::size_t Scheduler::release(const std::vector<uint64_t>& ids, const std::shared_ptr<Deed>& deed)
{
    std::size_t met = 0;
    Departures from;
    for (const uint64_t id : ids) {
        Entry* const e = catalog_.find(id);
        if (!e || e->stage != Stage::held) continue;
        ++met;
        log::info(id_text(id), ": released from hold");
        release_one(*e, from);
    }
    move_all(from, queue::State::deferred, deeds_of(deed));
    world_.wake();
    return met;
}

std::size_t Scheduler::remove(const std::vector<uint64_t>& ids, const std::shared_ptr<Deed>& deed)
{
    std::size_t met = 0;
    for (const uint64_t id : ids) {
        Entry* const e = catalog_.find(id);
        if (!e || e->stage == Stage::leaving) continue;
        ++met;
        if (Mail* mail = find(id)) {
            mail->remove_wanted = true;
            note_deed(*mail, deed);
            unqueue(*mail);
            touch(*mail);
        } else {
            leave(id, e->place(), "removed", deeds_of(deed));
        }
    }
    world_.wake();
    return met;
}

std::size_t Scheduler::requeue(const std::vector<uint64_t>& ids, const std::shared_ptr<Deed>& deed)
{
    std::size_t met = 0;
    const Now now = world_.now();
    Departures from;
    for (const uint64_t id : ids) {
        Entry* const e = catalog_.find(id);
        if (!e || e->stage == Stage::leaving || e->stage == Stage::active) continue;
        ++met;
        log::info(id_text(id), ": requeued");
        // As with postsuper -r: what was kept on hold for long, or was given up nearly, has its whole lifetime before it again.
        e->age_zero_us = now.mono_us;
        record(aged_record(id_text(id), now.wall_us));
        e->skipped = 0;
        if (e->stage == Stage::held) release_one(*e, from);
        else catalog_.schedule(*e, now.mono_us);
    }
    if (met > 0) when_durable([deed] {});
    move_all(from, queue::State::deferred, deeds_of(deed));
    world_.wake();
    return met;
}

}  // namespace veredus::qmgr

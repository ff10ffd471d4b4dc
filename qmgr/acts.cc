// Scheduler: what people may do to mail: try now, hold, release, remove, requeue.
#include <algorithm>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "qmgr/scheduler.h"

namespace veredus::qmgr {

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

std::size_t Scheduler::release(const std::vector<uint64_t>& ids, const std::shared_ptr<Deed>& deed)
{
    std::size_t met = 0;
    Departures from;
    for (const uint64_t id : ids) {
        Entry* const e = catalog_.find(id);
        if (!e || e->stage != Stage::held) continue;
        ++met;
        log::info(id_text(id), ": released from hold");
        catalog_.schedule(*e, world_.now().mono_us);
        from[{static_cast<uint8_t>(e->state), e->writer}].push_back(id);
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
    Departures from;
    for (const uint64_t id : ids) {
        Entry* const e = catalog_.find(id);
        if (!e || e->stage == Stage::leaving || e->stage == Stage::active) continue;
        ++met;
        log::info(id_text(id), ": requeued");
        const bool held = e->stage == Stage::held;
        e->skipped = 0;
        catalog_.schedule(*e, world_.now().mono_us);
        if (held) from[{static_cast<uint8_t>(e->state), e->writer}].push_back(id);
    }
    move_all(from, queue::State::deferred, deeds_of(deed));
    world_.wake();
    return met;
}

}  // namespace veredus::qmgr

#include "qmgr/catalog.h"

#include <algorithm>

#include "lib/base/clock.h"
#include "lib/base/panic.h"
#include "lib/base/text.h"
#include "lib/ipc/agent.h"
#include "lib/queue/id.h"
#include "qmgr/records.h"

namespace veredus::qmgr {

namespace {
constexpr int64_t future_tolerance_us = 3600 * us_per_second;   // a mail "from the future" was stamped by a wrong clock
constexpr int64_t noted_from_us = 3600 * us_per_second;

std::string joined(const std::string& dsn, const std::string& text)
{
    return dsn.empty() ? text : text.empty() ? dsn : cat(dsn, " ", text);
}

std::pair<std::string, std::string> parted(const std::string& reason)
{
    const auto [code, rest] = cut(reason, ' ');
    const bool coded = code.size() >= 5 && code[1] == '.' && is_digit(code[0]);
    return coded ? std::pair{std::string(code), std::string(rest.value_or(""))} : std::pair{std::string(), reason};
}
}  // namespace

uint64_t id_number(std::string_view queue_id) { return parse_hex(queue_id).value_or(0); }
std::string id_text(uint64_t id) { return hex_upper(id, 16); }

static bool from_future(const Entry& entry, Now now) { return entry.arrival_us - now.wall_us > future_tolerance_us; }

int64_t age_us(const Entry& entry, Now now)
{
    const int64_t counted = std::max<int64_t>(0, now.mono_us - entry.age_zero_us);
    return from_future(entry, now) ? counted : std::min(counted, std::max<int64_t>(0, now.wall_us - entry.arrival_us));
}

std::optional<int64_t> nought_to_note(const Entry& entry, Now now)
{
    const int64_t age = age_us(entry, now), nought = now.wall_us - age;
    if (from_future(entry, now) ? age < noted_from_us : nought - entry.arrival_us < noted_from_us) return std::nullopt;
    return nought;
}

Entry* Catalog::find(uint64_t id)
{
    const auto found = entries_.find(id);
    return found == entries_.end() ? nullptr : &found->second;
}

Entry& Catalog::known(uint64_t id, Now now)
{
    if (Entry* entry = find(id)) return *entry;
    return add(id, {}, now);
}

Entry& Catalog::add(uint64_t id, queue::Place place, Now now)
{
    Entry& entry = entries_[id];
    entry.id = id;
    entry.state = place.state;
    entry.writer = place.writer;
    entry.arrival_us = queue::id_seconds(id_text(id)) * us_per_second;
    entry.age_zero_us = now.mono_us - std::max<int64_t>(0, now.wall_us - entry.arrival_us);
    entry.next_us = now.mono_us;
    return entry;
}

void Catalog::forget(uint64_t id)
{
    const auto found = entries_.find(id);
    if (found == entries_.end()) return;
    unschedule(found->second);
    reasons_.drop(found->second.reason);
    if (found->second.history) drop_history(*found->second.history);
    entries_.erase(found);
}

void Catalog::drop_history(History& history)
{
    for (const auto& f : history.finished) reasons_.drop(f.reason);
    for (const auto& w : history.waits) reasons_.drop(w.reason);
}

History& Catalog::history(Entry& entry)
{
    if (!entry.history) entry.history = std::make_unique<History>();
    return *entry.history;
}

void Catalog::set_reason(Entry& entry, std::string_view text)
{
    const uint32_t id = reasons_.take(text);
    reasons_.drop(entry.reason);
    entry.reason = id;
}

void Catalog::clear_waits(Entry& entry)
{
    if (!entry.history) return;
    for (const auto& w : entry.history->waits) reasons_.drop(w.reason);
    entry.history->waits.clear();
}

void Catalog::summarize(Entry& entry, const queue::Layout& layout, const mail::Envelope& envelope)
{
    if (entry.summary_at == 0 && keep_) entry.summary_at = keep_(entry.id, Summary::of(layout, envelope));
}

void Catalog::summarized(uint64_t id, uint64_t place)
{
    if (Entry* const entry = find(id)) entry->summary_at = place;
}

void Catalog::replay(const queue::Record& record, Now now)
{
    replaying_ = true;
    if (!queue::is_queue_id(record.id)) return;
    apply(record, now);
}

void Catalog::apply(const queue::Record& record, Now now)
{
    using queue::Event;
    const uint64_t id = id_number(record.id);
    if (record.event == Event::done) {
        forget(id);
        done_.insert(id);
        return;
    }
    if (record.event == Event::gone) {
        forget(id);
        done_.erase(id);
        return;
    }
    if (done_.contains(id)) return;
    Entry& entry = known(id, now);
    switch (record.event) {
    case Event::deferred: {
        entry.attempts = record.attempts;
        entry.site = record.recipient;
        set_reason(entry, joined(record.dsn, record.text));
        if (replaying_) entry.next_us = now.mono_us + (record.time_us - now.wall_us);
        if (entry.history) {
            entry.history->owed.clear();
            entry.history->delays.clear();
        }
        clear_waits(entry);
        if (entry.history && entry.history->finished.empty() && entry.history->expansions.empty()) entry.history.reset();
        break;
    }
    case Event::outcome: {
        auto& finished = history(entry).finished;
        const auto same = [&](const History::Finished& f) { return f.index == record.recipient; };
        if (std::any_of(finished.begin(), finished.end(), same)) break;
        finished.push_back({record.recipient, record.outcome, reasons_.take(joined(record.dsn, record.text)), 0});
        break;
    }
    case Event::expansion: {
        auto& all = history(entry).expansions;
        if (std::none_of(all.begin(), all.end(), [&](const auto& e) { return e.parent == record.recipient; }))
            all.push_back({record.recipient, record.children, record.text, 0, record.outcome});
        break;
    }
    case Event::bounced: {
        const uint64_t notice = id_number(record.text);
        const bool delay = record.outcome == static_cast<uint8_t>(ipc::Outcome::deferred);
        if (delay) entry.delay_told = true;
        if (delay && notice == 0) break;
        History& h = history(entry);
        if (delay) {
            h.delays.emplace_back(record.recipient, notice);
        } else {
            for (auto& f : h.finished)
                if (f.index == record.recipient) f.notice = notice;
            for (auto& e : h.expansions)
                if (e.parent == record.recipient) e.notice = notice;
        }
        if (std::find(h.owed.begin(), h.owed.end(), notice) == h.owed.end()) h.owed.push_back(notice);
        break;
    }
    case Event::retry: {
        History& h = history(entry);
        const uint32_t reason = reasons_.take(joined(record.dsn, record.text));
        const auto same = std::find_if(h.waits.begin(), h.waits.end(), [&](const auto& w) { return w.index == record.recipient; });
        if (same == h.waits.end()) {
            h.waits.push_back({record.recipient, reason});
        } else {
            reasons_.drop(same->reason);
            same->reason = reason;
        }
        break;
    }
    case Event::aged:
        // One from the future was written by a clock that ran ahead: nothing to go by. As is the date of a mail from there.
        if (replaying_ && record.time_us <= now.wall_us) {
            const int64_t noted_us = now.mono_us - (now.wall_us - record.time_us);
            entry.age_zero_us = from_future(entry, now) ? noted_us : std::max(entry.age_zero_us, noted_us);
        }
        break;
    case Event::moved:
    case Event::done:
    case Event::gone: break;   // where a mail is, the scan says
    }
}

Entry* Catalog::found(uint64_t id, queue::Place place, Now now)
{
    on_disk_.insert(id);
    if (done_.contains(id)) return nullptr;
    Entry* entry = find(id);
    if (!entry) return &add(id, place, now);
    entry->state = place.state;
    entry->writer = place.writer;
    return entry;
}

void Catalog::scanned()
{
    std::vector<uint64_t> gone;
    for (auto& [id, entry] : entries_) {
        if (!on_disk_.contains(id)) gone.push_back(id);
        if (!entry.history) continue;
        std::erase_if(entry.history->owed, [&](uint64_t notice) { return on_disk_.contains(notice) || done_.contains(notice); });
    }
    for (const uint64_t id : gone) forget(id);
    on_disk_ = {};
    replaying_ = false;
}

void Catalog::forget_done(const std::vector<uint64_t>& ids)
{
    for (const uint64_t id : ids) done_.erase(id);
}

// A binary heap by next_us; each entry knows its place, so that it can leave from the middle.
void Catalog::place_at(std::size_t at, Entry* entry)
{
    heap_[at] = entry;
    entry->heap_at = static_cast<uint32_t>(at);
}

void Catalog::sift_up(std::size_t at)
{
    Entry* const entry = heap_[at];
    while (at > 0 && heap_[(at - 1) / 2]->next_us > entry->next_us) {
        place_at(at, heap_[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place_at(at, entry);
}

void Catalog::sift_down(std::size_t at)
{
    Entry* const entry = heap_[at];
    for (;;) {
        std::size_t child = 2 * at + 1;
        if (child >= heap_.size()) break;
        if (child + 1 < heap_.size() && heap_[child + 1]->next_us < heap_[child]->next_us) ++child;
        if (heap_[child]->next_us >= entry->next_us) break;
        place_at(at, heap_[child]);
        at = child;
    }
    place_at(at, entry);
}

void Catalog::schedule(Entry& entry, int64_t next_us)
{
    unschedule(entry);
    entry.stage = Stage::timed;
    entry.next_us = next_us;
    heap_.push_back(&entry);
    sift_up(heap_.size() - 1);
}

void Catalog::unschedule(Entry& entry)
{
    const std::size_t at = entry.heap_at;
    if (at == UINT32_MAX) return;
    if (at >= heap_.size() || heap_[at] != &entry) panic("qmgr: the heap of waiting mail is broken");
    entry.heap_at = UINT32_MAX;
    Entry* const last = heap_.back();
    heap_.pop_back();
    if (last == &entry) return;
    place_at(at, last);
    sift_up(at);
    sift_down(last->heap_at);
}

Entry* Catalog::due(int64_t mono_us)
{
    if (heap_.empty() || heap_.front()->next_us > mono_us) return nullptr;
    Entry* const entry = heap_.front();
    unschedule(*entry);
    return entry;
}

int64_t Catalog::next_due() const { return heap_.empty() ? INT64_MAX : heap_.front()->next_us; }

// A deferral settles the notifications that stand before it and voids the reasons: the order below keeps that meaning.
void Catalog::live_entry(const Entry& entry, Now now, std::vector<queue::Record>& out) const
{
    const std::string name = id_text(entry.id);
    static const History nothing;
    const History& history = entry.history ? *entry.history : nothing;
    const auto owed = [&](uint64_t notice) { return std::find(history.owed.begin(), history.owed.end(), notice) != history.owed.end(); };
    bool settled = false;
    for (const auto& e : history.expansions) {
        out.push_back(expansion_record(name, e.parent, e.children, e.by, e.numbering));
        if (e.notice == 0 || owed(e.notice)) continue;
        out.push_back(notice_record(name, e.parent, id_text(e.notice)));
        settled = true;
    }
    if (entry.delay_told) out.push_back(delay_record(name, no_recipient, {}));
    for (const auto& f : history.finished) {
        auto [dsn, text] = parted(reasons_.text(f.reason));
        out.push_back(outcome_record(name, f.index, f.outcome, std::move(dsn), std::move(text)));
        if (f.notice == 0 || owed(f.notice)) continue;
        out.push_back(notice_record(name, f.index, id_text(f.notice)));
        settled = true;
    }
    if (const auto nought = nought_to_note(entry, now)) out.push_back(aged_record(name, *nought));
    if (entry.attempts > 0 || settled) {
        auto [dsn, text] = parted(reasons_.text(entry.reason));
        const int64_t next_wall_us = now.wall_us + (entry.next_us - now.mono_us);
        out.push_back(deferral_record(name, entry.site, next_wall_us, entry.attempts, std::move(dsn), std::move(text)));
    }
    for (const auto& e : history.expansions)
        if (e.notice != 0 && owed(e.notice)) out.push_back(notice_record(name, e.parent, id_text(e.notice)));
    for (const auto& [index, notice] : history.delays)
        if (owed(notice)) out.push_back(delay_record(name, index, id_text(notice)));
    for (const auto& f : history.finished)
        if (f.notice != 0 && owed(f.notice)) out.push_back(notice_record(name, f.index, id_text(f.notice)));
    for (const auto& w : history.waits) {
        auto [dsn, text] = parted(reasons_.text(w.reason));
        out.push_back(retry_record(name, w.index, std::move(dsn), std::move(text)));
    }
}

std::vector<queue::Record> Catalog::live(Now now) const
{
    std::vector<queue::Record> out;
    for (const uint64_t id : done_) out.push_back(record(queue::Event::done, id_text(id)));
    for (const auto& [id, entry] : entries_) live_entry(entry, now, out);
    return out;
}

}  // namespace veredus::qmgr

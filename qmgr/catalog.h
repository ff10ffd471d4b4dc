// Every mail of the queue in one small record, when each is due, and what the journal says of it. No I/O, no clock.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "lib/queue/journal.h"
#include "lib/queue/spool.h"
#include "qmgr/reasons.h"
#include "qmgr/records.h"
#include "qmgr/summary.h"

namespace veredus::qmgr {

// Both clocks at one moment. Intervals are counted on the monotonic one; the wall clock may step either way.
struct Now {
    int64_t wall_us = 0;
    int64_t mono_us = 0;
};

constexpr uint32_t no_recipient = UINT32_MAX;

uint64_t id_number(std::string_view queue_id);     // of a valid queue ID
std::string id_text(uint64_t id);

enum class Stage : uint8_t {
    fresh,     // in line, not opened since it came (or since qmgr started)
    timed,     // waits for its time
    parked,    // due, but its destination has enough to do
    ready,     // due, in line to be opened
    active,    // open
    held,      // put aside for a person
    leaving,   // done; its file is on its way out
};

// What only some mails have: recipients that are finished while others wait, expansions, own reasons.
struct History {
    struct Finished {
        uint32_t index = 0;
        uint8_t outcome = 0;           // lib/ipc/agent.h
        uint32_t reason = 0;           // of a failed one, and of a success that the sender is to hear of
        uint64_t notice = 0;           // ID of the notification that tells of it; 0: none
    };
    struct Expansion {
        uint32_t parent = 0;
        std::vector<queue::Child> children;
        std::string by;                // the local recipient that was expanded; empty: the router's expansion
        uint64_t notice = 0;           // ID of the report that tells of it
        uint8_t numbering = numbering_now;
    };
    struct Waits {
        uint32_t index = 0;
        uint32_t reason = 0;
    };
    std::vector<Finished> finished;
    std::vector<Expansion> expansions;
    std::vector<Waits> waits;          // replaced at each deferral
    std::vector<std::pair<uint32_t, uint64_t>> delays;   // recipient and ID of a report "delayed" that is owed
    std::vector<uint64_t> owed;        // notifications whose ID is in the journal and whose file may not exist yet
};

struct Entry {
    uint64_t id = 0;
    int64_t next_us = 0;               // monotonic
    int64_t arrival_us = 0;            // wall clock
    int64_t age_zero_us = 0;           // monotonic time at which its age was nought
    std::unique_ptr<History> history;
    uint64_t summary_at = 0;           // for listings: its place among the summaries; 0: none
    uint32_t site = 0;                 // hash of the destination it waited for last; 0: not known
    uint32_t reason = 0;
    uint32_t attempts = 0;
    uint32_t heap_at = UINT32_MAX;
    Stage stage = Stage::fresh;
    queue::State state = queue::State::incoming;
    uint8_t writer = 0;
    uint8_t skipped = 0;               // times it was put off unopened because its destination was dead
    bool told = false;                 // by its writer, in this life of ours: its bytes were synced a moment ago, and are in memory still
    bool delay_told = false;           // the sender knows that it waits, or wants not to know
    bool forced = false;               // somebody asked for an attempt now, also on transports that wait for that
    bool released = false;             // taken off hold: it is tried when its file has left hold/
    queue::Place place() const { return {state, writer}; }
};

// The age of a mail. The monotonic clock counts, so that a step of the wall clock expires nothing; a wall clock that
// says "younger" wins when it can be right at all, because it may have been set right after a start with a wrong one.
int64_t age_us(const Entry& entry, Now now);
// The same as a moment of the wall clock, when it is worth a record: where a start would take the mail for older by an hour or more, or, because
// it was stamped by a clock that ran ahead, for an hour or more younger.
std::optional<int64_t> nought_to_note(const Entry& entry, Now now);

class Catalog {
public:
    // The journal from its start, before any file was seen.
    void replay(const queue::Record& record, Now now);
    // The scan found this mail. Null: the journal says that it is done, so it is only to be unlinked.
    Entry* found(uint64_t id, queue::Place place, Now now);
    // After the scan: forgets what has no file, and settles notifications whose file is there or was done with.
    void scanned();

    Entry* find(uint64_t id);
    Entry& add(uint64_t id, queue::Place place, Now now);        // fresh, not known before
    void forget(uint64_t id);                                    // its reasons and place in the heap too
    void apply(const queue::Record& record, Now now);            // what is being committed
    bool done(uint64_t id) const { return done_.contains(id); }

    void schedule(Entry& entry, int64_t next_us);                // stage timed
    void unschedule(Entry& entry);
    Entry* due(int64_t mono_us);                                 // taken off the heap; null: none
    int64_t next_due() const;                                    // INT64_MAX: none
    void set_reason(Entry& entry, std::string_view text);
    History& history(Entry& entry);
    void clear_waits(Entry& entry);
    // For listings; of a mail that was opened or listed. Who keeps it answers its place, or 0.
    void keep_summaries(std::function<uint64_t(uint64_t id, const Summary& summary)> keep) { keep_ = std::move(keep); }
    void summarize(Entry& entry, const queue::Layout& layout, const mail::Envelope& envelope);
    void summarized(uint64_t id, uint64_t place);                // in an earlier life

    Reasons& reasons() { return reasons_; }
    std::size_t size() const { return entries_.size(); }
    template <class F> void each(F&& f)
    {
        for (auto& [id, entry] : entries_) f(entry);
    }

    // What a compacted journal must hold. A done mail stays in it until its unlink is durable (forget_done).
    std::vector<queue::Record> live(Now now) const;
    std::vector<uint64_t> done_ids() const { return {done_.begin(), done_.end()}; }
    void forget_done(const std::vector<uint64_t>& ids);

private:
    Entry& known(uint64_t id, Now now);
    void drop_history(History& history);
    void live_entry(const Entry& entry, Now now, std::vector<queue::Record>& out) const;
    void sift_up(std::size_t at);
    void sift_down(std::size_t at);
    void place_at(std::size_t at, Entry* entry);

    std::unordered_map<uint64_t, Entry> entries_;
    std::unordered_set<uint64_t> done_;
    std::unordered_set<uint64_t> on_disk_;       // between replay and scanned()
    std::vector<Entry*> heap_;
    Reasons reasons_;
    std::function<uint64_t(uint64_t, const Summary&)> keep_;
    bool replaying_ = false;
};

}  // namespace veredus::qmgr

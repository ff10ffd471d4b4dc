// The scheduler: which mail is tried when and where, and what follows from each verdict. No I/O and no clock of its own.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "qmgr/limits.h"
#include "qmgr/world.h"

namespace veredus::qmgr {

struct Counts {
    std::size_t incoming = 0, active = 0, deferred = 0, hold = 0;
};

// What a person asked of many mails: whoever still works on it holds it, and when the last one lets go, all of it has
// happened durably, or is counted as failed or later.
struct Deed {
    explicit Deed(std::function<void(const Deed&)> over_) : over(std::move(over_)) {}
    ~Deed() { over(*this); }
    Deed(const Deed&) = delete;
    std::function<void(const Deed&)> over;       // never throws
    std::size_t failed = 0;                      // their files could not be moved
    std::size_t later = 0;                       // on their way to their destinations: when that attempt ends
    std::string trouble;                         // why they failed; of the latest one
};
using Deeds = std::vector<std::shared_ptr<Deed>>;

class Scheduler {
public:
    Scheduler(World& world, Limits limits, uint32_t smtp_instances);
    ~Scheduler();
    Scheduler(const Scheduler&) = delete;
    void set_limits(Limits limits);

    // The start, in this order: the journal, the scan, then what follows from both.
    void replay(const queue::Record& record) { catalog_.replay(record, world_.now()); }
    bool knows(uint64_t id) { return catalog_.find(id) || catalog_.done(id); }    // the journal does
    void found(uint64_t id, queue::Place place);
    void begin();

    // A writer says, or a look into its directory shows, that this mail is queued.
    void queued(uint64_t id, uint8_t writer, bool told = false);
    // Its writer could not make it durable, and its sender comes again with another one: whatever is left of this one goes, now and after
    // any crash.
    void disowned(uint64_t id, uint8_t writer);
    void agent_up(Agent agent);
    void agent_down(Agent agent);
    void router_up();                  // what could not be routed is routed now
    void verdicts(Agent agent, const ipc::Verdicts& verdicts);
    void pump();                       // does all that can be done now; after events, and when the time is next_wakeup()
    void sweep();                      // once a minute: attempts that take for ever, destinations that nobody uses
    int64_t next_wakeup() const { return catalog_.next_due(); }

    // People (the public socket). Each answers how many mails it met; `deed`, or null, lives until that is durable.
    std::size_t flush_all();
    std::size_t flush(const std::vector<uint64_t>& ids);
    std::size_t hold(const std::vector<uint64_t>& ids, const std::shared_ptr<Deed>& deed = nullptr);
    std::size_t release(const std::vector<uint64_t>& ids, const std::shared_ptr<Deed>& deed = nullptr);
    std::size_t remove(const std::vector<uint64_t>& ids, const std::shared_ptr<Deed>& deed = nullptr);
    std::size_t requeue(const std::vector<uint64_t>& ids, const std::shared_ptr<Deed>& deed = nullptr);

    Catalog& catalog() { return catalog_; }
    std::size_t remembered_turns() const; // of mails, in all rings
    std::size_t scans() const { return scans_; } // of the whole catalog, for destinations that answer again
    const Mail* active(uint64_t id) const;
    Counts counts();
    std::size_t attempts_in_flight() const { return flights_.size(); }
    bool has_unsaved() const { return !records_.empty() || commits_in_flight_ > 0; }
    void drain() { draining_ = true; }  // nothing new is begun (stop)
    // Mails whose unlink is done: after a sync of the directories the journal may forget them.
    std::vector<uint64_t> forgettable() const;
    template <class F> void each_destination(F&& f) const
    {
        for (const auto& [key, d] : destinations_) f(*d);
    }

private:
    struct Flight {
        uint64_t mail = 0;
        Destination* destination = nullptr;
        Agent agent;
        int64_t started_us = 0;
        bool cancelled = false, site_failed = false;
        bool unknown = false;          // to a host that has not answered yet
        std::string site_dsn, site_text;
        std::vector<uint32_t> pending;
        std::map<uint32_t, std::vector<queue::Child>> pages;   // of expansions that come in several messages
    };

    // scheduler.cc: from the queue into memory and back
    void take_due();
    void admit(Entry& entry);
    bool diverted(Entry& entry);
    void park(Entry& entry, Destination& destination);
    void unpark();
    bool open_some();
    void open(Entry& entry);
    void start(Mail& mail, Entry& entry);
    void check_first(Mail& mail);
    void checked(uint64_t id, const Result<void>& result);
    void go_on(Mail& mail, Entry& entry);
    void put_corrupt_aside(Entry& entry, std::string_view why);
    void close(Mail& mail);
    void postpone(Mail& mail, int64_t delay_us);
    void set_aside(Entry& entry, queue::State state, const Deeds& deeds = {});
    void move_when_durable(Entry& entry, queue::State state);
    void move_now(const std::vector<uint64_t>& ids, queue::Place from, queue::Place to, const Deeds& deeds = {});
    void move_from(uint64_t id, std::vector<queue::Place> places, queue::Place to, const Deeds& deeds);
    using Departures = std::map<std::pair<uint8_t, uint8_t>, std::vector<uint64_t>>;     // by state and writer
    void move_all(const Departures& from, queue::State to, const Deeds& deeds);
    void moved(const std::vector<uint64_t>& ids, queue::Place to, const Result<void>& result, const Deeds& deeds);
    void move_again(std::vector<uint64_t> ids);
    void release_one(Entry& entry, Departures& from);
    void released(Entry& entry);
    void note_deed(Mail& mail, const std::shared_ptr<Deed>& deed);
    void leave(uint64_t id, queue::Place place, std::string_view log_text, Deeds deeds = {});
    void unlink_soon(uint64_t id, queue::Place place);
    void save();
    void saved(const Result<void>& result, std::vector<std::function<void()>> then);
    void rebuild();
    void record(queue::Record record);
    void when_durable(std::function<void()> then) { afters_.push_back(std::move(then)); }
    bool expired(const Entry& entry, bool null_sender) const;
    int64_t backoff(const Entry& entry) const;
    Mail* find(uint64_t id) const;

    // routing.cc: the router's answers, expansions
    void route(Mail& mail);
    void ask(Mail& mail, std::vector<uint32_t> indexes, bool final_only);
    void routed(uint64_t id, const std::vector<uint32_t>& asked, Result<std::vector<ipc::Route>> answer);
    void apply_route(Mail& mail, uint32_t index, const ipc::Route& route);
    void deliver_to(Mail& mail, uint32_t index, std::string transport, std::string nexthop);
    void expand(Mail& mail, uint32_t index, std::vector<queue::Child> children, std::string by);
    std::string local_name(const MailRecipient& recipient) const;
    std::string local_key(const std::string& transport, const MailRecipient& recipient) const;
    ExpansionLimits expansion_limits() const { return {limits_.expansion, limits_.expansion_depth, limits_.myorigin}; }

    // dispatch.cc: destinations, attempts, verdicts
    Destination& destination(const std::string& transport, const std::string& nexthop, Agent agent);
    std::size_t enough(const Destination& destination) const;
    bool full(const Destination& d) const { return d.queue.mails() >= enough(d); }
    bool remote_is_crowded() const;
    void enqueue(Mail& mail, Destination& destination, uint32_t index);
    void count_remote(Mail& mail);
    bool try_to_park(Mail& mail);
    void unqueue(Mail& mail);
    void ring(Destination& destination);
    void dispatch();
    bool must_wait(const Destination& destination) const;
    Ring* next_ring(std::size_t agent);
    bool send(Destination& destination);
    void take_verdict(Flight& flight, Mail& mail, ipc::Verdict verdict);
    void pass_on(Mail& mail, uint32_t index, const queue::Child& to);
    void end_flight(uint64_t number);
    void died(Destination& destination, const std::string& dsn, const std::string& text);
    void revived(Destination& destination);
    void take_revived();
    void pause(Destination& destination);
    void drop_if_idle(Destination& destination);

    // conclude.cc: what becomes of a mail
    void touch(Mail& mail);
    void conclude_touched();
    void conclude(Mail& mail);
    void finish(Mail& mail, uint32_t index, uint8_t outcome, std::string dsn, std::string text);
    void defer(Mail& mail, uint32_t index, std::string dsn, std::string text);
    void say(const Mail& mail, uint32_t index, ipc::Outcome outcome, const std::string& dsn, const std::string& text);
    void record_outcomes(Mail& mail);
    void refuse(Mail& mail, uint32_t index, const std::string& dsn, const std::string& text, bool said = false);
    void delivered(Mail& mail, uint32_t index, const Flight& flight, const ipc::Verdict& verdict, std::string text);
    void expire(Mail& mail, Entry& entry);
    void put_off(Mail& mail, Entry& entry);

    // notices.cc: who is told what
    using Telling = std::pair<std::string, Notice::Kind>;      // sender and kind
    struct Reserved {                    // a report that is about to be made
        std::string id;
        Telling telling;
        std::vector<uint32_t> about;
    };
    bool notices_needed(Mail& mail);
    bool delay_due(const Entry& entry) const;
    bool delays_needed(Mail& mail, Entry& entry);
    bool tell(Mail& mail, const std::map<Telling, std::vector<uint32_t>>& all);
    void make_notice(Mail& mail, const std::string& id, const Telling& telling, const std::vector<uint32_t>& about);
    void write_notice(Mail& mail, std::string id, const Telling& telling, const std::vector<uint32_t>& about);
    mail::ReportRecipient report_of(const MailRecipient& recipient, Notice::Kind kind) const;
    std::string full_address(const std::string& who) const;
    void pay_owed(Mail& mail, Entry& entry);

    World& world_;
    Limits limits_;
    uint32_t smtp_instances_;
    Catalog catalog_;
    std::unordered_map<uint64_t, std::unique_ptr<Mail>> mails_;
    std::unordered_map<std::string, std::unique_ptr<Destination>> destinations_;
    std::unordered_map<uint32_t, Destination*> by_hash_;
    std::deque<uint64_t> fresh_, ready_;
    std::vector<std::array<Ring, 2>> rings_;           // by agent number: destinations that have work; [1]: those that have answered
    std::vector<char> up_;
    std::vector<std::size_t> load_, unknown_load_;     // attempts in flight by agent number; those to hosts that never answered
    std::deque<Destination*> parked_ring_;
    std::unordered_set<uint32_t> revived_;             // hashes of destinations that answer again; their mail still waits for its time
    int64_t next_scan_us_ = 0;                         // monotonic: not before is that mail looked for
    std::size_t scans_ = 0;
    bool scan_timer_ = false;
    std::unordered_map<uint64_t, Flight> flights_;
    uint64_t next_attempt_ = 1;
    std::size_t remote_active_ = 0;
    bool little_room_ = false;                         // more than half of the open mails are remote: queues are kept short
    std::unordered_set<uint64_t> unrouted_;            // postponed because the router was away
    unsigned routing_ = 0, turn_ = 0;
    std::vector<uint64_t> touched_;

    std::vector<queue::Record> records_;               // of this turn, for one commit
    std::vector<std::function<void()>> afters_;        // what waits for that commit
    std::vector<std::function<void()>> stalled_;       // what waits for a journal that works again
    std::size_t commits_in_flight_ = 0;
    bool broken_ = false, draining_ = false;
    std::unordered_map<uint64_t, queue::Place> moving_;        // target of a move under way
    std::unordered_map<uint64_t, std::function<void()>> after_move_;
    std::unordered_map<uint64_t, std::vector<queue::Place>> doubled_;     // may have a name there too, after moves that failed
    std::unordered_map<uint64_t, Deeds> deeds_;                // of open mails that nothing is under way for
    std::unordered_set<uint64_t> leaving_;                     // to be unlinked once their end is durable
    std::vector<std::pair<uint64_t, queue::Place>> unlinks_;
    std::map<std::pair<uint8_t, uint8_t>, std::vector<uint64_t>> moves_;   // (state, writer) they come from -> deferred
};

}  // namespace veredus::qmgr

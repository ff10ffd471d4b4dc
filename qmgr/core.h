// The scheduler's hands: spool, journal, intake of notifications, router and agents, all in one loop with a few threads.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/clock.h"
#include "lib/disk/pool.h"
#include "lib/ipc/channel.h"
#include "lib/ipc/flush.h"
#include "lib/ipc/queue.h"
#include "lib/loop/loop.h"
#include "lib/queue/intake.h"
#include "lib/queue/journal.h"
#include "lib/queue/spool.h"
#include "qmgr/scheduler.h"
#include "qmgr/site_flushes.h"
#include "qmgr/summaries.h"

namespace veredus::qmgr {

// How to reach the neighbours; null while one is away.
struct Neighbours {
    std::function<ipc::Channel*()> router;
    std::function<ipc::Channel*(Agent)> agent;
};

class Core final : private World {
public:
    // `base` is the spool. Opens its directories and the journal, scans, and has everything in memory when it returns.
    static Result<std::unique_ptr<Core>> open(Loop& loop, disk::Disk& disk, const std::string& base, unsigned slot, const Clock& clock,
                                              Limits limits, uint32_t smtp_instances, Neighbours neighbours);
    ~Core() override;

    Scheduler& scheduler() { return scheduler_; }
    queue::Spool& spool() { return *spool_; }
    disk::Pool& pool() { return *pool_; }
    // Of listings: what they read from a cold disk is in the way of no move.
    static constexpr unsigned reader_threads = 16;
    disk::Pool& readers() { return *readers_; }
    const Summaries& summaries() const { return *summaries_; }
    Now now() const override { return {clock_.wall_us(), clock_.mono_us()}; }
    const Limits& limits() const { return limits_; }
    void set_limits(Limits limits);

    void agent_up(Agent agent) { scheduler_.agent_up(agent); }
    void agent_down(Agent agent) { scheduler_.agent_down(agent); }
    void router_up() { scheduler_.router_up(); }
    void agent_message(Agent agent, const ipc::Message& message);
    // `slot`: whose queue IDs the writer makes; it has no business with others.
    void writer_message(uint8_t writer, unsigned slot, const ipc::Message& message);
    // ETRN: tries what waits for this domain, unless that was done a moment ago. `done`, later or at once, gets an ipc::SiteFlushed.
    void flush_site(const std::string& domain, std::function<void(ipc::SiteFlushed)> done);
    void writer_came(uint8_t writer);            // it may have queued mail that nobody heard of
    void writer_left(uint8_t writer);
    void stop(std::function<void()> done);       // begins nothing new, gives what is in flight a moment, saves

private:
    Core(Loop& loop, disk::Disk& disk, const Clock& clock, Limits limits, uint32_t smtp_instances, Neighbours neighbours);
    Result<void> begin(const std::string& base, unsigned slot);
    void pump();
    void set_timer();
    void every_minute();
    void queue_run();
    void look_into(uint8_t writer, bool young = true);   // its directory, for mail that nobody announced; `young`: also for what may be told yet
    void disowned(uint8_t writer, unsigned slot, const ipc::Message& message);
    Result<void> open_summaries(const std::string& base);
    void care_for_summaries();
    void unlink_now();
    void commit_endings();
    void compact_if_due();
    void try_to_stop();

    Opened open(const std::string& id, queue::Place place) override;
    void check_body(const Mail& mail, std::function<void(Result<void>)> done) override;
    void route(ipc::RouteRequest request, std::function<void(Result<std::vector<ipc::Route>>)> done) override;
    bool attempt(Agent agent, const ipc::Attempt& attempt, const Fd& file) override;
    void cancel(Agent agent, uint64_t attempt) override;
    void commit(std::vector<queue::Record> records, std::function<void(Result<void>)> durable) override;
    void rebuild(std::vector<queue::Record> live, std::function<void(Result<void>)> done) override;
    void move(std::vector<std::string> ids, queue::Place from, queue::Place to, std::function<void(Result<void>)> done) override;
    void remove(std::vector<std::pair<std::string, queue::Place>> mails, std::function<void(Result<void>)> done) override;
    Result<std::string> reserve_id() override;
    void notify(Notice notice, const Mail& about, std::function<void(Result<void>)> written) override;
    void after(int64_t us, std::function<void()> work) override;
    void wake() override;

    Loop& loop_;
    disk::Disk& disk_;
    const Clock& clock_;
    Limits limits_;
    Neighbours neighbours_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);   // what was posted may run after us
    std::unique_ptr<queue::Spool> spool_;
    std::unique_ptr<queue::Intake> intake_;
    std::unique_ptr<queue::Journal> journal_;
    std::unique_ptr<Summaries> summaries_;
    std::unique_ptr<disk::Pool> pool_, checks_, readers_;     // after what their threads work with: they end first
    Scheduler scheduler_;
    std::unordered_map<uint64_t, std::unique_ptr<Timer>> timers_;
    uint64_t next_timer_ = 0;
    SiteFlushes flushes_;
    struct Unlinks {
        std::vector<std::pair<std::string, queue::Place>> mails;
        std::vector<std::function<void(Result<void>)>> done;
    } unlinks_;                                  // of finished mail: nobody waits for them
    struct Endings {
        std::vector<queue::Record> records;
        std::vector<std::function<void(Result<void>)>> durable;
    } endings_;                                  // waiting for those that end with them
    Timer due_, run_, minute_, drops_, stop_poll_, unlink_, ending_;
    bool submission_there_ = false;
    std::function<void()> stopped_;
    int64_t stop_by_us_ = 0;
    uint64_t compacted_size_ = 0;
    bool pump_wanted_ = false, compacting_ = false;
};

}  // namespace veredus::qmgr

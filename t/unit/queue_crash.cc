// The forgetful-disk test (durability.md): the whole life of mails, from a draft to removed, with a crash at every step.
// Nothing acknowledged is lost, nothing half-written is seen, nothing finished is begun again, no ID repeats.
#include "t/unit/catch.h"
#include "t/unit/forgetful_disk.h"

#include <cerrno>
#include <set>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/queue/id.h"
#include "lib/queue/intake.h"
#include "lib/queue/journal.h"
#include "lib/queue/spool.h"

using namespace veredus;
using namespace veredus::queue;
using test::Cut;
using test::ForgetfulDisk;

namespace {

constexpr Place in_smtpd{State::incoming, 0}, in_internal{State::incoming, 2}, deferred{State::deferred, 0}, hold{State::hold, 0};

class HandClock final : public Clock {
public:
    int64_t wall_us() const override { return wall; }
    int64_t mono_us() const override { return wall; }
    int64_t wall = 1'795'528'800 * us_per_second;
};

// What the outside world has been told, or may have been.
struct Facts {
    std::map<std::string, std::string> content;     // of every ID ever taken: what its mail would be
    std::set<std::string> acknowledged;             // 250 was said
    std::set<std::string> finishing;                // its last outcome was handed to the journal
    std::set<std::string> finished;                 // and the journal said "durable"
    std::set<std::string> forgotten;                // the journal may have dropped it: its unlink is durable
    std::map<std::string, State> promised;          // "it is on hold now" was said, and nothing was begun since
    std::map<std::string, std::string> bounce_of;   // cause -> notification
};

// qmgr in small: the order of its steps is what is tried here.
class Processes {
public:
    Processes(ForgetfulDisk& disk, Facts& facts, Clock& clock) : disk_(disk), facts_(facts), clock_(clock) {}
    bool start();
    void live();    // the whole life; each step may fail, and then the mail stays where it is
    std::optional<std::string> accept(Intake& intake, std::size_t size);
    std::set<std::string> replayed_done() const;
    bool replayed(Event event, const std::string& id) const;
    Spool& spool() { return *spool_; }
    Intake& smtpd() { return *smtpd_; }

private:
    bool commit(std::vector<Record> records);
    bool finish(const std::string& id, Place place, std::vector<Record> records);
    bool move(const std::string& id, Place from, Place to);
    Record record(Event event, const std::string& id, std::string text = "") const;
    ForgetfulDisk& disk_;
    Facts& facts_;
    Clock& clock_;
    std::vector<Record> live_;
    std::set<std::string> removed_;
    std::unique_ptr<Intake> smtpd_, internal_;
    std::unique_ptr<Spool> spool_;
    std::unique_ptr<Journal> journal_;
};

bool Processes::start()
{
    auto smtpd = Intake::open(disk_, "/spool/incoming/smtpd", 1, clock_, nullptr);
    auto internal = Intake::open(disk_, "/spool/incoming/internal", 2, clock_, nullptr);
    auto spool = Spool::open(disk_, "/spool");
    if (!smtpd || !internal || !spool) return false;
    auto log = disk_.open_directory(nullptr, "/spool/log");
    if (!log) return false;
    auto journal = Journal::open(disk_, std::move(*log), [this](const Record& r) { live_.push_back(r); }, [](std::function<void()> f) { f(); });
    if (!journal) return false;
    smtpd_ = std::move(*smtpd), internal_ = std::move(*internal), spool_ = std::move(*spool), journal_ = std::move(*journal);
    return true;
}

Record Processes::record(Event event, const std::string& id, std::string text) const
{
    Record r;
    r.event = event;
    r.id = id;
    r.text = std::move(text);
    return r;
}

std::optional<std::string> Processes::accept(Intake& intake, std::size_t size)
{
    auto draft = intake.create();
    if (!draft) return std::nullopt;
    const std::string id = draft->id();
    REQUIRE(facts_.content.emplace(id, "").second);    // no ID repeats
    const std::string line = cat(id, " line of a body\r\n");
    std::string body;
    while (body.size() < size) body += line;
    mail::HeaderBlock header;
    header.append("Subject", id);
    mail::Envelope envelope;
    envelope.sender = {"a", "example.org"};
    envelope.recipients = {{{"b", "example.net"}, 0, ""}};
    facts_.content[id] = header.text() + "\r\n" + body;
    for (std::string_view rest = body; !rest.empty(); rest.remove_prefix(std::min<std::size_t>(rest.size(), 40'000)))
        if (!draft->append(rest.substr(0, 40'000))) return std::nullopt;
    bool accepted = false;
    intake.commit(std::move(*draft), header, envelope, [&](Result<Receipt> r) { accepted = static_cast<bool>(r); });
    if (!accepted) return std::nullopt;
    facts_.acknowledged.insert(id);
    return id;
}

bool Processes::commit(std::vector<Record> records)
{
    bool ok = false;
    live_.insert(live_.end(), records.begin(), records.end());
    journal_->commit(std::move(records), [&](Result<void> r) { ok = static_cast<bool>(r); });
    [[maybe_unused]] const auto flushed = journal_->flush();
    if (ok) return true;
    journal_->compact(live_, [&](Result<void> r) { ok = static_cast<bool>(r); });    // a fresh file heals
    [[maybe_unused]] const auto again = journal_->flush();
    return ok;
}

bool Processes::finish(const std::string& id, Place place, std::vector<Record> records)
{
    facts_.finishing.insert(id);
    if (disk_.powered()) facts_.promised.erase(id);    // else nobody is there to begin anything
    records.push_back(record(Event::done, id));
    if (!commit(std::move(records))) return false;
    facts_.finished.insert(id);
    if (!spool_->remove(id, place)) return false;
    removed_.insert(id);
    return true;
}

bool Processes::move(const std::string& id, Place from, Place to)
{
    if (disk_.powered()) facts_.promised.erase(id);
    if (!spool_->move({id}, from, to)) return false;
    if (to.state == State::hold || from.state == State::hold) facts_.promised[id] = to.state;
    return true;
}

void Processes::live()
{
    const auto delivered = accept(*smtpd_, 100);
    const auto bounced = accept(*smtpd_, 200'000);    // streams to tmp before its commit
    const auto held = accept(*smtpd_, 3'000);
    { auto dropped = smtpd_->create(); if (dropped) facts_.content[dropped->id()] = ""; }    // a peer that went away
    if (delivered) finish(*delivered, in_smtpd, {record(Event::outcome, *delivered)});
    bool is_deferred = bounced && move(*bounced, in_smtpd, deferred);
    if (is_deferred) commit({record(Event::deferred, *bounced, "try again"), record(Event::moved, *bounced, "deferred")});
    bool is_held = held && move(*held, in_smtpd, hold);
    if (is_held) commit({record(Event::moved, *held, "hold")});
    if (is_deferred) {
        if (const auto notice = accept(*internal_, 500)) {
            facts_.bounce_of[*bounced] = *notice;
            finish(*bounced, deferred, {record(Event::outcome, *bounced), record(Event::bounced, *bounced, *notice)});
            if (move(*notice, in_internal, deferred)) commit({record(Event::moved, *notice, "deferred")});
        }
    }
    // Forget what is gone: only what was unlinked, and only when that is durable.
    if (spool_->settle()) {
        std::vector<Record> rest;
        for (const Record& r : live_)
            if (!removed_.contains(r.id)) rest.push_back(r);
        facts_.forgotten.insert(removed_.begin(), removed_.end());
        bool ok = false;
        journal_->compact(rest, [&](Result<void> r) { ok = static_cast<bool>(r); });
        [[maybe_unused]] const auto flushed = journal_->flush();
        if (ok) live_ = rest;
    }
    if (is_held && move(*held, hold, deferred)) {
        commit({record(Event::moved, *held, "deferred")});
        finish(*held, deferred, {record(Event::outcome, *held)});
    }
    accept(*smtpd_, 10);
}

std::set<std::string> Processes::replayed_done() const
{
    std::set<std::string> out;
    for (const Record& r : live_)
        if (r.event == Event::done) out.insert(r.id);
    return out;
}

bool Processes::replayed(Event event, const std::string& id) const
{
    return std::any_of(live_.begin(), live_.end(), [&](const Record& r) { return r.event == event && r.id == id; });
}

void make_spool(ForgetfulDisk& disk)
{
    for (const SpoolDirectory& d : spool_directories()) disk.make_directory(*d.path ? cat("/spool/", d.path) : "/spool");
}

// Nothing when it was not whole on the disk yet.
std::optional<std::string> read_content(disk::Disk& disk, Spool& spool, const Spool::Found& found)
{
    auto fd = spool.open_mail(found.id, found.place);
    REQUIRE(fd);
    const auto mail = read_mail_file(disk, *fd, true);
    if (!mail) return std::nullopt;
    return cat(*read_header(*fd, mail->layout, 10'000), "\r\n", *disk.read(*fd, mail->layout.body_offset, static_cast<std::size_t>(mail->layout.body_size)));
}

// Starts everything anew and looks whether each promise was kept.
void check_promises(ForgetfulDisk& disk, Facts& facts, Clock& clock)
{
    Processes after(disk, facts, clock);
    REQUIRE(after.start());
    std::vector<std::string> odd;
    const auto found = after.spool().scan([&](const std::string& path) { odd.push_back(path); });
    REQUIRE(found);
    CHECK(odd.empty());
    const auto done = after.replayed_done();
    std::map<std::string, State> there;
    for (const auto& f : *found) {
        REQUIRE(facts.content.contains(f.id));
        const auto content = read_content(disk, after.spool(), f);
        if (!content) {                                                     // found so, as qmgr does, and put aside
            INFO("half-written: " << f.id);
            REQUIRE_FALSE(facts.acknowledged.contains(f.id));
            if (f.place.state == State::corrupt) continue;
            REQUIRE(f.place.state == State::incoming);
            REQUIRE(after.spool().move({f.id}, f.place, {State::corrupt, 0}));
            continue;
        }
        REQUIRE(there.emplace(f.id, f.place.state).second);
        REQUIRE(content == facts.content[f.id]);
        if (facts.finished.contains(f.id)) REQUIRE(done.contains(f.id));    // it is not delivered again
    }
    for (const std::string& id : facts.acknowledged) {
        INFO("acknowledged " << id);
        if (!there.contains(id)) REQUIRE((facts.finishing.contains(id) && (done.contains(id) || facts.forgotten.contains(id))));
    }
    for (const auto& [id, state] : facts.promised) REQUIRE(there.at(id) == state);
    for (const auto& [cause, notice] : facts.bounce_of)
        if (after.replayed(Event::outcome, cause)) REQUIRE((after.replayed(Event::bounced, cause) && (there.contains(notice) || facts.finishing.contains(notice))));
    // What the journal says is done goes now, for good: so what was replayed must last, whoever wrote it.
    for (const auto& f : *found) {
        if (!done.contains(f.id)) continue;
        REQUIRE(after.spool().remove(f.id, f.place));
        facts.finished.insert(f.id);
    }
    REQUIRE(after.spool().settle());
    REQUIRE(after.accept(after.smtpd(), 10));    // it works again, under a new ID
}

struct Quiet {
    Quiet() { log::capture(&lines); }
    ~Quiet() { log::capture(nullptr); }
    std::string lines;
};

// The directories of which one alone may be synced by somebody else.
const std::vector<std::string> busy_directories = {
    "/spool/incoming/smtpd/tmp", "/spool/incoming/smtpd/new", "/spool/incoming/internal/new", "/spool/hold", "/spool/log",
};

std::vector<std::string> directories_with_deferred(const Facts& facts)
{
    std::set<std::string> out(busy_directories.begin(), busy_directories.end());
    for (const auto& [id, content] : facts.content) out.insert(cat("/spool/deferred/", id.back()));
    return {out.begin(), out.end()};
}

struct Run {
    Run() { make_spool(disk); }
    bool live()
    {
        Processes processes(disk, facts, clock);
        if (!processes.start()) return false;
        processes.live();
        return true;
    }
    ForgetfulDisk disk;
    HandClock clock;
    Facts facts;
};

uint64_t steps_of_a_life()
{
    Run run;
    run.live();
    REQUIRE(run.facts.acknowledged.size() == 5);
    REQUIRE(run.facts.finished.size() == 3);
    return run.disk.steps();
}

}  // namespace

TEST_CASE("without a crash a life ends as it should", "[queue][crash]")
{
    const Quiet quiet;
    Run run;
    run.live();
    check_promises(run.disk, run.facts, run.clock);
    CHECK(run.disk.names("/spool/incoming/smtpd/tmp") == std::vector<std::string>{".mark-1"});
    CHECK(run.disk.names("/spool/hold").empty());
    CHECK(run.disk.names("/spool/corrupt").empty());
}

TEST_CASE("a power cut at every step loses nothing that was acknowledged", "[queue][crash][durability-1]")
{
    const Quiet quiet;
    const uint64_t steps = steps_of_a_life();
    REQUIRE(steps > 60);
    for (uint64_t at = 1; at <= steps + 1; ++at) {
        for (int seed = -4; seed < 8; ++seed) {
            Run run;
            run.disk.cut_power_at(at);
            run.live();
            const Cut cut = seed < 0 ? static_cast<Cut>(seed + 4) : Cut::random;
            INFO("step " << at << " of " << steps << ", cut " << static_cast<int>(cut) << ", seed " << seed);
            run.disk.power_cut(cut, static_cast<uint64_t>(seed));
            check_promises(run.disk, run.facts, run.clock);
        }
    }
}

TEST_CASE("any directory synced alone before a power cut at any step loses nothing", "[queue][crash][durability-1]")
{
    const Quiet quiet;
    const uint64_t steps = steps_of_a_life();
    Run first;
    first.live();
    for (const std::string& alone : directories_with_deferred(first.facts)) {
        for (uint64_t at = 1; at <= steps + 1; ++at) {
            INFO("step " << at << " of " << steps << ", synced alone: " << alone);
            for (const bool all_the_time : {false, true}) {
                Run run;
                run.disk.cut_power_at(at);
                if (all_the_time) run.disk.after_each_step_sync(alone);
                run.live();
                run.disk.sync_alone(alone);
                run.disk.power_cut(Cut::oldest);
                check_promises(run.disk, run.facts, run.clock);
            }
        }
    }
}

TEST_CASE("processes killed at any step, restarted, and then a power cut: nothing is lost", "[queue][crash][durability-6]")
{
    const Quiet quiet;
    const uint64_t steps = steps_of_a_life();
    for (uint64_t at = 1; at <= steps + 1; ++at) {
        for (int seed = -4; seed < 2; ++seed) {
            Run run;
            run.disk.cut_power_at(at);
            run.live();
            INFO("step " << at << " of " << steps << ", seed " << seed);
            run.disk.revive();
            check_promises(run.disk, run.facts, run.clock);    // heals, with nothing synced that was not
            run.disk.power_cut(seed < 0 ? static_cast<Cut>(seed + 4) : Cut::random, static_cast<uint64_t>(seed));
            check_promises(run.disk, run.facts, run.clock);
        }
    }
}

TEST_CASE("an I/O error at any sync or step, and a full disk at any write: nothing is lost, and it goes on", "[queue][crash][durability-2]")
{
    const Quiet quiet;
    const uint64_t steps = steps_of_a_life();
    for (int kind = 0; kind < 3; ++kind) {
        for (uint64_t nth = 1; nth <= steps; ++nth) {
            for (const Cut cut : {Cut::oldest, Cut::newest, Cut::random}) {
                Run run;
                if (kind == 0) run.disk.fail_sync(nth, EIO);
                if (kind == 1) run.disk.fail_write(nth, ENOSPC);
                if (kind == 2) run.disk.fail_step(nth, EIO);
                const bool started = run.live();
                INFO("kind " << kind << ", the " << nth << "th, cut " << static_cast<int>(cut));
                if (started) REQUIRE(run.facts.acknowledged.size() >= 3);    // one error costs one mail and its bounce, not the service
                run.disk.power_cut(cut, nth);
                check_promises(run.disk, run.facts, run.clock);
            }
        }
    }
}

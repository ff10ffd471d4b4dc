#include "qmgr/core.h"

#include <malloc.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/queue/inspect.h"
#include "qmgr/report.h"

namespace veredus::qmgr {

using std::chrono::milliseconds;

namespace {
constexpr unsigned pool_threads = 4;
constexpr unsigned check_threads = 2;                    // read large mails for their checksum: no move waits behind that
constexpr milliseconds router_deadline{30'000};
constexpr uint64_t compact_above = 4u << 20;             // bytes of journal
constexpr uint64_t bytes_per_mail = 100;                 // of a waiting one in the journal, about
constexpr uint64_t body_check_below = 256u << 10;        // a larger body is not read in the loop for its checksum
constexpr int64_t a_day_us = 86'400 * us_per_second;
constexpr int64_t stop_patience_us = 3 * us_per_second;
// Finished mail is unlinked by a thread: for all that ends within this time together, so that the loop and that thread wake once for it.
constexpr milliseconds unlink_pause{20};
constexpr std::size_t unlinks_at_once = 1000;
// Nobody waits for the word that a mail is done with, but its unlink. What ends within this time shares one sync of the log, and a crash meanwhile
// finds it still in flight.
constexpr milliseconds endings_pause{5};
constexpr std::size_t endings_at_once = 1000;            // records
constexpr int64_t commit_patience_s = 60;                // a younger mail that nobody announced may be amid its commit
constexpr uint8_t submission_writer = 1, internal_writer = 2;
static_assert(std::string_view(queue::writer_roles[submission_writer]) == "submission");
// A mail of submission's may still have its file in the maildrop, until submission has gone through it: delivered before, and
// done with, it would be taken up again. So nobody looks for such mail while submission is away, but for a start that waited.
constexpr milliseconds submission_patience{10'000};

// A start and a compaction hold everything twice for a moment; what they leave is given back.
void give_memory_back()
{
#ifdef __GLIBC__
    ::malloc_trim(0);
#endif
}

milliseconds ms(int64_t us) { return milliseconds(std::clamp<int64_t>((us + 999) / 1000, 0, 86'400'000)); }
}  // namespace

Core::Core(Loop& loop, disk::Disk& disk, const Clock& clock, Limits limits, uint32_t smtp_instances, Neighbours neighbours)
    : loop_(loop), disk_(disk), clock_(clock), limits_(limits), neighbours_(std::move(neighbours)), scheduler_(*this, std::move(limits), smtp_instances),
      due_(loop, [this] { wake(); }), run_(loop, [this] { queue_run(); }), minute_(loop, [this] { every_minute(); }),
      drops_(loop, [this] {
          if (!submission_there_) look_into(submission_writer);
      }),
      stop_poll_(loop, [this] { try_to_stop(); }), unlink_(loop, [this] { unlink_now(); }), ending_(loop, [this] { commit_endings(); })
{
}

Core::~Core()
{
    *alive_ = false;
    if (!journal_) return;
    commit_endings();
    (void)journal_->flush();
}

Result<std::unique_ptr<Core>> Core::open(Loop& loop, disk::Disk& disk, const std::string& base, unsigned slot, const Clock& clock,
                                         Limits limits, uint32_t smtp_instances, Neighbours neighbours)
{
    std::unique_ptr<Core> core(new Core(loop, disk, clock, std::move(limits), smtp_instances, std::move(neighbours)));
    TRY(core->begin(base, slot));
    return core;
}

Result<void> Core::begin(const std::string& base, unsigned slot)
{
    const auto post = [&loop = loop_](std::function<void()> work) { loop.post(std::move(work)); };
    spool_ = TRY(queue::Spool::open(disk_, base));
    pool_ = std::make_unique<disk::Pool>(pool_threads, post);
    checks_ = std::make_unique<disk::Pool>(check_threads, post);
    readers_ = std::make_unique<disk::Pool>(reader_threads, post);
    intake_ = TRY(queue::Intake::open(disk_, cat(base, "/incoming/internal"), slot, clock_, pool_.get()));
    disk::Directory log_directory = TRY(disk_.open_directory(nullptr, cat(base, "/log")));
    journal_ = TRY(queue::Journal::open(disk_, std::move(log_directory), [this](const queue::Record& r) { scheduler_.replay(r); }, post));
    // Nobody else writes there: every draft is of a life that ended. It would be in the way of a notification made again.
    if (auto swept = intake_->sweep_drafts(INT64_MAX); !swept) log::warning("sweeping old drafts: ", swept.error().text);
    const auto odd = [](const std::string& path) { log::warning("what is ", printable(path), "? It is no mail and is left alone"); };
    for (const auto& found : TRY(spool_->scan(odd))) {
        const uint64_t id = id_number(found.id);
        const bool drop = found.place == queue::Place{queue::State::incoming, submission_writer};
        if (!drop || scheduler_.knows(id)) scheduler_.found(id, found.place);
    }
    TRY(open_summaries(base));
    scheduler_.begin();
    give_memory_back();
    compacted_size_ = std::min<uint64_t>(journal_->size(), scheduler_.catalog().size() * bytes_per_mail);
    run_.start(ms(limits_.queue_run_us));
    minute_.start(milliseconds(60'000));
    drops_.start(submission_patience);
    wake();
    return {};
}

Result<void> Core::open_summaries(const std::string& base)
{
    summaries_ = std::make_unique<Summaries>(disk_, TRY(disk_.open_directory(nullptr, cat(base, "/log"))));
    Catalog& catalog = scheduler_.catalog();
    summaries_->load([&](uint64_t id, uint64_t place) { catalog.summarized(id, place); });
    catalog.keep_summaries([this](uint64_t id, const Summary& summary) { return summaries_->add(id, summary); });
    care_for_summaries();
    summaries_->write_with(*readers_);
    return {};
}

// When most of them are of mails that have left, those that wait are summarized again as they are opened.
void Core::care_for_summaries()
{
    summaries_->flush();
    if (!summaries_->crowded(scheduler_.catalog().size())) return;
    summaries_->begin_anew();
    scheduler_.catalog().each([](Entry& e) { e.summary_at = 0; });
}

void Core::set_limits(Limits limits)
{
    limits_ = limits;
    scheduler_.set_limits(std::move(limits));
}

// All that one turn of the loop brings is worked on at once: one commit, one batch of moves, one of unlinks.
void Core::wake()
{
    if (std::exchange(pump_wanted_, true)) return;
    loop_.defer([this, alive = alive_] {
        if (*alive) pump();
    });
}

void Core::pump()
{
    pump_wanted_ = false;
    scheduler_.pump();
    compact_if_due();
    set_timer();
}

void Core::set_timer()
{
    const int64_t next = scheduler_.next_wakeup();
    if (next == INT64_MAX) return due_.stop();
    // At least a moment: what is due but has to wait (a broken journal) must not spin.
    due_.start(std::max(ms(next - clock_.mono_us()), milliseconds(10)));
}

void Core::every_minute()
{
    scheduler_.sweep();
    care_for_summaries();
    give_memory_back();          // of a flood of mail that has passed
    minute_.start(milliseconds(60'000));
}

void Core::queue_run()
{
    for (uint8_t writer = 0; writer < queue::writer_count; ++writer)
        if (writer != submission_writer || submission_there_) look_into(writer, false);
    const int64_t old = clock_.wall_us() - a_day_us;
    pool_->run([intake = intake_.get(), old] { (void)intake->sweep_drafts(old); }, nullptr);
    run_.start(ms(limits_.queue_run_us));
}

void Core::writer_came(uint8_t writer)
{
    if (writer == submission_writer) submission_there_ = true;
    look_into(writer);
}

void Core::writer_left(uint8_t writer)
{
    if (writer == submission_writer) submission_there_ = false;
}

void Core::look_into(uint8_t writer, bool young)
{
    auto found = std::make_shared<Result<std::vector<std::string>>>(std::vector<std::string>{});
    pool_->run([spool = spool_.get(), found, writer] { *found = spool->scan_writer(writer); },
               [this, alive = alive_, found, writer, young] {
                   if (!*alive) return;
                   if (!*found) return log::warning("looking for queued mail: ", found->error().text);
                   const int64_t now_s = clock_.wall_us() / us_per_second;
                   for (const std::string& id : **found)
                       if (young || std::abs(now_s - int64_t{queue::id_seconds(id)}) >= commit_patience_s) scheduler_.queued(id_number(id), writer);
               });
}

// A journal that has grown to twice what it had to hold is written anew. First the directories are synced: a finished
// mail may be forgotten only when its name cannot come back.
void Core::compact_if_due()
{
    if (compacting_ || journal_->size() < std::max(compact_above, 2 * compacted_size_)) return;
    compacting_ = true;
    auto ids = std::make_shared<std::vector<uint64_t>>(scheduler_.forgettable());
    auto synced = std::make_shared<Result<void>>();
    pool_->run([spool = spool_.get(), synced] { *synced = spool->settle(); },
               [this, alive = alive_, ids, synced] {
                   if (!*alive) return;
                   if (!*synced) {
                       compacting_ = false;
                       compacted_size_ = journal_->size();      // not again at once
                       return log::warning("syncing the queue's directories: ", synced->error().text);
                   }
                   scheduler_.pump();                           // what this turn recorded goes before the snapshot
                   commit_endings();
                   scheduler_.catalog().forget_done(*ids);
                   journal_->compact(scheduler_.catalog().live(now()), [this](Result<void> result) {
                       compacting_ = false;
                       compacted_size_ = journal_->size();
                       give_memory_back();
                       if (!result) log::warning("writing qmgr's log anew: ", result.error().text);
                   });
               });
}

void Core::stop(std::function<void()> done)
{
    stopped_ = std::move(done);
    stop_by_us_ = clock_.mono_us() + stop_patience_us;
    scheduler_.drain();
    try_to_stop();
}

void Core::try_to_stop()
{
    commit_endings();
    const bool busy = scheduler_.attempts_in_flight() > 0 || scheduler_.has_unsaved();
    if (busy && clock_.mono_us() < stop_by_us_) {
        wake();
        stop_poll_.start(milliseconds(20));
        return;
    }
    for (const auto& [id, place] : std::exchange(unlinks_, {}).mails) (void)spool_->remove(id, place);      // if it fails: by the next start
    summaries_->finish();
    if (auto flushed = journal_->flush(); !flushed) log::error("stopping with an unsaved log: ", flushed.error().text);
    if (stopped_) std::exchange(stopped_, nullptr)();
}

void Core::agent_message(Agent agent, const ipc::Message& message)
{
    if (message.type != static_cast<uint16_t>(ipc::AgentType::verdicts)) return log::warning("a delivery agent sent a message of type ", message.type);
    const auto verdicts = ipc::Verdicts::decode(message.body);
    if (!verdicts) {    // that attempt is over: its recipients wait for another
        log::warning("a delivery agent sent ", verdicts.error().text);
        if (const auto number = ipc::attempt_number(message.body)) scheduler_.verdicts(agent, {*number, {}});
        return;
    }
    scheduler_.verdicts(agent, *verdicts);
}

// Where this domain's mail goes now, and where it goes without a table's word, for what waits since then.
void Core::flush_site(const std::string& domain, std::function<void(ipc::SiteFlushed)> done)
{
    using How = ipc::SiteFlushed::How;
    const SiteFlushes::May may = flushes_.ask(domain, clock_.mono_us());
    if (may != SiteFlushes::May::yes) return done({may == SiteFlushes::May::lately ? How::lately : How::busy, 0});
    ipc::RouteRequest request;
    request.recipients = {cat("postmaster@", domain)};
    request.check_only = request.final_only = true;      // no alias of the postmaster's
    route(std::move(request), [this, domain, done = std::move(done)](const Result<std::vector<ipc::Route>>& routes) {
        std::vector<uint32_t> sites;
        for (const char* transport : {"smtp", "relay", "lmtp"}) sites.push_back(destination_hash(destination_key(transport, domain)));
        if (routes && routes->size() == 1 && routes->front().kind == ipc::Route::Kind::deliver)
            sites.push_back(destination_hash(destination_key(routes->front().transport, routes->front().nexthop)));
        std::vector<uint64_t> ids;
        scheduler_.catalog().each([&](const Entry& e) {
            if (std::find(sites.begin(), sites.end(), e.site) != sites.end()) ids.push_back(e.id);
        });
        std::sort(ids.begin(), ids.end());
        const std::size_t waiting = scheduler_.flush(ids);
        log::info("ETRN ", printable(domain, 255), ": ", waiting, " mails are tried");
        done({How::started, waiting});
    });
}

void Core::writer_message(uint8_t writer, unsigned slot, const ipc::Message& message)
{
    if (message.type == static_cast<uint16_t>(ipc::QueueType::disowned)) return disowned(writer, slot, message);
    if (message.type != static_cast<uint16_t>(ipc::QueueType::queued)) return log::warning("a writer sent a message of type ", message.type);
    const auto queued = ipc::Queued::decode(message.body);
    if (!queued) return log::warning("a writer sent ", queued.error().text);
    for (const std::string& id : queued->ids) {
        if (queue::is_queue_id(id)) scheduler_.queued(id_number(id), writer, true);
        else log::warning("a writer announced ", printable(id, 40), ", which is no queue ID");
    }
}

void Core::disowned(uint8_t writer, unsigned slot, const ipc::Message& message)
{
    const auto mails = ipc::Queued::decode(message.body);
    if (!mails) return log::warning("a writer sent ", mails.error().text);
    for (const std::string& id : mails->ids) {
        if (queue::is_queue_id(id) && !queue::is_drop_id(id) && queue::id_slot(id) == slot) scheduler_.disowned(id_number(id), writer);
        else log::warning("a writer disowned ", printable(id, 40), ", which is not one of its queue IDs");
    }
}

// --- what the scheduler asks for

Opened Core::open(const std::string& id, queue::Place place)
{
    Opened out;
    auto file = spool_->open_mail(id, place);
    if (!file) {
        const int code = file.error().code;
        out.how = code == ENOENT ? Opened::How::gone : code == EINVAL || code == ELOOP ? Opened::How::corrupt : Opened::How::trouble;
        out.why = file.error().text;
        return out;
    }
    const auto size = disk_.size(*file);
    auto mail = size ? queue::read_mail_file(disk_, *file, *size, *size < body_check_below) : Result<queue::MailFile>(unexpected(size.error()));
    if (!mail) {
        out.how = mail.error().code == 0 ? Opened::How::corrupt : Opened::How::trouble;
        out.why = mail.error().text;
        return out;
    }
    out.how = Opened::How::open;
    out.file = std::move(*file);
    out.layout = mail->layout;
    out.envelope = std::move(mail->envelope);
    out.body_unchecked = *size >= body_check_below;
    return out;
}

void Core::check_body(const Mail& mail, std::function<void(Result<void>)> done)
{
    auto result = std::make_shared<Result<void>>();
    auto work = [&disk = disk_, file = mail.descriptor, result, layout = mail.layout] { *result = queue::check_body(disk, *file, layout); };
    checks_->run(std::move(work), [alive = alive_, result, done = std::move(done)] {
        if (*alive) done(*result);
    });
}

void Core::route(ipc::RouteRequest request, std::function<void(Result<std::vector<ipc::Route>>)> done)
{
    ipc::Channel* const channel = neighbours_.router();
    if (!channel || !channel->open()) {      // one whose end is noticed but not told yet would never answer
        loop_.defer([alive = alive_, done = std::move(done)] {
            if (*alive) done(fail("the router is away"));
        });
        return;
    }
    channel->call(static_cast<uint16_t>(ipc::RouterType::route), request.encode(), {}, router_deadline,
                  [alive = alive_, done = std::move(done)](Result<ipc::Message> answer) {
                      if (!*alive) return;
                      if (!answer) return done(unexpected(answer.error()));
                      auto reply = ipc::RouteReply::decode(answer->body);
                      if (!reply) return done(unexpected(reply.error()));
                      done(std::move(reply->routes));
                  });
}

bool Core::attempt(Agent agent, const ipc::Attempt& attempt, const Fd& file)
{
    ipc::Channel* const channel = neighbours_.agent(agent);
    if (!channel) return false;
    const int fds[] = {file.get()};
    const auto sent = channel->send(static_cast<uint16_t>(ipc::AgentType::attempt), attempt.encode(), fds);
    if (!sent) log::warning(attempt.queue_id, ": handing it to a delivery agent: ", sent.error().text);
    return sent.has_value();
}

void Core::cancel(Agent agent, uint64_t attempt)
{
    ipc::Channel* const channel = neighbours_.agent(agent);
    if (channel) (void)channel->send(static_cast<uint16_t>(ipc::AgentType::cancel), ipc::Writer().u64(attempt).take());
}

void Core::commit(std::vector<queue::Record> records, std::function<void(Result<void>)> durable)
{
    const bool ending = records.size() < endings_at_once && std::all_of(records.begin(), records.end(), [](const queue::Record& r) {
        return r.event == queue::Event::done || r.event == queue::Event::outcome;
    });
    if (!ending) {
        commit_endings();      // the log keeps the order
        return journal_->commit(std::move(records), std::move(durable));
    }
    endings_.records.insert(endings_.records.end(), std::make_move_iterator(records.begin()), std::make_move_iterator(records.end()));
    endings_.durable.push_back(std::move(durable));
    if (endings_.records.size() >= endings_at_once) commit_endings();
    else if (!ending_.armed()) ending_.start(endings_pause);
}

void Core::commit_endings()
{
    ending_.stop();
    Endings all = std::exchange(endings_, {});
    if (all.records.empty()) return;
    journal_->commit(std::move(all.records), [durable = std::move(all.durable)](const Result<void>& result) {
        for (const auto& told : durable) told(result);
    });
}

void Core::rebuild(std::vector<queue::Record> live, std::function<void(Result<void>)> done)
{
    commit_endings();
    journal_->compact(std::move(live), std::move(done));
}

void Core::move(std::vector<std::string> ids, queue::Place from, queue::Place to, std::function<void(Result<void>)> done)
{
    auto result = std::make_shared<Result<void>>();
    pool_->run([spool = spool_.get(), result, ids = std::move(ids), from, to] { *result = spool->move(ids, from, to); },
               [alive = alive_, result, done = std::move(done)] {
                   if (*alive) done(*result);
               });
}

void Core::remove(std::vector<std::pair<std::string, queue::Place>> mails, std::function<void(Result<void>)> done)
{
    unlinks_.mails.insert(unlinks_.mails.end(), std::make_move_iterator(mails.begin()), std::make_move_iterator(mails.end()));
    unlinks_.done.push_back(std::move(done));
    if (unlinks_.mails.size() >= unlinks_at_once) unlink_now();
    else if (!unlink_.armed()) unlink_.start(unlink_pause);
}

void Core::unlink_now()
{
    unlink_.stop();
    auto batch = std::make_shared<Unlinks>(std::exchange(unlinks_, {}));
    if (batch->mails.empty()) return;
    auto result = std::make_shared<Result<void>>();
    auto work = [spool = spool_.get(), result, batch] {
        for (const auto& [id, place] : batch->mails)
            if (auto gone = spool->remove(id, place); !gone && gone.error().code != ENOENT) *result = std::move(gone);
    };
    pool_->run(std::move(work), [alive = alive_, result, batch] {
        for (const auto& done : batch->done)
            if (*alive) done(*result);
    });
}

Result<std::string> Core::reserve_id()
{
    const queue::Draft draft = TRY(intake_->create());
    return draft.id();
}

void Core::notify(Notice notice, const Mail& about, std::function<void(Result<void>)> written)
{
    const auto later = [&](Error error) {
        loop_.defer([alive = alive_, written, error = std::move(error)] {
            if (*alive) written(unexpected(error));
        });
    };
    auto composed = compose(notice, about, limits_, clock_.wall_us());
    if (!composed) return later(composed.error());
    queue::InspectSettings settings;
    settings.myhostname = limits_.myhostname;
    settings.myorigin = limits_.myorigin;
    std::vector<std::unique_ptr<queue::Inspector>> chain;
    chain.push_back(queue::hop_count(settings));
    const queue::Decision decision = queue::inspect(chain, composed->header, composed->envelope);
    if (decision.kind == queue::Decision::Kind::reject) return later(Error{0, cat("refused: ", decision.text)});
    composed->envelope.filtered = true;
    auto draft = intake_->create(notice.id);
    if (!draft) return later(draft.error());
    if (auto appended = draft->append(composed->body); !appended) return later(appended.error());
    // Called from inside this very call when there is no pool or the envelope cannot be written: never from inside ours.
    intake_->commit(std::move(*draft), composed->header, composed->envelope,
                    [this, alive = alive_, id = notice.id, written = std::move(written)](Result<queue::Receipt> receipt) {
                        if (!*alive) return;
                        Result<void> result;
                        if (!receipt && !spool_->open_mail(id, {queue::State::incoming, internal_writer})) result = unexpected(receipt.error());
                        loop_.defer([alive, written, result] {
                            if (*alive) written(result);
                        });
                    });
}

void Core::after(int64_t us, std::function<void()> work)
{
    const uint64_t number = next_timer_++;
    auto timer = std::make_unique<Timer>(loop_, [this, number, work = std::move(work)] {
        work();
        // It must not die inside its own callback.
        loop_.defer([this, alive = alive_, number] {
            if (*alive) timers_.erase(number);
        });
    });
    timer->start(ms(us));
    timers_.emplace(number, std::move(timer));
}

}  // namespace veredus::qmgr

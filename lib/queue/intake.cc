// Drafts and their commit: one create, one write, one rename, one sync, and a share of a directory sync.
#include "lib/queue/intake.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "lib/base/crc32c.h"
#include "lib/base/text.h"

namespace veredus::queue {

namespace {

// A draft up to here stays in memory; a larger one is a file that grows in pieces of this size.
constexpr std::size_t memory_limit = 64 * 1024;
// So much of a draft may wait for the disk; its owner adds no more than he had read already.
constexpr std::size_t behind_limit = 4 * memory_limit;
// So much of all drafts of the process; beyond it a draft that has a piece waiting gets no more.
constexpr std::size_t behind_limit_of_all = 64u << 20;
constexpr mode_t mail_mode = 0660;    // qmgr, in the role's group, may read and link it

}  // namespace

struct Intake::Shared {
    Shared(disk::Disk& disk_, disk::Directory tmp_, disk::Directory fresh_, const Clock& clock_, disk::Pool* pool_)
        : disk(disk_), tmp(std::move(tmp_)), fresh(std::move(fresh_)), clock(clock_), pool(pool_)
    {
    }
    struct Commit;
    using CommitPtr = std::shared_ptr<Commit>;    // shared: std::function wants copies
    Result<void> write_and_rename(Draft::State& draft, std::string_view tail);
    void publish(CommitPtr commit);
    void sync_file(const CommitPtr& commit);
    void sync_directory(std::vector<CommitPtr> batch);
    void ended(std::vector<CommitPtr> batch, const Result<void>& result);
    void take_back(const std::vector<CommitPtr>& failed);
    void complete(std::vector<CommitPtr> batch);

    disk::Disk& disk;
    disk::Directory tmp, fresh;
    const Clock& clock;
    disk::Pool* pool;
    std::mutex mutex;                  // of the next three, and of a commit's result and steps that are left
    std::vector<CommitPtr> renamed;    // waiting for a sync of `fresh` that begins from now on
    bool syncing = false;              // a thread is at it, and takes what comes meanwhile
    std::atomic<std::size_t> waiting{0};    // bytes that all drafts have for the pool to write
    std::function<void(const std::string&)> doubt;    // owner's thread
    std::optional<IdMaker> ids;
    bool refilling = false;            // owner's thread
    bool closed = false;               // owner's thread: the intake is gone
    int64_t asked_us = 0;              // when free was asked, 0 for never
    uint64_t free = 0;
};

// Its owner's thread appends; one thread at a time, whichever has `writing`, works on the file.
struct Draft::State : std::enable_shared_from_this<Draft::State> {
    State(std::shared_ptr<Intake::Shared> shared_, std::string id_, bool own_id_)
        : shared(std::move(shared_)), id(std::move(id_)), own_id(own_id_), buffer(file_start())
    {
    }
    ~State()
    {
        waits_less(waiting);    // a pool that ended left them
        discard();
    }
    State(const State&) = delete;
    Result<void> spill();
    Result<void> write_piece(std::string_view bytes);
    Result<void> write_pieces();
    void write_some();
    void write_waiting(std::unique_lock<std::mutex>& lock, std::size_t most);
    void hand_over(std::string piece);
    void post();
    void some_are_written();
    void waits_less(std::size_t bytes);
    void forget_pieces();
    bool behind() const;
    void discard();
    void look_at(std::string_view body);
    uint64_t longest_line() const { return std::max(ended_longest, line_size); }

    std::shared_ptr<Intake::Shared> shared;
    std::string id;
    bool own_id;                       // of our IdMaker: no other mail, and no second try of this one, ever has it
    std::string buffer;                // what is not written yet: file start, body
    Fd file;                           // tmp/ID once it spilled
    uint64_t size = 0;
    uint32_t crc = 0;
    uint64_t line_size = 0, ended_longest = 0;    // the line that has no end yet; of those that have one, without their CRLF
    bool leading_dot = false, eight_bit = false;
    bool named = false;                // tmp/ID is ours to unlink
    bool sealed = false;               // tmp/ID has a tail behind its body that was for reading only
    bool background = false;           // owner's thread, like the next two
    bool posted = false;               // a job of the pool sees to what waits, and has not been heard of yet
    std::function<void()> caught_up;
    std::mutex mutex;                  // of what follows
    std::condition_variable written;
    std::deque<std::string> pieces;    // for the pool to write, in order
    std::size_t waiting = 0;           // bytes of them, and of the one that is being written
    bool writing = false;
    bool all_wanted = false;           // somebody writes all that waits, and needs no job of the pool for it
    bool dropped = false;              // nobody wants it any more
    std::optional<Error> error;        // of a piece; the file is worth nothing
};

Result<void> Draft::State::spill()
{
    if (background) {
        {
            const std::lock_guard lock(mutex);
            if (error) return unexpected(*error);
        }
        hand_over(std::exchange(buffer, {}));
        return {};
    }
    TRY(write_piece(buffer));
    buffer.clear();
    return {};
}

Result<void> Draft::State::write_piece(std::string_view bytes)
{
    if (!file) {
        file = TRY(shared->disk.create(shared->tmp, id, mail_mode));
        named = true;
    }
    return shared->disk.write(file, bytes);
}

void Draft::State::hand_over(std::string piece)
{
    {
        const std::lock_guard lock(mutex);
        waiting += piece.size();
        shared->waiting += piece.size();
        pieces.push_back(std::move(piece));
    }
    if (!std::exchange(posted, true)) post();
}

// One job of the pool at a time for each draft, and none that only waits: threads are few, and others have mail too.
void Draft::State::post()
{
    shared->pool->run([state = shared_from_this()] { state->write_some(); },
                      [weak = weak_from_this()] {
                          if (const auto state = weak.lock()) state->some_are_written();
                      });
}

void Draft::State::some_are_written()
{
    bool late = false;
    {
        const std::lock_guard lock(mutex);
        posted = background && !all_wanted && !pieces.empty();
        late = behind();
    }
    if (posted) post();
    if (!late && caught_up) std::exchange(caught_up, nullptr)();
}

// Then others get their turn. Who commits, or seals, and is at it does not need us.
void Draft::State::write_some()
{
    std::unique_lock lock(mutex);
    if (!writing) write_waiting(lock, behind_limit / memory_limit);
}

// All that were handed over before, in whatever thread. Returns the error of any piece so far.
Result<void> Draft::State::write_pieces()
{
    std::unique_lock lock(mutex);
    all_wanted = true;
    while (writing) written.wait(lock);
    write_waiting(lock, pieces.size());
    all_wanted = false;
    if (error) return unexpected(*error);
    return {};
}

void Draft::State::write_waiting(std::unique_lock<std::mutex>& lock, std::size_t most)
{
    writing = true;
    for (; most > 0 && !pieces.empty() && !error && !dropped; --most) {
        const std::string piece = std::move(pieces.front());
        pieces.pop_front();
        lock.unlock();
        auto result = write_piece(piece);
        lock.lock();
        waits_less(piece.size());
        if (!result) error = result.error();
    }
    if (error || dropped) forget_pieces();
    writing = false;
    written.notify_all();
}

// This and the next two with the mutex held, or by whoever has the draft alone.
void Draft::State::waits_less(std::size_t bytes)
{
    waiting -= bytes;
    shared->waiting -= bytes;
}

void Draft::State::forget_pieces()
{
    for (const std::string& piece : pieces) waits_less(piece.size());
    pieces.clear();
}

bool Draft::State::behind() const { return waiting >= behind_limit || (waiting > 0 && shared->waiting >= behind_limit_of_all); }

void Draft::State::discard()
{
    file.reset();
    if (!std::exchange(named, false)) return;
    // Should it fail, the sweep gets it.
    [[maybe_unused]] const auto gone = shared->disk.unlink(shared->tmp, id);
}

void Draft::State::look_at(std::string_view body)
{
    if (!eight_bit) eight_bit = !is_ascii(body);
    while (!body.empty()) {
        leading_dot = leading_dot || (line_size == 0 && body.front() == '.');
        const std::size_t lf = body.find('\n');
        line_size += lf == std::string_view::npos ? body.size() : lf;
        if (lf == std::string_view::npos) return;
        if (line_size > ended_longest + 1) ended_longest = line_size - 1;    // without its CR, which may have come before
        line_size = 0;
        body.remove_prefix(lf + 1);
    }
}

Draft::Draft(std::shared_ptr<State> state) : state_(std::move(state)) {}
Draft::Draft(Draft&&) noexcept = default;
Draft& Draft::operator=(Draft&& other) noexcept
{
    if (this == &other) return *this;
    drop();
    state_ = std::move(other.state_);
    return *this;
}
Draft::~Draft() { drop(); }

// The file goes now, or when the thread that is writing it is done with its piece.
void Draft::drop()
{
    if (!state_) return;
    state_->caught_up = nullptr;
    {
        const std::lock_guard lock(state_->mutex);
        state_->dropped = true;
        state_->forget_pieces();
    }
    state_.reset();
}

const std::string& Draft::id() const { return state_->id; }
uint64_t Draft::body_size() const { return state_->size; }
bool Draft::eight_bit() const { return state_->eight_bit; }

void Draft::note(bool leading_dot, bool eight_bit)
{
    state_->leading_dot |= leading_dot;
    state_->eight_bit |= eight_bit;
}

void Draft::write_in_background() { state_->background = state_->shared->pool != nullptr; }

bool Draft::behind() const
{
    if (!state_ || !state_->background) return false;
    const std::lock_guard lock(state_->mutex);
    return state_->behind();
}

void Draft::when_caught_up(std::function<void()> call) { state_->caught_up = std::move(call); }

Result<void> Draft::append(std::string_view body)
{
    State& s = *state_;
    if (body.empty()) return {};
    s.look_at(body);
    s.crc = crc32c(s.crc, body);
    s.size += body.size();
    while (s.buffer.size() + body.size() > memory_limit) {
        const std::size_t part = memory_limit > s.buffer.size() ? memory_limit - s.buffer.size() : 0;
        s.buffer.append(body.substr(0, part));
        body.remove_prefix(part);
        TRY(s.spill());
    }
    s.buffer.append(body);
    return {};
}

namespace {
// A small mail never touches the disk: whoever gets this file can only read it.
Result<Fd> sealed_memory(std::string_view body, std::string_view tail)
{
    Fd file(::memfd_create("mail", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!file) return fail_errno("memfd_create");
    TRY(write_all(file.get(), body));
    TRY(write_all(file.get(), tail));
    if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0) return fail_errno("seal a mail");
    return file;
}
}  // namespace

Result<Draft::Sealed> Draft::seal(const mail::HeaderBlock& header, const mail::Envelope& envelope)
{
    State& s = *state_;
    TRY(s.write_pieces());
    disk::Disk& disk = s.shared->disk;
    const std::string text = header.text();
    TRY(check_envelope(envelope));
    if (text.size() > max_header_size) return fail("the header is too long");
    const std::string tail = encode_tail(s.size, s.crc, s.leading_dot, s.eight_bit, text, envelope, s.longest_line());
    const uint64_t size = file_start_size + s.size + tail.size();
    Layout layout = TRY(decode_end(std::string_view(tail).substr(tail.size() - end_size), size));
    if (!s.file) {
        Fd file = TRY(sealed_memory(s.buffer, tail));
        return Sealed{std::move(file), layout};
    }
    TRY(s.write_piece(s.buffer));
    s.buffer.clear();
    s.sealed = true;
    TRY(disk.write(s.file, tail));
    Fd file = TRY(disk.open_read(s.shared->tmp, s.id));
    return Sealed{std::move(file), layout};
}

Intake::Intake(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

Intake::~Intake() { shared_->closed = true; }

Result<std::unique_ptr<Intake>> Intake::open(disk::Disk& disk, const std::string& base, unsigned slot, const Clock& clock, disk::Pool* pool)
{
    const disk::Directory root = TRY(disk.open_directory(nullptr, base));
    disk::Directory tmp = TRY(disk.open_directory(&root, "tmp"));
    disk::Directory fresh = TRY(disk.open_directory(&root, "new"));
    auto shared = std::make_shared<Shared>(disk, std::move(tmp), std::move(fresh), clock, pool);
    shared->ids = TRY(IdMaker::open(disk, shared->tmp, slot, clock));
    return std::unique_ptr<Intake>(new Intake(std::move(shared)));
}

Result<Draft> Intake::create()
{
    Shared& s = *shared_;
    const auto draft = [this](std::string id) { return Draft(std::make_shared<Draft::State>(shared_, std::move(id), true)); };
    if (!s.pool) return draft(TRY(s.ids->next()));
    if (s.ids->runs_low() && !s.refilling) {
        s.refilling = true;
        s.pool->run([shared = shared_] { [[maybe_unused]] const auto later = shared->ids->refill(); },
                    [shared = shared_] { shared->refilling = false; });
    }
    auto id = s.ids->next_reserved();
    if (!id) return fail("no queue ID is reserved; the mark in tmp cannot be written?");
    return draft(std::move(*id));
}

Result<Draft> Intake::create(std::string id)
{
    if (!is_queue_id(id)) return fail(cat("not a queue ID: ", printable(id, 40)));
    return Draft(std::make_shared<Draft::State>(shared_, std::move(id), false));
}

struct Intake::Shared::Commit {
    std::shared_ptr<Shared> shared;
    std::shared_ptr<Draft::State> draft;    // ours alone, but for a job of the pool that finds nothing to do
    std::string tail;
    std::function<void(Result<Receipt>)> done;
    std::string id;
    uint64_t content_size = 0;
    Result<void> result;
    unsigned syncs_left = 2;           // of the file, of the directory
    bool own_id = false;
    bool taken_back = false;           // refused when it had its name already
};

// File and name are durable before anybody hears of it, in either order. Renamed first, both lie in one commit of the file system's
// journal, and whichever sync comes second finds it done: half the time. The bytes are given to the device before the name is given,
// so that ext4 and xfs keep no name without them; where a file system does, after a power cut, qmgr finds it by the checksum,
// and nobody was told that this mail is queued. But where somebody takes the name for the proof that an earlier try of the
// same mail succeeded (maildrop, notifications), the file is synced first.
Result<void> Intake::Shared::write_and_rename(Draft::State& draft, std::string_view tail)
{
    TRY(draft.write_pieces());
    if (std::exchange(draft.sealed, false)) TRY(disk.truncate(draft.file, file_start_size + draft.size));
    draft.buffer.append(tail);
    TRY(draft.write_piece(draft.buffer));
    if (draft.own_id) TRY(disk.write_out(draft.file));
    else TRY(disk.sync(draft.file));
    TRY(disk.rename_new(tmp, draft.id, fresh, draft.id));
    draft.named = false;
    return {};
}

// Q1 to Q2, in a pool thread. The directory is synced by one thread for all whose rename was done before that sync began, while the
// others sync their files: all in the same commit of the journal. The directory goes first; later it would have the names of the next mails
// in it, and need the next commit.
void Intake::Shared::publish(CommitPtr commit)
{
    commit->result = write_and_rename(*commit->draft, commit->tail);
    if (!commit->result) {
        commit->draft->discard();    // unlinked before anyone hears of it
        commit->draft.reset();
        return complete({std::move(commit)});
    }
    std::unique_lock lock(mutex);
    renamed.push_back(commit);
    if (std::exchange(syncing, true)) {
        lock.unlock();
        return sync_file(commit);
    }
    auto batch = std::exchange(renamed, {});
    lock.unlock();
    sync_directory(std::move(batch));
    sync_file(commit);
    lock.lock();
    while (!renamed.empty()) {
        batch = std::exchange(renamed, {});
        lock.unlock();
        sync_directory(std::move(batch));
        lock.lock();
    }
    syncing = false;
}

void Intake::Shared::sync_file(const CommitPtr& commit)
{
    const auto synced = commit->draft->own_id ? disk.sync(commit->draft->file) : Result<void>();
    commit->draft->discard();    // it has its name: what goes is the descriptor
    commit->draft.reset();
    ended({commit}, synced);
}

void Intake::Shared::sync_directory(std::vector<CommitPtr> batch)
{
    const auto synced = disk.sync(fresh);
    ended(std::move(batch), synced);
}

// One of the two syncs of these mails.
void Intake::Shared::ended(std::vector<CommitPtr> batch, const Result<void>& result)
{
    std::vector<CommitPtr> ready, failed;
    {
        const std::lock_guard lock(mutex);
        for (CommitPtr& commit : batch) {
            if (!result && commit->result) commit->result = result;
            if (--commit->syncs_left > 0) continue;
            if (!commit->result) failed.push_back(commit);
            ready.push_back(std::move(commit));
        }
    }
    if (!failed.empty()) take_back(failed);
    if (!ready.empty()) complete(std::move(ready));
}

// They have their names, and their senders will be told to come again: so the names go, durably, or the mails would come twice. A disk that
// failed may not be able to say so, and qmgr may have found one by a look into the directory: it hears of each.
void Intake::Shared::take_back(const std::vector<CommitPtr>& failed)
{
    for (const CommitPtr& commit : failed) {
        [[maybe_unused]] const auto gone = disk.unlink(fresh, commit->id);
        commit->taken_back = true;
    }
    [[maybe_unused]] const auto durable = disk.sync(fresh);
}

void Intake::Shared::complete(std::vector<CommitPtr> batch)
{
    auto finish = [batch = std::move(batch)] {
        for (const CommitPtr& commit : batch) {
            if (commit->shared->closed) return;
            if (commit->taken_back && commit->own_id && commit->shared->doubt) commit->shared->doubt(commit->id);
            if (commit->result) commit->done(Receipt(commit->id, commit->content_size));
            else commit->done(unexpected(commit->result.error()));
        }
    };
    if (pool) pool->post(std::move(finish));
    else finish();
}

void Intake::commit(Draft draft, const mail::HeaderBlock& header, const mail::Envelope& envelope, std::function<void(Result<Receipt>)> done)
{
    const std::string text = header.text();
    auto checked = check_envelope(envelope);
    if (checked && text.size() > max_header_size) checked = fail("the header is too long");
    if (!checked) {
        draft.drop();
        done(unexpected(checked.error()));
        return;
    }
    Draft::State& state = *draft.state_;
    state.caught_up = nullptr;
    state.background = false;
    auto commit = std::make_shared<Shared::Commit>();
    commit->shared = shared_;
    commit->tail = encode_tail(state.size, state.crc, state.leading_dot, state.eight_bit, text, envelope, state.longest_line());
    commit->id = state.id;
    commit->own_id = state.own_id;
    commit->content_size = text.size() + 2 + state.size;
    commit->draft = std::move(draft.state_);
    commit->done = std::move(done);
    if (shared_->pool) shared_->pool->run([commit] { commit->shared->publish(commit); }, nullptr);
    else shared_->publish(std::move(commit));
}

void Intake::on_doubt(std::function<void(const std::string& id)> doubt) { shared_->doubt = std::move(doubt); }

Result<uint64_t> Intake::free_bytes()
{
    Shared& s = *shared_;
    const int64_t now = s.clock.mono_us();
    if (s.asked_us != 0 && now - s.asked_us < us_per_second) return s.free;
    s.free = TRY(s.disk.free_bytes(s.tmp));
    s.asked_us = std::max<int64_t>(now, 1);
    return s.free;
}

Result<unsigned> Intake::sweep_drafts(int64_t older_than_us, const std::function<bool(std::string_view)>& ours)
{
    Shared& s = *shared_;
    unsigned gone = 0;
    for (const std::string& name : TRY(s.disk.list(s.tmp))) {
        if (!is_queue_id(name)) continue;    // marks stay, and so does what is not ours
        const auto info = s.disk.stat(s.tmp, name);
        if (!info || (info->changed_us >= older_than_us && !(ours && ours(name)))) continue;
        if (s.disk.unlink(s.tmp, name)) ++gone;
    }
    return gone;
}

disk::Directory& Intake::new_directory() { return shared_->fresh; }

}  // namespace veredus::queue

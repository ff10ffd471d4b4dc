// The journal's file: replay, the thread that commits for all that wait, and compaction.
#include "lib/queue/journal.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/disk/in_place.h"
#include "lib/disk/pool.h"
#include "lib/log/log.h"

namespace veredus::queue {

namespace {

constexpr const char* file_name = "journal";
constexpr const char* fresh_name = "journal.new";
constexpr const char* bad_name = "journal.bad";
constexpr mode_t file_mode = 0600;
constexpr std::size_t read_size = 1 << 20;
constexpr std::size_t batch_size = 4 << 20;       // bytes of commits that share a sync
constexpr std::size_t records_per_frame = 256;    // of a compaction, where nothing must stay together
// The file is made longer by so many zeros at a time, and written into: a sync is then one of bytes alone, for which no journalling file
// system has to commit a new size, in turn with the commits that mail coming in and going out waits for.
constexpr std::size_t room_step = 256 << 10, small_step = 4 << 10;

}  // namespace

struct Journal::State {
    struct Item {
        std::vector<Record> records;
        std::function<void(Result<void>)> done;
        std::size_t bytes_estimate = 0;
        bool compaction = false;
    };
    State(disk::Disk& disk_, disk::InPlace& in_place_, disk::Directory dir_, std::function<void(std::function<void()>)> post_)
        : disk(disk_), in_place(in_place_), dir(std::move(dir_)), post(std::move(post_))
    {
    }
    ~State();

    Result<void> load(const std::function<void(const Record&)>& replay);
    Result<void> load_frames(uint64_t total, const std::function<void(const Record&)>& replay);
    Result<void> set_aside(const char* why);
    Result<uint64_t> fill(const Fd& fresh, std::string_view fresh_salt, const std::vector<Record>& live);
    Result<void> write_fresh(const std::vector<Record>& live);
    void push(Item item);
    void thread_main();
    void work(std::vector<Item> items);
    Result<void> append_batch(const std::vector<Item>& items);
    Result<void> write(std::string_view bytes);
    std::vector<Item> take_batch();
    void complete(std::vector<Item> items, Result<void> result);

    disk::Disk& disk;
    disk::InPlace& in_place;                             // the same disk
    disk::Directory dir;
    std::function<void(std::function<void()>)> post;
    // Of the thread, or of open() before it.
    Fd file;
    uint64_t room = 0;                                   // length of the file: zeros from `size` on
    std::string salt;
    std::string trouble;                                 // why it is broken
    std::atomic<uint64_t> size{0};
    std::atomic<bool> broken{false};
    // Of everyone.
    std::mutex mutex;
    std::condition_variable wake, idle;
    std::deque<Item> items;
    bool working = false, stopping = false, threaded = false;
    std::shared_ptr<bool> alive = std::make_shared<bool>(true);    // touched on the owner's thread only
    disk::Thread thread;
};

Journal::State::~State()
{
    {
        const std::lock_guard lock(mutex);
        stopping = true;
    }
    wake.notify_all();
    thread = disk::Thread();    // joins, after all that was committed
    *alive = false;
}

// --- replay

Result<void> Journal::State::set_aside(const char* why)
{
    log::error("queue journal ", dir.path, '/', file_name, ": ", why, "; kept as ", bad_name, ", the mails start anew and some may come twice");
    return disk.rename(dir, file_name, dir, bad_name);
}

Result<void> Journal::State::load(const std::function<void(const Record&)>& replay)
{
    auto opened = disk.open_read(dir, file_name);
    if (!opened && opened.error().code == ENOENT) {
        // Only a file system that forgot the old name of a rename leaves the fresh file alone.
        if (!disk.rename(dir, fresh_name, dir, file_name)) return write_fresh({});
        opened = disk.open_read(dir, file_name);
    }
    if (!opened) return unexpected(opened.error());
    const std::string start = TRY(disk.read(*opened, 0, journal_start_size));
    const auto found = parse_journal_start(start);
    if (!found) {
        TRY(set_aside(start.starts_with("veredus-journal ") ? "its start is damaged or of another version" : "it is no journal"));
        return write_fresh({});
    }
    salt = *found;
    file = TRY(in_place.open_in_place(dir, file_name));
    const uint64_t total = TRY(disk.size(file));
    TRY(load_frames(total, replay));
    // What a killed process had written but not synced was just replayed, so it must last before anyone acts on it.
    TRY(disk.sync(file));
    TRY(disk.sync(dir));
    if (auto gone = disk.unlink(dir, fresh_name); !gone && gone.error().code != ENOENT) return gone;
    return {};
}

Result<void> Journal::State::load_frames(uint64_t total, const std::function<void(const Record&)>& replay)
{
    std::string window;
    uint64_t at = journal_start_size;      // of the window's first byte
    uint64_t next = at;                    // of the first byte not read yet
    std::size_t want = read_size;
    while (at < total) {
        if (window.size() < want && next < total) {
            const std::string more = TRY(disk.read(file, next, want - window.size()));
            if (more.empty()) return fail(cat(dir.path, '/', file_name, ": it shrinks while it is read"));
            next += more.size();
            window += more;
        }
        std::size_t valid = 0;
        for (const Record& record : decode_records(window, valid, salt)) replay(record);
        window.erase(0, valid);
        at += valid;
        if (valid) {
            want = read_size;
            continue;
        }
        if (next < total) {                // a frame larger than the window, or damage: see all that is left
            want = static_cast<std::size_t>(std::min<uint64_t>(total - at, uint64_t{want} * 4));
            continue;
        }
        if (window.find_first_not_of('\0') == std::string::npos) {      // room for what comes
            size = at;
            room = total;
            return {};
        }
        std::size_t skip = 1;
        for (; skip < window.size(); ++skip) {
            decode_records(std::string_view(window).substr(skip), valid, salt);
            if (valid) break;
        }
        if (skip >= window.size()) break;
        log::warning("queue journal ", dir.path, '/', file_name, ": ", skip, " damaged bytes at ", at, " skipped");
        window.erase(0, skip);
        at += skip;
    }
    if (at < total) {
        log::info("queue journal ", dir.path, '/', file_name, ": cut ", total - at, " bytes of an unfinished commit");
        TRY(disk.truncate(file, at));
    }
    size = room = at;
    return {};
}

// --- writing

// Its size, once it is durable.
Result<uint64_t> Journal::State::fill(const Fd& fresh, std::string_view fresh_salt, const std::vector<Record>& live)
{
    std::string bytes = journal_start(fresh_salt);
    uint64_t written = 0;
    for (std::size_t i = 0; i < live.size(); i += records_per_frame) {
        const auto first = live.begin() + static_cast<std::ptrdiff_t>(i);
        const auto last = live.begin() + static_cast<std::ptrdiff_t>(std::min(live.size(), i + records_per_frame));
        std::string frame = encode_frame({first, last}, fresh_salt);
        if (frame.size() > max_frame + 8) {              // long expansions side by side
            frame.clear();
            for (auto it = first; it != last; ++it) frame += encode_frame({*it}, fresh_salt);
        }
        bytes += frame;
        if (bytes.size() < read_size) continue;
        TRY(disk.write(fresh, bytes));
        written += bytes.size();
        bytes.clear();
    }
    TRY(disk.write(fresh, bytes));
    written += bytes.size();
    TRY(disk.sync(fresh));
    return written;
}

Result<void> Journal::State::write_fresh(const std::vector<Record>& live)
{
    if (auto gone = disk.unlink(dir, fresh_name); !gone && gone.error().code != ENOENT) return gone;
    Fd fresh = TRY(disk.create(dir, fresh_name, file_mode));
    const std::string fresh_salt = random_bytes(8);
    const auto written = fill(fresh, fresh_salt, live);
    if (!written) {
        (void)disk.unlink(dir, fresh_name);      // the disk may be full of it: the room is the records' that come now
        return unexpected(written.error());
    }
    TRY(disk.rename(dir, fresh_name, dir, file_name));
    // From here the old file has no name; until the directory is synced nobody knows which one a crash would leave, and
    // both say the same. So nothing may be appended to either one before.
    broken = true;
    trouble = "the directory was not synced after a compaction";
    TRY(disk.sync(dir));
    file = std::move(fresh);
    salt = fresh_salt;
    size = room = *written;
    broken = false;
    return {};
}

Result<void> Journal::State::append_batch(const std::vector<Item>& batch)
{
    if (broken) return fail(cat("queue journal: ", trouble));
    std::string bytes;
    for (const Item& item : batch)
        if (!item.records.empty()) bytes += encode_frame(item.records, salt);
    if (bytes.empty()) return {};
    if (auto written = write(bytes); !written) {
        if (auto cut = disk.truncate(file, size); !cut) {
            broken = true;
            trouble = cut.error().text;
        }
        room = size;
        return written;
    }
    if (auto synced = disk.sync(file); !synced) {
        broken = true;    // what is in the file is anyone's guess from now on
        trouble = synced.error().text;
        return synced;
    }
    size += bytes.size();
    return {};
}

Result<void> Journal::State::write(std::string_view bytes)
{
    const uint64_t end = size + bytes.size();
    if (end > room) {
        const auto make_longer = [&](uint64_t step) -> Result<void> {
            const uint64_t longer = end + step - end % step;
            TRY(disk.write(file, std::string(static_cast<std::size_t>(longer - room), '\0')));
            room = longer;
            return {};
        };
        auto made = make_longer(room_step);
        if (!made && (made.error().code == ENOSPC || made.error().code == EDQUOT)) {      // a disk that is nearly full has room for a record
            TRY(disk.truncate(file, room));
            made = make_longer(small_step);
        }
        TRY(std::move(made));
    }
    return in_place.write_at(file, size, bytes);
}

void Journal::State::push(Item item)
{
    std::unique_lock lock(mutex);
    items.push_back(std::move(item));
    if (!threaded) {
        auto started = disk::Thread::start([this] { thread_main(); });
        if (!started) {    // no thread to be had: the owner waits for the disk itself
            auto batch = take_batch();
            lock.unlock();
            work(std::move(batch));
            return;
        }
        thread = std::move(*started);
        threaded = true;
    }
    lock.unlock();
    wake.notify_one();
}

// What shares one sync: a compaction alone, or the commits up to the next one.
std::vector<Journal::State::Item> Journal::State::take_batch()
{
    std::vector<Item> batch;
    std::size_t bytes = 0;
    while (!items.empty() && bytes < batch_size) {
        if (items.front().compaction && !batch.empty()) break;
        bytes += items.front().bytes_estimate;
        batch.push_back(std::move(items.front()));
        items.pop_front();
        if (batch.back().compaction) break;
    }
    return batch;
}

void Journal::State::thread_main()
{
    std::unique_lock lock(mutex);
    for (;;) {
        wake.wait(lock, [this] { return !items.empty() || stopping; });
        if (items.empty()) return;
        auto batch = take_batch();
        working = true;
        lock.unlock();
        work(std::move(batch));
        lock.lock();
        working = false;
        if (items.empty()) idle.notify_all();
    }
}

void Journal::State::work(std::vector<Item> batch)
{
    Result<void> result = batch.front().compaction ? write_fresh(batch.front().records) : append_batch(batch);
    complete(std::move(batch), std::move(result));
}

void Journal::State::complete(std::vector<Item> batch, Result<void> result)
{
    std::vector<std::function<void(Result<void>)>> callbacks;
    for (Item& item : batch)
        if (item.done) callbacks.push_back(std::move(item.done));
    if (callbacks.empty()) return;
    post([token = alive, callbacks = std::move(callbacks), result = std::move(result)] {
        for (const auto& callback : callbacks)
            if (*token) callback(result);
    });
}

// --- the door

Journal::Journal(std::unique_ptr<State> state) : state_(std::move(state)) {}
Journal::~Journal() = default;

Result<std::unique_ptr<Journal>> Journal::open(disk::Disk& disk, disk::Directory dir, std::function<void(const Record&)> replay,
                                               std::function<void(std::function<void()>)> post)
{
    auto* const in_place = dynamic_cast<disk::InPlace*>(&disk);
    if (!in_place) return fail(cat(dir.path, '/', file_name, ": this disk cannot write inside a file"));
    auto state = std::make_unique<State>(disk, *in_place, std::move(dir), std::move(post));
    TRY(state->load(replay));
    return std::unique_ptr<Journal>(new Journal(std::move(state)));
}

void Journal::commit(std::vector<Record> records, std::function<void(Result<void>)> durable)
{
    State::Item item;
    for (const Record& r : records) {
        item.bytes_estimate += 64 + r.dsn.size() + r.text.size();
        for (const Child& child : r.children) item.bytes_estimate += 7 + child.text.size() + child.run_as.size() + child.sender.size();
    }
    if (item.bytes_estimate > max_frame) {
        state_->post([token = state_->alive, durable = std::move(durable)] {
            if (*token && durable) durable(fail(cat("queue journal: a commit of more than ", max_frame, " bytes")));
        });
        return;
    }
    item.records = std::move(records);
    item.done = std::move(durable);
    state_->push(std::move(item));
}

void Journal::compact(std::vector<Record> live, std::function<void(Result<void>)> done)
{
    State::Item item;
    item.records = std::move(live);
    item.done = std::move(done);
    item.compaction = true;
    state_->push(std::move(item));
}

bool Journal::broken() const { return state_->broken; }
uint64_t Journal::size() const { return state_->size; }

Result<void> Journal::flush()
{
    std::unique_lock lock(state_->mutex);
    state_->idle.wait(lock, [this] { return state_->items.empty() && !state_->working; });
    if (state_->broken) return fail(cat("queue journal: ", state_->trouble));
    return {};
}

}  // namespace veredus::queue

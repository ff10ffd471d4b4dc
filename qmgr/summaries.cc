#include "qmgr/summaries.h"

#include <cerrno>
#include <chrono>
#include <utility>

#include "lib/base/crc32c.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/queue/codec.h"

namespace veredus::qmgr {

namespace {

constexpr const char* file_name = "summaries";
constexpr std::string_view start_line = "veredus-summaries 1\n";
constexpr std::size_t head_size = 4 + 2 + 8;          // CRC-32C of what follows, size, ID
constexpr std::size_t write_size = 64 << 10, read_size = 1 << 20;
constexpr std::size_t most_pending = 4 << 20;         // while the disk does not take it, no more is kept
constexpr std::chrono::seconds patience{2};           // with such a disk, at the end
constexpr uint64_t small_file = 4 << 20;              // one of this size is never begun anew
constexpr std::size_t crowd = 4;                      // so many records for each mail that waits

std::string encode(uint64_t id, std::string_view bytes)
{
    std::string rest, out;
    queue::put_int(rest, static_cast<uint16_t>(bytes.size()));
    queue::put_int(rest, id);
    rest += bytes;
    queue::put_int(out, crc32c(0, rest));
    return out + rest;
}

struct Found {
    uint64_t id = 0;
    std::string_view bytes;
};

// The record that `bytes` begin with; of no size: none that is whole.
Found decode(std::string_view bytes)
{
    queue::Reader reader(bytes);
    const auto crc = reader.integer<uint32_t>();
    const auto size = reader.integer<uint16_t>();
    Found found;
    found.id = reader.integer<uint64_t>();
    found.bytes = reader.take(size);
    if (!reader.good() || crc32c(0, bytes.substr(4, head_size - 4 + size)) != crc) return {};
    return found;
}

}  // namespace

Summaries::Summaries(disk::Disk& disk, disk::Directory dir) : disk_(disk), dir_(std::move(dir)), file_(opened()) {}

Summaries::~Summaries() { work(); }

Summaries::File Summaries::opened()
{
    auto opened = disk_.open_append(dir_, file_name, 0600);
    if (opened) return std::make_shared<const Fd>(std::move(*opened));
    log::warning("what mailq shows is not kept: ", opened.error().text);
    return nullptr;
}

void Summaries::load(const std::function<void(uint64_t id, uint64_t place)>& found)
{
    if (!file_) return;
    std::string window;
    uint64_t at = 0;      // of the window's first byte
    for (bool more = true; more;) {
        auto bytes = disk_.read(*file_, at + window.size(), read_size);
        if (!bytes) return begin_anew();
        more = !bytes->empty();
        window += *bytes;
        std::size_t used = 0;
        if (at == 0 && window.starts_with(start_line)) used = start_line.size();
        else if (at == 0) break;
        for (;;) {
            const Found one = decode(std::string_view(window).substr(used));
            if (one.bytes.empty()) break;
            found(one.id, at + used);
            used += head_size + one.bytes.size();
            ++records_;
        }
        window.erase(0, used);
        at += used;
        if (used == 0 && window.size() >= read_size) break;      // no record is that long
    }
    if (at == 0) return begin_anew();
    written_ = at;
    if (!window.empty() && !disk_.truncate(*file_, at)) begin_anew();
}

void Summaries::begin_anew()
{
    records_ = 0;
    {
        const std::lock_guard lock(mutex_);
        anew_ = true;
        pending_.clear();
        written_ = 0;
    }
    start();
}

bool Summaries::crowded(std::size_t waiting) const
{
    const std::lock_guard lock(mutex_);
    return written_ > small_file && records_ / crowd > waiting;
}

uint64_t Summaries::add(uint64_t id, const Summary& summary)
{
    if (!summary) return 0;
    const std::string record = encode(id, summary.bytes());
    uint64_t place = 0;
    std::size_t size = 0;
    {
        const std::lock_guard lock(mutex_);
        if (!file_ || failed_ || anew_ || pending_.size() > most_pending) return 0;
        place = written_ + writing_.size() + pending_.size();
        pending_ += record;
        size = pending_.size();
    }
    ++records_;
    if (size >= write_size) start();
    return place;
}

void Summaries::flush() { start(); }

// A disk that hangs keeps nobody from ending: what it does not take is read from the mail files again.
void Summaries::finish()
{
    {
        Lock lock(mutex_);
        if (!ended_.wait_for(lock, patience, [this] { return !at_work_; })) return;
        at_work_ = true;
    }
    work();
}

// One at a time is at work, and ends when there is no more to do.
void Summaries::start()
{
    {
        const std::lock_guard lock(mutex_);
        if (std::exchange(at_work_, true)) return;
    }
    if (pool_) pool_->run([this] { work(); }, nullptr);
    else work();
}

void Summaries::work()
{
    Lock lock(mutex_);
    do {
        if (anew_) replace(lock);
        if (file_ && failed_) repair(lock);
        if (file_ && !failed_ && !pending_.empty()) write(lock);
    } while (anew_ || (file_ && !failed_ && pending_.size() >= write_size));
    at_work_ = false;
    ended_.notify_all();
}

// The bytes of the old file go with whoever closes it last: here, or where it is being read.
void Summaries::replace(Lock& lock)
{
    File old = std::exchange(file_, nullptr);
    lock.unlock();
    const auto gone = disk_.unlink(dir_, file_name);
    const bool free = gone || gone.error().code == ENOENT;
    if (!free) log::warning("what mailq shows is not kept: ", gone.error().text);
    old.reset();
    File fresh = free ? opened() : nullptr;
    lock.lock();
    file_ = std::move(fresh);
    failed_ = anew_ = false;
    if (file_) pending_ = start_line;
}

// After a write that failed: what it may have left is cut off.
void Summaries::repair(Lock& lock)
{
    const File file = file_;
    const uint64_t size = written_;
    lock.unlock();
    const bool done = disk_.truncate(*file, size).has_value();
    lock.lock();
    if (!done) return;
    failed_ = false;
    if (size == 0 && !anew_) pending_ = start_line;
}

// While it is written it can be read where it was.
void Summaries::write(Lock& lock)
{
    const File file = file_;
    writing_.swap(pending_);
    lock.unlock();
    const auto done = disk_.write(*file, writing_);     // nobody else changes it
    lock.lock();
    failed_ = !done;
    const bool said = std::exchange(said_, failed_);
    if (failed_ && !said) log::warning("what mailq shows is not kept for now: ", done.error().text);
    if (done && !anew_) written_ += writing_.size();
    if (!done) pending_.clear();                        // the places of what came behind it are not where they were to be
    std::string().swap(writing_);                       // with its memory, of which a slow disk may have made much
}

Summary Summaries::read(uint64_t id, uint64_t place) const
{
    std::string bytes;
    File file;
    {
        const std::lock_guard lock(mutex_);
        if (anew_) return {};
        const uint64_t behind = written_ + writing_.size();
        if (place < written_) file = file_;
        else if (place < behind) bytes = writing_.substr(place - written_, head_size + Summary::longest);
        else if (place - behind < pending_.size()) bytes = pending_.substr(place - behind, head_size + Summary::longest);
    }
    if (file) {
        auto read = disk_.read(*file, place, head_size + Summary::longest);
        if (read) bytes = std::move(*read);
    }
    const Found found = decode(bytes);
    return found.id == id ? Summary::from(found.bytes) : Summary();
}

}  // namespace veredus::qmgr

#include "qmgr/summaries.h"

#include <cerrno>
#include <utility>

#include "lib/base/crc32c.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/queue/codec.h"

namespace veredus::qmgr {

namespace {

constexpr const char* file_name = "summaries";
constexpr std::string_view start = "veredus-summaries 1\n";
constexpr std::size_t head_size = 4 + 2 + 8;          // CRC-32C of what follows, size, ID
constexpr std::size_t write_size = 64 << 10, read_size = 1 << 20;
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

Summaries::Summaries(disk::Disk& disk, disk::Directory dir) : disk_(disk), dir_(std::move(dir)) { open(); }

Summaries::~Summaries() { write(); }

void Summaries::open()
{
    auto opened = disk_.open_append(dir_, file_name, 0600);
    if (!opened) return log::warning("what mailq shows is not kept: ", opened.error().text);
    file_ = std::make_shared<const Fd>(std::move(*opened));
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
        if (at == 0 && window.starts_with(start)) used = start.size();
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
    const std::lock_guard lock(mutex_);
    pending_.clear();
    written_ = 0;
    records_ = 0;
    failed_ = false;
    file_.reset();
    if (auto gone = disk_.unlink(dir_, file_name); !gone && gone.error().code != ENOENT) return log::warning("what mailq shows is not kept: ", gone.error().text);
    open();
    pending_ = start;
}

bool Summaries::crowded(std::size_t waiting) const { return written_ > small_file && records_ / crowd > waiting; }

uint64_t Summaries::add(uint64_t id, const Summary& summary)
{
    if (!file_ || failed_ || !summary) return 0;
    const std::string record = encode(id, summary.bytes());
    uint64_t place = 0;
    std::size_t size = 0;
    {
        const std::lock_guard lock(mutex_);
        place = written_ + pending_.size();
        pending_ += record;
        size = pending_.size();
    }
    ++records_;
    if (size >= write_size) write();
    return place;
}

void Summaries::flush()
{
    if (file_ && failed_ && disk_.truncate(*file_, written_)) failed_ = false;
    if (!failed_) write();
}

// While it is written it can be read where it was.
void Summaries::write()
{
    if (!file_ || failed_ || pending_.empty()) return;
    const auto done = disk_.write(*file_, pending_);
    failed_ = !done;
    const bool said = std::exchange(said_, failed_);
    if (failed_ && !said) log::warning("what mailq shows is not kept for now: ", done.error().text);
    const std::lock_guard lock(mutex_);
    if (done) written_ += pending_.size();
    pending_.clear();
}

Summary Summaries::read(uint64_t id, uint64_t place) const
{
    std::string bytes;
    File file;
    {
        const std::lock_guard lock(mutex_);
        if (place >= written_ && place - written_ < pending_.size()) bytes = pending_.substr(place - written_, head_size + Summary::longest);
        else file = file_;
    }
    if (file) {
        auto read = disk_.read(*file, place, head_size + Summary::longest);
        if (read) bytes = std::move(*read);
    }
    const Found found = decode(bytes);
    return found.id == id ? Summary::from(found.bytes) : Summary();
}

}  // namespace veredus::qmgr

// Queue IDs that never repeat, and the mark on disk that makes it so.
#include "lib/queue/id.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>

#include "lib/base/crc32c.h"
#include "lib/base/text.h"

namespace veredus::queue {

namespace {

constexpr uint32_t reserve_ahead = 300;      // seconds; a crash makes IDs run ahead of the clock by so much, once
constexpr uint32_t low_water = 60;
constexpr uint32_t counter_limit = 1u << 24;
// A clock that says 2100 or later is not believed: one boot with a broken one would leave no seconds for any ID after it, for ever.
constexpr int64_t last_believed = 4'102'444'800;
constexpr std::size_t line_size = 18;
constexpr std::size_t rewrite_size = 4096;
constexpr std::size_t sane_size = 1 << 20;

std::string mark_line(uint32_t until)
{
    std::string line = hex_upper(until, 8);
    append(line, ' ', hex_upper(crc32c(0, line), 8), '\n');
    return line;
}

std::optional<uint32_t> parse_mark_line(std::string_view line)
{
    const auto value = parse_hex(line.substr(0, 8));
    if (!value || mark_line(static_cast<uint32_t>(*value)) != line) return std::nullopt;
    return static_cast<uint32_t>(*value);
}

uint32_t seconds_of(const Clock& clock) { return static_cast<uint32_t>(std::clamp<int64_t>(clock.wall_us() / us_per_second, 0, last_believed)); }

}  // namespace

bool is_queue_id(std::string_view text)
{
    return text.size() == 16 && std::all_of(text.begin(), text.end(), [](char c) { return is_digit(c) || (c >= 'A' && c <= 'F'); });
}

bool is_drop_id(std::string_view id) { return is_queue_id(id) && id[8] < '8'; }

unsigned id_slot(std::string_view id)
{
    const auto digit = [&](std::size_t at) { return static_cast<unsigned>(id[at] <= '9' ? id[at] - '0' : id[at] - 'A' + 10); };
    return is_queue_id(id) && !is_drop_id(id) ? (digit(8) & 7) << 4 | digit(9) : 0;
}

int64_t id_seconds(std::string_view id)
{
    return static_cast<int64_t>(parse_hex(id.substr(0, 8)).value_or(0));
}

std::string drop_id(int64_t wall_us, int pid)
{
    const auto us = static_cast<uint64_t>(std::max<int64_t>(wall_us, 0));
    const uint64_t seconds = (us / us_per_second) & 0xFFFFFFFF;
    const uint64_t half_us = us % us_per_second / 2;
    return hex_upper(seconds << 32 | half_us << 12 | (static_cast<unsigned>(pid) & 0xFFF), 16);
}

// The file: lines are appended; a fresh file replaces one that grew or whose sync failed.
struct IdMaker::Mark {
    Mark(disk::Disk& disk_, const disk::Directory& dir_, std::string name_, const Clock& clock_) : disk(disk_), dir(dir_), name(std::move(name_)), clock(clock_) {}
    Result<uint32_t> load();
    Result<void> append_line(uint32_t value);
    Result<void> rewrite(uint32_t value);
    Result<void> extend(uint32_t value);

    disk::Disk& disk;
    const disk::Directory& dir;
    const std::string name;
    const Clock& clock;
    std::mutex mutex;                          // one refill at a time
    Fd file;                                   // empty: the next extension writes a fresh one
    uint64_t size = 0;
    std::atomic<uint32_t> reserved{0};         // first second that is not reserved
    std::atomic<uint32_t> used{0};             // the owner's second
};

Result<uint32_t> IdMaker::Mark::load()
{
    auto opened = disk.open_read(dir, name);
    if (!opened) {
        if (opened.error().code == ENOENT) return 0u;
        return unexpected(opened.error());
    }
    const std::string bytes = TRY(disk.read(*opened, 0, sane_size));
    uint32_t highest = 0;
    for (std::size_t at = 0; at + line_size <= bytes.size(); at += line_size)
        if (const auto value = parse_mark_line(std::string_view(bytes).substr(at, line_size))) highest = std::max(highest, *value);
    return highest;
}

Result<void> IdMaker::Mark::rewrite(uint32_t value)
{
    const std::string fresh = cat(name, ".new");
    if (auto gone = disk.unlink(dir, fresh); !gone && gone.error().code != ENOENT) return gone;
    Fd created = TRY(disk.create(dir, fresh, 0600));
    const std::string line = mark_line(value);
    TRY(disk.write(created, line));
    TRY(disk.sync(created));
    TRY(disk.rename(dir, fresh, dir, name));
    TRY(disk.sync(dir));
    file = std::move(created);
    size = line.size();
    return {};
}

Result<void> IdMaker::Mark::append_line(uint32_t value)
{
    const std::string line = mark_line(value);
    TRY(disk.write(file, line));
    TRY(disk.sync(file));
    size += line.size();
    return {};
}

Result<void> IdMaker::Mark::extend(uint32_t value)
{
    if (file && size < rewrite_size) {
        if (append_line(value)) {
            reserved = value;
            return {};
        }
        file.reset();    // a failed sync is final for that file
    }
    TRY(rewrite(value));
    reserved = value;
    return {};
}

Result<IdMaker> IdMaker::open(disk::Disk& disk, const disk::Directory& dir, unsigned slot, const Clock& clock)
{
    if (slot > 127) return fail(cat("queue ID slot ", slot, " is above 127"));
    auto mark = std::make_shared<Mark>(disk, dir, cat(".mark-", slot), clock);
    const uint32_t highest = TRY(mark->load());
    mark->reserved = highest;
    IdMaker maker(mark, slot, clock, highest);
    maker.seconds_ = std::max(highest, maker.wall_seconds());
    mark->used = maker.seconds_;
    TRY(maker.refill());
    return maker;
}

uint32_t IdMaker::wall_seconds() const { return seconds_of(*clock_); }

bool IdMaker::runs_low() const
{
    const uint32_t reserved = mark_->reserved;
    const uint32_t now = wall_seconds();
    if (seconds_ >= reserved) return true;
    if (now >= reserved) return true;
    // Ahead of the clock one second lasts for 16 million IDs: reserving more would only push further ahead.
    if (now < seconds_) return counter_ > counter_limit / 2 && reserved - seconds_ <= 1;
    return reserved - now < low_water;
}

Result<void> IdMaker::refill()
{
    Mark& mark = *mark_;
    const std::lock_guard lock(mark.mutex);
    const uint32_t now = seconds_of(mark.clock);
    const uint64_t reserved = mark.reserved;
    uint64_t want = std::max(uint64_t{now} + reserve_ahead, uint64_t{mark.used} + 1);
    if (want <= reserved) want = reserved + 1;    // ahead of the clock, and its counter is used up
    const auto until = static_cast<uint32_t>(std::min<uint64_t>(want, 0xFFFFFFFF));
    if (until <= mark.reserved) return {};
    return mark.extend(until);
}

// To the second and counter of the next ID, within what is reserved.
bool IdMaker::advance()
{
    const uint32_t reserved = mark_->reserved;
    if (reserved == 0) return false;
    const uint32_t target = std::min(wall_seconds(), reserved - 1);
    if (target > seconds_) {
        seconds_ = target;
        counter_ = 0;
    } else if (counter_ >= counter_limit && seconds_ < 0xFFFFFFFF) {
        ++seconds_;
        counter_ = 0;
    }
    mark_->used = seconds_;
    return seconds_ < reserved && counter_ < counter_limit;
}

std::string IdMaker::text() const
{
    return hex_upper(uint64_t{seconds_} << 32 | uint64_t{1} << 31 | uint64_t{slot_} << 24 | counter_, 16);
}

std::optional<std::string> IdMaker::next_reserved()
{
    if (!advance()) return std::nullopt;
    std::string id = text();
    ++counter_;
    return id;
}

Result<std::string> IdMaker::next()
{
    if (wall_seconds() >= mark_->reserved || seconds_ >= mark_->reserved || (counter_ >= counter_limit && seconds_ + 1 >= mark_->reserved)) TRY(refill());
    if (auto id = next_reserved()) return std::move(*id);
    return fail("queue IDs are exhausted");
}

}  // namespace veredus::queue

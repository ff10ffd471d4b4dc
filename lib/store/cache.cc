// A file of records: what a crash or another writer left half is found by its checksum, and costs only itself and what is behind it.
#include "lib/store/cache.h"

#include <algorithm>
#include <cerrno>

#include "lib/base/crc32c.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/store/bytes.h"

namespace veredus::store {

namespace {

constexpr std::string_view magic = "VEREDUS-CACHE-1\n";
constexpr std::size_t head_size = 32;              // magic, UIDVALIDITY, zeros
constexpr std::size_t record_size = 16;            // uid, size, CRC of the value, what, 3 of CRC of these
constexpr std::size_t max_value = 1u << 20;
constexpr uint64_t max_file = uint64_t{1} << 32;
constexpr uint64_t small_file = 256 * 1024;        // not worth a new one
constexpr std::size_t block = 1u << 20;

std::string head_of(uint32_t uidvalidity)
{
    std::string out(magic);
    put(out, uidvalidity);
    out.resize(head_size, '\0');
    return out;
}

// The number of a record: whose, what, how long; with a checksum of its own, so that a torn one is not followed.
void put_record(std::string& out, uint32_t uid, Cached what, std::string_view value)
{
    std::string head;
    put(head, uid);
    put(head, static_cast<uint32_t>(value.size()));
    put(head, crc32c(0, value));
    put(head, static_cast<uint8_t>(what));
    const uint32_t sum = crc32c(0, head);
    out += head;
    for (int i = 0; i < 3; ++i) out += static_cast<char>(sum >> (8 * i));
    out += value;
}

}  // namespace

Cache::Cache(disk::Disk& disk, disk::Directory dir, std::string name, uint32_t uidvalidity)
    : disk_(disk), dir_(std::move(dir)), name_(std::move(name)), uidvalidity_(uidvalidity)
{
}

Result<std::unique_ptr<Cache>> Cache::open(disk::Disk& disk, disk::Directory dir, std::string name, uint32_t uidvalidity)
{
    std::unique_ptr<Cache> cache(new Cache(disk, std::move(dir), std::move(name), uidvalidity));
    TRY(cache->load());
    return cache;
}

void Cache::note(uint32_t uid, const Place& place)
{
    auto& places = places_[uid];
    live_ += record_size + place.size;
    const auto old = std::find_if(places.begin(), places.end(), [&](const Place& p) { return p.what == place.what; });
    if (old == places.end()) {
        places.push_back(place);
        return;
    }
    live_ -= record_size + old->size;
    *old = place;
}

Result<void> Cache::load()
{
    auto file = disk_.open_read(dir_, name_);
    if (!file && file.error().code == ENOENT) return start_anew("");
    if (!file) return unexpected(std::move(file).error());
    const std::string head = TRY(disk_.read(*file, 0, head_size));
    const uint64_t size = TRY(disk_.size(*file));
    if (head != head_of(uidvalidity_) || size > max_file) return start_anew("");
    // Only the heads are looked at here; a value is checked when it is asked for.
    std::string bytes;
    uint64_t from = head_size, at = head_size;
    for (;;) {
        if (at - from + record_size > bytes.size()) {
            from = at;
            bytes = TRY(disk_.read(*file, from, block));
            if (bytes.size() < record_size) break;
        }
        const auto record = std::string_view(bytes).substr(static_cast<std::size_t>(at - from), record_size);
        Taker in(record);
        const auto uid = in.take<uint32_t>();
        Place place;
        place.size = in.take<uint32_t>();
        place.sum = in.take<uint32_t>();
        place.what = static_cast<Cached>(in.take<uint8_t>());
        const uint32_t sum = crc32c(0, record.substr(0, record_size - 3));
        bool right = true;
        for (int i = 0; i < 3; ++i) right = right && in.take<uint8_t>() == static_cast<uint8_t>(sum >> (8 * i));
        if (!right || place.size > max_value || at + record_size + place.size > size) break;
        place.offset = at + record_size;
        note(uid, place);
        at += record_size + place.size;
        if (at - from > bytes.size()) {
            from = at;
            bytes = TRY(disk_.read(*file, from, block));
        }
    }
    auto writable = TRY(disk_.open_append(dir_, name_, 0600));
    file_ = std::move(writable);
    read_to_ = at;
    // Behind a torn record nothing can be found any more, so that nothing must be written there.
    if (at != size) {
        if (auto cut_back = disk_.truncate(file_, at); !cut_back) return start_anew("");
    }
    return {};
}

Result<void> Cache::start_anew(const std::string& records)
{
    const std::string draft = cat(name_, '.', hex_upper(random_u64(), 16));
    Fd file = TRY(disk_.create(dir_, draft, 0600));
    auto done = disk_.write(file, head_of(uidvalidity_) + records);
    if (done) done = disk_.rename(dir_, draft, dir_, name_);
    if (!done) {
        (void)disk_.unlink(dir_, draft);
        return done;
    }
    file_ = std::move(file);
    places_.clear();
    pending_.clear();
    live_ = 0;
    read_to_ = head_size;
    if (records.empty()) return {};
    return load();
}

std::optional<std::string> Cache::get(uint32_t uid, Cached what)
{
    const auto found = places_.find(uid);
    if (found == places_.end()) return std::nullopt;
    const auto place = std::find_if(found->second.begin(), found->second.end(), [&](const Place& p) { return p.what == what; });
    if (place == found->second.end()) return std::nullopt;
    std::string value;
    if (place->offset >= read_to_) {
        value = pending_.substr(static_cast<std::size_t>(place->offset - read_to_), place->size);
    } else if (auto read = disk_.read(file_, place->offset, place->size)) {
        value = std::move(*read);
    }
    if (value.size() == place->size && crc32c(0, value) == place->sum) return value;
    live_ -= record_size + place->size;              // not what was written: made anew by whoever asked
    found->second.erase(place);
    return std::nullopt;
}

void Cache::put(uint32_t uid, Cached what, std::string_view value)
{
    if (value.size() > max_value) return;
    put_record(pending_, uid, what, value);
    note(uid, {read_to_ + pending_.size() - value.size(), static_cast<uint32_t>(value.size()), crc32c(0, value), what});
}

void Cache::forget(uint32_t uid)
{
    const auto found = places_.find(uid);
    if (found == places_.end()) return;
    for (const Place& p : found->second) live_ -= record_size + p.size;
    places_.erase(found);
}

Result<void> Cache::flush()
{
    const uint64_t whole = read_to_ + pending_.size();
    if (whole > small_file && live_ * 2 < whole) {
        std::string records;
        std::vector<std::pair<uint32_t, Cached>> all;
        for (const auto& [uid, places] : places_)
            for (const Place& p : places) all.emplace_back(uid, p.what);
        std::sort(all.begin(), all.end());
        for (const auto& [uid, what] : all)
            if (const auto value = get(uid, what)) put_record(records, uid, what, *value);
        return start_anew(records);
    }
    if (pending_.empty()) return {};
    // Another process may have written or replaced the file: what it is now is not what our places mean.
    const uint64_t size = TRY(disk_.size(file_));
    if (size != read_to_) {
        pending_.clear();
        places_.clear();
        live_ = 0;
        return load();
    }
    if (auto written = disk_.write(file_, pending_); !written) {
        (void)disk_.truncate(file_, read_to_);
        pending_.clear();
        places_.clear();
        live_ = 0;
        (void)load();
        return written;
    }
    read_to_ += pending_.size();
    pending_.clear();
    return {};
}

}  // namespace veredus::store

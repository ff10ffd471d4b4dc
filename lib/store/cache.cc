// A file of records: what a crash or another writer left half is found by its checksum, and costs only itself and what is behind it.
#include "lib/store/cache.h"

#include <algorithm>
#include <cerrno>
#include <vector>

#include "lib/base/crc32c.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/store/bytes.h"

namespace veredus::store {

namespace {

constexpr std::string_view magic = "VEREDUS-CACHE-2\n";
constexpr std::size_t head_size = 32;              // magic, UIDVALIDITY, version of the kept fields, zeros
constexpr std::size_t record_size = 16;            // uid, size, CRC of the payload, kind, 3 of CRC of these
constexpr std::size_t max_payload = 1u << 20;
constexpr std::size_t max_preview = 4096;
constexpr uint64_t max_file = uint64_t{1} << 32;
constexpr uint64_t small_file = 256 * 1024;        // not worth a new one
constexpr std::size_t block = 1u << 20;
constexpr std::size_t much_pending = 256 * 1024;
constexpr std::size_t least_ahead = 16 * 1024, most_ahead = 128 * 1024;
constexpr uint64_t near = 64 * 1024;               // a gap that reading in order jumps over
constexpr uint64_t pending_base = uint64_t{1} << 62;
constexpr uint8_t fields_whole = 1;

}  // namespace

std::string Cache::head_of(uint32_t uidvalidity)
{
    std::string out(magic);
    veredus::store::put(out, uidvalidity);
    veredus::store::put(out, kept_fields_version());
    out.resize(head_size, '\0');
    return out;
}

// The head of the record at `at`, whose payload is there already, behind room for the head: whose, what, how long; with a checksum of its
// own, so that a torn one is not followed. The payload's checksum.
uint32_t Cache::seal_record(std::string& out, std::size_t at, uint32_t uid, Kind kind)
{
    const auto payload = std::string_view(out).substr(at + record_size);
    const uint32_t payload_sum = crc32c(0, payload);
    std::string head;
    veredus::store::put(head, uid);
    veredus::store::put(head, static_cast<uint32_t>(payload.size()));
    veredus::store::put(head, payload_sum);
    veredus::store::put(head, static_cast<uint8_t>(kind));
    const uint32_t sum = crc32c(0, head);
    for (int i = 0; i < 3; ++i) head += static_cast<char>(sum >> (8 * i));
    out.replace(at, record_size, head);
    return payload_sum;
}

void Cache::encode_record(std::string& out, uint32_t uid, Kind kind, std::string_view payload)
{
    const std::size_t at = out.size();
    out.append(record_size, '\0');
    out += payload;
    (void)seal_record(out, at, uid, kind);
}

namespace {

void encode_facts(std::string& out, uint64_t id, const Facts& facts)
{
    put(out, id);
    put(out, facts.size);
    put(out, facts.received);
    put(out, static_cast<uint8_t>(facts.fields_whole ? fields_whole : 0));
    for (const auto text : {facts.envelope, facts.body, facts.body_structure, facts.fields}) put(out, static_cast<uint32_t>(text.size()));
    for (const auto text : {facts.envelope, facts.body, facts.body_structure, facts.fields}) out += text;
}

void encode_preview(std::string& out, uint64_t id, std::string_view preview)
{
    put(out, id);
    out += preview;
}

std::optional<Facts> decode_facts(std::string_view payload, uint64_t id)
{
    Taker in(payload);
    if (in.take<uint64_t>() != id) return std::nullopt;
    Facts out;
    out.size = in.take<uint64_t>();
    out.received = in.take<int64_t>();
    out.fields_whole = in.take<uint8_t>() & fields_whole;
    uint32_t sizes[4];
    for (auto& size : sizes) size = in.take<uint32_t>();
    out.envelope = in.take_text(sizes[0]);
    out.body = in.take_text(sizes[1]);
    out.body_structure = in.take_text(sizes[2]);
    out.fields = in.take_text(sizes[3]);
    if (!in.whole()) return std::nullopt;
    return out;
}

}  // namespace

void Cache::encode(std::string& out, uint32_t uid, uint64_t id, const Facts& facts)
{
    std::string payload;
    encode_facts(payload, id, facts);
    if (payload.size() > max_payload) return;
    encode_record(out, uid, Kind::facts, payload);
    if (!facts.preview || facts.preview->size() > max_preview) return;
    payload.clear();
    encode_preview(payload, id, *facts.preview);
    encode_record(out, uid, Kind::preview, payload);
}

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

void Cache::note(Places& places, uint32_t uid, const Place& place)
{
    auto& mine = places[uid];
    if (mine.offset) live_ -= record_size + mine.size;
    live_ += record_size + place.size;
    mine = place;
}

void Cache::drop(Places& places, uint32_t uid)
{
    const auto found = places.find(uid);
    if (found == places.end()) return;
    live_ -= record_size + found->second.size;
    places.erase(found);
}

void Cache::reset()
{
    facts_.clear();
    previews_.clear();
    pending_.clear();
    facts_window_ = preview_window_ = Window();
    live_ = 0;
    read_to_ = head_size;
}

Result<void> Cache::load()
{
    reset();
    for (int attempt = 0; attempt < 10; ++attempt) {
        const auto before = disk_.stat(dir_, name_);
        if (!before && before.error().code == ENOENT) return start_anew();
        if (!before) return unexpected(before.error());
        if (!before->regular) return fail_errno(cat(dir_.path, '/', name_, ": no regular file"), EINVAL);
        auto file = TRY(disk_.open_append(dir_, name_, 0600));
        const auto after = disk_.stat(dir_, name_);
        if (!after || after->file != before->file) continue;
        file_ = std::move(file);
        file_id_ = after->file;
        const std::string head = TRY(disk_.read(file_, 0, head_size));
        if (head != head_of(uidvalidity_) || after->size > max_file) return start_anew();
        return read_heads();
    }
    return fail_errno(cat(dir_.path, '/', name_, ": replaced again and again"), EAGAIN);
}

// False: no record, or not all of it is there.
bool Cache::take_head(std::string_view head, uint64_t payload_at, uint64_t end)
{
    Taker in(head);
    const auto uid = in.take<uint32_t>();
    Place place;
    place.offset = payload_at;
    place.size = in.take<uint32_t>();
    place.sum = in.take<uint32_t>();
    const auto kind = static_cast<Kind>(in.take<uint8_t>());
    const uint32_t sum = crc32c(0, head.substr(0, record_size - 3));
    bool right = true;
    for (int i = 0; i < 3; ++i) right = right && in.take<uint8_t>() == static_cast<uint8_t>(sum >> (8 * i));
    if (!right || place.size > max_payload || payload_at + place.size > end) return false;
    if (kind == Kind::facts) note(facts_, uid, place);
    if (kind == Kind::preview) note(previews_, uid, place);
    read_to_ = payload_at + place.size;
    return true;
}

// From read_to_ on. Only the heads are looked at here; a payload is checked when it is asked for.
Result<void> Cache::read_heads()
{
    const uint64_t size = TRY(disk_.size(file_));
    std::string bytes;
    uint64_t from = read_to_;
    while (read_to_ + record_size <= size) {
        const uint64_t at = read_to_;
        if (at < from || at - from + record_size > bytes.size()) {
            from = at;
            bytes = TRY(disk_.read(file_, from, static_cast<std::size_t>(std::min<uint64_t>(block, size - from))));
            if (bytes.size() < record_size) break;
        }
        if (!take_head(std::string_view(bytes).substr(static_cast<std::size_t>(at - from), record_size), at + record_size, size)) break;
    }
    return {};
}

// What others added, in this file or in another one that took its name.
Result<void> Cache::catch_up()
{
    const auto now = disk_.stat(dir_, name_);
    if (!now && now.error().code != ENOENT) return unexpected(now.error());
    if (now && now->file == file_id_ && now->size == read_to_) return {};
    if (now && now->file == file_id_ && now->size > read_to_) return read_heads();
    const std::string kept = std::move(pending_);
    TRY(load());
    pending_ = kept;
    std::size_t at = 0;                                   // their places, once more
    while (at + record_size <= kept.size()) {
        const uint64_t file_end = read_to_;
        if (!take_head(std::string_view(kept).substr(at, record_size), pending_base + at + record_size, pending_base + kept.size())) break;
        at = static_cast<std::size_t>(read_to_ - pending_base);
        read_to_ = file_end;
    }
    return {};
}

Result<void> Cache::start_anew()
{
    reset();
    const std::string draft = cat(name_, '.', hex_upper(random_u64(), 16));
    {
        const Fd made = TRY(disk_.create(dir_, draft, 0600));
        auto done = disk_.write(made, head_of(uidvalidity_));
        if (done) done = disk_.rename(dir_, draft, dir_, name_);
        if (!done) {
            (void)disk_.unlink(dir_, draft);
            return done;
        }
    }
    file_ = TRY(disk_.open_append(dir_, name_, 0600));
    const auto info = TRY(disk_.stat(dir_, name_));
    file_id_ = info.file;
    return {};
}

// `also_to`: what is asked for next ends there, if that is near.
std::optional<std::string_view> Cache::payload(Places& places, uint32_t uid, Window& window, uint64_t also_to)
{
    const auto found = places.find(uid);
    if (found == places.end()) return std::nullopt;
    const Place place = found->second;
    std::string_view bytes;
    if (place.offset >= pending_base) {
        // It was written since, and another writer, who took it for torn, cut it off before it was seen in the file.
        if (place.offset - pending_base <= pending_.size()) bytes = std::string_view(pending_).substr(static_cast<std::size_t>(place.offset - pending_base), place.size);
    } else {
        const uint64_t end = also_to > place.offset && also_to < place.offset + near ? std::max(also_to, place.offset + place.size) : place.offset + place.size;
        if (place.offset < window.at || end > window.at + window.bytes.size()) {
            const bool in_order = place.offset >= window.next_at && place.offset < window.next_at + near;
            window.ahead = in_order ? std::clamp(window.ahead * 2, least_ahead, most_ahead) : 0;
            auto read = disk_.read(file_, place.offset, std::max(static_cast<std::size_t>(end - place.offset), window.ahead));
            window.bytes = read ? std::move(*read) : std::string();
            window.at = place.offset;
        }
        if (place.offset + place.size <= window.at + window.bytes.size())
            bytes = std::string_view(window.bytes).substr(static_cast<std::size_t>(place.offset - window.at), place.size);
        window.next_at = place.offset + place.size;
    }
    // Once for each place: records do not change. Who could change them is the owner, and decoding bounds whatever they say.
    if (bytes.size() == place.size && (place.checked || crc32c(0, bytes) == place.sum)) {
        found->second.checked = true;
        return bytes;
    }
    drop(places, uid);                                    // not what was written: made anew by whoever asked
    return std::nullopt;
}

std::optional<Facts> Cache::get(uint32_t uid, uint64_t id)
{
    if (!facts_.contains(uid) && !catch_up()) reset();
    // Most previews lie right behind the facts of their message, and are read with them.
    const uint64_t end = end_of_preview(uid);
    const auto bytes = payload(facts_, uid, facts_window_, end);
    auto out = bytes ? decode_facts(*bytes, id) : std::nullopt;
    if (bytes && !out) drop(facts_, uid);
    if (!out || end == 0) return out;
    const bool with_facts = end < pending_base && end <= facts_window_.at + facts_window_.bytes.size() && previews_.at(uid).offset >= facts_window_.at;
    if (const auto preview = payload(previews_, uid, with_facts ? facts_window_ : preview_window_)) {
        Taker in(*preview);
        if (in.take<uint64_t>() == id && !in.ran_out()) out->preview = in.rest();
    }
    return out;
}

uint64_t Cache::end_of_preview(uint32_t uid) const
{
    const auto found = previews_.find(uid);
    return found == previews_.end() ? 0 : found->second.offset + found->second.size;
}

// The record in pending_ whose payload was written behind room for its head.
void Cache::seal(uint32_t uid, Kind kind, std::size_t at)
{
    const std::size_t size = pending_.size() - at - record_size;
    if (size > max_payload || read_to_ + at > max_file) return pending_.resize(at);
    const uint32_t sum = seal_record(pending_, at, uid, kind);
    note(kind == Kind::facts ? facts_ : previews_, uid, {pending_base + at + record_size, static_cast<uint32_t>(size), sum});
}

void Cache::put(uint32_t uid, uint64_t id, const Facts& facts)
{
    const std::size_t at = pending_.size();
    pending_.append(record_size, '\0');
    encode_facts(pending_, id, facts);
    seal(uid, Kind::facts, at);
    if (facts.preview) put_preview(uid, id, *facts.preview);
}

void Cache::put_preview(uint32_t uid, uint64_t id, std::string_view preview)
{
    if (preview.size() > max_preview) return;
    const std::size_t at = pending_.size();
    pending_.append(record_size, '\0');
    encode_preview(pending_, id, preview);
    seal(uid, Kind::preview, at);
}

void Cache::forget(uint32_t uid)
{
    drop(facts_, uid);
    drop(previews_, uid);
}

void Cache::forget_if(const std::function<bool(uint32_t)>& is_gone)
{
    std::vector<uint32_t> gone;
    for (const auto* places : {&facts_, &previews_})
        for (const auto& [uid, place] : *places)
            if (is_gone(uid)) gone.push_back(uid);
    for (const uint32_t uid : gone) forget(uid);
}

bool Cache::wants_flush() const { return pending_.size() > much_pending; }

Result<void> Cache::flush()
{
    facts_window_ = preview_window_ = Window();
    const uint64_t whole = read_to_ + pending_.size();
    if (whole > small_file && live_ * 2 < whole) return rewrite();
    if (pending_.empty()) return {};
    auto done = catch_up();
    // What lies behind the last whole record now is torn for good, or of a writer whose loss costs him a second look.
    if (done && TRY(disk_.size(file_)) > read_to_) done = disk_.truncate(file_, read_to_);
    if (done) done = disk_.write(file_, pending_);
    if (!done) {
        reset();
        (void)load();
        return done;
    }
    std::string().swap(pending_);
    return read_heads();                                  // ours are behind what others may have written in this moment
}

Result<void> Cache::rewrite()
{
    const std::string draft = cat(name_, '.', hex_upper(random_u64(), 16));
    const Fd made = TRY(disk_.create(dir_, draft, 0600));
    std::vector<uint32_t> uids;
    uids.reserve(facts_.size());
    for (const auto& [uid, place] : facts_) uids.push_back(uid);
    std::sort(uids.begin(), uids.end());
    std::string out = head_of(uidvalidity_);
    Result<void> done;
    for (const uint32_t uid : uids) {
        if (const auto bytes = payload(facts_, uid, facts_window_)) encode_record(out, uid, Kind::facts, *bytes);
        if (const auto bytes = payload(previews_, uid, preview_window_)) encode_record(out, uid, Kind::preview, *bytes);
        if (out.size() < block) continue;
        done = disk_.write(made, out);
        out.clear();
        if (!done) break;
    }
    if (done) done = disk_.write(made, out);
    if (done) done = disk_.rename(dir_, draft, dir_, name_);
    if (!done) {
        (void)disk_.unlink(dir_, draft);
        return done;
    }
    return load();
}

Result<void> Cache::append(disk::Disk& disk, const disk::Directory& dir, const std::string& name, uint32_t uidvalidity, std::string_view records)
{
    const auto info = disk.stat(dir, name);
    if (!info && info.error().code == ENOENT) {
        const std::string draft = cat(name, '.', hex_upper(random_u64(), 16));
        const Fd made = TRY(disk.create(dir, draft, 0600));
        auto done = disk.write(made, cat(head_of(uidvalidity), records));
        if (done) done = disk.rename_new(dir, draft, dir, name);
        if (!done) (void)disk.unlink(dir, draft);
        return done;
    }
    if (!info) return unexpected(info.error());
    if (!info->regular || info->size + records.size() > max_file) return {};
    const Fd file = TRY(disk.open_append(dir, name, 0600));
    if (TRY(disk.read(file, 0, head_size)) != head_of(uidvalidity)) return {};
    return disk.write(file, records);
}

}  // namespace veredus::store

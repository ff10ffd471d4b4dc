// Records of the UID log: coding, replay, and what is saved of a damaged file.
#include "lib/store/uid_table.h"

#include <algorithm>

#include "lib/base/crc32c.h"
#include "lib/base/text.h"
#include "lib/store/bytes.h"

namespace veredus::store {

namespace {

constexpr char mark = '\xA7';
constexpr std::size_t smallest_add = record_head + 43;
constexpr std::size_t ranges_per_record = 4096;
constexpr uint64_t max_modseq = INT64_MAX;     // RFC 7162 §3.1.1: 63 bits

void put_record(std::string& out, Record type, std::string_view payload)
{
    std::string head;
    put(head, static_cast<uint8_t>(type));
    put(head, uint16_t{0});
    put(head, static_cast<uint32_t>(payload.size()));
    out += mark;
    out += head;
    put(out, crc32c(crc32c(0, head), payload));
    out += payload;
}

std::string encode_head(uint32_t uidvalidity, uint32_t uidnext, uint64_t modseq, uint64_t floor, uint64_t mailbox_id)
{
    std::string p;
    put(p, uid_log_version);
    put(p, uidvalidity);
    put(p, uidnext);
    put(p, modseq);
    put(p, floor);
    put(p, mailbox_id);
    std::string out;
    put_record(out, Record::head, p);
    return out;
}

void put_ranges(std::string& out, const UidRange* range, std::size_t count)
{
    for (std::size_t i = 0; i < count; ++i) {
        put(out, range[i].first);
        put(out, range[i].last);
    }
}

// False: no ascending ranges of possible UIDs.
bool take_ranges(std::string_view bytes, std::vector<UidRange>& out)
{
    if (bytes.empty() || bytes.size() % 8 != 0) return false;
    Taker in(bytes);
    uint32_t before = 0;
    while (!in.whole()) {
        UidRange r;
        r.first = in.take<uint32_t>();
        r.last = in.take<uint32_t>();
        if (r.first <= before || r.last < r.first) return false;
        before = r.last;
        out.push_back(r);
    }
    return true;
}

void encode_add_into(std::string& out, const NewMessage& m, uint32_t uid, uint64_t modseq)
{
    std::string p;
    put(p, uid);
    put(p, modseq);
    put(p, m.keywords);
    put(p, m.received);
    put(p, m.saved);
    put(p, m.id ? m.id : name_id(m.name));
    put(p, static_cast<uint8_t>(m.flags & all_flags));
    put(p, static_cast<uint8_t>(m.fresh));
    p += m.name;
    put_record(out, Record::add, p);
}

}  // namespace

uint64_t name_id(std::string_view name)
{
    uint64_t hash = 0xcbf29ce484222325;                          // FNV-1a, then a finalizer: all bits depend on all
    for (const char c : name.substr(0, name.find(':'))) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccd;
    hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53;
    hash ^= hash >> 33;
    return hash ? hash : 1;
}

bool is_keyword(std::string_view word)
{
    if (word.empty() || word.size() > max_keyword_size) return false;
    return std::all_of(word.begin(), word.end(), [](char c) { return c > ' ' && c < 0x7f && std::string_view("(){%*\"\\]").find(c) == std::string_view::npos; });
}

std::vector<UidRange> to_ranges(const std::vector<uint32_t>& uids)
{
    std::vector<UidRange> out;
    for (const uint32_t uid : uids) {
        if (!out.empty() && out.back().last + 1 == uid) out.back().last = uid;
        else out.push_back({uid, uid});
    }
    return out;
}

std::string encode_add(const NewMessage& m, uint32_t uid, uint64_t modseq)
{
    std::string out;
    encode_add_into(out, m, uid, modseq);
    return out;
}

void encode_flags(std::string& out, uint64_t modseq, uint8_t flags, uint64_t keywords, const std::vector<UidRange>& uids)
{
    for (std::size_t at = 0; at < uids.size(); at += ranges_per_record) {
        std::string p;
        put(p, modseq);
        put(p, keywords);
        put(p, flags);
        put_ranges(p, uids.data() + at, std::min(ranges_per_record, uids.size() - at));
        put_record(out, Record::flags, p);
    }
}

void encode_vanished(std::string& out, uint64_t modseq, const std::vector<UidRange>& uids)
{
    for (std::size_t at = 0; at < uids.size(); at += ranges_per_record) {
        std::string p;
        put(p, modseq);
        put_ranges(p, uids.data() + at, std::min(ranges_per_record, uids.size() - at));
        put_record(out, Record::vanished, p);
    }
}

std::string encode_name(uint32_t uid, bool fresh, std::string_view name)
{
    std::string p, out;
    put(p, uid);
    put(p, static_cast<uint8_t>(fresh));
    p += name;
    put_record(out, Record::name, p);
    return out;
}

std::string encode_keyword(unsigned bit, std::string_view keyword)
{
    std::string p, out;
    put(p, static_cast<uint8_t>(bit));
    p += keyword;
    put_record(out, Record::keyword, p);
    return out;
}

std::string encode_next(uint32_t uidnext, uint64_t modseq)
{
    std::string p, out;
    put(p, uidnext);
    put(p, modseq);
    put_record(out, Record::next, p);
    return out;
}

std::string encode_state(std::string_view state)
{
    std::string out;
    put_record(out, Record::state, state.substr(0, max_record));
    return out;
}

std::optional<RecordView> next_record(std::string_view bytes, std::size_t& at)
{
    if (at > bytes.size() || bytes.size() - at < record_head || bytes[at] != mark) return std::nullopt;
    Taker in(bytes.substr(at + 1, record_head - 1));
    const auto type = in.take<uint8_t>();
    (void)in.take<uint16_t>();
    const auto size = in.take<uint32_t>();
    const auto sum = in.take<uint32_t>();
    if (size > max_record || bytes.size() - at - record_head < size) return std::nullopt;
    const auto payload = bytes.substr(at + record_head, size);
    if (crc32c(crc32c(0, bytes.substr(at + 1, 7)), payload) != sum) return std::nullopt;
    at += record_head + size;
    return RecordView{static_cast<Record>(type), payload};
}

// --- the table

const Message* UidTable::find(uint32_t uid) const
{
    if (messages_.empty() || uid < messages_.front().uid) return nullptr;
    // Where nothing was ever removed it stands right there, and never further on.
    const auto most = std::min<std::size_t>(uid - messages_.front().uid, messages_.size() - 1);
    if (messages_[most].uid == uid) return messages_[most].gone ? nullptr : &messages_[most];
    const auto end = messages_.begin() + static_cast<std::ptrdiff_t>(most);
    const auto found = std::lower_bound(messages_.begin(), end, uid, [](const Message& m, uint32_t u) { return m.uid < u; });
    return found == end || found->uid != uid || found->gone ? nullptr : &*found;
}

Message* UidTable::find_mutable(uint32_t uid) { return const_cast<Message*>(find(uid)); }

std::optional<unsigned> UidTable::keyword_bit(std::string_view keyword) const
{
    for (unsigned i = 0; i < keywords_.size(); ++i)
        if (!keywords_[i].empty() && iequals(keywords_[i], keyword)) return i;
    return std::nullopt;
}

bool UidTable::has_room_for_keyword() const
{
    uint64_t used = 0;
    for (unsigned i = 0; i < keywords_.size(); ++i)
        if (!keywords_[i].empty()) used |= uint64_t{1} << i;
    if (~used != 0) return true;
    used = 0;
    for (const Message& m : messages_) used |= m.keywords;
    return ~used != 0;
}

std::vector<UidRange> UidTable::vanished_since(uint64_t modseq) const
{
    std::vector<UidRange> out;
    if (modseq < vanished_floor_) {
        uint32_t next = 1;
        for (const Message& m : messages_) {
            if (m.uid > next) out.push_back({next, m.uid - 1});
            next = m.uid + 1;
        }
        if (next < uidnext_) out.push_back({next, uidnext_ - 1});
        return out;
    }
    const auto from = std::upper_bound(vanished_.begin(), vanished_.end(), modseq, [](uint64_t m, const Vanished& v) { return m < v.modseq; });
    for (auto v = from; v != vanished_.end(); ++v) out.push_back(v->range);
    std::sort(out.begin(), out.end(), [](const UidRange& a, const UidRange& b) { return a.first < b.first; });
    std::size_t kept = 0;
    for (std::size_t i = 1; i < out.size(); ++i) {
        if (out[i].first <= out[kept].last + 1) out[kept].last = std::max(out[kept].last, out[i].last);
        else out[++kept] = out[i];
    }
    if (!out.empty()) out.resize(kept + 1);
    return out;
}

void UidTable::note_name(Message& m, std::string_view name)
{
    m.name_at = static_cast<uint32_t>(names_.size());
    m.name_size = static_cast<uint16_t>(name.size());
    names_ += name;
}

bool UidTable::apply_head(std::string_view payload)
{
    Taker in(payload);
    version_ = in.take<uint16_t>();
    if (version_ > uid_log_version) return true;                 // the caller keeps its hands off
    const auto validity = in.take<uint32_t>();
    const auto next = in.take<uint32_t>();
    const auto modseq = in.take<uint64_t>();
    const auto floor = in.take<uint64_t>();
    const auto id = in.take<uint64_t>();
    if (!in.whole() || validity == 0 || next == 0 || modseq > max_modseq) return false;
    uidvalidity_ = validity;
    uidnext_ = std::max(uidnext_, next);
    highest_modseq_ = std::max({highest_modseq_, modseq, uint64_t{1}});
    vanished_floor_ = std::max(vanished_floor_, floor);
    mailbox_id_ = id;
    return true;
}

bool UidTable::apply_add(std::string_view payload)
{
    Taker in(payload);
    Message m;
    m.uid = in.take<uint32_t>();
    m.modseq = in.take<uint64_t>();
    m.keywords = in.take<uint64_t>();
    m.received = in.take<int64_t>();
    m.saved = in.take<int64_t>();
    m.id = in.take<uint64_t>();
    m.flags = in.take<uint8_t>();
    m.fresh = in.take<uint8_t>() != 0;
    const auto name = in.rest();
    // UIDs only grow; the last one of all is never given, so that UIDNEXT always fits (RFC 9051 §2.3.1.1).
    if (in.ran_out() || m.uid == 0 || m.uid == UINT32_MAX || m.modseq > max_modseq || m.flags > all_flags || name.size() > UINT16_MAX) return false;
    if (m.uid <= vanished_to_ || (!messages_.empty() && messages_.back().uid >= m.uid)) return false;
    if (names_.size() + name.size() > UINT32_MAX) return false;
    note_name(m, name);
    messages_.push_back(m);
    uidnext_ = std::max(uidnext_, m.uid + 1);
    highest_modseq_ = std::max(highest_modseq_, m.modseq);
    return true;
}

bool UidTable::apply_flags(std::string_view payload)
{
    Taker in(payload);
    const auto modseq = in.take<uint64_t>();
    const auto keywords = in.take<uint64_t>();
    const auto flags = in.take<uint8_t>();
    std::vector<UidRange> ranges;
    if (in.ran_out() || modseq > max_modseq || flags > all_flags || !take_ranges(in.rest(), ranges)) return false;
    for (const UidRange& r : ranges) {
        auto m = std::lower_bound(messages_.begin(), messages_.end(), r.first, [](const Message& a, uint32_t u) { return a.uid < u; });
        for (; m != messages_.end() && m->uid <= r.last; ++m) {
            m->flags = flags;
            m->keywords = keywords;
            m->modseq = modseq;
        }
    }
    highest_modseq_ = std::max(highest_modseq_, modseq);
    return true;
}

bool UidTable::apply_name(std::string_view payload)
{
    Taker in(payload);
    const auto uid = in.take<uint32_t>();
    const bool fresh = in.take<uint8_t>() != 0;
    const auto name = in.rest();
    if (in.ran_out() || name.size() > UINT16_MAX || names_.size() + name.size() > UINT32_MAX) return false;
    Message* m = find_mutable(uid);
    if (!m) return true;                                         // it vanished
    m->fresh = fresh;
    if (name.size() <= m->name_size) {                           // in place: a flag more or less leaves no hole that grows
        names_.replace(m->name_at, name.size(), name);
        m->name_size = static_cast<uint16_t>(name.size());
    } else {
        note_name(*m, name);
    }
    return true;
}

bool UidTable::apply_keyword(std::string_view payload)
{
    Taker in(payload);
    const auto bit = in.take<uint8_t>();
    const auto keyword = in.rest();
    if (in.ran_out() || bit >= max_keywords || !is_keyword(keyword)) return false;
    if (keywords_.size() <= bit) keywords_.resize(bit + 1u);
    keywords_[bit] = keyword;
    return true;
}

bool UidTable::apply_vanished(std::string_view payload)
{
    Taker in(payload);
    const auto modseq = in.take<uint64_t>();
    std::vector<UidRange> ranges;
    if (in.ran_out() || modseq > max_modseq || !take_ranges(in.rest(), ranges)) return false;
    if (ranges.back().last == UINT32_MAX || (!vanished_.empty() && vanished_.back().modseq > modseq)) return false;
    vanished_to_ = std::max(vanished_to_, ranges.back().last);
    uidnext_ = std::max(uidnext_, vanished_to_ + 1);
    for (const UidRange& r : ranges) {
        auto m = std::lower_bound(messages_.begin(), messages_.end(), r.first, [](const Message& a, uint32_t u) { return a.uid < u; });
        for (; m != messages_.end() && m->uid <= r.last; ++m) any_gone_ = m->gone = true;
        vanished_.push_back({modseq, r});
    }
    highest_modseq_ = std::max(highest_modseq_, modseq);
    if (vanished_.size() > max_vanished) {
        const std::size_t drop = vanished_.size() - max_vanished / 2;
        vanished_floor_ = vanished_[drop - 1].modseq;
        vanished_.erase(vanished_.begin(), vanished_.begin() + static_cast<std::ptrdiff_t>(drop));
    }
    return true;
}

bool UidTable::apply_next(std::string_view payload)
{
    Taker in(payload);
    const auto next = in.take<uint32_t>();
    const auto modseq = in.take<uint64_t>();
    if (!in.whole() || modseq > max_modseq) return false;
    uidnext_ = std::max(uidnext_, next);
    highest_modseq_ = std::max(highest_modseq_, modseq);
    return true;
}

bool UidTable::apply_one(Record type, std::string_view payload)
{
    switch (type) {
    case Record::head: return apply_head(payload);
    case Record::add: return apply_add(payload);
    case Record::flags: return apply_flags(payload);
    case Record::name: return apply_name(payload);
    case Record::keyword: return apply_keyword(payload);
    case Record::vanished: return apply_vanished(payload);
    case Record::next: return apply_next(payload);
    case Record::state: state_ = payload; return true;
    }
    return true;                                                 // a later version's addition, of no matter to us
}

void UidTable::purge()
{
    if (!any_gone_) return;
    std::erase_if(messages_, [](const Message& m) { return m.gone; });
    any_gone_ = false;
}

void UidTable::apply(std::string_view records)
{
    std::size_t at = 0;
    while (const auto record = next_record(records, at)) (void)apply_one(record->type, record->payload);
    purge();
}

// Bytes were lost: UIDs and mod-sequences that may have stood there were perhaps shown to somebody. Never give them again.
void UidTable::bump(std::size_t lost)
{
    const uint64_t next = uint64_t{uidnext_} + lost / smallest_add + 1;
    uidnext_ = static_cast<uint32_t>(std::min<uint64_t>(next, UINT32_MAX));
    highest_modseq_ = std::min(highest_modseq_ + lost / record_head + 1, max_modseq);
}

UidTable::Loaded UidTable::load(std::string_view file)
{
    Loaded out;
    std::size_t at = 0, lost = 0, holes = 0;
    while (at < file.size()) {
        const auto record = next_record(file, at);
        if (record) {
            if (!apply_one(record->type, record->payload)) out.damaged = true;
            if (record->type == Record::head && uidvalidity_) out.has_head = true;
            out.version = version_;
            if (version_ > uid_log_version) return out;
            out.whole = at;
            continue;
        }
        // A torn end, or a hole: go on at the next mark where a whole record begins. Each try costs a checksum over at most
        // max_record bytes, so their number is bounded.
        out.damaged = true;
        std::size_t to = at;
        bool found = false;
        while (!found && holes < 65536) {
            to = file.find(mark, to + 1);
            if (to == std::string_view::npos) break;
            std::size_t probe = to;
            ++holes;
            found = next_record(file, probe).has_value();
        }
        if (!found) to = file.size();
        lost += to - at;
        at = to;
    }
    if (lost) bump(lost);
    purge();
    return out;
}

void UidTable::start(const Seed& seed)
{
    *this = UidTable();
    uidvalidity_ = seed.uidvalidity;
    mailbox_id_ = seed.mailbox_id;
    std::string records;
    for (unsigned i = 0; i < seed.keywords.size() && i < max_keywords; ++i)
        if (is_keyword(seed.keywords[i])) records += encode_keyword(i, seed.keywords[i]);
    for (const NewMessage& m : seed.messages) encode_add_into(records, m, m.uid, 1);
    apply(records);
    uidnext_ = std::max(uidnext_, seed.uidnext);
}

std::size_t UidTable::snapshot_size() const
{
    std::size_t size = 200 + state_.size() + vanished_.size() * 16;
    for (const Message& m : messages_) size += smallest_add + m.name_size;
    return size;
}

std::string UidTable::snapshot() const
{
    std::string out;
    out.reserve(snapshot_size());
    const std::string head = encode_head(uidvalidity_, uidnext_, highest_modseq_, vanished_floor_, mailbox_id_);
    out += head;
    for (unsigned i = 0; i < keywords_.size(); ++i)
        if (!keywords_[i].empty()) out += encode_keyword(i, keywords_[i]);
    for (const Message& m : messages_) {
        NewMessage n;
        n.name = name(m);
        n.fresh = m.fresh;
        n.flags = m.flags;
        n.keywords = m.keywords;
        n.received = m.received;
        n.saved = m.saved;
        n.id = m.id;
        encode_add_into(out, n, m.uid, m.modseq);
    }
    // One record for each mod-sequence, ranges ascending within it.
    for (std::size_t at = 0; at < vanished_.size();) {
        std::vector<UidRange> ranges;
        const uint64_t modseq = vanished_[at].modseq;
        for (; at < vanished_.size() && vanished_[at].modseq == modseq && (ranges.empty() || ranges.back().last < vanished_[at].range.first); ++at)
            ranges.push_back(vanished_[at].range);
        encode_vanished(out, modseq, ranges);
    }
    if (!state_.empty()) out += encode_state(state_);
    out += head;                                                 // once more: if the first sector is lost, this one speaks
    return out;
}

}  // namespace veredus::store

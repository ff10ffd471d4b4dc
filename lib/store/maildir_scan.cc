// What other programs did in a Maildir folder: found, and taken over.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/clock.h"
#include "lib/base/directory.h"
#include "lib/base/text.h"
#include "lib/store/bytes.h"
#include "lib/store/maildir_draft.h"
#include "lib/store/maildir_flags.h"

namespace veredus::store {

namespace {

constexpr char forwarded[] = "$Forwarded";         // what P in a name means

Result<int64_t> changed_ns(const disk::Directory& dir)
{
    struct stat st {};
    if (::fstat(dir.fd.get(), &st) != 0) return fail_errno(cat("look at ", dir.path));
    return int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec;
}

// Long enough ago that a later change would have another time.
bool is_old(const std::string& times, int64_t at_us, int64_t grain_us)
{
    Taker in(times);
    const int64_t cur = in.take<int64_t>(), fresh = in.take<int64_t>();
    return std::max(cur, fresh) / 1000 + grain_us < at_us;
}

// Regular files, and what the file system does not tell the type of.
template <class Take> Result<void> list_files(const disk::Directory& dir, Take take)
{
    return for_each_entry(dir.fd.get(), dir.path, [&](const DirectoryEntry& entry) {
        if (entry.name[0] != '.' && (entry.type == DT_REG || entry.type == DT_UNKNOWN)) take(entry.name);
        return true;
    });
}

}  // namespace

Result<std::string> MaildirFolder::times() const
{
    std::string out;
    put(out, TRY(changed_ns(cur_)));
    put(out, TRY(changed_ns(new_)));
    return out;
}

// A time counts when it lay long enough back at the scan that a later change would have another one.
bool MaildirFolder::is_settled(const std::string& times, Part part) const
{
    Taker noted(log_->table().state()), now(times);
    const auto noted_cur = noted.take<int64_t>(), noted_new = noted.take<int64_t>(), scanned_us = noted.take<int64_t>();
    if (!noted.whole()) return false;
    const auto same = [&](int64_t then_ns, int64_t now_ns) { return then_ns == now_ns && now_ns / 1000 + grain_us_ < scanned_us; };
    const auto now_cur = now.take<int64_t>(), now_new = now.take<int64_t>();
    return same(noted_cur, now_cur) && (part == Part::cur || same(noted_new, now_new));
}

Result<std::vector<MaildirFolder::Entry>> MaildirFolder::list() const
{
    std::vector<Entry> out;
    TRY(list_files(new_, [&](const char* name) { out.push_back({name, true}); }));
    TRY(list_files(cur_, [&](const char* name) { out.push_back({name, false}); }));
    return out;
}

Result<bool> MaildirFolder::refresh()
{
    bool news = TRY(log_->refresh());
    if (news) pending_ = true;                             // a delivery's mail is still in new/, another session's flags in the log
    const std::string now = TRY(times());
    if (!is_settled(now, Part::both)) {
        auto change = TRY(begin());
        const uint64_t before = log_->table().highest_modseq();
        const std::string seen_times = TRY(times());       // before the listing: what happens during it is seen next time
        const int64_t started = system_clock().wall_us();
        const std::string state_before = log_->table().state();
        if (!is_settled(seen_times, Part::cur) || !TRY(scan_new(change))) TRY(scan(change));
        std::string state = seen_times;
        put(state, started);
        // Of a scan soon after a change the next one cannot make use, unless it says something new.
        if (!change.empty() || state_before.substr(0, 16) != seen_times || is_old(seen_times, started, grain_us_)) change.note_state(state);
        TRY(change.commit());
        news = news || log_->table().highest_modseq() != before;
    }
    TRY(log_->sync());
    log_->hold_numbers();
    return news;
}

// Only new/ has another time: deliveries, as a rule. What is missing there may have gone to cur/ since that was looked at.
Result<bool> MaildirFolder::scan_new(UidLog::Change& change)
{
    std::vector<Entry> entries;
    TRY(list_files(new_, [&](const char* name) { entries.push_back({name, true}); }));
    const UidTable& table = log_->table();
    std::unordered_map<std::string_view, const Message*> fresh;
    for (const Message& m : table.messages())
        if (m.fresh) fresh.emplace(table.name(m), &m);
    std::vector<const Entry*> unknown;
    for (const Entry& e : entries)
        if (fresh.erase(e.name) == 0) unknown.push_back(&e);
    if (!fresh.empty()) return false;
    if (unknown.empty()) return true;
    // Another name of a mail in cur/, or of one in new/: the whole scan knows what to do with it.
    std::unordered_map<std::string_view, int> bases;
    for (const Message& m : table.messages()) bases.emplace(maildir_base(table.name(m)), 0);
    for (const Entry* e : unknown)
        if (!bases.emplace(maildir_base(e->name), 0).second) return false;
    TRY(add_found(change, unknown));
    return true;
}

// The same base twice is two mails (a copy made by hand), or one mail on its way: only what is still there counts, and the second
// one gets a name of its own.
Result<void> MaildirFolder::give_own_names(std::vector<Entry>& entries)
{
    std::unordered_map<std::string_view, std::size_t> seen;
    seen.reserve(entries.size());
    std::vector<std::size_t> doubles;
    for (std::size_t i = 0; i < entries.size(); ++i)
        if (!seen.emplace(maildir_base(entries[i].name), i).second) doubles.push_back(i);
    std::vector<bool> drop(entries.size());
    std::vector<std::string> linked;                       // names in new/ whose mail is in cur/, too
    for (const std::size_t i : doubles) {
        const std::size_t first = seen[maildir_base(entries[i].name)];
        const auto dir_of = [&](const Entry& e) -> const disk::Directory& { return e.fresh ? new_ : cur_; };
        const auto a = disk_.stat(dir_of(entries[first]), entries[first].name), b = disk_.stat(dir_of(entries[i]), entries[i].name);
        if (!b) {
            drop[i] = true;
        } else if (!a) {
            std::swap(entries[first], entries[i]);
            drop[i] = true;
        } else if (a->file == b->file && entries[first].fresh != entries[i].fresh) {
            // A link from new to cur whose end a crash cut off.
            if (entries[first].fresh) std::swap(entries[first], entries[i]);
            linked.push_back(entries[i].name);
            drop[i] = true;
        } else {
            const std::string tail = entries[i].name.substr(maildir_base(entries[i].name).size());
            const std::string own = cat(unique_name().base(), tail);
            if (disk_.rename_new(dir_of(entries[i]), entries[i].name, dir_of(entries[i]), own)) entries[i].name = own;
            else drop[i] = true;
        }
    }
    if (!linked.empty() && disk_.sync(cur_))
        for (const auto& name : linked) (void)disk_.unlink(new_, name);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if (drop[i]) continue;
        if (kept != i) entries[kept] = std::move(entries[i]);
        ++kept;
    }
    entries.resize(kept);
    return {};
}

Result<void> MaildirFolder::scan(UidLog::Change& change)
{
    std::vector<Entry> entries = TRY(list());
    TRY(give_own_names(entries));
    const UidTable& table = log_->table();
    std::unordered_map<std::string_view, const Message*> known;
    known.reserve(table.messages().size());
    for (const Message& m : table.messages()) known.emplace(maildir_base(table.name(m)), &m);
    std::vector<const Entry*> unknown;
    const auto match = [&](const std::vector<Entry>& found) {
        for (const Entry& e : found) {
            const auto m = known.find(maildir_base(e.name));
            if (m == known.end()) {
                unknown.push_back(&e);
                continue;
            }
            if (!m->second) continue;
            if (table.name(*m->second) != e.name || m->second->fresh != e.fresh) take_flags(change, *m->second, e);
            m->second = nullptr;
        }
    };
    match(entries);
    std::vector<uint32_t> gone;
    const bool missing = std::any_of(known.begin(), known.end(), [](const auto& k) { return k.second != nullptr; });
    std::vector<Entry> again;
    if (missing) {
        // A file that is renamed while we list may be in no listing: only what two of them miss is gone.
        again = TRY(list());
        TRY(give_own_names(again));
        unknown.clear();
        std::unordered_map<std::string_view, bool> was_known;
        for (const Message& m : table.messages()) was_known.emplace(maildir_base(table.name(m)), true);
        for (const Entry& e : again)
            if (const auto m = known.find(maildir_base(e.name)); m != known.end() && m->second) {
                take_flags(change, *m->second, e);
                m->second = nullptr;
            }
        for (const Entry& e : again)
            if (!was_known.contains(maildir_base(e.name))) unknown.push_back(&e);
        for (const auto& [base, m] : known)
            if (m) gone.push_back(m->uid);
    }
    std::sort(gone.begin(), gone.end());
    if (!gone.empty()) change.vanish(to_ranges(gone));
    return add_found(change, unknown);
}

Result<void> MaildirFolder::add_found(UidLog::Change& change, std::vector<const Entry*>& found)
{
    std::sort(found.begin(), found.end(), [](const Entry* a, const Entry* b) { return delivered_before(a->name, b->name); });
    for (const Entry* e : found) {
        NewMessage m;
        m.name = e->name;
        m.fresh = e->fresh;
        const auto flags = maildir_flags(e->name);
        m.flags = flags.flags;
        m.keywords = keyword_bits(change, flags.letters, flags.passed);
        m.saved = system_clock().wall_us() / us_per_second;
        if (change.add(std::move(m)) == 0) return fail_errno(cat(dir_.path, ": all UIDs are used up"), EOVERFLOW);
        if (e->fresh) pending_ = true;
    }
    return {};
}

uint64_t MaildirFolder::keyword_bits(UidLog::Change& change, uint32_t letters, bool passed)
{
    const UidTable& table = log_->table();
    uint64_t bits = 0;
    for (unsigned i = 0; i < 26 && letters >> i; ++i)       // a letter that nobody explained means nothing
        if (letters >> i & 1 && i < table.keywords().size() && !table.keywords()[i].empty()) bits |= uint64_t{1} << i;
    if (passed)
        if (const auto bit = change.keyword(forwarded)) bits |= uint64_t{1} << *bit;
    return bits;
}

// Another program renamed it. What differs between the name it had and the one it has is that program's change; the rest is ours.
void MaildirFolder::take_flags(UidLog::Change& change, const Message& m, const Entry& entry)
{
    const auto before = maildir_flags(log_->table().name(m)), now = maildir_flags(entry.name);
    change.rename(m.uid, entry.fresh, entry.name);
    pending_ = true;                                       // its name has their flags, and may lack ours
    if (before == now) return;
    const auto merge = [](auto ours, auto old, auto fresh) {
        const auto differs = old ^ fresh;
        return static_cast<decltype(ours)>((ours & ~differs) | (fresh & differs));
    };
    const uint8_t flags = merge(m.flags, before.flags, now.flags);
    const uint64_t keywords = merge(m.keywords, keyword_bits(change, before.letters, before.passed), keyword_bits(change, now.letters, now.passed));
    if (flags != m.flags || keywords != m.keywords) change.set_flags(flags, keywords, {{m.uid, m.uid}});
}

}  // namespace veredus::store

// Maildir folders: scanning, taking over what other programs did, and changing files so that no crash loses or repeats a mail.
#include "lib/store/maildir_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/disk/pool.h"
#include "lib/store/beneath.h"
#include "lib/store/bytes.h"
#include "lib/store/content.h"
#include "lib/store/dotlock.h"
#include "lib/store/dovecot.h"
#include "lib/store/maildir.h"
#include "lib/store/maildir_flags.h"
#include "lib/store/taken_numbers.h"

namespace veredus::store {

namespace {

constexpr std::size_t max_uidlist = 1u << 29;
constexpr std::size_t max_keywords_file = 1u << 16;
constexpr char foreign_list[] = "dovecot-uidlist", taken_over[] = "dovecot-uidlist.taken";
constexpr char forwarded[] = "$Forwarded";         // what P in a name means

disk::Disk& disk() { return disk::posix_disk(); }

constexpr std::size_t most_threads = 16;

// call(0) to call(count - 1), each in a thread of its own as far as these go, while `here` runs here. The first error.
template <class Call, class Here> Result<void> at_once(std::size_t count, Call call, Here here)
{
    std::vector<Result<void>> results(count);
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
        for (std::size_t i; (i = next++) < count;) results[i] = call(i);
    };
    Result<void> mine;
    {
        std::vector<disk::Thread> threads;         // joined at the end of this block
        for (std::size_t i = 0; i < std::min(count, most_threads); ++i) {
            auto thread = disk::Thread::start(work);
            if (!thread) break;                    // this one does it, later
            threads.push_back(std::move(*thread));
        }
        mine = here();
        work();
    }
    for (auto& result : results)
        if (!result) return std::move(result);
    return mine;
}

MaildirName unique_name()
{
    static std::atomic<uint64_t> counter{0};
    MaildirName name;
    name.wall_us = system_clock().wall_us();
    name.pid = ::getpid();
    name.counter = ++counter;
    name.host = host_name();
    return name;
}

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
    const int fd = ::openat(dir.fd.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail_errno(cat("list ", dir.path));
    std::unique_ptr<DIR, decltype([](DIR* d) { ::closedir(d); })> stream(::fdopendir(fd));
    if (!stream) {
        const int code = errno;
        ::close(fd);
        return fail_errno(cat("list ", dir.path), code);
    }
    for (;;) {
        errno = 0;
        const dirent* entry = ::readdir(stream.get());
        if (!entry && errno != 0) return fail_errno(cat("list ", dir.path));
        if (!entry) return {};
        if (entry->d_name[0] != '.' && (entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN)) take(entry->d_name);
    }
}

MaildirFlags flags_of(const Message& m, const UidTable& table)
{
    MaildirFlags out;
    out.flags = m.flags;
    out.letters = static_cast<uint32_t>(m.keywords & 0x3ffffff);
    if (const auto bit = table.keyword_bit(forwarded)) out.passed = m.keywords >> *bit & 1;
    return out;
}

}  // namespace

// The directory of the drafts, and those of them that have their file open: few, however many a command has.
struct MaildirFolder::Drafts {
    explicit Drafts(disk::Directory directory) : tmp(std::move(directory)) {}
    static constexpr std::size_t most_open = 8;
    disk::Directory tmp;
    std::vector<MaildirDraft*> open;           // borrowed: each takes itself out
};

// A mail being written to tmp/, with Unix line ends.
class MaildirDraft final : public Draft {
public:
    using Drafts = MaildirFolder::Drafts;
    MaildirDraft(std::shared_ptr<Drafts> drafts, MaildirName name, std::string file_name, Fd file)
        : drafts_(std::move(drafts)), name_(std::move(name)), file_name_(std::move(file_name)), file_(std::move(file))
    {
        note_open();
    }
    ~MaildirDraft() override
    {
        std::erase(drafts_->open, this);
        if (!file_name_.empty()) (void)disk().unlink(drafts_->tmp, file_name_);
    }
    MaildirDraft(const MaildirDraft&) = delete;
    Result<void> write(std::string_view wire) override
    {
        out_.clear();
        ends_.feed(wire, out_);
        return put_out();
    }
    // After finish() of at most Drafts::most_open; any thread.
    Result<void> sync() const { return disk().sync(file_); }
    // After finish(); without INTERNALDATE.
    const Facts& facts() const { return maker_.facts(); }
    Result<void> finish(int64_t received)
    {
        TRY(reopen());
        out_.clear();
        ends_.finish(out_);
        TRY(put_out());
        maker_.finish();
        struct stat st {};
        if (::fstat(file_.get(), &st) != 0) return fail_errno(cat("look at ", drafts_->tmp.path, '/', file_name_));
        name_.device = st.st_dev;
        name_.inode = st.st_ino;
        // Other programs take the file's time for INTERNALDATE.
        const timespec times[2] = {{0, UTIME_OMIT}, {static_cast<time_t>(received), 0}};
        (void)::futimens(file_.get(), times);
        return {};
    }
    std::string final_name() const { return name_.full(sizes_); }
    const std::string& file_name() const { return file_name_; }
    const disk::Directory& directory() const { return drafts_->tmp; }
    void published() { file_name_.clear(); }

private:
    void note_open()
    {
        if (drafts_->open.size() >= Drafts::most_open) {
            drafts_->open.front()->file_.reset();
            drafts_->open.erase(drafts_->open.begin());
        }
        drafts_->open.push_back(this);
    }
    Result<void> reopen()
    {
        if (file_) {
            std::erase(drafts_->open, this);              // the one used last is closed last
            drafts_->open.push_back(this);
            return {};
        }
        file_ = TRY(disk().open_append(drafts_->tmp, file_name_, 0600));
        note_open();
        // Another program may have swept tmp/.
        if (TRY(disk().size(file_)) != sizes_.stored) return fail_errno(cat("a draft in ", drafts_->tmp.path), ENOENT);
        return {};
    }
    Result<void> put_out()
    {
        TRY(reopen());
        sizes_.stored += out_.size();
        bool cr = last_cr_;
        wire_.clear();
        to_wire(out_, cr, wire_);
        last_cr_ = cr;
        sizes_.wire += wire_.size();
        maker_.feed(out_);
        return disk().write(file_, out_);
    }
    std::shared_ptr<Drafts> drafts_;      // shared: a rename of the folder makes another MaildirFolder of it meanwhile
    MaildirName name_;
    std::string file_name_, out_, wire_;
    Fd file_;
    LineEnds ends_;
    FactsMaker maker_;
    Sizes sizes_;
    bool last_cr_ = false;
};

// One mail that gets a name in cur/: from a draft by rename, or from another folder by link.
struct MaildirFolder::Publishing {
    const disk::Directory* from = nullptr;
    std::string from_name;
    MaildirDraft* draft = nullptr;             // set: rename, and tell it
    NewMessage message;
    bool done = false;
};

MaildirFolder::MaildirFolder(disk::Directory dir, disk::Directory cur, disk::Directory fresh, disk::Directory tmp, disk::Directory index)
    : dir_(std::move(dir)), cur_(std::move(cur)), new_(std::move(fresh)), index_(std::move(index)), drafts_(std::make_shared<Drafts>(std::move(tmp)))
{
}

Result<std::unique_ptr<MaildirFolder>> MaildirFolder::open(disk::Directory dir, NewUidvalidity new_uidvalidity)
{
    auto cur = TRY(make_beneath(dir, "cur"));
    auto fresh = TRY(make_beneath(dir, "new"));
    auto tmp = TRY(make_beneath(dir, "tmp"));
    auto index = TRY(make_beneath(dir, ".veredus"));
    std::unique_ptr<MaildirFolder> folder(new MaildirFolder(std::move(dir), std::move(cur), std::move(fresh), std::move(tmp), std::move(index)));
    auto cache_dir = TRY(open_beneath(folder->index_, "."));
    auto log_dir = TRY(open_beneath(folder->index_, "."));
    folder->facts_ = std::make_unique<FolderFacts>(std::move(cache_dir), "cache");
    folder->grain_us_ = time_grain_us(folder->cur_.fd.get());
    MaildirFolder* self = folder.get();
    folder->log_ = TRY(UidLog::open(disk(), std::move(log_dir), "uidlog", [self, new_uidvalidity](UidLog::Begins why) { return self->seed(why, new_uidvalidity); }));
    TRY(folder->note_taken_over());
    return folder;
}

// Before any UID goes out that the foreign list does not have: each opening makes good what a crash left out.
Result<void> MaildirFolder::note_taken_over() const
{
    const auto list = disk().stat(dir_, foreign_list);
    if (!list && list.error().code == ENOENT) return {};
    if (!list) return unexpected(list.error());
    return note_taken(dir_, taken_over, log_->table().uidvalidity());
}

Result<Seed> MaildirFolder::seed(UidLog::Begins why, const NewUidvalidity& new_uidvalidity) const
{
    Seed seed;
    seed.mailbox_id = random_u64();
    std::optional<DovecotUidlist> list;
    if (why == UidLog::Begins::first_contact)
        if (const auto text = TRY(read_small(dir_, foreign_list, max_uidlist))) list = parse_dovecot_uidlist(*text);
    if (list && TRY(is_taken(dir_, taken_over, list->uidvalidity))) list.reset();
    if (!list) {
        seed.uidvalidity = TRY(new_uidvalidity());
        return seed;
    }
    seed.uidvalidity = list->uidvalidity;
    seed.uidnext = list->uidnext;
    if (auto words = TRY(read_small(dir_, "dovecot-keywords", max_keywords_file))) seed.keywords = parse_dovecot_keywords(*words);
    for (auto& entry : list->entries) {
        NewMessage m;
        m.uid = entry.uid;
        m.name = std::move(entry.name);        // the first scan sees where it is and takes its flags
        seed.messages.push_back(std::move(m));
    }
    return seed;
}

Result<UidLog::Change> MaildirFolder::begin()
{
    auto change = TRY(log_->begin());
    if (!change) return fail_errno(cat("lock the index of ", dir_.path), EAGAIN);
    return std::move(*change);
}

std::vector<WatchPoint> MaildirFolder::watch_points() const
{
    const auto path = [](const disk::Directory& dir) { return cat("/proc/self/fd/", dir.fd.get()); };
    return {{path(new_), "", false}, {path(cur_), "", false}, {path(index_), "uidlog", false}};
}

// --- what is on disk

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
    std::vector<std::size_t> drop;
    for (const std::size_t i : doubles) {
        const std::size_t first = seen[maildir_base(entries[i].name)];
        const auto dir_of = [&](const Entry& e) -> const disk::Directory& { return e.fresh ? new_ : cur_; };
        const auto a = disk().stat(dir_of(entries[first]), entries[first].name), b = disk().stat(dir_of(entries[i]), entries[i].name);
        if (!b) {
            drop.push_back(i);
        } else if (!a) {
            std::swap(entries[first], entries[i]);
            drop.push_back(i);
        } else if (a->file == b->file && entries[first].fresh != entries[i].fresh) {
            // A link from new to cur whose end a crash cut off.
            if (entries[first].fresh) std::swap(entries[first], entries[i]);
            if (disk().sync(cur_)) (void)disk().unlink(new_, entries[i].name);
            drop.push_back(i);
        } else {
            const std::string tail = entries[i].name.substr(maildir_base(entries[i].name).size());
            const std::string own = cat(unique_name().base(), tail);
            if (disk().rename_new(dir_of(entries[i]), entries[i].name, dir_of(entries[i]), own)) entries[i].name = own;
            else drop.push_back(i);
        }
    }
    std::sort(drop.begin(), drop.end());
    for (auto i = drop.rbegin(); i != drop.rend(); ++i) entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(*i));
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

// --- reading

Result<Fd> MaildirFolder::open_file(uint32_t uid)
{
    for (int attempt = 0; attempt < 3; ++attempt) {
        const Message* m = table().find(uid);
        if (!m) break;
        auto file = disk().open_read(folder_of(*m), std::string(table().name(*m)));
        if (file || file.error().code != ENOENT) return file;
        // Renamed: look again, whatever the directories' times say.
        auto change = TRY(begin());
        TRY(scan(change));
        TRY(change.commit());
    }
    return fail_errno(cat(dir_.path, ": message ", uid), ENOENT);
}

Result<std::unique_ptr<WireReader>> MaildirFolder::open(uint32_t uid)
{
    Fd file = TRY(open_file(uid));
    struct stat st {};
    if (::fstat(file.get(), &st) != 0) return fail_errno(cat("look at message ", uid, " of ", dir_.path));
    const auto stored = static_cast<uint64_t>(st.st_size);
    opened_ = uid;
    opened_date_ = st.st_mtim.tv_sec;
    auto reader = std::make_unique<WireReader>(std::move(file), std::vector<Extent>{{0, stored}});
    const Message* m = table().find(uid);
    const NamedSizes named = m ? named_sizes(table().name(*m)) : NamedSizes{};
    if (named.stored == stored && named.wire && *named.wire >= stored && *named.wire <= 2 * stored) reader->know_size(*named.wire);
    return reader;
}

Result<uint64_t> MaildirFolder::size(uint32_t uid)
{
    const Message* m = table().find(uid);
    if (!m) return fail_errno(cat(dir_.path, ": message ", uid), ENOENT);
    const NamedSizes named = named_sizes(table().name(*m));
    if (named.stored && named.wire && *named.wire >= *named.stored && *named.wire <= 2 * *named.stored) return uint64_t{*named.wire};
    if (const auto known = sizes_.find(uid); known != sizes_.end()) return uint64_t{known->second};
    if (const Facts* known = facts_->known(table(), uid)) return uint64_t{known->size};
    auto reader = TRY(open(uid));
    const uint64_t size = TRY(reader->size());
    sizes_[uid] = size;
    return size;
}

Result<int64_t> MaildirFolder::received(uint32_t uid)
{
    const Message* m = table().find(uid);
    if (!m) return fail_errno(cat(dir_.path, ": message ", uid), ENOENT);
    if (m->received != unknown_time) return int64_t{m->received};
    if (const auto known = dates_.find(uid); known != dates_.end()) return int64_t{known->second};
    if (const Facts* known = facts_->known(table(), uid); known && known->received != unknown_time) return int64_t{known->received};
    if (uid == opened_) return int64_t{opened_date_};
    auto info = disk().stat(folder_of(*m), std::string(table().name(*m)));
    if (!info && info.error().code == ENOENT) {
        const Fd file = TRY(open_file(uid));              // finds its new name
        m = table().find(uid);
        if (m) info = disk().stat(folder_of(*m), std::string(table().name(*m)));
    }
    if (!info) return unexpected(std::move(info).error());
    const int64_t seconds = info->changed_us / us_per_second;
    dates_[uid] = seconds;
    return seconds;
}

// --- changing

Result<FlagsChanged> MaildirFolder::change_flags(const std::vector<uint32_t>& uids, const FlagChange& wanted)
{
    auto out = TRY(change_flags_in_log(*log_, uids, wanted));
    if (!out.changed.empty()) pending_ = true;
    return out;
}

Result<std::unique_ptr<Draft>> MaildirFolder::draft()
{
    MaildirName name = unique_name();
    std::string file_name = name.base();
    Fd file = TRY(disk().create(drafts_->tmp, file_name, 0600));
    std::unique_ptr<Draft> draft = std::make_unique<MaildirDraft>(drafts_, std::move(name), std::move(file_name), std::move(file));
    return draft;
}

// Under the lock from the first name in cur/ to the record of its UID: no scan of ours can find the file in between and number
// it, too. A crash before the record leaves mails that nobody was told of; the next scan finds them.
Result<std::vector<uint32_t>> MaildirFolder::publish(std::vector<Publishing>& mails, const std::vector<std::vector<std::string>>& keywords)
{
    auto change = TRY(begin());
    std::vector<uint32_t> uids;
    for (std::size_t i = 0; i < mails.size(); ++i)
        for (const auto& word : keywords[i]) {
            const auto bit = change.keyword(word);
            if (!bit) return no_room_for_keyword(word);
            mails[i].message.keywords |= uint64_t{1} << *bit;
        }
    const auto all = [&]() -> Result<void> {
        for (std::size_t i = 0; i < mails.size(); ++i) {
            Publishing& p = mails[i];
            TRY(p.draft ? disk().rename_new(*p.from, p.from_name, cur_, p.message.name) : disk().link(*p.from, p.from_name, cur_, p.message.name));
            p.done = true;
            if (p.draft) p.draft->published();
            uids.push_back(change.add(p.message));
            if (uids.back() == 0) return fail_errno(cat(dir_.path, ": all UIDs are used up"), EOVERFLOW);
        }
        return change.commit();
    };
    auto done = all();
    if (done) {
        // Both at once: they share a commit of the file system's journal. A crash in between costs nobody anything: of what is
        // in the log alone, and no name has, nobody was told.
        done = at_once(1, [&](std::size_t) { return disk().sync(cur_); }, [&] { return log_->sync(); });
    }
    if (!done) {             // what the log knows of them by now, the next scan will miss
        for (const Publishing& p : mails)
            if (p.done) (void)disk().unlink(cur_, p.message.name);
        return unexpected(std::move(done).error());
    }
    pending_ = true;
    for (std::size_t i = 0; i < mails.size(); ++i) {
        if (!mails[i].draft) continue;
        Facts facts = mails[i].draft->facts();
        facts.received = mails[i].message.received;
        facts_->put(table(), uids[i], facts);
    }
    return uids;
}

Result<std::vector<uint32_t>> MaildirFolder::append(std::vector<Incoming> mails)
{
    const int64_t now = system_clock().wall_us() / us_per_second;
    std::vector<Publishing> out;
    std::vector<std::vector<std::string>> keywords;
    std::vector<const MaildirDraft*> finished;
    for (Incoming& mail : mails) {
        auto* draft = dynamic_cast<MaildirDraft*>(mail.draft.get());
        if (!draft) return fail("append: not a draft of this folder");
        const int64_t received = mail.received == unknown_time ? now : mail.received;
        TRY(draft->finish(received));
        finished.push_back(draft);
        if (finished.size() == Drafts::most_open || &mail == &mails.back()) {
            // The last one here, the others at the same time.
            const auto sync = [&](std::size_t i) { return finished[i]->sync(); };
            TRY(at_once(finished.size() - 1, sync, [&] { return sync(finished.size() - 1); }));
            finished.clear();
        }
        Publishing p;
        p.from = &draft->directory();
        p.from_name = draft->file_name();
        p.draft = draft;
        MaildirFlags flags;
        flags.flags = mail.flags & all_flags;
        p.message.name = with_maildir_flags(draft->final_name(), flags);
        p.message.flags = flags.flags;
        p.message.received = received;
        p.message.saved = now;
        p.message.id = mail.id;
        out.push_back(std::move(p));
        keywords.push_back(std::move(mail.keywords));
    }
    if (out.empty()) return std::vector<uint32_t>();
    return publish(out, keywords);
}

// A hard link: the mail's bytes are not copied. Its name is new, so that the same mail may be copied twice.
Result<std::vector<Copied>> MaildirFolder::copy(const std::vector<uint32_t>& uids, Folder& target)
{
    auto* to = dynamic_cast<MaildirFolder*>(&target);
    if (!to) return copy_by_reading(*this, uids, target);
    std::vector<Publishing> out;
    std::vector<std::vector<std::string>> keywords;
    std::vector<Copied> copied;
    const int64_t now = system_clock().wall_us() / us_per_second;
    for (const uint32_t uid : uids) {
        if (!table().find(uid)) continue;
        const auto date = received(uid);
        if (!date && date.error().code == ENOENT) continue;
        if (!date) return unexpected(date.error());
        const Message* m = table().find(uid);
        if (!m) continue;
        const std::string_view name = table().name(*m);
        Publishing p;
        p.from = &folder_of(*m);
        p.from_name = name;
        std::string base = unique_name().base();
        if (const auto sizes = maildir_base(name).find(",S="); sizes != std::string_view::npos) base += maildir_base(name).substr(sizes);
        MaildirFlags flags;
        flags.flags = m->flags;
        p.message.name = with_maildir_flags(base, flags);
        p.message.flags = m->flags;
        p.message.received = *date;
        p.message.saved = now;
        p.message.id = m->id;
        out.push_back(std::move(p));
        keywords.push_back(keywords_of(table(), *m));
        copied.push_back({uid, 0});
    }
    if (out.empty()) return copied;
    auto made = to->publish(out, keywords);
    if (!made) {
        // Other file systems, and links that the kernel forbids; a name that another program changed in this moment.
        const int code = made.error().code;
        if (code == EXDEV || code == EPERM || code == EMLINK || code == EOPNOTSUPP || code == ENOENT) return copy_by_reading(*this, uids, target);
        return unexpected(std::move(made).error());
    }
    for (std::size_t i = 0; i < copied.size(); ++i) {
        copied[i].to = (*made)[i];
        if (const Facts* known = to == this ? nullptr : facts_->known(table(), copied[i].from)) to->facts_->put(to->table(), copied[i].to, *known);
    }
    return copied;
}

// The files first: a crash before the record leaves them missing, and the next scan says so. The other way round it would find
// them again as new mail.
Result<Expunged> MaildirFolder::expunge(const std::vector<uint32_t>& uids)
{
    auto change = TRY(begin());
    Expunged out;
    std::unordered_map<std::string_view, uint32_t> renamed;       // not under the name we know: by base
    for (const uint32_t uid : uids)
        if (const Message* m = table().find(uid)) remove_file(folder_of(*m), *m, out, renamed);
    if (auto found = remove_renamed(renamed, out); !found) out.trouble = std::move(found).error();
    const auto in_order = [](std::vector<uint32_t>& list) {
        std::sort(list.begin(), list.end());
        list.erase(std::unique(list.begin(), list.end()), list.end());
    };
    in_order(out.gone);
    in_order(out.left);
    if (out.gone.empty()) return out;
    if (auto done = record_gone(change, out.gone); !done) out.trouble = std::move(done).error();
    return out;
}

void MaildirFolder::remove_file(const disk::Directory& dir, const Message& m, Expunged& out, std::unordered_map<std::string_view, uint32_t>& renamed)
{
    auto done = disk().unlink(dir, std::string(table().name(m)));
    if (done) {
        out.gone.push_back(m.uid);
    } else if (done.error().code == ENOENT) {
        renamed.emplace(maildir_base(table().name(m)), m.uid);
    } else {
        out.left.push_back(m.uid);
        out.trouble = std::move(done).error();
    }
}

// A file that is renamed while we list may be in no listing: twice, before it counts as gone.
Result<void> MaildirFolder::remove_renamed(std::unordered_map<std::string_view, uint32_t>& renamed, Expunged& out)
{
    for (int look = 0; look < 2 && !renamed.empty(); ++look) {
        const std::vector<Entry> entries = TRY(list());
        for (const Entry& e : entries) {
            const auto found = renamed.find(maildir_base(e.name));
            if (found == renamed.end()) continue;
            auto done = disk().unlink(e.fresh ? new_ : cur_, e.name);
            if (!done && done.error().code == ENOENT) continue;
            (done ? out.gone : out.left).push_back(found->second);
            if (!done) out.trouble = std::move(done).error();
            renamed.erase(found);
        }
    }
    for (const auto& [base, uid] : renamed) out.gone.push_back(uid);
    return {};
}

Result<void> MaildirFolder::record_gone(UidLog::Change& change, const std::vector<uint32_t>& gone)
{
    TRY(disk().sync(cur_));
    TRY(disk().sync(new_));
    change.vanish(to_ranges(gone));
    TRY(change.commit());
    for (const uint32_t uid : gone) sizes_.erase(uid), dates_.erase(uid);
    facts_->forget(gone);
    return log_->sync();
}

// --- flags into names

std::string MaildirFolder::wanted_name(const Message& m) const
{
    const auto wanted = flags_of(m, table());
    const auto name = table().name(m);
    if (!m.fresh && maildir_flags(name) == wanted && (name.find(":2,") != std::string_view::npos || wanted == MaildirFlags{})) return std::string(name);
    return with_maildir_flags(name, wanted);
}

Result<void> MaildirFolder::write_keywords()
{
    const std::string text = write_dovecot_keywords(table().keywords());
    if (text.empty()) return {};
    const auto there = TRY(read_small(dir_, "dovecot-keywords", max_keywords_file));
    if (there && *there == text) return {};
    return replace_file(dir_, "dovecot-keywords", text);
}

namespace {

// What no other rename in the directory will fare better with.
bool concerns_all(int code) { return code == ENOSPC || code == EDQUOT || code == EROFS || code == EIO || code == EACCES; }

}  // namespace

// Names in the log are what the directory durably has: so the directory is synced before they are recorded. Out of new/ a mail goes
// by link, sync, unlink: deliveries sync new/ all the time, and a rename could lose the one name before the other is safe.
Result<void> MaildirFolder::apply()
{
    facts_->flush();
    if (!pending_) return {};
    auto change = TRY(begin());
    TRY(write_keywords());
    std::vector<std::string> out_of_new;
    std::size_t changed = 0;
    bool more = false;
    Error trouble;
    pending_ = false;
    for (const Message& m : table().messages()) {
        const std::string_view name = table().name(m);
        const std::string wanted = wanted_name(m);
        if (!m.fresh && wanted == name) continue;
        if ((more = changed >= applied_at_a_time)) break;
        if (wanted.size() > NAME_MAX) continue;           // too long with all its letters: the log has them safe
        auto done = m.fresh ? disk().link(new_, std::string(name), cur_, wanted) : disk().rename(cur_, std::string(name), cur_, wanted);
        if (!done && done.error().code == ENOENT) continue;    // another program was at it: the next refresh tells
        if (!done && done.error().code == EEXIST) continue;
        if (!done) {
            trouble = std::move(done).error();
            if (concerns_all(trouble.code)) break;
            continue;
        }
        if (m.fresh) out_of_new.emplace_back(name);
        change.rename(m.uid, false, wanted);
        ++changed;
    }
    pending_ = changed > 0 || !trouble.text.empty();
    if (changed == 0) return trouble.text.empty() ? Result<void>() : unexpected(std::move(trouble));
    // Also when others failed: a name that the log does not know counts as another program's, and its flags would come back.
    TRY(disk().sync(cur_));
    for (const auto& name : out_of_new) (void)disk().unlink(new_, name);
    TRY(change.commit());
    pending_ = more || !trouble.text.empty();
    if (!trouble.text.empty()) return unexpected(std::move(trouble));
    if (!more && log_->wants_compaction()) {
        { const auto done = std::move(change); }
        return log_->compact();
    }
    return {};
}

}  // namespace veredus::store

// Locking, appending, healing and compacting a UID log.
#include "lib/store/uid_log.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/random.h"
#include "lib/base/text.h"

namespace veredus::store {

namespace {

constexpr uint64_t largest_log = 1u << 30;     // ten million messages
constexpr uint64_t small_log = 64 * 1024;      // not worth a rewrite

}  // namespace

UidLog::UidLog(disk::Disk& disk, disk::Directory dir, std::string name, MakeSeed make_seed)
    : disk_(disk), dir_(std::move(dir)), name_(std::move(name)), make_seed_(std::move(make_seed))
{
}

UidLog::~UidLog() = default;

std::string UidLog::where() const { return cat(dir_.path, '/', name_); }

Result<std::unique_ptr<UidLog>> UidLog::open(disk::Disk& disk, disk::Directory dir, std::string name, MakeSeed make_seed)
{
    std::unique_ptr<UidLog> log(new UidLog(disk, std::move(dir), std::move(name), std::move(make_seed)));
    TRY(log->attach());
    return log;
}

Result<void> UidLog::attach()
{
    for (int attempt = 0; attempt < 100; ++attempt) {
        // The number belongs to the descriptor only if the name meant the same file before and after it was opened. Two
        // compactions in between may give a new file an old file's number, but not its time.
        const auto before = disk_.stat(dir_, name_);
        if (!before && before.error().code != ENOENT) return unexpected(before.error());
        if (!before) {
            const Seed seed = TRY(make_seed_(Begins::first_contact));
            UidTable fresh;
            fresh.start(seed);
            if (TRY(create(fresh.snapshot()))) created_ = true;
            continue;
        }
        auto file = disk_.open_append(dir_, name_, 0600);
        if (!file) return unexpected(std::move(file).error());
        const auto after = disk_.stat(dir_, name_);
        if (!after || after->file != before->file || after->changed_us != before->changed_us) continue;
        if (!after->regular || after->links > 1) return fail_errno(cat(where(), ": no regular file with one name"), EINVAL);
        file_ = std::move(*file);
        file_id_ = after->file;
        broken_ = name_synced_ = false;
        // What others wrote is told on only when it is on disk, and they may not have come so far. No clock tells whether they did.
        unsynced_ = true;
        if (TRY(read_all())) return {};
        // A writer may have been in the middle of a record: what is damage is decided under the lock.
        if (!TRY(lock(Wait::yes))) continue;
        auto mended = is_current();
        if (mended && *mended) {
            auto done = mend();
            if (!done) mended = unexpected(std::move(done).error());
        }
        unlock();
        if (!mended) return unexpected(std::move(mended).error());
        if (*mended) return {};
    }
    return fail_errno(cat(where(), ": replaced again and again"), EAGAIN);
}

// False: another process was faster.
Result<bool> UidLog::create(const std::string& content)
{
    const std::string draft = cat(name_, '.', hex_upper(random_u64(), 16));
    const Fd file = TRY(disk_.create(dir_, draft, 0600));
    auto made = disk_.write(file, content);
    if (made) made = disk_.sync(file);
    if (made) made = disk_.rename_new(dir_, draft, dir_, name_);
    if (!made) {
        (void)disk_.unlink(dir_, draft);
        if (made.error().code == EEXIST) return false;
        return unexpected(std::move(made).error());
    }
    TRY(disk_.sync(dir_));
    return true;
}

// False: something is wrong with it, or a record is just being written.
Result<bool> UidLog::read_all()
{
    const uint64_t size = TRY(disk_.size(file_));
    if (size > largest_log) return fail_errno(cat(where(), ": has ", size, " bytes; \"veredus mailbox rebuild\" makes it anew"), EFBIG);
    (void)::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_WILLNEED);       // the device reads on while the first part is copied
    const std::string bytes = TRY(disk_.read(file_, 0, static_cast<std::size_t>(size)));
    UidTable table;
    const auto loaded = table.load(bytes);
    if (loaded.version > uid_log_version)
        return fail_errno(cat(where(), ": written by a later version of veredus; use that one, or make it anew with \"veredus mailbox rebuild\""), EPROTONOSUPPORT);
    table_ = std::move(table);
    has_head_ = loaded.has_head;
    read_to_ = loaded.whole;
    return loaded.has_head && !loaded.damaged;
}

Result<void> UidLog::mend()
{
    if (TRY(read_all())) return {};
    if (!has_head_) {
        // Names and flags may have survived, the numbers mean nothing any more.
        const Seed seed = TRY(make_seed_(Begins::damaged));
        UidTable whole;
        Seed numbers;
        numbers.uidvalidity = seed.uidvalidity;
        numbers.mailbox_id = seed.mailbox_id;
        whole.start(numbers);
        whole.apply(table_.snapshot());      // its head has no UIDVALIDITY: dropped
        table_ = std::move(whole);
    }
    healed_ = true;
    return rewrite();
}

Result<bool> UidLog::read_more(uint64_t size)
{
    if (size == read_to_) return false;
    if (size < read_to_) {                   // cut back: by a writer whose write failed, or by somebody else
        (void)TRY(read_all());
        return unsynced_ = true;
    }
    std::string bytes = TRY(disk_.read(file_, read_to_, static_cast<std::size_t>(size - read_to_)));
    std::size_t at = 0;
    while (next_record(bytes, at)) {}
    if (at == 0) return false;
    table_.apply(std::string_view(bytes).substr(0, at));
    read_to_ += at;
    unsynced_ = true;                        // by whoever wrote it, as far as we know
    return true;
}

Result<bool> UidLog::is_current()
{
    const auto now = disk_.stat(dir_, name_);
    if (!now && now.error().code == ENOENT) return false;
    if (!now) return unexpected(now.error());
    return now->file == file_id_;
}

Result<bool> UidLog::refresh()
{
    const auto now = disk_.stat(dir_, name_);
    if (!now && now.error().code != ENOENT) return unexpected(now.error());
    if (now && now->file == file_id_) return read_more(now->size);
    TRY(attach());
    return true;
}

void UidLog::hold_numbers()
{
    if (!held_) held_.emplace(table_.uidvalidity(), table_.mailbox_id());
}

Result<void> UidLog::numbers_hold() const
{
    if (!held_ || (held_->first == table_.uidvalidity() && held_->second == table_.mailbox_id())) return {};
    return fail_errno(cat(where(), ": made anew meanwhile, with other UIDs"), ESTALE);
}

Result<bool> UidLog::lock(Wait wait)
{
    for (;;) {
        struct flock lock {};
        lock.l_type = F_WRLCK;
        lock.l_whence = SEEK_SET;
        if (::fcntl(file_.get(), wait == Wait::yes ? F_OFD_SETLKW : F_OFD_SETLK, &lock) == 0) break;
        if (errno == EINTR) continue;
        if (wait == Wait::no && (errno == EAGAIN || errno == EACCES)) return false;
        return fail_errno(cat("lock ", where()));
    }
    locked_ = true;
    return true;
}

void UidLog::unlock()
{
    if (!locked_) return;
    struct flock lock {};
    lock.l_type = F_UNLCK;
    lock.l_whence = SEEK_SET;
    (void)::fcntl(file_.get(), F_OFD_SETLK, &lock);
    locked_ = false;
}

Result<std::optional<UidLog::Change>> UidLog::begin(Wait wait)
{
    for (int attempt = 0; attempt < 100; ++attempt) {
        if (!TRY(lock(wait))) return std::optional<Change>();
        auto current = is_current();
        if (current && *current) {
            // Whatever is beyond the last whole record now is no write in progress: we hold the lock.
            auto ready = catch_up();
            if (!ready) {
                unlock();
                return unexpected(std::move(ready).error());
            }
            return std::optional<Change>(Change(*this));
        }
        unlock();
        if (!current) return unexpected(std::move(current).error());
        TRY(attach());
    }
    return fail_errno(cat(where(), ": replaced again and again"), EAGAIN);
}

// Under the lock.
Result<void> UidLog::catch_up()
{
    const uint64_t size = TRY(disk_.size(file_));
    (void)TRY(read_more(size));
    if (broken_) return rewrite();
    if (size != read_to_) return mend();
    return {};
}

Result<void> UidLog::sync()
{
    if (!unsynced_) return {};
    if (broken_) return fail_errno(cat("sync ", where(), ": an earlier sync failed"), EIO);
    auto synced = disk_.sync(file_);
    if (!synced) {
        broken_ = true;
        return fail_errno(cat("sync ", where(), ": ", synced.error().text), synced.error().code);
    }
    if (!name_synced_) {     // whoever gave it the name may not have come so far
        if (auto named = disk_.sync(dir_); !named) {
            broken_ = true;
            return named;
        }
        name_synced_ = true;
    }
    unsynced_ = false;
    return {};
}

bool UidLog::wants_compaction() const { return read_to_ > small_log && read_to_ > 3 * table_.snapshot_size(); }

Result<void> UidLog::compact()
{
    auto change = TRY(begin());    // holds the lock
    return change ? rewrite() : Result<void>();
}

// The new file takes the name while the old one is locked; whoever waits for the old one's lock then looks at the name again.
// The lock moves on to the new file before it has the name, so that there is no moment without.
Result<void> UidLog::rewrite()
{
    const std::string draft = cat(name_, ".new");
    const std::string content = table_.snapshot();
    if (auto old = disk_.unlink(dir_, draft); !old && old.error().code != ENOENT) return old;
    (void)TRY(disk_.create(dir_, draft, 0600));
    // For appending, like everybody else's: a descriptor with an offset of its own would write over what others append.
    Fd file = TRY(disk_.open_append(dir_, draft, 0600));
    std::swap(file, file_);                                      // `file`: the old one, which keeps its lock
    auto made = lock(Wait::no);
    Result<void> done;
    if (!made) done = unexpected(std::move(made).error());
    if (done) done = disk_.write(file_, content);
    if (done) done = disk_.sync(file_);
    disk::FileInfo info;
    if (done) {
        auto st = disk_.stat(dir_, draft);
        if (st) info = *st;
        else done = unexpected(std::move(st).error());
    }
    if (done) done = disk_.rename(dir_, draft, dir_, name_);
    if (!done) {
        std::swap(file, file_);
        (void)disk_.unlink(dir_, draft);
        return fail_errno(cat("rewrite ", where(), ": ", done.error().text), done.error().code);
    }
    file_id_ = info.file;
    read_to_ = content.size();
    unsynced_ = true;                                            // its name is not on disk yet
    has_head_ = true;
    broken_ = name_synced_ = false;
    auto named = disk_.sync(dir_);
    if (named) name_synced_ = true, unsynced_ = false;
    else broken_ = true;
    return named;
}

// --- a change

UidLog::Change::Change(UidLog& log) : log_(&log), modseq_(log.table_.highest_modseq() + 1), next_uid_(log.table_.uidnext()) {}

UidLog::Change::Change(Change&& other) noexcept
    : log_(std::exchange(other.log_, nullptr)), records_(std::move(other.records_)), modseq_(other.modseq_), next_uid_(other.next_uid_),
      made_keywords_(std::move(other.made_keywords_)), handed_out_(other.handed_out_), notes_only_(other.notes_only_)
{
}

UidLog::Change::~Change()
{
    if (log_) log_->unlock();
}

uint32_t UidLog::Change::add(NewMessage message)
{
    const uint32_t uid = std::max(message.uid, next_uid_);
    if (uid == UINT32_MAX || message.name.size() > max_name) return 0;
    handed_out_ |= message.keywords;
    notes_only_ = false;
    records_ += encode_add(message, uid, modseq_);
    next_uid_ = uid + 1;
    return uid;
}

void UidLog::Change::set_flags(uint8_t flags, uint64_t keywords, const std::vector<UidRange>& uids)
{
    handed_out_ |= keywords;
    notes_only_ = false;
    encode_flags(records_, modseq_, flags, keywords, uids);
}

void UidLog::Change::vanish(const std::vector<UidRange>& uids)
{
    notes_only_ = false;
    encode_vanished(records_, modseq_, uids);
}

bool UidLog::Change::rename(uint32_t uid, bool fresh, std::string_view name)
{
    if (name.size() > max_name) return false;
    notes_only_ = false;
    records_ += encode_name(uid, fresh, name);
    return true;
}

std::optional<unsigned> UidLog::Change::keyword(std::string_view keyword)
{
    if (!is_keyword(keyword)) return std::nullopt;
    if (const auto bit = log_->table_.keyword_bit(keyword)) {
        const bool renamed = std::any_of(made_keywords_.begin(), made_keywords_.end(), [&](const auto& k) { return k.first == *bit; });
        if (!renamed) {
            handed_out_ |= uint64_t{1} << *bit;
            return bit;
        }
    }
    for (const auto& [bit, word] : made_keywords_)
        if (iequals(word, keyword)) return bit;
    const auto& known = log_->table_.keywords();
    uint64_t used = 0;
    for (unsigned i = 0; i < known.size(); ++i)
        if (!known[i].empty()) used |= uint64_t{1} << i;
    for (const auto& [bit, word] : made_keywords_) used |= uint64_t{1} << bit;
    // Those that no message has any more are free again, once all are used up.
    if (~used == 0) {
        used = handed_out_;
        for (const Message& m : log_->table_.messages()) used |= m.keywords;
        for (const auto& [bit, word] : made_keywords_) used |= uint64_t{1} << bit;
    }
    if (~used == 0) return std::nullopt;
    unsigned bit = 0;
    while (used >> bit & 1) ++bit;
    notes_only_ = false;
    records_ += encode_keyword(bit, keyword);
    made_keywords_.emplace_back(bit, keyword);
    return bit;
}

void UidLog::Change::note_state(std::string_view state) { records_ += encode_state(state); }

Result<void> UidLog::Change::commit()
{
    if (records_.empty()) return {};
    UidLog& log = *log_;
    if (auto written = log.disk_.write(log.file_, records_); !written) {
        keep_whole_records();
        return fail_errno(cat("write ", log.where(), ": ", written.error().text), written.error().code);
    }
    log.table_.apply(records_);
    log.read_to_ += records_.size();
    if (!std::exchange(notes_only_, true)) log.unsynced_ = true;
    records_.clear();
    modseq_ = log.table_.highest_modseq() + 1;
    return {};
}

// Others read without the lock: what stood there whole for a moment may have been told to a client, so it stays. Of mails the next look
// at the mailbox says what became of them; what is half a record nobody has taken.
void UidLog::Change::keep_whole_records()
{
    UidLog& log = *log_;
    const uint64_t before = log.read_to_;
    const auto size = log.disk_.size(log.file_);
    const std::size_t there = size && *size > before ? static_cast<std::size_t>(std::min<uint64_t>(*size - before, records_.size())) : 0;
    std::size_t whole = 0;
    const std::string written = std::exchange(records_, {}).substr(0, there);
    while (next_record(written, whole)) {}
    if (!log.disk_.truncate(log.file_, before + whole)) {
        log.broken_ = true;
        return;
    }
    if (whole == 0) return;
    log.table_.apply(std::string_view(written).substr(0, whole));
    log.read_to_ += whole;
    log.unsynced_ = true;
    modseq_ = log.table_.highest_modseq() + 1;
    next_uid_ = log.table_.uidnext();
}

}  // namespace veredus::store

// Maildir folders: opened, taken over from another server, and read.
#include "lib/store/maildir_folder.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/store/beneath.h"
#include "lib/store/dovecot.h"
#include "lib/store/maildir_draft.h"
#include "lib/store/maildir_flags.h"
#include "lib/store/taken_numbers.h"

namespace veredus::store {

namespace {

constexpr std::size_t max_uidlist = 1u << 29;
constexpr std::size_t max_keywords_file = 1u << 16;
constexpr char foreign_list[] = "dovecot-uidlist", taken_over[] = "dovecot-uidlist.taken";

}  // namespace

MaildirFolder::MaildirFolder(disk::Directory dir, disk::Directory cur, disk::Directory fresh, disk::Directory tmp, disk::Directory index,
                             const MaildirDevice& device)
    : disk_(*device.on), dir_(std::move(dir)), cur_(std::move(cur)), new_(std::move(fresh)), index_(std::move(index)), drafts_(std::make_shared<Drafts>(std::move(tmp), device))
{
}

Result<std::unique_ptr<MaildirFolder>> MaildirFolder::open(disk::Directory dir, NewUidvalidity new_uidvalidity, MaildirDevice device)
{
    auto cur = TRY(make_beneath(dir, "cur"));
    auto fresh = TRY(make_beneath(dir, "new"));
    auto tmp = TRY(make_beneath(dir, "tmp"));
    auto index = TRY(make_beneath(dir, ".veredus"));
    std::unique_ptr<MaildirFolder> folder(new MaildirFolder(std::move(dir), std::move(cur), std::move(fresh), std::move(tmp), std::move(index), device));
    auto cache_dir = TRY(open_beneath(folder->index_, "."));
    auto log_dir = TRY(open_beneath(folder->index_, "."));
    folder->facts_ = std::make_unique<FolderFacts>(std::move(cache_dir), "cache");
    folder->grain_us_ = time_grain_us(folder->cur_.fd.get());
    MaildirFolder* self = folder.get();
    folder->facts_->read_ahead_with([self](const Message& m, int64_t& modified) { return self->peek(m, modified); });
    folder->log_ = TRY(UidLog::open(folder->disk_, std::move(log_dir), "uidlog", [self, new_uidvalidity](UidLog::Begins why) { return self->seed(why, new_uidvalidity); }));
    TRY(folder->note_taken_over());
    return folder;
}

// Before any UID goes out that the foreign list does not have: each opening makes good what a crash left out.
Result<void> MaildirFolder::note_taken_over() const
{
    const auto list = disk_.stat(dir_, foreign_list);
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

bool MaildirFolder::is_directory(const struct stat& st) const
{
    struct stat own {};
    return ::fstat(dir_.fd.get(), &own) == 0 && own.st_dev == st.st_dev && own.st_ino == st.st_ino;
}

std::vector<WatchPoint> MaildirFolder::watch_points() const
{
    const auto path = [](const disk::Directory& dir) { return cat("/proc/self/fd/", dir.fd.get()); };
    return {{path(new_), "", false}, {path(cur_), "", false}, {path(index_), "uidlog", false}};
}

// --- reading

Result<Fd> MaildirFolder::open_file(uint32_t uid)
{
    for (int attempt = 0; attempt < 3; ++attempt) {
        TRY(log_->numbers_hold());
        const Message* m = table().find(uid);
        if (!m) break;
        auto file = disk_.open_read(folder_of(*m), std::string(table().name(*m)));
        if (file || file.error().code != ENOENT) return file;
        // Renamed: look again, whatever the directories' times say.
        auto change = TRY(begin());
        TRY(scan(change));
        TRY(change.commit());
    }
    return fail_errno(cat(dir_.path, ": message ", uid), ENOENT);
}

// The table's names do not change while others read them.
std::unique_ptr<WireReader> MaildirFolder::peek(const Message& m, int64_t& modified) const
{
    const std::string name(table().name(m));
    Fd file(::openat(folder_of(m).fd.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
    struct stat st {};
    if (!file || ::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode)) return nullptr;
    modified = st.st_mtim.tv_sec;
    return std::make_unique<WireReader>(std::move(file), std::vector<Extent>{{0, static_cast<uint64_t>(st.st_size)}});
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
    TRY(log_->numbers_hold());
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
    TRY(log_->numbers_hold());
    const Message* m = table().find(uid);
    if (!m) return fail_errno(cat(dir_.path, ": message ", uid), ENOENT);
    if (m->received != unknown_time) return int64_t{m->received};
    if (const auto known = dates_.find(uid); known != dates_.end()) return int64_t{known->second};
    if (const Facts* known = facts_->known(table(), uid); known && known->received != unknown_time) return int64_t{known->received};
    if (uid == opened_) return int64_t{opened_date_};
    auto info = disk_.stat(folder_of(*m), std::string(table().name(*m)));
    if (!info && info.error().code == ENOENT) {
        const Fd file = TRY(open_file(uid));              // finds its new name
        m = table().find(uid);
        if (m) info = disk_.stat(folder_of(*m), std::string(table().name(*m)));
    }
    if (!info) return unexpected(std::move(info).error());
    const int64_t seconds = info->changed_us / us_per_second;
    dates_[uid] = seconds;
    return seconds;
}

}  // namespace veredus::store

// Maildir delivery: which step makes what durable.
#include "lib/store/maildir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/store/cache.h"
#include "lib/store/dotlock.h"
#include "lib/store/uid_appender.h"
#include "lib/store/young_names.h"

namespace veredus::store {

namespace {

std::atomic<uint64_t> deliveries{0};

std::string hex_lower(uint64_t value)
{
    char digits[17];
    return std::string(digits, std::to_chars(digits, digits + sizeof digits, value, 16).ptr);
}

// mkdir -p
Result<void> make_directory(const std::string& path)
{
    const auto slash = path.find_last_of('/');
    if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return {};
    if (errno != ENOENT) return fail_errno(cat("create ", path));
    if (slash == std::string::npos || slash == 0) return fail_errno(cat("create ", path), ENOENT);
    TRY(make_directory(path.substr(0, slash)));
    return make_directory(path);
}

std::string without_slashes(std::string path)
{
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    return path;
}

// One Maildir, with all of its three directories.
struct Opened {
    disk::Directory tmp, fresh;
    static Result<Opened> of(disk::Disk& disk, const std::string& path)
    {
        auto tmp = TRY(disk.open_directory(nullptr, path + "/tmp"));
        (void)TRY(disk.open_directory(nullptr, path + "/cur"));
        auto fresh = TRY(disk.open_directory(nullptr, path + "/new"));
        return Opened{std::move(tmp), std::move(fresh)};
    }
};

Result<void> make_maildir(const std::string& path)
{
    for (const char* part : {"/tmp", "/cur", "/new"}) TRY(make_directory(path + part));
    return {};
}

// What has to be synced before mail counts that lies in one of these Maildirs: each directory once, whoever made the names in it.
class Unsettled {
public:
    explicit Unsettled(std::size_t maildirs) : of_(maildirs) {}
    void add(std::size_t maildir, const std::string& path)
    {
        for (const char* part : {"/tmp", "/cur", "/new"})
            if (auto parent = young_parent(path + part)) add(maildir, std::move(*parent));
        for (YoungParent& parent : young_parents(path)) add(maildir, std::move(parent));
    }
    void settle(disk::Disk& disk, disk::ParallelSync& syncs)
    {
        results_ = syncs.run(parents_.size(), [&](std::size_t i) { return store::settle(disk, parents_[i]); });
    }
    Result<void> result(std::size_t maildir) const
    {
        for (const std::size_t place : of_[maildir])
            if (!results_[place]) return results_[place];
        return {};
    }

private:
    void add(std::size_t maildir, YoungParent parent)
    {
        const auto [at, fresh] = places_.try_emplace(parent.directory, parents_.size());
        of_[maildir].push_back(at->second);
        if (fresh) return parents_.push_back(std::move(parent));
        auto& names = parents_[at->second].names;
        names.insert(names.end(), parent.names.begin(), parent.names.end());
    }
    std::vector<std::vector<std::size_t>> of_;           // of each Maildir, places in parents_
    std::map<std::string, std::size_t> places_;
    std::vector<YoungParent> parents_;
    std::vector<Result<void>> results_;
};

}  // namespace

std::string MaildirName::base() const
{
    return cat(wall_us / us_per_second, ".M", wall_us % us_per_second, 'P', pid, 'Q', counter, 'V', hex_lower(device), 'I', hex_lower(inode), '.', host);
}

std::string MaildirName::full(const Sizes& sizes) const { return cat(base(), ",S=", sizes.stored, ",W=", sizes.wire); }

Result<std::unique_ptr<Maildir>> Maildir::open(disk::Disk& disk, const std::string& path)
{
    disk::ParallelSync alone(1);
    std::vector<Opening> one;
    one.emplace_back(path);
    open_all(disk, one, alone);
    if (!one[0].result) return unexpected(std::move(one[0].result).error());
    return std::move(one[0].maildir);
}

void Maildir::open_all(disk::Disk& disk, std::vector<Opening>& openings, disk::ParallelSync& syncs)
{
    for (Opening& opening : openings) {
        opening.path = without_slashes(std::move(opening.path));
        const auto there = Opened::of(disk, opening.path);
        if (!there && there.error().code == ENOENT) opening.result = make_maildir(opening.path);
    }
    // Durable before any mail is written, also what another process made and could not sync. The first sync's journal commit holds it
    // all; the others find their work done.
    Unsettled unsettled(openings.size());
    for (std::size_t i = 0; i < openings.size(); ++i)
        if (openings[i].result) unsettled.add(i, openings[i].path);
    unsettled.settle(disk, syncs);
    for (std::size_t i = 0; i < openings.size(); ++i) {
        Opening& opening = openings[i];
        if (opening.result) opening.result = unsettled.result(i);
        if (!opening.result) continue;
        auto opened = Opened::of(disk, opening.path);
        if (opened) opening.maildir = std::make_unique<Maildir>(disk, opening.path, std::move(opened->tmp), std::move(opened->fresh));
        else opening.result = unexpected(std::move(opened).error());
    }
}

Maildir::Maildir(disk::Disk& disk, std::string path, disk::Directory tmp, disk::Directory fresh)
    : disk_(disk), path_(std::move(path)), host_(host_name()), tmp_(std::move(tmp)), new_(std::move(fresh))
{
}

bool Maildir::still_there() const
{
    const auto same = [&](const disk::Directory& dir, const char* part) {
        struct stat by_name {}, held {};
        return ::stat((path_ + part).c_str(), &by_name) == 0 && ::fstat(dir.fd.get(), &held) == 0 && by_name.st_ino == held.st_ino &&
               by_name.st_dev == held.st_dev;
    };
    return same(tmp_, "/tmp") && same(new_, "/new");
}

Result<void> Maildir::write_into(Draft& draft, const Content& mail)
{
    struct stat st {};
    if (::fstat(draft.file.get(), &st) < 0) return fail_errno(cat("write to ", path_, "/tmp"));
    draft.name.device = st.st_dev;
    draft.name.inode = st.st_ino;
    draft.sizes = TRY(stream(mail, [&](std::string_view bytes) {
        if (draft.facts) draft.facts->feed(bytes);
        return disk_.write(draft.file, bytes);
    }));
    if (draft.facts) draft.facts->finish();
    draft.final_name = draft.name.full(draft.sizes);
    return {};
}

Result<Maildir::Draft> Maildir::write(const Content& mail, bool with_facts)
{
    Draft draft;
    if (with_facts) draft.facts = std::make_unique<FactsMaker>();
    draft.name.wall_us = system_clock().wall_us();
    draft.name.pid = ::getpid();
    draft.name.counter = ++deliveries;
    draft.name.host = host_;
    draft.tmp_name = cat(draft.name.wall_us / us_per_second, ".M", draft.name.wall_us % us_per_second, 'P', draft.name.pid, 'Q', draft.name.counter, '.', host_);
    draft.file = TRY(disk_.create(tmp_, draft.tmp_name, 0600));
    if (auto written = write_into(draft, mail); !written) {
        (void)disk_.unlink(tmp_, draft.tmp_name);
        return unexpected(std::move(written).error());
    }
    return draft;
}

// Nothing: nobody has read this folder over IMAP or POP3 yet, or it cannot be had now, which is no reason to refuse a mail.
std::optional<disk::Directory> Maildir::index() const
{
    auto dir = disk_.open_directory(nullptr, path_ + "/.veredus");
    if (!dir || !disk_.stat(*dir, "uidlog")) return std::nullopt;
    return std::move(*dir);
}

// What a batch adds to the index. The lock is held from the first name in new/ to the record of the last UID, so that no scan finds a
// file in between and numbers it, too.
struct Maildir::Index {
    disk::Disk& disk;
    const disk::Directory& dir;
    std::optional<UidAppender> log;
    std::string cache_records;
    uint32_t uidvalidity = 0;

    Index(disk::Disk& d, const disk::Directory& where) : disk(d), dir(where)
    {
        auto begun = UidAppender::try_begin(disk, dir, "uidlog");
        if (begun && *begun) log = std::move(*begun);
        if (log) uidvalidity = log->uidvalidity();
    }
    void add(const Draft& draft)
    {
        if (!log) return;
        NewMessage m;
        m.name = draft.final_name;
        m.fresh = true;
        m.received = m.saved = draft.name.wall_us / us_per_second;
        m.id = name_id(m.name);
        const uint64_t id = m.id;
        Facts facts = draft.facts->facts();
        facts.received = m.received;
        const uint32_t uid = log->add(std::move(m));
        if (uid != 0) Cache::encode(cache_records, uid, id, facts);
    }
    // Another program's or the next session's work, if it fails.
    void commit()
    {
        if (log && !log->commit()) cache_records.clear();
        log.reset();
    }
    void write_cache()
    {
        if (!cache_records.empty()) (void)Cache::append(disk, dir, "cache", uidvalidity, cache_records);
    }
};

// What one Maildir gets of a delivery, step by step; between the steps the disk is waited for, together with other Maildirs' batches.
class Maildir::Batch {
public:
    explicit Batch(Load& load) : maildir_(*load.maildir), mails_(load.mails), answers_(load.answers), drafts_(mails_.size())
    {
        answers_.assign(mails_.size(), std::nullopt);
    }

    // On their way to the disk, too, unless there is but one, which is synced at once anyway.
    void write(bool alone)
    {
        index_dir_ = maildir_.index();
        for (std::size_t i = 0; i < mails_.size(); ++i) {
            auto draft = maildir_.write(mails_[i], index_dir_.has_value());
            if (!draft) {
                answers_[i] = problem_of(draft.error());
                continue;
            }
            if (!alone) disk::start_writing(draft->file);
            drafts_[i] = std::move(*draft);
        }
    }
    void add_files(std::vector<const Fd*>& files)
    {
        for (const auto& draft : drafts_)
            if (draft) files.push_back(&draft->file);
    }
    // The results of what add_files() added, from `at` on.
    void take_synced(const std::vector<Result<void>>& results, std::size_t& at)
    {
        for (std::size_t i = 0; i < drafts_.size(); ++i)
            if (drafts_[i])
                if (const auto& synced = results[at++]; !synced) give_up(i, synced.error());
    }
    // Only what is whole on disk gets a name in new; and that name counts only after the directory is synced. A crash before
    // may take both names: nobody was told of the mail then, and it is still queued. False: there is nothing to sync.
    bool publish()
    {
        bool any = false;
        if (index_dir_) index_.emplace(maildir_.disk_, *index_dir_);
        for (std::size_t i = 0; i < drafts_.size(); ++i) {
            if (!drafts_[i]) continue;
            if (auto renamed = maildir_.disk_.rename_new(maildir_.tmp_, drafts_[i]->tmp_name, maildir_.new_, drafts_[i]->final_name); !renamed) {
                give_up(i, renamed.error());
                continue;
            }
            drafts_[i]->published = any = true;
            if (index_) index_->add(*drafts_[i]);
        }
        if (index_) index_->commit();
        return any;
    }
    Result<void> sync_directory() { return maildir_.disk_.sync(maildir_.new_); }
    void end(const Result<void>& synced)
    {
        for (std::size_t i = 0; i < drafts_.size(); ++i)
            if (!synced && drafts_[i]) give_up(i, synced.error());
        if (index_) index_->write_cache();
    }

private:
    void give_up(std::size_t i, const Error& error)
    {
        if (drafts_[i]->published) (void)maildir_.disk_.unlink(maildir_.new_, drafts_[i]->final_name);
        else (void)maildir_.disk_.unlink(maildir_.tmp_, drafts_[i]->tmp_name);
        drafts_[i].reset();
        answers_[i] = problem_of(error);
    }

    Maildir& maildir_;
    const std::vector<Content>& mails_;
    std::vector<Delivered>& answers_;
    std::vector<std::optional<Draft>> drafts_;
    std::optional<disk::Directory> index_dir_;
    std::optional<Index> index_;
};

void Maildir::deliver(std::vector<Load>& loads, disk::ParallelSync& syncs)
{
    std::size_t mails = 0;
    for (const Load& load : loads) mails += load.mails.size();
    std::vector<Batch> batches;
    batches.reserve(loads.size());
    for (Load& load : loads) batches.emplace_back(load);
    // All are written before the first is synced: one journal commit of the file system then carries many.
    for (Batch& batch : batches) batch.write(mails == 1);
    std::vector<const Fd*> files;
    for (Batch& batch : batches) batch.add_files(files);
    if (files.empty()) return;
    const auto synced = syncs.run(files.size(), [&](std::size_t i) { return loads.front().maildir->disk_.sync(*files[i]); });
    std::size_t at = 0;
    for (Batch& batch : batches) batch.take_synced(synced, at);
    std::vector<Batch*> published;
    for (Batch& batch : batches)
        if (batch.publish()) published.push_back(&batch);
    const auto named = syncs.run(published.size(), [&](std::size_t i) { return published[i]->sync_directory(); });
    for (std::size_t i = 0; i < published.size(); ++i) published[i]->end(named[i]);
}

std::vector<Delivered> Maildir::deliver(const std::vector<Content>& mails)
{
    disk::ParallelSync syncs(delivery_sync_threads);
    std::vector<Load> loads(1);
    loads[0].maildir = this;
    loads[0].mails = mails;
    deliver(loads, syncs);
    return std::move(loads[0].answers);
}

}  // namespace veredus::store

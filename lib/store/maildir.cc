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

// More are synced by one call for the whole file system, or by threads; and their files need not stay open until their names are durable.
constexpr std::size_t most_named_first = 15;

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
    // Once more and no further: a link that leads nowhere is there, and nothing can be made below it.
    if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return {};
    return fail_errno(cat("create ", path));
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

// Each directory once, whoever made the names in it.
std::vector<YoungParent> young_on_the_way(const std::string& path)
{
    std::vector<YoungParent> all = young_parents(path);
    for (const char* part : {"/tmp", "/cur", "/new"}) {
        auto parent = young_parent(path + part);
        if (!parent) continue;
        const auto same = std::find_if(all.begin(), all.end(), [&](const YoungParent& other) { return other.directory == parent->directory; });
        if (same == all.end()) all.push_back(std::move(*parent));
        else same->names.insert(same->names.end(), parent->names.begin(), parent->names.end());
    }
    return all;
}

}  // namespace

std::string MaildirName::base() const
{
    return cat(wall_us / us_per_second, ".M", wall_us % us_per_second, 'P', pid, 'Q', counter, 'V', hex_lower(device), 'I', hex_lower(inode), '.', host);
}

std::string MaildirName::full(const Sizes& sizes) const { return cat(base(), ",S=", sizes.stored, ",W=", sizes.wire); }

Result<std::unique_ptr<Maildir>> Maildir::open(disk::Disk& disk, const std::string& path)
{
    std::vector<Opening> one;
    one.emplace_back(path);
    open_all(disk, one);
    if (!one[0].result) return unexpected(std::move(one[0].result).error());
    return std::move(one[0].maildir);
}

void Maildir::open_all(disk::Disk& disk, std::vector<Opening>& openings, std::optional<bool> keeps_order)
{
    for (Opening& opening : openings) {
        opening.path = without_slashes(std::move(opening.path));
        auto opened = Opened::of(disk, opening.path);
        if (!opened && opened.error().code == ENOENT) {
            opening.result = make_maildir(opening.path);
            if (!opening.result) continue;
            opened = Opened::of(disk, opening.path);
        }
        if (!opened) {
            opening.result = unexpected(std::move(opened).error());
            continue;
        }
        opening.maildir = std::make_unique<Maildir>(disk, opening.path, std::move(opened->tmp), std::move(opened->fresh), keeps_order);
        opening.maildir->young_ = young_on_the_way(opening.path);
    }
}

Result<void> Maildir::settle_way()
{
    for (const YoungParent& parent : young_) TRY(settle(disk_, parent));
    young_.clear();
    return {};
}

Maildir::Maildir(disk::Disk& disk, std::string path, disk::Directory tmp, disk::Directory fresh, std::optional<bool> keeps_order)
    : disk_(disk), path_(std::move(path)), host_(host_name()), pid_(::getpid()), tmp_(std::move(tmp)), new_(std::move(fresh)), tmp_stat_(), new_stat_(), keeps_order_(keeps_order)
{
    (void)::fstat(tmp_.fd.get(), &tmp_stat_);
    (void)::fstat(new_.fd.get(), &new_stat_);
}

// Asked once: the file system cannot be another one while we hold its directories.
bool Maildir::keeps_order()
{
    if (!keeps_order_) keeps_order_ = disk::writes_data_before_names(new_);
    return *keeps_order_;
}

// A journal that keeps the order has one order for all of its file system: the commit that makes a name in new/ durable made those durable that
// were there before, whoever made them.
bool Maildir::comes_with_names(const YoungParent& parent) { return parent.device == new_stat_.st_dev && keeps_order(); }

void Maildir::names_are_synced()
{
    for (const YoungParent& parent : young_)
        if (comes_with_names(parent)) settled(parent);
    std::erase_if(young_, [&](const YoungParent& parent) { return comes_with_names(parent); });
}

bool Maildir::still_there() const
{
    const auto same = [&](const struct stat& held, const char* part) {
        struct stat by_name {};
        return ::stat((path_ + part).c_str(), &by_name) == 0 && by_name.st_ino == held.st_ino && by_name.st_dev == held.st_dev;
    };
    return same(tmp_stat_, "/tmp") && same(new_stat_, "/new");
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
    draft.name.pid = pid_;
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
    // `few`: of all that are delivered together.
    Batch(Load& load, bool few) : maildir_(*load.maildir), mails_(load.mails), answers_(load.answers), drafts_(mails_.size()), named_first_(few && maildir_.keeps_order())
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
    Maildir& maildir() { return maildir_; }
    std::size_t written() const { return static_cast<std::size_t>(std::count_if(drafts_.begin(), drafts_.end(), [](const auto& draft) { return draft.has_value(); })); }
    void add_files(std::vector<disk::Unsynced>& to)
    {
        for (const auto& draft : drafts_)
            if (draft) to.push_back({[this, file = &draft->file] { return named_first_ ? maildir_.disk_.write_out(*file) : maildir_.disk_.sync(*file); }, draft->name.device, draft->file.get()});
    }
    // The results of what add_files() added, from `at` on.
    void take_synced(const std::vector<Result<void>>& results, std::size_t& at)
    {
        for (std::size_t i = 0; i < drafts_.size(); ++i)
            if (drafts_[i])
                if (const auto& synced = results[at++]; !synced) give_up(i, synced.error());
    }
    // Only what is whole on disk gets a name in new, or what the file system keeps no name without; and that name counts only after the
    // directory is synced. A crash before may take both names: nobody was told of the mail then, and it is still queued.
    void publish()
    {
        if (index_dir_) index_.emplace(maildir_.disk_, *index_dir_);
        for (std::size_t i = 0; i < drafts_.size(); ++i) {
            if (!drafts_[i]) continue;
            if (auto renamed = maildir_.disk_.rename_new(maildir_.tmp_, drafts_[i]->tmp_name, maildir_.new_, drafts_[i]->final_name); !renamed) {
                give_up(i, renamed.error());
                continue;
            }
            if (!named_first_) drafts_[i]->file = Fd();
            drafts_[i]->published = published_ = true;
            if (index_) index_->add(*drafts_[i]);
        }
        if (index_) index_->commit();
    }
    // False: it gave no names.
    bool add_directory(std::vector<disk::Unsynced>& to)
    {
        if (published_) to.push_back({[this] { return sync_names(); }, maildir_.new_stat_.st_dev, maildir_.new_.fd.get()});
        return published_;
    }
    void end(const Result<void>& synced)
    {
        if (!synced) give_up_all(synced.error());
        else maildir_.names_are_synced();
        if (index_) index_->write_cache();
    }
    void give_up_all(const Error& error)
    {
        for (std::size_t i = 0; i < drafts_.size(); ++i)
            if (drafts_[i]) give_up(i, error);
    }

private:
    // Named first, file and name lie in one commit of the journal: the first sync waits for it, the others find it done.
    Result<void> sync_names()
    {
        for (const auto& draft : drafts_)
            if (draft && draft->file) TRY(maildir_.disk_.sync(draft->file));
        return maildir_.disk_.sync(maildir_.new_);
    }
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
    const bool named_first_;
    bool published_ = false;
};

// What lies on the way to the Maildirs of a delivery and may not be durable: each directory once, for all of them.
class Maildir::Waits {
public:
    void add(Maildir& maildir)
    {
        for (const YoungParent& parent : maildir.young_) {
            if (maildir.comes_with_names(parent)) continue;
            const auto [at, fresh] = places_.try_emplace(parent.directory, parents_.size());
            of_[&maildir].push_back(at->second);
            if (fresh) parents_.push_back({parent, &maildir.disk_});
            else parents_[at->second].first.names.insert(parents_[at->second].first.names.end(), parent.names.begin(), parent.names.end());
        }
    }
    void add_to(std::vector<disk::Unsynced>& to) const
    {
        for (const auto& entry : parents_) to.push_back({[&entry] { return settle(*entry.second, entry.first); }, entry.first.device, -1});
    }
    // The results of what add_to() added, from `at` on.
    void take_synced(const std::vector<Result<void>>& results, std::size_t& at)
    {
        for (auto& entry : parents_) {
            if (results[at]) settled(entry.first);
            results_.push_back(results[at++]);
        }
    }
    Result<void> result(Maildir& maildir)
    {
        const auto found = of_.find(&maildir);
        if (found == of_.end()) return {};
        for (const std::size_t place : found->second)
            if (!results_[place]) return results_[place];
        std::erase_if(maildir.young_, [&](const YoungParent& parent) { return !maildir.comes_with_names(parent); });
        return {};
    }

private:
    std::map<Maildir*, std::vector<std::size_t>> of_;    // places in parents_
    std::map<std::string, std::size_t> places_;
    std::vector<std::pair<YoungParent, disk::Disk*>> parents_;
    std::vector<Result<void>> results_;
};

Maildir::Delivery::Delivery(std::vector<Load> loads) : loads_(std::move(loads))
{
    const std::size_t mails = size();
    batches_.reserve(loads_.size());
    for (Load& load : loads_) batches_.emplace_back(load, mails <= most_named_first);
    // All are written before the first is synced: one journal commit of the file system then carries many.
    for (Batch& batch : batches_) batch.write(mails == 1);
}

Maildir::Delivery::~Delivery() = default;

std::size_t Maildir::Delivery::size() const
{
    std::size_t mails = 0;
    for (const Load& load : loads_) mails += load.mails.size();
    return mails;
}

struct Maildir::Delivery::Wait::State {
    // The names of `published`, the files of `begun`, what `waits` has. The names first: only they are answered, and their step, unlike those
    // of the others, may stand for all.
    std::vector<disk::Unsynced> all;
    std::vector<Batch*> published, begun;
    Waits waits;
    std::vector<Result<void>> results;
};

Maildir::Delivery::Wait::Wait(Delivery* named, Delivery* written) : state_(std::make_unique<State>())
{
    State& s = *state_;
    if (named)
        for (Batch& batch : named->batches_)
            if (batch.add_directory(s.all)) s.published.push_back(&batch);
    if (written)
        for (Batch& batch : written->batches_) {
            if (batch.written() == 0) continue;
            s.begun.push_back(&batch);
            s.waits.add(batch.maildir());
        }
    for (Batch* const batch : s.begun) batch->add_files(s.all);
    s.waits.add_to(s.all);
}

Maildir::Delivery::Wait::~Wait() = default;

void Maildir::Delivery::Wait::run(disk::ParallelSync& syncs) { state_->results = syncs.sync(state_->all); }

void Maildir::Delivery::Wait::end()
{
    State& s = *state_;
    std::size_t at = 0;
    for (Batch* const batch : s.published) batch->end(s.results[at++]);
    for (Batch* const batch : s.begun) batch->take_synced(s.results, at);
    s.waits.take_synced(s.results, at);
    for (Batch* const batch : s.begun) {
        if (const auto reachable = s.waits.result(batch->maildir()); reachable) batch->publish();
        else batch->give_up_all(reachable.error());
    }
}

void Maildir::Delivery::sync(Delivery* named, Delivery* written, disk::ParallelSync& syncs)
{
    Wait wait(named, written);
    wait.run(syncs);
    wait.end();
}

void Maildir::deliver(std::vector<Load>& loads, disk::ParallelSync& syncs)
{
    Delivery delivery(std::move(loads));
    Delivery::sync(nullptr, &delivery, syncs);
    Delivery::sync(&delivery, nullptr, syncs);
    loads = std::move(delivery.loads());
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

// Mbox delivery: locks in the order fcntl, dotlock (Debian policy §11.6), and the way back.
#include "lib/store/mbox.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <span>
#include <thread>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/store/mbox_mark.h"
#include "lib/store/young_names.h"

namespace veredus::store {

namespace {

using std::chrono::milliseconds;

Problem not_deliverable(const std::string& path, std::string_view why) { return {"4.2.0", cat("mailbox ", path, ": ", why)}; }

std::optional<Problem> check_file(const struct stat& st, const std::string& path, const MboxRules& rules)
{
    if (!S_ISREG(st.st_mode)) return not_deliverable(path, "is not a regular file");
    if (st.st_nlink > 1) return not_deliverable(path, "has more than one hard link");
    if (st.st_uid != rules.owner) return not_deliverable(path, cat("belongs to uid ", st.st_uid, ", not to uid ", rules.owner));
    return std::nullopt;
}

// OFD locks meet everyone's fcntl locks, and no other close() of this process can drop them.
Result<bool> lock_file(int fd, const std::string& path)
{
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return true;
    if (errno == EAGAIN || errno == EACCES) return false;
    return fail_errno(cat("lock ", path));
}

// Short waits first, until attempts times delay have passed: a program that reads and writes the mailbox all the time leaves it for moments.
class Patience {
public:
    explicit Patience(const MboxRules& rules)
        : longest_(std::min(rules.lock_delay, longest_pause)), until_us_(system_clock().mono_us() + rules.lock_attempts * static_cast<int64_t>(rules.lock_delay.count()) * 1000)
    {
    }
    bool wait()
    {
        const int64_t left_us = until_us_ - system_clock().mono_us();
        if (left_us <= 0) return false;
        std::this_thread::sleep_for(std::min<std::chrono::microseconds>(next_, std::chrono::microseconds(left_us)));
        next_ = std::min(next_ * 2, std::max(longest_, milliseconds(1)));
        return true;
    }

private:
    static constexpr milliseconds longest_pause{50};
    milliseconds next_{5}, longest_;
    int64_t until_us_;
};

// An mbox that is ours alone while this lives.
class LockedMbox {
public:
    LockedMbox(disk::Disk& disk, const std::string& path, MboxKeeper& keeper, const MboxRules& rules)
        : disk_(disk), path_(path), keeper_(keeper), rules_(rules)
    {
    }
    ~LockedMbox()
    {
        if (dotlocked_) keeper_.unlock();
    }
    LockedMbox(const LockedMbox&) = delete;

    Delivered open()
    {
        Patience patience(rules_);
        std::string why = "is locked by another program";
        do {
            auto done = try_open(why);
            if (!done && done.error().code != EAGAIN) return problem_of(done.error());
            if (refusal_) return refusal_;
            if (done && *done) return std::nullopt;
            if (!done) why = done.error().text;    // who keeps the locks is away for a moment
            file_.reset();    // nobody waits for us while we wait
        } while (patience.wait());
        return Problem{"4.2.0", cat("mailbox ", path_, ": ", why)};
    }
    // At most AppendMark::most_mails of them.
    std::vector<Delivered> append_all(std::span<const Content> mails)
    {
        if (torn_) return std::vector<Delivered>(mails.size(), torn_);
        std::vector<Delivered> answers(mails.size());
        const uint64_t start = end_;
        auto done = begin(mails, answers);
        std::vector<std::size_t> kept;                  // whose answer hangs on the sync
        for (std::size_t i = 0; i < mails.size(); ++i) {
            if (answers[i]) continue;
            answers[i] = done ? append_one(mails[i], planned_[i]) : problem_of(done.error());
            if (!answers[i]) kept.push_back(i);
            else if (done) done = note();
        }
        if (done) done = kept.empty() ? unmark() : sync(start);
        if (!done) {
            for (const std::size_t i : kept) answers[i] = problem_of(done.error());
            take_back(start, done.error());
        } else if (!kept.empty()) {
            keep_new_mail_visible();
        }
        planned_.clear();
        half_ = nullptr;
        return answers;
    }

private:
    void open_file()
    {
        file_ = Fd(::open(path_.c_str(), O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOATIME));
        if (!file_ && errno == EPERM) file_ = Fd(::open(path_.c_str(), O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    }
    // True: open and locked. False: try again. The locks are taken without waiting for one while holding the other.
    Result<bool> try_open(std::string& why)
    {
        open_file();
        if (!file_ && errno == ENOENT) {
            TRY(keeper_.create());    // may take its time, which is none that a lock was waited for
            open_file();
        }
        if (!file_ && errno == ENOENT) {
            why = "vanished as soon as it was made";
            return false;
        }
        if (!file_ && errno == ELOOP) refusal_ = not_deliverable(path_, "is a symbolic link");
        if (!file_ && refusal_) return true;
        if (!file_) return fail_errno(cat("open ", path_));
        struct stat held {}, named {};
        if (::fstat(file_.get(), &held) < 0) return fail_errno(cat("look at ", path_));
        if ((refusal_ = check_file(held, path_, rules_))) return true;
        why = "is locked by another program";
        if (!TRY(lock_file(file_.get(), path_))) return false;
        // A mail reader that had the lock before us may have replaced or removed the file.
        if (::lstat(path_.c_str(), &named) < 0 || named.st_ino != held.st_ino || named.st_dev != held.st_dev) return false;
        dotlocked_ = TRY(keeper_.lock());
        if (!dotlocked_) return false;
        if (const uint64_t cut = TRY(cut_half_append(file_.get()))) log::warning("mailbox ", printable(path_), ": ", cut, " bytes of a delivery that was cut short are taken out");
        if (::fstat(file_.get(), &before_) < 0) return fail_errno(cat("look at ", path_));
        end_ = static_cast<uint64_t>(before_.st_size);
        return true;
    }

    // What another program left without its line end would swallow our From_ line.
    Result<std::string> mend()
    {
        if (end_ == 0) return std::string();
        const std::string last = TRY(disk_.read(file_, end_ - std::min<uint64_t>(end_, 2), 2));
        if (!last.ends_with('\n')) return std::string("\n\n");
        return std::string(last == "\n\n" || last.size() < 2 ? "" : "\n");
    }

    struct Planned {
        PlannedMail mail;
        std::string text;                // all of it, when it is not too long to be kept
        bool kept = true, gone = false;
    };

    // What each mail will be in the mailbox, and the note of it.
    Result<void> begin(std::span<const Content> mails, std::vector<Delivered>& answers)
    {
        planned_.clear();
        planned_.resize(mails.size());
        std::size_t room = most_kept;
        for (std::size_t i = 0; i < mails.size(); ++i) {
            Planned& one = planned_[i];
            const auto streamed = stream_mbox(mails[i], [&](std::string_view bytes) -> Result<void> {
                one.mail.add(bytes);
                one.kept = one.kept && bytes.size() <= room;
                if (!one.kept) return std::string().swap(one.text), Result<void>();
                one.text += bytes;
                room -= bytes.size();
                return {};
            });
            if (streamed) continue;
            one.gone = true;
            answers[i] = problem_of(streamed.error());
        }
        gap_ = TRY(mend());
        mark_.from = end_;
        mark_.before = TRY(sum_before(file_.get(), end_));
        mark_.gap = static_cast<uint8_t>(gap_.size());
        return note();
    }

    // What is there since mark_.from and what is still to come. Where half a mail could not be taken back it is about that alone: those in
    // front of it will be answered for. An Error: there is a note that can be neither changed nor taken away.
    Result<void> note()
    {
        if (torn_) {
            mark_.from = end_;
            mark_.before = TRY(sum_before(file_.get(), end_));
            mark_.gap = static_cast<uint8_t>(gap_.size());
        }
        mark_.mails.clear();
        for (const Planned& one : planned_)
            if (torn_ ? &one == half_ : !one.gone) mark_.mails.push_back(one.mail);
        if (set_append_mark(file_.get(), mark_)) {
            marked_ = true;
            return {};
        }
        if (marked_) TRY(clear_append_mark(file_.get()));
        marked_ = false;
        return {};
    }

    Delivered append_one(const Content& mail, Planned& plan)
    {
        plan.gone = true;
        if (torn_) return torn_;
        const uint64_t whole = gap_.size() + plan.mail.size;
        if (rules_.size_limit && end_ + whole > rules_.size_limit) return Problem{"5.2.2", "mailbox size limit exceeded"};
        const auto written = write(mail, plan);
        if (written) {
            plan.gone = false;
            end_ += whole;
            gap_.clear();
            return std::nullopt;
        }
        auto problem = problem_of(written.error());
        if (auto back = disk_.truncate(file_, end_); !back) {
            half_ = &plan;
            torn_ = problem_of(back.error());
            torn_->text = cat("mailbox ", path_, ": half a mail behind byte ", end_, " could not be taken back: ", torn_->text);
            append(problem.text, "; ", torn_->text);
        }
        return problem;
    }
    Result<void> write(const Content& mail, const Planned& plan)
    {
        if (plan.kept && gap_.empty()) return disk_.write(file_, plan.text);
        if (plan.kept) return disk_.write(file_, gap_ + plan.text);
        if (!gap_.empty()) TRY(disk_.write(file_, gap_));
        return stream_mbox(mail, [&](std::string_view bytes) { return disk_.write(file_, bytes); });
    }

    // Only when the bytes are on their way may the note go: a crash then shows all of them or none. It has to be gone before anybody is told.
    Result<void> sync(uint64_t start)
    {
        if (!marked_) return disk_.sync(file_);
        constexpr unsigned all = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
        if (::sync_file_range(file_.get(), static_cast<off_t>(start), static_cast<off_t>(end_ - start), all) != 0 && errno != ENOSYS) return fail_errno(cat("write ", path_));
        TRY(unmark());
        if (::fsync(file_.get()) != 0) return fail_errno(cat("sync ", path_));    // fdatasync may leave the note behind
        return &disk_ == &disk::posix_disk() ? Result<void>() : disk_.sync(file_);    // a double wants to be asked
    }
    Result<void> unmark()
    {
        if (!marked_ || torn_) return {};
        TRY(clear_append_mark(file_.get()));
        marked_ = false;
        return {};
    }
    // A note that is still there stays with what cannot be taken back: it says that nobody was told.
    void take_back(uint64_t start, const Error& why)
    {
        if (disk_.truncate(file_, start)) {
            end_ = start;
            (void)unmark();
        } else if (!torn_) {
            torn_ = problem_of(why);
        }
    }

    // Readers take "modified after it was read" for new mail, so the access must lie before our change, not beside it.
    void keep_new_mail_visible()
    {
        struct stat st {};
        if (::fstat(file_.get(), &st) < 0 || st.st_atim.tv_sec < st.st_mtim.tv_sec) return;
        timespec times[2] = {before_.st_atim, {0, UTIME_OMIT}};
        if (times[0].tv_sec >= st.st_mtim.tv_sec) times[0] = {st.st_mtim.tv_sec - 1, 0};
        (void)::futimens(file_.get(), times);    // a comfort, nothing depends on it
    }

    disk::Disk& disk_;
    const std::string& path_;
    MboxKeeper& keeper_;
    const MboxRules& rules_;
    Fd file_;
    std::optional<Problem> refusal_;
    bool dotlocked_ = false;
    struct stat before_ {};
    uint64_t end_ = 0;                   // of the last whole mail
    static constexpr std::size_t most_kept = 4u << 20;   // bytes of mails that are made once and not twice
    std::vector<Planned> planned_;       // of this append, as its mails
    std::string gap_;                    // goes in front of the first of them
    AppendMark mark_;
    bool marked_ = false;
    const Planned* half_ = nullptr;      // the one that torn_ is about
    Delivered torn_;                     // behind it lies half of one that would not go: nothing more is appended, end_ would be wrong
};

}  // namespace

OwnKeeper::OwnKeeper(std::string path) : path_(std::move(path))
{
    const auto slash = path_.find_last_of('/');
    lock_name_ = cat(path_.substr(slash == std::string::npos ? 0 : slash + 1), ".lock");
    dir_.path = slash == std::string::npos ? "." : slash == 0 ? "/" : path_.substr(0, slash);
}

OwnKeeper::~OwnKeeper() { unlock(); }

Result<void> OwnKeeper::open_directory()
{
    if (dir_.fd) return {};
    dir_.fd = Fd(::open(dir_.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir_.fd) return fail_errno(cat("open ", dir_.path));
    return {};
}

Result<bool> OwnKeeper::lock()
{
    auto opened = open_directory();
    if (!opened && opened.error().code == EACCES) return true;
    if (!opened) return unexpected(std::move(opened).error());
    auto held = try_dotlock(dir_, lock_name_, this_process());
    if (!held) {
        if (held.error().code == EACCES || held.error().code == EROFS) return true;
        return unexpected(std::move(held).error());
    }
    if (!*held) return false;
    held_ = **held;
    return locked_ = true;
}

void OwnKeeper::unlock()
{
    if (locked_) release_dotlock(dir_, lock_name_, held_);
    locked_ = false;
}

Result<void> OwnKeeper::create()
{
    const Fd file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) {
        if (errno == EEXIST) return {};
        return fail_errno(cat("create ", path_));
    }
    TRY(open_directory());
    if (::fsync(dir_.fd.get()) < 0) return fail_errno(cat("sync ", dir_.path));
    return {};
}

std::vector<Delivered> deliver_mbox(disk::Disk& disk, const std::string& path, MboxKeeper& keeper, const MboxRules& rules,
                                    const std::vector<Content>& mails)
{
    LockedMbox mbox(disk, path, keeper, rules);
    if (const Delivered refused = mbox.open()) return std::vector<Delivered>(mails.size(), refused);
    // Who made the file may have been killed, or have failed, before its name was durable.
    if (const auto parent = young_parent(path))
        if (const auto settled = settle(disk, *parent); !settled) return std::vector<Delivered>(mails.size(), problem_of(settled.error()));
    std::vector<Delivered> answers;
    for (std::span<const Content> rest(mails); !rest.empty();) {
        const auto some = rest.first(std::min(rest.size(), AppendMark::most_mails));
        for (Delivered& answer : mbox.append_all(some)) answers.push_back(std::move(answer));
        rest = rest.subspan(some.size());
    }
    return answers;
}

}  // namespace veredus::store

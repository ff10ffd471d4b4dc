// Mbox folders: locks, settling the file with the log, and rewriting in place so that a crash can be made good.
#include "lib/store/mbox_folder.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <map>
#include <thread>

#include "lib/base/clock.h"
#include "lib/base/crc32c.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/mail/date.h"
#include "lib/store/beneath.h"
#include "lib/store/bytes.h"
#include "lib/store/content.h"

namespace veredus::store {

namespace {

constexpr std::size_t block = 1u << 20;
constexpr std::size_t max_head = 1u << 20;               // of an appended mail whose header lines are looked at
constexpr int64_t settled_ns = 2'000'000'000;
constexpr std::string_view tail_magic = "VEREDUS-MBOX-1\n\n";
constexpr std::size_t tail_head_size = 64;

disk::Disk& disk() { return disk::posix_disk(); }

std::string name_of(const MboxMail& mail, const MboxStatus& status) { return cat(mail.fingerprint, ':', status_text(status)); }
std::string_view fingerprint_of(std::string_view name) { return name.substr(0, name.find(':')); }
MboxStatus status_of(std::string_view name)
{
    const auto colon = name.find(':');
    return colon == std::string_view::npos ? MboxStatus{} : parse_status_text(name.substr(colon + 1));
}

Result<void> write_at(int fd, uint64_t offset, std::string_view bytes)
{
    while (!bytes.empty()) {
        const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno("write");
        offset += static_cast<uint64_t>(n);
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
}

// `take` sees bytes [from, from + size) in blocks.
template <class Take> Result<void> each_block(int fd, uint64_t from, uint64_t size, Take take)
{
    while (size > 0) {
        const auto part = static_cast<std::size_t>(std::min<uint64_t>(size, block));
        const std::string bytes = TRY(pread_exact(fd, static_cast<off_t>(from), part));
        TRY(take(std::string_view(bytes)));
        from += part;
        size -= part;
    }
    return {};
}

// A file without a name, gone with its descriptor.
Result<Fd> nameless_file(const disk::Directory& dir)
{
    Fd file(::openat(dir.fd.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (file || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) {
        if (!file) return fail_errno(cat("write to ", dir.path));
        return file;
    }
    const std::string name = cat("tmp.", hex_upper(random_u64(), 16));
    file = TRY(disk().create(dir, name, 0600));
    TRY(disk().unlink(dir, name));
    return file;
}

// Ours among the headers of a mail that comes in: they would be taken for what this mailbox says.
std::string without_status_lines(std::string_view head)
{
    std::string out;
    bool hiding = false;
    while (!head.empty()) {
        const auto lf = head.find('\n');
        const auto line = head.substr(0, lf == std::string_view::npos ? lf : lf + 1);
        if (line[0] != ' ' && line[0] != '\t') {
            const std::string field = lower(trim(cut(line, ':').first));
            hiding = field == "status" || field == "x-status" || field == "x-keywords" || field == "x-uid" || field == "x-imap" || field == "x-imapbase";
        }
        if (!hiding) out += line;
        head.remove_prefix(line.size());
    }
    return out;
}

class MboxDraft final : public Draft {
public:
    explicit MboxDraft(Fd file) : file_(std::move(file)) {}
    Result<void> write(std::string_view wire) override
    {
        out_.clear();
        ends_.feed(wire, out_);
        size_ += out_.size();
        return write_all(file_.get(), out_);
    }
    Result<void> finish()
    {
        out_.clear();
        ends_.finish(out_);
        size_ += out_.size();
        return write_all(file_.get(), out_);
    }
    // "From_, header, status, blank line, body, blank line" through `sink`.
    Result<void> stream(const std::string& from_line, const MboxStatus& status, const Sink& sink) const
    {
        const std::string start = TRY(pread_exact(file_.get(), 0, static_cast<std::size_t>(std::min<uint64_t>(size_, max_head))));
        const std::size_t blank = start.starts_with('\n') ? 0 : start.find("\n\n");
        std::size_t head = blank == std::string::npos ? 0 : blank == 0 && start.starts_with('\n') ? 0 : blank + 1;
        bool blank_follows = blank != std::string::npos;
        if (!blank_follows && size_ <= max_head) head = start.size();
        else if (!blank_follows) blank_follows = true;          // a header of a megabyte: it stays as it is, behind ours
        std::string out = from_line;
        FromQuoter quoter;
        std::string head_text = without_status_lines(std::string_view(start).substr(0, head));
        if (!head_text.empty() && !head_text.ends_with('\n')) head_text += '\n';
        quoter.feed(head_text, out);
        quoter.finish(out);
        out += status_headers(status);
        if (!blank_follows) out += '\n';
        TRY(sink(out));
        FromQuoter body_quoter;
        char last = '\n';
        const auto quote = [&](std::string_view bytes) {
            out.clear();
            body_quoter.feed(bytes, out);
            last = bytes.back();
            return sink(out);
        };
        TRY(each_block(file_.get(), head, size_ - head, quote));
        out.clear();
        body_quoter.finish(out);
        out += last == '\n' ? "\n" : "\n\n";
        return sink(out);
    }

private:
    Fd file_;
    LineEnds ends_;
    std::string out_;
    uint64_t size_ = 0;
};

}  // namespace

// --- locks

// fcntl first, then the dotlock, none waited for while the other is held (Debian policy §11.6). Readers take the first alone.
class MboxFolder::Locked {
public:
    enum class For { reading, writing };
    // Reading, and no file: exists() is false.
    static Result<Locked> take(const MboxPlace& place, For what)
    {
        const int64_t until = system_clock().mono_us() + int64_t{place.patience.count()} * 1000;
        std::chrono::milliseconds wait{2};
        for (;;) {
            Locked out(place, what);
            auto done = out.try_take();
            if (!done && done.error().code != EAGAIN) return unexpected(std::move(done).error());
            if (done && *done) return out;
            if (system_clock().mono_us() >= until) return fail_errno(cat("mailbox ", place.path, ": is locked by another program"), EAGAIN);
            std::this_thread::sleep_for(wait);
            wait = std::min(wait * 2, std::chrono::milliseconds(250));
        }
    }
    Locked(Locked&& other) noexcept : place_(other.place_), what_(other.what_), file_(std::move(other.file_)), dotlocked_(std::exchange(other.dotlocked_, false)) {}
    Locked& operator=(Locked&&) = delete;
    ~Locked()
    {
        if (dotlocked_) place_.keeper->unlock();
    }
    bool exists() const { return static_cast<bool>(file_); }
    bool writable() const { return what_ == For::writing; }
    int fd() const { return file_.get(); }
    const Fd& file() const { return file_; }

private:
    Locked(const MboxPlace& place, For what) : place_(place), what_(what) {}
    Result<bool> try_take()
    {
        const int flags = (writable() ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
        file_ = Fd(::open(place_.path.c_str(), flags));
        if (!file_ && errno == ENOENT) {
            if (!writable()) return true;
            TRY(place_.keeper->create());
            return false;
        }
        if (!file_) return fail_errno(cat("open ", place_.path));
        struct stat held {}, named {};
        if (::fstat(fd(), &held) < 0) return fail_errno(cat("look at ", place_.path));
        if (!S_ISREG(held.st_mode)) return fail_errno(cat("mailbox ", place_.path, ": is not a regular file"), EINVAL);
        if (held.st_nlink > 1) return fail_errno(cat("mailbox ", place_.path, ": has more than one hard link"), EINVAL);
        if (held.st_uid != ::geteuid()) return fail_errno(cat("mailbox ", place_.path, ": belongs to uid ", held.st_uid), EPERM);
        struct flock lock {};
        lock.l_type = writable() ? F_WRLCK : F_RDLCK;
        lock.l_whence = SEEK_SET;
        if (::fcntl(fd(), F_OFD_SETLK, &lock) != 0) {
            if (errno == EAGAIN || errno == EACCES) return false;
            return fail_errno(cat("lock ", place_.path));
        }
        if (::lstat(place_.path.c_str(), &named) < 0 || named.st_ino != held.st_ino || named.st_dev != held.st_dev) return false;
        if (writable()) dotlocked_ = TRY(place_.keeper->lock());
        return !writable() || dotlocked_;
    }
    const MboxPlace& place_;
    For what_;
    Fd file_;
    bool dotlocked_ = false;
};

struct MboxFolder::Piece {
    Extent extent;                // of the file as it is, when text is empty
    std::string text;
    uint64_t size() const { return text.empty() ? extent.size : text.size(); }
};

MboxFolder::MboxFolder(MboxPlace place, disk::Directory index) : place_(std::move(place)), index_(std::move(index)) {}

Result<std::unique_ptr<MboxFolder>> MboxFolder::open(MboxPlace place, disk::Directory index, NewUidvalidity new_uidvalidity)
{
    Fd again(::fcntl(index.fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!again) return fail_errno(cat("open ", index.path));
    disk::Directory log_dir{std::move(again), index.path};
    std::unique_ptr<MboxFolder> folder(new MboxFolder(std::move(place), std::move(index)));
    auto cache_dir = TRY(open_beneath(folder->index_, "."));
    folder->facts_ = std::make_unique<FolderFacts>(std::move(cache_dir), folder->place_.log_name + ".cache");
    MboxFolder* self = folder.get();
    folder->log_ = TRY(UidLog::open(disk(), std::move(log_dir), folder->place_.log_name, [self, new_uidvalidity] { return self->seed(new_uidvalidity); }));
    return folder;
}

Result<Seed> MboxFolder::seed(const NewUidvalidity& new_uidvalidity)
{
    Seed seed;
    seed.mailbox_id = random_u64();
    const Locked file = TRY(Locked::take(place_, Locked::For::reading));
    if (file.exists()) {
        MboxReader reader = TRY(parse(file.fd(), 0));
        seed.uidvalidity = reader.uidvalidity();
        seed.uidnext = std::max(reader.uidnext(), 1u);
        seed.keywords = reader.base_keywords();
        uint32_t before = 0;
        for (const MboxMail& mail : reader.take_mails()) {
            // UIDs that do not ascend are somebody else's: that mail gets a new one.
            if (!seed.uidvalidity || mail.internal || mail.uid <= before || mail.uid >= seed.uidnext) continue;
            NewMessage m;
            m.uid = before = mail.uid;
            m.name = name_of(mail, {});            // the first look takes its status for new, and so all of it
            m.received = mail.date;
            seed.messages.push_back(std::move(m));
        }
    }
    if (seed.uidvalidity == 0) seed.uidvalidity = TRY(new_uidvalidity());
    return seed;
}

std::vector<WatchPoint> MboxFolder::watch_points() const
{
    return {{place_.path, "", true}, {cat("/proc/self/fd/", index_.fd.get()), place_.log_name, false}};
}

// --- the file and the log

Result<MboxReader> MboxFolder::parse(int file, uint64_t from) const
{
    MboxReader reader(from);
    struct stat st {};
    if (::fstat(file, &st) != 0) return fail_errno(cat("look at ", place_.path));
    const auto size = static_cast<uint64_t>(st.st_size);
    const auto feed = [&](std::string_view bytes) -> Result<void> {
        reader.feed(bytes);
        return {};
    };
    if (size > from) TRY(each_block(file, from, size - from, feed));
    reader.finish();
    if (!reader.is_mbox()) return fail_errno(cat("mailbox ", place_.path, ": does not begin with a From line, so it is no mbox"), EINVAL);
    return reader;
}

Result<MboxFolder::Stamp> MboxFolder::stamp_of(int file)
{
    struct stat st {};
    if (::fstat(file, &st) != 0) return fail_errno("look at a mailbox");
    const auto ns = [](const timespec& t) { return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; };
    return Stamp{st.st_ino, static_cast<uint64_t>(st.st_size), ns(st.st_mtim), ns(st.st_ctim)};
}

bool MboxFolder::is_same(int file) const
{
    const auto now = stamp_of(file);
    return settled_ && now && *now == stamp_;
}

Result<bool> MboxFolder::refresh()
{
    (void)TRY(log_->refresh());
    const auto left = disk().stat(index_, journal_name());
    Locked file = TRY(Locked::take(place_, left ? Locked::For::writing : Locked::For::reading));
    const bool news = TRY(synchronize(file));
    TRY(log_->sync());
    return news;
}

Result<bool> MboxFolder::synchronize(Locked& file)
{
    if (file.exists() && file.writable()) TRY(recover(file));
    if (!file.exists()) {
        stamp_ = Stamp{};
        settled_ = false;
        return settle({});
    }
    if (is_same(file.fd())) {
        settled_ = false;                                // if this fails, mails_ are lost: read them again then
        const bool news = TRY(settle(std::move(mails_)));
        settled_ = true;
        return news;
    }
    const Stamp before = TRY(stamp_of(file.fd()));
    MboxReader reader = TRY(parse(file.fd(), 0));
    const bool news = TRY(settle(reader.take_mails()));
    stamp_ = before;
    settled_ = std::max(before.modified_ns, before.changed_ns) + settled_ns < system_clock().wall_us() * 1000;
    return news;
}

Result<bool> MboxFolder::settle(std::vector<MboxMail> mails)
{
    auto begun = TRY(log_->begin());
    if (!begun) return fail_errno(cat("lock the index of ", place_.path), EAGAIN);
    UidLog::Change& change = *begun;
    const UidTable& t = log_->table();
    const uint64_t before = t.highest_modseq();
    std::unordered_map<std::string_view, std::deque<const Message*>> known;
    for (const Message& m : t.messages()) known[fingerprint_of(t.name(m))].push_back(&m);
    const auto bits_of = [&](const std::vector<std::string>& words) {
        uint64_t bits = 0;
        for (const auto& word : words)
            if (const auto bit = change.keyword(word)) bits |= uint64_t{1} << *bit;
        return bits;
    };
    std::vector<std::pair<uint32_t, std::size_t>> places;
    for (std::size_t i = 0; i < mails.size(); ++i) {
        const MboxMail& mail = mails[i];
        if (mail.internal) continue;
        const std::string name = name_of(mail, mail.status);
        const auto found = known.find(mail.fingerprint);
        if (found == known.end() || found->second.empty()) {
            NewMessage m;
            m.name = name;
            m.flags = mail.status.flags;
            m.keywords = bits_of(mail.status.keywords);
            m.fresh = !mail.status.old;
            m.received = mail.date;
            m.saved = system_clock().wall_us() / us_per_second;
            const uint32_t uid = change.add(std::move(m));
            if (uid == 0) return fail_errno(cat(place_.path, ": all UIDs are used up"), EOVERFLOW);
            places.emplace_back(uid, i);
            continue;
        }
        const Message& m = *found->second.front();
        found->second.pop_front();
        places.emplace_back(m.uid, i);
        if (t.name(m) == name) continue;
        // What differs from what the file said last is another program's change; the rest is ours.
        const MboxStatus last = status_of(t.name(m));
        const uint8_t differs = last.flags ^ mail.status.flags;
        const uint64_t now_bits = bits_of(mail.status.keywords), differ_bits = bits_of(last.keywords) ^ now_bits;
        const auto flags = static_cast<uint8_t>((m.flags & ~differs) | (mail.status.flags & differs));
        const uint64_t keywords = (m.keywords & ~differ_bits) | (now_bits & differ_bits);
        change.rename(m.uid, !mail.status.old, name);
        if (flags != m.flags || keywords != m.keywords) change.set_flags(flags, keywords, {{m.uid, m.uid}});
    }
    std::vector<uint32_t> gone;
    for (const auto& [fingerprint, left] : known)
        for (const Message* m : left) gone.push_back(m->uid);
    std::sort(gone.begin(), gone.end());
    if (!gone.empty()) change.vanish(to_ranges(gone));
    TRY(change.commit());
    mails_ = std::move(mails);
    places_.clear();
    pending_ = false;
    for (const auto& [uid, i] : places) {
        places_[uid] = i;
        if (const Message* m = t.find(uid); m && wanted_status(*m) != mails_[i].status) pending_ = true;
    }
    return t.highest_modseq() != before;
}

Result<const MboxMail*> MboxFolder::find(uint32_t uid)
{
    const auto found = places_.find(uid);
    if (found == places_.end() || !table().find(uid)) return fail_errno(cat(place_.path, ": message ", uid), ENOENT);
    return static_cast<const MboxMail*>(&mails_[found->second]);
}

// --- reading

// A copy of its own: other programs rewrite an mbox in place, and nobody keeps it locked while a client reads slowly.
Result<std::unique_ptr<WireReader>> MboxFolder::open(uint32_t uid)
{
    const auto left = disk().stat(index_, journal_name());
    Locked file = TRY(Locked::take(place_, left ? Locked::For::writing : Locked::For::reading));
    if (!file.exists() || !is_same(file.fd())) (void)TRY(synchronize(file));
    const MboxMail* mail = TRY(find(uid));
    const std::vector<Extent> visible = mail->visible();
    const bool small = mail->end - mail->content <= 4 * block;
    Fd copy;
    if (small) copy = Fd(::memfd_create("mail", MFD_CLOEXEC));
    if (!copy) copy = TRY(nameless_file(index_));
    uint64_t size = 0;
    for (const Extent& e : visible) {
        TRY(each_block(file.fd(), e.offset, e.size, [&](std::string_view bytes) { return write_all(copy.get(), bytes); }));
        size += e.size;
    }
    auto reader = std::make_unique<WireReader>(std::move(copy), std::vector<Extent>{{0, size}});
    reader->know_size(mail->wire_size);
    return reader;
}

Result<uint64_t> MboxFolder::size(uint32_t uid)
{
    const MboxMail* mail = TRY(find(uid));
    return uint64_t{mail->wire_size};
}

Result<int64_t> MboxFolder::received(uint32_t uid)
{
    const Message* m = table().find(uid);
    if (!m) return fail_errno(cat(place_.path, ": message ", uid), ENOENT);
    if (m->received != unknown_time) return int64_t{m->received};
    return int64_t{m->saved == unknown_time ? 0 : m->saved};
}

// --- changing

Result<FlagsChanged> MboxFolder::change_flags(const std::vector<uint32_t>& uids, const FlagChange& change)
{
    auto out = TRY(change_flags_in_log(*log_, uids, change));
    if (!out.changed.empty()) pending_ = true;
    return out;
}

MboxStatus MboxFolder::wanted_status(const Message& m) const
{
    MboxStatus out;
    out.flags = m.flags;
    out.old = true;
    out.keywords = keywords_of(table(), m);
    return out;
}

void MboxFolder::add_pieces(std::vector<Piece>& out, const MboxMail& mail, const MboxStatus& status) const
{
    const auto add = [&](uint64_t from, uint64_t to) {
        if (from < to) out.push_back({{from, to - from}, {}});
    };
    if (status == mail.status) {
        add(mail.start, mail.next);
        return;
    }
    uint64_t at = mail.start;
    for (const Extent& line : mail.status_lines) {
        add(at, line.offset);
        at = line.offset + line.size;
    }
    add(at, mail.head_end);
    if (std::string text = status_headers(status); !text.empty()) out.push_back({{}, std::move(text)});
    add(mail.head_end, mail.next);
}

Result<void> MboxFolder::apply()
{
    facts_->flush();
    if (!pending_) return log_->wants_compaction() ? log_->compact() : Result<void>();
    Locked file = TRY(Locked::take(place_, Locked::For::writing));
    (void)TRY(synchronize(file));
    std::map<std::size_t, MboxStatus> wanted;
    for (const auto& [uid, i] : places_)
        if (const Message* m = table().find(uid)) wanted[i] = wanted_status(*m);
    std::vector<Piece> pieces;
    for (std::size_t i = 0; i < mails_.size(); ++i) {
        const auto found = wanted.find(i);
        // A header that does not end is left alone: ours would become its body.
        const bool leave = found == wanted.end() || mails_[i].head_end == mails_[i].end;
        add_pieces(pieces, mails_[i], leave ? mails_[i].status : found->second);
    }
    TRY(rewrite(file, pieces));
    (void)TRY(synchronize(file));
    pending_ = false;
    if (log_->wants_compaction()) return log_->compact();
    return log_->sync();
}

Result<std::vector<uint32_t>> MboxFolder::expunge(const std::vector<uint32_t>& uids)
{
    Locked file = TRY(Locked::take(place_, Locked::For::writing));
    (void)TRY(synchronize(file));
    std::vector<bool> drop(mails_.size());
    std::vector<uint32_t> gone;
    for (const uint32_t uid : uids)
        if (const auto found = places_.find(uid); found != places_.end() && !drop[found->second]) {
            drop[found->second] = true;
            gone.push_back(uid);
        }
    if (gone.empty()) return gone;
    std::vector<Piece> pieces;
    for (std::size_t i = 0; i < mails_.size(); ++i)
        if (!drop[i]) add_pieces(pieces, mails_[i], mails_[i].status);
    TRY(rewrite(file, pieces));
    std::sort(gone.begin(), gone.end());
    {
        // By number: of two mails that are the same byte by byte, the file does not tell which one went.
        auto begun = TRY(log_->begin());
        if (!begun) return fail_errno(cat("lock the index of ", place_.path), EAGAIN);
        begun->vanish(to_ranges(gone));
        TRY(begun->commit());
    }
    (void)TRY(synchronize(file));
    facts_->forget(gone);
    TRY(log_->sync());
    return gone;
}

Result<std::unique_ptr<Draft>> MboxFolder::draft()
{
    std::unique_ptr<Draft> out = std::make_unique<MboxDraft>(TRY(nameless_file(index_)));
    return out;
}

Result<std::vector<uint32_t>> MboxFolder::append(std::vector<Incoming> mails)
{
    std::vector<uint32_t> uids;
    if (mails.empty()) return uids;
    Locked file = TRY(Locked::take(place_, Locked::For::writing));
    (void)TRY(synchronize(file));
    const Stamp before = TRY(stamp_of(file.fd()));
    uint64_t end = before.size;
    const Sink sink = [&](std::string_view bytes) -> Result<void> {
        TRY(write_at(file.fd(), end, bytes));
        end += bytes.size();
        return {};
    };
    const int64_t now = system_clock().wall_us() / us_per_second;
    uint64_t first = 0;
    const auto all = [&]() -> Result<void> {
        if (before.size > 0) {                           // a mail before ours ends with an empty line
            const std::string last = TRY(pread_exact(file.fd(), static_cast<off_t>(before.size - std::min<uint64_t>(before.size, 2)), static_cast<std::size_t>(std::min<uint64_t>(before.size, 2))));
            if (!last.ends_with('\n')) TRY(sink("\n\n"));
            else if (last != "\n\n") TRY(sink("\n"));
        }
        first = end;
        for (Incoming& mail : mails) {
            auto* draft = dynamic_cast<MboxDraft*>(mail.draft.get());
            if (!draft) return fail("append: not a draft of this folder");
            TRY(draft->finish());
            MboxStatus status;
            status.flags = mail.flags & all_flags;
            status.old = true;
            status.keywords = mail.keywords;
            const int64_t received = mail.received == unknown_time ? now : mail.received;
            TRY(draft->stream(cat("From MAILER-DAEMON ", mail::date_asctime(received * us_per_second), '\n'), status, sink));
        }
        return disk().sync(file.file());
    };
    auto done = all();
    std::vector<MboxMail> made;
    if (done) {
        auto reader = parse(file.fd(), first);
        if (reader) made = reader->take_mails();
        else done = unexpected(std::move(reader).error());
        if (done && made.size() != mails.size()) done = fail(cat("append to ", place_.path, ": it did not come out as it went in"));
    }
    if (done) done = number(made, mails, uids);
    if (!done) {
        if (::ftruncate(file.fd(), static_cast<off_t>(before.size)) != 0) veredus::append(done.error().text, "; and it could not be cut back");
        return unexpected(std::move(done).error());
    }
    stamp_ = TRY(stamp_of(file.fd()));
    settled_ = true;                                     // nobody else wrote while we held the locks, and whoever appends makes it longer
    return uids;
}

// UIDs for mails that were just appended to the file that mails_ describes.
Result<void> MboxFolder::number(std::vector<MboxMail>& made, const std::vector<Incoming>& mails, std::vector<uint32_t>& uids)
{
    auto begun = TRY(log_->begin());
    if (!begun) return fail_errno(cat("lock the index of ", place_.path), EAGAIN);
    const int64_t now = system_clock().wall_us() / us_per_second;
    for (std::size_t i = 0; i < made.size(); ++i) {
        NewMessage m;
        m.name = name_of(made[i], made[i].status);
        m.flags = made[i].status.flags;
        for (const auto& word : made[i].status.keywords)
            if (const auto bit = begun->keyword(word)) m.keywords |= uint64_t{1} << *bit;
        m.received = mails[i].received == unknown_time ? now : mails[i].received;
        m.saved = now;
        m.id = mails[i].id;
        uids.push_back(begun->add(std::move(m)));
        if (uids.back() == 0) return fail_errno(cat(place_.path, ": all UIDs are used up"), EOVERFLOW);
    }
    TRY(begun->commit());
    TRY(log_->sync());
    for (std::size_t i = 0; i < made.size(); ++i) {
        places_[uids[i]] = mails_.size();
        mails_.push_back(std::move(made[i]));
    }
    return {};
}

Result<std::vector<Copied>> MboxFolder::copy(const std::vector<uint32_t>& uids, Folder& target) { return copy_by_reading(*this, uids, target); }

// --- rewriting in place

namespace {

// What a rewrite will put behind `from`, kept beside the UID log until it is done.
struct TailHead {
    uint64_t inode = 0, from = 0, old_size = 0, tail = 0;
    uint32_t beyond = 0;           // CRC of the old file from its new end to its old one
    std::string encode() const
    {
        std::string out(tail_magic);
        put(out, inode);
        put(out, from);
        put(out, old_size);
        put(out, tail);
        put(out, beyond);
        put(out, crc32c(0, out));
        out.resize(tail_head_size, '\0');
        return out;
    }
    static std::optional<TailHead> decode(std::string_view bytes)
    {
        if (bytes.size() < tail_head_size || !bytes.starts_with(tail_magic)) return std::nullopt;
        Taker in(bytes.substr(tail_magic.size()));
        TailHead out;
        out.inode = in.take<uint64_t>();
        out.from = in.take<uint64_t>();
        out.old_size = in.take<uint64_t>();
        out.tail = in.take<uint64_t>();
        out.beyond = in.take<uint32_t>();
        const uint32_t sum = crc32c(0, bytes.substr(0, tail_magic.size() + 36));
        if (in.take<uint32_t>() != sum || out.from > out.old_size) return std::nullopt;
        return out;
    }
    uint64_t new_size() const { return from + tail; }
};

Result<uint32_t> checksum(int fd, uint64_t from, uint64_t to)
{
    uint32_t sum = 0;
    const auto add = [&](std::string_view bytes) -> Result<void> {
        sum = crc32c(sum, bytes);
        return {};
    };
    if (from < to) TRY(each_block(fd, from, to - from, add));
    return sum;
}

}  // namespace

// An mbox cannot be replaced by rename: other programs have it open and locked, and /var/mail is nobody's to make files in. So what
// is to change is made durable beside the UID log first, and whoever finds that after a crash writes it again.
Result<void> MboxFolder::rewrite(Locked& file, const std::vector<Piece>& pieces)
{
    const Stamp stamp = TRY(stamp_of(file.fd()));
    TailHead head;
    head.inode = stamp.inode;
    head.old_size = stamp.size;
    std::size_t first = 0;                               // pieces that stay where they are
    while (first < pieces.size() && pieces[first].text.empty() && pieces[first].extent.offset == head.from) head.from += pieces[first++].extent.size;
    for (std::size_t i = first; i < pieces.size(); ++i) head.tail += pieces[i].size();
    if (first == pieces.size() && head.from == head.old_size) return {};
    head.beyond = TRY(checksum(file.fd(), head.new_size(), head.old_size));
    const std::string draft = journal_name() + ".new";
    if (auto old = disk().unlink(index_, draft); !old && old.error().code != ENOENT) return old;
    const Fd journal = TRY(disk().create(index_, draft, 0600));
    TRY(disk().write(journal, head.encode()));
    for (std::size_t i = first; i < pieces.size(); ++i) {
        if (!pieces[i].text.empty()) TRY(disk().write(journal, pieces[i].text));
        else TRY(each_block(file.fd(), pieces[i].extent.offset, pieces[i].extent.size, [&](std::string_view bytes) { return disk().write(journal, bytes); }));
    }
    TRY(disk().sync(journal));
    TRY(disk().rename(index_, draft, index_, journal_name()));
    TRY(disk().sync(index_));
    return write_tail(file.fd(), head.from, head.old_size, journal.get(), head.tail);
}

Result<void> MboxFolder::write_tail(int file, uint64_t from, uint64_t old_size, int journal, uint64_t tail)
{
    struct stat before {};
    if (::fstat(file, &before) != 0) return fail_errno(cat("look at ", place_.path));
    if (from + tail > old_size) {                        // a full disk shows here, when nothing is changed yet
        const int code = ::posix_fallocate(file, static_cast<off_t>(old_size), static_cast<off_t>(from + tail - old_size));
        if (code == EOPNOTSUPP || code == EINVAL ? ::ftruncate(file, static_cast<off_t>(from + tail)) != 0 : code != 0) {
            const int why = code ? code : errno;
            if (::ftruncate(file, static_cast<off_t>(old_size)) == 0) (void)disk().unlink(index_, journal_name());
            return fail_errno(cat("write ", place_.path), why);
        }
        if (::fdatasync(file) != 0) return fail_errno(cat("sync ", place_.path));
    }
    uint64_t at = from;
    const auto put_there = [&](std::string_view bytes) -> Result<void> {
        TRY(write_at(file, at, bytes));
        at += bytes.size();
        return {};
    };
    TRY(each_block(journal, tail_head_size, tail, put_there));
    if (::fdatasync(file) != 0) return fail_errno(cat("sync ", place_.path));
    if (::ftruncate(file, static_cast<off_t>(from + tail)) != 0) return fail_errno(cat("truncate ", place_.path));
    // "Changed after it was read" means new mail to every shell and biff; this was none.
    struct stat st {};
    if (::fstat(file, &st) == 0 && before.st_atim.tv_sec >= before.st_mtim.tv_sec) {
        const timespec times[2] = {{st.st_mtim.tv_sec + 1, 0}, {0, UTIME_OMIT}};
        (void)::futimens(file, times);
    }
    if (::fdatasync(file) != 0) return fail_errno(cat("sync ", place_.path));
    TRY(disk().unlink(index_, journal_name()));
    return disk().sync(index_);
}

// A crash in write_tail. Deliveries may have come since, behind the old end or the new one: they stay.
Result<void> MboxFolder::recover(Locked& file)
{
    auto opened = disk().open_read(index_, journal_name());
    if (!opened && opened.error().code == ENOENT) return {};
    if (!opened) return unexpected(std::move(opened).error());
    const Fd journal = std::move(*opened);
    const std::string start = TRY(disk().read(journal, 0, tail_head_size));
    const auto head = TailHead::decode(start);
    const Stamp stamp = TRY(stamp_of(file.fd()));
    const uint64_t journal_size = TRY(disk().size(journal));
    const auto forget = [&]() -> Result<void> {
        TRY(disk().unlink(index_, journal_name()));
        return disk().sync(index_);
    };
    if (!head || head->inode != stamp.inode || journal_size != tail_head_size + head->tail || stamp.size < std::min(head->old_size, head->new_size())) return forget();
    uint64_t appended_at = head->new_size();
    if (head->new_size() <= head->old_size) {
        const bool cut_already = stamp.size < head->old_size || TRY(checksum(file.fd(), head->new_size(), head->old_size)) != head->beyond;
        if (!cut_already) appended_at = head->old_size;
    } else if (stamp.size < head->new_size()) {
        // Not grown, or half: then zeros are all there is.
        bool zeros = true;
        const auto look = [&](std::string_view bytes) -> Result<void> {
            zeros = zeros && bytes.find_first_not_of('\0') == std::string_view::npos;
            return {};
        };
        if (stamp.size > head->old_size) TRY(each_block(file.fd(), head->old_size, stamp.size - head->old_size, look));
        appended_at = zeros ? stamp.size : head->old_size;
    } else {
        // Grown already when each byte there is a zero or already the new one.
        uint64_t at = head->old_size;
        bool grown = true;
        const auto compare = [&](std::string_view bytes) -> Result<void> {
            const std::string wanted = TRY(pread_exact(journal.get(), static_cast<off_t>(tail_head_size + at - head->from), bytes.size()));
            for (std::size_t i = 0; i < bytes.size(); ++i) grown = grown && (bytes[i] == 0 || bytes[i] == wanted[i]);
            at += bytes.size();
            return {};
        };
        TRY(each_block(file.fd(), head->old_size, head->new_size() - head->old_size, compare));
        if (!grown) appended_at = head->old_size;
    }
    if (stamp.size <= appended_at) return write_tail(file.fd(), head->from, std::min(stamp.size, appended_at), journal.get(), head->tail);
    // The same rewrite once more, with what was appended behind it.
    TailHead more = *head;
    more.old_size = stamp.size;
    more.tail = head->tail + (stamp.size - appended_at);
    more.beyond = TRY(checksum(file.fd(), more.new_size(), more.old_size));
    const std::string draft = journal_name() + ".new";
    if (auto old = disk().unlink(index_, draft); !old && old.error().code != ENOENT) return old;
    const Fd next = TRY(disk().create(index_, draft, 0600));
    TRY(disk().write(next, more.encode()));
    const auto copy = [&](std::string_view bytes) { return disk().write(next, bytes); };
    TRY(each_block(journal.get(), tail_head_size, head->tail, copy));
    TRY(each_block(file.fd(), appended_at, stamp.size - appended_at, copy));
    TRY(disk().sync(next));
    TRY(disk().rename(index_, draft, index_, journal_name()));
    TRY(disk().sync(index_));
    return write_tail(file.fd(), more.from, more.old_size, next.get(), more.tail);
}

}  // namespace veredus::store

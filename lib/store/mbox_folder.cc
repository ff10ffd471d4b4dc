// Mbox folders: settling the file with the log, reading and changing.
#include "lib/store/mbox_folder.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <map>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/mail/date.h"
#include "lib/store/beneath.h"
#include "lib/store/mbox_draft.h"
#include "lib/store/mbox_parts.h"
#include "lib/store/taken_numbers.h"

namespace veredus::store {

namespace {

constexpr char taken_over[] = "taken-over";      // of the X-IMAPbase of any folder

disk::Disk& disk() { return disk::posix_disk(); }

constexpr std::chrono::milliseconds lock_moment{10};     // for what can be done a little later as well

std::string name_of(const MboxMail& mail, const MboxStatus& status) { return cat(mail.fingerprint, ':', status_text(status)); }
std::string_view fingerprint_of(std::string_view name) { return name.substr(0, name.find(':')); }
MboxStatus status_of(std::string_view name)
{
    const auto colon = name.find(':');
    return colon == std::string_view::npos ? MboxStatus{} : parse_status_text(name.substr(colon + 1));
}

}  // namespace

MboxFolder::MboxFolder(MboxPlace place, disk::Directory index) : place_(std::move(place)), index_(std::move(index)) {}

Result<std::unique_ptr<MboxFolder>> MboxFolder::open(MboxPlace place, disk::Directory index, NewUidvalidity new_uidvalidity)
{
    Fd again(::fcntl(index.fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!again) return fail_errno(cat("open ", index.path));
    disk::Directory log_dir{std::move(again), index.path};
    std::unique_ptr<MboxFolder> folder(new MboxFolder(std::move(place), std::move(index)));
    auto cache_dir = TRY(open_beneath(folder->index_, "."));
    folder->spool_ = std::make_shared<const disk::Directory>(TRY(open_beneath(folder->index_, ".")));
    folder->facts_ = std::make_unique<FolderFacts>(std::move(cache_dir), folder->place_.log_name + ".cache");
    MboxFolder* self = folder.get();
    folder->log_ = TRY(UidLog::open(disk(), std::move(log_dir), folder->place_.log_name, [self, new_uidvalidity](UidLog::Begins why) { return self->seed(why, new_uidvalidity); }));
    // Before any UID goes out that the file does not have: each opening makes good what a crash left out.
    TRY(note_taken(folder->index_, taken_over, folder->table().uidvalidity()));
    return folder;
}

Result<Seed> MboxFolder::seed(UidLog::Begins why, const NewUidvalidity& new_uidvalidity)
{
    Seed seed;
    seed.mailbox_id = random_u64();
    std::optional<Locked> own;
    if (!held_) {
        auto taken = Locked::take(place_, Locked::For::reading);
        if (!taken) return unexpected(std::move(taken).error());
        own.emplace(std::move(*taken));
    }
    const Locked& file = held_ ? *held_ : *own;
    if (file.exists() && why == UidLog::Begins::first_contact) {
        MboxReader reader = TRY(parse(file.fd(), 0));
        if (reader.uidvalidity() && !TRY(is_taken(index_, taken_over, reader.uidvalidity()))) {
            seed.uidvalidity = reader.uidvalidity();
            seed.uidnext = std::max(reader.uidnext(), 1u);
        }
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
    return stamp_of(st);
}

MboxFolder::Stamp MboxFolder::stamp_of(const struct stat& st)
{
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
    const bool log_changed = TRY(log_->refresh());
    const auto left = disk().stat(index_, journal_name());
    struct stat st {};
    if (!log_changed && !left && settled_ && ::lstat(place_.path.c_str(), &st) == 0 && stamp_of(st) == stamp_) {
        TRY(log_->sync());
        log_->hold_numbers();
        busy_ = false;
        return false;
    }
    auto file = Locked::take(place_, left ? Locked::For::writing : Locked::For::reading, was_read_ ? lock_moment : place_.patience);
    busy_ = !file && file.error().code == EAGAIN && was_read_;
    if (busy_) {                                         // what is known does until the other program is done
        TRY(log_->sync());
        return log_changed;
    }
    if (!file) return unexpected(std::move(file).error());
    const Holding holding(*this, *file);
    const bool news = TRY(synchronize(*file));
    was_read_ = true;
    TRY(log_->sync());
    log_->hold_numbers();
    return news;
}

Result<bool> MboxFolder::synchronize(Locked& file)
{
    if (file.exists() && file.writable()) TRY(recover(file));
    if (!file.exists() && !place_.inbox) return fail_errno(cat("mailbox ", place_.path), ENOENT);
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
    const int64_t read_us = system_clock().wall_us();
    const Stamp before = TRY(stamp_of(file.fd()));
    MboxReader reader = TRY(parse(file.fd(), 0));
    const bool news = TRY(settle(reader.take_mails()));
    stamp_ = before;
    settled_ = std::max(before.modified_ns, before.changed_ns) / 1000 + time_grain_us(file.fd()) < read_us;
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
    TRY(log_->numbers_hold());
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
    const Holding holding(*this, file);
    if (!file.exists() || !is_same(file.fd())) (void)TRY(synchronize(file));
    const MboxMail* mail = TRY(find(uid));
    const std::vector<Extent> visible = mail->visible();
    const bool small = mail->end - mail->content <= 4 * mbox_block;
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
    TRY(log_->numbers_hold());
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
    auto taken = Locked::take(place_, Locked::For::writing, lock_moment);
    busy_ = !taken && taken.error().code == EAGAIN;
    if (busy_) return {};                                // the log has the flags
    if (!taken) return unexpected(std::move(taken).error());
    Locked& file = *taken;
    const Holding holding(*this, file);
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

Result<Expunged> MboxFolder::expunge(const std::vector<uint32_t>& uids)
{
    Locked file = TRY(Locked::take(place_, Locked::For::writing));
    const Holding holding(*this, file);
    (void)TRY(synchronize(file));
    TRY(log_->numbers_hold());
    std::vector<bool> drop(mails_.size());
    Expunged out;
    for (const uint32_t uid : uids)
        if (const auto found = places_.find(uid); found != places_.end() && !drop[found->second]) {
            drop[found->second] = true;
            out.gone.push_back(uid);
        }
    if (out.gone.empty()) return out;
    std::sort(out.gone.begin(), out.gone.end());
    std::vector<Piece> pieces;
    for (std::size_t i = 0; i < mails_.size(); ++i)
        if (!drop[i]) add_pieces(pieces, mails_[i], mails_[i].status);
    const Stamp before = TRY(stamp_of(file.fd()));
    if (auto done = rewrite(file, pieces); !done) {
        // From the journal on a rewrite goes through, if not now then when the file is locked next; without it a file as long
        // as before was not touched.
        const auto journal = disk().stat(index_, journal_name());
        const auto now = stamp_of(file.fd());
        const bool untouched = !journal && journal.error().code == ENOENT && now && now->size == before.size;
        if (untouched) return unexpected(std::move(done).error());
        out.gone.clear();
        out.trouble = std::move(done).error();
        return out;
    }
    if (auto done = record_gone(file, out.gone); !done) out.trouble = std::move(done).error();
    return out;
}

Result<void> MboxFolder::record_gone(Locked& file, const std::vector<uint32_t>& gone)
{
    {
        // By number: of two mails that are the same byte by byte, the file does not tell which one went.
        auto begun = TRY(log_->begin());
        if (!begun) return fail_errno(cat("lock the index of ", place_.path), EAGAIN);
        // A log that was made anew in this moment knows the file as it is by now.
        if (log_->numbers_hold()) begun->vanish(to_ranges(gone));
        TRY(begun->commit());
    }
    (void)TRY(synchronize(file));
    facts_->forget(gone);
    return log_->sync();
}

Result<std::unique_ptr<Draft>> MboxFolder::draft()
{
    std::unique_ptr<Draft> out = std::make_unique<MboxDraft>(spool_);
    return out;
}

Result<void> MboxFolder::prepare(std::vector<Incoming>& mails)
{
    for (Incoming& mail : mails) {
        auto* draft = dynamic_cast<MboxDraft*>(mail.draft.get());
        if (!draft) return fail("append: not a draft of this folder");
        TRY(draft->finish());
    }
    return {};
}

Result<std::vector<uint32_t>> MboxFolder::append(std::vector<Incoming> mails)
{
    std::vector<uint32_t> uids;
    if (mails.empty()) return uids;
    Locked file = TRY(Locked::take(place_, Locked::For::writing));
    const Holding holding(*this, file);
    (void)TRY(synchronize(file));
    const Stamp before = TRY(stamp_of(file.fd()));
    const int64_t now = system_clock().wall_us() / us_per_second;
    uint64_t first = before.size;
    const auto all = [&](const Sink& sink) -> Result<void> {
        if (before.size > 0) {                           // a mail before ours ends with an empty line
            const std::string last = TRY(pread_exact(file.fd(), static_cast<off_t>(before.size - std::min<uint64_t>(before.size, 2)), static_cast<std::size_t>(std::min<uint64_t>(before.size, 2))));
            const std::string_view gap = !last.ends_with('\n') ? "\n\n" : last != "\n\n" ? "\n" : "";
            first += gap.size();
            if (!gap.empty()) TRY(sink(gap));
        }
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
        return {};
    };
    TRY(append_tail(file, all));
    Result<void> done;
    std::vector<MboxMail> made;
    auto reader = parse(file.fd(), first);
    if (reader) made = reader->take_mails();
    else done = unexpected(std::move(reader).error());
    if (done && made.size() != mails.size()) done = fail(cat("append to ", place_.path, ": it did not come out as it went in"));
    if (done) done = number(made, mails, uids);
    if (!done) {
        if (::ftruncate(file.fd(), static_cast<off_t>(before.size)) != 0 || ::fdatasync(file.fd()) != 0) veredus::append(done.error().text, "; and it could not be cut back");
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
        for (const auto& word : mails[i].keywords) {
            const auto bit = begun->keyword(word);
            if (!bit) return no_room_for_keyword(word);
            m.keywords |= uint64_t{1} << *bit;
        }
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

}  // namespace veredus::store

// Rewriting an mbox in place so that a crash can be made good.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"
#include "lib/store/mbox_journal.h"
#include "lib/store/mbox_parts.h"

namespace veredus::store {

// An mbox cannot be replaced by rename: other programs have it open and locked, and /var/mail is nobody's to make files in. So what
// is to change is made durable beside the UID log first, and whoever finds that after a crash writes it again.
Result<void> MboxFolder::rewrite(Locked& file, const std::vector<Piece>& pieces)
{
    const Stamp stamp = TRY(stamp_of(file.fd()));
    uint64_t from = 0;
    std::size_t first = 0;                               // pieces that stay where they are
    while (first < pieces.size() && pieces[first].text.empty() && pieces[first].extent.offset == from) from += pieces[first++].extent.size;
    if (first == pieces.size() && from == stamp.size) return {};
    MboxJournal journal = TRY(MboxJournal::begin(index_, journal_name(), file.fd(), from));
    const auto add = [&](std::string_view bytes) { return journal.add(bytes); };
    for (std::size_t i = first; i < pieces.size(); ++i) {
        if (!pieces[i].text.empty()) TRY(add(pieces[i].text));
        else TRY(each_block(file.fd(), pieces[i].extent.offset, pieces[i].extent.size, add));
    }
    TRY(journal.publish());
    return write_tail(file.fd(), stamp.size, journal);
}

// The same way for what is added: without it a crash would leave half a mail, which the next program's mail joins.
Result<void> MboxFolder::append_tail(Locked& file, const std::function<Result<void>(const Sink&)>& produce)
{
    const Stamp stamp = TRY(stamp_of(file.fd()));
    MboxJournal journal = TRY(MboxJournal::begin(index_, journal_name(), file.fd(), stamp.size));
    TRY(produce([&](std::string_view bytes) { return journal.add(bytes); }));
    TRY(journal.publish());
    auto done = write_tail(file.fd(), stamp.size, journal);
    if (done) return done;
    // The client is told that it failed: nothing of it may come later.
    const bool cut = ::ftruncate(file.fd(), static_cast<off_t>(stamp.size)) == 0 && ::fdatasync(file.fd()) == 0;
    const auto forgotten = cut ? forget_journal() : Result<void>();
    if (!cut || !forgotten) veredus::append(done.error().text, "; and it could not be cut back");
    return done;
}

Result<void> MboxFolder::forget_journal() const { return MboxJournal::forget(index_, journal_name()); }

Result<void> MboxFolder::write_tail(int file, uint64_t old_size, const MboxJournal& journal)
{
    const uint64_t from = journal.from(), tail = journal.tail();
    struct stat before {};
    if (::fstat(file, &before) != 0) return fail_errno(cat("look at ", place_.path));
    if (from + tail > old_size) {                        // a full disk shows here, when nothing is changed yet
        const int code = ::posix_fallocate(file, static_cast<off_t>(old_size), static_cast<off_t>(from + tail - old_size));
        if (code == EOPNOTSUPP || code == EINVAL ? ::ftruncate(file, static_cast<off_t>(from + tail)) != 0 : code != 0) {
            const int why = code ? code : errno;
            if (::ftruncate(file, static_cast<off_t>(old_size)) == 0 && ::fdatasync(file) == 0) (void)forget_journal();
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
    TRY(each_block(journal.fd(), MboxJournal::head_size, tail, put_there));
    if (from + tail < old_size) {                        // what moved is safe before its old place goes
        if (::fdatasync(file) != 0) return fail_errno(cat("sync ", place_.path));
        if (::ftruncate(file, static_cast<off_t>(from + tail)) != 0) return fail_errno(cat("truncate ", place_.path));
    }
    // "Changed after it was read" means new mail to every shell and biff; this was none.
    struct stat st {};
    if (::fstat(file, &st) == 0 && before.st_atim.tv_sec >= before.st_mtim.tv_sec) {
        const timespec times[2] = {{st.st_mtim.tv_sec + 1, 0}, {0, UTIME_OMIT}};
        (void)::futimens(file, times);
    }
    if (::fdatasync(file) != 0) return fail_errno(cat("sync ", place_.path));
    return forget_journal();
}

// A crash in write_tail. Deliveries may have come since, behind the old end or the new one: they stay. Where they begin:
Result<uint64_t> MboxFolder::end_of_own(int file, uint64_t size, const MboxJournal& journal)
{
    const uint64_t old_size = journal.old_size(), new_size = journal.new_size();
    if (new_size <= old_size) {
        const bool cut_already = size < old_size || TRY(checksum(file, new_size, old_size)) != journal.beyond();
        return uint64_t{cut_already ? new_size : old_size};
    }
    // Grown already when each byte there is a zero or already the new one. Half grown has zeros alone.
    const uint64_t to = std::min(size, new_size);
    bool grown = true, zeros = true;
    uint64_t at = old_size;
    const auto compare = [&](std::string_view bytes) -> Result<void> {
        const std::string wanted = TRY(pread_exact(journal.fd(), static_cast<off_t>(MboxJournal::head_size + at - journal.from()), bytes.size()));
        for (std::size_t i = 0; i < bytes.size(); ++i) grown = grown && (bytes[i] == 0 || bytes[i] == wanted[i]);
        zeros = zeros && bytes.find_first_not_of('\0') == std::string_view::npos;
        at += bytes.size();
        return {};
    };
    if (to > old_size) TRY(each_block(file, old_size, to - old_size, compare));
    if (size < new_size) return uint64_t{zeros ? size : old_size};
    return uint64_t{grown ? new_size : old_size};
}

Result<void> MboxFolder::recover(Locked& file)
{
    const auto journal = TRY(MboxJournal::find(index_, journal_name(), place_.path));
    if (!journal) return {};
    if (!TRY(journal->is_of(file.fd()))) return MboxJournal::put_aside(index_, journal_name(), place_.path, "the mailbox is another file now, or was changed since");
    const Stamp stamp = TRY(stamp_of(file.fd()));
    uint64_t appended_at = TRY(end_of_own(file.fd(), stamp.size, *journal));
    if (stamp.size <= appended_at) return write_tail(file.fd(), std::min(stamp.size, appended_at), *journal);
    // A delivery ends what is in front of it with a blank line; what it took for an unfinished mail has one of its own.
    if (journal->tail() >= 2 && TRY(pread_exact(journal->fd(), static_cast<off_t>(MboxJournal::head_size + journal->tail() - 2), 2)) == "\n\n") {
        const std::string gap = TRY(pread_exact(file.fd(), static_cast<off_t>(appended_at), static_cast<std::size_t>(std::min<uint64_t>(2, stamp.size - appended_at))));
        appended_at += std::min(gap.find_first_not_of('\n'), gap.size());
    }
    // The same rewrite once more, with what was appended behind it.
    MboxJournal more = TRY(MboxJournal::begin(index_, journal_name(), file.fd(), journal->from()));
    const auto add = [&](std::string_view bytes) { return more.add(bytes); };
    TRY(each_block(journal->fd(), MboxJournal::head_size, journal->tail(), add));
    TRY(each_block(file.fd(), appended_at, stamp.size - appended_at, add));
    TRY(more.publish());
    return write_tail(file.fd(), stamp.size, more);
}

}  // namespace veredus::store

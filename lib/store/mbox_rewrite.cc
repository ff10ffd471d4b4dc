// Rewriting an mbox in place so that a crash can be made good.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "lib/base/crc32c.h"
#include "lib/base/text.h"
#include "lib/store/bytes.h"
#include "lib/store/mbox_parts.h"

namespace veredus::store {

namespace {

constexpr std::string_view tail_magic = "VEREDUS-MBOX-1\n\n";
constexpr std::size_t tail_head_size = 64;

disk::Disk& disk() { return disk::posix_disk(); }

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
    Fd journal;
    TRY(begin_journal(journal));
    TRY(disk().write(journal, head.encode()));
    for (std::size_t i = first; i < pieces.size(); ++i) {
        if (!pieces[i].text.empty()) TRY(disk().write(journal, pieces[i].text));
        else TRY(each_block(file.fd(), pieces[i].extent.offset, pieces[i].extent.size, [&](std::string_view bytes) { return disk().write(journal, bytes); }));
    }
    TRY(publish_journal(journal));
    return write_tail(file.fd(), head.from, head.old_size, journal.get(), head.tail);
}

// The same way for what is added: without it a crash would leave half a mail, which the next program's mail joins.
Result<void> MboxFolder::append_tail(Locked& file, const std::function<Result<void>(const Sink&)>& produce)
{
    const Stamp stamp = TRY(stamp_of(file.fd()));
    TailHead head;
    head.inode = stamp.inode;
    head.from = head.old_size = stamp.size;
    Fd journal;
    TRY(begin_journal(journal));
    TRY(disk().write(journal, std::string(tail_head_size, '\0')));
    TRY(produce([&](std::string_view bytes) {
        head.tail += bytes.size();
        return disk().write(journal, bytes);
    }));
    TRY(write_at(journal.get(), 0, head.encode()));
    TRY(publish_journal(journal));
    auto done = write_tail(file.fd(), head.from, head.old_size, journal.get(), head.tail);
    if (done) return done;
    // The client is told that it failed: nothing of it may come later.
    const bool cut = ::ftruncate(file.fd(), static_cast<off_t>(head.old_size)) == 0 && ::fdatasync(file.fd()) == 0;
    const auto forgotten = cut ? forget_journal() : Result<void>();
    if (!cut || !forgotten) veredus::append(done.error().text, "; and it could not be cut back");
    return done;
}

Result<void> MboxFolder::begin_journal(Fd& journal) const
{
    const std::string draft = journal_name() + ".new";
    if (auto old = disk().unlink(index_, draft); !old && old.error().code != ENOENT) return old;
    journal = TRY(disk().create(index_, draft, 0600));
    return {};
}

// From here on a crash does not undo it.
Result<void> MboxFolder::publish_journal(const Fd& journal) const
{
    TRY(disk().sync(journal));
    TRY(disk().rename(index_, journal_name() + ".new", index_, journal_name()));
    return disk().sync(index_);
}

Result<void> MboxFolder::forget_journal() const
{
    // Gone already: perhaps a moment ago, and not on disk.
    if (auto gone = disk().unlink(index_, journal_name()); !gone && gone.error().code != ENOENT) return gone;
    return disk().sync(index_);
}

Result<void> MboxFolder::write_tail(int file, uint64_t from, uint64_t old_size, int journal, uint64_t tail)
{
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
    TRY(each_block(journal, tail_head_size, tail, put_there));
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
    if (!head || head->inode != stamp.inode || journal_size != tail_head_size + head->tail || stamp.size < std::min(head->old_size, head->new_size())) return forget_journal();
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
    // A delivery ends what is in front of it with a blank line; what it took for an unfinished mail has one of its own.
    if (head->tail >= 2 && TRY(pread_exact(journal.get(), static_cast<off_t>(journal_size - 2), 2)) == "\n\n") {
        const std::string gap = TRY(pread_exact(file.fd(), static_cast<off_t>(appended_at), static_cast<std::size_t>(std::min<uint64_t>(2, stamp.size - appended_at))));
        appended_at += std::min(gap.find_first_not_of('\n'), gap.size());
    }
    // The same rewrite once more, with what was appended behind it.
    TailHead more = *head;
    more.old_size = stamp.size;
    more.tail = head->tail + (stamp.size - appended_at);
    more.beyond = TRY(checksum(file.fd(), more.new_size(), more.old_size));
    Fd next;
    TRY(begin_journal(next));
    TRY(disk().write(next, more.encode()));
    const auto copy = [&](std::string_view bytes) { return disk().write(next, bytes); };
    TRY(each_block(journal.get(), tail_head_size, head->tail, copy));
    TRY(each_block(file.fd(), appended_at, stamp.size - appended_at, copy));
    TRY(publish_journal(next));
    return write_tail(file.fd(), more.from, more.old_size, next.get(), more.tail);
}

}  // namespace veredus::store

// The journal's file, and how it knows its mbox again.
#include "lib/store/mbox_journal.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/crc32c.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/store/bytes.h"
#include "lib/store/mbox_parts.h"

namespace veredus::store {

namespace {

constexpr std::string_view magic = "VEREDUS-MBOX-2\n\n";
constexpr uint64_t sample = 4096;                        // of what stays as it is: its beginning and its end

disk::Disk& disk() { return disk::posix_disk(); }

// Of what a change leaves as it is.
Result<uint32_t> before_sum(int file, uint64_t from)
{
    const uint32_t begin = TRY(checksum(file, 0, std::min(sample, from)));
    const uint32_t end = TRY(checksum(file, from > sample ? from - sample : 0, from));
    return uint32_t{begin ^ (end << 1 | end >> 31)};
}

// `take` sees [from, to) in pieces that end where the device's sectors end: a write that was cut short leaves each of these as it was or
// as it was to be.
template <class Take> Result<void> each_sector(int fd, uint64_t from, uint64_t to, Take take)
{
    while (from < to) {
        const uint64_t part = std::min<uint64_t>(to - from, mbox_block - from % mbox_block);
        const std::string bytes = TRY(pread_exact(fd, static_cast<off_t>(from), static_cast<std::size_t>(part)));
        for (std::string_view left = bytes; !left.empty();) {
            const auto size = static_cast<std::size_t>(std::min<uint64_t>(left.size(), MboxJournal::sector - from % MboxJournal::sector));
            TRY(take(from, left.substr(0, size)));
            left.remove_prefix(size);
            from += size;
        }
    }
    return {};
}

uint64_t sectors(uint64_t from, uint64_t to)
{
    return from < to ? (to - 1) / MboxJournal::sector - from / MboxJournal::sector + 1 : 0;
}

}  // namespace

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

std::string MboxJournal::Head::encode() const
{
    std::string out(magic);
    put(out, inode);
    put(out, from);
    put(out, old_size);
    put(out, tail);
    put(out, beyond);
    put(out, before);
    put(out, bytes);
    put(out, crc32c(0, out));
    static_assert(magic.size() + 4 * 8 + 4 * 4 == head_size);
    return out;
}

std::optional<MboxJournal::Head> MboxJournal::Head::decode(std::string_view text)
{
    if (text.size() < head_size || !text.starts_with(magic)) return std::nullopt;
    Taker in(text.substr(magic.size()));
    Head out;
    out.inode = in.take<uint64_t>();
    out.from = in.take<uint64_t>();
    out.old_size = in.take<uint64_t>();
    out.tail = in.take<uint64_t>();
    out.beyond = in.take<uint32_t>();
    out.before = in.take<uint32_t>();
    out.bytes = in.take<uint32_t>();
    if (in.take<uint32_t>() != crc32c(0, text.substr(0, head_size - 4)) || out.from > out.old_size) return std::nullopt;
    return out;
}

Result<MboxJournal> MboxJournal::begin(const disk::Directory& index, std::string name, int file, uint64_t from)
{
    MboxJournal out(index, std::move(name));
    struct stat st {};
    if (::fstat(file, &st) != 0) return fail_errno("look at a mailbox");
    out.mbox_ = file;
    out.head_.inode = st.st_ino;
    out.head_.from = from;
    out.head_.old_size = static_cast<uint64_t>(st.st_size);
    out.head_.before = TRY(before_sum(file, from));
    const std::string draft = out.name_ + ".new";
    if (auto old = disk().unlink(index, draft); !old && old.error().code != ENOENT) return unexpected(std::move(old).error());
    out.file_ = TRY(disk().create(index, draft, 0600));
    TRY(disk().write(out.file_, std::string(head_size, '\0')));
    return out;
}

Result<void> MboxJournal::write(std::string_view bytes)
{
    head_.bytes = crc32c(head_.bytes, bytes);
    return disk().write(file_, bytes);
}

Result<void> MboxJournal::add(std::string_view bytes)
{
    head_.tail += bytes.size();
    return write(bytes);
}

Result<void> MboxJournal::publish()
{
    head_.beyond = TRY(checksum(mbox_, new_size(), head_.old_size));
    std::string sums;
    const auto note = [&](uint64_t, std::string_view bytes) -> Result<void> {
        put(sums, crc32c(0, bytes));
        if (sums.size() < 64 * 1024) return {};
        TRY(write(sums));
        sums.clear();
        return {};
    };
    TRY(each_sector(mbox_, head_.from, overlap_end(), note));
    TRY(write(sums));
    TRY(write_at(file_.get(), 0, head_.encode()));
    TRY(disk().sync(file_));
    TRY(disk().rename(*index_, name_ + ".new", *index_, name_));
    return disk().sync(*index_);
}

Result<std::optional<MboxJournal>> MboxJournal::find(const disk::Directory& index, std::string name, const std::string& mbox)
{
    auto opened = disk().open_read(index, name);
    if (!opened && opened.error().code == ENOENT) return std::optional<MboxJournal>();
    if (!opened) return unexpected(std::move(opened).error());
    MboxJournal out(index, std::move(name));
    out.file_ = std::move(*opened);
    const uint64_t size = TRY(disk().size(out.file_));
    const std::string start = TRY(disk().read(out.file_, 0, head_size));
    const auto head = Head::decode(start);
    bool whole = head && head->tail <= size;
    if (whole) {
        out.head_ = *head;
        whole = size == head_size + head->tail + 4 * sectors(head->from, out.overlap_end()) && TRY(checksum(out.fd(), head_size, size)) == head->bytes;
    }
    if (whole) return std::optional<MboxJournal>(std::move(out));
    TRY(put_aside(index, out.name_, mbox, "it is damaged, or of another version"));
    return std::optional<MboxJournal>();
}

Result<bool> MboxJournal::is_of(int file) const
{
    struct stat st {};
    if (::fstat(file, &st) != 0) return fail_errno("look at a mailbox");
    const uint64_t end = overlap_end();
    if (st.st_ino != head_.inode || static_cast<uint64_t>(st.st_size) < end || TRY(before_sum(file, head_.from)) != head_.before) return false;
    bool same = true;
    uint64_t sum_at = head_size + head_.tail;
    const auto compare = [&](uint64_t at, std::string_view bytes) -> Result<void> {
        if (!same) return {};
        const std::string noted = TRY(pread_exact(fd(), static_cast<off_t>(sum_at), 4));
        sum_at += 4;
        if (Taker(noted).take<uint32_t>() == crc32c(0, bytes)) return {};
        same = TRY(pread_exact(fd(), static_cast<off_t>(head_size + at - head_.from), bytes.size())) == bytes;
        return {};
    };
    TRY(each_sector(file, head_.from, end, compare));
    return same;
}

Result<void> MboxJournal::forget(const disk::Directory& index, const std::string& name)
{
    // Gone already: perhaps a moment ago, and not on disk.
    if (auto gone = disk().unlink(index, name); !gone && gone.error().code != ENOENT) return gone;
    return disk().sync(index);
}

Result<void> MboxJournal::put_aside(const disk::Directory& index, const std::string& name, const std::string& mbox, std::string_view why)
{
    TRY(disk().rename(index, name, index, name + ".aside"));
    TRY(disk().sync(index));
    log::warning("mailbox ", printable(mbox), ": what a crash left to be done is kept in ", printable(index.path), '/', printable(name), ".aside and not done: ", why);
    return {};
}

}  // namespace veredus::store

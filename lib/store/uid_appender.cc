// The end of a UID log, and what may be put behind it.
#include "lib/store/uid_appender.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"
#include "lib/store/bytes.h"

namespace veredus::store {

namespace {

constexpr std::size_t tail_size = 64 * 1024;
constexpr std::size_t head_payload = 34;
constexpr int most_tries = 1000;               // places where a record might begin

// Records from `at` to the very end. Numbers only grow through a log, and a compacted one ends with a head, so that the last ones say
// all; nothing: none of these records says what the next UID is, or they do not come out even.
std::optional<LogEnd> follow(std::string_view tail, std::size_t at)
{
    LogEnd end;
    const auto uid_was = [&](uint64_t uid) { end.uidnext = std::max(end.uidnext, static_cast<uint32_t>(std::min<uint64_t>(uid + 1, UINT32_MAX))); };
    const auto modseq_was = [&](uint64_t modseq) { end.highest_modseq = std::max(end.highest_modseq, modseq); };
    while (at < tail.size()) {
        const auto record = next_record(tail, at);
        if (!record) return std::nullopt;
        Taker in(record->payload);
        switch (record->type) {
        case Record::head:
            if (in.take<uint16_t>() > uid_log_version) return std::nullopt;
            (void)in.take<uint32_t>();
            uid_was(uint64_t{in.take<uint32_t>()} - 1);
            modseq_was(in.take<uint64_t>());
            break;
        case Record::add:
            uid_was(in.take<uint32_t>());
            modseq_was(in.take<uint64_t>());
            break;
        case Record::next:
            uid_was(uint64_t{in.take<uint32_t>()} - 1);
            modseq_was(in.take<uint64_t>());
            break;
        case Record::flags:
        case Record::vanished: modseq_was(in.take<uint64_t>()); break;
        default: break;
        }
        if (in.ran_out()) return std::nullopt;
    }
    if (end.uidnext == 0 || end.highest_modseq == 0) return std::nullopt;
    return end;
}

}  // namespace

std::optional<LogEnd> read_log_end(std::string_view tail, bool whole)
{
    if (whole) return follow(tail, 0);
    int tries = 0;
    for (auto at = tail.find('\xA7'); at != std::string_view::npos && tries < most_tries; at = tail.find('\xA7', at + 1), ++tries) {
        std::size_t probe = at;
        if (!next_record(tail, probe)) continue;
        return follow(tail, at);
    }
    return std::nullopt;
}

Result<std::optional<UidAppender>> UidAppender::try_begin(disk::Disk& disk, const disk::Directory& dir, const std::string& name)
{
    const auto before = disk.stat(dir, name);
    if (!before && before.error().code == ENOENT) return std::optional<UidAppender>();
    if (!before) return unexpected(before.error());
    if (!before->regular || before->links > 1) return std::optional<UidAppender>();
    Fd file = TRY(disk.open_append(dir, name, 0600));
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (::fcntl(file.get(), F_OFD_SETLK, &lock) != 0) {
        if (errno == EAGAIN || errno == EACCES || errno == EINTR) return std::optional<UidAppender>();
        return fail_errno(cat("lock ", dir.path, '/', name));
    }
    // The same file before and after it was opened, by its time too: another file with its number would be younger (uid_log.cc).
    const auto after = disk.stat(dir, name);
    if (!after || after->file != before->file || after->changed_us != before->changed_us) return std::optional<UidAppender>();
    UidAppender out(disk, std::move(file), after->size);
    const std::string start = TRY(disk.read(out.file_, 0, record_head + head_payload));
    std::size_t at = 0;
    const auto head = next_record(start, at);
    if (!head || head->type != Record::head) return std::optional<UidAppender>();
    Taker in(head->payload);
    if (in.take<uint16_t>() > uid_log_version) return std::optional<UidAppender>();
    out.uidvalidity_ = in.take<uint32_t>();
    const uint64_t from = after->size > tail_size ? after->size - tail_size : 0;
    const std::string tail = TRY(disk.read(out.file_, from, static_cast<std::size_t>(after->size - from)));
    const auto end = read_log_end(tail, from == 0);
    if (!end || out.uidvalidity_ == 0) return std::optional<UidAppender>();
    out.next_uid_ = end->uidnext;
    out.modseq_ = end->highest_modseq + 1;
    return std::optional<UidAppender>(std::move(out));
}

uint32_t UidAppender::add(NewMessage message)
{
    if (next_uid_ == UINT32_MAX || message.name.size() > UINT16_MAX) return 0;
    records_ += encode_add(message, next_uid_, modseq_);
    return next_uid_++;
}

Result<void> UidAppender::commit()
{
    if (records_.empty()) return {};
    auto written = disk_->write(file_, records_);
    if (!written) {                                      // as UidLog::Change: what others may have read stays
        const auto size = disk_->size(file_);
        const std::size_t there = size && *size > size_ ? static_cast<std::size_t>(std::min<uint64_t>(*size - size_, records_.size())) : 0;
        std::size_t whole = 0;
        while (next_record(std::string_view(records_).substr(0, there), whole)) {}
        (void)disk_->truncate(file_, size_ + whole);
    }
    if (written) size_ += records_.size();
    records_.clear();
    return written;
}

}  // namespace veredus::store

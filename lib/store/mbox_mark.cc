// The note that a delivery leaves on an mbox while it appends.
#include "lib/store/mbox_mark.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "lib/base/crc32c.h"
#include "lib/base/fd.h"
#include "lib/store/bytes.h"
#include "lib/store/mbox_parts.h"

namespace veredus::store {

namespace {

constexpr const char* mark_name = "user.veredus.append";
constexpr std::string_view magic = "VMA1";
constexpr std::size_t known_before = 4096;
constexpr std::size_t longest_line = 2000; // of which a From_ line is told

std::string encode(const AppendMark& mark)
{
    std::string out(magic);
    put(out, mark.from);
    put(out, mark.before);
    put(out, mark.gap);
    for (const PlannedMail& mail : mark.mails) {
        put(out, mail.size);
        put(out, mail.sum);
        put(out, mail.line);
        put(out, mail.line_sum);
    }
    put(out, crc32c(0, out));
    return out;
}

std::optional<AppendMark> decode(std::string_view bytes)
{
    constexpr std::size_t sum_size = 4;
    if (bytes.size() < magic.size() + sum_size || !bytes.starts_with(magic)) return std::nullopt;
    Taker sum(bytes.substr(bytes.size() - sum_size));
    bytes.remove_suffix(sum_size);
    if (sum.take<uint32_t>() != crc32c(0, bytes)) return std::nullopt;
    Taker in(bytes.substr(magic.size()));
    AppendMark mark;
    mark.from = in.take<uint64_t>();
    mark.before = in.take<uint32_t>();
    mark.gap = in.take<uint8_t>();
    while (!in.whole() && !in.ran_out() && mark.mails.size() < AppendMark::most_mails) {
        PlannedMail mail;
        mail.size = in.take<uint64_t>();
        mail.sum = in.take<uint32_t>();
        mail.line = in.take<uint16_t>();
        mail.line_sum = in.take<uint32_t>();
        mark.mails.push_back(mail);
    }
    return in.whole() ? std::optional(std::move(mark)) : std::nullopt;
}

// Nothing: there is none.
std::optional<std::string> read_mark(int fd)
{
    std::string bytes(8192, '\0');
    const ssize_t size = ::fgetxattr(fd, mark_name, bytes.data(), bytes.size());
    if (size < 0 && errno != ERANGE) return std::nullopt;
    bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    return bytes;
}

Result<uint32_t> sum_of(int fd, uint64_t from, uint64_t size)
{
    uint32_t sum = 0;
    TRY(each_block(fd, from, size, [&](std::string_view bytes) -> Result<void> {
        sum = crc32c(sum, bytes);
        return {};
    }));
    return sum;
}

// Is there a From_ line, or what may be one, at a line's start or anywhere else? A program that appends behind half a
// line does not always begin with a new one.
Result<bool> has_from_line(int fd, uint64_t at, uint64_t end)
{
    std::string kept;
    bool found = false;
    TRY(each_block(fd, at, end - at, [&](std::string_view bytes) -> Result<void> {
        kept += bytes;
        const std::string_view text(kept);
        for (std::size_t i = text.find("From "); !found && i != std::string_view::npos; i = text.find("From ", i + 1)) {
            const std::string_view line = text.substr(i, longest_line);
            found = is_from_line(line.substr(0, line.find('\n')));
        }
        kept.erase(0, kept.size() - std::min(kept.size(), longest_line));
        return {};
    }));
    return found;
}

// Does [at, end), which is shorter than `mail`, hold its beginning and no other mail?
Result<bool> is_half_of(int fd, const PlannedMail& mail, uint64_t at, uint64_t end)
{
    const uint64_t there = std::min<uint64_t>(mail.line, end - at);
    const std::string line = TRY(pread_exact(fd, static_cast<off_t>(at), static_cast<std::size_t>(there)));
    if (there == mail.line && crc32c(0, line) != mail.line_sum) return false;
    if (there < mail.line && line.find('\n') != std::string::npos) return false;
    if (!line.starts_with(std::string_view("From ").substr(0, line.size()))) return false;
    return !TRY(has_from_line(fd, at + there, end)) && line.find("From ", 1) == std::string::npos;
}

// Is all from mark.from to the end of the file a delivery of this note, and does it end within a mail?
Result<bool> ends_within(int fd, const AppendMark& mark, uint64_t end)
{
    if (end <= mark.from || TRY(sum_before(fd, mark.from)) != mark.before) return false;
    uint64_t at = mark.from;
    const std::string gap =
        TRY(pread_exact(fd, static_cast<off_t>(at), static_cast<std::size_t>(std::min<uint64_t>(mark.gap, end - at))));
    if (gap.find_first_not_of('\n') != std::string::npos) return false;
    at += gap.size();
    for (const PlannedMail& mail : mark.mails) {
        if (at == end)
            return &mail == &mark.mails.front(); // a line end and no mail; else whole mails: they may be known
        if (mail.size > end - at) return is_half_of(fd, mail, at, end);
        if (TRY(sum_of(fd, at, mail.size)) != mail.sum) return false;
        at += mail.size;
    }
    return false;
}

} // namespace

void PlannedMail::add(std::string_view bytes)
{
    size += bytes.size();
    sum = crc32c(sum, bytes);
    if (line_ended_) return;
    const auto end = bytes.find('\n');
    const auto part = bytes.substr(0, end == std::string_view::npos ? end : end + 1);
    line_sum = crc32c(line_sum, part);
    line_ended_ = end != std::string_view::npos || line + part.size() > UINT16_MAX;
    line = static_cast<uint16_t>(std::min<std::size_t>(line + part.size(), UINT16_MAX));
}

Result<uint32_t> sum_before(int fd, uint64_t from)
{
    const uint64_t size = std::min<uint64_t>(from, known_before);
    return sum_of(fd, from - size, size);
}

bool set_append_mark(int fd, const AppendMark& mark)
{
    if (mark.mails.empty() || mark.mails.size() > AppendMark::most_mails) return false;
    const std::string bytes = encode(mark);
    return ::fsetxattr(fd, mark_name, bytes.data(), bytes.size(), 0) == 0;
}

Result<void> clear_append_mark(int fd)
{
    if (::fremovexattr(fd, mark_name) == 0 || errno == ENODATA || errno == ENOTSUP) return {};
    return fail_errno("take a note off a mailbox");
}

bool has_append_mark(int fd)
{
    return ::fgetxattr(fd, mark_name, nullptr, 0) >= 0;
}

Result<uint64_t> cut_half_append(int fd)
{
    const auto bytes = read_mark(fd);
    if (!bytes) return 0;
    uint64_t cut = 0;
    if (const auto mark = decode(*bytes)) {
        struct stat st {};
        if (::fstat(fd, &st) != 0) return fail_errno("look at a mailbox");
        const auto end = static_cast<uint64_t>(st.st_size);
        if (TRY(ends_within(fd, *mark, end))) {
            if (::ftruncate(fd, static_cast<off_t>(mark->from)) != 0)
                return fail_errno("cut half a mail off a mailbox");
            cut = end - mark->from;
        }
    }
    TRY(clear_append_mark(fd));
    return cut;
}

} // namespace veredus::store

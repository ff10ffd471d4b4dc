// The text files behind tables: what they hold, whether they changed, and their logical lines.
#include "lib/table/source.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "lib/base/crc32c.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"

namespace veredus::table {

namespace {

constexpr int64_t ns_per_second = 1'000'000'000;
constexpr std::size_t max_of_others = std::size_t{64} << 20;    // bytes of a table that belongs to a user: it is read into memory of ours

Stamp stamp_of(const struct stat& st)
{
    return {st.st_dev, st.st_ino, static_cast<uint64_t>(st.st_size), int64_t{st.st_mtim.tv_sec} * ns_per_second + st.st_mtim.tv_nsec};
}

}  // namespace

bool still_written(int64_t mtime_ns)
{
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    const int64_t age = int64_t{now.tv_sec} * ns_per_second + now.tv_nsec - mtime_ns;
    return age >= 0 && age < ns_per_second;
}

Result<std::string> Source::read()
{
    const Fd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    if (!fd) return fail_errno(cat("open ", path_));
    struct stat st{};
    if (::fstat(fd.get(), &st) != 0) return fail_errno(cat("stat ", path_));
    if (!S_ISREG(st.st_mode)) return fail(cat(path_, ": is not a regular file"));
    const std::size_t most = st.st_uid == 0 || st.st_uid == ::geteuid() ? max_source : max_of_others;
    if (static_cast<uint64_t>(st.st_size) > most) return fail(cat(path_, ": has ", st.st_size, " bytes; a table of uid ", st.st_uid, " may have ", most));
    auto text = read_all(fd.get(), most);
    if (!text) return unexpected(Error{text.error().code, cat("read ", path_, ": ", text.error().text)});
    stamp_ = stamp_of(st);
    fresh_ = still_written(stamp_.mtime_ns);
    crc_ = crc32c(0, *text);
    owner_ = st.st_uid;
    return text;
}

Result<Source::Look> Source::look(uint64_t& size) const
{
    struct stat st{};
    if (::stat(path_.c_str(), &st) != 0) {
        if (errno == ENOENT && stamp_ == Stamp{}) return Look::same;
        return fail_errno(cat("stat ", path_));
    }
    const Stamp now = stamp_of(st);
    size = now.size;
    if (now != stamp_ || st.st_uid != owner_) return Look::changed;
    // Written and read within one tick of the clock: the stamp may lie.
    return !fresh_ || still_written(now.mtime_ns) ? Look::same : Look::compare;
}

Result<bool> Source::changed()
{
    uint64_t size = 0;
    const Look seen = TRY(look(size));
    if (seen != Look::compare) return seen == Look::changed;
    const uint32_t before = crc_;
    const uid_t owner = owner_;
    TRY(read());
    return crc_ != before || owner_ != owner;
}

std::string Source::where(unsigned line) const { return line ? cat(path_, ", line ", line) : path_; }

bool Lines::physical(std::string_view& line)
{
    while (!rest_.empty()) {
        const std::size_t end = std::min(rest_.find('\n'), rest_.size());
        line = rest_.substr(0, end);
        rest_.remove_prefix(std::min(end + 1, rest_.size()));
        ++number_;
        if (line.ends_with('\r')) line.remove_suffix(1);
        const std::size_t visible = line.find_first_not_of(" \t\r\v\f");
        if (visible != std::string_view::npos && line[visible] != '#') return true;
    }
    return false;
}

bool Lines::next(std::string& line, unsigned& number)
{
    std::string_view piece;
    if (has_waiting_) {
        piece = waiting_;
        number = waiting_number_;
        has_waiting_ = false;
    } else {
        if (!physical(piece)) return false;
        number = number_;
    }
    overlong_ = piece.size() > max_line;
    line = piece.substr(0, max_line);
    while (physical(piece)) {
        if (!is_space(piece.front())) {
            waiting_ = piece;
            waiting_number_ = number_;
            has_waiting_ = true;
            break;
        }
        overlong_ = overlong_ || line.size() + piece.size() > max_line;
        line.append(piece.substr(0, max_line - std::min(max_line, line.size())));
    }
    return true;
}

}  // namespace veredus::table

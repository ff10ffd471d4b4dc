// Header lines of ours are taken out of what comes in, and the quoting and blank lines of an mbox put in.
#include "lib/store/mbox_draft.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/store/mbox_parts.h"

namespace veredus::store {

namespace {

constexpr std::size_t most_in_memory = 64 * 1024;
constexpr std::size_t max_head = 1u << 20;               // of an appended mail whose header lines are looked at

}  // namespace

Result<Fd> nameless_file(const disk::Directory& dir)
{
    Fd file(::openat(dir.fd.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (file || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) {
        if (!file) return fail_errno(cat("write to ", dir.path));
        return file;
    }
    const std::string name = cat("tmp.", hex_upper(random_u64(), 16));
    file = TRY(disk::posix_disk().create(dir, name, 0600));
    TRY(disk::posix_disk().unlink(dir, name));
    return file;
}

Result<void> MboxDraft::write(std::string_view wire)
{
    out_.clear();
    ends_.feed(wire, out_);
    return keep(out_);
}

Result<void> MboxDraft::finish()
{
    if (finished_) return {};
    out_.clear();
    ends_.finish(out_);
    TRY(keep(out_));
    finished_ = true;
    return {};
}

// Small ones need no descriptor: a command may have hundreds of them.
Result<void> MboxDraft::keep(std::string_view bytes)
{
    size_ += bytes.size();
    if (!file_ && size_ <= most_in_memory) {
        small_ += bytes;
        return {};
    }
    if (!file_) {
        file_ = TRY(nameless_file(*dir_));
        TRY(write_all(file_.get(), small_));
        std::string().swap(small_);
    }
    return write_all(file_.get(), bytes);
}

Result<std::string> MboxDraft::first_bytes(std::size_t most) const
{
    const auto n = static_cast<std::size_t>(std::min<uint64_t>(size_, most));
    if (!file_) return small_.substr(0, n);
    return pread_exact(file_.get(), 0, n);
}

Result<void> MboxDraft::rest(std::size_t from, const Sink& sink) const
{
    if (file_) return each_block(file_.get(), from, size_ - from, sink);
    if (from >= small_.size()) return {};
    return sink(std::string_view(small_).substr(from));
}

Result<void> MboxDraft::stream(const std::string& from_line, const MboxStatus& status, const Sink& sink) const
{
    const auto begin = first_bytes(max_head);
    if (!begin) return unexpected(begin.error());
    const std::string& start = *begin;
    const std::size_t blank = start.starts_with('\n') ? 0 : start.find("\n\n");
    std::size_t head = blank == std::string::npos ? 0 : blank == 0 && start.starts_with('\n') ? 0 : blank + 1;
    bool blank_follows = blank != std::string::npos;
    if (!blank_follows && size_ <= max_head) head = start.size();
    else if (!blank_follows) blank_follows = true;          // a header of a megabyte: it stays as it is, behind ours
    std::string out = from_line;
    FromQuoter quoter;
    std::string head_text = without_status_fields(std::string_view(start).substr(0, head));
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
    TRY(rest(head, quote));
    out.clear();
    body_quoter.finish(out);
    out += last == '\n' ? "\n" : "\n\n";
    return sink(out);
}

}  // namespace veredus::store

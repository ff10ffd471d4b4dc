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
    size_ += out_.size();
    return write_all(file_.get(), out_);
}

Result<void> MboxDraft::finish()
{
    out_.clear();
    ends_.finish(out_);
    size_ += out_.size();
    return write_all(file_.get(), out_);
}

Result<void> MboxDraft::stream(const std::string& from_line, const MboxStatus& status, const Sink& sink) const
{
    const auto read = pread_exact(file_.get(), 0, static_cast<std::size_t>(std::min<uint64_t>(size_, max_head)));
    if (!read) return unexpected(read.error());
    const std::string& start = *read;
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
    TRY(each_block(file_.get(), head, size_ - head, quote));
    out.clear();
    body_quoter.finish(out);
    out += last == '\n' ? "\n" : "\n\n";
    return sink(out);
}

}  // namespace veredus::store

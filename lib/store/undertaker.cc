// Graves: directories in the index that were folders a moment ago.
#include "lib/store/undertaker.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/store/beneath.h"

namespace veredus::store {

namespace {

constexpr int deepest = 8;         // a mailbox is not deep
constexpr off_t large = 64 * 1024; // of a directory: a thousand names or so

// Another process may be at the same tree: whatever it was faster with is done.
Result<void> remove_below(const disk::Directory& parent, const std::string& name, int depth)
{
    if (::unlinkat(parent.fd.get(), name.c_str(), 0) == 0 || errno == ENOENT) return {};
    if (errno != EISDIR && errno != EPERM) return fail_errno(cat("remove ", parent.path, '/', name));
    if (depth > deepest) return fail_errno(cat("remove ", parent.path, '/', name, ": too deep"), ELOOP);
    {
        Fd fd(::openat(parent.fd.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!fd && errno == ENOENT) return {};
        if (!fd) return fail_errno(cat("remove ", parent.path, '/', name));
        const disk::Directory dir{std::move(fd), cat(parent.path, '/', name)};
        const auto names = disk::posix_disk().list(dir);
        if (!names && names.error().code == ENOENT) return {}; // removed while it was open
        if (!names) return unexpected(names.error());
        for (const auto& each : *names) TRY(remove_below(dir, each, depth + 1));
    }
    if (::unlinkat(parent.fd.get(), name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
    return fail_errno(cat("remove ", parent.path, '/', name));
}

bool is_large(const disk::Directory& index, const std::string& grave)
{
    constexpr const char* parts[] = {"/cur", "/new", "/tmp"};
    return std::any_of(std::begin(parts), std::end(parts), [&](const char* part) {
        struct stat st {};
        return ::fstatat(index.fd.get(), cat(grave, part).c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > large;
    });
}

} // namespace

Result<void> remove_tree(const disk::Directory& parent, const std::string& name)
{
    return remove_below(parent, name, 0);
}

Undertaker::Undertaker(Remove remove) : remove_(std::move(remove)) {}
Undertaker::~Undertaker() = default;

void Undertaker::bury(const disk::Directory& index, const std::string& grave)
{
    if (!is_large(index, grave)) return put_under(index, grave);
    auto own = open_beneath(index, ".");
    if (!own) return put_under(index, grave);
    {
        const std::lock_guard lock(graves_.mutex);
        graves_.waiting.emplace_back(std::move(*own), grave);
        if (graves_.working) return;
        graves_.working = true;
    }
    // The one before has nothing left to do: it is joined at once.
    auto thread = disk::Thread::start([this] { work(); });
    if (thread)
        thread_ = std::move(*thread);
    else
        work();
}

void Undertaker::work()
{
    for (;;) {
        std::pair<disk::Directory, std::string> next;
        {
            const std::lock_guard lock(graves_.mutex);
            if (graves_.waiting.empty()) {
                graves_.working = false;
                return;
            }
            next = std::move(graves_.waiting.front());
            graves_.waiting.pop_front();
        }
        put_under(next.first, next.second);
    }
}

void Undertaker::put_under(const disk::Directory& index, const std::string& grave) const
{
    if (auto done = remove_(index, grave); !done)
        log::warning("a folder was removed, its files are left for later: ", printable(done.error().text));
}

} // namespace veredus::store

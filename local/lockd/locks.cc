// Locking and making mailboxes in the spool directory.
#include "local/lockd/locks.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "lib/base/directory.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::lockd {

namespace {

using ipc::Code;
using ipc::Status;

Status unavailable(std::string text) { return {Code::unavailable, std::move(text)}; }
Status refused(std::string text) { return {Code::refused, std::move(text)}; }

// Never over a mailbox that came meanwhile.
bool rename_new(int from, const char* name, int to, const char* new_name)
{
    if (::syscall(SYS_renameat2, from, name, to, new_name, RENAME_NOREPLACE) == 0) return true;
    if (errno != EINVAL && errno != ENOSYS) return false;
    // A file system without that flag: the moment between look and rename is guarded by the lock that the peer holds.
    struct stat st {};
    if (::fstatat(to, new_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return false;
    }
    return ::renameat(from, name, to, new_name) == 0;
}

constexpr int deepest_draft = 8;
constexpr int most_of_a_draft = 1000;    // the loop waits while we remove

// What is in a draft is the user's doing: any depth, any number, directories that he closed to us. False: something stays.
bool remove_entry(int parent, const char* name, int depth, int& left)
{
    if (--left < 0) return false;
    const Fd fd(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (fd && depth > 0) {
        // What cannot be read cannot be removed either, unless it is empty: rmdir(2) says so.
        static_cast<void>(for_each_entry(fd.get(), name, [&](const DirectoryEntry& entry) { return remove_entry(fd.get(), entry.name, depth - 1, left); }));
    }
    return ::unlinkat(parent, name, 0) == 0 || ::unlinkat(parent, name, AT_REMOVEDIR) == 0;
}

void remove_tree(int parent, const char* name)
{
    int left = most_of_a_draft;
    if (!remove_entry(parent, name, deepest_draft, left))
        log::warning("what a user put into ", nursery, '/', printable(name), " could not be removed as a whole: remove it by hand, or it is tried again at the next start");
}

}  // namespace

bool is_mailbox_name(std::string_view name)
{
    if (name.empty() || name.size() > 64 || name[0] == '.' || name[0] == '-' || iends_with(name, ".lock")) return false;
    for (const char c : name)
        if (c == '/' || static_cast<unsigned char>(c) <= ' ' || c == 0x7f) return false;
    return true;
}

std::string owner_of(std::string_view name, std::string_view root_mailbox_user) { return std::string(name == "root" ? root_mailbox_user : name); }

Locks::~Locks()
{
    for (const auto& [name, held] : held_) store::release_dotlock(dir_, cat(name, ".lock"), held.lock);
}

void Locks::sweep()
{
    const Fd fd(::openat(dir_.fd.get(), nursery, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return;
    static_cast<void>(for_each_entry(fd.get(), nursery, [&](const DirectoryEntry& entry) {
        remove_tree(fd.get(), entry.name);
        return true;
    }));
    ::unlinkat(dir_.fd.get(), nursery, AT_REMOVEDIR);
}

Status Locks::lock(uint64_t connection, const ipc::Credentials& peer, const std::string& name)
{
    if (const auto it = held_.find(name); it != held_.end())
        return it->second.connection == connection ? refused("you hold this lock already") : unavailable("held by another process");
    store::Holder holder = self_;
    holder.pid = static_cast<pid_t>(peer.pid);
    auto lock = store::try_dotlock(dir_, cat(name, ".lock"), holder);
    if (!lock) return {Code::invalid, lock.error().text};
    if (!*lock) return unavailable("held by another program");
    held_[name] = {connection, **lock};
    return {};
}

Status Locks::unlock(uint64_t connection, const std::string& name)
{
    const auto it = held_.find(name);
    if (it == held_.end() || it->second.connection != connection) return refused("you do not hold this lock");
    store::release_dotlock(dir_, cat(name, ".lock"), it->second.lock);
    held_.erase(it);
    return {};
}

Locks::Offer Locks::create(uint64_t connection, const std::string& name)
{
    const auto failed = [](const char* what) { return Offer{{Code::invalid, fail_errno(what).error.text}, Fd()}; };
    struct stat st {};
    if (::fstatat(dir_.fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) return {Status(), Fd()};
    if (drafts_.count({connection, name})) return {refused("you are making it already"), Fd()};
    if (::mkdirat(dir_.fd.get(), nursery, 0700) < 0 && errno != EEXIST) return failed("make a mailbox");
    const Fd parent(::openat(dir_.fd.get(), nursery, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!parent || ::fstat(parent.get(), &st) < 0) return failed("make a mailbox");
    if (st.st_uid != ::geteuid() || (st.st_mode & 077)) return {{Code::invalid, cat(nursery, ": is not ours alone; remove it")}, Fd()};
    const std::string draft = hex_upper(random_u64(), 16);
    if (::mkdirat(parent.get(), draft.c_str(), 0700) < 0) return failed("make a mailbox");
    Fd directory(::openat(parent.get(), draft.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    // Others may make files in it and look nothing up; they get here by this fd only, since the parent is closed to them. The
    // set-group-ID bit that it inherits gives the file the mailbox group, as in the spool directory itself.
    if (!directory || ::fstat(directory.get(), &st) < 0 || ::fchmod(directory.get(), (st.st_mode & 02000) | 0703) < 0) {
        remove_tree(parent.get(), draft.c_str());
        return failed("make a mailbox");
    }
    drafts_[{connection, name}] = draft;
    return {{}, std::move(directory)};
}

Status Locks::created(uint64_t connection, const ipc::Credentials& peer, const std::string& name)
{
    const auto it = drafts_.find({connection, name});
    if (it == drafts_.end()) return refused("nothing of that name was begun");
    const std::string draft = it->second;
    const Status status = move_into_place(draft, peer, name);
    remove_draft(draft);
    drafts_.erase(it);
    return status;
}

Status Locks::move_into_place(const std::string& draft, const ipc::Credentials& peer, const std::string& name)
{
    const auto is_good = [&](const struct stat& st) {
        return S_ISREG(st.st_mode) && st.st_uid == peer.uid && st.st_nlink == 1 && st.st_size == 0 && (st.st_mode & 07777) == 0600;
    };
    const Fd from(::openat(dir_.fd.get(), cat(nursery, '/', draft).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat st {};
    if (!from || ::fstatat(from.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0) return {Code::invalid, fail_errno("the new mailbox").error.text};
    if (!is_good(st)) return refused("the new mailbox is not an empty file of yours with mode 0600");
    if (!rename_new(from.get(), name.c_str(), dir_.fd.get(), name.c_str())) {
        if (errno == EEXIST) return {};
        return {Code::invalid, fail_errno("the new mailbox").error.text};
    }
    // What lies there now may be another file than the one we looked at, if its owner was quick.
    if (::fstatat(dir_.fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && !is_good(st)) {
        ::unlinkat(dir_.fd.get(), name.c_str(), 0);
        return refused("the new mailbox changed under our hands");
    }
    // Blocks the loop for one sync, once in a mailbox's life; the mail that follows must not be lost with its name.
    if (::fsync(dir_.fd.get()) < 0) return {Code::invalid, fail_errno("sync the mail spool directory").error.text};
    return {};
}

void Locks::remove_draft(const std::string& draft)
{
    if (const Fd parent(::openat(dir_.fd.get(), nursery, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)); parent) remove_tree(parent.get(), draft.c_str());
    ::unlinkat(dir_.fd.get(), nursery, AT_REMOVEDIR);    // stays while another one is being made
}

void Locks::closed(uint64_t connection)
{
    for (auto it = held_.begin(); it != held_.end();) {
        if (it->second.connection != connection) {
            ++it;
            continue;
        }
        store::release_dotlock(dir_, cat(it->first, ".lock"), it->second.lock);
        it = held_.erase(it);
    }
    for (auto it = drafts_.begin(); it != drafts_.end();) {
        if (it->first.first != connection) {
            ++it;
            continue;
        }
        remove_draft(it->second);
        it = drafts_.erase(it);
    }
}

}  // namespace veredus::lockd

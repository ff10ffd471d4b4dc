// The directories that a start wants to find.
#include "lib/daemon/prepare.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "lib/base/text.h"
#include "lib/queue/spool.h"

namespace veredus::daemon {

namespace {

std::string octal(mode_t mode)
{
    char text[16];
    std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mode & 07777));
    return text;
}

std::string user_name(uint32_t uid)
{
    const passwd* found = ::getpwuid(uid);
    return found ? std::string(found->pw_name) : cat("uid ", uid);
}

std::string group_name(uint32_t gid)
{
    const group* found = ::getgrgid(gid);
    return found ? std::string(found->gr_name) : cat("gid ", gid);
}

Result<void> find_owner(Wanted& wanted)
{
    const passwd* user = ::getpwnam(wanted.user.c_str());
    if (!user) return fail(cat("user ", wanted.user, " does not exist; `veredus setup` makes it"));
    const group* owner_group = ::getgrnam(wanted.group.c_str());
    if (!owner_group) return fail(cat("group ", wanted.group, " does not exist; `veredus setup` makes it"));
    wanted.uid = user->pw_uid;
    wanted.gid = owner_group->gr_gid;
    return {};
}

void own(Wanted& wanted)
{
    wanted.uid = ::geteuid();
    wanted.gid = ::getegid();
    wanted.user = user_name(wanted.uid);
    wanted.group = group_name(wanted.gid);
}

void check_one(const Wanted& wanted, std::vector<std::string>& wrong)
{
    struct stat info{};
    if (::lstat(wanted.path.c_str(), &info) < 0) {
        const int code = errno;
        if (code == ENOENT)
            wrong.push_back(cat(wanted.path, ": does not exist"));
        else
            wrong.push_back(fail_errno(wanted.path, code).error.text);
        return;
    }
    if (!S_ISDIR(info.st_mode)) {
        wrong.push_back(cat(wanted.path, ": is not a directory"));
        return;
    }
    if (info.st_uid != wanted.uid) wrong.push_back(cat(wanted.path, ": belongs to ", user_name(info.st_uid), ", must belong to ", wanted.user));
    if (info.st_gid != wanted.gid) wrong.push_back(cat(wanted.path, ": is of group ", group_name(info.st_gid), ", must be of group ", wanted.group));
    if ((info.st_mode & 07777) != wanted.mode) wrong.push_back(cat(wanted.path, ": has mode ", octal(info.st_mode), ", must have ", octal(wanted.mode)));
}

// The parents of the root of a tree: plain directories that everyone may pass.
Result<void> make_parents(const std::string& path)
{
    for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
        const std::string parent = path.substr(0, slash);
        if (::mkdir(parent.c_str(), 0755) < 0 && errno != EEXIST) return fail_errno(cat("mkdir ", parent));
    }
    return {};
}

// Owner before mode: chown clears set-id bits.
Result<void> mend(const Wanted& wanted)
{
    if (::mkdir(wanted.path.c_str(), 0700) < 0 && errno != EEXIST) return fail_errno(cat("mkdir ", wanted.path));
    const Fd dir(::open(wanted.path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!dir) return fail_errno(cat("open ", wanted.path));
    struct stat info{};
    if (::fstat(dir.get(), &info) < 0) return fail_errno(cat("stat ", wanted.path));
    const bool owned = info.st_uid == wanted.uid && info.st_gid == wanted.gid;
    if (!owned && ::fchown(dir.get(), wanted.uid, wanted.gid) < 0) return fail_errno(cat("chown ", wanted.path));
    if (::fchmod(dir.get(), wanted.mode) < 0) return fail_errno(cat("chmod ", wanted.path));
    return {};
}

}  // namespace

Result<std::vector<Wanted>> wanted_directories(const conf::Values& values, bool unprivileged)
{
    std::vector<Wanted> list;
    const std::string base(values.text("queue_directory"));
    if (base.empty()) return fail("queue_directory is empty");
    for (const queue::SpoolDirectory& row : queue::spool_directories()) {
        Wanted wanted{*row.path ? cat(base, "/", row.path) : base, row.user, row.group, 0, 0, static_cast<mode_t>(row.mode)};
        if (unprivileged)
            own(wanted);
        else
            TRY(find_owner(wanted));
        list.push_back(std::move(wanted));
    }
    return list;
}

std::vector<Wanted> run_directories(const conf::Values& values, bool unprivileged)
{
    const std::string run(values.text("run_directory"));
    std::vector<Wanted> list = {{run, "root", "root", 0, 0, 0755}, {run + "/empty", "root", "root", 0, 0, 0755}};
    if (unprivileged)
        for (Wanted& wanted : list) own(wanted);
    return list;
}

std::vector<std::string> check_directories(const std::vector<Wanted>& wanted)
{
    std::vector<std::string> wrong;
    for (const Wanted& one : wanted) check_one(one, wrong);
    return wrong;
}

std::string check_drop_program(const std::string& libexec)
{
    const std::string path = cat(libexec, "/veredus-drop");
    struct stat info{};
    if (::stat(path.c_str(), &info) < 0) return fail_errno(path).error.text;
    const group* drop = ::getgrnam("veredus-drop");
    if (drop && info.st_gid == drop->gr_gid && (info.st_mode & S_ISGID) && (info.st_mode & S_IXOTH)) return "";
    return cat(path, ": is not set-gid veredus-drop, so sendmail cannot queue mail for users; `veredus setup` mends it");
}

Result<std::vector<std::string>> make_directories(const std::vector<Wanted>& wanted, bool only_say)
{
    std::vector<std::string> done;
    for (const Wanted& one : wanted) {
        std::vector<std::string> wrong;
        check_one(one, wrong);
        if (wrong.empty()) continue;
        const bool missing = ::access(one.path.c_str(), F_OK) < 0 && errno == ENOENT;
        if (missing)
            done.push_back(cat("make ", one.path, ", ", one.user, ":", one.group, " ", octal(one.mode)));
        else
            for (const std::string& text : wrong) done.push_back(cat("mend ", text));
        if (only_say) continue;
        TRY(make_parents(one.path));
        TRY(mend(one));
    }
    return done;
}

}  // namespace veredus::daemon

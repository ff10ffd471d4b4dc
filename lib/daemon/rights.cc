// Rights: changing the user for good, proving it, and entering a jail.
#include "lib/daemon/rights.h"

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/panic.h"
#include "lib/base/text.h"
#include "lib/daemon/service.h"

namespace veredus::daemon {

namespace {

Result<uint32_t> find_group(const std::string& name)
{
    errno = 0;
    const group* found = ::getgrnam(name.c_str());
    if (found) return uint32_t{found->gr_gid};
    if (errno != 0 && errno != ENOENT) return fail_errno(cat("group ", name));
    return fail(cat("group ", name, " does not exist; `veredus setup` makes it"));
}

std::vector<uint32_t> sorted(std::vector<uint32_t> groups)
{
    std::sort(groups.begin(), groups.end());
    groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
    return groups;
}

Result<std::vector<uint32_t>> current_groups()
{
    const int count = ::getgroups(0, nullptr);
    if (count < 0) return fail_errno("getgroups");
    std::vector<gid_t> groups(static_cast<std::size_t>(count));
    if (::getgroups(count, groups.data()) < 0) return fail_errno("getgroups");
    return sorted(std::vector<uint32_t>(groups.begin(), groups.end()));
}

bool holds_capabilities()
{
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    if (::syscall(SYS_capget, &header, data) < 0) return true;    // what cannot be shown is not believed
    return (data[0].effective | data[0].permitted | data[1].effective | data[1].permitted) != 0;
}

// Whoever can still come back has not left.
void prove_dropped(uint32_t uid, uint32_t gid, const std::vector<uint32_t>& groups)
{
    uid_t ruid = 0, euid = 0, suid = 0;
    gid_t rgid = 0, egid = 0, sgid = 0;
    if (::getresuid(&ruid, &euid, &suid) < 0 || ruid != uid || euid != uid || suid != uid) panic("rights: a user id was not given up");
    if (::getresgid(&rgid, &egid, &sgid) < 0 || rgid != gid || egid != gid || sgid != gid) panic("rights: a group id was not given up");
    const auto now = current_groups();
    if (!now || *now != sorted(groups)) panic("rights: the supplementary groups are not those asked for");
    if (::setuid(0) == 0 || ::seteuid(0) == 0 || ::setresuid(0, 0, 0) == 0) panic("rights: root could be regained");
    if (gid != 0 && (::setgid(0) == 0 || ::setegid(0) == 0)) panic("rights: group root could be regained");
    if (holds_capabilities()) panic("rights: capabilities were kept");
}

void limit(int resource, rlim_t soft)
{
    rlimit now{};
    if (::getrlimit(static_cast<__rlimit_resource_t>(resource), &now) < 0) return;
    now.rlim_cur = now.rlim_max == RLIM_INFINITY ? soft : std::min(soft, now.rlim_max);
    ::setrlimit(static_cast<__rlimit_resource_t>(resource), &now);
}

}  // namespace

Result<Identity> find_identity(const std::string& user, const std::string& group_name, const std::string& extra_groups)
{
    errno = 0;
    const passwd* found = ::getpwnam(user.c_str());
    if (!found) {
        if (errno != 0 && errno != ENOENT) return fail_errno(cat("user ", user));
        return fail(cat("user ", user, " does not exist; `veredus setup` makes it"));
    }
    Identity identity;
    identity.uid = found->pw_uid;
    identity.gid = found->pw_gid;
    if (!group_name.empty()) identity.gid = TRY(find_group(group_name));
    identity.groups.push_back(identity.gid);
    for (const auto name : split(extra_groups, " ,")) identity.groups.push_back(TRY(find_group(std::string(name))));
    return identity;
}

Result<void> drop_rights(uint32_t uid, uint32_t gid, const std::vector<uint32_t>& groups)
{
    if (::geteuid() != 0) {
        if (uid != ::geteuid() || uid != ::getuid()) return fail(cat("cannot become uid ", uid, " without being root"));
        return {};
    }
    if (uid == 0) return fail("refusing to keep running as root");
    std::vector<gid_t> list(groups.begin(), groups.end());
    if (std::find(list.begin(), list.end(), gid) == list.end()) list.push_back(gid);
    if (::setgroups(list.size(), list.data()) < 0) return fail_errno("setgroups");
    if (::setresgid(gid, gid, gid) < 0) return fail_errno(cat("setresgid ", gid));
    if (::setresuid(uid, uid, uid) < 0) return fail_errno(cat("setresuid ", uid));
    prove_dropped(uid, gid, std::vector<uint32_t>(list.begin(), list.end()));
    return {};
}

Result<void> enter_jail(const std::string& path)
{
    if (::chdir(path.c_str()) < 0) return fail_errno(cat("jail ", path));
    if (::chroot(".") < 0) return fail_errno(cat("chroot ", path));
    if (::chdir("/") < 0) return fail_errno(cat("chdir / in ", path));
    return {};
}

void set_limits()
{
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, 65'536);
}

Result<void> forbid_privilege_gain()
{
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return fail_errno("PR_SET_NO_NEW_PRIVS");
    return {};
}

Result<void> forbid_tracing()
{
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return fail_errno("PR_SET_DUMPABLE");
    return {};
}

}  // namespace veredus::daemon

#include "lib/daemon/confine.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "lib/base/fd.h"
#include "lib/base/text.h"

namespace veredus::daemon {

namespace {

constexpr uint64_t reading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
// All that the first version of Landlock knows: bits 0 to 12; later versions add REFER and TRUNCATE.
constexpr uint64_t first_version = (uint64_t{1} << 13) - 1;
constexpr uint64_t refer = uint64_t{1} << 13, truncate = uint64_t{1} << 14;

int version()
{
    return static_cast<int>(::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION));
}

Result<void> allow(const Fd& rules, const std::string& path, uint64_t access)
{
    const Fd place(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!place) return fail_errno(cat("open ", path));
    landlock_path_beneath_attr rule{};
    rule.allowed_access = access;
    rule.parent_fd = place.get();
    if (::syscall(SYS_landlock_add_rule, rules.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        return fail_errno(cat("landlock rule for ", path));
    return {};
}

} // namespace

Result<bool> confine_to(const std::vector<std::string>& own, const std::vector<std::string>& readable)
{
    const int known = version();
    if (known < 1) return false;
    landlock_ruleset_attr attributes{};
    attributes.handled_access_fs = first_version | (known >= 2 ? refer : 0) | (known >= 3 ? truncate : 0);
    const Fd rules(
        static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes.handled_access_fs, 0)));
    if (!rules) return fail_errno("landlock");
    for (const std::string& path : own) TRY(allow(rules, path, attributes.handled_access_fs));
    for (const std::string& path : readable)
        if (auto done = allow(rules, path, reading); !done && done.error().code != ENOENT) return unexpected(done.error());
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return fail_errno("no_new_privs");
    if (::syscall(SYS_landlock_restrict_self, rules.get(), 0) < 0) return fail_errno("landlock");
    return true;
}

} // namespace veredus::daemon

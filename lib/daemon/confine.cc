#include "lib/daemon/confine.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "lib/base/fd.h"
#include "lib/base/text.h"

namespace veredus::daemon {

namespace {

constexpr uint64_t reading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
// All that the first version of Landlock knows: bits 0 to 12; the second adds REFER, the third TRUNCATE.
constexpr uint64_t first_version = (uint64_t{1} << 13) - 1;
constexpr uint64_t refer = uint64_t{1} << 13, truncate = uint64_t{1} << 14;
constexpr uint64_t of_files = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | truncate;    // all that a file that is no directory can have

// landlock_ruleset_attr as the sixth version has it: the headers of the build may be older than the kernel.
struct Ruleset {
    uint64_t files = 0, ports = 0, scoped = 0;
};
constexpr uint64_t scope_abstract_unix_socket = 1, scope_signal = 2;

int version()
{
    return static_cast<int>(::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION));
}

Result<void> allow(const Fd& rules, const std::string& path, uint64_t access)
{
    const Fd place(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!place) return fail_errno(cat("open ", path));
    struct stat st {};
    if (::fstat(place.get(), &st) != 0) return fail_errno(cat("look at ", path));
    landlock_path_beneath_attr rule{};
    rule.allowed_access = S_ISDIR(st.st_mode) ? access : access & of_files;
    rule.parent_fd = place.get();
    if (::syscall(SYS_landlock_add_rule, rules.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        return fail_errno(cat("landlock rule for ", path));
    return {};
}

} // namespace

Result<bool> confine_to(const std::vector<std::string>& own, const std::vector<std::string>& readable)
{
    const int known = version();
    // The first version forbids each rename from one directory to another: no Maildir works so.
    if (known < 2) return false;
    Ruleset wanted;
    wanted.files = first_version | refer | (known >= 3 ? truncate : 0);
    if (known >= 6) wanted.scoped = scope_abstract_unix_socket | scope_signal;
    const std::size_t size = known >= 6 ? sizeof wanted : sizeof wanted.files;
    const Fd rules(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &wanted, size, 0)));
    if (!rules) return fail_errno("landlock");
    for (const std::string& path : own) TRY(allow(rules, path, wanted.files));
    for (const std::string& path : readable)
        if (auto done = allow(rules, path, reading); !done && done.error().code != ENOENT) return unexpected(done.error());
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return fail_errno("no_new_privs");
    if (::syscall(SYS_landlock_restrict_self, rules.get(), 0) < 0) return fail_errno("landlock");
    return true;
}

} // namespace veredus::daemon

// Asking NSS for an account and its shadow.
#include "lib/auth/shadow.h"

#include <crypt.h>
#include <pwd.h>
#include <shadow.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "lib/auth/password.h"
#include "lib/base/text.h"

namespace veredus::auth {

namespace {

constexpr std::size_t buffer_size = 16'384;
constexpr long unlimited = 10'000;         // shadow's customary "99999"

// NSS answers "no such user" with 0, ENOENT, ESRCH … and trouble with other numbers (getpwnam(3)).
bool is_absent(int code) { return code == 0 || code == ENOENT || code == ESRCH || code == EBADF || code == EPERM; }

Result<std::optional<ShadowEntry>> find_shadow(const std::string& user)
{
    std::string buffer(buffer_size, '\0');
    spwd entry{};
    spwd* found = nullptr;
    const int code = ::getspnam_r(user.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (found) {
        ShadowEntry shadow{entry.sp_pwdp ? entry.sp_pwdp : "", entry.sp_lstchg, entry.sp_max, entry.sp_inact, entry.sp_expire};
        tls::wipe(buffer);
        return std::optional<ShadowEntry>(std::move(shadow));
    }
    if (::access("/etc/shadow", R_OK) < 0 && errno != ENOENT) return fail_errno("/etc/shadow (its group must be shadow, and readable for it)");
    if (!is_absent(code)) return fail_errno(cat("getspnam ", printable(user, 100)), code);
    return std::optional<ShadowEntry>();
}

}  // namespace

bool is_account_name(const std::string& user)
{
    return !user.empty() && user.size() <= 255 && user.find_first_of(std::string_view(":/\n\0", 4)) == std::string::npos;
}

Result<std::optional<uid_t>> find_account(const std::string& user)
{
    std::string buffer(buffer_size, '\0');
    passwd entry{};
    passwd* found = nullptr;
    const int code = ::getpwnam_r(user.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (!found && !is_absent(code)) return fail_errno(cat("getpwnam ", printable(user, 100)), code);
    if (!found) return std::optional<uid_t>();
    return std::optional<uid_t>(entry.pw_uid);
}

std::string file_stamp(const char* path)
{
    struct stat info{};
    if (::stat(path, &info) < 0) return "-";
    return cat(info.st_ino, ' ', info.st_size, ' ', info.st_mtim.tv_sec, ' ', info.st_mtim.tv_nsec, ' ', info.st_ctim.tv_sec, ' ', info.st_ctim.tv_nsec);
}

std::string accounts_stamp() { return cat(file_stamp("/etc/passwd"), ' ', file_stamp("/etc/shadow")); }

// As login(1) sees it; nobody can change a password over SMTP, so one that must be changed is expired.
Found::Standing standing_of(const ShadowEntry& entry, long today)
{
    if (is_locked(entry.password)) return Found::Standing::locked;
    if (entry.expire >= 0 && today >= entry.expire) return Found::Standing::expired;
    if (entry.last_change == 0) return Found::Standing::expired;
    const bool ages = entry.maximum >= 0 && entry.maximum < unlimited && entry.last_change > 0;
    if (ages && today > entry.last_change + entry.maximum) return Found::Standing::expired;
    return Found::Standing::good;
}

Shadow::Shadow(std::string key) : key_(std::move(key))
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    // What passwd(1) would make today, until an account has shown what this host really uses.
    if (::crypt_gensalt_rn(nullptr, 0, nullptr, 0, setting, sizeof setting)) last_form_ = setting;
}

Result<std::optional<Found>> Shadow::find(const std::string& user) const
{
    if (!is_account_name(user)) return std::optional<Found>();
    const auto uid = TRY(find_account(user));
    if (!uid) return std::optional<Found>();
    auto shadow = TRY(find_shadow(user));
    if (!shadow) return std::optional<Found>();
    Found found;
    found.user = user;
    found.source = "shadow";
    found.standing = standing_of(*shadow, static_cast<long>(::time(nullptr) / 86'400));
    found.password = std::move(shadow->password);
    // Nothing of a mail system runs as root, and not even a "locked" may confirm a guess of root's password.
    if (*uid == 0) {
        found.password = "*";
        found.standing = Found::Standing::locked;
    }
    if (!is_locked(found.password)) {
        const std::lock_guard lock(mutex_);
        last_form_ = found.password;
    }
    return std::optional<Found>(std::move(found));
}

std::string Shadow::likely_password(std::string_view) const
{
    const std::lock_guard lock(mutex_);
    return last_form_;
}

}  // namespace veredus::auth

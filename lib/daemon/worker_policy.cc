// Who gets a process of his own.
#include "lib/daemon/worker_policy.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>

#include "lib/base/text.h"
#include "lib/daemon/roles.h"

namespace veredus::daemon {

namespace {
bool has(const std::vector<uint32_t>& ids, uint32_t id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); }
}  // namespace

WorkerPolicy WorkerPolicy::from(const conf::Values& values, bool unprivileged, uint32_t own_uid)
{
    WorkerPolicy policy;
    policy.minimum_uid = values.number("local_minimum_uid");
    policy.listed = values.list("local_listed_users");
    policy.unprivileged = unprivileged;
    policy.own_uid = own_uid;
    if (unprivileged) return policy;
    for (const Account& account : accounts()) {
        if (const passwd* user = account.user.empty() || account.user == root_mailbox_account ? nullptr : ::getpwnam(account.user.c_str())) policy.suite_uids.push_back(user->pw_uid);
        if (const group* own = account.group == "mail" || account.group == "shadow" ? nullptr : ::getgrnam(account.group.c_str())) policy.suite_gids.push_back(own->gr_gid);
    }
    for (const char* name : {"mail", "shadow"})
        if (const group* closed = ::getgrnam(name)) policy.closed_gids.push_back(closed->gr_gid);
    if (const group* powerless = ::getgrnam("nogroup")) policy.powerless_gid = powerless->gr_gid;
    if (const passwd* of_commands = ::getpwnam(std::string(values.text("default_privs")).c_str())) policy.commands_uid = of_commands->pw_uid;
    return policy;
}

Result<void> WorkerPolicy::check(const ipc::UserReply& user) const
{
    if (unprivileged) {
        if (user.uid != own_uid) return fail(cat("uid ", user.uid, " is not ours, and this instance runs without root"));
        return {};
    }
    if (user.uid == 0) return fail("uid 0 is never served: give root an alias in the aliases file");
    if (user.gid == 0) return fail("its group is root's: never served");
    if (user.uid > UINT32_MAX - 2) return fail("not a uid");
    if (user.name == root_mailbox_account) return {};    // made for this, and has nothing else
    // A process with the queue's own uid would be one step from every mail.
    for (const Account& account : accounts())
        if (!account.user.empty() && account.user == user.name) return fail("it is one of the mail system's own users");
    if (has(suite_uids, user.uid)) return fail(cat("uid ", user.uid, " is that of one of the mail system's own users"));
    // An account has the group that its administrator gave it; a line or a table that names one of ours is a mistake.
    if (user.name.find_first_of("@:") != std::string::npos && has(suite_gids, user.gid)) return fail(cat("gid ", user.gid, " is that of one of the mail system's own groups"));
    if (int64_t{user.uid} < minimum_uid && std::find(listed.begin(), listed.end(), user.name) == listed.end())
        return fail(cat("uid ", user.uid, " is below local_minimum_uid (", minimum_uid, ") and the user is not in local_listed_users"));
    return {};
}

uint32_t WorkerPolicy::gid_of_process(uint32_t gid) const { return !unprivileged && has(closed_gids, gid) ? powerless_gid : gid; }

Result<void> WorkerPolicy::check_keeper(const ipc::UserReply& ids) const
{
    TRY(check(ids));
    if (!unprivileged && commands_uid == ids.uid) return fail(cat("uid ", ids.uid, " is that of default_privs, which commands of aliases run as"));
    return {};
}

ipc::UserReply WorkerPolicy::as_recipient(ipc::UserReply user) const
{
    if (user.found != ipc::UserReply::Found::yes || check(user)) return user;
    ipc::UserReply nobody;
    nobody.found = ipc::UserReply::Found::no;
    nobody.name = std::move(user.name);
    return nobody;
}

}  // namespace veredus::daemon

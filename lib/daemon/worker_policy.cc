// Who gets a process of his own.
#include "lib/daemon/worker_policy.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/daemon/roles.h"

namespace veredus::daemon {

WorkerPolicy WorkerPolicy::from(const conf::Values& values, bool unprivileged, uint32_t own_uid)
{
    return {values.number("local_minimum_uid"), values.list("local_listed_users"), unprivileged, own_uid};
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
    if (int64_t{user.uid} < minimum_uid && std::find(listed.begin(), listed.end(), user.name) == listed.end())
        return fail(cat("uid ", user.uid, " is below local_minimum_uid (", minimum_uid, ") and the user is not in local_listed_users"));
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

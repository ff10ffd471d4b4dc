// Who gets a process of his own: never root, never one of our own users, whatever name stands before its uid, nobody below
// local_minimum_uid who is not listed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/conf/values.h"
#include "lib/ipc/user.h"

namespace veredus::daemon {

struct WorkerPolicy {
    int64_t minimum_uid = 1;
    std::vector<std::string> listed;
    bool unprivileged = false;
    uint32_t own_uid = 0;
    std::vector<uint32_t> suite_uids, suite_gids;    // of the mail system's own users and groups, but for veredus-root and the system's mail
    std::optional<uint32_t> commands_uid;            // default_privs: what runs as it is anybody's
    std::vector<uint32_t> closed_gids;               // mail, shadow: they open what is no user's
    uint32_t powerless_gid = 65534;                  // what the process of a user has in the place of such a group
    uint32_t gid_of_process(uint32_t gid) const;
    // Asks the system for the ids of these names: once at a start or a reload, not for each user.
    static WorkerPolicy from(const conf::Values& values, bool unprivileged, uint32_t own_uid);
    Result<void> check(const ipc::UserReply& user) const;
    // Of ids without a name, which keep mailboxes of virtual users.
    Result<void> check_keeper(const ipc::UserReply& ids) const;
    // What router may hear: a user who would get no process takes no mail, so a stranger is refused and needs no bounce.
    ipc::UserReply as_recipient(ipc::UserReply user) const;
};

}  // namespace veredus::daemon

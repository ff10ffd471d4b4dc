// Who gets a process of his own: never root, never one of our own users, nobody below local_minimum_uid who is not listed.
#pragma once

#include <cstdint>
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
    static WorkerPolicy from(const conf::Values& values, bool unprivileged, uint32_t own_uid);
    Result<void> check(const ipc::UserReply& user) const;
    // What router may hear: a user who would get no process takes no mail, so a stranger is refused and needs no bounce.
    ipc::UserReply as_recipient(ipc::UserReply user) const;
};

}  // namespace veredus::daemon

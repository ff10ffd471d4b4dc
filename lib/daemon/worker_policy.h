// Who gets a process of his own: never root, never one of our own users, nobody below local_minimum_uid who is not listed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/ipc/control.h"
#include "lib/ipc/user.h"

namespace veredus::master {

struct WorkerPolicy {
    int64_t minimum_uid = 1;
    std::vector<std::string> listed;
    bool unprivileged = false;
    uint32_t own_uid = 0;
    Result<void> check(const ipc::UserReply& user) const;
};

Result<void> check_user_name(std::string_view name);
Result<ipc::Serve> make_serve(const ipc::UserReply& user, bool unprivileged);
// Never waits: a zygote that does not read is "unavailable".
Result<void> send_serve(int zygote, const ipc::Serve& order, int channel);

}  // namespace veredus::master

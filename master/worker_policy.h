// Orders for processes of users, as the zygote takes them.
#pragma once

#include <string_view>

#include "lib/base/result.h"
#include "lib/ipc/control.h"
#include "lib/ipc/user.h"

namespace veredus::master {

Result<void> check_user_name(std::string_view name);
Result<ipc::Serve> make_serve(const ipc::UserReply& user, bool unprivileged);
// Never waits: a zygote that does not read is "unavailable".
Result<void> send_serve(int zygote, const ipc::Serve& order, int channel);

}  // namespace veredus::master

// What a zygote takes from master: one fixed-size order with one descriptor, checked before anything is forked; and what it does before.
#pragma once

#include <functional>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/conf/values.h"
#include "lib/daemon/service.h"
#include "lib/ipc/control.h"

namespace veredus::daemon {

struct Order {
    ipc::Serve who{};
    Fd channel;
    unsigned descriptors = 0;
};

// Errors carry EAGAIN (nothing there), ENOTCONN (master is gone) or EBADMSG (refused; the next order may be good).
Result<Order> receive_serve(int control, bool unprivileged);
Result<void> check_serve(const ipc::Serve& who, bool unprivileged);

using ServeFunction = std::function<int(const conf::Values& values, const ipc::Serve& who, Fd channel)>;
// As run_zygote(), for a role that reads its settings once and not in each process: `prepare` is called before the first fork, with the
// zygote's rights, and what it returns serves in every child.
int run_prepared_zygote(const RoleName& role, const std::function<ServeFunction(const conf::Values& values)>& prepare, int argc, char** argv);

}  // namespace veredus::daemon

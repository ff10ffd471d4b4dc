// What a zygote takes from master: one fixed-size order with one descriptor, checked before anything is forked.
#pragma once

#include "lib/base/fd.h"
#include "lib/base/result.h"
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

}  // namespace veredus::daemon

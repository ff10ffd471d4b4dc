// The first messages of a role's life: Hello with its settings, the listeners, and begin; read before there is a loop.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lib/base/fd.h"
#include "lib/conf/values.h"
#include "lib/ipc/control.h"
#include "lib/log/log.h"

namespace veredus::daemon {

struct Start {
    ipc::Hello hello;
    std::string settings;            // bytes of the memfd: conf::Values::deserialize reads them
    Fd log;                          // none: the role opens the target itself
    std::vector<std::pair<ipc::Listener, Fd>> listeners;
    std::vector<std::pair<ipc::File, Fd>> files;
};

constexpr std::size_t max_settings = 1 << 20;

// Waits on `control` until begin. Master is trusted to be master, but not to be without faults: what does not fit is an error.
Result<Start> receive_start(int control, int timeout_ms);
// The whole of a settings memfd, wherever its offset stands.
Result<std::string> read_settings(const Fd& memfd);
log::Settings log_settings(const ipc::Hello& hello, const std::string& log_name);

}  // namespace veredus::daemon

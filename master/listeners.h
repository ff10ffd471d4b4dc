// The listening sockets of all roles: bound once, before any role runs, and inherited by every process of the role.
#pragma once

#include <string>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/conf/values.h"
#include "lib/daemon/roles.h"

namespace veredus::master {

struct Bound {
    const daemon::Role* role;
    std::string name, text;          // ipc::Listener
    Fd fd;
};

class Listeners {
public:
    struct Change {
        std::vector<std::size_t> added;                              // indexes into all()
        std::vector<std::pair<const daemon::Role*, std::string>> removed;   // role, text
    };
    // Binds what the settings ask for and is not there yet, closes what they no longer ask for. On an error nothing changes.
    Result<Change> apply(const conf::Values& values);
    const std::vector<Bound>& all() const { return bound_; }

private:
    std::vector<Bound> bound_;
};

}  // namespace veredus::master

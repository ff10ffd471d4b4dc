// Rights of a daemon: who its user is, how it gives up everything else, and the limits it lives under.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/result.h"

namespace veredus::daemon {

struct Identity {
    uint32_t uid = 0, gid = 0;
    std::vector<uint32_t> groups;    // exactly these, gid included
};

// Looks the names up (blocking; call before the jail). `extra_groups` is blank-separated.
Result<Identity> find_identity(const std::string& user, const std::string& group, const std::string& extra_groups);

// A core of a process that handles mail would be a copy of mail, and a descriptor limit of 1024 is too few for smtpd.
void set_limits();
Result<void> forbid_privilege_gain();    // PR_SET_NO_NEW_PRIVS
Result<void> forbid_tracing();           // PR_SET_DUMPABLE 0: the user may kill it, not read its memory

}  // namespace veredus::daemon

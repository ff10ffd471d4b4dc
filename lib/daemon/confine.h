// Landlock: a process that gives up every file but some, for good, whatever its uid could open.
#pragma once

#include <string>
#include <vector>

#include "lib/base/result.h"

namespace veredus::daemon {

// Of `own`, which are directories or files, and below them, everything that the uid may do stays possible; below `readable` reading does; everywhere else no file can be opened,
// made, renamed or removed any more, by this process and those it forks, and from version 6 of Landlock on it can neither signal
// processes other than those nor connect to the abstract Unix sockets of others. What it can still do with files of its uid elsewhere
// is what the kernel does not count as access: stat, chmod, chown, utimes. What is open stays open. Paths that are not there are
// passed over in `readable`, an error in `own`. Needs PR_SET_NO_NEW_PRIVS, and sets it. False: the kernel has no Landlock that allows renames
// between directories (version 2, Linux 5.19).
Result<bool> confine_to(const std::vector<std::string>& own, const std::vector<std::string>& readable);

} // namespace veredus::daemon

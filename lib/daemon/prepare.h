// What must lie on disk before a start: the spool tree and the run directory, with owners and modes. Checked at each start
// and by `veredus check`, made by `veredus setup` (and by an unprivileged start, in its private tree).
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/conf/values.h"

namespace veredus::daemon {

struct Wanted {                      // one directory
    std::string path;
    std::string user, group;         // names, for messages
    uint32_t uid = 0, gid = 0;
    mode_t mode = 0;
};

// The tree for these settings; names are looked up unless `unprivileged` (then all belongs to the caller).
Result<std::vector<Wanted>> wanted_directories(const conf::Values& values, bool unprivileged);
// One sentence per thing that is wrong; empty: all is well.
std::vector<std::string> check_directories(const std::vector<Wanted>& wanted);
// Makes what is missing and mends owner and mode, parents first; says what it did. Never follows a symbolic link.
Result<std::vector<std::string>> make_directories(const std::vector<Wanted>& wanted, bool only_say);
// What is wrong with `libexec`/veredus-drop, the setgid program behind sendmail(1); empty: all is well. For a start as root.
std::string check_drop_program(const std::string& libexec);
// run_directory and its empty/: /run is a tmpfs, so every start makes them.
std::vector<Wanted> run_directories(const conf::Values& values, bool unprivileged);

}  // namespace veredus::daemon

// Dotlocks: FILE.lock beside an mbox, made by link(2) with its holder's name in it, so that it never outlives him.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/disk/disk.h"

namespace veredus::store {

struct Holder {
    pid_t pid = 0;
    std::string host, boot;                   // boot: the kernel's boot id, so that a pid of an earlier life is known as such
    bool operator==(const Holder&) const = default;
    std::string text() const;                 // "PID HOST BOOT\n": programs that read a number only find the pid
    static std::optional<Holder> parse(std::string_view text);   // nothing: another program's lock
};
Holder this_process();                        // reads the boot id: call it outside a jail
std::string host_name();

// A lock of ours whose holder is gone goes at once; any other when it was not touched for five minutes, as liblockfile and
// Debian's policy (§11.6) have it. `age` is by the file system's own clock.
constexpr std::chrono::seconds stale_after{300};
bool is_stale(std::string_view text, std::chrono::seconds age, const Holder& me);

struct HeldLock {                             // which file it is: nothing else under that name is ever removed
    dev_t device = 0;
    ino_t inode = 0;
};

// Nothing: somebody holds it. `name` is the lock's own name ("USER.lock").
Result<std::optional<HeldLock>> try_dotlock(const disk::Directory& dir, const std::string& name, const Holder& me);
void release_dotlock(const disk::Directory& dir, const std::string& name, const HeldLock& held);

}  // namespace veredus::store

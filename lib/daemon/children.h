// The processes that a zygote has forked, by the channel that each one serves: whoever does not end when his channel was closed at
// the other end is killed. Only the parent can do that without ever hitting a stranger: a pid is free only once it was waited for.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/fd.h"

namespace veredus::daemon {

class Children {
public:
    explicit Children(int64_t grace_us) : grace_us_(grace_us) {}
    // `channel` is the parent's copy of what the child serves; closed when the child is gone, or its peer would never hear of that.
    void add(pid_t pid, Fd channel, std::string name);
    void waited_for(pid_t pid);                           // waitpid(2) gave it back: it is nobody's any more
    // Appends one entry for each child; after poll(2), take them back in the same order.
    void watch(std::vector<pollfd>& fds) const;
    void take(const pollfd* fds, int64_t now_us);
    int patience_ms(int64_t now_us) const;                // for poll(2); -1: nobody is due
    std::vector<std::string> kill_overdue(int64_t now_us);   // "NAME, pid N" of each that was killed
    std::size_t size() const { return children_.size(); }

private:
    struct Child {
        pid_t pid;
        Fd channel;
        std::string name;
        int64_t due_us;                                   // 0: it has a peer; -1: killed
    };
    int64_t grace_us_;
    std::vector<Child> children_;
};

}  // namespace veredus::daemon

// Children of a zygote.
#include "lib/daemon/children.h"

#include <signal.h>

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::daemon {

void Children::add(pid_t pid, Fd channel, std::string name) { children_.push_back({pid, std::move(channel), std::move(name), 0}); }

void Children::waited_for(pid_t pid)
{
    std::erase_if(children_, [pid](const Child& child) { return child.pid == pid; });
}

void Children::watch(std::vector<pollfd>& fds) const
{
    // One that hung up already is not looked at again, or poll(2) would never wait.
    for (const Child& child : children_) fds.push_back({child.due_us ? -1 : child.channel.get(), POLLRDHUP, 0});
}

void Children::take(const pollfd* fds, int64_t now_us)
{
    for (Child& child : children_)
        if ((fds++)->revents & (POLLHUP | POLLRDHUP | POLLERR)) child.due_us = now_us + grace_us_;
}

int Children::patience_ms(int64_t now_us) const
{
    int64_t first = -1;
    for (const Child& child : children_)
        if (child.due_us > 0 && (first < 0 || child.due_us < first)) first = child.due_us;
    if (first < 0) return -1;
    return static_cast<int>(std::clamp<int64_t>((first - now_us + 999) / 1000, 0, 60'000));
}

std::vector<std::string> Children::kill_overdue(int64_t now_us)
{
    std::vector<std::string> killed;
    for (Child& child : children_) {
        if (child.due_us <= 0 || child.due_us > now_us) continue;
        child.due_us = -1;
        if (::kill(child.pid, SIGKILL) == 0) killed.push_back(cat(child.name, ", pid ", child.pid));
    }
    return killed;
}

}  // namespace veredus::daemon

// What systemd wants to hear (sd_notify(3)): a datagram of NAME=VALUE lines to $NOTIFY_SOCKET. Nothing happens without one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/fd.h"

namespace veredus::master {

class Notifier {
public:
    Notifier() = default;
    // Takes the socket and the watchdog's interval from the environment, and removes them from it: roles must not see them.
    static Notifier from_environment();
    void say(std::string_view lines) const;
    void reloading() const;                             // RELOADING=1 with MONOTONIC_USEC, as Type=notify-reload wants
    int64_t watchdog_ms() const { return watchdog_ms_; }    // 0: none asked for

private:
    Fd socket_;
    std::string path_;
    int64_t watchdog_ms_ = 0;
};

}  // namespace veredus::master

// One process of a role: how it is started, its control channel, and what it is doing.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/daemon/roles.h"
#include "lib/ipc/channel.h"
#include "lib/loop/loop.h"
#include "master/backoff.h"

namespace veredus::master {

struct Launch {
    std::string path;
    std::vector<std::string> arguments;      // without argv[0]
    std::vector<std::string> environment;
    bool keep_output = false;                // fds 1 and 2 stay ours (foreground); else /dev/null
};

struct Spawned {
    pid_t pid = 0;
    Fd control;                              // our end of its fd 3
};

// fork and exec with nothing but 0 to 2 and the control channel as fd 3; an exec that fails is an error here, not a death later.
Result<Spawned> spawn(const Launch& launch);

// master holds a descriptor for each user who is in: as many as the system lets it. What it starts begins with the limit of before.
void allow_many_files();

// "killed by signal 11", "exit status 1"
std::string describe_end(int wait_status);

struct Process {
    enum class State : uint8_t { down, starting, ready, stopping };
    Process(const daemon::Role& r, uint32_t i, Backoff b) : role(&r), instance(i), backoff(b) {}

    const daemon::Role* role;
    uint32_t instance;
    State state = State::down;
    bool wanted = true;                      // false: a reload asked for fewer
    bool expected_end = false;               // told to go: its end is no news
    bool taken = false;                      // of a login stage: it has its client and accepts no more
    bool retiring = false;                   // it may do so, and has not yet
    bool entered = false, shed = false;      // its client has logged in; has to go, others wait for the place
    uint32_t entering = 0;                   // clients of it that are being let in
    bool stale = false;                      // settings changed while it was starting
    pid_t pid = 0;
    std::string path;
    Backoff backoff;
    int64_t since_us = 0;                    // monotonic, of the last start
    int64_t taken_us = 0;                    // monotonic
    int64_t since_wall = 0;                  // seconds
    uint32_t restarts = 0;
    std::string said, last_end;              // what it said before it failed; how it ended
    std::string settings;                    // as it has them
    bool ping_out = false;
    std::unique_ptr<ipc::Channel> control;
    std::unique_ptr<Timer> restart_timer, kill_timer;
    const char* state_name() const;
};

}  // namespace veredus::master

// A running instance as seen from outside: the pid file with its lock, and the status file that master writes.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace veredus::daemon {

// Held by master while it lives: run_directory/master.pid under a record lock, which dies with the process (a stale file
// means nothing). The file must not be opened twice by one process: closing either descriptor would drop the lock.
class PidFile {
public:
    static Result<PidFile> take(const std::string& run_directory);
    void write(pid_t pid);
    void remove();

private:
    PidFile(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
    Fd fd_;
    std::string path_;
};

struct Running {
    pid_t pid = 0;               // of the lock's holder; 0: nobody holds it
    bool stale_file = false;     // a pid file lies there, but its master is dead
};
Result<Running> find_running(const std::string& run_directory);

// run_directory/status, replaced as a whole at each change.
struct ProcessStatus {
    std::string role, state;     // state: "starting", "ready", "down", "stopping"
    uint32_t instance = 0;
    pid_t pid = 0;
    int64_t since = 0;           // wall clock seconds
    uint32_t restarts = 0;
    std::string last_end;        // why it ended last: "killed by signal 11", or what it said itself
    bool operator==(const ProcessStatus&) const = default;
};
struct Status {
    std::string version;
    pid_t pid = 0;
    int64_t since = 0;
    uint32_t reloads = 0;
    bool last_reload_good = true;
    bool unprivileged = false;
    std::vector<ProcessStatus> processes;
    std::string encode() const;
    static Result<Status> decode(std::string_view text);
};
Result<void> write_status(const std::string& run_directory, const Status& status);
Result<Status> read_status(const std::string& run_directory);

}  // namespace veredus::daemon

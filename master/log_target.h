// Where the log goes: master opens it, and hands it to roles that could not open it themselves.
#pragma once

#include <string>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/conf/values.h"
#include "lib/log/log.h"

namespace veredus::master {

class LogTarget {
public:
    // From syslog_name and maillog_file. `foreground`: standard error is somebody's to read.
    static Result<LogTarget> open(const conf::Values& values, bool foreground);
    Result<void> start(const std::string& role) const;    // this process logs there from now on
    Result<void> renew();                                 // opens the file or the syslog socket again (rotation, a new syslogd)
    bool moved() const;                                   // a file or socket of another inode is at the path now
    const log::Settings& settings() const { return settings_; }
    int fd() const { return fd_.get(); }                  // -1: standard error, which roles inherit

private:
    LogTarget() = default;
    Result<void> open_fd();
    log::Settings settings_;
    Fd fd_;
    std::string stamp_;
};

}  // namespace veredus::master

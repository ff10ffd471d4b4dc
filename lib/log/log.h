// The log: one event, one line, Postfix's shapes (veredus-log(5)). Lines are gathered and leave once per loop turn.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/base/text.h"

namespace veredus::log {

enum class Level : uint8_t { info, warning, error, fatal };   // printed as "", "warning: ", "error: ", "fatal: "
enum class Target : uint8_t { syslog, file, standard_error };

struct Settings {
    std::string ident = "veredus";     // syslog_name; the line says "ident/role[pid]: "
    std::string role = "master";
    Target target = Target::standard_error;
    std::string path;                  // of the file, or of the syslog socket ("/dev/log")
    bool rfc3339 = false;              // time stamps of file and stderr: traditional otherwise
    int facility = 2;                  // mail
};

// Opens the target; call before a jail hides it. `fd`, when given, is used instead of opening (master hands it over).
Result<void> open(Settings settings, Fd fd = Fd());
void reopen(Fd fd);                    // another file from now on (rotation)
void flush() noexcept;                 // the loop calls it each turn; fatal() and exit do too
// Makes the fd number of the target known, so that a zygote's child can keep it (-1: none).
int target_fd() noexcept;
void set_role(std::string role);       // "smtp", "qmgr", "local": the name in the line

void write(Level level, std::string_view line);
template <class... Parts> void info(const Parts&... parts) { write(Level::info, cat(parts...)); }
template <class... Parts> void warning(const Parts&... parts) { write(Level::warning, cat(parts...)); }
template <class... Parts> void error(const Parts&... parts) { write(Level::error, cat(parts...)); }
// The line on the log and on fd 2 when that is no terminal of ours already, then exit(status).
[[noreturn]] void fatal_exit(int status, std::string_view line);

// Tests look at lines here instead.
void capture(std::string* sink) noexcept;

}  // namespace veredus::log

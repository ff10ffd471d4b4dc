// pipe_transports: transports that hand mail to commands, as lines of Postfix's master.cf have them (pipe(8)).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace veredus::conf {

struct PipeTransport {
    std::string name;                            // of the transport
    std::string user;                            // whom the command runs as
    std::string directory;                       // where it runs; empty: "/"
    std::string null_sender = "MAILER-DAEMON";   // what <> is for the command
    int64_t time_limit_s = 0;                    // NAME_time_limit; 0: command_time_limit
    uint64_t size = 0;                           // larger mail is returned; 0: no limit
    std::vector<std::string> argv;               // with $names; no shell sees them
    bool delivered_to = false, from_line = false, original_to = false, return_path = false;    // flags D, F, O, R
    bool lower_domain = false, lower_user = false;                                             // flags h, u
};

// "{NAME flags=DR user=list argv=/path word ${recipient}} {…}". Every $name must be one that expand_pipe_word() knows.
Result<std::vector<PipeTransport>> parse_pipe_transports(std::string_view text);

class Values;
// The transports of these settings, each with its NAME_time_limit.
Result<std::vector<PipeTransport>> read_pipe_transports(const Values& values);
// Is this extra one that says something of a transport of pipe_transports, and may be known to any process? Its value is such.
bool is_pipe_time_limit(const std::vector<PipeTransport>& pipes, std::string_view name, std::string_view value);

// One word of an argv: $name, ${name} and $(name); "$$" is a dollar. A value never makes an option of a word: one that would begin
// with "-" because of the value it begins with is an error.
using PipeValue = std::function<std::string(std::string_view name)>;
Result<std::string> expand_pipe_word(std::string_view word, const PipeValue& value);

}  // namespace veredus::conf

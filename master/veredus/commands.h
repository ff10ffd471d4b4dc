// The subcommands of veredus(8): one row each in commands.cc.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace veredus::admin {

struct Common {                      // what stands before the subcommand
    std::string config_directory;    // -c DIR, $VEREDUS_CONFIG, or the built-in one
};

// argv[0] is the subcommand's name. Returns the exit status (sysexits, LSB codes for status).
using Run = int (*)(const Common& common, int argc, char** argv);

struct Subcommand {
    const char* name;
    Run run;
    const char* usage;               // after the name: "[-f]"
    const char* help;                // one line
};
std::span<const Subcommand> subcommands();
const Subcommand* find_subcommand(std::string_view name);
// Prints "usage: veredus NAME USAGE" and the help to stdout (--help) or stderr, and returns 0 or 64 (EX_USAGE).
int usage(const char* name, bool asked_for);

int start(const Common&, int argc, char** argv);
int stop(const Common&, int argc, char** argv);
int reload(const Common&, int argc, char** argv);
int restart(const Common&, int argc, char** argv);
int status(const Common&, int argc, char** argv);
int check(const Common&, int argc, char** argv);
int setup(const Common&, int argc, char** argv);
int config(const Common&, int argc, char** argv);
int explain(const Common&, int argc, char** argv);
int queue(const Common&, int argc, char** argv);
int flush(const Common&, int argc, char** argv);
int mailbox(const Common&, int argc, char** argv);
int trace(const Common&, int argc, char** argv);
int passwd(const Common&, int argc, char** argv);
int authenticate(const Common&, int argc, char** argv);
int who(const Common&, int argc, char** argv);
int kick(const Common&, int argc, char** argv);
int clientconfig(const Common&, int argc, char** argv);
int table(const Common&, int argc, char** argv);

}  // namespace veredus::admin

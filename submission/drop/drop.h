// One mail from standard input into maildrop/new, durably. libc only: this runs with rights that its caller has not.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace veredus::drop {

struct Options {
    const char* spool = nullptr;     // -q DIR: only with the caller's own rights
    const char* config = nullptr;    // -C DIR: likewise
    bool print_id = false;           // -p: the ID on standard output once the mail is safe
};
// EX_OK or EX_USAGE.
int parse(int argc, char** argv, Options& options);

// "64BBE0A01A2B3C4D": seconds, then microseconds / 2 and pid (lib/queue/id.h). `out` takes 16 digits and a NUL.
void make_id(char (&out)[17], int64_t wall_us, int pid);

// What main.cf says that matters here. Plain values only: this is the outer wall, submission knows the exact ones.
struct Config {
    char spool[1024] = {};
    uint64_t size_limit = 10'240'000;    // the default in lib/conf, as for a value with $ in it
    bool bad_spool = false;              // queue_directory is set to what is no plain absolute path
};
// DIR/main.cf and DIR/main.cf.d/*.cf, the last one wins.
void read_config(const char* directory, Config& config);
void parse_config(const char* text, std::size_t size, Config& config);   // one file's text

// Makes the process its own again whatever its caller left: descriptors, signals, timers, limits, umask, environment.
// False when even /dev/null cannot be had.
bool settle();

// Reads from `in` and leaves maildrop/new/ID below `spool`. A sysexits(3) status; what is wrong goes to standard error.
int take(int in, const char* spool, uint64_t size_limit, char (&id)[17]);

void complain(const char* what, const char* why = nullptr);

}  // namespace veredus::drop

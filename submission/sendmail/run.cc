// Which mode does what, and the small ones themselves.
#include <fcntl.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>

#include "config.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "submission/sendmail/modes.h"

namespace veredus::sendmail {

namespace {

// What old init scripts call: "sendmail -bd -q30m". The suite is started by its own command.
int start_suite(const Invocation& invocation, bool foreground)
{
    const std::string named = named_config(invocation);
    std::string program = VEREDUS_SBINDIR "/veredus";
    char self[PATH_MAX];
    if (const ssize_t n = named.empty() ? -1 : readlink("/proc/self/exe", self, sizeof self); n > 0) {
        std::string beside(self, static_cast<std::size_t>(n));
        beside.replace(beside.rfind('/') + 1, std::string::npos, "veredus");
        if (access(beside.c_str(), X_OK) == 0) program = beside;
    }
    const char* words[6] = {"veredus"};
    int count = 1;
    if (!named.empty()) {
        words[count++] = "-c";
        words[count++] = named.c_str();
    }
    words[count++] = "start";
    if (foreground) words[count++] = "-f";
    execv(program.c_str(), const_cast<char* const*>(words));
    complain(fail_errno(program).error.text);
    return EX_UNAVAILABLE;
}

int say(std::string_view text)
{
    std::fwrite(text.data(), 1, text.size(), stdout);
    return std::fflush(stdout) ? EX_IOERR : EX_OK;
}

}  // namespace

void complain(std::string_view text) { (void)write_all(2, cat("sendmail: ", text, '\n')); }

std::string named_config(const Invocation& invocation)
{
    std::string named = invocation.config_directory;
    if (named.empty()) named = config_of_environment();
    if (named.empty() || named[0] == '/') return named;
    char path[PATH_MAX];
    return realpath(named.c_str(), path) ? path : named;
}

int run(const Invocation& invocation)
{
    switch (invocation.mode) {
    case Mode::deliver: return deliver(invocation);
    case Mode::smtp: return smtp(invocation);
    case Mode::list: return list(invocation);
    case Mode::flush: return flush(invocation);
    case Mode::aliases: return aliases(invocation);
    case Mode::verify: return verify(invocation);
    case Mode::daemon: return start_suite(invocation, false);
    case Mode::foreground: return start_suite(invocation, true);
    case Mode::address_test: return say("There is no address test mode: \"veredus explain ADDRESS\" shows what decides the way of a mail.\n");
    case Mode::host_status:
    case Mode::purge_status: return EX_OK;      // there is no persistent host status to show or to purge
    case Mode::help: return say(usage());
    case Mode::version: return say("veredus " VEREDUS_VERSION "\n");
    }
    return EX_SOFTWARE;
}

}  // namespace veredus::sendmail

// main() of imapd and pop3d: started plainly the login stage, with --session the zygote of the users' processes.
#pragma once

#include <memory>
#include <utility>

#include "lib/daemon/service.h"
#include "lib/login/dialect.h"
#include "lib/login/session.h"

namespace veredus::login {

struct Daemon {
    daemon::RoleName stage, session; // {"imapd", …}, {"imap-session", …}
    const char* service;             // "imap"
    MakeDialect dialect;
    MakeHouse house;
    NoMailbox no_mailbox;
};
int run_daemon(const Daemon& what, int argc, char** argv);

// For Daemon::house: S::read(values) gives what H is made with.
template <class H, class S>
Result<std::unique_ptr<House>> open_house(Loop& loop, SessionHost& host, const conf::Values& values)
{
    auto settings = S::read(values);
    if (!settings) return unexpected(std::move(settings).error());
    return std::unique_ptr<House>(std::make_unique<H>(loop, host, values, std::move(*settings)));
}

} // namespace veredus::login

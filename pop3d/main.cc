// pop3d: mail programs fetch their mail (RFC 1939). Started plainly it is the login stage; with --session, the process
// from which those of the users are forked.  Manual: man/pop3d.8
#include "lib/login/daemon.h"
#include "lib/pop3/login.h"
#include "pop3d/house.h"
#include "pop3d/session.h"

int main(int argc, char** argv)
{
    using namespace veredus;
    const login::Daemon daemon{{"pop3d", conf::pop3d, "pop3-login"},
                               {"pop3-session", conf::pop3_session, "pop3"},
                               "pop3",
                               [] { return std::make_unique<pop3::Login>("EXPIRE NEVER\r\n"); },
                               login::open_house<pop3d::House, pop3d::Settings>,
                               [](std::string_view) { return std::string(pop3d::no_mailbox); }};
    return login::run_daemon(daemon, argc, argv);
}

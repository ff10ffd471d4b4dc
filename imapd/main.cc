// imapd: mail programs work in their mailboxes (RFC 9051, RFC 3501). Started plainly it is the login stage; with --session, the process
// from which those of the users are forked.  Manual: man/imapd.8
#include "imapd/client.h"
#include "imapd/house.h"
#include "lib/imap/login_dialect.h"
#include "lib/login/daemon.h"

int main(int argc, char** argv)
{
    using namespace veredus;
    const login::Daemon daemon{{"imapd", conf::imapd, "imap-login"},
                               {"imap-session", conf::imap_session, "imap"},
                               "imap",
                               [] { return std::make_unique<imap::LoginDialect>(); },
                               login::open_house<imapd::House, imapd::Settings>,
                               [](std::string_view hand_over) { return imapd::no_mailbox(imap::read_hand_over(hand_over).tag); }};
    return login::run_daemon(daemon, argc, argv);
}

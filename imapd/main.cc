// imapd: mail programs work in their mailboxes (RFC 9051, RFC 3501). Started plainly it is the login stage; with
// --session, the process from which those of the users are forked.  Manual: man/imapd.8
#include <cstring>

#include "imapd/house.h"
#include "lib/daemon/service.h"
#include "lib/imap/login_dialect.h"
#include "lib/login/session.h"
#include "lib/login/stage.h"

namespace veredus::imapd {

namespace {

Result<std::unique_ptr<login::House>> open_house(Loop& loop, login::SessionHost& host, const conf::Values& values)
{
    auto settings = TRY(Settings::read(values));
    std::unique_ptr<login::House> house = std::make_unique<House>(loop, host, values, std::move(settings));
    return house;
}

int serve(const conf::Values& values, const ipc::Serve& who, Fd channel)
{
    const std::chrono::seconds linger(values.seconds("session_linger"));
    return login::run_session("imap", linger, values, who, std::move(channel), open_house);
}

} // namespace

} // namespace veredus::imapd

int main(int argc, char** argv)
{
    using namespace veredus;
    if (argc == 2 && std::strcmp(argv[1], "--session") == 0)
        return daemon::run_zygote({"imap-session", conf::imap_session, "imap"}, imapd::serve, argc, argv);
    login::Stage stage("imapd", "imap", [] { return std::make_unique<imap::LoginDialect>(); });
    return daemon::run({"imapd", conf::imapd, "imap-login"}, stage, argc, argv);
}

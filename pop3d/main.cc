// pop3d: mail programs fetch their mail (RFC 1939). Started plainly it is the login stage; with --session, the process
// from which those of the users are forked.  Manual: man/pop3d.8
#include <cstring>

#include "lib/daemon/service.h"
#include "lib/login/session.h"
#include "lib/login/stage.h"
#include "lib/pop3/login.h"
#include "pop3d/house.h"

namespace veredus::pop3d {

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
    return login::run_session("pop3", linger, values, who, std::move(channel), open_house);
}

} // namespace

} // namespace veredus::pop3d

int main(int argc, char** argv)
{
    using namespace veredus;
    if (argc == 2 && std::strcmp(argv[1], "--session") == 0)
        return daemon::run_zygote({"pop3-session", conf::pop3_session, "pop3"}, pop3d::serve, argc, argv);
    login::Stage stage("pop3d", "pop3", [] { return std::make_unique<pop3::Login>("EXPIRE NEVER\r\n"); });
    return daemon::run({"pop3d", conf::pop3d, "pop3-login"}, stage, argc, argv);
}

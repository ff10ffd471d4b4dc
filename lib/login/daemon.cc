#include "lib/login/daemon.h"

#include <chrono>
#include <cstring>

#include "lib/login/stage.h"

namespace veredus::login {

int run_daemon(const Daemon& what, int argc, char** argv)
{
    if (argc != 2 || std::strcmp(argv[1], "--session") != 0) {
        Stage stage(what.stage.role, what.service, what.dialect);
        return daemon::run(what.stage, stage, argc, argv);
    }
    const auto serve = [&what](const conf::Values& values, const ipc::Serve& who, Fd channel) {
        const std::chrono::seconds linger(values.seconds("session_linger"));
        return run_session(what.service, linger, values, who, std::move(channel), what.house, what.no_mailbox);
    };
    return daemon::run_zygote(what.session, serve, argc, argv);
}

} // namespace veredus::login

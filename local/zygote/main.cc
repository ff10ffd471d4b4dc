// local-worker: the process from which those of users are forked. A program of its own, of as few mappings and pages as can be: each user's
// process pays for them, when it begins and when it ends.  Manual: man/local-worker.8
#include <cstring>
#include <memory>

#include "lib/daemon/service.h"
#include "lib/daemon/zygote.h"
#include "lib/log/log.h"
#include "local/worker.h"

namespace veredus::local {

namespace {

int serve(WorkerRules rules, const ipc::Serve& who, Fd channel)
{
    if (who.mailbox[0] != '\0') rules.home_mailbox = who.mailbox;    // his passwd-file says where
    Worker::Seams seams;
    seams.whole = disk::posix_whole_sync();
    // The process ends with it: what it holds the kernel takes back faster than it would.
    auto* const worker = std::make_unique<Worker>(std::move(rules), Person{who.name, who.home, who.shell}, who.uid, who.gid, std::move(seams)).release();
    return worker->serve(std::move(channel));
}

// The rules are read once: a user's process, which is a fork, has them, and may take them away.
daemon::ServeFunction prepare(const conf::Values& values)
{
    auto rules = std::make_shared<Result<WorkerRules>>(WorkerRules::read(values));    // shared_ptr: std::function wants to be copied
    return [rules](const conf::Values&, const ipc::Serve& who, Fd channel) {
        if (*rules) return serve(std::move(**rules), who, std::move(channel));
        log::error("user ", std::string_view(who.name), ": ", rules->error().text);
        return 78;
    };
}

}  // namespace

}  // namespace veredus::local

int main(int argc, char** argv)
{
    const veredus::daemon::RoleName name{"worker", veredus::conf::local, "local"};
    return veredus::daemon::run_prepared_zygote(name, veredus::local::prepare, argc, argv);
}

// What master says before begin.
#include "lib/daemon/start.h"

#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/text.h"

namespace veredus::daemon {

namespace {

Result<void> take_hello(Start& start, ipc::Message& message)
{
    start.hello = TRY(ipc::Hello::decode(message.body));
    if (start.hello.role.empty()) return fail("hello without a role");
    if (message.fds.empty()) return fail("hello without settings");
    start.settings = TRY(read_settings(message.fds[0]));
    if (message.fds.size() > 1) start.log = std::move(message.fds[1]);
    return {};
}

template <class Named> Result<void> take_named(std::vector<std::pair<Named, Fd>>& list, ipc::Message& message, const char* what)
{
    auto named = TRY(Named::decode(message.body));
    if (message.fds.size() != 1) return fail(cat(what, " ", named.name, " without its descriptor"));
    list.emplace_back(std::move(named), std::move(message.fds[0]));
    return {};
}

}  // namespace

Result<std::string> read_settings(const Fd& memfd)
{
    struct stat info{};
    if (::fstat(memfd.get(), &info) < 0) return fail_errno("settings");
    if (!S_ISREG(info.st_mode) || info.st_size < 0 || static_cast<std::size_t>(info.st_size) > max_settings)
        return fail("settings: not a memory file of a sane size");
    if (info.st_size == 0) return std::string();
    return pread_exact(memfd.get(), 0, static_cast<std::size_t>(info.st_size));
}

Result<Start> receive_start(int control, int timeout_ms)
{
    Start start;
    for (;;) {
        auto received = TRY(ipc::recv_blocking(control, timeout_ms));
        if (!received) return fail("master closed the control channel before begin");
        ipc::Message& message = *received;
        const auto type = static_cast<ipc::Control>(message.type);
        if (start.hello.role.empty() && type != ipc::Control::hello) return fail(cat("message ", message.type, " before hello"));
        switch (type) {
        case ipc::Control::hello:
            if (!start.hello.role.empty()) return fail("a second hello");
            TRY(take_hello(start, message));
            break;
        case ipc::Control::listener:
            TRY(take_named(start.listeners, message, "listener"));
            break;
        case ipc::Control::file:
            TRY(take_named(start.files, message, "file"));
            break;
        case ipc::Control::begin:
            return start;
        default:
            return fail(cat("message ", message.type, " before begin"));
        }
    }
}

log::Settings log_settings(const ipc::Hello& hello, const std::string& log_name)
{
    log::Settings settings;
    settings.ident = hello.log_ident;
    settings.role = log_name;
    settings.target = hello.log_target <= static_cast<uint8_t>(log::Target::standard_error) ? static_cast<log::Target>(hello.log_target)
                                                                                              : log::Target::standard_error;
    settings.path = hello.log_path;
    settings.rfc3339 = hello.log_rfc3339;
    return settings;
}

}  // namespace veredus::daemon

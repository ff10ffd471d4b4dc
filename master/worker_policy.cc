// Worker orders.
#include "master/worker_policy.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "lib/base/text.h"
#include "lib/ipc/wire.h"

namespace veredus::master {

Result<void> check_user_name(std::string_view name)
{
    if (name.empty() || name.size() >= sizeof(ipc::Serve::name)) return fail("a user name has 1 to 255 bytes");
    for (const char c : name)
        if (static_cast<unsigned char>(c) < 0x21 || c == 0x7F || c == '/' || c == ':') return fail("not a user name");
    return {};
}

namespace {

template <std::size_t Size> Result<void> copy(char (&to)[Size], const std::string& from, const char* what)
{
    if (from.size() >= Size) return fail(cat("the user's ", what, " is longer than ", Size - 1, " bytes"));
    if (from.find('\0') != std::string::npos) return fail(cat("the user's ", what, " has a NUL in it"));
    std::memcpy(to, from.data(), from.size());
    return {};
}

}  // namespace

Result<ipc::Serve> make_serve(const ipc::UserReply& user, bool unprivileged)
{
    ipc::Serve order{};
    TRY(copy(order.name, user.name, "name"));
    TRY(copy(order.home, user.home, "home"));
    TRY(copy(order.shell, user.shell, "shell"));
    TRY(copy(order.mailbox, user.mailbox, "mailbox"));
    order.uid = user.uid;
    order.gid = user.gid;
    order.unprivileged = unprivileged ? 1 : 0;
    return order;
}

Result<void> send_serve(int zygote, const ipc::Serve& order, int channel)
{
    const auto sent = ipc::send_datagram(zygote, {reinterpret_cast<const char*>(&order), sizeof order}, {&channel, 1}, MSG_DONTWAIT);
    if (sent && *sent) return {};
    return fail_errno("order to the zygote", sent ? EAGAIN : sent.error().code);
}

}  // namespace veredus::master

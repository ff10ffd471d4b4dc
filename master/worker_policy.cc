// Worker orders.
#include "master/worker_policy.h"

#include <sys/socket.h>

#include <cstring>

#include "lib/base/text.h"

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
    iovec io{const_cast<ipc::Serve*>(&order), sizeof order};
    alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))]{};
    msghdr message{};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    message.msg_control = space;
    message.msg_controllen = sizeof space;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &channel, sizeof channel);
    if (::sendmsg(zygote, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return fail_errno("order to the zygote");
    return {};
}

}  // namespace veredus::master

// Worker orders.
#include "master/worker_policy.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "lib/base/text.h"
#include "lib/daemon/roles.h"

namespace veredus::master {

Result<void> check_user_name(std::string_view name)
{
    if (name.empty() || name.size() >= sizeof(ipc::Serve::name)) return fail("a user name has 1 to 63 bytes");
    for (const char c : name)
        if (static_cast<unsigned char>(c) < 0x21 || c == 0x7F || c == '/' || c == ':') return fail("not a user name");
    return {};
}

Result<void> WorkerPolicy::check(const ipc::UserReply& user) const
{
    if (unprivileged) {
        if (user.uid != own_uid) return fail(cat("uid ", user.uid, " is not ours, and this instance runs without root"));
        return {};
    }
    if (user.uid == 0) return fail("uid 0 is never served: give root an alias in the aliases file");
    if (user.gid == 0) return fail("its group is root's: never served");
    if (user.uid > UINT32_MAX - 2) return fail("not a uid");
    if (user.name == daemon::root_mailbox_account) return {};    // made for this, and has nothing else
    // A process with the queue's own uid would be one step from every mail.
    for (const daemon::Account& account : daemon::accounts())
        if (!account.user.empty() && account.user == user.name) return fail("it is one of the mail system's own users");
    if (int64_t{user.uid} < minimum_uid && std::find(listed.begin(), listed.end(), user.name) == listed.end())
        return fail(cat("uid ", user.uid, " is below local_minimum_uid (", minimum_uid, ") and the user is not in local_listed_users"));
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

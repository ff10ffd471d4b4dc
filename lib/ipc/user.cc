// Encoding of questions about users and of lock requests.
#include "lib/ipc/user.h"

namespace veredus::ipc {

std::string UserRequest::encode() const { return Writer().str(name).take(); }
Result<UserRequest> UserRequest::decode(std::string_view body, std::size_t longest)
{
    Reader r(body);
    UserRequest u;
    u.name = r.str(longest);
    if (!r.done()) return fail("malformed message: user request");
    return u;
}

std::string UserReply::encode() const
{
    Writer w;
    w.u8(static_cast<uint8_t>(found)).str(name).str(home).str(shell).str(gecos).str(text).u32(uid).u32(gid).str(mailbox).u8(password_only);
    return w.take();
}

Result<UserReply> UserReply::decode(std::string_view body)
{
    Reader r(body);
    UserReply u;
    const uint8_t found = r.u8();
    u.name = r.str(max_user);
    u.home = r.str(4096);
    u.shell = r.str(4096);
    u.gecos = r.str(4096);
    u.text = r.str(4096);
    u.uid = r.u32();
    u.gid = r.u32();
    u.mailbox = r.str(4096);
    const uint8_t password_only = r.u8();
    if (!r.done() || found < 1 || found > 3 || password_only > 1) return fail("malformed message: user reply");
    u.found = static_cast<Found>(found);
    u.password_only = password_only;
    return u;
}

std::string LockRequest::encode() const { return Writer().u8(static_cast<uint8_t>(op)).str(user).take(); }
Result<LockRequest> LockRequest::decode(std::string_view body)
{
    Reader r(body);
    LockRequest l;
    const uint8_t op = r.u8();
    l.user = r.str(max_user);
    if (!r.done() || op < 1 || op > 4) return fail("malformed message: lock request");
    l.op = static_cast<Op>(op);
    return l;
}

}  // namespace veredus::ipc

// Questions about users (resolver) and for locks in /var/mail (lockd).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/ipc/message.h"

namespace veredus::ipc {

enum class UserType : uint16_t {
    resolve = 400,     // router, master -> resolver, call: UserRequest; answer: UserReply
    keep = 401,        // master -> resolver, call: UserRequest, whose name is an address; answer: UserReply, "uid:gid" of who keeps its mailbox
    lock = 500,        // worker -> lockd, call: LockRequest; answer: Status
};

// Bytes of a user's name in a question or an answer. Nobody's name is longer: whoever hears one from outside need not ask, and must not.
// The resolver takes no message that has one, nor another message from who sent it.
constexpr std::size_t max_user = 256;

struct UserRequest {
    std::string name;
    std::string encode() const;
    static Result<UserRequest> decode(std::string_view body, std::size_t longest = max_user);
};
struct UserReply {
    enum class Found : uint8_t { yes = 1, no = 2, temporary = 3 } found = Found::temporary;
    std::string name, home, shell, gecos, text;   // text: why temporary
    std::string mailbox;                          // absolute, with a slash behind a Maildir; empty: where the settings say
    uint32_t uid = 0, gid = 0;
    bool password_only = false;                   // temporary, for a line knows his password and nothing says where his mail goes
    std::string encode() const;
    static Result<UserReply> decode(std::string_view body);
};

struct LockRequest {
    // create: answered with the fd of an empty directory of lockd's, in which the peer makes the file USER as himself (0600); created:
    // lockd looks at it and moves it to its place, durably. So lockd needs no right to give files away.
    enum class Op : uint8_t { lock = 1, unlock = 2, create = 3, created = 4 } op = Op::lock;
    std::string user;                             // its uid must be the peer's (SO_PEERCRED)
    std::string encode() const;
    static Result<LockRequest> decode(std::string_view body);
};

}  // namespace veredus::ipc

// Where passwords are: the system's shadow, passwd-files, and the chain of them that the setting passdb names.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/ipc/auth.h"
#include "lib/net/address.h"

namespace veredus::auth {

struct Found {
    std::string user;                      // as the passdb spells it
    std::string password;                  // "{SCHEME}data" or a crypt(3) form; empty: nobody logs in with it
    std::string source;                    // "shadow", "passwd-file", "pam": the first word of the log line
    enum class Standing : uint8_t { good, locked, expired } standing = Standing::good;
    std::vector<net::Network> allowed;     // extra field allow_nets; empty: from everywhere
    bool judged = false;                   // there is no stored password: Passdb::judge is asked
};

// What a passdb says of a password that only it can judge.
struct Judgement {
    ipc::AuthFailure why = ipc::AuthFailure::internal;     // none: it is right, and the account may log in
    std::string text;                                      // for the log
};

class Passdb {
public:
    virtual ~Passdb() = default;
    // Nothing: no such user. An Error is temporary. May block; called from several threads.
    virtual Result<std::optional<Found>> find(const std::string& user) const = 0;
    // A password form as a user of this passdb could have it, always the same for a name: what an unknown user's password is compared
    // with, so that he costs as much time as one who exists.
    virtual std::string likely_password(std::string_view user) const = 0;
    // Has every user who can log in at all a secret for SCRAM with this hash?
    virtual bool all_scram(bool sha1) const = 0;
    // Has every user who can log in at all his password in clear, as APOP wants it (RFC 1939 §13)?
    virtual bool all_plain() const { return false; }
    // Does it judge passwords itself (PAM), and how it judges this one; an empty name: of a user who does not exist, in about the time
    // that one of a user takes. Blocks.
    virtual bool judges() const { return false; }
    virtual Judgement judge(const std::string& user, std::string_view password) const { return (void)user, (void)password, Judgement(); }
    // Changes when what is found may differ from before.
    virtual std::string stamp() const = 0;
};

}  // namespace veredus::auth

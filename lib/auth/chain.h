// The passdbs in their order, and the two questions to them: is this the password, and what is the SCRAM secret. Both block, and are asked
// on the pool's threads.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/auth/passdb.h"
#include "lib/auth/scram_secret.h"
#include "lib/ipc/auth.h"

namespace veredus::auth {

struct Verdict {
    ipc::AuthFailure why = ipc::AuthFailure::internal;     // none: the password is right, and the account may log in
    std::string source = "passdb";                         // "shadow", "passwd-file", "pam": begins the log line
    std::string text;                                      // for the log: "unknown user", "Password mismatch", …
    Found found;                                     // without its password
};

struct Secret {
    Verdict verdict;                                       // of the account as such: none when a right proof is enough
    ScramSecret secret;
    bool real = false;
};

class Chain {
public:
    using List = std::vector<std::shared_ptr<const Passdb>>;    // shared: a job on a thread may outlive a reload
    Chain(List list, std::string key) : list_(std::move(list)), key_(std::move(key)) {}
    // The first passdb that knows one of the names decides.
    Verdict check(const std::vector<std::string>& names, std::string_view password) const;
    // check() in its two parts: what costs the processor, and what only waits, if `ask` says that there is something to wait for.
    struct Looked {
        Verdict verdict;
        enum class Ask : uint8_t { nobody, judge, judge_for_show } ask = Ask::nobody;    // for_show: the verdict stands, and takes its time
    };
    Looked look(const std::vector<std::string>& names, std::string_view password) const;
    Verdict judge(Looked looked, std::string_view password) const;
    // APOP: is `digest` the MD5 of `timestamp` and the password?
    Verdict check_digest(const std::vector<std::string>& names, std::string_view timestamp, std::string_view digest) const;
    Secret scram(const std::vector<std::string>& names, tls::Digest hash) const;
    bool all_scram(bool sha1) const;
    bool all_plain() const;
    std::string stamp() const;

private:
    Result<std::optional<Found>> find(const std::vector<std::string>& names) const;
    const Passdb* a_judge() const;
    // What an unknown user's password is compared with, or who is asked about it.
    struct Cost {
        std::string form;                                  // empty: nothing to compare with
        const Passdb* judge = nullptr;
    };
    Cost cost_of(const std::string& name) const;
    ScramSecret made_up(const std::string& name, tls::Digest hash) const;
    static constexpr std::size_t usual_salt = 16;
    std::string salt_of(const std::string& name, std::size_t size = usual_salt) const;
    List list_;
    std::string key_;
};

}  // namespace veredus::auth

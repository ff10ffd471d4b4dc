// The system's accounts: getpwnam and getspnam, with what they say of locks and expiry.
#pragma once

#include <sys/types.h>

#include <mutex>

#include "lib/auth/passdb.h"

namespace veredus::auth {

// What shadow(5) says of an account, for tests without a system to break.
struct ShadowEntry {
    std::string password;
    long last_change = -1, maximum = -1, inactive = -1, expire = -1;      // days since 1970; -1: not set
};
Found::Standing standing_of(const ShadowEntry& entry, long today);

// Could an account have this name at all?
bool is_account_name(const std::string& user);
// The uid of an account (getpwnam), if there is one; an Error is temporary.
Result<std::optional<uid_t>> find_account(const std::string& user);
// Changes whenever the file does; "-": there is none.
std::string file_stamp(const char* path);
std::string accounts_stamp();                  // of /etc/passwd and /etc/shadow

class Shadow final : public Passdb {
public:
    explicit Shadow(std::string key);
    Result<std::optional<Found>> find(const std::string& user) const override;
    std::string likely_password(std::string_view user) const override;
    bool all_scram(bool) const override { return false; }
    std::string stamp() const override { return accounts_stamp(); }
private:
    std::string key_;
    mutable std::mutex mutex_;
    mutable std::string last_form_;            // of the last account that was found: an unknown user's costs as much
};

}  // namespace veredus::auth

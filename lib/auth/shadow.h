// The system's accounts: getpwnam and getspnam, with what they say of locks and expiry.
#pragma once

#include <mutex>

#include "lib/auth/passdb.h"

namespace veredus::auth {

// What shadow(5) says of an account, for tests without a system to break.
struct ShadowEntry {
    std::string password;
    long last_change = -1, maximum = -1, inactive = -1, expire = -1;      // days since 1970; -1: not set
};
Found::Standing standing_of(const ShadowEntry& entry, long today);

class Shadow final : public Passdb {
public:
    explicit Shadow(std::string key);
    Result<std::optional<Found>> find(const std::string& user) const override;
    std::string likely_password(std::string_view user) const override;
    bool all_scram(bool) const override { return false; }
    std::string stamp() const override;        // of /etc/passwd and /etc/shadow
private:
    std::string key_;
    mutable std::mutex mutex_;
    mutable std::string last_form_;            // of the last account that was found: an unknown user's costs as much
};

}  // namespace veredus::auth

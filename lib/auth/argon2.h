// Argon2 (RFC 9106) as passwords are stored with it, "$argon2id$v=19$m=65536,t=3,p=1$SALT$HASH": libargon2's, with bounds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace veredus::auth {

struct Argon2 {
    bool id = true;                                // Argon2id; else Argon2i
    uint32_t memory_kib = 65'536, passes = 3, lanes = 1;
    std::string salt, hash;                        // raw bytes

    // Nothing: not of this form, or more work than a login may be (1 GiB of memory, 16 GiB gone through in all passes).
    static std::optional<Argon2> parse(std::string_view text);
    std::string str() const;
    // Is it this password? In this thread alone, whatever `lanes` is. Waits while other threads have argon2_memory_at_once in use. An Error: no
    // memory, or a build without libargon2.
    Result<bool> matches(std::string_view password) const;
    Result<std::string> compute(std::string_view password) const;   // as many bytes as hash has
};
constexpr uint64_t argon2_memory_at_once = 512u << 20;              // of one process; a hash that wants more is computed alone
bool argon2_built_in();                                             // configure found libargon2

}  // namespace veredus::auth

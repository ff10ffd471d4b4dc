// What a server keeps of a password for SCRAM (RFC 5802 §3): enough to check a proof, not enough to make one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/tls/digest.h"

namespace veredus::auth {

struct ScramSecret {
    tls::Digest hash = tls::Digest::sha256;
    uint32_t iterations = 0;
    std::string salt, stored_key, server_key;      // raw bytes

    static ScramSecret derive(tls::Digest hash, std::string_view password, std::string salt, uint32_t iterations);   // password: after saslprep
    // Dovecot's form behind {SCRAM-SHA-256}: "4096,SALT,STOREDKEY,SERVERKEY", base64.
    static std::optional<ScramSecret> parse(tls::Digest hash, std::string_view text);
    std::string str() const;
    bool matches(std::string_view password) const;      // is it this password? (PLAIN with a SCRAM user)
};
constexpr uint32_t scram_iterations = 4096, max_scram_iterations = 1'000'000;     // RFC 7677 §4: at least 4096

}  // namespace veredus::auth

// SASL mechanisms, server side, as pure exchanges: the client's bytes in, the next step out. No I/O, no clock, no passdb.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/auth/scram_secret.h"

namespace veredus::auth {

constexpr std::size_t max_user = 255, max_password = 1024;      // RFC 4616 §2: at least 255 octets each

// What the connection can bind to (RFC 5802 §6). Empty strings: not to be had.
struct Binding {
    std::string tls_exporter;      // RFC 9266
    std::string tls_unique;        // RFC 5929, TLS 1.2 only
    bool offered = false;          // the client was offered a -PLUS mechanism
};

class Mechanism {
public:
    struct Step {
        enum class Kind : uint8_t {
            challenge,        // send data, feed what the client answers
            check_password,   // is `password` that of `user`? That decides; the exchange is over
            check_digest,     // is `password` the MD5 of `data` with the password of `user` behind it (APOP)? The exchange is over
            want_secret,      // look up the SCRAM secret of `user` and call secret()
            proven,           // `user` has proven that he knows the secret
            mismatch,         // he has not
            malformed,        // he does not speak the mechanism
        } kind = Kind::malformed;
        std::string data, user, password;
    };
    virtual ~Mechanism() = default;
    virtual Step start(std::optional<std::string_view> initial) = 0;   // once; nothing: the client sent no initial response
    virtual Step feed(std::string_view response) = 0;
    // After want_secret. For a user who has none, a made-up secret with real = false: the exchange goes on and ends in mismatch.
    virtual Step secret(const ScramSecret& secret, bool real) { (void)secret, (void)real; return {}; }
    virtual tls::Digest hash() const { return tls::Digest::sha256; }   // which secret want_secret wants
};

// "APOP" is none of SASL, but an exchange like the others (RFC 1939 §7): the challenge is the timestamp of the greeting, the response
// "NAME DIGEST".
// "PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256" and their -PLUS, in any case; null: none of ours. `nonce` is the server's part of SCRAM's:
// printable ASCII without comma.
std::unique_ptr<Mechanism> make_mechanism(std::string_view name, const Binding& binding, std::string nonce);
const std::vector<std::string>& mechanism_names();      // strongest first

// SASLprep (RFC 4013) as far as it goes without Unicode's tables: ASCII passes, control characters and what is not UTF-8 are refused, other
// spaces become SPACE, soft hyphens and zero-width characters vanish, other characters stay as they are.
std::optional<std::string> saslprep(std::string_view text);

}  // namespace veredus::auth

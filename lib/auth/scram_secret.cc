// Deriving, reading and writing of SCRAM secrets.
#include "lib/auth/scram_secret.h"

#include "lib/auth/mechanism.h"
#include "lib/base/base64.h"
#include "lib/base/text.h"

namespace veredus::auth {

ScramSecret ScramSecret::derive(tls::Digest hash, std::string_view password, std::string salt, uint32_t iterations)
{
    // RFC 5802 §3
    ScramSecret secret;
    secret.hash = hash;
    secret.iterations = iterations;
    std::string salted = tls::pbkdf2(hash, password, salt, iterations);
    secret.salt = std::move(salt);
    std::string client_key = tls::hmac(hash, salted, "Client Key");
    secret.stored_key = tls::digest(hash, client_key);
    secret.server_key = tls::hmac(hash, salted, "Server Key");
    tls::wipe(client_key);
    tls::wipe(salted);
    return secret;
}

std::optional<ScramSecret> ScramSecret::parse(tls::Digest hash, std::string_view text)
{
    const auto parts = split_on(text, ',');
    if (parts.size() != 4) return std::nullopt;
    const auto iterations = parse_number<uint32_t>(parts[0], max_scram_iterations);
    auto salt = base64_decode(parts[1]), stored = base64_decode(parts[2]), server = base64_decode(parts[3]);
    if (!iterations || *iterations == 0 || !salt || salt->empty() || salt->size() > 1024 || !stored || !server) return std::nullopt;
    if (stored->size() != tls::digest_size(hash) || server->size() != tls::digest_size(hash)) return std::nullopt;
    return ScramSecret{hash, *iterations, std::move(*salt), std::move(*stored), std::move(*server)};
}

std::string ScramSecret::str() const
{
    return cat(iterations, ',', base64_encode(salt), ',', base64_encode(stored_key), ',', base64_encode(server_key));
}

bool ScramSecret::matches(std::string_view password) const
{
    // What saslprep refuses was never made a secret; it costs its time all the same.
    auto prepared = saslprep(password);
    const bool possible = prepared.has_value();
    std::string text = possible ? std::move(*prepared) : std::string(password);
    const ScramSecret other = derive(hash, text, salt, iterations);
    tls::wipe(text);
    return tls::equal_time(other.stored_key, stored_key) && possible;
}

}  // namespace veredus::auth

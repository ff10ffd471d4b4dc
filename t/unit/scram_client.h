// The client's side of SCRAM, for tests: what RFC 5802 §3 has it compute.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/base64.h"
#include "lib/base/text.h"
#include "lib/tls/digest.h"

namespace veredus {

struct ScramClient {
    tls::Digest hash = tls::Digest::sha256;
    std::string gs2 = "n,,";          // with the authzid
    std::string binding;              // channel binding bytes behind it
    std::string user, password, nonce = "fyko+d2lbbFgONRv9qkxdawL";
    std::string bare, server_signature;

    std::string first()
    {
        bare = cat("n=", user, ",r=", nonce);
        return gs2 + bare;
    }
    std::string final(std::string_view server_first)
    {
        const auto parts = split_on(server_first, ',');
        const auto salt = base64_decode(parts.at(1).substr(2));
        const auto iterations = parse_number<uint32_t>(parts.at(2).substr(2));
        const std::string salted = tls::pbkdf2(hash, password, salt.value(), iterations.value());
        std::string proof = tls::hmac(hash, salted, "Client Key");
        const std::string without = cat("c=", base64_encode(gs2 + binding), ",", parts.at(0));
        const std::string message = cat(bare, ",", server_first, ",", without);
        const std::string signature = tls::hmac(hash, tls::digest(hash, proof), message);
        for (std::size_t i = 0; i < proof.size(); ++i) proof[i] = static_cast<char>(proof[i] ^ signature[i]);
        server_signature = cat("v=", base64_encode(tls::hmac(hash, tls::hmac(hash, salted, "Server Key"), message)));
        return cat(without, ",p=", base64_encode(proof));
    }
};

}  // namespace veredus

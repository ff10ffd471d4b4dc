// OpenSSL's digests behind strings.
#include "lib/tls/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "lib/base/panic.h"
#include "lib/base/text.h"

namespace veredus::tls {

namespace {

const EVP_MD* algorithm(Digest kind)
{
    switch (kind) {
    case Digest::sha1: return EVP_sha1();
    case Digest::sha256: return EVP_sha256();
    case Digest::sha512: return EVP_sha512();
    }
    panic("digest: no such algorithm");
}

unsigned char* bytes_of(std::string& s) { return reinterpret_cast<unsigned char*>(s.data()); }
const unsigned char* bytes_of(std::string_view s) { return reinterpret_cast<const unsigned char*>(s.data()); }

}  // namespace

std::size_t digest_size(Digest kind) { return kind == Digest::sha1 ? 20 : kind == Digest::sha256 ? 32 : 64; }

std::string digest(Digest kind, std::string_view bytes)
{
    std::string out(digest_size(kind), '\0');
    if (EVP_Digest(bytes.data(), bytes.size(), bytes_of(out), nullptr, algorithm(kind), nullptr) != 1) panic("digest: OpenSSL refuses");
    return out;
}

std::string md5_hex(std::string_view bytes)
{
    unsigned char sum[16];
    if (EVP_Digest(bytes.data(), bytes.size(), sum, nullptr, EVP_md5(), nullptr) != 1) return "";
    std::string out;
    for (const unsigned char c : sum) append(out, "0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15]);
    return out;
}

std::string hmac(Digest kind, std::string_view key, std::string_view bytes)
{
    std::string out(digest_size(kind), '\0');
    if (!HMAC(algorithm(kind), key.data(), static_cast<int>(key.size()), bytes_of(bytes), bytes.size(), bytes_of(out), nullptr))
        panic("hmac: OpenSSL refuses");
    return out;
}

std::string pbkdf2(Digest kind, std::string_view password, std::string_view salt, uint32_t iterations)
{
    std::string out(digest_size(kind), '\0');
    if (PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), bytes_of(salt), static_cast<int>(salt.size()),
                          static_cast<int>(iterations), algorithm(kind), static_cast<int>(out.size()), bytes_of(out)) != 1)
        panic("pbkdf2: OpenSSL refuses");
    return out;
}

bool equal_time(std::string_view a, std::string_view b) { return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0; }

void wipe(std::string& secret)
{
    OPENSSL_cleanse(secret.data(), secret.size());
    secret.clear();
}

}  // namespace veredus::tls

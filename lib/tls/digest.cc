// OpenSSL's digests behind strings.
#define OPENSSL_SUPPRESS_DEPRECATED    // EVP does not show the state of an MD5 under way
#include "lib/tls/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/md5.h>

#include <algorithm>

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

#if defined OPENSSL_NO_MD5 || defined OPENSSL_NO_DEPRECATED_3_0
std::string hmac_md5_state(std::string_view) { return ""; }
#else
std::string hmac_md5_state(std::string_view key)
{
    unsigned char block[MD5_CBLOCK] = {};
    if (key.size() <= sizeof block) std::copy(key.begin(), key.end(), block);
    else if (EVP_Digest(key.data(), key.size(), block, nullptr, EVP_md5(), nullptr) != 1) return "";
    std::string out;
    for (const unsigned char pad : {0x5c, 0x36}) {
        unsigned char padded[MD5_CBLOCK];
        for (std::size_t i = 0; i < sizeof block; ++i) padded[i] = block[i] ^ pad;
        MD5_CTX context;
        if (MD5_Init(&context) != 1 || MD5_Update(&context, padded, sizeof padded) != 1) return "";
        for (const MD5_LONG word : {context.A, context.B, context.C, context.D})
            for (unsigned shift = 0; shift < 32; shift += 8) out += static_cast<char>(word >> shift & 0xff);
        OPENSSL_cleanse(padded, sizeof padded);
        OPENSSL_cleanse(&context, sizeof context);
    }
    OPENSSL_cleanse(block, sizeof block);
    return out;
}
#endif

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

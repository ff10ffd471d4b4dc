// Digests and what is built on them (HMAC, PBKDF2), for passwords: OpenSSL's, behind strings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace veredus::tls {

enum class Digest : uint8_t { sha1, sha256, sha512 };

std::size_t digest_size(Digest kind);
std::string digest(Digest kind, std::string_view bytes);
std::string hmac(Digest kind, std::string_view key, std::string_view bytes);             // RFC 2104
std::string pbkdf2(Digest kind, std::string_view password, std::string_view salt, uint32_t iterations);   // RFC 8018 §5.2; digest_size bytes
std::string md5_hex(std::string_view bytes);     // for APOP (RFC 1939 §7) alone; empty: this OpenSSL has none (FIPS)
// What HMAC-MD5 (RFC 2104) with this key has after its first block: the states of the outer and of the inner MD5, 16 bytes each, as servers
// keep it for CRAM-MD5 instead of the password. Empty: this OpenSSL has no MD5.
std::string hmac_md5_state(std::string_view key);
bool equal_time(std::string_view a, std::string_view b);                                 // time depends on the sizes only
void wipe(std::string& secret);                                                          // overwritten, then empty

}  // namespace veredus::tls

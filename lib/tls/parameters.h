// Protocol versions and ciphers as settings write them, in terms of OpenSSL.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace veredus::tls {

struct Versions {
    int min = 0, max = 0;      // as OpenSSL numbers them (0x0303: TLSv1.2); 0: no bound
    uint64_t without = 0;      // SSL_OP_NO_… of those between that are left out
    bool operator==(const Versions&) const = default;
};

// ">=TLSv1.2, <=TLSv1.3", "TLSv1.2 TLSv1.3", "!SSLv2 !SSLv3 !TLSv1" (separated by blanks, commas or colons); empty: TLSv1.2 and later.
// An error when a word is unknown or no version is left.
Result<Versions> parse_protocols(std::string_view text);

// The cipher list of a grade ("high", "medium", "low", "export", "null") less the excluded ones, for TLSv1.2 and before; an error when the
// grade is unknown or an excluded name could be anything but a name.
Result<std::string> cipher_list(std::string_view grade, const std::vector<std::string>& exclude);

// "AB:CD…" or "abcd…" of any case: lower-case hex; empty when it is no fingerprint.
std::string plain_fingerprint(std::string_view text);

} // namespace veredus::tls

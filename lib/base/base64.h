// Base64 (RFC 4648 §4): whole strings, strict.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace veredus {

std::string base64_encode(std::string_view bytes);
// Nothing when a character is foreign, padding is missing or misplaced, or bits are left over that should be zero.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace veredus

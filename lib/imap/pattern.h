// Patterns of LIST: "*" is anything, "%" anything but the separator (RFC 9051 §6.3.9). Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace veredus::imap {

// The same pattern with one wildcard where several stood together: list_matches() then takes at most the square of the
// name's length.
std::string collapse_pattern(std::string_view pattern);
bool list_matches(std::string_view pattern, std::string_view name, char separator);
// One of them ends with "%": what is below the names it matches is not answered by itself.
bool hides_children(const std::vector<std::string>& patterns);
// RFC 6154 §2, RFC 8457
bool is_special_use(std::string_view use);

} // namespace veredus::imap

// Editing a passwd-file as text: one user's password changes, everything else stays byte for byte.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace veredus::admin {

// Replaces the second field of the user's line, or adds a line for him.
Result<std::string> set_password(std::string_view text, std::string_view user, std::string_view stored);
// The same with "!" in front of it, or without; an error when there is no such user, or nothing to unlock.
Result<std::string> lock_password(std::string_view text, std::string_view user, bool lock);
Result<std::string> remove_user(std::string_view text, std::string_view user);

// One line from stdin without its end; at a terminal it asks, without echo, `twice` when told. Never longer than a password may be.
Result<std::string> read_password(const std::string& prompt, bool twice);

}  // namespace veredus::admin

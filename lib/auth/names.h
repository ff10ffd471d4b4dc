// From what a client calls himself to the names under which the passdb is asked.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace veredus::auth {

using IsLocal = std::function<Result<bool>(std::string_view domain)>;

// The names in the order in which they are tried: as auth_username_format makes it, in lower case, and without its domain if that is one of ours.
Result<std::vector<std::string>> names_of(std::string_view format, std::string_view login, const IsLocal& is_local);

}  // namespace veredus::auth

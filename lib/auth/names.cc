// Spelling a user's name.
#include "lib/auth/names.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/conf/check.h"

namespace veredus::auth {

Result<std::vector<std::string>> names_of(std::string_view format, std::string_view login, const IsLocal& is_local)
{
    std::vector<std::string> names;
    const auto add = [&](std::string name) {
        if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
    };
    const std::string name = TRY(conf::format_user_name(format, login));
    add(name);
    add(lower(name));
    const auto at = name.rfind('@');
    if (at != std::string::npos && TRY(is_local(std::string_view(name).substr(at + 1)))) {
        add(name.substr(0, at));
        add(lower(name.substr(0, at)));
    }
    return names;
}

}  // namespace veredus::auth

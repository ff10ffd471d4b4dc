// Spelling a user's name.
#include "lib/auth/names.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::auth {

Result<std::string> format_name(std::string_view format, std::string_view login)
{
    const auto at = login.rfind('@');
    const std::string_view local = login.substr(0, at), domain = at == std::string_view::npos ? std::string_view() : login.substr(at + 1);
    std::string out;
    for (std::size_t i = 0; i < format.size(); ++i) {
        if (format[i] != '%') {
            out += format[i];
            continue;
        }
        char letter = ++i < format.size() ? format[i] : '\0';
        const char which_case = letter == 'L' || letter == 'U' ? letter : '\0';
        if (which_case) letter = ++i < format.size() ? format[i] : '\0';
        std::string piece;
        switch (letter) {
        case 'u': piece = login; break;
        case 'n': piece = local; break;
        case 'd': piece = domain; break;
        case '%': piece = "%"; break;
        default: return fail(cat("auth_username_format: after % stands u, n, d or %, with L or U before it, in \"", format, "\""));
        }
        out += which_case == 'L' ? lower(piece) : which_case == 'U' ? upper(piece) : piece;
    }
    return out;
}

Result<std::vector<std::string>> names_of(std::string_view format, std::string_view login, const IsLocal& is_local)
{
    std::vector<std::string> names;
    const auto add = [&](std::string name) {
        if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
    };
    const std::string name = TRY(format_name(format, login));
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

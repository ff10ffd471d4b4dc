// The fields of a passwd-file's line.
#include "lib/auth/passwd_fields.h"

#include "lib/base/text.h"

namespace veredus::auth {

std::vector<std::string_view> passwd_fields(std::string_view line)
{
    std::vector<std::string_view> fields;
    while (fields.size() < 7) {
        const auto [field, rest] = cut(line, ':');
        fields.push_back(field);
        if (!rest) return fields;
        line = *rest;
    }
    fields.push_back(line);
    return fields;
}

}  // namespace veredus::auth

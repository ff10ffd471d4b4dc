#include "lib/conf/place.h"

#include "lib/base/text.h"

namespace veredus::conf {

Diagnostic complaint_at(const std::string& origin, bool error, std::string text)
{
    const std::size_t colon = origin.rfind(':');
    const auto line = colon == std::string::npos ? std::nullopt : parse_number<unsigned>(std::string_view(origin).substr(colon + 1));
    return {error, line ? origin.substr(0, colon) : origin, line.value_or(0), std::move(text)};
}

Diagnostic complaint_about(const File& file, std::string_view name, bool error, std::string text)
{
    const auto assignment = file.assignments().find(name);
    return complaint_at(assignment == file.assignments().end() ? "default" : assignment->second.origin, error, std::move(text));
}

}  // namespace veredus::conf

// Where main.cf says something, for a complaint about it.
#pragma once

#include <string>
#include <string_view>

#include "lib/conf/values.h"

namespace veredus::conf {

// A complaint about what stands at `origin`, as Assignment has it: "/etc/veredus/main.cf:12", or "default".
Diagnostic complaint_at(const std::string& origin, bool error, std::string text);
// About a setting, where the files set it; about its default otherwise.
Diagnostic complaint_about(const File& file, std::string_view name, bool error, std::string text);

}  // namespace veredus::conf

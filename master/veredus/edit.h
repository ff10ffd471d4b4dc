// Editing main.cf as text: a setting's lines are replaced or removed, everything else stays byte for byte.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace veredus::admin {

// Sets NAME (nullopt: removes it). The first assignment is replaced in its place, later ones go (the last would win);
// comments between continuation lines stay. A name not there yet is added at the end.
std::string edit_setting(std::string_view text, std::string_view name, std::optional<std::string_view> value);
// Writes a fresh file with the old one's owner and mode (`mode` if there was none), syncs it, renames it over the old one and syncs the
// directory.
Result<void> replace_file(const std::string& path, std::string_view text, unsigned mode = 0644);

}  // namespace veredus::admin

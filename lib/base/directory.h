// The entries of a directory (readdir(3)), for everyone who reads one.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace veredus {

// One entry; `name` ends with NUL and lives until take() returns. `type` is DT_REG, DT_DIR, …, or DT_UNKNOWN when the file system does not tell.
struct DirectoryEntry {
    const char* name;
    unsigned char type;
};

// Gives each entry but "." and ".." to take(), in the file system's order, until it answers false. take() may remove the entry.
// `dir` keeps its own offset: two readers of one directory do not disturb each other. `path` is for the error's text.
Result<void> for_each_entry(int dir, std::string_view path, const std::function<bool(const DirectoryEntry&)>& take);
Result<void> for_each_entry(const std::string& path, const std::function<bool(const DirectoryEntry&)>& take);

}  // namespace veredus

// A key that outlives the process: what is made up for names that nobody has stays the same, as what is stored for users does.
#pragma once

#include <string>

#include "lib/base/result.h"

namespace veredus::authd {

// The 32 bytes of the file at `path`; where there is none, or one that others can read or write, a new one is made: mode
// 0600, and durable when this returns. Blocks.
Result<std::string> lasting_key(const std::string& path);

} // namespace veredus::authd

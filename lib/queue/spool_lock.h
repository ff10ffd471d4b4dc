// One queue manager works on a spool: two would each take the other's journal for a torn one, and deliver everything twice.
#pragma once

#include <chrono>
#include <string>

#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace veredus::queue {

// Locks the spool `base` for the life of the descriptor, or of this process: whoever is killed holds nothing. Waits up to `patience` for a
// predecessor that is ending; blocking. The error names the process that has it. A file system without locks is a warning.
Result<Fd> lock_spool(const std::string& base, std::chrono::milliseconds patience);

}  // namespace veredus::queue

// Which UIDVALIDITYs of another server a folder has taken over. Its list of UIDs grows old from then on: taken a second time, it would
// give UIDs again that stand for other mails by now (RFC 9051 §2.3.1.1).
#pragma once

#include <cstdint>
#include <string>

#include "lib/disk/disk.h"

namespace veredus::store {

// `name` in `dir` is a text file, a number a line; it need not be there.
Result<bool> is_taken(const disk::Directory& dir, const std::string& name, uint32_t uidvalidity);
// Durable when it returns. Several processes may do it at once.
Result<void> note_taken(const disk::Directory& dir, const std::string& name, uint32_t uidvalidity);

}  // namespace veredus::store

// The helper process behind PamHelper. Its channel takes descriptors: each is one end of a SOCK_SEQPACKET pair in which
// a question waits ("user NUL password"), and into which the answer goes (PamAnswer, and a text for the log).
#pragma once

#include <cstdint>
#include <string>

#include "lib/base/result.h"

namespace veredus::auth {

enum class PamAnswer : uint8_t { right = 'r', wrong = 'w', expired = 'e', locked = 'l', unavailable = 'u' };

bool pam_built_in();
// In a fresh fork: closes every other descriptor and serves until the channel ends.
[[noreturn]] void run_pam_helper(int channel, const std::string& directory, int limit_ms);
Result<void> send_descriptor(int channel, int fd);

} // namespace veredus::auth

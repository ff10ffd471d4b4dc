// authd's wall: a process that sees hashes opens no connection to anywhere.
#pragma once

#include "lib/base/result.h"

namespace veredus::authd {

// From now on, in this thread and those it starts, socket(2) makes Unix sockets only (NSS needs them), and no io_uring makes others.
// Needs PR_SET_NO_NEW_PRIVS. On a processor that this is not written for it does nothing and says false.
Result<bool> forbid_network();

}  // namespace veredus::authd

// Which Unix sockets master connects to for a role in a jail.
#pragma once

#include <string>

#include "lib/conf/values.h"

namespace veredus::master {

// An absolute path, without "." and "..", that is in lmtp_unix_sockets, lies in a folder of it, or is the next hop of one of the settings
// that choose transports.
bool may_connect(const std::string& path, const conf::Values& values);

} // namespace veredus::master

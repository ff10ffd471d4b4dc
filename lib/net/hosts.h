// hosts(5): names and their addresses.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/net/address.h"

namespace veredus::net {

using HostNames = std::map<std::string, std::vector<Address>>;   // by name in lower case; port 0

// The addresses of each name of a hosts(5) file, "localhost" included even when the file has none.
HostNames parse_host_names(std::string_view text);

}  // namespace veredus::net

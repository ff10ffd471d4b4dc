// `veredus explain`: the way of an address on paper.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "lib/conf/values.h"
#include "qmgr/router/routing.h"

namespace veredus::router {

// The tree of an address: each step with its setting, where that is set, and the line of the table; then what its aliases lead to.
// `failed`: some address does not lead anywhere.
std::string tell(const conf::File& file, const Routing& routing, const std::string& sender, const std::string& recipient, const Users& users, bool& failed);

// router --explain DIR SENDER ADDRESS...: reads the settings and tables itself, as the calling user. Returns an exit status.
int explain_main(int argc, char** argv);

}  // namespace veredus::router

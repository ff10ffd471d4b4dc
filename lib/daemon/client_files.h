// Which files the way out is made of beside main.cf: tables, certificates and passwords. They may be root's alone: smtp-client reads them
// before its jail, and master, which watches them, sends them anew when they change.
#pragma once

#include <string>
#include <vector>

#include "lib/conf/values.h"

namespace veredus::daemon {

constexpr std::string_view client_file_mark = "client:"; // before the path, in the names of watched files

std::vector<std::string> client_files(const conf::Values& values); // each path once, sorted

} // namespace veredus::daemon

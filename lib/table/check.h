// Do the tables and lists that main.cf names exist and make sense? For `veredus check`, start and reload.
#pragma once

#include <vector>

#include "lib/conf/values.h"

namespace veredus::table {

// Errors: a table that cannot be read, a network that is none. Warnings: lines of tables that are not used; tables that this
// caller, not being root, may not read. Each with the place in main.cf that names the table.
std::vector<conf::Diagnostic> check_sources(const conf::File& file);

}  // namespace veredus::table

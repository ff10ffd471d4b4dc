// Do the restriction lists of main.cf make sense, and is this host no open relay? For `veredus check`, start and reload.
#pragma once

#include <string>
#include <vector>

#include "lib/conf/values.h"

namespace veredus::reception {

// Errors: unknown restrictions, missing arguments, tables that cannot be read, lists or networks that let strangers relay. Warnings:
// restrictions that are known and not done, and actions of header_checks and its kin that would do nothing. Each with the place in main.cf. Call it only for a file that is ok().
std::vector<conf::Diagnostic> check_restrictions(const conf::File& file);

// What that says nothing of, because only a server knows it: tables and policy services whose answers can make this host an open relay.
std::vector<std::string> unjudged(const conf::Values& values);

}  // namespace veredus::reception

// What is said about aliases before a first start: root must be a person, because nothing is ever delivered as root.
#pragma once

#include <string>
#include <vector>

#include "lib/conf/values.h"

namespace veredus::admin {

// Paths of the alias files that alias_maps names (the text types; the others are no files of ours).
std::vector<std::string> alias_files(const conf::Values& values);
struct AliasAdvice {
    std::vector<std::string> problems;    // lines that do not parse, files that cannot be read
    bool root = false, postmaster = false;
};
AliasAdvice look_at_aliases(const conf::Values& values);
// Mail for root waits while root's old mailbox, as another mail system left it, is in the way: what it is and what to do;
// empty when all is well.
std::string root_mailbox_advice(const conf::Values& values, bool root_has_alias);
// The file that `veredus setup` writes where there is none: every name that a package must offer, and no person.
std::string first_aliases();

}  // namespace veredus::admin

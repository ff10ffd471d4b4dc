// header_checks and its kin of main.cf, as rules for the Inspect stage.
#pragma once

#include <memory>

#include "lib/conf/values.h"
#include "lib/queue/checks.h"
#include "lib/table/table.h"

namespace veredus::reception {

// `read`: where the text of tables comes from (lib/daemon/table_files.h). A table that cannot be read is logged, and
// mail it would have been asked about is deferred. Null: nothing is to be checked.
std::shared_ptr<const queue::CheckRules> open_checks(const conf::Values& values, const table::ReadText& read);

// Is it header_checks, body_checks or one of their kin?
bool is_checks_setting(std::string_view setting);
// "/etc/veredus/header_checks, line 3: …": actions of a table in such a setting that would not do what they were written for; 20 at most.
std::vector<std::string> action_problems(std::string_view setting, const table::Table& table);

} // namespace veredus::reception

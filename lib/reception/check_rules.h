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

} // namespace veredus::reception

// The rows of main.cf that smtpd and submission have alike (smtpd_x, submission_x), as sessions want them.
#pragma once

#include <string_view>

#include "lib/conf/values.h"
#include "lib/reception/session.h"

namespace veredus::reception {

Settings read_settings(const conf::Values& values, std::string_view prefix);   // "smtpd", "submission"

// What of them is in tables: content checks, keywords by client address, footers. `read`: where their text comes from
// (lib/daemon/table_files.h). Again whenever one of them changed. What cannot be opened is logged.
void read_tables(Settings& out, const conf::Values& values, std::string_view prefix, const table::ReadText& read);

}  // namespace veredus::reception

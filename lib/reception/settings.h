// The rows of main.cf that smtpd and submission have alike (smtpd_x, submission_x), as sessions want them.
#pragma once

#include <string_view>

#include "lib/conf/values.h"
#include "lib/reception/session.h"

namespace veredus::reception {

Settings read_settings(const conf::Values& values, std::string_view prefix);   // "smtpd", "submission"

}  // namespace veredus::reception

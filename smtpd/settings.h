// smtpd's rows of main.cf as the session room wants them.
#pragma once

#include "lib/conf/values.h"
#include "lib/reception/session.h"

namespace veredus::smtpd {

reception::Settings read_settings(const conf::Values& values);

}  // namespace veredus::smtpd

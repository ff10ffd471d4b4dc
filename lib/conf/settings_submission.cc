// Settings: the MSA role, sendmail(1) and the drop directory.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words or unit, public
    {"maildrop_scan_interval", Type::duration, "60s", submission, "how often maildrop is looked through besides being watched", 1, 86400},
};
}  // namespace

std::span<const Setting> submission_settings() { return rows; }

}  // namespace veredus::conf

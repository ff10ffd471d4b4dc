// Settings: the MX role.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words or unit, public
    {"smtpd_listen", Type::listeners, "25", master, "where smtpd listens"},
};
}  // namespace

std::span<const Setting> smtpd_settings() { return rows; }

}  // namespace veredus::conf

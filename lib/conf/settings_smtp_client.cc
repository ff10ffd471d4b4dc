// Settings: the way out.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words or unit, public
    {"smtp_helo_timeout", Type::duration, "300s", smtp_client, "time for EHLO and its answer", 1, 86400},
};
}  // namespace

std::span<const Setting> smtp_client_settings() { return rows; }

}  // namespace veredus::conf

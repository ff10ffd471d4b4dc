// Settings: the queue manager.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words or unit, public
    {"maximal_queue_lifetime", Type::duration, "5d", qmgr, "how long a mail may wait before it is returned", 0, INT64_MAX, "d"},
};
}  // namespace

std::span<const Setting> qmgr_settings() { return rows; }

}  // namespace veredus::conf

// Settings: routing.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words or unit, public
    {"alias_maps", Type::tables, "hash:" VEREDUS_ALIASES, Who(router | local | tool), "aliases(5) tables"},
    {"relayhost", Type::text, "", router, "where mail for other hosts goes; empty: to their MX hosts"},
};
}  // namespace

std::span<const Setting> router_settings() { return rows; }

}  // namespace veredus::conf

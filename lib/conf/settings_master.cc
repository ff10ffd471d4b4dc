// Settings: master and the resolver.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words or unit, public
    {"smtpd_processes", Type::number, "0", master, "how many smtpd processes; 0: one per core", 0, 64},
    {"smtp_processes", Type::number, "0", Who(master | qmgr), "how many smtp-client processes; 0: one per core", 0, 64},
    {"passdb", Type::list, "system", Who(master | resolver), "where users and passwords are: system, file:/path", 0, INT64_MAX, nullptr, false},
};
}  // namespace

std::span<const Setting> master_settings() { return rows; }

}  // namespace veredus::conf

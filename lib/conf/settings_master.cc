// Settings: master and the resolver.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words or unit, public
    {"inet_interfaces", Type::list, "all", Who(master | router | smtp_client), "addresses that listeners without one use: all, loopback-only, or a list"},
    {"inet_protocols", Type::list, "all", Who(master | smtp_client), "all, or of ipv4 and ipv6 those that are used", 0, 0, "all|ipv4|ipv6"},
    {"listen_backlog", Type::number, "1024", master, "connections that the kernel keeps until a process takes them", 1, 65535},
    {"smtpd_processes", Type::number, "0", master, "how many smtpd processes; 0: one per core", 0, 64},
    {"smtp_processes", Type::number, "0", Who(master | qmgr), "how many smtp-client processes; 0: one per core", 0, 64},
    {"passdb", Type::list, "system", Who(master | resolver | authd | tool), "where users and passwords are: system, pam, file:/path", 0, INT64_MAX, nullptr, false},
    {"auth_mechanisms", Type::list, "", authd, "SASL mechanisms; empty: those that every user of passdb can use", 0, 0, "PLAIN|LOGIN|SCRAM-SHA-256|SCRAM-SHA-256-PLUS|SCRAM-SHA-1|SCRAM-SHA-1-PLUS|APOP"},
    {"auth_username_format", Type::text, "%u", authd, "how a login name is looked up: %u whole, %n before the @, %d behind it, %Lu in lower case"},
    {"auth_cache_time", Type::duration, "60s", authd, "how long a password that was right is right without a new look; 0: never", 0, 3600},
    {"auth_failure_delay", Type::duration, "2s", authd, "how late a wrong password is answered", 0, 30},
    {"auth_threads", Type::number, "0", authd, "threads that check passwords; 0: one per core", 0, 64},
    {"anvil_rate_time_unit", Type::duration, "60s", Who(anvil | submission), "the time in which the rates of a client or a user are counted", 1, 86400},
    {"anvil_status_update_time", Type::duration, "600s", anvil, "how often the log hears of the highest rates", 1, 86400},
    {"user_cache_time", Type::duration, "10s", Who(resolver | router | local), "how long an answer about a user is kept", 0, 3600},
    {"local_minimum_uid", Type::number, "1", Who(master | resolver), "no process is started for a user with a smaller uid; 0 is never served", 1, 4294967294},
    {"local_listed_users", Type::list, "nobody", Who(master | resolver), "users that are served though their uid is below local_minimum_uid"},
    {"restart_delay", Type::duration, "1s", master, "wait before a process that died while it started is started again; doubles each time", 1, 3600},
    {"restart_delay_max", Type::duration, "60s", master, "the longest such wait", 1, 86400},
    {"start_timeout", Type::duration, "300s", master, "a process that is not ready after this is killed and started again", 1, 86400},
    {"stop_timeout", Type::duration, "10s", everyone, "time that a process has to finish when it is told to stop", 1, 3600},
    {"watchdog_timeout", Type::duration, "120s", master, "a process that answers nothing for this long is killed; 0: never", 0, 86400},
};
}  // namespace

std::span<const Setting> master_settings() { return rows; }

}  // namespace veredus::conf

// The table of roles (design.md §1): program, user, jail, neighbours, how many. Master spawns from it; setup and check read it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/conf/setting.h"
#include "lib/conf/values.h"

namespace veredus::daemon {

enum class Jail : uint8_t { none, spool, incoming, empty, mailboxes };
enum class Phase : uint8_t { intake, queue, agents };    // the order of an orderly stop

struct Role {
    const char* name;
    const char* program;           // file name in libexec
    const char* option;            // an argument, or null
    const char* user;              // "root": stays root (zygotes only)
    const char* group;
    const char* extra_groups;      // blank-separated
    Jail jail;
    Phase phase;
    conf::Who who;                 // which settings it gets
    const char* log_name;
    const char* processes;         // the setting that says how many; null: one
    const char* listeners;         // the setting that says where it listens; null: nowhere
    const char* socket;            // its listener in run_directory, or null
    uint32_t slot;                 // first slot of queue IDs; 0 also for those that make none
    const char* neighbours;        // whom it may ask for, blank-separated
    const char* files;             // watched files it gets: "resolv.conf", "passdb"; "tls": those of ROLE_tls_…, and ticket keys; "client": client_files(); "tables": table_files.h
    bool zygote;
    const char* needs = nullptr;   // a setting of listeners: when it is empty the role has nothing to do, and is not started
    bool tls() const;
    bool tables() const;
};

std::span<const Role> roles();
const Role* find_role(std::string_view name);
bool may_ask(std::string_view role, std::string_view neighbour);
// Of a login stage: the zygote of the sessions behind it ("pop3-session"); empty for every other role.
std::string session_zygote(std::string_view role);
// How many processes of the role the settings ask for, 0 when it would have nothing to do; "0: one per core".
uint32_t process_count(const Role& role, const conf::Values& values, unsigned cores);
// How many there may be of it, those of a login stage that have taken their client included.
uint32_t process_limit(const Role& role, const conf::Values& values, uint32_t count);
unsigned usable_cores();
std::string jail_path(const Role& role, const conf::Values& values);     // empty: none
// Keeps root's mailbox while root has no alias (main.cf(5), root_mailbox_user): the one account of ours that has a mailbox, and
// no role runs as it.
constexpr const char* root_mailbox_account = "veredus-root";

// Names that `veredus setup` makes: user and its primary group, and groups alone.
struct Account {
    std::string user, group;       // user empty: only the group
};
std::vector<Account> accounts();
constexpr const char* admin_group = "veredus-admin";

}  // namespace veredus::daemon

// The table of roles.
#include "lib/daemon/roles.h"

#include <sched.h>

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::daemon {

namespace {

constexpr Role table[] = {
    // name, program, option, user, group, extra groups, jail, phase, settings, log name, processes, listeners, socket, slot, neighbours, files, zygote
    {"resolver", "resolver", nullptr, "veredus-resolver", "veredus-resolver", "", Jail::none, Phase::agents, conf::resolver, "resolver",
     nullptr, nullptr, nullptr, 0, "", "passdb", false},
    {"authd", "authd", nullptr, "veredus-auth", "veredus-auth", "shadow", Jail::none, Phase::agents, conf::authd, "auth",
     nullptr, nullptr, nullptr, 0, "", "passdb", false},
    {"anvil", "anvil", nullptr, "veredus-anvil", "veredus-anvil", "", Jail::empty, Phase::agents, conf::anvil, "anvil",
     nullptr, nullptr, nullptr, 0, "", "", false},
    {"router", "router", nullptr, "veredus-router", "veredus-router", "", Jail::none, Phase::agents, conf::router, "router",
     nullptr, nullptr, nullptr, 0, "resolver", "", false},
    {"lockd", "lockd", nullptr, "veredus-lock", "mail", "", Jail::mailboxes, Phase::agents, conf::lockd, "lockd",
     nullptr, nullptr, "lockd", 0, "resolver", "", false},
    {"worker", "local-worker", nullptr, "root", "root", "", Jail::none, Phase::agents, conf::local, "local",
     nullptr, nullptr, nullptr, 0, "", "", true},
    {"local", "local", nullptr, "veredus-local", "veredus-local", "", Jail::none, Phase::agents, conf::local, "local",
     nullptr, nullptr, nullptr, 0, "worker resolver", "", false},
    {"smtp-client", "smtp-client", nullptr, "veredus-out", "veredus-out", "", Jail::empty, Phase::agents, conf::smtp_client, "smtp",
     "smtp_processes", nullptr, nullptr, 0, "", "resolv.conf client", false},
    {"qmgr", "qmgr", nullptr, "veredus-queue", "veredus-queue", "veredus-smtpd veredus-submission veredus-lmtp", Jail::spool, Phase::queue, conf::qmgr, "qmgr",
     nullptr, nullptr, "public", 120, "router smtp-client local", "", false},
    {"submission", "submission", nullptr, "veredus-submission", "veredus-submission", "veredus-drop", Jail::incoming, Phase::intake, conf::submission, "submission",
     "submission_processes", "submission_listen", nullptr, 64, "router qmgr authd anvil", "resolv.conf tls tables", false},
    {"lmtpd", "lmtpd", nullptr, "veredus-lmtp", "veredus-lmtp", "", Jail::incoming, Phase::intake, conf::smtpd, "lmtpd",    // the rows of smtpd: it is one more way in
     nullptr, "lmtp_listen", nullptr, 96, "router qmgr local", "tls", false, "lmtp_listen"},
    {"smtpd", "smtpd", nullptr, "veredus-smtpd", "veredus-smtpd", "", Jail::incoming, Phase::intake, conf::smtpd, "smtpd",
     "smtpd_processes", "smtpd_listen", nullptr, 0, "router qmgr anvil", "resolv.conf tls tables", false, "smtpd_listen"},
    {"pop3-session", "pop3d", "--session", "root", "root", "", Jail::none, Phase::agents, conf::pop3_session, "pop3",
     nullptr, nullptr, nullptr, 0, "", "", true, "pop3d_listen"},
    {"pop3d", "pop3d", nullptr, "veredus-login", "veredus-login", "", Jail::empty, Phase::intake, conf::pop3d, "pop3-login",
     "login_processes", "pop3d_listen", nullptr, 0, "authd anvil pop3-session", "tls", false, "pop3d_listen"},
    {"imap-session", "imapd", "--session", "root", "root", "", Jail::none, Phase::agents, conf::imap_session, "imap",
     nullptr, nullptr, nullptr, 0, "", "", true, "imapd_listen"},
    {"imapd", "imapd", nullptr, "veredus-login", "veredus-login", "", Jail::empty, Phase::intake, conf::imapd, "imap-login",
     "login_processes", "imapd_listen", nullptr, 0, "authd anvil imap-session", "tls", false, "imapd_listen"},
};

}  // namespace

std::span<const Role> roles() { return table; }

namespace {
bool gets(const Role& role, std::string_view word)
{
    const auto words = split(role.files, " ");
    return std::find(words.begin(), words.end(), word) != words.end();
}
}  // namespace

bool Role::tls() const { return gets(*this, "tls"); }
bool Role::tables() const { return gets(*this, "tables"); }

const Role* find_role(std::string_view name)
{
    for (const Role& role : table)
        if (name == role.name) return &role;
    return nullptr;
}

bool may_ask(std::string_view role, std::string_view neighbour)
{
    const Role* asker = find_role(role);
    if (!asker) return false;
    const auto allowed = split(asker->neighbours, " ");
    return std::find(allowed.begin(), allowed.end(), neighbour) != allowed.end();
}

std::string session_zygote(std::string_view role)
{
    const Role* asker = find_role(role);
    if (!asker || asker->zygote) return "";
    for (const auto word : split(asker->neighbours, " "))
        if (word.ends_with("-session")) return std::string(word);
    return "";
}

unsigned usable_cores()
{
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) == 0) return static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
    return 1;
}

uint32_t process_count(const Role& role, const conf::Values& values, unsigned cores)
{
    if (role.needs && values.list(role.needs).empty()) return 0;
    if (!role.processes) return 1;
    const auto asked = static_cast<uint32_t>(values.number(role.processes));
    // 64 is also how many slots of queue IDs a role has
    return std::min<uint32_t>(asked ? asked : cores, 64);
}

uint32_t process_limit(const Role& role, const conf::Values& values, uint32_t count)
{
    if (session_zygote(role.name).empty() || count == 0) return count;
    return std::max(static_cast<uint32_t>(values.number("login_process_limit")), count + 1);
}

std::string jail_path(const Role& role, const conf::Values& values)
{
    switch (role.jail) {
    case Jail::none: return "";
    case Jail::spool: return std::string(values.text("queue_directory"));
    case Jail::incoming: return cat(values.text("queue_directory"), "/incoming/", role.name);
    case Jail::empty: return cat(values.text("run_directory"), "/empty");
    case Jail::mailboxes: return std::string(values.text("mail_spool_directory"));
    }
    return "";
}

std::vector<Account> accounts()
{
    std::vector<Account> list;
    for (const Role& role : table)
        if (const auto same = [&](const Account& a) { return a.user == role.user; };
            std::string_view(role.user) != "root" && std::none_of(list.begin(), list.end(), same))    // the login stages share one
            list.push_back({role.user, role.group});
    // A group of the system that a role lives in (shadow) is made where there is none; then it opens no door.
    for (const Role& role : table)
        for (const auto group : split(role.extra_groups, " ")) list.push_back({"", std::string(group)});
    list.push_back({root_mailbox_account, root_mailbox_account});
    list.push_back({"", "veredus-drop"});
    list.push_back({"", admin_group});
    return list;
}

}  // namespace veredus::daemon

// The table of roles, and what is derived from it.
#include "t/unit/catch.h"

#include <set>

#include "lib/conf/values.h"
#include "lib/daemon/roles.h"

using namespace veredus;

TEST_CASE("the neighbour table says who may talk to whom, and nobody else may", "[daemon][roles]")
{
    const std::set<std::pair<std::string, std::string>> allowed = {
        {"smtpd", "router"}, {"smtpd", "qmgr"}, {"smtpd", "anvil"}, {"submission", "router"}, {"submission", "qmgr"}, {"submission", "authd"}, {"submission", "anvil"}, {"qmgr", "router"},
        {"qmgr", "smtp-client"}, {"qmgr", "local"}, {"router", "resolver"}, {"lockd", "resolver"}, {"local", "worker"}, {"local", "resolver"}, {"lmtpd", "router"}, {"lmtpd", "qmgr"}, {"lmtpd", "local"},
        {"pop3d", "authd"}, {"pop3d", "anvil"}, {"pop3d", "pop3-session"}, {"imapd", "authd"}, {"imapd", "anvil"}, {"imapd", "imap-session"},
    };
    for (const auto& asker : daemon::roles())
        for (const auto& target : daemon::roles()) {
            INFO(asker.name << " asks for " << target.name);
            CHECK(daemon::may_ask(asker.name, target.name) == (allowed.count({asker.name, target.name}) > 0));
        }
    CHECK_FALSE(daemon::may_ask("smtpd", ""));
    CHECK_FALSE(daemon::may_ask("smtpd", "router qmgr"));
    CHECK_FALSE(daemon::may_ask("nobody", "router"));
    CHECK_FALSE(daemon::may_ask("", ""));
}

TEST_CASE("only zygotes stay root, and every other role has a user of its own", "[daemon][roles]")
{
    std::set<std::string> users;
    for (const auto& role : daemon::roles()) {
        INFO(role.name);
        const bool root = std::string_view(role.user) == "root";
        CHECK(root == role.zygote);
        // The login stages have the same rights, and share what has them.
        if (std::string_view(role.user) == "veredus-login") {
            CHECK(role.jail == daemon::Jail::empty);
            continue;
        }
        if (!root) CHECK(users.insert(role.user).second);
        if (role.listeners) CHECK(role.jail != daemon::Jail::none);      // what strangers reach is jailed
    }
}

TEST_CASE("a login stage has its sessions, and nobody else has any", "[daemon][roles]")
{
    CHECK(daemon::session_zygote("pop3d") == "pop3-session");
    CHECK(daemon::session_zygote("imapd") == "imap-session");
    for (const char* other : {"smtpd", "submission", "authd", "pop3-session", "worker", "nobody", ""}) CHECK(daemon::session_zygote(other).empty());
    std::size_t veredus_login = 0;
    for (const auto& account : daemon::accounts()) veredus_login += account.user == "veredus-login";
    CHECK(veredus_login == 1);
}

TEST_CASE("slots of queue IDs of writers do not overlap and stay below 128", "[daemon][roles]")
{
    auto values = conf::Values::defaults();
    values.set_for_test("smtpd_processes", "64");
    std::set<uint32_t> slots;
    for (const std::string_view name : {"smtpd", "submission", "qmgr"}) {
        const auto* role = daemon::find_role(name);
        REQUIRE(role);
        for (uint32_t i = 0; i < daemon::process_count(*role, values, 200); ++i) {
            CHECK(role->slot + i < 128);
            CHECK(slots.insert(role->slot + i).second);
        }
    }
    CHECK(slots.size() == 66);
}

TEST_CASE("zero processes means one per core, and never more than there are slots", "[daemon][roles]")
{
    auto values = conf::Values::defaults();
    const auto& smtpd = *daemon::find_role("smtpd");
    values.set_for_test("smtpd_processes", "0");
    CHECK(daemon::process_count(smtpd, values, 3) == 3);
    CHECK(daemon::process_count(smtpd, values, 500) == 64);
    values.set_for_test("smtpd_processes", "5");
    CHECK(daemon::process_count(smtpd, values, 3) == 5);
    CHECK(daemon::process_count(*daemon::find_role("qmgr"), values, 3) == 1);
    CHECK(daemon::process_count(*daemon::find_role("lmtpd"), values, 3) == 0);       // lmtp_listen is empty: nothing to do
    CHECK(daemon::process_count(*daemon::find_role("imap-session"), values, 3) == 1);
}

// veredus passwd: the passwd-file as text.
#include "t/unit/catch.h"

#include "lib/auth/passwd_file.h"
#include "master/resolver/users.h"
#include "master/veredus/passwords.h"

using namespace veredus;

TEST_CASE("a password is set in its place, and nothing else of the file changes", "[veredus][passwd]")
{
    const struct {
        const char *name, *before, *user, *after;
    } cases[] = {
        {"new file", "", "alice", "alice:NEW::::::\n"},
        {"new user", "# c\nbob:x:1:2\n", "alice", "# c\nbob:x:1:2\nalice:NEW::::::\n"},
        {"no line end", "bob:x", "alice", "bob:x\nalice:NEW::::::\n"},
        {"changed", "# c\n\nalice:old:1:2:g:/h:/s:extra=a:b\r\nbob:x\n", "alice", "# c\n\nalice:NEW:1:2:g:/h:/s:extra=a:b\r\nbob:x\n"},
        {"only a password", "alice:old\nbob:x\n", "alice", "alice:NEW\nbob:x\n"},
        {"only a name", "alice\nbob:x", "alice", "alice:NEW\nbob:x"},
        {"empty", "alice::1:2\n", "alice", "alice:NEW:1:2\n"},
        {"last", "bob:x\nalice:old", "alice", "bob:x\nalice:NEW"},
        {"a longer name", "alice2:x\nmalice:x\n", "alice", "alice2:x\nmalice:x\nalice:NEW::::::\n"},
        {"commented", "#alice:old\n", "alice", "#alice:old\nalice:NEW::::::\n"},
    };
    for (const auto& c : cases) {
        INFO(c.name);
        CHECK(*admin::set_password(c.before, c.user, "NEW") == c.after);
    }
    for (const char* bad : {"", "a:b", "a\nb", "#alice", "a/b", " alice"}) CHECK_FALSE(admin::set_password("", bad, "NEW"));
}

TEST_CASE("locking puts a mark before the password and unlocking takes it away", "[veredus][passwd]")
{
    const std::string text = "bob:x\nalice:{PLAIN}y:1:2\nempty::\nnever:!\n";
    const auto locked = admin::lock_password(text, "alice", true);
    REQUIRE(locked);
    CHECK(*locked == "bob:x\nalice:!{PLAIN}y:1:2\nempty::\nnever:!\n");
    CHECK(*admin::lock_password(*locked, "alice", true) == *locked);
    CHECK(*admin::lock_password(*locked, "alice", false) == text);
    CHECK(*admin::lock_password(text, "alice", false) == text);
    CHECK_FALSE(admin::lock_password(text, "carol", true));
    CHECK_FALSE(admin::lock_password(text, "empty", false));
    CHECK_FALSE(admin::lock_password(text, "never", false));      // would open the account to nobody's password
}

TEST_CASE("a removed user's whole line goes", "[veredus][passwd]")
{
    CHECK(*admin::remove_user("a:1\nb:2\r\nc:3\n", "b") == "a:1\nc:3\n");
    CHECK(*admin::remove_user("a:1\nb:2", "b") == "a:1\n");
    CHECK(admin::remove_user("b:2\n", "b").value_or("x").empty());
    CHECK_FALSE(admin::remove_user("a:1\n", "b"));
    CHECK_FALSE(admin::remove_user("#a:1\n", "#a"));
}

TEST_CASE("a line that is there for the password alone leaves the question who he is to the next source", "[resolver]")
{
    ipc::UserReply alice;
    alice.found = ipc::UserReply::Found::yes;
    alice.name = "alice";
    alice.uid = alice.gid = 1000;
    resolver::Users users(system_clock(), 0, false, [&](const std::string& name) { return name == "alice" ? alice : ipc::UserReply{ipc::UserReply::Found::no, name, "", "", "", "", "", 0, 0}; });
    users.set_sources({"file:/f", "system"});
    users.set_file("/f", "alice:{PLAIN}x::::::\ncarol:{PLAIN}x::::::\ndave:{PLAIN}x:5:6::/d:\n");
    CHECK(users.find("alice").uid == 1000);
    CHECK(users.find("dave").uid == 5);
    CHECK(users.find("carol").found == ipc::UserReply::Found::temporary);
    CHECK(users.find("carol").text == "/f: user carol has no uid and gid, and no account of the system");
    CHECK(users.find("carol").password_only);
    CHECK_FALSE(users.find("dave").password_only);
    CHECK(users.find("erin").found == ipc::UserReply::Found::no);
    const auto before = users.take_file("/f", resolver::Users::parse_file("alice:x\ndave:x:6:root::/d\nerin:x:nobody-of-that-name:7::/e\n", false));    // as after a change
    CHECK(before.size() == 3);
    CHECK(users.find("dave").uid == 6);
    CHECK(users.find("dave").gid == 0);
    CHECK(users.find("erin").found == ipc::UserReply::Found::temporary);
    CHECK_FALSE(users.find("erin").password_only);
    CHECK(users.find("carol").found == ipc::UserReply::Found::no);
    users.set_file("/f", "alice:{PLAIN}x::::::\ncarol:{PLAIN}x::::::\ndave:{PLAIN}x:5:6::/d:\n");
    users.set_sources({"file:/f"});                       // the file alone: its users are those of the system by name
    CHECK(users.find("alice").uid == 1000);
    CHECK(users.find("dave").uid == 5);
    CHECK(users.find("carol").found == ipc::UserReply::Found::temporary);
}

// local: virtual users, from the tables to the process of the account that keeps their mailboxes.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>

#include "lib/base/text.h"
#include "lib/table/virtual_mailboxes.h"

using namespace veredus;
using namespace veredus::table;
using Kind = VirtualMailbox::Kind;

namespace {

Result<std::optional<KeeperAccount>> accounts(uid_t uid)
{
    if (uid == 5000) return std::optional(KeeperAccount{"vmail", 5000});
    if (uid == 5001) return std::optional(KeeperAccount{"shop", 6001});
    if (uid == 5002) return fail_errno("looking up uid 5002", EIO);
    return std::optional<KeeperAccount>();
}

VirtualSettings settings()
{
    VirtualSettings s;
    s.mailboxes = {"inline:{bob@v.example=v.example/bob/, box@v.example=v.example/box, @all.example=all/, up@v.example=../../etc/x, none@v.example=/}"};
    s.uids = {"static:5000"};
    s.base = "/srv/mail";
    s.delimiters = "+";
    return s;
}

VirtualMailbox find(const VirtualSettings& s, const char* address)
{
    const auto parsed = mail::parse_address(address);
    REQUIRE(parsed);
    return VirtualMailboxes(s, accounts).find(*parsed);
}

}  // namespace

TEST_CASE("a virtual user's mailbox is where the maps say", "[local][virtual]")
{
    struct Case {
        const char* address;
        Kind kind;
        const char* expected;    // path, or status
    };
    const Case cases[] = {
        {"bob@v.example", Kind::found, "/srv/mail/v.example/bob/"},   {"BOB+list@V.example", Kind::found, "/srv/mail/v.example/bob/"},
        {"box@v.example", Kind::found, "/srv/mail/v.example/box"},    {"anyone@all.example", Kind::found, "/srv/mail/all/"},
        {"carol@v.example", Kind::unknown, "5.1.1"},                  {"bob@w.example", Kind::unknown, "5.1.1"},
        {"up@v.example", Kind::deferred, "4.3.5"},
    };
    for (const Case& c : cases) {
        INFO(c.address);
        const auto found = find(settings(), c.address);
        CHECK(found.kind == c.kind);
        CHECK((c.kind == Kind::found ? found.path : found.dsn) == c.expected);
        if (c.kind == Kind::found) CHECK(found.user == "vmail");
        CHECK(found.catch_all == (std::string_view(c.address) == "anyone@all.example"));
    }
}

TEST_CASE("what a pattern says for whoever there may be is a catch-all", "[local][virtual]")
{
    char name[] = "/tmp/veredus-virtual.XXXXXX";
    const Fd file(::mkstemp(name));
    REQUIRE(write_all(file.get(), "/^ann@m\\.example$/ catch/\n/^(sales|info)@m\\.example$/ sales/\n/@m\\.example$/ catch/\n/^[a-z]+@l\\.example$/ catch/\n"
                                  "/^[a-z]+\\.[a-z]+@d\\.example$/ catch/\n/@(.*)\\.part$/ $1/\n/^(.*)@(.*)\\.each$/ $2/$1/\n"));
    VirtualSettings s = settings();
    const std::string table = cat("regexp:", static_cast<const char*>(name));
    s.mailboxes = {"inline:{kim@m.example=catch/}", GENERATE(true, false) ? table : cat("unionmap:{", table, "}")};
    for (const auto& [address, catch_all] : {std::pair{"eve@m.example", true}, {"eve+x@M.example", true}, {"ann@m.example", false}, {"kim@m.example", false}, {"kim+x@m.example", true},
                                             {"info@m.example", false}, {"eve@l.example", true}, {"eve.x@d.example", true}, {"eve@x.part", true}, {"eve@x.each", false}}) {
        INFO(address);
        const auto found = find(s, address);
        CHECK(found.kind == Kind::found);
        CHECK(found.catch_all == catch_all);
    }
    s.mailboxes = {"static:all/"};
    CHECK(find(s, "eve@m.example").catch_all);
    ::unlink(name);
}

TEST_CASE("a path out of a table leads down and is absolute", "[local][virtual]")
{
    CHECK(*virtual_path("/srv", "a/b/") == "/srv/a/b/");
    CHECK(*virtual_path("", "/srv/a") == "/srv/a");
    CHECK(*virtual_path("/srv", "a..b/...") == "/srv/a..b/...");
    for (const char* bad : {"", "..", "../x", "a/../../etc/passwd", "a/..", "a\nb", "a\x7f"}) {
        INFO(printable(bad));
        CHECK_FALSE(virtual_path("/srv", bad));
    }
    CHECK_FALSE(virtual_path("/srv", std::string("a\0b", 3)));
    CHECK_FALSE(virtual_path("", "relative/"));
    CHECK_FALSE(virtual_path("/srv", std::string(4000, 'a')));
}

TEST_CASE("what is wrong with the settings of virtual users defers their mail", "[local][virtual]")
{
    const auto refused = [](const VirtualSettings& s, const char* dsn, const char* text) {
        const auto found = find(s, "bob@v.example");
        INFO(found.text);
        CHECK(found.kind == Kind::deferred);
        CHECK(found.dsn == dsn);
        CHECK(found.text.find(text) != std::string::npos);
    };
    VirtualSettings s = settings();
    s.mailboxes.clear();
    const auto nobody = find(s, "Bob+x@V.example");     // no table: he may be a user of a passwd-file, under this name
    CHECK(nobody.kind == Kind::unknown);
    CHECK(nobody.user == "bob@v.example");
    s = settings();
    s.mailboxes = {"hash:/nonexistent/mailboxes"};
    refused(s, "4.3.0", "/nonexistent/mailboxes");
    for (const auto& [uids, dsn, text] : {std::tuple{"static:99", "4.3.5", "below virtual_minimum_uid (100)"}, {"static:0", "4.3.5", "below"},
                                         {"static:vmail", "4.3.5", "is no number"}, {"static:-1", "4.3.5", "is no number"},
                                         {"static:99999999999", "4.3.5", "is no number"}, {"static:7777", "4.3.5", "no account has uid 7777, and virtual_gid_maps is empty"},
                                         {"static:5002", "4.3.0", "looking up uid 5002"}, {"inline:{x@y=1}", "4.3.5", "has nothing for bob@v.example"},
                                         {"hash:/nonexistent/uids", "4.3.0", "/nonexistent/uids"}}) {
        s = settings();
        s.uids = {uids};
        refused(s, dsn, text);
    }
    s = settings();
    s.uids = {};
    refused(s, "4.3.5", "virtual_uid_maps has nothing");
    s = settings();
    s.gids = {"inline:{x@y=1}"};
    refused(s, "4.3.5", "virtual_gid_maps has nothing for bob@v.example");
    s.gids = {"static:0"};
    refused(s, "4.3.5", "virtual_gid_maps: gid 0 is root's");
    s.gids = {"static:5000"};
    CHECK(find(s, "bob@v.example").kind == Kind::found);
    s.uids = {"inline:{bob@v.example=5001}"};
    s.gids = {"static:6001"};
    CHECK(find(s, "bob@v.example").user == "shop");
}

TEST_CASE("ids that are no account's keep mailboxes, too, with the group of virtual_gid_maps", "[local][virtual]")
{
    VirtualSettings s = settings();
    s.uids = {"inline:{bob@v.example=7777, bob+list@v.example=7778, @all.example=5000}"};
    s.gids = {"inline:{bob@v.example=7700, @all.example=5001}"};
    const auto bob = find(s, "Bob+work@v.example");
    CHECK((bob.kind == Kind::found && bob.user == "7777:7700" && bob.uid == 7777 && bob.gid == 7700));
    CHECK(bob.path == "/srv/mail/v.example/bob/");
    CHECK(find(s, "bob+list@v.example").user == "7778:7700");
    const auto shared = find(s, "any/one@all.example");    // an account's uid with another group than its own
    CHECK((shared.user == "5000:5001" && shared.uid == 5000 && shared.gid == 5001));
    CHECK((is_ids(bob.user) && !is_ids("vmail") && !is_ids("bob@v.example")));
    const VirtualMailboxes mailboxes(s, accounts);
    const auto keeper = mailboxes.keeper({"bob+list", "v.example"});
    CHECK((keeper.kind == Kind::found && keeper.user == "7778:7700" && keeper.path.empty()));
    CHECK(mailboxes.keeper({"bob", "w.example"}).kind == Kind::deferred);
    // Who logs in has no extension.
    CHECK(mailboxes.find({"bob+list", "v.example"}, "").kind == Kind::unknown);
}

TEST_CASE("what a stranger writes leads nowhere that a pattern's mailboxes are not", "[local][virtual][hostile]")
{
    char name[] = "/tmp/veredus-virtual.XXXXXX";
    const Fd file(::mkstemp(name));
    REQUIRE(write_all(file.get(), "/^(.*)@re\\.example$/ re/$1/\n/^(.)(.*)@one\\.example$/ one/$1/$2/\n"));
    const timespec times[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};    // nobody is writing it any more
    REQUIRE(::futimens(file.get(), times) == 0);
    VirtualSettings s = settings();
    const char* type = GENERATE("regexp:", "unionmap:{regexp:");
    const bool plain = std::string_view(type) == "regexp:";
    s.mailboxes = {"inline:{own/er@re.example=own/}", cat(type, name, plain ? "" : "}")};
    struct Case {
        const char* address;
        const char* path;    // "": nobody
    };
    for (const Case& c : {Case{"bob@re.example", "/srv/mail/re/bob/"}, {"b.o@re.example", "/srv/mail/re/b.o/"}, {"bob/.Sent@re.example", ""}, {"bob/cur@re.example", ""},
                          {"/@re.example", ""}, {".@re.example", ""}, {"\".\"@re.example", ""}, {"..@re.example", ""}, {"\"\"@re.example", ""}, {".+x@re.example", ""},
                          {"own/er@re.example", "/srv/mail/own/"}, {"bo@one.example", "/srv/mail/one/b/o/"}, {"b@one.example", ""}, {".o@one.example", ""}}) {
        INFO(c.address);
        const auto found = find(s, c.address);
        CHECK(found.path == c.path);
        CHECK(found.kind == (*c.path ? Kind::found : Kind::unknown));
        const auto parsed = mail::parse_address(c.address);
        const auto chain = Chain::open(s.mailboxes);
        REQUIRE((parsed && chain));
        const auto hit = find_virtual_mailbox(*chain, *parsed, "+");
        REQUIRE(hit);
        CHECK(hit->has_value() == (*c.path != 0));
    }
    // What is the same for all has nothing of theirs.
    s.mailboxes = {"unionmap:{static:all/}"};
    CHECK(find(s, "a/b@all.example").path == "/srv/mail/all/");
    for (auto VirtualSettings::* ids : {&VirtualSettings::uids, &VirtualSettings::gids}) {
        VirtualSettings t = settings();
        t.gids = {"static:5000"};
        t.mailboxes = {"static:all/"};
        const Fd numbers(::open(name, O_WRONLY | O_TRUNC | O_CLOEXEC));
        REQUIRE(write_all(numbers.get(), "/^u([0-9]+)@/ $1\n/^plain@/ 5000\n"));
        t.*ids = {cat(type, name, plain ? "" : "}")};
        const auto chosen = find(t, "u5001@v.example");
        CHECK((chosen.kind == Kind::deferred && chosen.dsn == "4.3.5"));
        CHECK(chosen.text.find("a pattern with $1 is not taken") != std::string::npos);
    }
    ::unlink(name);
}

TEST_CASE("changed tables of virtual users are in force at once", "[local][virtual]")
{
    char name[] = "/tmp/veredus-virtual.XXXXXX";
    const Fd file(::mkstemp(name));
    VirtualSettings s = settings();
    s.mailboxes = {cat("hash:", name)};
    REQUIRE(write_all(file.get(), "bob@v.example one/\n"));
    VirtualMailboxes mailboxes(s, accounts);
    CHECK(mailboxes.find({"bob", "v.example"}).path == "/srv/mail/one/");
    const std::string other = cat(name, ".new");
    std::ofstream(other) << "bob@v.example another/\n";
    REQUIRE(::rename(other.c_str(), name) == 0);
    mailboxes.refresh();
    CHECK(mailboxes.find({"bob", "v.example"}).path == "/srv/mail/another/");
    ::unlink(name);
}

TEST_CASE("while virtual_mailbox_maps cannot be read nobody is unknown, and who was in it is served", "[local][virtual]")
{
    char name[] = "/tmp/veredus-virtual.XXXXXX";
    const Fd file(::mkstemp(name));
    VirtualSettings s = settings();
    s.mailboxes = {cat("hash:", name)};
    REQUIRE(write_all(file.get(), "bob@v.example one/\n"));
    const timespec times[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
    REQUIRE(::futimens(file.get(), times) == 0);
    VirtualMailboxes mailboxes(s, accounts);
    const auto carol = [&] {
        mailboxes.refresh();
        return mailboxes.find({"carol", "v.example"});
    };
    CHECK(carol().kind == Kind::unknown);
    const std::string away = cat(name, ".away");
    REQUIRE(::rename(name, away.c_str()) == 0);
    const auto waits = carol();
    CHECK((waits.kind == Kind::deferred && waits.dsn == "4.3.0"));
    CHECK(waits.text.find(name) != std::string::npos);
    CHECK(mailboxes.find({"bob", "v.example"}).kind == Kind::found);
    REQUIRE(::rename(away.c_str(), name) == 0);
    CHECK(carol().kind == Kind::unknown);
    ::unlink(name);
}

TEST_CASE("the system's accounts are found by number", "[local][virtual]")
{
    const auto root = VirtualMailboxes::system_account(0);
    REQUIRE(root);
    REQUIRE(*root);
    CHECK((*root)->name == "root");
    const auto nobody = VirtualMailboxes::system_account(3999999999);
    REQUIRE(nobody);
    CHECK_FALSE(*nobody);
}

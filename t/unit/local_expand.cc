// local: what aliases and .forward files expand to.
#include "t/unit/catch.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "lib/base/text.h"
#include "local/expand.h"
#include "local/forward.h"

using namespace veredus;
using namespace veredus::local;

namespace {

struct World {
    std::map<std::string, std::string, std::less<>> aliases;
    std::map<std::string, Include> files;
    std::string broken;
    Policy policy;
    World()
    {
        policy.origin = "example.org";
        policy.delimiters = "+";
        policy.is_local = [](std::string_view domain) -> Result<bool> { return domain == "example.org" || domain == "localhost"; };
    }
    Sources sources()
    {
        Sources s;
        s.alias = [this](std::string_view name) -> Result<std::optional<Targets>> {
            if (!broken.empty()) return fail(broken);
            const auto it = aliases.find(name);
            if (it == aliases.end()) return std::optional<Targets>();
            auto targets = table::parse_targets(it->second);
            REQUIRE(targets);
            return std::optional<Targets>(*targets);
        };
        s.include = [this](const std::string& path) -> Result<Include> {
            const auto it = files.find(path);
            if (it == files.end()) return fail("no such list");
            return it->second;
        };
        return s;
    }
    Expansion expand(std::string_view local, bool null_sender = false) { return expand_alias(policy, sources(), local, "example.org", null_sender); }
};

std::string show(const Expansion& e)
{
    static const char* kinds[] = {"", "mailbox ", "|", "file "};
    switch (e.kind) {
    case Expansion::Kind::none: return "none";
    case Expansion::Kind::deferred: return cat("deferred ", e.dsn);
    case Expansion::Kind::failed: return cat("failed ", e.dsn);
    case Expansion::Kind::expanded: break;
    }
    std::string out;
    for (const auto& c : e.children) {
        append(out, out.empty() ? "" : " ", kinds[static_cast<int>(c.kind)], c.text);
        if (!c.run_as.empty()) append(out, " as ", c.run_as);
        if (c.sender != "-") append(out, " from ", c.sender);
    }
    return out;
}

Targets targets(std::string_view text)
{
    auto t = table::parse_targets(text);
    REQUIRE(t);
    return *t;
}

struct TempHome {
    std::string path;
    TempHome()
    {
        char name[] = "/tmp/veredus-home.XXXXXX";
        path = ::mkdtemp(name);
    }
    ~TempHome() { (void)std::system(cat("rm -rf ", path).c_str()); }
    void write(const std::string& name, const std::string& text, mode_t mode = 0600) const
    {
        const std::string file = path + "/" + name;
        std::ofstream(file) << text;
        REQUIRE(::chmod(file.c_str(), mode) == 0);
    }
};

}  // namespace

TEST_CASE("aliases expand as Postfix's do", "[local][alias]")
{
    World w;
    w.aliases = {
        {"one", "alice"},
        {"two", "alice, bob@elsewhere.net"},
        {"chain", "one, carol"},
        {"self", "self, archive@elsewhere.net"},
        {"a", "b"},
        {"b", "a"},
        {"cmd", "\"|/usr/bin/vacation alice\""},
        {"box", "/var/log/mails"},
        {"final", "\\alice"},
        {"dup", "alice, alice@example.org, Alice@EXAMPLE.ORG"},
        {"full", "one@example.org, one@other.net, one@localhost"},
        {"list", "alice, bob"},
        {"owner-list", "carol"},
        {"x-request", "alice"},
        {"owner-x-request", "carol"},
        {"nested", "list, dave"},
        {"diamond", "one, one, chain"},
        {"plus", "alice+inbox"},
    };
    struct Case {
        const char *name, *expands_to;
    };
    const Case cases[] = {
        {"nobody-here", "none"},
        {"one", "alice@example.org"},
        {"ONE", "alice@example.org"},
        {"one+ext", "alice@example.org"},                       // propagate_unmatched_extensions does not name alias
        {"two", "alice@example.org bob@elsewhere.net"},
        {"chain", "alice@example.org carol@example.org"},
        {"self", "mailbox self archive@elsewhere.net"},
        {"a", "mailbox a"},                                     // comes back to itself: that user's mailbox
        {"cmd", "|/usr/bin/vacation alice"},
        {"box", "file /var/log/mails"},
        {"final", "mailbox \\alice"},
        {"dup", "alice@example.org Alice@example.org"},
        {"full", "alice@example.org one@other.net"},
        {"list", "alice@example.org from owner-list@example.org bob@example.org from owner-list@example.org"},
        {"owner-list", "carol@example.org"},
        {"x-request", "alice@example.org"},                     // owner_request_special
        {"nested", "alice@example.org from owner-list@example.org bob@example.org from owner-list@example.org dave@example.org"},
        {"diamond", "alice@example.org carol@example.org"},
        {"plus", "alice+inbox@example.org"},
    };
    for (const Case& c : cases) {
        INFO(c.name);
        CHECK(show(w.expand(c.name)) == c.expands_to);
    }
    CHECK(show(w.expand("list", true)) == "alice@example.org bob@example.org");    // a bounce stays without a sender
    w.policy.owners = false;                                                        // owner_request_special = no
    CHECK(show(w.expand("list")) == "alice@example.org bob@example.org");
}

TEST_CASE("lists are read with their owner's rights and no more", "[local][alias]")
{
    World w;
    w.aliases = {{"news", ":include:/lists/news"}, {"again", "news"}, {"loop", ":include:/lists/loop"}, {"gone", "alice, :include:/lists/gone"}};
    w.files["/lists/news"] = {targets("alice\nbob@elsewhere.net, :include:/lists/more\n"), "lister"};
    w.files["/lists/more"] = {targets("carol\n"), ""};
    w.files["/lists/loop"] = {targets("dave, :include:/lists/loop"), ""};
    CHECK(show(w.expand("news")) == "alice@example.org bob@elsewhere.net carol@example.org");
    CHECK(show(w.expand("again")) == show(w.expand("news")));
    CHECK(show(w.expand("loop")) == "failed 5.4.6");
    CHECK(show(w.expand("gone")) == "deferred 4.3.5");          // nobody gets it before all can
    w.files["/lists/news"] = {targets("\"|/bin/cat\""), "lister"};
    CHECK(show(w.expand("news")) == "failed 5.7.1");            // allow_mail_to_commands has no include
    w.policy.commands.include = true;
    CHECK(show(w.expand("news")) == "|/bin/cat as lister");
    w.policy.files.alias = false;
    w.aliases["box"] = "/tmp/box";
    CHECK(show(w.expand("box")) == "failed 5.7.1");
}

TEST_CASE("a broken table defers, and too long a chain fails", "[local][alias]")
{
    World w;
    for (int i = 0; i < 100; ++i) w.aliases[cat("n", i)] = cat("n", i + 1);
    CHECK(show(w.expand("n0")) == "failed 5.4.6");
    CHECK(show(w.expand("n70")) == "n100@example.org");
    std::string many;
    for (std::size_t i = 0; i <= max_children; ++i) append(many, i ? ", u" : "u", i);
    w.files["/l"] = {*table::parse_targets(many, 2 * max_children), ""};
    w.aliases["many"] = ":include:/l";
    CHECK(show(w.expand("many")) == "failed 5.3.5");
    w.broken = "disk on fire";
    CHECK(show(w.expand("n0")) == "deferred 4.3.0");
}

TEST_CASE("a .forward speaks for its user only", "[local][forward]")
{
    World w;
    w.aliases = {{"carol", "dave"}};
    struct Case {
        const char *text, *expands_to;
    };
    const Case cases[] = {
        {"bob@elsewhere.net", "bob@elsewhere.net"},
        {"alice", "mailbox \\alice"},                           // his own name is his mailbox
        {"Alice@example.org", "mailbox \\alice"},
        {"\\alice, bob@elsewhere.net", "mailbox \\alice bob@elsewhere.net"},
        {"carol", "carol@example.org"},                         // its alias is asked when its turn comes
        {"\\carol", "mailbox \\carol"},
        {"|/usr/bin/procmail", "|/usr/bin/procmail as alice"},
        {"\"|exec /usr/bin/procmail -f- || exit 75\"", "|exec /usr/bin/procmail -f- || exit 75 as alice"},
        {"/home/alice/mbox", "file /home/alice/mbox as alice"},
        {"# only a comment\nbob@elsewhere.net\n", "bob@elsewhere.net"},
    };
    for (const Case& c : cases) {
        INFO(c.text);
        CHECK(show(expand_forward(w.policy, w.sources(), targets(c.text), "alice")) == c.expands_to);
    }
    w.files["/home/alice/list"] = {targets("x@elsewhere.net, \"|/bin/cat\""), "mallory"};
    w.policy.commands.include = true;
    CHECK(show(expand_forward(w.policy, w.sources(), targets(":include:/home/alice/list"), "alice")) == "x@elsewhere.net |/bin/cat as alice");
}

TEST_CASE("forward_path: the extension's file first, never another directory", "[local][forward]")
{
    const char* setting = "$home/.forward${recipient_delimiter}${extension}, $home/.forward";
    ForwardNames names{"/home/alice", "alice", "/bin/sh", "", "example.org", "alice", "alice@example.org", "+"};
    CHECK(forward_paths(setting, names) == std::vector<std::string>{"/home/alice/.forward"});
    names.extension = "list";
    CHECK(forward_paths(setting, names) == std::vector<std::string>{"/home/alice/.forward+list", "/home/alice/.forward"});
    names.extension = "../../etc/passwd";
    CHECK(forward_paths(setting, names)[0] == "/home/alice/.forward+.._.._etc_passwd");
    CHECK(forward_paths("/var/forward/$user ${extension?/var/ext/$user}", names) == std::vector<std::string>{"/var/forward/alice", "/var/ext/alice"});
    names.extension.clear();
    CHECK(forward_paths("/a/$user ${extension?/b} ${extension:/c}", names) == std::vector<std::string>{"/a/alice", "/c"});
    CHECK(forward_paths("$home/$nonsense relative/$user ${unclosed", names).empty());
    CHECK(delimiter_in("alice-list+x", "+-") == "-");        // of several, the one that the address has
    CHECK(delimiter_in("alice+list", "+-") == "+");
    CHECK(delimiter_in("alice", "-+") == "-");
    CHECK(delimiter_in("alice-x", "").empty());
}

TEST_CASE("a .forward is believed when it is its user's alone", "[local][forward]")
{
    TempHome home;
    const std::string path = home.path + "/.forward";
    const uid_t me = ::getuid();
    const gid_t group = ::getgid();
    using Kind = ForwardFile::Kind;
    CHECK(read_forward({path}, me, group).kind == Kind::none);
    home.write(".forward", "bob@elsewhere.net\n");
    const auto good = read_forward({home.path + "/absent", path}, me, group);
    REQUIRE(good.kind == Kind::found);
    CHECK(good.path == path);
    CHECK(good.targets.size() == 1);
    SECTION("everyone may write: passed over, and said")
    {
        home.write(".forward", "bob@elsewhere.net\n", 0606);
        const auto file = read_forward({path}, me, group);
        CHECK(file.kind == Kind::none);
        CHECK(file.ignored.find("everyone may write") != std::string::npos);
    }
    SECTION("its group may write")
    {
        home.write(".forward", "bob@elsewhere.net\n", 0660);
        CHECK(read_forward({path}, me, group + 1).kind == Kind::none);
    }
    SECTION("someone else's")
    {
        // root's own would be believed: only another user's is not
        if (me != 0) CHECK(read_forward({path}, me + 1, group).kind == Kind::none);
    }
    SECTION("a directory, a fifo") 
    {
        REQUIRE(::unlink(path.c_str()) == 0);
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        CHECK(read_forward({path}, me, group).kind == Kind::none);
        REQUIRE(::unlink(path.c_str()) == 0);
        REQUIRE(::mkdir(path.c_str(), 0700) == 0);
        CHECK(read_forward({path}, me, group).kind == Kind::none);
    }
    SECTION("empty is none, nonsense and too much defer")
    {
        home.write(".forward", "");
        CHECK(read_forward({path}, me, group).kind == Kind::none);
        home.write(".forward", "\"unclosed\n");
        CHECK(read_forward({path}, me, group).kind == Kind::deferred);
        home.write(".forward", std::string(max_forward_size + 1, '#'));
        CHECK(read_forward({path}, me, group).kind == Kind::deferred);
    }
}

TEST_CASE("an include file that everyone may write to is no list", "[local][alias]")
{
    TempHome home;
    home.write("list", "alice\n", 0644);
    CHECK(read_include(home.path + "/list", 1000));
    home.write("list", "alice\n", 0666);
    const auto refused = read_include(home.path + "/list", 1000);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().text.find("chmod o-w") != std::string::npos);
    CHECK_FALSE(read_include("relative", 1000));
    CHECK_FALSE(read_include(home.path, 1000));
    home.write("list", std::string(2000, 'a'), 0644);
    CHECK_FALSE(read_include(home.path + "/list", 1000));
}

TEST_CASE("an extension goes on to the members where propagate_unmatched_extensions says so", "[local][expand]")
{
    World w;
    w.aliases = {{"one", "alice, bob@elsewhere.net, \\carol, \"|/bin/cat\""}, {"one+own", "dave"}, {"chain", "one"}, {"news", ":include:/lists/news"}};
    w.files["/lists/news"] = {targets("alice, bob@elsewhere.net"), ""};
    struct Case {
        std::vector<std::string> words;
        const char *name, *expands_to;
    };
    const Case cases[] = {
        {{"canonical", "virtual"}, "one+x", "alice@example.org bob@elsewhere.net mailbox \\carol |/bin/cat"},
        {{"Alias"}, "one+x", "alice+x@example.org bob+x@elsewhere.net mailbox \\carol |/bin/cat"},
        {{"alias"}, "one", "alice@example.org bob@elsewhere.net mailbox \\carol |/bin/cat"},
        {{"alias"}, "one+own", "dave@example.org"},                       // the extension was matched
        {{"alias"}, "chain+x", "alice+x@example.org bob+x@elsewhere.net mailbox \\carol |/bin/cat"},
        {{"alias"}, "chain+own", "dave@example.org"},
        {{"alias"}, "news+x", "alice@example.org bob@elsewhere.net"},     // stops at a list that is not named
        {{"alias", "include"}, "news+x", "alice+x@example.org bob+x@elsewhere.net"},
        {{"include"}, "news+x", "alice@example.org bob@elsewhere.net"},
    };
    for (const Case& c : cases) {
        INFO(c.name << " " << c.words.front());
        w.policy.propagate = Allowed::among(c.words);
        CHECK(show(w.expand(c.name)) == c.expands_to);
    }
    const Targets own = targets("\\alice, alice, bob@elsewhere.net");
    w.policy.propagate = Allowed::among({"forward"});
    CHECK(show(expand_forward(w.policy, w.sources(), own, "alice", "+x")) == "mailbox \\alice bob+x@elsewhere.net");
    w.policy.propagate = Allowed::among({"alias"});
    CHECK(show(expand_forward(w.policy, w.sources(), own, "alice", "+x")) == "mailbox \\alice bob@elsewhere.net");
}

TEST_CASE("expand_owner_alias makes the owner himself the sender, when there is one", "[local][expand]")
{
    World w;
    w.aliases = {{"list", "bob"}, {"owner-list", "carol"}, {"two", "bob"}, {"owner-two", "carol, dave"}, {"cmd", "bob"}, {"owner-cmd", "\"|x\""}};
    CHECK(show(w.expand("list")) == "bob@example.org from owner-list@example.org");
    w.policy.expand_owner = true;
    CHECK(show(w.expand("list")) == "bob@example.org from carol@example.org");
    CHECK(show(w.expand("two")) == "bob@example.org from owner-two@example.org");
    CHECK(show(w.expand("cmd")) == "bob@example.org from owner-cmd@example.org");
    CHECK(show(w.expand("list", true)) == "bob@example.org");    // a bounce keeps its empty sender
}

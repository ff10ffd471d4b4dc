// local: what aliases and .forward files expand to.
#include "t/unit/catch.h"

#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>

#include "lib/base/text.h"
#include "lib/queue/child.h"
#include "local/expand.h"
#include "local/forward.h"

using namespace veredus;
using namespace veredus::local;

namespace {

struct World {
    std::map<std::string, std::string, std::less<>> aliases;
    std::map<std::string, Owner, std::less<>> owners;    // of aliases; others are root's
    std::map<std::string, Include> files;
    std::string broken;
    int reads = 0;
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
        s.alias = [this](std::string_view name) -> Result<std::optional<Alias>> {
            if (!broken.empty()) return fail(broken);
            const auto it = aliases.find(name);
            if (it == aliases.end()) return std::optional<Alias>();
            auto targets = table::parse_targets(it->second);
            REQUIRE(targets);
            const auto owner = owners.find(name);
            return std::optional(Alias{std::move(*targets), owner == owners.end() ? Owner() : owner->second});
        };
        s.include = [this](const std::string& path) -> Result<Include> {
            ++reads;
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
    CHECK(show(w.expand("loop")) == "dave@example.org");        // a list that names itself is read once, as Postfix does
    CHECK(show(w.expand("gone")) == "deferred 4.3.5");          // nobody gets it before all can
    w.files["/lists/news"] = {targets("\"|/bin/cat\""), "lister"};
    CHECK(show(w.expand("news")) == "failed 5.7.1");            // allow_mail_to_commands has no include
    w.policy.commands.include = true;
    CHECK(show(w.expand("news")) == "|/bin/cat as lister");
    w.policy.files.alias = false;
    w.aliases["box"] = "/tmp/box";
    CHECK(show(w.expand("box")) == "failed 5.7.1");
}

TEST_CASE("an alias has the rights of its own table's owner, whatever leads to it", "[local][alias]")
{
    World w;
    w.aliases = {{"news", ":include:/l/news"}, {"archive", "\"|/bin/archive\", /var/archive"}, {"lists", "\"|/usr/lib/mailman post\", ~/box, :include:/l/ours, archive"}, {"up", "lists"}, {"homeless", "alice, ~/box"}};
    w.owners = {{"lists", {"list", "/var/lib/mailman"}}, {"up", {"mallory", "/home/mallory"}}};
    w.files["/l/news"] = {targets("alice, archive"), {"bob", "/home/bob"}};
    w.files["/l/ours"] = {targets("\"|/bin/cat\", ~/other"), {"root2", "/"}};
    // commands are not for lists; those of an alias that a list names are
    CHECK(show(w.expand("news")) == "alice@example.org |/bin/archive file /var/archive");
    w.policy.commands.include = w.policy.files.include = true;
    const std::string ours = "|/usr/lib/mailman post as list file /var/lib/mailman/box as list |/bin/cat as list file /var/lib/mailman/other as list |/bin/archive file /var/archive";
    CHECK(show(w.expand("lists")) == ours);
    CHECK(show(w.expand("up")) == ours);
    CHECK(show(w.expand("homeless")) == "alice@example.org homeless@example.org as error:5.1.3 alias homeless, line 1: there is no home directory for ~/");
    w.aliases["plain"] = ":include:/l/ours";
    CHECK(show(w.expand("plain")) == "|/bin/cat as root2 file /other as root2");
    // of a .forward, and of lists that it names
    w.files["/home/alice/list"] = {targets("~/a, \"~/My Mail/\", ~bob/box"), ""};
    CHECK(show(expand_forward(w.policy, w.sources(), targets("~/box, :include:/home/alice/list"), "alice", {}, {}, "/home/alice")) ==
          "file /home/alice/box as alice file /home/alice/a as alice file /home/alice/My Mail/ as alice ~bob/box@example.org");
}

TEST_CASE("a list is read once for each user whose rights it has", "[local][alias]")
{
    World w;
    w.policy.commands.include = true;
    // each names the next one twice: 2^40 ways to the last
    for (int i = 0; i < 40; ++i) w.files[cat("/l/", i)] = {targets(i == 39 ? std::string("bob") : cat(":include:/l/", i + 1, "\n:include:/l/", i + 1)), "mallory"};
    w.files["/lists/a"] = {targets("carol, :include:/lists/b"), "alice"};
    w.files["/lists/b"] = {targets("dave, :include:/lists/a"), "bob"};
    w.files["/lists/cmd"] = {targets("\"|/bin/cat\""), "alice"};
    w.files["/lists/root"] = {targets(":include:/lists/cmd"), ""};
    w.files["/lists/bob"] = {targets(":include:/lists/cmd"), "bob"};
    w.aliases = {{"many", ":include:/l/0"}, {"each-other", ":include:/lists/a, :include:/lists/b"}, {"of-root", ":include:/lists/root"},
                 {"of-both", ":include:/lists/root, :include:/lists/bob, :include:/lists/cmd"}};
    CHECK(show(w.expand("many")) == "bob@example.org");
    CHECK(w.reads == 40);
    CHECK(show(w.expand("each-other")) == "carol@example.org dave@example.org");
    CHECK(show(w.expand("of-root")) == "|/bin/cat as alice");       // root gives it to its owner, also by a list
    CHECK(show(w.expand("of-both")) == "|/bin/cat as alice |/bin/cat as bob");
    w.reads = 0;
    CHECK(show(expand_forward(w.policy, w.sources(), targets(":include:/l/0, :include:/l/0"), "mallory")) == "bob@example.org");
    CHECK(w.reads == 40);
}

TEST_CASE("what an expansion may take is bounded; beyond that the mail waits and the log says what to do", "[local][alias]")
{
    World w;
    std::string five;
    for (int i = 0; i < 5; ++i) {
        w.files[cat("/l/", i)] = {targets(cat("u", i)), {}, 0, 100};
        append(five, i ? ", " : "", ":include:/l/", i);
    }
    w.aliases["five"] = five;
    CHECK(w.expand("five").children.size() == 5);
    w.policy.bounds.lists = 3;
    auto e = w.expand("five");
    CHECK(show(e) == "deferred 4.3.5");
    CHECK(e.text == ":include:/l/3: more than 3 lists in one expansion; join some of them");
    w.policy.bounds = {};
    w.policy.bounds.list_bytes = 150;
    e = w.expand("five");
    CHECK(show(e) == "deferred 4.3.5");
    CHECK(e.text.starts_with(":include:/l/2: the lists of one expansion have more than 150 bytes"));
    w.policy.bounds = {};
    w.policy.bounds.targets = 9;
    CHECK(show(w.expand("five")) == "deferred 4.3.5");              // five lists and five members
    w.policy.bounds.targets = 10;
    CHECK(w.expand("five").children.size() == 5);
    w.policy.bounds.list_time = std::chrono::milliseconds(0);
    w.reads = 0;
    CHECK(show(w.expand("five")) == "deferred 4.3.5");
    CHECK(w.reads == 0);
    w.policy.bounds = {};
    std::string long_list, longer, commands;
    for (int i = 0; i < 12'000; ++i) append(long_list, "user", i, "@elsewhere.net\n");
    w.files["/long"] = {targets(long_list), {}, 0, long_list.size()};
    w.aliases["long"] = ":include:/long";
    CHECK(w.expand("long").children.size() == 12'000);
    CHECK(expand_forward(w.policy, w.sources(), targets(":include:/long"), "alice").text == ":include:/long, line 10001: more than 10000 recipients in one expansion; make several aliases of it");
    for (int i = 0; i < 30'000; ++i) append(longer, "user", i, "@elsewhere.example\n");
    w.files["/longer"] = {targets(longer), {}, 0, longer.size()};
    w.aliases["both"] = ":include:/longer, :include:/long, :include:/longest";
    CHECK(w.expand("both").kind == Expansion::Kind::deferred);    // no such list
    w.files["/longest"] = {targets("one@third.example"), {}, 0, 10};
    CHECK(w.expand("both").children.size() == 42'001);
    for (int i = 0; i < 2'500; ++i) append(commands, "/", i, "/", std::string(4000, 'x'), "\n");
    w.policy.files.include = true;
    w.files["/commands"] = {targets(commands), {}, 0, commands.size()};
    w.aliases["wide"] = ":include:/commands";
    CHECK(show(w.expand("wide")) == "deferred 4.3.5");
    CHECK(w.expand("wide").text.find("have more than 8388608 bytes together") != std::string::npos);
    for (int i = 0; i < 60; ++i) w.files[cat("/deep/", i)] = {targets(cat("u@elsewhere.net, :include:/deep/", i + 1)), "mallory"};
    w.aliases["deep"] = "alice, :include:/deep/0";
    e = w.expand("deep");
    CHECK(show(e) == "deferred 4.4.6");
    CHECK(e.text.starts_with(":include:/deep/50: nested deeper than 50"));
}

TEST_CASE("what no queue would take waits for who wrote it, and the verdict shows nothing of it", "[local][alias][forward]")
{
    World w;
    w.policy.commands.include = true;
    const std::string longest(4096, 'c');
    struct Case {
        std::string target, why;
    };
    const Case cases[] = {
        {cat("\"|", longest, "c\""), "a command of 4097 bytes: at most 4096 are taken"},
        {cat("\"|", std::string(9000, 'c'), "\""), "a command of 9000 bytes: at most 4096 are taken"},
        {"\"|secret \x1b[1m\"", "a command with a control character in it"},
        {cat("/", longest), "a file name of 4097 bytes: at most 4096 are taken"},
    };
    w.policy.files.include = true;
    w.aliases["list"] = "alice, :include:/l";
    for (const Case& c : cases) {
        INFO(c.why);
        w.files["/l"] = {targets(cat("bob\n# more\n", c.target)), ""};
        auto e = w.expand("list");
        CHECK(show(e) == "deferred 4.3.5");
        CHECK(e.text == cat(":include:/l, line 3: ", c.why));
        e = expand_forward(w.policy, w.sources(), targets(cat("\\alice\n", c.target)), "alice");
        CHECK(show(e) == "deferred 4.3.5");
        CHECK(e.text == cat("line 2: ", c.why));
        w.aliases["direct"] = c.target;
        e = w.expand("direct");
        CHECK(show(e) == "deferred 4.3.5");
        CHECK(e.text == cat("alias direct, line 1: ", c.why));
    }
    w.files["/l"] = {targets(cat("\"|", longest, "\", \"|tab\there\"")), ""};
    CHECK(w.expand("list").children.size() == 3);
    w.files["/l"] = {targets("x\n\"|secret\""), ""};
    w.policy.commands.include = false;
    CHECK(show(w.expand("list")) == "alice@example.org x@example.org list@example.org as error:5.7.1 mail to command is restricted: :include:/l, line 2");
    w.files["/l"] = {targets("\"|secret\""), ""};
    w.aliases["list"] = ":include:/l";
    CHECK(w.expand("list").text == "mail to command is restricted: :include:/l, line 1");
}

TEST_CASE("what is not allowed or not readable costs the others of its list nothing", "[local][alias][forward]")
{
    World w;
    w.policy.commands.alias = w.policy.files.alias = false;
    w.aliases = {{"list", "alice, \"|/bin/cat\", bob, /tmp/box"}, {"owner-list", "carol"}, {"two", "\"|/bin/cat\", /tmp/box"}, {"long", cat("alice, \"|", std::string(900, 'c'), "\"")},
                 {"nobody", ":include:/l/empty, :include:/l/empty2"}, {"some", ":include:/l/empty, alice"}, {"comment", "# nothing"}};
    w.files["/l/empty"] = {targets("# nobody yet\n"), ""};
    w.files["/l/empty2"] = {targets(""), "lister"};
    auto e = w.expand("List");
    REQUIRE(e.children.size() == 4);
    CHECK((e.children[0].text == "alice@example.org" && e.children[1].text == "bob@example.org"));
    for (const std::size_t i : {2, 3}) {
        CHECK(e.children[i].kind == queue::Child::Kind::address);
        CHECK(e.children[i].text == "List@example.org");
        CHECK(e.children[i].sender == "owner-list@example.org");        // he can mend it
    }
    CHECK(e.children[2].run_as == "error:5.7.1 mail to command is restricted: /bin/cat");
    CHECK(e.children[3].run_as == "error:5.7.1 mail to file is restricted: /tmp/box");
    CHECK(show(w.expand("two")) == "failed 5.7.1");
    e = w.expand("long");
    REQUIRE(e.children.size() == 2);
    CHECK(queue::why_unfit(e.children[1]).empty());
    CHECK((w.expand("nobody").kind == Expansion::Kind::expanded && w.expand("nobody").children.empty()));
    CHECK(show(w.expand("some")) == "alice@example.org");
    CHECK(show(w.expand("comment")) == "deferred 4.3.0");               // of a table: nothing at all, as Postfix has it
    // a .forward's user hears of it under his own name, and his word may refuse nobody else
    w.policy.commands.forward = false;
    e = expand_forward(w.policy, w.sources(), targets("\\alice\n\"|/bin/cat\""), "alice", "", "alice+x@example.org");
    CHECK(show(e) == "mailbox \\alice alice+x@example.org as error:5.7.1 mail to command is restricted: /bin/cat");
    CHECK(show(expand_forward(w.policy, w.sources(), targets("\"|/bin/cat\""), "alice")) == "failed 5.7.1");
    CHECK(expand_forward(w.policy, w.sources(), targets(":include:/l/empty"), "alice").children.empty());
    // entries of an aliases file
    std::vector<table::AliasProblem> problems;
    const auto file = table::Aliases::parse("some: alice, bob #smith, carol\nopen: alice, \"bob, carol\nnone: a #b\nempty:\nbeside: :include:/l/empty, a #b\nand: \"|/bin/cat\", a #b\n", problems);
    CHECK(problems.size() == 6);
    Sources sources = w.sources();
    sources.alias = [&](std::string_view name) -> Result<std::optional<Alias>> {
        const auto* entry = file.find(name);
        return entry ? std::optional(Alias{entry->targets, {}}) : std::nullopt;
    };
    const auto of = [&](const char* name) { return show(expand_alias(w.policy, sources, name, "example.org", false)); };
    CHECK(of("some") == "alice@example.org carol@example.org some@example.org as error:5.1.3 alias some: cannot be read");
    CHECK(of("open") == "alice@example.org open@example.org as error:5.1.3 alias open: cannot be read");
    CHECK(of("none") == "deferred 4.3.0");
    CHECK(of("empty") == "deferred 4.3.0");
    CHECK(of("beside") == "deferred 4.3.0");                            // an empty list, or what is refused, makes nothing more certain
    CHECK(of("and") == "deferred 4.3.0");
    CHECK(of("other") == "none");
}

TEST_CASE("a broken table defers, and so do too long a chain and too long a list", "[local][alias]")
{
    World w;
    for (int i = 0; i < 100; ++i) w.aliases[cat("n", i)] = cat("n", i + 1);
    CHECK(show(w.expand("n0")) == "deferred 4.4.6");
    CHECK(show(w.expand("n70")) == "n100@example.org");
    std::string many;
    for (std::size_t i = 0; i <= max_children; ++i) append(many, i ? ", u" : "u", i);
    w.files["/l"] = {*table::parse_targets(many, 2 * max_children), ""};
    w.aliases["many"] = ":include:/l";
    CHECK(show(w.expand("many")) == "deferred 4.3.5");
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
        // A group of his name, whatever its number, is his unless it has others; nobody's name but his will do.
        const struct group* const found = ::getgrgid(group);
        REQUIRE(found);
        const std::string name = found->gr_name;
        const bool others = found->gr_mem && *found->gr_mem;
        REQUIRE(::chown(path.c_str(), me, group) == 0);
        if (me == 0 && !others) CHECK(read_forward({path}, 4711, group, name).kind == Kind::found);
        if (me == 0) CHECK(read_forward({path}, 4711, group, "somebody").kind == Kind::none);
        if (me == 0) CHECK(read_forward({path}, 4711, group).kind == Kind::none);
    }
    SECTION("who may not look into his home has none, where a file that he may not read defers")
    {
        if (me == 0) {
            REQUIRE(::chmod(home.path.c_str(), 0700) == 0);
            REQUIRE(::seteuid(4711) == 0);
            const auto shut = read_forward({path}, 4711, 4711, "oper", home.path);
            const auto elsewhere = read_forward({path}, 4711, 4711, "oper", "/home/oper");
            REQUIRE(::seteuid(0) == 0);
            REQUIRE(::chmod(home.path.c_str(), 0755) == 0);
            REQUIRE(::chmod(path.c_str(), 0600) == 0);
            REQUIRE(::seteuid(4711) == 0);
            const auto unreadable = read_forward({path}, 4711, 4711, "oper", home.path);
            REQUIRE(::seteuid(0) == 0);
            CHECK(shut.kind == Kind::none);
            CHECK(shut.ignored == cat("no ", path, ": its user may not search ", home.path));
            CHECK(elsewhere.kind == Kind::deferred);
            CHECK(unreadable.kind == Kind::deferred);
        }
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
    // what is read under a list's name is not shown to who sent the mail
    home.write("list", "alice\nsome # secret\n", 0644);
    CHECK(read_include(home.path + "/list", 1000).error().text == cat(":include:", home.path, "/list, line 2: there is no address: are commas missing between several?"));
    CHECK(read_include("/proc/self/maps", 1u << 20).error().text == ":include:/proc/self/maps: not a file on a disk");
}

TEST_CASE("a list's owner is named, or its mail waits: it is never taken for root's", "[local][alias]")
{
    TempHome home;
    home.write("list", "\"|cmd\"\n", 0644);
    const auto mine = read_owned_include(home.path + "/list", 1000);
    REQUIRE(mine);
    CHECK(mine->owner.name.empty() == (::geteuid() == 0));
    if (::geteuid() == 0) {
        REQUIRE(::chown((home.path + "/list").c_str(), 3'999'999'999u, 0) == 0);
        CHECK(read_owned_include(home.path + "/list", 1000).error().text.find("uid 3999999999, has no name") != std::string::npos);
        CHECK(read_include(home.path + "/list", 1000));             // a .forward needs no owner
    }
    static char name[] = "ldapuser", folder[] = "/home/ldapuser";
    const auto large = [](uid_t, passwd* entry, char*, std::size_t size, passwd** found) {
        *found = size < 100'000 ? nullptr : entry;
        entry->pw_name = name;
        entry->pw_dir = folder;
        return size < 100'000 ? ERANGE : 0;
    };
    const auto away = [](uid_t, passwd*, char*, std::size_t, passwd** found) {
        *found = nullptr;
        return EIO;
    };
    const auto endless = [](uid_t, passwd*, char*, std::size_t, passwd** found) {
        *found = nullptr;
        return ERANGE;
    };
    const auto unknown = [](uid_t, passwd*, char*, std::size_t, passwd** found) {
        *found = nullptr;
        return 0;
    };
    const auto named = owner_of(7, large);
    REQUIRE(named);
    CHECK((named->name == "ldapuser" && named->home == "/home/ldapuser"));
    CHECK_FALSE(owner_of(7, away));
    CHECK_FALSE(owner_of(7, endless));
    CHECK_FALSE(owner_of(7, unknown));
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
    // What is written behind a final name, or behind the user's own, stays with it.
    w.policy.propagate = Allowed::among({});
    w.aliases["jobs"] = "\\carol+jobs, \\erin";
    CHECK(show(w.expand("jobs+x")) == "mailbox \\carol+jobs mailbox \\erin");
    CHECK(show(expand_forward(w.policy, w.sources(), targets("alice+fw, bob"), "alice", "+x")) == "mailbox \\alice+fw bob@example.org");
    CHECK(show(expand_forward(w.policy, w.sources(), targets("\\alice+fw, \\bob+y"), "alice", "+x")) == "mailbox \\alice+fw mailbox \\bob+y");
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

// aliases(5) and .forward: every form that sendmail and Postfix take, and what is wrong is told with its line.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "lib/base/text.h"
#include "lib/table/aliases.h"
#include "lib/table/held.h"

using namespace veredus;
using table::AliasTarget;
using Kind = AliasTarget::Kind;

namespace {
std::string shown(const std::vector<AliasTarget>& targets)
{
    std::string out;
    for (const AliasTarget& t : targets) {
        const char* kind = t.kind == Kind::address ? "a" : t.kind == Kind::command ? "c" : t.kind == Kind::file ? "f" : t.kind == Kind::bad ? "?" : "i";
        append(out, out.empty() ? "" : " ; ", kind, t.final ? "!" : "", ':', t.text);
    }
    return out;
}
}  // namespace

TEST_CASE("targets of an alias and of a .forward", "[table]")
{
    struct Case {
        const char *text, *result;
    };
    for (const Case& c : {
             Case{"root", "a:root"}, {" a, b@Example.ORG ,c", "a:a ; a:b@example.org ; a:c"}, {"", ""}, {"a,,b,", "a:a ; a:b"},
             {"|/bin/cat", "c:/bin/cat"}, {"\"|/bin/prog -a 'x y', z\"", "c:/bin/prog -a 'x y', z"}, {"|\"/bin/prog a, b\"", "c:/bin/prog a, b"},
             {"\"|prog \\\"quoted\\\" \\\\\"", "c:prog \"quoted\" \\"}, {"|prog (x)", "c:prog (x)"}, {"a, |prog (x)", "a:a ; c:prog (x)"}, {"/var/mail/x", "f:/var/mail/x"}, {"\"/home/u/My Mail/\"", "f:/home/u/My Mail/"},
             {":include:/etc/list", "i:/etc/list"}, {"\":include:/etc/my list\"", "i:/etc/my list"}, {":Include: /etc/list", "i:/etc/list"},
             {"\\user", "a!:user"}, {"\\user, \"|/usr/bin/vacation user\"", "a!:user ; c:/usr/bin/vacation user"}, {"\"\\user\"", "a:user"},
             {"John Doe <j@x.org>, k", "a:j@x.org ; a:k"}, {"user (a comment, with comma)", "a:user"}, {"\"john doe\"@x.org", "a:\"john doe\"@x.org"},
             {"\"user@x.org\"", "a:user@x.org"}, {"\"john doe\"", "a:\"john doe\""}, {"# only\na\n  # and\n b , c\n\nd\r\n", "a:a ; a:b ; a:c ; a:d"},
             {"\"a,b\"@x.org", "a:\"a,b\"@x.org"}, {"user+ext@x.org", "a:user+ext@x.org"},
             // commas that are missing between addresses, as Postfix adds them
             {"alice bob", "a:alice ; a:bob"}, {"a b@x.org\tc, d", "a:a ; a:b@x.org ; a:c ; a:d"}, {"\\user bob", "a!:user ; a:bob"}, {"bob \\user", "a:bob ; a!:user"},
             {"\"john doe\" bob", "a:\"john doe\" ; a:bob"}, {"\"a\\\" b\"@x.org c", "a:\"a\\\" b\"@x.org ; a:c"},
             {"~/box", "f:~/box"}, {"\"~/My Mail/\"", "f:~/My Mail/"}, {"~bob/box", "a:~bob/box"},
         }) {
        INFO(c.text);
        const auto targets = table::parse_targets(c.text);
        REQUIRE(targets);
        CHECK(shown(*targets) == c.result);
    }
}

TEST_CASE("targets that are refused, with their line", "[table]")
{
    for (const char* bad : {"a\n\"never closed", "a\na # b", "a\na b <c", "a\na /b", "a\n|", "a\n:include:relative", "a\n\\", "a\n(comment", "a\n|\"\"", "a\n<a@b"}) {
        INFO(bad);
        const auto targets = table::parse_targets(bad);
        REQUIRE_FALSE(targets);
        CHECK(targets.error().text.starts_with("line 2: "));
    }
    CHECK_FALSE(table::parse_targets("a,b,c", 2));
    CHECK_FALSE(table::parse_targets("a b c", 2));
    std::string words;
    for (int i = 0; i < 1001; ++i) append(words, i ? " w" : "w", i);
    CHECK_FALSE(table::parse_targets(words));
    CHECK(table::parse_targets(words.substr(0, words.rfind(' '))));
    CHECK_FALSE(table::parse_targets(std::string_view("a\0b", 3)));
}

TEST_CASE("an aliases file: entries, continuations, quoted names; problems hide no good entry", "[table]")
{
    std::vector<table::AliasProblem> problems;
    const auto aliases = table::Aliases::parse("# aliases\n"
                                               "Postmaster:    root\n"
                                               "list: a,\n"
                                               "# in between\n"
                                               "\tb,\n"
                                               "  c\n"
                                               "broken line\n"
                                               "\"John: Doe\" : jd\n"
                                               "list: again\n"
                                               "empty:\n"
                                               "bad: a #b\n"
                                               "prog: \"|/bin/x\"\n"
                                               "some: a, b #c, |, d\n"
                                               "\"open: x\n"
                                               ": none\n"
                                               "info@x.org: a\n"
                                               "\"odd@name\": a\n",
                                               problems);
    CHECK(aliases.size() == 9);
    REQUIRE(aliases.find("postMASTER"));
    CHECK(shown(aliases.find("list")->targets) == "a:a ; a:b ; a:c");
    CHECK(aliases.find("list")->line == 3);
    CHECK(shown(aliases.find("john: doe")->targets) == "a:jd");
    CHECK(shown(aliases.find("prog")->targets) == "c:/bin/x");
    CHECK(aliases.find("none") == nullptr);
    CHECK(aliases.find("empty")->targets.empty());                       // it is an alias, and nobody is unknown
    CHECK(shown(aliases.find("bad")->targets) == "?:");
    CHECK(shown(aliases.find("some")->targets) == "a:a ; ?: ; ?: ; a:d");
    std::vector<unsigned> lines;
    for (const auto& problem : problems) lines.push_back(problem.line);
    CHECK(lines == std::vector<unsigned>{7, 9, 10, 11, 13, 14, 15, 16});
    CHECK(problems.back().text.starts_with("info@x.org: names are local here"));
    problems.clear();
    std::string line = "long: a";
    while (line.size() < (std::size_t{1} << 20) + 50'000) append(line, ",\n ", std::string(200, 'm'), "@example.org");
    const auto longer = table::Aliases::parse(cat(line, "\nnext: b\n"), problems);
    REQUIRE(longer.find("long"));                                        // it is an alias, too
    CHECK(shown(longer.find("long")->targets) == "?:");
    CHECK(shown(longer.find("next")->targets) == "a:b");
    REQUIRE(problems.size() == 1);
    CHECK(problems[0].text == "longer than 1048576 bytes; mail for it waits: make several aliases of it");
}

TEST_CASE("alias_maps: files and other tables, in order; a changed file is read again", "[table]")
{
    std::string folder = "/tmp/veredus-alias-XXXXXX";
    REQUIRE(mkdtemp(folder.data()));
    const std::string path = folder + "/aliases";
    const auto write = [&](const char* text, time_t age) {
        std::ofstream(path) << text;
        const timespec times[2] = {{time(nullptr) - age, 0}, {time(nullptr) - age, 0}};
        REQUIRE(utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
    };
    write("root: admin\nbad line\n", 100);
    auto maps = table::AliasMaps::open({"hash:" + path, "inline:{{x = a, b}, root=never}"});
    REQUIRE(maps);
    CHECK(shown((*maps->find("ROOT"))->targets) == "a:admin");
    CHECK(shown((*maps->find("x"))->targets) == "a:a ; a:b");
    CHECK_FALSE(maps->find("y")->has_value());
    CHECK(*maps->has("Root"));
    CHECK(*maps->has("x"));
    CHECK_FALSE(*maps->has("y"));
    CHECK(maps->origin("root") == path + ":1");
    CHECK(maps->problems().size() == 1);
    write("root: other\n", 50);
    CHECK(*maps->refresh());
    CHECK(shown((*maps->find("root"))->targets) == "a:other");
    CHECK_FALSE(*maps->refresh());
    CHECK_FALSE(table::AliasMaps::open({"hash:" + folder}));             // a directory
    auto fresh = table::AliasMaps::open({"hash:" + folder + "/missing"});   // a system without aliases works
    REQUIRE(fresh);
    CHECK_FALSE(fresh->find("root")->has_value());
    CHECK(fresh->problems().size() == 1);
    CHECK_FALSE(*fresh->refresh());
    unlink(path.c_str());
    CHECK_FALSE(maps->refresh());
    CHECK(shown((*maps->find("root"))->targets) == "a:other");
    rmdir(folder.c_str());
}

TEST_CASE("alias_maps: a table that is broken is in the way of nobody whose name is in one before it, and is tried again", "[table]")
{
    std::string folder = "/tmp/veredus-alias-XXXXXX";
    REQUIRE(mkdtemp(folder.data()));
    const std::string path = folder + "/aliases", broken = folder + "/broken";
    std::ofstream(path) << "root: admin\n";
    std::ofstream(broken) << std::string("x: y\n\0", 6);
    auto maps = table::AliasMaps::prepare({"hash:" + path, "hash:" + broken, "pcre:" + folder + "/none"});
    CHECK(maps.loading());
    CHECK_FALSE(maps.find("root"));
    CHECK(*maps.refresh());
    CHECK_FALSE(maps.loading());
    CHECK(shown((*maps.find("root"))->targets) == "a:admin");
    CHECK((*maps.find("root"))->owner == ::geteuid());                   // whose commands they are
    CHECK_FALSE(maps.find("x"));
    CHECK_FALSE(maps.has("y"));
    REQUIRE(maps.troubles().size() == 2);
    CHECK(maps.troubles()[0].find("NUL") != std::string::npos);
    std::ofstream(broken) << "x: y, z\n";
    std::ofstream(folder + "/none") << "/^w$/ v\n";
    for (int i = 0; i < 1000 && !maps.troubles().empty(); ++i, usleep(10'000)) (void)maps.refresh();
    CHECK(shown((*maps.find("x"))->targets) == "a:y ; a:z");
    CHECK(shown((*maps.find("w"))->targets) == "a:v");
    CHECK_FALSE(maps.find("y")->has_value());
    // what is kept of it: all that was read, not what went away
    unlink(path.c_str());
    CHECK_FALSE(maps.refresh());
    CHECK(maps.troubles().size() == 1);
    maps = table::AliasMaps::prepare({"hash:" + path, "hash:" + broken}, std::move(maps));
    CHECK(maps.loading());
    CHECK(*maps.refresh());
    CHECK_FALSE(maps.find("root")->has_value());
    CHECK(shown((*maps.find("x"))->targets) == "a:y ; a:z");
    unlink((folder + "/none").c_str());
    unlink(broken.c_str());
    rmdir(folder.c_str());
}

TEST_CASE("a long table of patterns that changed is read elsewhere, and answers as before until then", "[table]")
{
    std::string folder = "/tmp/veredus-alias-XXXXXX";
    REQUIRE(mkdtemp(folder.data()));
    const std::string path = folder + "/patterns";
    const auto write = [&](const std::string& first, time_t age) {
        std::ofstream(path) << first << '\n' << std::string(5000, '#') << "\n";
        const timespec times[2] = {{time(nullptr) - age, 0}, {time(nullptr) - age, 0}};
        REQUIRE(utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
    };
    const auto target = [](const table::AliasMaps& maps) {
        const auto found = maps.find("list");
        return found && *found ? shown((*found)->targets) : std::string();
    };
    write("/^list$/ one", 100);
    const std::string spec = GENERATE("regexp:", "unionmap:{regexp:");
    auto maps = table::AliasMaps::prepare({spec + path + (spec.back() == ':' && spec[0] == 'r' ? "" : "}")});
    REQUIRE(maps.refresh());
    CHECK(target(maps) == "a:one");
    const auto read = [&](std::size_t due) {
        const auto refreshed = maps.refresh(1000);
        auto readings = maps.due();
        CHECK(readings.size() == due);
        CHECK(maps.reading() == (due > 0));
        for (const auto& reading : readings) {
            table::AliasMaps::read(*reading);
            (void)maps.take(*reading);
        }
        return refreshed.has_value();
    };
    CHECK(read(0));
    write("/^list$/ two", 90);
    CHECK_FALSE(*maps.refresh(1000));
    CHECK(maps.reading());
    CHECK(target(maps) == "a:one");
    CHECK(read(1));
    CHECK(target(maps) == "a:two");
    CHECK(read(0));
    // What was just written may change without a sign of it: it is read once more when it has rested.
    write("/^list$/ six", 0);
    CHECK(read(1));
    CHECK(target(maps) == "a:six");
    CHECK(maps.restless());
    write("/^list$/ ten", 80);
    CHECK(read(1));
    CHECK(target(maps) == "a:ten");
    // One that cannot be used: the table before answers, and it is tried again now and then.
    write(std::string("x\0y", 3), 70);
    CHECK(read(1));
    CHECK(target(maps) == "a:ten");
    CHECK(maps.troubles().size() == 1);
    write("/^list$/ last", 60);
    for (int i = 0; i < 1000 && !maps.troubles().empty(); ++i, usleep(10'000)) {
        (void)maps.refresh(1000);
        for (const auto& reading : maps.due()) {
            table::AliasMaps::read(*reading);
            (void)maps.take(*reading);
        }
    }
    CHECK(target(maps) == "a:last");
    unlink(path.c_str());
    CHECK_FALSE(read(0));
    CHECK(target(maps) == "a:last");
    rmdir(folder.c_str());
}

TEST_CASE("a file that is given to another user is his at once", "[table]")
{
    if (::geteuid() != 0) return;
    std::string folder = "/tmp/veredus-alias-XXXXXX";
    REQUIRE(mkdtemp(folder.data()));
    const std::string path = folder + "/aliases";
    for (const time_t age : {100, 0}) {      // at rest, and just written
        std::ofstream(path) << "list: \"|/bin/true\"\n";
        const timespec times[2] = {{time(nullptr) - age, 0}, {time(nullptr) - age, 0}};
        REQUIRE(utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
        auto maps = table::AliasMaps::open({"hash:" + path});
        REQUIRE(maps);
        CHECK((*maps->find("list"))->owner == 0);
        REQUIRE(chown(path.c_str(), 38, 38) == 0);
        CHECK(*maps->refresh());
        CHECK((*maps->find("list"))->owner == 38);
        const auto again = maps->refresh();      // another reading may follow, of what was just written
        CHECK(again);
        CHECK((*maps->find("list"))->owner == 38);
        unlink(path.c_str());
    }
    rmdir(folder.c_str());
}

TEST_CASE("a table that cannot be opened is tried again, but never all the time", "[table]")
{
    struct Slow {
        Result<void> refresh(bool&) { return {}; }
        bool restless() const { return false; }
    };
    int tries = 0;
    bool broken = true, slow = true;
    table::Held<Slow> held([&]() -> Result<Slow> {
        ++tries;
        if (slow) usleep(50'000);
        if (broken) return fail("broken");
        return Slow();
    });
    std::vector<std::string> trouble;
    for (int i = 0; i < 100; ++i) CHECK_FALSE(held.refresh(trouble));
    CHECK(tries == 1);                           // it took 50 ms: the next one is a second later
    CHECK(trouble.size() == 100);
    slow = false;
    for (int i = 0; i < 1000 && tries == 1; ++i, usleep(10'000)) (void)held.refresh(trouble);
    broken = false;
    bool open = false;
    for (int i = 0; i < 100 && !open; ++i, usleep(1000)) open = held.refresh(trouble);
    CHECK(open);                                 // one that took no time
}

// lib/table: every type of table, the order of keys for an address, and lists of patterns.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <regex.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/table/aliases.h"
#include "lib/table/ere.h"
#include "lib/table/held.h"
#include "lib/table/kinds.h"
#include "lib/table/substitution.h"
#include "lib/table/table.h"

using namespace veredus;
using table::Pattern;

namespace {

struct Folder {
    std::string path = "/tmp/veredus-table-XXXXXX";
    std::vector<std::string> names;
    Folder() { REQUIRE(mkdtemp(path.data())); }
    ~Folder()
    {
        for (const auto& name : names) unlink(name.c_str());
        rmdir(path.c_str());
    }
    // Old enough to count as rested: an hour before now, and each write another second.
    std::string write(const std::string& name, const std::string& text)
    {
        const std::string file = path + "/" + name;
        std::ofstream(file) << text;
        const time_t when = time(nullptr) - 3600 + static_cast<time_t>(++writes);
        const timespec times[2] = {{when, 0}, {when, 0}};
        REQUIRE(utimensat(AT_FDCWD, file.c_str(), times, 0) == 0);
        names.push_back(file);
        return file;
    }
    int writes = 0;
};

std::string get(const table::Table& t, std::string_view key)
{
    const auto value = t.find(key);
    REQUIRE(value);
    return value->value_or("-");
}

template <class T> bool changed(T& of)
{
    bool any = false;
    REQUIRE(of.refresh(any));
    return any;
}

net::Address ip(const char* text) { return *net::Address::parse_ip(text, 25); }

}  // namespace

TEST_CASE("hash: reads the text: lines, continuations, quotes, case, duplicates", "[table]")
{
    const auto t = table::text_table_of("# comment\n"
                                        "Example.org\tsmtp:[mx]\n"
                                        "  :25\n"
                                        "\n"
                                        "\"John Doe\"@x  y z \r\n"
                                        "twice first\ntwice second\nkey-only\n"
                                        "last one");
    REQUIRE(t);
    CHECK(get(**t, "EXAMPLE.ORG") == "smtp:[mx]  :25");
    CHECK(get(**t, "john doe@x") == "y z");
    CHECK(get(**t, "twice") == "first");
    CHECK(get(**t, "key-only") == "-");
    CHECK(get(**t, "last") == "one");
    CHECK(get(**t, "") == "-");
    CHECK((*t)->origin("twice") == "text:6");
    CHECK((*t)->problems().size() == 2);
    CHECK_FALSE(table::text_table_of(std::string_view("a\0b c\n", 6)));
}

TEST_CASE("a table of many entries finds each of them", "[table]")
{
    std::string text;
    for (int i = 0; i < 20'000; ++i) append(text, "user", i, "@example.org box", i, '\n');
    const auto t = table::text_table_of(text);
    REQUIRE(t);
    for (int i = 0; i < 20'000; i += 97) CHECK(get(**t, cat("USER", i, "@example.org")) == cat("box", i));
    CHECK(get(**t, "user20000@example.org") == "-");
}

TEST_CASE("a table that says what is run takes no $1 of the stranger who wrote the key", "[table]")
{
    const char* rules = "/^tick-(.*)$/ |echo $1\nif /list/\n/^(.)-list$/ :include:/lists/${1}\nendif\n/^owner-(.*)$/ root, $$1\n/^tick/ alice\n";
    Folder folder;
    for (const char* type : {"regexp", "pcre"}) {
        const std::string spec = cat(type, ":", folder.write(type, rules));
        for (const std::string& one : {spec, cat("proxy:", spec), cat("unionmap:{inline:{a=b}, ", spec, "}"), cat("pipemap:{", spec, ", static:x}")}) {
            INFO(one);
            const table::WithoutSubstitution scope;
            const auto t = table::open(one);
            REQUIRE(t);
            REQUIRE((*t)->problems().size() == 2);
            CHECK((*t)->problems()[0].find(", line 1: a $1 is not taken in this table") != std::string::npos);
            CHECK((*t)->problems()[1].find(", line 3: a $1 is not taken in this table") != std::string::npos);
            const auto wrong = (*t)->find("tick-x;touch /tmp/pwned");    // not unknown, either: what is mended tomorrow bounces nothing today
            REQUIRE_FALSE(wrong);
            CHECK(wrong.error().text.find("touch") == std::string::npos);
            CHECK_FALSE((*t)->find("b-list"));
            CHECK((*t)->find("nobody"));
        }
        const auto t = [&] {
            const table::WithoutSubstitution scope;
            return table::open(spec);
        }();
        REQUIRE(t);
        CHECK(get(**t, "owner-x") == "root, $1");
        CHECK(get(**t, "ticket") == "alice");
        CHECK(get(**table::open(spec), "tick-x") == "|echo x");
        CHECK_FALSE(table::AliasMaps::open({spec})->find("tick-x"));
        CHECK_FALSE(table::AliasMaps::open({spec})->has("tick-x"));
        CHECK(table::AliasMaps::open({spec})->has("ticket").value());
    }
    for (const char* setting : {"alias_maps", "alias_database", "mailbox_command_maps", "mailbox_transport_maps", "fallback_transport_maps"}) CHECK(table::refuses_substitution(setting));
    CHECK_FALSE(table::refuses_substitution("virtual_alias_maps"));
}

TEST_CASE("regexp: and pcre: rules in order, flags, negation, if, and $1", "[table]")
{
    const char* rules = "/^owner-(.*)@(.*)$/ $1-outgoing@${2}x$(1)$$\n"
                        "/^CASE$/i matched\n"
                        "if !/@example\\.org$/\n"
                        "/^inner/ not-ours\n"
                        "if /deep/\n"
                        "/^x/ deep-x\n"
                        "endif\n"
                        "endif\n"
                        "!/@/ no-domain\n"
                        "|^pipe/slash| delimiter\n"
                        "/b@b/ $1\n";
    for (const Pattern kind : {Pattern::posix, Pattern::pcre}) {
        const auto t = table::pattern_table_of(kind, rules);
        REQUIRE(t);
        CHECK(get(**t, "owner-list@Host") == "list-outgoing@Hostxlist$");
        CHECK(get(**t, "CASE") == "matched");
        CHECK(get(**t, "case") == "no-domain");    // /i turned off what is on by default
        CHECK(get(**t, "inner@example.org") == "-");
        CHECK(get(**t, "inner@other.org") == "not-ours");
        CHECK(get(**t, "xdeep@other.org") == "deep-x");
        CHECK(get(**t, "xdeep@example.org") == "-");
        CHECK(get(**t, "pipe/slash@a") == "delimiter");
        CHECK(get(**t, "b@b") == "-");             // $1 without a parenthesis is no rule
        CHECK((*t)->problems().size() == 1);
        CHECK((*t)->origin("CASE") == "text:2");
        CHECK((*t)->is_pattern());
    }
}

TEST_CASE("what a table may answer is told with its place", "[table]")
{
    const auto all = [](const Result<std::unique_ptr<table::Table>>& opened) {
        REQUIRE(opened);
        std::string out;
        for (const auto& answer : (*opened)->right_sides()) append(out, answer.where, '|', answer.text, answer.variable ? "|$" : "|", '\n');
        return out;
    };
    CHECK(all(table::pattern_table_of(table::Pattern::posix, "# x\n/^a(b)/ REDIRECT $1@c$$d\nif /e/\n/f/ OK\nendif\n!/g/ DUNNO\n", "t")) ==
          "t, line 2|REDIRECT $1@c$d|$\nt, line 4|OK|\nt, line 6|DUNNO|\n");
    CHECK(all(table::text_table_of("b OK\na REJECT x\n", "t")) == "t, line 2|REJECT x|\nt, line 1|OK|\n");
    CHECK(all(table::open("inline:{a=b, {c = d e}}")) == "inline: a|b|\ninline: c|d e|\n");
    CHECK(all(table::open("static:OK")) == "static|OK|\n");
    CHECK(all(table::open("pipemap:{static:a, static:b}")).empty());
}

TEST_CASE("lines that are no rules are told, and hide no good one", "[table]")
{
    for (const Pattern kind : {Pattern::posix, Pattern::pcre}) {
        const auto t = table::pattern_table_of(kind, "/(/ x\n/a/\n/b/q y\nabc y\n/never-closed\nendif\nif /(/\n/i1/ i\nendif\n/good/ yes\nif /z/\n/z/ zed\n");
        REQUIRE(t);
        CHECK((*t)->problems().size() == 8);
        CHECK(get(**t, "good") == "yes");
        CHECK(get(**t, "z") == "zed");
    }
}

TEST_CASE("a pattern that goes wild is an error, not an endless loop", "[table]")
{
    const auto t = table::pattern_table_of(Pattern::pcre, "/^(a+)+$/ x\n");
    REQUIRE(t);
    CHECK_FALSE((*t)->find(std::string(60, 'a') + "b"));
    CHECK(get(**t, std::string(17'000, 'a')) == "-");    // longer than any key
    CHECK(get(**t, std::string_view("a\0a", 3)) == "-");
}

TEST_CASE("a regular expression with back-references matches what regexec(3) matches, in bounded time", "[table]")
{
    const char* texts[] = {"", "aa", "ab", "abab", "abcabc", "aab1", "a1a1", "x10", "xx0", "AA", "a.a", "a]a", "a\\a", "[[", "word word", "words word", "a\na", "aaaa", "q-q", "--", "{{", "tick tock tick"};
    const char* patterns[] = {"(a)\\1", "^(.*)\\1$", "(.)(.)\\2\\1", "^(x)\\10", "([]a])\\1", "([^]a])\\1", "([[:alpha:]]+) \\1", "\\<([a-z]+)\\> \\<\\1\\>", "(a|b)+\\1", "(a){2}\\1", "^(a){,1}(b)?a\\1$",
                              "([\\.])\\1", "(\\.)|(a)\\2", "a(.)\\1?a", "^(.)[^b]*\\1$", "([-])\\1", "([[])\\1", "(\\{)\\1", "(tick).*\\1$", "\\`(a)\\1\\'", "(\\w)\\1", "((a)b)\\1"};
    for (const char* pattern : patterns) {
        regex_t regex{};
        REQUIRE(::regcomp(&regex, pattern, REG_EXTENDED | REG_ICASE) == 0);
        const auto t = table::pattern_table_of(Pattern::posix, cat("/", pattern, "/ yes\n"));
        REQUIRE(t);
        INFO(pattern << ((*t)->problems().empty() ? "" : (*t)->problems()[0]));
        CHECK((*t)->problems().empty());
        for (const char* text : texts) {
            INFO(text);
            CHECK((get(**t, text) == "yes") == (::regexec(&regex, text, 0, nullptr, 0) == 0));
        }
        ::regfree(&regex);
    }
    std::string alternating;
    for (int i = 0; i < 8000; ++i) alternating += i % 2 ? 'b' : 'a';
    CHECK(get(**table::pattern_table_of(Pattern::posix, "/^Subject:.*(.)\\1{8,}/ REJECT\n"), "Subject: " + alternating) == "-");
    CHECK_FALSE((*table::pattern_table_of(Pattern::posix, "/^(.*)+x\\1$/ y\n"))->find(alternating));
    // None of them means the same in both languages.
    for (const char* pattern : {"(a)\\1*+", "(a)\\1**", "(a)|*\\1", "(*a)\\1", "([[.a.]])\\1"}) {
        INFO(pattern);
        CHECK((*table::pattern_table_of(Pattern::posix, cat("/", pattern, "/ x\n")))->problems().size() == 1);
    }
    CHECK((*table::pattern_table_of(Pattern::posix, "/\\(a\\)\\1/x x\n"))->problems().size() == 1);
    CHECK_FALSE(table::has_back_reference("[\\1]\\\\1"));
}

TEST_CASE("a regular expression that would take all memory is refused", "[table]")
{
    for (const std::string& pattern : {cat("a", std::string(40, '+')), std::string("((((a{99}){99}){99}){99})"), std::string("(((((((((((((((((((((((a)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+")}) {
        const auto t = table::pattern_table_of(Pattern::posix, cat("/", pattern, "/ x\n"));
        REQUIRE(t);
        CHECK((*t)->problems().size() == 1);
    }
    for (const char* pattern : {"^[]a+]+\\.(x|y){2,5}[[:alpha:]]*$", "^(([a-z]+\\.)+[a-z]{2,63})$", "^(.*)+$"}) {
        INFO(pattern);
        CHECK((*table::pattern_table_of(Pattern::posix, cat("/", pattern, "/ x\n")))->problems().empty());
    }
}

TEST_CASE("cidr: networks in order, negation and if", "[table]")
{
    const auto t = table::pattern_table_of(Pattern::cidr, "192.0.2.1 REJECT $5\n192.0.2.0/24 OK\n2001:db8::/32 six\n10.0.0.1/8 bad\n"
                                                          "if 198.51.100.0/24\n!198.51.100.128/25 lower\nendif\n");
    REQUIRE(t);
    CHECK(get(**t, "192.0.2.1") == "REJECT $5");
    CHECK(get(**t, "192.0.2.9") == "OK");
    CHECK(get(**t, "2001:db8::1") == "six");
    CHECK(get(**t, "198.51.100.1") == "lower");
    CHECK(get(**t, "198.51.100.200") == "-");
    CHECK(get(**t, "203.0.113.1") == "-");
    CHECK(get(**t, "no address") == "-");
    CHECK((*t)->problems().size() == 1);
}

TEST_CASE("tables of tables: one asked for what the other answered, and all answers together", "[table]")
{
    Folder folder;
    const auto file = folder.write("last", "alice@x.example found\n");
    const auto pipe = table::open(cat("pipemap:{inline:{a=alice}, regexp:", folder.write("middle", "/(.+)/ $1@x.example\n"), " hash:", file, "}"));
    REQUIRE(pipe);
    CHECK(get(**pipe, "a") == "found");
    CHECK(get(**pipe, "b") == "-");
    CHECK((*pipe)->is_pattern());
    CHECK((*pipe)->sources().size() == 2);
    CHECK((*pipe)->origin("a") == "inline:");
    const auto all = table::open("proxy:unionmap:{inline:{a=1}, inline:{b=2}, static:{3, 4}, pipemap:{inline:{a=x}, inline:{x=5}}}");
    REQUIRE(all);
    CHECK(get(**all, "a") == "1,3, 4,5");
    CHECK(get(**all, "b") == "2,3, 4");
    CHECK(get(**table::open("unionmap:{inline:{a=1}, inline:{b=2}}"), "c") == "-");
    folder.write("last", "alice@x.example changed\n");
    CHECK(changed(**pipe));
    CHECK(get(**pipe, "a") == "changed");

    const std::string spec = cat("pipemap:{inline:{a=b}, unionmap:{hash:", file, ", cidr:/c, static:x}}");
    CHECK(table::files_of(spec) == std::vector<std::string>{file, "/c"});
    CHECK(table::files_of("hash:/x") == std::vector<std::string>{"/x"});
    CHECK(table::files_of("static:x").empty());
    const auto jailed = table::open_from(cat("unionmap:{hash:", file, ", static:x}"), [&](const std::string& path) -> Result<std::string> { return path == file ? "a jailed\n" : "none\n"; });
    REQUIRE(jailed);
    CHECK(get(**jailed, "a") == "jailed,x");
    CHECK_FALSE(table::open_from("unionmap:{unix:passwd.byname}", nullptr));

    std::string deep = "static:x";
    for (int i = 0; i < 20; ++i) deep = cat("pipemap:{", deep, "}");
    for (const std::string& bad : {std::string("pipemap:{}"), std::string("pipemap:hash:/x"), std::string("unionmap:{mysql:/x}"), std::string("unionmap:"), std::string("pipemap:{"),
                                   std::string("pipemap:{nonsense}"), std::string("unionmap:{hash:/nonexistent/file}"), deep}) {
        INFO(bad);
        CHECK_FALSE(table::open(bad));
    }
}

TEST_CASE("tables without a file, and specs that are refused", "[table]")
{
    const auto pairs = table::open("inline:{a=b, {c = d e}, C=second}");
    REQUIRE(pairs);
    CHECK(get(**pairs, "A") == "b");
    CHECK(get(**pairs, "c") == "d e");
    CHECK(get(**pairs, "x") == "-");
    CHECK(get(**table::open("static:all"), "anything") == "all");
    CHECK(get(**table::open("proxy:static:{two words}"), "x") == "two words");
    CHECK(get(**table::open("unix:passwd.byname"), "root").starts_with("root:x:0:0:"));
    CHECK(get(**table::open("unix:passwd.byname"), "no-such-user-here") == "-");
    for (const char* bad : {"hash:/nonexistent/file", "hash:/", "mysql:/x", "nonsense", "inline:a=b", "inline:{a}", "unix:shadow.byname", "socketmap:unix:x:y", "regexp:/nonexistent"}) {
        INFO(bad);
        CHECK_FALSE(table::open(bad));
    }
}

TEST_CASE("a file table is read again at once when it changed; a broken one keeps what it had", "[table]")
{
    Folder folder;
    const std::string file = folder.write("map", "a 1\n");
    auto chain = table::Chain::open({"hash:" + file});
    REQUIRE(chain);
    CHECK(**chain->find("a") == "1");
    CHECK_FALSE(changed(*chain));
    folder.write("map", "a 2\n");
    CHECK(changed(*chain));
    CHECK(**chain->find("a") == "2");
    CHECK_FALSE(chain->restless());
    std::ofstream(file) << "b 1\n";                      // being written right now: in force, but perhaps not all of it
    CHECK(changed(*chain));
    CHECK_FALSE(chain->find("a")->has_value());
    CHECK(chain->restless());
    folder.write("map", "a 2\n");
    CHECK(changed(*chain));
    CHECK_FALSE(chain->restless());
    bool any = false;
    folder.write("map", std::string("a\0 3\n", 5));
    for (int look = 0; look < 3; ++look) CHECK_FALSE(chain->refresh(any));      // at each look, for what is new in it is not known
    CHECK(**chain->find("a") == "2");
    folder.write("map", "a 2\n");
    CHECK(changed(*chain));
    unlink(file.c_str());
    CHECK_FALSE(chain->refresh(any));
    CHECK_FALSE(any);
    CHECK(**chain->find("a") == "2");
    CHECK(chain->sources() == std::vector<std::string>{file});
}

TEST_CASE("of several tables that change at once each is looked at, and what is wrong with the others is told with it", "[table]")
{
    Folder folder;
    const std::string one = folder.write("one", "a 1\n"), two = folder.write("two", "b 1\n"), three = folder.write("three", "c 1\n");
    const auto see = [&](auto held) {
        folder.write("one", "a 1\n"), folder.write("two", "b 1\n"), folder.write("three", "c 1\n");
        std::vector<std::string> trouble;
        REQUIRE(held.value());
        (void)held.refresh(trouble);
        CHECK_FALSE(held.stale());
        for (const bool first : {true, false}) {
            folder.write(first ? "two" : "one", "new 1\n");
            folder.write(first ? "one" : "two", std::string("\0", 1));
            REQUIRE(unlink(three.c_str()) == 0);
            trouble.clear();
            CHECK(held.refresh(trouble));
            REQUIRE(held.stale());
            REQUIRE(trouble.size() == 1);
            CHECK(trouble[0].find(cat(first ? one : two, ": holds NUL bytes")) != std::string::npos);
            CHECK(trouble[0].find(cat("stat ", three)) != std::string::npos);
            CHECK_FALSE(held.refresh(trouble));
            CHECK(held.stale());
            folder.write("one", "a 1\n"), folder.write("two", "b 1\n"), folder.write("three", "c 1\n");
            CHECK(held.refresh(trouble));
            CHECK_FALSE(held.stale());
        }
    };
    const std::vector<std::string> specs = {"hash:" + one, "hash:" + two, "hash:" + three};
    see(table::Held<table::Chain>([&] { return table::Chain::open(specs); }));
    see(table::Held<table::Chain>([&] { return table::Chain::open({cat("unionmap:{", specs[0], ',', specs[1], ',', specs[2], '}')}); }));
    see(table::Held<table::MatchList>([&] { return table::MatchList::domains(specs, false); }));
}

TEST_CASE("a table of a user may not fill the memory of who reads it", "[table]")
{
    if (::geteuid() != 0) return;
    Folder folder;
    const std::string file = folder.write("map", "a 1\n");
    REQUIRE(::chown(file.c_str(), 4711, 4711) == 0);
    auto chain = table::Chain::open({"hash:" + file});
    REQUIRE(chain);
    REQUIRE(::truncate(file.c_str(), 65 << 20) == 0);
    bool any = false;
    const auto fresh = chain->refresh(any);
    REQUIRE_FALSE(fresh);
    CHECK(fresh.error().text == cat(file, ": has 68157440 bytes; a table of uid 4711 may have 67108864"));
    CHECK(**chain->find("a") == "1");
}

TEST_CASE("a file that changed within one tick of the clock is found out once it rests", "[table]")
{
    Folder folder;
    const std::string file = folder.write("map", "a 1\n");
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    const int64_t when = now.tv_sec * 1'000'000'000LL + now.tv_nsec - 700'000'000;       // three tenths to go
    const timespec times[2] = {{when / 1'000'000'000, when % 1'000'000'000}, {when / 1'000'000'000, when % 1'000'000'000}};
    REQUIRE(utimensat(AT_FDCWD, file.c_str(), times, 0) == 0);
    const auto t = table::open("hash:" + file);
    REQUIRE(t);
    if (!(*t)->restless()) return;      // this machine was too slow for the case to arise
    std::ofstream(file, std::ios::in | std::ios::out) << "a 2\n";
    REQUIRE(utimensat(AT_FDCWD, file.c_str(), times, 0) == 0);
    CHECK(get(**t, "a") == "1");
    bool found = false;
    for (int i = 0; i < 1000 && !found; ++i) {
        found = changed(**t);
        ::usleep(10'000);
    }
    CHECK(found);
    CHECK(get(**t, "a") == "2");
    CHECK_FALSE(changed(**t));
}

TEST_CASE("an address is looked up in Postfix's order", "[table]")
{
    const auto lookup = [](const char* spec, const char* address, bool ours) {
        const auto chain = table::Chain::open({spec});
        REQUIRE(chain);
        const auto hit = table::find_address_hit(*chain, *mail::parse_address(address), "+", ours);
        REQUIRE(hit);
        return *hit ? cat((*hit)->value, '|', (*hit)->extension) : std::string("-");
    };
    CHECK(lookup("inline:{u+x@d=1,u@d=2,@d=3}", "U+x@D", false) == "1|");
    CHECK(lookup("inline:{u@d=2,@d=3}", "u+x@d", false) == "2|+x");
    CHECK(lookup("inline:{u+x=1,u=2,@d=3}", "u+x@d", true) == "1|");
    CHECK(lookup("inline:{u=2,@d=3}", "u+x@d", true) == "2|+x");
    CHECK(lookup("inline:{u=2,@d=3}", "u+x@d", false) == "3|");
    CHECK(lookup("inline:{u=2}", "u", false) == "2|");
    CHECK(lookup("inline:{d=2}", "u@d", false) == "-");
    CHECK(lookup("static:all", "u@d", false) == "all|");
    const auto patterns = table::pattern_table_of(Pattern::pcre, "/^@d$/ x\n");
    CHECK(get(**patterns, "@d") == "x");                 // but partial keys never go to patterns:
    Folder folder;
    const std::string spec = "pcre:" + folder.write("p", "/^u@d$/ x\n/^@d$/ y\n");
    CHECK(lookup(spec.c_str(), "u+e@d", false) == "-");
    CHECK(lookup(spec.c_str(), "u@d", false) == "x|");
}

TEST_CASE("lists of domains: names, parents, files, tables, negation, order", "[table]")
{
    Folder folder;
    const std::string file = folder.write("domains", "# ours\nfile.example, !not.file.example\n  more.example\n");
    const std::string map = folder.write("map", "mapped.example x\n.sub.example x\npar.example x\n");
    const std::vector<std::string> patterns = {"!no.example.org", "example.org", ".dotted.example", file, "hash:" + map};
    struct Case {
        const char* domain;
        bool exact, parents;
    };
    const auto exact = table::MatchList::domains(patterns, false), parents = table::MatchList::domains(patterns, true);
    REQUIRE(exact);
    REQUIRE(parents);
    for (const Case& c : {Case{"EXAMPLE.org", true, true}, {"a.example.org", false, true}, {"no.example.org", false, false}, {"notexample.org", false, false},
                          {"x.dotted.example", true, false}, {"dotted.example", false, false}, {"file.example", true, true}, {"not.file.example", false, true},
                          {"more.example", true, true}, {"mapped.example", true, true}, {"a.b.sub.example", true, false}, {"a.par.example", false, true}, {"", false, false}}) {
        INFO(c.domain);
        CHECK(*exact->matches_domain(c.domain) == c.exact);
        CHECK(*parents->matches_domain(c.domain) == c.parents);
    }
    CHECK_FALSE(table::MatchList::domains({"/nonexistent/file"}, false));
    CHECK_FALSE(table::MatchList::domains({"!"}, false));
    auto list = *exact;
    folder.write("domains", "new.example\n");
    CHECK(changed(list));
    CHECK(*list.matches_domain("new.example"));
    CHECK_FALSE(*list.matches_domain("file.example"));
    const std::string loop = folder.write("loop", folder.path + "/loop\n");
    CHECK_FALSE(table::MatchList::domains({loop}, false));
}

TEST_CASE("lists of networks, and what is listed by itself", "[table]")
{
    Folder folder;
    const std::string map = folder.write("map", "203.0.113.5 x\n");
    const auto list = table::MatchList::networks({"!192.0.2.66", "127.0.0.0/8", "[::ffff:127.0.0.0]/104", "[::1]/128", "192.0.2.0/24", "10.0.0.1", "hash:" + map});
    REQUIRE(list);
    struct Case {
        const char* client;
        bool trusted, singly;
    };
    for (const Case& c : {Case{"127.0.0.1", true, false}, {"::1", true, true}, {"192.0.2.1", true, false}, {"192.0.2.66", false, false}, {"10.0.0.1", true, true},
                          {"10.0.0.2", false, false}, {"203.0.113.5", true, true}, {"2001:db8::1", false, false}}) {
        INFO(c.client);
        CHECK(*list->matches_client(ip(c.client)) == c.trusted);
        CHECK(list->lists_singly(ip(c.client)) == c.singly);
    }
    for (const char* bad : {"192.0.2.1/24", "300.0.0.1", "mynetwork", "10.0.0.0/40", "[::1"}) {
        INFO(bad);
        CHECK_FALSE(table::MatchList::networks({bad}));
    }
}

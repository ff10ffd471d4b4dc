// lib/table/check: what main.cf names must be there, and is told with the place that names it.
#include "t/unit/catch.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "lib/base/text.h"
#include "lib/table/check.h"

using namespace veredus;

namespace {
std::string checked(const std::string& text)
{
    const auto file = conf::File::parse(text, "main.cf");
    REQUIRE(file.ok());
    std::string out;
    for (const auto& d : table::check_sources(file)) append(out, d.str(), '\n');
    return out;
}
}  // namespace

TEST_CASE("missing tables and broken networks are errors with file and line", "[table]")
{
    CHECK(checked("transport_maps = inline:{a=smtp:b}\nmynetworks = 127.0.0.0/8 [::1]/128\n").empty());
    struct Case {
        const char *text, *wanted;
    };
    for (const Case& c : {
             Case{"\ntransport_maps = hash:/nonexistent/t\n", "main.cf:2: error: transport_maps: open /nonexistent/t: No such file or directory\n"},
             {"alias_maps = hash:/nonexistent/a\n", "main.cf:1: error: alias_maps: open /nonexistent/a: No such file or directory\n"},
             {"mynetworks = 127.0.0.1/8\n", "main.cf:1: error: mynetworks: \"127.0.0.1/8\" is no network: bits beyond the network length are set\n"},
             {"mydestination = /nonexistent/d\n", "main.cf:1: error: mydestination: open /nonexistent/d: No such file or directory\n"},
             {"relay_domains = socketmap:unix:x:y\n", "main.cf:1: error: relay_domains: "},
         }) {
        INFO(c.text);
        const std::string found = checked(c.text);
        INFO(found);
        CHECK(found.find(c.wanted) != std::string::npos);
    }
}

TEST_CASE("lines of a table that are not used are warnings", "[table]")
{
    std::string path = "/tmp/veredus-check-XXXXXX";
    const int fd = mkstemp(path.data());
    REQUIRE(fd >= 0);
    close(fd);
    std::ofstream(path) << "good value\nbad\n";
    const std::string found = checked(cat("transport_maps = hash:", path, "\n"));
    CHECK(found.starts_with(cat("main.cf:1: warning: transport_maps: ", path, ", line 2: ")));
    CHECK(checked(cat("alias_maps = hash:", path, "\n")).find("error") == std::string::npos);
    unlink(path.c_str());
}

TEST_CASE("lists of aliases that local cannot read are warnings, with what to do", "[table]")
{
    std::string folder = "/tmp/veredus-check-XXXXXX";
    REQUIRE(mkdtemp(folder.data()));
    const std::string aliases = folder + "/aliases", list = folder + "/list";
    std::ofstream(aliases) << "postmaster: root\nnews: alice, :include:" << list << "\n";
    const auto said = [&] { return checked(cat("alias_maps = hash:", aliases, "\n")); };
    const std::string where = cat("main.cf:1: warning: alias_maps: ", aliases, ", line 2: news: :include:", list, ": ");
    REQUIRE(chmod(folder.c_str(), 0755) == 0);
    CHECK(said() == cat(where, "it is not there: No such file or directory\n"));
    std::ofstream(list) << "bob\n";
    REQUIRE(chmod(list.c_str(), 0640) == 0);
    CHECK(said() == cat(where, "local reads it with no right but everyone's: chmod o+r ", list, "\n"));
    REQUIRE(chmod(list.c_str(), 0646) == 0);
    CHECK(said() == cat(where, "everyone may write to it: chmod o-w ", list, "\n"));
    REQUIRE(chmod(list.c_str(), 0644) == 0);
    CHECK(said().empty());
    REQUIRE(chmod(folder.c_str(), 0750) == 0);
    CHECK(said() == cat(where, "local reads it with no right but everyone's: chmod o+x ", folder, "\n"));
    for (const auto& one : {aliases, list}) unlink(one.c_str());
    rmdir(folder.c_str());
}

TEST_CASE("a $1 in a table that says what is run is a warning", "[table]")
{
    std::string path = "/tmp/veredus-check-XXXXXX";
    const int fd = mkstemp(path.data());
    REQUIRE(fd >= 0);
    close(fd);
    std::ofstream(path) << "/^tick-(.*)$/ |echo $1\n";
    for (const char* setting : {"alias_maps", "mailbox_command_maps", "mailbox_transport_maps", "fallback_transport_maps"})
        CHECK(checked(cat(setting, " = pcre:", path, "\n")).find(cat("main.cf:1: warning: ", setting, ": ", path, ", line 1: a $1 is not taken")) != std::string::npos);
    CHECK(checked(cat("virtual_alias_maps = pcre:", path, "\n")).empty());
    unlink(path.c_str());
}

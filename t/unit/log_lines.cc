// lib/log: the shape of lines, quoting, targets.
#include "t/unit/catch.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

#include "lib/log/log.h"

using namespace veredus;

namespace {
std::string drain(int fd)
{
    char buffer[65536];
    const ssize_t n = ::recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    return n > 0 ? std::string(buffer, static_cast<std::size_t>(n)) : std::string();
}
}  // namespace

TEST_CASE("a line has time, ident/role[pid] and level, and can never become two lines", "[log]")
{
    auto pair = socket_pair(SOCK_STREAM);
    REQUIRE(pair);
    log::Settings settings;
    settings.target = log::Target::file;
    settings.role = "smtpd";
    REQUIRE(log::open(settings, std::move(pair->first)));
    log::info("hello\nworld");
    log::warning("w");
    log::flush();
    const std::string text = drain(pair->second.get());
    CHECK(std::count(text.begin(), text.end(), '\n') == 2);
    CHECK(text.find(cat("veredus/smtpd[", getpid(), "]: hello?world\n")) != std::string::npos);
    CHECK(text.find("]: warning: w\n") != std::string::npos);
    CHECK(text.find(' ') == 3);      // "Nov 24 …"
    (void)log::open({});
}

TEST_CASE("RFC 3339 time stamps carry the zone", "[log]")
{
    auto pair = socket_pair(SOCK_STREAM);
    log::Settings settings;
    settings.target = log::Target::file;
    settings.rfc3339 = true;
    REQUIRE(log::open(settings, std::move(pair->first)));
    log::info("x");
    log::flush();
    const std::string text = drain(pair->second.get());
    REQUIRE(text.size() > 32);
    CHECK(text[4] == '-');
    CHECK(text[10] == 'T');
    CHECK((text[26] == '+' || text[26] == '-'));
    (void)log::open({});
}

TEST_CASE("syslog gets one datagram per line, with priority and facility mail", "[log]")
{
    char dir[] = "/tmp/veredus-log-XXXXXX";
    REQUIRE(mkdtemp(dir));
    const std::string path = cat(std::string_view(dir), "/log");
    Fd server(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path.c_str());
    REQUIRE(::bind(server.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    log::Settings settings;
    settings.target = log::Target::syslog;
    settings.path = path;
    settings.role = "qmgr";
    REQUIRE(log::open(settings));
    log::info("one");
    log::warning("two");
    log::flush();
    const std::string one = drain(server.get()), two = drain(server.get());
    CHECK(one.substr(0, 4) == "<22>");
    CHECK(one.substr(one.size() - 5) == ": one");
    CHECK(two.substr(0, 4) == "<20>");
    (void)log::open({});
    ::unlink(path.c_str());
    ::rmdir(dir);
}

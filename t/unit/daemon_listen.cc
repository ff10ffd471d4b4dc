// The forms of listener addresses.
#include "t/unit/catch.h"

#include <sys/socket.h>

#include "lib/base/text.h"
#include "lib/daemon/listen.h"

using namespace veredus;
using daemon::ListenSpec;

TEST_CASE("every documented form of a listener is read", "[daemon][listen]")
{
    const struct {
        const char* text;
        ListenSpec spec;
    } cases[] = {
        {"25", {"", 25, "", false}},
        {"smtp", {"", 25, "", false}},
        {"lmtp", {"", 24, "", false}},
        {"submissions/tls", {"", 465, "", true}},
        {"*:25", {"", 25, "", false}},
        {"0", {"", 0, "", false}},
        {"mail.example.org:2525", {"mail.example.org", 2525, "", false}},
        {"192.0.2.1:25", {"192.0.2.1", 25, "", false}},
        {"[192.0.2.1]:25", {"192.0.2.1", 25, "", false}},
        {"[::1]:25", {"::1", 25, "", false}},
        {"[2001:db8::1]:465/tls", {"2001:db8::1", 465, "", true}},
        {"unix:/run/lmtp", {"", 0, "/run/lmtp", false}},
        {"UNIX:/run/lmtp/TLS", {"", 0, "/run/lmtp", true}},
    };
    for (const auto& c : cases) {
        INFO(c.text);
        const auto spec = daemon::parse_listen(c.text);
        REQUIRE(spec);
        CHECK(*spec == c.spec);
    }
}

TEST_CASE("what is no listener is refused", "[daemon][listen]")
{
    for (const char* text : {"", "70000", "-1", "25 26", "::1:25", "host:", "[host]:25", "[::1]", "unix:", "unix:relative", "a/b:25", "25/ssl", "host:25:26", "no-such-service", "25/tcp", "[::1:25"}) {
        INFO(text);
        CHECK_FALSE(daemon::parse_listen(text));
    }
    CHECK_FALSE(daemon::parse_listen(cat("unix:/", std::string(200, 'x'))));
}

static std::vector<std::string> texts(const char* spec, std::vector<std::string> interfaces, bool ipv4, bool ipv6)
{
    const auto points = daemon::listen_points("smtpd_listen", *daemon::parse_listen(spec), {std::move(interfaces), ipv4, ipv6});
    std::vector<std::string> list;
    if (!points) return {"error"};
    for (const auto& point : *points) list.push_back(point.text);
    return list;
}

TEST_CASE("a port alone listens on inet_interfaces within inet_protocols", "[daemon][listen]")
{
    using Texts = std::vector<std::string>;
    CHECK(texts("25", {"all"}, true, true) == Texts{"0.0.0.0:25", "[::]:25"});
    CHECK(texts("465/tls", {"all"}, true, false) == Texts{"0.0.0.0:465/tls"});
    CHECK(texts("25", {"loopback-only"}, true, true) == Texts{"127.0.0.1:25", "[::1]:25"});
    CHECK(texts("25", {"Loopback-Only"}, false, true) == Texts{"[::1]:25"});
    CHECK(texts("25", {"192.0.2.1", "[2001:db8::1]", "192.0.2.1"}, true, true) == Texts{"192.0.2.1:25", "[2001:db8::1]:25"});
    CHECK(texts("192.0.2.9:25", {"loopback-only"}, true, true) == Texts{"192.0.2.9:25"});
    CHECK(texts("unix:/run/x", {"all"}, true, true) == Texts{"unix:/run/x"});
    CHECK(texts("25", {"no-such-host.invalid"}, true, true) == Texts{"error"});
}

TEST_CASE("a taken port is an error that names the setting and the address", "[daemon][listen]")
{
    const auto any = daemon::listen_points("smtpd_listen", *daemon::parse_listen("127.0.0.1:0"), {{}, true, false});
    REQUIRE(any);
    const auto first = daemon::bind_point((*any)[0], 1, "smtpd_listen");
    REQUIRE(first);
    const uint16_t port = net::Address::local_of(first->get())->port();
    const auto same = daemon::listen_points("smtpd_listen", *daemon::parse_listen(cat("127.0.0.1:", port)), {{}, true, false});
    const auto second = daemon::bind_point((*same)[0], 1, "smtpd_listen");
    REQUIRE_FALSE(second);
    CHECK(second.error().code == EADDRINUSE);
    CHECK(second.error().text.find("smtpd_listen") == 0);
    CHECK(second.error().text.find(cat(port)) != std::string::npos);
}

TEST_CASE("the folder of a Unix socket is there, or right below /run", "[daemon]")
{
    const auto missing = [](const char* text) {
        const auto points = daemon::listen_points("lmtp_listen", *daemon::parse_listen(text), {});
        REQUIRE(points);
        const auto there = daemon::missing_folder(points->at(0), "lmtp_listen");
        return there ? std::string() : there.error().text;
    };
    for (const char* good : {"unix:/run/veredus-no-such-folder/lmtp", "unix:/tmp/lmtp", "unix:/lmtp", "unix:/tmp/lmtp/tls", "127.0.0.1:24"}) CHECK(missing(good).empty());
    CHECK(missing("unix:/tmp/veredus-no-such-folder/lmtp/tls") == "lmtp_listen: the socket's folder /tmp/veredus-no-such-folder: No such file or directory");
    CHECK(!missing("unix:/run/veredus-no-such-folder/sub/lmtp").empty());
    CHECK(!missing("unix:/run/../veredus-no-such-folder/lmtp").empty());
}

TEST_CASE("what listens is gathered once for all roles; what cannot be is said with the setting that is the cause", "[daemon]")
{
    const auto wanted = [](const std::string& text, std::vector<std::string>& problems) {
        return daemon::wanted_listeners(conf::File::parse(cat("inet_protocols = ipv4\nimapd_listen =\npop3d_listen =\n", text), "m").values(), problems);
    };
    std::vector<std::string> problems;
    CHECK(wanted("smtpd_listen = 25, 127.0.0.1:26\nsubmission_listen = 587, 465/tls\n", problems).size() == 4);
    CHECK(problems.empty());
    CHECK(wanted("smtpd_listen = 0, 0\nsubmission_listen =\n", problems).size() == 2);    // any port that is free
    CHECK(problems.empty());
    CHECK(wanted("smtpd_listen = 25, 25/tls\nsubmission_listen = 587, 25\n", problems).size() == 2);
    CHECK(problems == std::vector<std::string>{"smtpd_listen: 0.0.0.0:25 stands in submission_listen, too"});
    problems.clear();
    CHECK(wanted("smtpd_listen = 25, 25/tls\nsubmission_listen =\n", problems).size() == 1);
    CHECK(problems == std::vector<std::string>{"smtpd_listen: 0.0.0.0:25 stands twice there"});
    problems.clear();
    CHECK(wanted("inet_interfaces = no-such-host.invalid\nsmtpd_listen = 25, 26\nsubmission_listen =\n", problems).empty());
    REQUIRE(problems.size() == 1);
    CHECK(problems[0].find("inet_interfaces: no-such-host.invalid: ") == 0);
}

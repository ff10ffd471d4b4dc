// lib/reception: names of clients, asked of a name server that lies, is silent, or knows nothing.
#include "t/unit/catch.h"

#include <sys/socket.h>

#include "lib/base/clock.h"
#include "lib/reception/domains.h"
#include "lib/reception/peer_name.h"
#include "t/unit/dns_packets.h"

using namespace veredus;
using namespace veredus::reception;
namespace wire = veredus::dns_test;
using std::chrono::milliseconds;

namespace {

// good.example is 192.0.2.1; the name of 192.0.2.2 leads elsewhere; 192.0.2.3 has none; about 192.0.2.4 nobody speaks.
class NameServer {
public:
    explicit NameServer(Loop& loop) : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0))
    {
        const auto any = *net::Address::parse_ip("127.0.0.1", 0);
        REQUIRE(::bind(fd_.get(), any.raw(), any.raw_size()) == 0);
        watch_ = std::make_unique<Watch>(loop, fd_.get(), readable, [this](unsigned) { serve(); });
    }
    net::Address address() const { return *net::Address::local_of(fd_.get()); }

private:
    void serve()
    {
        char buffer[1500];
        sockaddr_storage from{};
        socklen_t size = sizeof from;
        const ssize_t n = ::recvfrom(fd_.get(), buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &size);
        if (n <= 12) return;
        const std::string query(buffer, static_cast<std::size_t>(n));
        const std::string name = wire::asked_name(query);
        if (name.starts_with("4.2.0.192")) return;
        wire::Packet p;
        p.id = wire::asked_id(query);
        p.question_name = name;
        p.question_type = wire::asked_type(query);
        const auto ptr = [&](const char* target) { p.add(wire::record(name, wire::ptr, 300, wire::wire_name(target))); };
        if (name == "1.2.0.192.in-addr.arpa") ptr("good.example");
        else if (name == "2.2.0.192.in-addr.arpa") ptr("good.example");
        else if (name == "5.2.0.192.in-addr.arpa") ptr("nowhere.example");
        else if (name == "good.example") p.add(wire::a_record(name, wire::test_net_one));
        else p.rcode = 3;
        const std::string bytes = p.bytes();
        (void)!::sendto(fd_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
    }
    Fd fd_;
    std::unique_ptr<Watch> watch_;
};

}  // namespace

TEST_CASE("a client's name counts only when it leads back to its address, and silence ends the wait", "[smtpd][rfc5321-4.4]")
{
    auto loop = *Loop::create();
    NameServer server(*loop);
    dns::Config config;
    config.servers = {server.address()};
    PeerNames names(*loop);
    names.set_resolver(config);
    const auto ask = [&](const char* ip) {
        std::optional<PeerName> heard;
        const auto now = names.find(*net::Address::parse_ip(ip, 25), milliseconds(300), [&](PeerName name) { heard = std::move(name); });
        REQUIRE_FALSE(now);
        for (int i = 0; i < 500 && !heard; ++i) loop->run_once(milliseconds(20));
        REQUIRE(heard);
        return *heard;
    };
    CHECK(ask("192.0.2.1").name == "good.example");
    CHECK(ask("192.0.2.1").warning.empty());
    CHECK(ask("192.0.2.2").name == "unknown");
    CHECK(ask("192.0.2.2").warning == "hostname good.example does not resolve to address 192.0.2.2");
    CHECK(ask("192.0.2.3").name == "unknown");
    CHECK(ask("192.0.2.3").warning.empty());
    CHECK(ask("192.0.2.4").name == "unknown");
    CHECK(ask("192.0.2.5").warning.starts_with("hostname nowhere.example does not resolve to address 192.0.2.5: "));
}

TEST_CASE("nobody waits twice for a DNS that does not speak", "[submission][dns]")
{
    auto loop = *Loop::create();
    NameServer server(*loop);
    dns::Config config;
    config.servers = {server.address()};
    config.timeout = milliseconds(60'000);
    dns::Resolver resolver(*loop, config);
    Domains domains(*loop, [&] { return &resolver; });
    using Found = Domains::Found;
    const auto ask = [&](const std::string& domain, milliseconds patience, int turns) {
        std::optional<Found> heard;
        domains.find(domain, patience, "client", [&](Found found) { heard = found; });
        for (int i = 0; i < turns && !heard; ++i) loop->run_once(milliseconds(turns > 10 ? 20 : 0));
        return heard;
    };
    CHECK(ask("good.example", milliseconds(60'000), 500) == Found::yes);
    CHECK(ask("4.2.0.192.example", milliseconds(600), 500) == Found::unknown);
    CHECK(ask("4.2.0.192.EXAMPLE", milliseconds(60'000), 3) == Found::unknown);        // at once
    CHECK(ask("4.2.0.192.other.example", milliseconds(60'000), 500) == Found::unknown); // after a second
    CHECK(ask("GOOD.example", milliseconds(60'000), 500) == Found::yes);
    // Two that ask at the same time wait for the same silence.
    std::optional<Found> first, second;
    domains.find("4.2.0.192.third.example", milliseconds(700), "client", [&](Found found) { first = found; });
    for (const int64_t end = system_clock().mono_us() + 400'000; system_clock().mono_us() < end;) loop->run_once(milliseconds(20));
    domains.find("4.2.0.192.third.example", milliseconds(700), "other", [&](Found found) { second = found; });
    for (int i = 0; i < 500 && !first; ++i) loop->run_once(milliseconds(20));
    for (int i = 0; i < 10 && !second; ++i) loop->run_once(milliseconds(20));    // alone he would wait twice as long as that
    CHECK(first == Found::unknown);
    CHECK(second == Found::unknown);
}

// anvil: the counts per client, and what the roles keep when it is away.
#include "t/unit/catch.h"

#include <limits>

#include "lib/base/text.h"
#include "lib/reception/meters.h"
#include "master/anvil/counters.h"

using namespace veredus;
using ipc::AnvilCounts;
using ipc::AnvilEvent;
using Kind = AnvilEvent::Kind;

namespace {

class TestClock final : public Clock {
public:
    int64_t now = 1'000'000'000'000;
    int64_t wall_us() const override { return now; }
    int64_t mono_us() const override { return now; }
};

}  // namespace

TEST_CASE("a rate counts the events of one kind of one client of one service, until its unit is over", "[anvil]")
{
    TestClock clock;
    anvil::Counters counters(clock);
    counters.set_unit(10 * us_per_second);
    for (uint32_t i = 1; i <= 3; ++i) CHECK(counters.count(1, "smtp", {Kind::message, "192.0.2.7", 1}).rate == i);
    CHECK(counters.count(2, "smtp", {Kind::message, "192.0.2.7", 1}).rate == 4);       // another process of the role
    CHECK(counters.count(2, "smtp", {Kind::message, "192.0.2.8", 1}).rate == 1);
    CHECK(counters.count(2, "submission", {Kind::message, "192.0.2.7", 1}).rate == 1);
    CHECK(counters.count(2, "smtp", {Kind::recipient, "192.0.2.7", 5}).rate == 5);
    CHECK(counters.count(2, "smtp", {Kind::message, "192.0.2.7", 0}).rate == 4);       // only asked
    clock.now += 9 * us_per_second;
    CHECK(counters.count(1, "smtp", {Kind::message, "192.0.2.7", 1}).rate == 5);
    clock.now += us_per_second;
    CHECK(counters.count(1, "smtp", {Kind::message, "192.0.2.7", 1}).rate == 1);
    const uint32_t most = std::numeric_limits<uint32_t>::max();
    CHECK(counters.count(1, "smtp", {Kind::message, "192.0.2.7", most}).rate == most);
    CHECK(counters.count(1, "smtp", {Kind::message, "192.0.2.7", most}).rate == most);
}

TEST_CASE("connections are those of all processes; a process gives back its own only, and with it they all go", "[anvil]")
{
    TestClock clock;
    anvil::Counters counters(clock);
    CHECK(counters.count(1, "smtp", {Kind::connect, "a", 1}).connections == 1);
    CHECK(counters.count(2, "smtp", {Kind::connect, "a", 1}).connections == 2);
    CHECK(counters.count(2, "smtp", {Kind::connect, "a", 1}).connections == 3);
    CHECK(counters.count(3, "smtp", {Kind::disconnect, "a", 1}).connections == 3);     // has none
    CHECK(counters.count(1, "smtp", {Kind::disconnect, "a", 5}).connections == 2);     // had one
    CHECK(counters.count(1, "smtp", {Kind::held, "a", 4}).connections == 6);
    CHECK(counters.count(1, "smtp", {Kind::held, "a", 2}).connections == 4);
    CHECK(counters.count(1, "smtp", {Kind::message, "a", 1}).connections == 4);
    counters.drop_peer(2);
    CHECK(counters.count(1, "smtp", {Kind::message, "a", 0}).connections == 2);
    counters.drop_peer(2);
    counters.drop_peer(1);
    CHECK(counters.count(9, "smtp", {Kind::message, "a", 0}).connections == 0);
}

TEST_CASE("memory is bounded: who was seen longest ago is forgotten, and connected clients after others", "[anvil]")
{
    TestClock clock;
    anvil::Counters counters(clock, 3);
    counters.count(1, "smtp", {Kind::connect, "connected", 1});
    counters.count(1, "smtp", {Kind::message, "old", 1});
    counters.count(1, "smtp", {Kind::message, "new", 1});
    for (int i = 0; i < 1000; ++i) counters.count(1, "smtp", {Kind::message, cat("made-up-", i), 1});
    CHECK(counters.size() == 3);
    CHECK(counters.count(1, "smtp", {Kind::connect, "connected", 1}).connections == 2);
    CHECK(counters.count(1, "smtp", {Kind::message, "old", 1}).rate == 1);             // begins anew
    // A table full of connected clients takes newcomers as well.
    for (int i = 0; i < 100; ++i) counters.count(1, "smtp", {Kind::connect, cat("c", i), 1});
    CHECK(counters.size() == 3);
    for (int i = 0; i < 100; ++i) counters.count(1, "smtp", {Kind::disconnect, cat("c", i), 1});
    counters.drop_peer(1);
    CHECK(counters.count(2, "smtp", {Kind::message, "c99", 0}).connections == 0);
}

TEST_CASE("statistics are Postfix's lines, of the time since the last ones", "[anvil]")
{
    TestClock clock;
    anvil::Counters counters(clock);
    CHECK(counters.statistics().empty());
    for (int i = 0; i < 3; ++i) counters.count(1, "smtp", {Kind::connect, "192.0.2.7", 1});
    counters.count(1, "smtp", {Kind::connect, "192.0.2.8", 1});
    counters.count(1, "smtp", {Kind::auth, "192.0.2.8", 1});
    const auto lines = counters.statistics();
    REQUIRE(lines.size() == 4);
    CHECK(lines[0].starts_with("statistics: max connection rate 3/60s for (smtp:192.0.2.7) at Jan 1"));
    CHECK(lines[1].starts_with("statistics: max connection count 3 for (smtp:192.0.2.7) at Jan 1"));
    CHECK(lines[2].starts_with("statistics: max auth rate 1/60s for (smtp:192.0.2.8) at "));
    CHECK(lines[3].starts_with("statistics: max cache size 2 at "));
    CHECK(counters.statistics().empty());
}

TEST_CASE("messages of anvil: there and back, and nothing that is cut, too long or of no kind", "[anvil][hostile]")
{
    for (uint8_t kind = 1; kind <= 7; ++kind) {
        const AnvilEvent event{static_cast<Kind>(kind), "2001:db8::/64", 7};
        const std::string body = event.encode();
        const auto back = AnvilEvent::decode(body);
        REQUIRE(back);
        CHECK((back->kind == event.kind && back->client == event.client && back->amount == 7));
        for (std::size_t n = 0; n < body.size(); ++n) CHECK_FALSE(AnvilEvent::decode(body.substr(0, n)));
        CHECK_FALSE(AnvilEvent::decode(body + "x"));
    }
    CHECK_FALSE(AnvilEvent::decode(AnvilEvent{static_cast<Kind>(0), "a", 1}.encode()));
    CHECK_FALSE(AnvilEvent::decode(AnvilEvent{static_cast<Kind>(8), "a", 1}.encode()));
    CHECK_FALSE(AnvilEvent::decode(AnvilEvent{Kind::auth, "", 1}.encode()));
    CHECK_FALSE(AnvilEvent::decode(AnvilEvent{Kind::auth, std::string(257, 'a'), 1}.encode()));
    const std::string counts = AnvilCounts{3, 4}.encode();
    CHECK(AnvilCounts::decode(counts)->connections == 4);
    for (std::size_t n = 0; n < counts.size(); ++n) CHECK_FALSE(AnvilCounts::decode(counts.substr(0, n)));
}

TEST_CASE("a client is an IPv4 address or an IPv6 network of 64 bits", "[anvil]")
{
    CHECK(reception::meter_name(*net::Address::parse_ip("192.0.2.7", 1)) == "192.0.2.7");
    CHECK(reception::meter_name(*net::Address::parse_ip("2001:db8:1:2:3:4:5:6", 1)) == "2001:db8:1:2::/64");
    CHECK(reception::meter_name(*net::Address::parse_ip("2001:db8:1:2::9", 1)) == "2001:db8:1:2::/64");
}

TEST_CASE("while anvil is away nobody waits; when it is back it hears what is open", "[anvil]")
{
    bool there = false;
    std::vector<AnvilEvent> notes;
    std::vector<std::function<void(Result<ipc::Message>)>> calls;
    reception::Meters meters({[&] { return there; }, [&](std::string, std::function<void(Result<ipc::Message>)> done) { calls.push_back(std::move(done)); },
                              [&](std::string body) { notes.push_back(*AnvilEvent::decode(body)); }});
    unsigned answered = 0;
    meters.connect("a", [&](const auto& counts) { answered += !counts; });
    meters.connect("a", [&](const auto& counts) { answered += !counts; });
    meters.connect("b", [&](const auto& counts) { answered += !counts; });
    meters.disconnect("b");
    CHECK((answered == 3 && calls.empty() && notes.empty()));
    there = true;
    meters.tell_again();
    REQUIRE(notes.size() == 1);
    CHECK((notes[0].kind == Kind::held && notes[0].client == "a" && notes[0].amount == 2));
    meters.connect("a", [&](const auto& counts) { answered += counts && counts->connections == 3; });
    REQUIRE(calls.size() == 1);
    ipc::Message message;
    message.body = AnvilCounts{1, 3}.encode();
    calls[0](std::move(message));
    CHECK(answered == 4);
    meters.count(Kind::auth, "a", [&](const auto& counts) { answered += !counts; });
    ipc::Message broken;
    broken.body = "x";
    calls[1](std::move(broken));                // an answer that is none refuses nobody
    meters.count(Kind::auth, "a", [&](const auto& counts) { answered += !counts; });
    calls[2](fail("gone"));
    CHECK(answered == 6);
    meters.disconnect("a");
    CHECK((notes.size() == 2 && notes[1].kind == Kind::disconnect));
    meters.disconnect("nobody");
    CHECK(notes.size() == 2);
}

// lib/dns: the resolver against servers in the same loop that lose, cut, lie, delay and refuse.
#include "t/unit/catch.h"

#include <map>

#include "lib/base/clock.h"
#include "lib/dns/resolver.h"
#include "lib/dns/turns.h"
#include "lib/net/stream.h"
#include "t/unit/dns_server.h"

using namespace veredus;
using namespace veredus::dns;
namespace wire = veredus::dns_test;

namespace {

using dns_test::FakeServer;
using dns_test::reply_to;

std::vector<std::string> good(const std::string& query)
{
    return {reply_to(query).add(wire::a_record(wire::asked_name(query), wire::test_net_one)).bytes()};
}
std::vector<std::string> with_rcode(const std::string& query, unsigned rcode)
{
    auto p = reply_to(query);
    p.rcode = rcode;
    return {p.bytes()};
}

struct Bench {
    std::unique_ptr<Loop> loop = std::move(*Loop::create());
    Config config(std::vector<net::Address> servers, int timeout_ms = 5000) const
    {
        Config c;
        c.servers = std::move(servers);
        c.timeout = std::chrono::milliseconds(timeout_ms);
        return c;
    }
    template <class Condition> bool until(Condition condition)
    {
        const int64_t end = system_clock().mono_us() + 30 * us_per_second; // only a failing test gets there
        while (!condition() && system_clock().mono_us() < end) loop->run_once(std::chrono::milliseconds(10));
        return condition();
    }
    Answer ask(Resolver& resolver, const std::string& name, Kind kind = Kind::a)
    {
        std::optional<Answer> answer;
        resolver.lookup(name, kind, [&](const Answer& a) { answer = a; });
        REQUIRE_FALSE(answer); // never from inside lookup()
        REQUIRE(until([&] { return answer.has_value(); }));
        return *answer;
    }
};

} // namespace

TEST_CASE("an answer comes, and the second time from the cache", "[dns]")
{
    Bench b;
    FakeServer server(*b.loop, [](const std::string& q, bool) { return good(q); });
    Resolver resolver(*b.loop, b.config({server.address()}));
    CHECK(b.ask(resolver, "mx.example.org").records[0].address.ip() == "192.0.2.1");
    CHECK(b.ask(resolver, "MX.example.org.").status == Status::ok);
    CHECK(server.queries == std::vector<std::string>{"mx.example.org/1"});
    CHECK(b.ask(resolver, "bad..name").status == Status::nxdomain);
    CHECK(server.queries.size() == 1);
}

TEST_CASE("identical questions share one query, and cancelled ones are not told", "[dns]")
{
    Bench b;
    FakeServer server(*b.loop, [](const std::string& q, bool) { return good(q); });
    Resolver resolver(*b.loop, b.config({server.address()}));
    int told = 0, cancelled = 0;
    std::vector<Resolver::Ticket> tickets;
    for (int i = 0; i < 5; ++i) resolver.lookup("h.example", Kind::a, [&](const Answer&) { ++told; });
    for (int i = 0; i < 5; ++i)
        tickets.push_back(resolver.lookup("h.example", Kind::a, [&](const Answer&) { ++cancelled; }));
    const auto lonely = resolver.lookup("lonely.example", Kind::a, [&](const Answer&) { ++cancelled; });
    for (const auto t : tickets) resolver.cancel(t);
    resolver.cancel(lonely);
    // one that is cancelled between the answer and its call
    Resolver::Ticket last = 0;
    resolver.lookup("h.example", Kind::a, [&](const Answer&) { resolver.cancel(last); });
    last = resolver.lookup("h.example", Kind::a, [&](const Answer&) { ++cancelled; });
    REQUIRE(b.until([&] { return told == 5; }));
    b.ask(resolver, "end.example");
    CHECK(cancelled == 0);
    CHECK(server.queries == std::vector<std::string>{"h.example/1", "end.example/1"});
}

TEST_CASE("a lost packet is asked for again, at the next server", "[dns]")
{
    Bench b;
    FakeServer deaf(*b.loop, [](const std::string&, bool) { return std::vector<std::string>(); });
    FakeServer server(*b.loop, [](const std::string& q, bool) { return good(q); });
    Resolver resolver(*b.loop, b.config({deaf.address(), server.address()}, 50));
    CHECK(b.ask(resolver, "h.example").status == Status::ok);
    CHECK(deaf.queries.size() == 1);
}

TEST_CASE("each try has an id of its own, and silence ends as time-out", "[dns]")
{
    Bench b;
    std::vector<std::string> held;
    FakeServer server(*b.loop, [&](const std::string& q, bool) -> std::vector<std::string> {
        held.push_back(q);
        if (wire::asked_name(q) != "slow.example" || held.size() < 2) return {};
        auto late = good(held[0]); // goes to the second socket: not its id
        late.push_back(good(held[1])[0]);
        return late;
    });
    Resolver resolver(*b.loop, b.config({server.address()}, 60));
    CHECK(b.ask(resolver, "slow.example").status == Status::ok);
    CHECK(held.size() == 2);
    CHECK(wire::asked_id(held[0]) != wire::asked_id(held[1]));
    CHECK(b.ask(resolver, "silent.example").status == Status::timeout);
    CHECK(held.size() == 4);
}

TEST_CASE("SERVFAIL, REFUSED and a closed port go to the next server at once", "[dns]")
{
    Bench b;
    net::Address closed;
    {
        FakeServer gone(*b.loop, [](const std::string&, bool) { return std::vector<std::string>(); });
        closed = gone.address();
    }
    for (const unsigned rcode : {2u, 5u}) {
        FakeServer bad(*b.loop, [&](const std::string& q, bool) { return with_rcode(q, rcode); });
        FakeServer server(*b.loop, [](const std::string& q, bool) { return good(q); });
        Resolver resolver(*b.loop, b.config({closed, bad.address(), server.address()}, 60'000));
        CHECK(b.ask(resolver, "h.example").status == Status::ok);
        CHECK(bad.queries.size() == 1);
    }
    FakeServer bad(*b.loop, [](const std::string& q, bool) { return with_rcode(q, 2); });
    Resolver resolver(*b.loop, b.config({bad.address(), closed}, 60'000));
    CHECK(b.ask(resolver, "h.example").status == Status::servfail);
    CHECK(bad.queries.size() == 1); // it said so: no use in asking it again
    CHECK(b.ask(resolver, "h.example").status == Status::servfail);
    CHECK(bad.queries.size() == 1); // and for some seconds the failure is remembered
}

TEST_CASE("a server without EDNS is asked again without, and remembered", "[dns][rfc6891-7]")
{
    for (const unsigned rcode : {1u, 4u})
        for (const bool bare : {false, true}) {
            Bench b;
            FakeServer old(*b.loop, [&](const std::string& q, bool) {
                if (!wire::has_edns(q)) return good(q);
                auto p = reply_to(q);
                p.rcode = rcode;
                p.question_count = bare ? 0 : 1;
                return std::vector<std::string>{p.bytes()};
            });
            Resolver resolver(*b.loop, b.config({old.address()}, 60'000));
            CHECK(b.ask(resolver, "h.example").status == Status::ok);
            CHECK(old.queries.size() == 2);
            CHECK(b.ask(resolver, "i.example").status == Status::ok);
            CHECK(old.queries.size() == 3);
        }
}

TEST_CASE("a truncated answer is fetched over TCP", "[dns][rfc7766]")
{
    Bench b;
    FakeServer server(*b.loop, [](const std::string& q, bool tcp) -> std::vector<std::string> {
        auto p = reply_to(q);
        if (!tcp) {
            p.flags |= wire::tc;
            return {p.bytes()};
        }
        for (int i = 0; i < 100; ++i)
            p.add(
                wire::mx_record(wire::asked_name(q), 10, "mx" + std::to_string(i) + ".a-rather-long-name.example.org"));
        return {p.bytes()};
    });
    Resolver resolver(*b.loop, b.config({server.address()}, 60'000));
    const Answer answer = b.ask(resolver, "big.example", Kind::mx);
    CHECK(answer.records.size() == 100);
    CHECK(server.queries == std::vector<std::string>{"big.example/15", "tcp:big.example/15"});
}

TEST_CASE("TCP that breaks or lies leads to the next server", "[dns]")
{
    Bench b;
    FakeServer cut(*b.loop, [](const std::string& q, bool tcp) -> std::vector<std::string> {
        auto p = reply_to(q);
        if (!tcp)
            p.flags |= wire::tc;
        else
            p.id ^= 1;
        return {p.bytes()};
    });
    FakeServer server(*b.loop, [](const std::string& q, bool) { return good(q); });
    Resolver resolver(*b.loop, b.config({cut.address(), server.address()}, 60'000));
    CHECK(b.ask(resolver, "h.example").status == Status::ok);
}

TEST_CASE("spoofed ids and questions are passed over until the true answer comes", "[dns]")
{
    Bench b;
    FakeServer server(*b.loop, [](const std::string& q, bool) {
        std::vector<std::string> packets{"", "x", std::string(12, '\0')};
        for (int i = 1; i < 50; ++i) {
            auto p = reply_to(q).add(wire::a_record(wire::asked_name(q), "\x0a\x06\x06\x06"));
            p.id = static_cast<uint16_t>(p.id + i);
            packets.push_back(p.bytes());
        }
        auto other = reply_to(q).add(wire::a_record("evil.example", "\x0a\x06\x06\x06"));
        other.question_name = "evil.example";
        packets.push_back(other.bytes());
        packets.push_back(good(q)[0]);
        return packets;
    });
    Resolver resolver(*b.loop, b.config({server.address()}, 60'000));
    CHECK(b.ask(resolver, "h.example").records[0].address.ip() == "192.0.2.1");
}

TEST_CASE("aliases are chased over several queries, and loops end", "[dns]")
{
    Bench b;
    FakeServer server(*b.loop, [](const std::string& q, bool) -> std::vector<std::string> {
        const std::string name = wire::asked_name(q);
        static const std::map<std::string, std::string> next{{"a.example", "b.example"},
                                                             {"b.example", "c.example"},
                                                             {"loop1.example", "loop2.example"},
                                                             {"loop2.example", "loop1.example"}};
        if (const auto to = next.find(name); to != next.end())
            return {reply_to(q).add(wire::cname_record(name, to->second, 7)).bytes()};
        return good(q);
    });
    Resolver resolver(*b.loop, b.config({server.address()}, 60'000));
    const Answer answer = b.ask(resolver, "a.example");
    CHECK(answer.status == Status::ok);
    CHECK(answer.canonical == "c.example");
    CHECK(answer.ttl == 7);
    CHECK(server.queries.size() == 3);
    CHECK(b.ask(resolver, "loop1.example").status == Status::broken);
    CHECK(server.queries.size() <= 3 + max_hops + 1);
}

TEST_CASE("authenticity counts only from a resolver that is trusted", "[dns]")
{
    Bench b;
    FakeServer server(*b.loop, [](const std::string& q, bool) {
        auto p = reply_to(q).add(wire::a_record(wire::asked_name(q), wire::test_net_one));
        p.flags |= wire::ad;
        return std::vector<std::string>{p.bytes()};
    });
    Config config = b.config({server.address()}, 60'000);
    Resolver far(*b.loop, config);
    CHECK_FALSE(b.ask(far, "h.example").authentic);
    config.trust_ad = true;
    Resolver near(*b.loop, config);
    CHECK(b.ask(near, "h.example").authentic);
}

TEST_CASE("a thousand questions at once get their answers with bounded sockets", "[dns]")
{
    Bench b;
    FakeServer server(*b.loop, [](const std::string& q, bool) { return good(q); });
    Config config =
        b.config({server.address()}, 2'000); // a burst may overflow the server's socket: those are asked again
    config.attempts = 5;
    Resolver resolver(*b.loop, config);
    int told = 0;
    for (int i = 0; i < 1000; ++i)
        resolver.lookup("h" + std::to_string(i) + ".example", Kind::a,
                        [&](const Answer& a) { told += a.status == Status::ok; });
    b.until([&] { return told == 1000; });
    CHECK(told == 1000);
}

TEST_CASE("a resolver may die with questions under way, even in an answer", "[dns]")
{
    Bench b;
    FakeServer server(*b.loop, [](const std::string& q, bool) { return good(q); });
    auto resolver = std::make_unique<Resolver>(*b.loop, b.config({server.address()}, 60'000));
    bool died = false;
    for (int i = 0; i < 3; ++i)
        resolver->lookup("h.example", Kind::a, [&](const Answer&) { resolver.reset(), died = true; });
    resolver->lookup("other.example", Kind::a, [&](const Answer&) {});
    CHECK(b.until([&] { return died; }));
    for (int i = 0; i < 3; ++i) b.loop->run_once(std::chrono::milliseconds(1));
}

TEST_CASE("another resolv.conf counts for the next question", "[dns]")
{
    Bench b;
    FakeServer one(*b.loop, [](const std::string& q, bool) { return good(q); });
    FakeServer two(*b.loop, [](const std::string& q, bool) { return with_rcode(q, 3); });
    Resolver resolver(*b.loop, b.config({one.address()}, 60'000));
    CHECK(b.ask(resolver, "h.example").status == Status::ok);
    resolver.set_config(b.config({two.address()}, 60'000));
    CHECK(b.ask(resolver, "h.example").status == Status::nxdomain);
}

TEST_CASE("questions go by turns of those who ask, and some places are left to who has none", "[dns]")
{
    const auto key = [](int i) { return Turns::Key("h" + std::to_string(i), Kind::a); };
    Turns turns({10, 6, 20, 30});
    for (int i = 0; i < 25; ++i) CHECK(turns.add("much", key(i)) == (i < 20));
    CHECK(turns.add("much", key(3))); // it waits already
    const auto who = [&] {
        const auto next = turns.next();
        return next ? next->first : std::string("-");
    };
    for (int i = 0; i < 6; ++i) CHECK(who() == "much");
    CHECK(who() == "-"); // he has his share
    for (int i = 100; i < 103; ++i) CHECK(turns.add("some", key(i)));
    CHECK(turns.add("other", key(0)));
    CHECK(who() == "some");
    CHECK(who() == "other");
    CHECK(who() == "-"); // the last places are for who has none
    CHECK(turns.add("late", key(200)));
    CHECK(who() == "late");
    CHECK(turns.running() == 9);
    turns.release("other");
    turns.release("other"); // he has none
    CHECK(turns.running() == 8);
    turns.release("much");
    CHECK(who() == "some"); // who came first comes first, and then the next one
    turns.release("late");
    turns.release("some");
    CHECK(who() == "much");
    turns.remove("some", key(102));
    turns.remove("some", key(999));
    for (int i = 0; i < 13; ++i) turns.remove("much", key(7 + i));
    CHECK(turns.waiting() == 0);
    CHECK(who() == "-");
    for (int i = 0; i < 6; ++i) turns.release("much");
    turns.release("some");
    CHECK(turns.running() == 0);
    CHECK(turns.askers() == 0); // nobody is remembered for nothing
    for (int i = 0; i < 25; ++i) turns.add(i < 20 ? "a" : "b", key(i));
    for (int i = 0; i < 10; ++i) CHECK(turns.add("", key(i))); // ourselves
    CHECK_FALSE(turns.add("b", key(90)));
    CHECK(turns.add("c", key(91)));       // one of each has room
    CHECK_FALSE(turns.add("c", key(92)));
}

TEST_CASE("a client whose names nobody answers for keeps no other waiting, nor when he has gone", "[dns][hostile]")
{
    Bench b;
    FakeServer server(*b.loop, [](const std::string& q, bool) { return wire::asked_name(q).ends_with("slow.example") ? std::vector<std::string>() : good(q); });
    Resolver resolver(*b.loop, b.config({server.address()}, 60'000));
    std::vector<Resolver::Ticket> tickets;
    int refused = 0;
    const auto flood = [&](const std::string& prefix, const Asker& asker) {
        for (int i = 0; i < 600; ++i)
            tickets.push_back(resolver.lookup(prefix + std::to_string(i) + ".slow.example", Kind::a,
                                              [&](const Answer& a) { refused += a.status == Status::timeout; }, asker));
    };
    const auto answered = [&](const std::string& name, const Asker& asker) {
        bool told = false;
        resolver.lookup(name, Kind::a, [&](const Answer& a) { told = a.status == Status::ok; }, asker);
        return b.until([&] { return told; });
    };
    flood("a", {"one"});
    flood("b", {"two"});
    flood("c", {"one", true});
    CHECK(answered("honest.example", {"three"}));
    CHECK(answered("name.example", {"three", true}));
    CHECK(answered("again.example", {"three"}));
    CHECK(refused > 0);             // so many may wait and no more
    const std::size_t asked = server.queries.size();
    CHECK(asked < 100);
    for (const auto ticket : tickets) resolver.cancel(ticket);
    tickets.clear();
    CHECK(answered("x.example", {"one"}));
    CHECK(server.queries.size() == asked + 1); // none of his others
}

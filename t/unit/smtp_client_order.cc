// smtp-client: next hops as text, and the order of addresses, as pure functions.
#include "t/unit/catch.h"

#include <algorithm>
#include <set>

#include "lib/base/random.h"
#include "smtp-client/nexthop.h"
#include "smtp-client/order.h"

using namespace veredus;
using namespace veredus::smtp_client;

TEST_CASE("a next hop is a domain with MX, a host in brackets, or an address", "[smtp-client]")
{
    struct Row {
        const char *text, *key;
        bool use_mx, literal;
    };
    for (const Row& row : {
             Row{"example.org", "example.org:25", true, false},
             Row{"Example.ORG:587", "example.org:587", true, false},
             Row{"example.org:submission", "example.org:587", true, false},
             Row{"b\xc3\xbc"
                 "cher.example",
                 "xn--bcher-kva.example:25", true, false},
             Row{"[mx.example.org]", "[mx.example.org]:25", false, false},
             Row{"[mx.example.org]:smtps", "[mx.example.org]:465", false, false},
             Row{"[192.0.2.1]:25", "[192.0.2.1]:25", false, true},
             Row{"[192.0.2.1]", "[192.0.2.1]:25", false, true},
             Row{"[IPv6:2001:db8::1]", "[2001:db8::1]:25", false, true},
             Row{"[ipv6:2001:DB8::1]:26", "[2001:db8::1]:26", false, true},
             Row{"[2001:db8::1]:26", "[2001:db8::1]:26", false, true},
         }) {
        CAPTURE(row.text);
        const auto hop = parse_nexthop(row.text, 25);
        REQUIRE(hop);
        CHECK(hop->key() == row.key);
        CHECK(hop->use_mx == row.use_mx);
        CHECK(hop->literal.has_value() == row.literal);
        if (hop->literal) CHECK(hop->literal->port() == hop->port);
    }
    CHECK(parse_nexthop("[mx]", 2525)->port == 2525);
}

TEST_CASE("what is no next hop is refused, whoever sent it", "[smtp-client]")
{
    for (const std::string text :
         {"", "[]", "[mx", "mx]", "[mx]587", "[mx]:", "[mx]:0", "[mx]:65536", "[mx]:x", "[mx]:no-such-service", "a b", "a..b", "[a b]",
          "example.org:25:25", "2001:db8::1", "[IPv6:]", "[192.0.2.256", "-a.example\r\nRCPT", "[mx\r\n]"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_nexthop(text, 25));
    }
    CHECK_FALSE(parse_nexthop(std::string(300, 'a'), 25));
}

namespace {

dns::Record mx(uint16_t preference, std::string name)
{
    dns::Record r;
    r.kind = dns::Kind::mx;
    r.preference = preference;
    r.name = std::move(name);
    return r;
}

Endpoint at(const std::string& ip, uint16_t preference, std::string host = "mx.example.org")
{
    return {*net::Address::parse_ip(ip, 25), std::move(host), preference};
}

std::vector<std::string> ips(const std::vector<Endpoint>& endpoints)
{
    std::vector<std::string> out;
    for (const auto& e : endpoints) out.push_back(e.address.ip());
    return out;
}

uint32_t no_chance(uint32_t n)
{
    return n - 1;
} // every swap with itself

} // namespace

TEST_CASE("MX hosts are sorted, doubled names kept once, and bounded", "[smtp-client][rfc5321-5.1]")
{
    dns::Answer answer;
    answer.records = {mx(20, "b"), mx(10, "a"), mx(30, "a"), mx(5, "")};
    CHECK(mx_hosts(answer) == std::vector<Mx>{{"a", 10}, {"b", 20}});
    answer.records.clear();
    for (uint16_t i = 0; i < 100; ++i) answer.records.push_back(mx(i, "mx" + std::to_string(i)));
    CHECK(mx_hosts(answer).size() == max_mx_hosts);
}

TEST_CASE("the null MX stands alone", "[smtp-client][rfc7505-3]")
{
    dns::Answer answer;
    answer.records = {mx(0, "")};
    CHECK(is_null_mx(answer));
    answer.records = {mx(0, ""), mx(10, "a")};
    CHECK_FALSE(is_null_mx(answer));
    answer.records = {mx(10, "a")};
    CHECK_FALSE(is_null_mx(answer));
}

TEST_CASE("this host is found in the list by address and by name", "[smtp-client][rfc5321-5.1]")
{
    const std::vector<net::Address> own{*net::Address::parse_ip("192.0.2.9", 0),
                                        *net::Address::parse_ip("2001:db8::9", 0)};
    CHECK_FALSE(own_preference({at("192.0.2.1", 10)}, own, "me.example"));
    CHECK(own_preference({at("192.0.2.1", 10), at("192.0.2.9", 20)}, own, "me.example") == 20);
    CHECK(own_preference({at("2001:db8::9", 30), at("192.0.2.9", 20)}, own, "me.example") == 20);
    CHECK(own_preference({at("192.0.2.1", 10, "ME.example")}, own, "me.example") == 10);
}

TEST_CASE("preference rules, chance decides among equals only", "[smtp-client][rfc5321-5.1]")
{
    const std::vector<Endpoint> all{at("192.0.2.3", 20), at("192.0.2.1", 10), at("192.0.2.2", 10), at("192.0.2.4", 30)};
    OrderRules rules;
    rules.randomize = false;
    CHECK(ips(order(all, rules, no_chance)) ==
          std::vector<std::string>{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"});
    rules.randomize = true;
    std::set<std::string> first;
    for (int i = 0; i < 200; ++i) {
        const auto now = ips(order(all, rules, random_below));
        first.insert(now[0]);
        CHECK(now[2] == "192.0.2.3");
        CHECK(now[3] == "192.0.2.4");
    }
    CHECK(first == std::set<std::string>{"192.0.2.1", "192.0.2.2"});
}

TEST_CASE("the family preference orders equals, and the limit leaves both families a place", "[smtp-client]")
{
    const std::vector<Endpoint> all{at("192.0.2.1", 10), at("192.0.2.2", 10), at("192.0.2.3", 10),
                                    at("2001:db8::1", 10), at("2001:db8::2", 20)};
    OrderRules rules;
    rules.randomize = false;
    rules.prefer = Family::ipv6;
    CHECK(ips(order(all, rules, no_chance)).front() == "2001:db8::1");
    CHECK(ips(order(all, rules, no_chance)).back() == "2001:db8::2");
    rules.prefer = Family::ipv4;
    rules.limit = 2;
    CHECK(ips(order(all, rules, no_chance)) == std::vector<std::string>{"192.0.2.1", "2001:db8::1"});
    rules.balance = false;
    CHECK(ips(order(all, rules, no_chance)) == std::vector<std::string>{"192.0.2.1", "192.0.2.2"});
    rules.limit = 0;
    CHECK(order(all, rules, no_chance).size() == 5);
    rules.limit = 1;
    rules.balance = true;
    CHECK(order(all, rules, no_chance).size() == 1);
}

TEST_CASE("one address behind two names is tried once", "[smtp-client]")
{
    OrderRules rules;
    rules.randomize = false;
    const auto kept = order({at("192.0.2.1", 20, "b"), at("192.0.2.1", 10, "a")}, rules, no_chance);
    REQUIRE(kept.size() == 1);
    CHECK(kept[0].relay() == "a[192.0.2.1]:25");
}

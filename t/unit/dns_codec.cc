// lib/dns: what packets mean, resolv.conf, and the cache.
#include "t/unit/catch.h"

#include "lib/base/random.h"
#include "lib/dns/cache.h"
#include "lib/dns/resolver.h"
#include "t/unit/dns_packets.h"

using namespace veredus;
using namespace veredus::dns;
namespace wire = veredus::dns_test;

namespace {

wire::Packet answer_to(const std::string& name, unsigned type)
{
    wire::Packet p;
    p.question_name = name;
    p.question_type = type;
    return p;
}
Decoded decode(const wire::Packet& p, const std::string& name, Kind kind)
{
    return decode_answer(p.bytes(), 0x1234, name, kind);
}

} // namespace

TEST_CASE("a query asks for recursion, authenticity and room", "[dns][rfc1035-4.1.1][rfc6891]")
{
    const std::string query = encode_query(0xbeef, "Example.org", Kind::mx, true);
    CHECK(wire::asked_id(query) == 0xbeef);
    CHECK(wire::asked_name(query) == "Example.org");
    CHECK(wire::asked_type(query) == wire::mx);
    CHECK((query[2] & 0x01)); // RD
    CHECK((query[3] & 0x20)); // AD
    CHECK(wire::has_edns(query));
    CHECK(query.substr(query.size() - 11, 5) == std::string("\0\0\x29\x04\xd0", 5));
    const std::string plain = encode_query(1, "example.org", Kind::a, false);
    CHECK(plain.size() + 11 == query.size());
    CHECK_FALSE(wire::has_edns(plain));
}

TEST_CASE("a name that cannot exist makes no query", "[dns][rfc1035-2.3.4]")
{
    CHECK(encode_query(1, std::string(64, 'a') + ".org", Kind::a, true).empty());
    CHECK(encode_query(1, "a..b", Kind::a, true).empty());
    std::string longest;
    for (int i = 0; i < 60; ++i) longest += "abcd.";
    CHECK(encode_query(1, longest + "org", Kind::a, true).empty());
}

TEST_CASE("MX records come with preference, name in lower case, and the smallest TTL", "[dns][rfc1035-3.3.9]")
{
    const auto d = decode(answer_to("example.org", wire::mx)
                              .add(wire::mx_record("Example.ORG", 10, "MX1.example.org", 300))
                              .add(wire::mx_record("example.org", 20, "mx2.example.org", 60)),
                          "example.org", Kind::mx);
    REQUIRE(d.matches);
    REQUIRE(d.answer.status == Status::ok);
    REQUIRE(d.answer.records.size() == 2);
    CHECK(d.answer.records[0].preference == 10);
    CHECK(d.answer.records[0].name == "mx1.example.org");
    CHECK(d.answer.records[1].name == "mx2.example.org");
    CHECK(d.answer.ttl == 60);
    CHECK_FALSE(d.answer.authentic);
}

TEST_CASE("the null MX is kept as the empty name", "[dns][rfc7505-3]")
{
    const auto d =
        decode(answer_to("example.org", wire::mx).add(wire::mx_record("example.org", 0, "")), "example.org", Kind::mx);
    REQUIRE(d.answer.status == Status::ok);
    REQUIRE(d.answer.records.size() == 1);
    CHECK(d.answer.records[0].name.empty());
}

TEST_CASE("an answer to another question is not ours", "[dns]")
{
    const auto good = answer_to("example.org", wire::a).add(wire::a_record("example.org", wire::test_net_one));
    auto p = good;
    CHECK(decode(p, "example.org", Kind::a).matches);
    CHECK(decode(p, "EXAMPLE.org", Kind::a).matches);
    CHECK_FALSE(decode(p, "example.net", Kind::a).matches);
    CHECK_FALSE(decode(p, "example.org", Kind::aaaa).matches);
    CHECK_FALSE(decode_answer(p.bytes(), 0x1235, "example.org", Kind::a).matches);
    p.flags &= ~unsigned{wire::qr};
    CHECK_FALSE(decode(p, "example.org", Kind::a).matches);
    p = good;
    p.question_count = 0;
    CHECK_FALSE(decode(p, "example.org", Kind::a).matches);
}

TEST_CASE("aliases are followed within one answer, whatever their order", "[dns]")
{
    const auto d = decode(answer_to("www.example.org", wire::a)
                              .add(wire::a_record("c.example.net", wire::test_net_one))
                              .add(wire::cname_record("b.example.net", "c.example.net", 5))
                              .add(wire::cname_record("www.example.org", "b.example.net")),
                          "www.example.org", Kind::a);
    REQUIRE(d.answer.status == Status::ok);
    CHECK(d.answer.canonical == "c.example.net");
    CHECK(d.hops == 2);
    CHECK(d.answer.ttl == 5);
    REQUIRE(d.answer.records.size() == 1);
    CHECK(d.answer.records[0].address.ip() == "192.0.2.1");
}

TEST_CASE("an answer that stops at an alias is to be chased, unless a SOA denies the rest", "[dns][rfc2308-2.2]")
{
    auto p = answer_to("www.example.org", wire::a).add(wire::cname_record("www.example.org", "b.example.net"));
    auto d = decode(p, "www.example.org", Kind::a);
    CHECK(d.chase);
    CHECK(d.answer.canonical == "b.example.net");
    d = decode(p.deny(wire::soa_record("example.net", 900, 60)), "www.example.org", Kind::a);
    CHECK_FALSE(d.chase);
    CHECK(d.answer.status == Status::nodata);
    CHECK(d.answer.ttl == 60);
    p.rcode = 3;
    d = decode(p, "www.example.org", Kind::a);
    CHECK(d.answer.status == Status::nxdomain);
    CHECK_FALSE(d.chase);
}

TEST_CASE("a loop of aliases is broken, not endless", "[dns]")
{
    const auto d = decode(answer_to("a.example", wire::a)
                              .add(wire::cname_record("a.example", "b.example"))
                              .add(wire::cname_record("b.example", "a.example")),
                          "a.example", Kind::a);
    CHECK(d.answer.status == Status::broken);
    CHECK(temporary(d.answer.status));
}

TEST_CASE("negative answers are told apart, and live as long as the SOA says", "[dns][rfc2308-5]")
{
    struct Row {
        unsigned rcode;
        bool soa;
        Status status;
        uint32_t ttl;
    };
    for (const Row& row :
         {Row{0, true, Status::nodata, 60}, Row{0, false, Status::nodata, 0}, Row{3, true, Status::nxdomain, 60},
          Row{3, false, Status::nxdomain, 0}, Row{2, false, Status::servfail, 0}, Row{5, false, Status::refused, 0},
          Row{1, false, Status::servfail, 0}, Row{4, false, Status::servfail, 0}}) {
        auto p = answer_to("no.example.org", wire::mx);
        p.rcode = row.rcode;
        if (row.soa) p.deny(wire::soa_record("example.org", 900, 60));
        const auto d = decode(p, "no.example.org", Kind::mx);
        CAPTURE(row.rcode, row.soa);
        REQUIRE(d.matches);
        CHECK(d.answer.status == row.status);
        CHECK(d.answer.ttl == row.ttl);
        CHECK(d.rcode == static_cast<int>(row.rcode));
    }
}

TEST_CASE("a referral is no proof that nothing exists", "[dns]")
{
    auto p = answer_to("example.org", wire::mx);
    p.flags = wire::qr | wire::rd;
    CHECK(decode(p, "example.org", Kind::mx).answer.status == Status::servfail);
}

TEST_CASE("hostile names are dropped with their record", "[dns]")
{
    for (const std::string& evil :
         {std::string("mx\r\nRCPT"), std::string("a b"), std::string("x\"y"), std::string("x\\y"), std::string("a/b"),
          std::string("\xc3\xbc"), std::string("\0x", 2)}) {
        const auto d = decode(answer_to("example.org", wire::mx)
                                  .add(wire::mx_record("example.org", 10, evil + ".example.org"))
                                  .add(wire::mx_record("example.org", 20, "good.example.org")),
                              "example.org", Kind::mx);
        CAPTURE(evil);
        REQUIRE(d.answer.records.size() == 1);
        CHECK(d.answer.records[0].name == "good.example.org");
        const auto only =
            decode(answer_to("example.org", wire::mx).add(wire::mx_record("example.org", 10, evil + ".example.org")),
                   "example.org", Kind::mx);
        CHECK(temporary(only.answer.status)); // records were there: mail must not bounce for "no MX"
    }
}

TEST_CASE("classless reverse zones pass through their alias", "[dns]")
{
    const auto d = decode(
        answer_to("1.2.0.192.in-addr.arpa", wire::ptr)
            .add(wire::cname_record("1.2.0.192.in-addr.arpa", "1.0/25.2.0.192.in-addr.arpa"))
            .add(wire::record("1.0/25.2.0.192.in-addr.arpa", wire::ptr, 300, wire::wire_name("host.example.org"))),
        "1.2.0.192.in-addr.arpa", Kind::ptr);
    REQUIRE(d.answer.records.size() == 1);
    CHECK(d.answer.records[0].name == "host.example.org");
}

TEST_CASE("records of the wrong size are dropped", "[dns]")
{
    CHECK(decode(answer_to("h.example", wire::a).add(wire::a_record("h.example", "abc")), "h.example", Kind::a)
              .answer.records.empty());
    CHECK(decode(answer_to("h.example", wire::aaaa).add(wire::record("h.example", wire::aaaa, 1, "abcd")), "h.example",
                 Kind::aaaa)
              .answer.records.empty());
    // an MX whose name runs past its data
    CHECK(decode(answer_to("h.example", wire::mx)
                     .add(wire::record("h.example", wire::mx, 1,
                                       wire::u16(1) + "\x05"
                                                      "ab")),
                 "h.example", Kind::mx)
              .answer.records.empty());
    CHECK(decode(answer_to("h.example", wire::txt)
                     .add(wire::record("h.example", wire::txt, 1,
                                       "\x03"
                                       "abc\x02"
                                       "de")),
                 "h.example", Kind::txt)
              .answer.records[0]
              .bytes == "abcde");
}

TEST_CASE("a flood of records is bounded", "[dns]")
{
    auto p = answer_to("h.example", wire::a);
    for (int i = 0; i < 2000; ++i)
        p.add(wire::a_record("h.example", {'\x0a', '\0', static_cast<char>(i >> 8), static_cast<char>(i)}));
    CHECK(decode(p, "h.example", Kind::a).answer.records.size() == max_records);
}

TEST_CASE("truncation is seen even when the packet ends inside a record", "[dns]")
{
    auto p = answer_to("h.example", wire::a).add(wire::a_record("h.example", "\x0a\x01\x01\x01"));
    p.flags |= wire::tc;
    std::string bytes = p.bytes();
    auto d = decode_answer(bytes, 0x1234, "h.example", Kind::a);
    CHECK(d.matches);
    CHECK(d.truncated);
    bytes.resize(bytes.size() - 3);
    d = decode_answer(bytes, 0x1234, "h.example", Kind::a);
    CHECK(d.matches);
    CHECK(d.truncated);
}

TEST_CASE("no cut and no flipped byte of a packet does harm", "[dns]")
{
    const auto p = answer_to("www.example.org", wire::mx)
                       .add(wire::cname_record("www.example.org", "b.example.net"))
                       .add(wire::mx_record("b.example.net", 1, "mx.example.net"))
                       .deny(wire::soa_record("example.net", 1, 1));
    const std::string bytes = p.bytes();
    for (std::size_t n = 0; n < bytes.size(); ++n)
        decode_answer(std::string_view(bytes).substr(0, n), 0x1234, "www.example.org", Kind::mx);
    for (std::size_t n = 0; n < bytes.size(); ++n)
        for (const char c : {'\0', '\xff', '\xc0', '\x3f'}) {
            std::string bad = bytes;
            bad[n] = c;
            const auto d = decode_answer(bad, 0x1234, "www.example.org", Kind::mx);
            for (const auto& r : d.answer.records)
                CHECK(r.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-_") == std::string::npos);
        }
}

TEST_CASE("reverse names", "[dns][rfc1035-3.5]")
{
    CHECK(reverse_name(*net::Address::parse_ip("192.0.2.1", 0)) == "1.2.0.192.in-addr.arpa");
    CHECK(reverse_name(*net::Address::parse_ip("2001:db8::1", 0)) ==
          "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
}

TEST_CASE("resolv.conf is read as glibc reads it", "[dns]")
{
    auto c = Config::from_resolv_conf(
        "# comment\n; another\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 \nnameserver nonsense\nsearch a.example "
        "b.example\n"
        "options timeout:2 attempts:3 rotate ndots:5 edns0\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n");
    REQUIRE(c);
    REQUIRE(c->servers.size() == 3);
    CHECK(c->servers[1].text() == "[2001:db8::1]:53");
    CHECK(c->servers[2].ip() == "192.0.2.3");
    CHECK(c->timeout == std::chrono::seconds(2));
    CHECK(c->attempts == 3);
    CHECK(c->rotate);
    CHECK_FALSE(c->trust_ad);
    CHECK(c->search == std::vector<std::string>{"a.example", "b.example"});
    c = Config::from_resolv_conf("options timeout:0 attempts:999\n");
    REQUIRE(c);
    REQUIRE(c->servers.size() == 1);
    CHECK(c->servers[0].text() == "127.0.0.1:53");
    CHECK(c->trust_ad);
    CHECK(c->timeout == std::chrono::seconds(1));
    CHECK(c->attempts == 2);
    CHECK(Config::from_resolv_conf("nameserver 192.0.2.1\noptions trust-ad\n")->trust_ad);
    CHECK_FALSE(Config::from_resolv_conf(std::string_view("\0\0", 2)));
}

namespace {
std::shared_ptr<Answer> an_answer(Status status, uint32_t ttl)
{
    auto a = std::make_shared<Answer>();
    a->status = status;
    a->ttl = ttl;
    return a;
}
constexpr int64_t s = 1'000'000;
} // namespace

TEST_CASE("the cache keeps what its TTL allows, and failures for a moment", "[dns][rfc2308-5]")
{
    Cache cache(100);
    struct Row {
        Status status;
        uint32_t ttl;
        int64_t fresh_s, stale_s;
    };
    for (const Row& row :
         {Row{Status::ok, 60, 59, 60}, Row{Status::ok, 0, -1, 0}, Row{Status::ok, 10'000'000, 86'399, 86'400},
          Row{Status::nxdomain, 10'000'000, 3'599, 3'600}, Row{Status::nodata, 30, 29, 30},
          Row{Status::nxdomain, 0, -1, 0}, Row{Status::servfail, 0, 4, 5}, Row{Status::timeout, 0, 4, 5}}) {
        const Cache::Key key("k", Kind::a);
        cache.store(key, an_answer(row.status, row.ttl), 1000 * s);
        CAPTURE(static_cast<int>(row.status), row.ttl);
        if (row.fresh_s >= 0) CHECK(cache.find(key, (1000 + row.fresh_s) * s));
        CHECK_FALSE(cache.find(key, (1000 + row.stale_s) * s));
    }
    CHECK(cache.entries() == 0);
    CHECK(cache.bytes() == 0);
}

TEST_CASE("the cache is bounded in number and in bytes, and forgets the longest unused", "[dns]")
{
    Cache cache(3);
    for (const char* name : {"a", "b", "c"}) cache.store({name, Kind::a}, an_answer(Status::ok, 60), 0);
    CHECK(cache.find({"a", Kind::a}, 1));
    cache.store({"d", Kind::a}, an_answer(Status::ok, 60), 0);
    CHECK(cache.find({"a", Kind::a}, 1));
    CHECK_FALSE(cache.find({"b", Kind::a}, 1));
    CHECK_FALSE(cache.find({"a", Kind::mx}, 1));
    const auto huge = an_answer(Status::ok, 60);
    huge->records.resize(1);
    huge->records[0].bytes.assign(50'000, 'x');
    cache.store({"huge", Kind::txt}, huge, 0);
    CHECK_FALSE(cache.find({"huge", Kind::txt}, 1));
    CHECK(cache.entries() == 3);
    Cache wide(1000);
    for (int i = 0; i < 100; ++i) wide.store({std::to_string(i), Kind::txt}, huge, 0);
    CHECK(wide.bytes() <= 400'000);
    CHECK(wide.find({"99", Kind::txt}, 1));
}

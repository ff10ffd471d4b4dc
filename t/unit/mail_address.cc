// lib/mail: addresses and address lists.
#include "t/unit/catch.h"

#include "lib/base/text.h"
#include "lib/mail/address.h"

using namespace veredus;
using namespace veredus::mail;

TEST_CASE("an address is read into its two halves and written back quoted where it must be", "[mail][rfc5321-4.1.2]")
{
    struct Case {
        const char *text, *local, *domain, *back;
    };
    static const Case cases[] = {
        {"a@b.example", "a", "b.example", "a@b.example"},
        {"A.b@EXAMPLE.org", "A.b", "example.org", "A.b@example.org"},
        {"bare", "bare", "", "bare"},
        {"\"a b\"@x.org", "a b", "x.org", "\"a b\"@x.org"},
        {"\"plain\"@x.org", "plain", "x.org", "plain@x.org"},
        {"\"a\\\"b\\\\c\"@x.org", "a\"b\\c", "x.org", "\"a\\\"b\\\\c\"@x.org"},
        {"\"a@b\"@x.org", "a@b", "x.org", "\"a@b\"@x.org"},
        {"a..b@x.org", "a..b", "x.org", "\"a..b\"@x.org"},
        {"u@[192.0.2.1]", "u", "[192.0.2.1]", "u@[192.0.2.1]"},
        {"u@[IPv6:2001:DB8::1]", "u", "[ipv6:2001:db8::1]", "u@[ipv6:2001:db8::1]"},
        {"j\xc3\xbcrgen@b\xc3\xbc" "cher.example", "j\xc3\xbcrgen", "b\xc3\xbc" "cher.example", "j\xc3\xbcrgen@b\xc3\xbc" "cher.example"},
        {"a|b/c+d@x.org", "a|b/c+d", "x.org", "a|b/c+d@x.org"},
        {"\"\"@x.org", "", "x.org", "\"\"@x.org"},
    };
    for (const Case& c : cases) {
        INFO(c.text);
        const auto address = parse_address(c.text);
        REQUIRE(address);
        CHECK(address->local == c.local);
        CHECK(address->domain == c.domain);
        CHECK(address->text() == c.back);
        CHECK(*parse_address(address->text()) == *address);
    }
}

TEST_CASE("what is no address is refused", "[mail][rfc5321-4.1.2]")
{
    for (const char* bad : {"", "\"\"", "@x.org", "a@", "a@b@c.org", "a b@x.org", "a@x..org", "a@-x.org", "a@x.org.", "a@[1.2.3]", "a@[x", "\"a@x.org",
                            "\"a\"b@x.org", "a@127.0.0.1", "a@x y", "a\\b@x.org", "<a@x.org>", "a,b@x.org", "a@x.org\r\n", "\"a\r\n\"@x.org",
                            "a\xff@x.org", "a@x\xff.org", "a:b@x.org"}) {
        INFO(printable(bad));
        CHECK_FALSE(parse_address(bad));
    }
    CHECK_FALSE(parse_address(std::string_view("a\0b@x.org", 9)));
    CHECK_FALSE(parse_address(std::string(513, 'a') + "@x.org"));
    CHECK_FALSE(parse_address("a@" + std::string(64, 'a') + ".org"));
}

TEST_CASE("an address list gives up its addresses whatever dresses they wear", "[mail][rfc5322-3.4]")
{
    const auto list = [](std::string_view body) -> std::string {
        const auto r = parse_address_list(body);
        if (!r) return "error";
        std::string out;
        for (const Mailbox& m : *r) append(out, out.empty() ? "" : "; ", m.display.empty() ? "" : m.display + "=", m.address.text());
        return out;
    };
    CHECK(list("a@x.org") == "a@x.org");
    CHECK(list("a@x.org, b@y.org") == "a@x.org; b@y.org");
    CHECK(list("\"Doe, John\" <john@x.org>, b") == "Doe, John=john@x.org; b");
    CHECK(list("John Q. Public <jqp@x.org>") == "John Q. Public=jqp@x.org");
    CHECK(list("a@x.org (a (nested) comment, with \\) comma), b@y.org") == "a@x.org; b@y.org");
    CHECK(list("Team: a@x.org, B <b@y.org>;, c@z.org") == "a@x.org; B=b@y.org; c@z.org");
    CHECK(list("undisclosed-recipients:;").empty());
    CHECK(list("<@relay.org,@other.org:a@x.org>") == "a@x.org");
    CHECK(list("a . b @ x . org") == "a.b@x.org");
    CHECK(list("A\r\n <a@x.org>,\r\n\tB <b@y.org>") == "A=a@x.org; B=b@y.org");
    CHECK(list(" , ,a@x.org,,").find("a@x.org") == 0);
    CHECK(list("<>").empty());
    CHECK(list("\"odd local\"@x.org") == "\"odd local\"@x.org");
    CHECK(list("a@x.org b@y.org") == "a@x.org; b@y.org");
    CHECK(list("a@[192.0.2.1]") == "a@[192.0.2.1]");
    for (const char* bad : {"John Smith", "<a@x.org", "a@x.org>", "a@b@c", "(open", "\"open", "@x.org", "a@", "<a b@x.org>", "<a@x.org> junk",
                            "a@x.org \x01"}) {
        INFO(bad);
        CHECK(list(bad) == "error");
    }
}

TEST_CASE("an address list is bounded and survives any bytes", "[mail]")
{
    std::string many;
    for (int i = 0; i < 101; ++i) many += "a@x.org,";
    CHECK_FALSE(parse_address_list(many, 100));
    CHECK(parse_address_list(many, 101)->size() == 101);
    CHECK_FALSE(parse_address_list(std::string(100'000, '(')));
    std::string noise;
    for (unsigned i = 0; i < 20'000; ++i) noise.push_back(static_cast<char>(i * 2654435761u >> 13));
    (void)parse_address_list(noise);
}

TEST_CASE("an extension is cut at the first delimiter, never from names that are not ours to cut", "[mail]")
{
    const auto cut_at = [](std::string_view local, std::string_view delimiters) {
        const Split s = split_extension(local, delimiters);
        return s.extension ? cat(s.user, "|", *s.extension, "|", s.delimiter) : s.user;
    };
    CHECK(cut_at("user+ext", "+") == "user|ext|+");
    CHECK(cut_at("user-a+b", "+-") == "user|a+b|-");
    CHECK(cut_at("user+", "+") == "user||+");
    CHECK(cut_at("+user", "+") == "+user");
    CHECK(cut_at("user", "+") == "user");
    CHECK(cut_at("user+ext", "") == "user+ext");
    CHECK(cut_at("Mailer-Daemon", "-") == "Mailer-Daemon");
    CHECK(cut_at("owner-list", "-") == "owner-list");
    CHECK(cut_at("list-Request", "+-") == "list-Request");
    CHECK(cut_at("list-request", "+") == "list-request");
    CHECK(cut_at("list+x-request", "+") == "list|x-request|+");
    CHECK(cut_at("-request", "-") == "-request");
}

TEST_CASE("domains and literals are checked by their letters", "[mail][rfc1123-2.1]")
{
    for (const char* good : {"localhost", "example.org", "a-b.c_d.org", "3com.com", "xn--bcher-kva.example"}) CHECK(is_domain(good));
    for (const char* bad : {"", ".", "a.", ".a", "a..b", "-a.org", "a-.org", "a b.org", "10.0.0.1", "b\xc3\xbc" "cher.org"}) CHECK_FALSE(is_domain(bad));
    CHECK(is_domain("b\xc3\xbc" "cher.org", true));
    CHECK(is_address_literal("[IPv6:::1]"));
    for (const char* bad : {"[]", "[300.1.1.1]", "[::1]", "[IPv6:1.2.3.4]", "192.0.2.1", "[192.0.2.1"}) CHECK_FALSE(is_address_literal(bad));
    CHECK(address_key({"Me", "EXAMPLE.org"}) == "Me@example.org");
}

// smtp-client: TLS policies by next hop, and which login by which mechanism, as pure functions.
#include "t/unit/catch.h"

#include "lib/base/text.h"
#include "lib/tls/parameters.h"
#include "smtp-client/login.h"
#include "smtp-client/tls_policy.h"

using namespace veredus;
using namespace veredus::smtp_client;

namespace {

Result<std::string> no_file(const std::string& path)
{
    return fail(cat(path, ": not here"));
}

std::shared_ptr<const Lookup> hash_table(const std::string& text)
{
    return std::make_shared<const Lookup>(std::vector<std::string>{"hash:/table"}, [&](const std::string&) -> Result<std::string> { return text; });
}

NextHop hop(std::string_view text)
{
    return *parse_nexthop(text, 25);
}

} // namespace

TEST_CASE("TLS protocol lists mean bounds and holes", "[smtp-client][tls]")
{
    constexpr int v10 = 0x0301, v12 = 0x0303, v13 = 0x0304;
    const struct {
        std::string text;
        int min, max;
        bool hole;
    } good[] = {
        {"", v12, 0, false}, {">=TLSv1.2", v12, 0, false}, {">=TLSv1", v10, 0, false}, {"TLSv1.2", v12, v12, false}, {"tlsv1.2, TLSv1.3", v12, v13, false},
        {"!SSLv2, !SSLv3", v10, 0, false}, {"!SSLv2:!SSLv3:!TLSv1:!TLSv1.1", v12, 0, false}, {"<=TLSv1.2", v10, v12, false}, {">=0303 <=0304", v12, 0, false},
        {"TLSv1 TLSv1.3", v10, v13, true}, {"!TLSv1.2", v10, 0, true},
    };
    for (const auto& c : good) {
        INFO(c.text);
        const auto versions = tls::parse_protocols(c.text);
        REQUIRE(versions);
        CHECK(versions->min == c.min);
        CHECK(versions->max == c.max);
        CHECK((versions->without != 0) == c.hole);
    }
    for (const char* bad : {"TLSv2", ">=", "SSLv3", "!TLSv1 !TLSv1.1 !TLSv1.2 !TLSv1.3", ">=TLSv1.3 <=TLSv1.2", "high"}) {
        INFO(bad);
        CHECK_FALSE(tls::parse_protocols(bad));
    }
    CHECK(tls::cipher_list("high", {"RC4", "3DES"}).value() == "HIGH:!aNULL:!eNULL:!RC4:!3DES");
    CHECK_FALSE(tls::cipher_list("best", {}));
    CHECK_FALSE(tls::cipher_list("high", {"RC4:ALL"}));
    CHECK(tls::plain_fingerprint("3D:95:34:AF:24:04:11:1C:1D:95:34:AF:24:04:11:1C") == "3d9534af2404111c1d9534af2404111c");
    CHECK(tls::plain_fingerprint("3d:zz").empty());
}

TEST_CASE("a line of smtp_tls_policy_maps rules its next hop and what is below it", "[smtp-client]")
{
    TlsRules rules;
    rules.table = hash_table("example.org secure match=mx.example.org:.mail.example.org\n[host.example.org]:587 encrypt protocols=TLSv1.3 ciphers=high exclude=RC4\n"
                        ".example.net verify\nplain.example.net none\n192.0.2.1 none\nsni.example may servername=other.example\n"
                        "print.example fingerprint match=AA:BB:CC:DD:AA:BB:CC:DD:AA:BB:CC:DD:AA:BB:CC:DD|00112233445566778899aabbccddeeff\n");
    const struct {
        std::string hop;
        TlsLevel level;
    } cases[] = {
        {"example.org", TlsLevel::secure}, {"sub.example.org", TlsLevel::may}, {"example.org:25", TlsLevel::may}, {"[host.example.org]:587", TlsLevel::encrypt},
        {"[host.example.org]", TlsLevel::may}, {"a.b.example.net", TlsLevel::verify}, {"example.net", TlsLevel::may}, {"plain.example.net", TlsLevel::none},
        {"[a.example.net]", TlsLevel::may}, {"EXAMPLE.org", TlsLevel::secure}, {"print.example", TlsLevel::fingerprint},
    };
    for (const auto& c : cases) {
        INFO(c.hop);
        const auto policy = tls_policy(rules, hop(c.hop));
        REQUIRE(policy);
        CHECK(policy->level == c.level);
    }
    const auto secure = tls_policy(rules, hop("example.org"))->towards("example.org", "mx7.example.org");
    CHECK(secure.demand == tls::ClientPolicy::Demand::name);
    CHECK(secure.names == std::vector<std::string>{"mx.example.org", ".mail.example.org"});
    CHECK(secure.server_name == "mx7.example.org");
    const auto verify = tls_policy(rules, hop("x.example.net"))->towards("x.example.net", "mx.elsewhere.example");
    CHECK(verify.names == std::vector<std::string>{"mx.elsewhere.example"});
    const auto encrypt = tls_policy(rules, hop("[host.example.org]:587"));
    CHECK(encrypt->versions.min == 0x0304);
    CHECK(encrypt->ciphers == "HIGH:!aNULL:!eNULL:!RC4");
    CHECK(encrypt->towards("h", "h").demand == tls::ClientPolicy::Demand::nothing);
    CHECK(tls_policy(rules, hop("sni.example"))->towards("sni.example", "mx").server_name == "other.example");
    const auto print = tls_policy(rules, hop("print.example"))->towards("a", "b");
    CHECK(print.fingerprints == std::vector<std::string>{"aabbccddaabbccddaabbccddaabbccdd", "00112233445566778899aabbccddeeff"});
    rules.level = TlsLevel::secure;
    CHECK(tls_policy(rules, hop("other.example"))->towards("other.example", "mx").names == std::vector<std::string>{"other.example", ".other.example"});
    // Policies that differ share no connections.
    CHECK(tls_policy(rules, hop("a.example"))->text != tls_policy(rules, hop("b.example"))->text);
    rules.level = TlsLevel::may;
    CHECK(tls_policy(rules, hop("a.example"))->text == tls_policy(rules, hop("b.example"))->text);
    rules.wrapper = true;
    CHECK(tls_policy(rules, hop("plain.example.net"))->level == TlsLevel::encrypt);
}

TEST_CASE("a policy that cannot be understood or read is an error, never less protection", "[smtp-client]")
{
    for (const char* line : {"dane-only", "strong", "secure match", "encrypt protocols=TLSv9", "encrypt ciphers=best", "fingerprint", "fingerprint match=xyz",
                             "encrypt colour=red", "may exclude=!ALL"}) {
        INFO(line);
        TlsRules rules;
        rules.table = hash_table(cat("example.org ", line, "\n"));
        CHECK_FALSE(tls_policy(rules, hop("example.org")));
        CHECK(tls_policy(rules, hop("example.net")));
    }
    TlsRules rules;
    rules.table = std::make_shared<const Lookup>(std::vector<std::string>{"hash:/gone"}, no_file);
    CHECK_FALSE(tls_policy(rules, hop("example.net")));
    rules.table = std::make_shared<const Lookup>(std::vector<std::string>{"socketmap:inet:localhost:1:x"}, no_file);
    CHECK_FALSE(tls_policy(rules, hop("example.net")));
    rules.table = std::make_shared<const Lookup>(std::vector<std::string>{"inline:{example.net=secure}"}, no_file);
    CHECK(tls_policy(rules, hop("example.net"))->level == TlsLevel::secure);
    rules.table = std::make_shared<const Lookup>(std::vector<std::string>{"static:encrypt"}, no_file);
    CHECK(tls_policy(rules, hop("example.net"))->level == TlsLevel::encrypt);
}

TEST_CASE("the mechanism is the strongest that all agree to", "[smtp-client][rfc4954-4]")
{
    const struct {
        std::string offered;
        std::vector<std::string> rules, filter;
        std::string chosen;
    } cases[] = {
        {"LOGIN PLAIN SCRAM-SHA-1 SCRAM-SHA-256", {}, {}, "SCRAM-SHA-256"},
        {"login plain", {"noanonymous"}, {}, "PLAIN"},
        {"LOGIN", {}, {}, "LOGIN"},
        {"PLAIN LOGIN", {"noplaintext"}, {}, ""},
        {"PLAIN SCRAM-SHA-1", {"noplaintext"}, {}, "SCRAM-SHA-1"},
        {"PLAIN SCRAM-SHA-1", {"mutual_auth"}, {}, "SCRAM-SHA-1"},
        {"PLAIN SCRAM-SHA-1", {"nodictionary"}, {}, ""},
        {"PLAIN LOGIN SCRAM-SHA-256", {}, {"login"}, "LOGIN"},
        {"PLAIN LOGIN SCRAM-SHA-256", {}, {"!scram-sha-256", "static:all"}, "PLAIN"},
        {"PLAIN LOGIN", {}, {"!plain"}, ""},
        {"CRAM-MD5 GSSAPI XOAUTH2", {}, {}, ""},
        {"", {}, {}, ""},
    };
    for (const auto& c : cases) {
        INFO(c.offered << " -> " << c.chosen);
        const auto rules = parse_sasl_rules(c.rules);
        REQUIRE(rules);
        CHECK(choose_mechanism(c.offered, *rules, c.filter).value_or("") == c.chosen);
    }
    CHECK_FALSE(parse_sasl_rules({"noplaintxt"}));
}

TEST_CASE("passwords are found by sender, server and next hop, in this order", "[smtp-client]")
{
    const auto passwords = hash_table("boss@example.org boss:b0ss\n@example.org all:of:them\nmx.relay.example host:h\n[relay.example]:587 hop:p\n[none.example] :x\n[bare.example] user\n");
    const mail::Address boss{"boss", "example.org"}, other{"Other", "example.org"}, stranger{"x", "y.example"};
    const auto found = [&](const mail::Address* sender, const std::string& host, const std::string& next_hop) {
        const auto login = find_login(*passwords, sender, host, next_hop);
        REQUIRE(login);
        return *login ? cat((*login)->user, '/', (*login)->password) : std::string("nobody");
    };
    CHECK(found(&boss, "mx.relay.example", "[relay.example]:587") == "boss/b0ss");
    CHECK(found(&other, "mx.relay.example", "[relay.example]:587") == "all/of:them");
    CHECK(found(&stranger, "mx.relay.example", "[relay.example]:587") == "host/h");
    CHECK(found(nullptr, "a", "[relay.example]:587") == "hop/p");
    CHECK(found(nullptr, "a", "[relay.example]") == "nobody");
    CHECK(found(nullptr, "a", "[none.example]") == "nobody");
    CHECK(found(nullptr, "a", "[bare.example]") == "user/");
    const Lookup gone({"hash:/gone"}, no_file);
    CHECK_FALSE(find_login(gone, nullptr, "a", "b"));
}

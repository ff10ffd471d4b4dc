// SASL mechanisms as pure exchanges: the RFCs' examples, channel binding, and clients that do not speak them.
#include "t/unit/catch.h"

#include <random>

#include "lib/auth/mechanism.h"
#include "t/unit/scram_client.h"

using namespace veredus;
using auth::Mechanism;
using Kind = Mechanism::Step::Kind;

namespace {

using namespace std::string_literals;

const std::string salt1 = *base64_decode("QSXCR+Q6sek8bf92"), salt256 = *base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==");

struct Run {
    std::unique_ptr<Mechanism> mechanism;
    std::string first;            // server's first message
    Mechanism::Step last;
};

// A SCRAM exchange up to the server's first message.
Run begin(const std::string& name, const auth::Binding& binding, ScramClient& client, const std::string& password, bool real = true)
{
    Run run;
    run.mechanism = auth::make_mechanism(name, binding, "3rfcNHYJY1ZVvWVs7j");
    run.last = run.mechanism->start(client.first());
    if (run.last.kind != Kind::want_secret) return run;
    run.last = run.mechanism->secret(auth::ScramSecret::derive(run.mechanism->hash(), password, salt256, 4096), real);
    run.first = run.last.data;
    return run;
}

Kind whole(const std::string& name, const auth::Binding& binding, ScramClient client, const std::string& password = "pencil", bool real = true)
{
    client.user = "user";
    if (client.password.empty()) client.password = "pencil";
    Run run = begin(name, binding, client, password, real);
    if (run.last.kind != Kind::challenge) return run.last.kind;
    run.last = run.mechanism->feed(client.final(run.first));
    if (run.last.kind != Kind::challenge) return run.last.kind;
    CHECK(run.last.data == client.server_signature);
    return run.mechanism->feed("").kind;
}

}  // namespace

TEST_CASE("PLAIN gives name and password to be checked", "[auth][rfc4616-2]")
{
    const struct {
        std::string message;
        Kind kind;
        std::string user, password;
    } cases[] = {
        {"\0tim\0tanstaaftanstaaf"s, Kind::check_password, "tim", "tanstaaftanstaaf"},                                // RFC 4616 §4
        {"tim\0tim\0secret"s, Kind::check_password, "tim", "secret"},
        {"Ursel\0Kurt\0xipj3plmq"s, Kind::mismatch, "Kurt", ""},                                                      // as another: refused
        {"\0b\xc3\xb6r\0p\xe4ss"s, Kind::check_password, "b\xc3\xb6r", "p\xe4ss"},                                    // a Latin-1 password is one of crypt(3)
        {"\0tim\0"s, Kind::malformed, "", ""},
        {"\0\0secret"s, Kind::malformed, "", ""},
        {"tim\0secret"s, Kind::malformed, "", ""},
        {"\0tim\0a\0b"s, Kind::malformed, "", ""},
        {"", Kind::malformed, "", ""},
        {"\0t\nim\0secret"s, Kind::malformed, "", ""},
        {"\0t\xffm\0secret"s, Kind::malformed, "", ""},
        {"\0"s + std::string(255, 'u') + "\0"s + std::string(1024, 'p'), Kind::check_password, std::string(255, 'u'), std::string(1024, 'p')},
        {"\0"s + std::string(256, 'u') + "\0p"s, Kind::malformed, "", ""},
        {"\0u\0"s + std::string(1025, 'p'), Kind::malformed, "", ""},
    };
    for (const auto& c : cases) {
        INFO(printable(c.message));
        auto now = auth::make_mechanism("plain", {}, "")->start(c.message);
        CHECK(now.kind == c.kind);
        CHECK(now.user == c.user);
        CHECK(now.password == c.password);
        auto later = auth::make_mechanism("PLAIN", {}, "");
        const auto prompt = later->start(std::nullopt);
        CHECK(prompt.kind == Kind::challenge);
        CHECK(prompt.data.empty());
        CHECK(later->feed(c.message).kind == c.kind);
    }
}

TEST_CASE("LOGIN asks for name and password, and takes a name that came with the command", "[auth]")
{
    for (const bool initial : {false, true}) {
        auto login = auth::make_mechanism("LOGIN", {}, "");
        auto step = login->start(initial ? std::optional<std::string_view>("alice") : std::nullopt);
        if (!initial) {
            CHECK(step.data == "Username:");
            step = login->feed("alice");
        }
        CHECK(step.kind == Kind::challenge);
        CHECK(step.data == "Password:");
        step = login->feed("secret");
        CHECK(step.kind == Kind::check_password);
        CHECK(step.user == "alice");
        CHECK(step.password == "secret");
    }
    auto login = auth::make_mechanism("LOGIN", {}, "");
    CHECK(login->start("").data == "Username:");
    CHECK(login->feed("").kind == Kind::malformed);
    login = auth::make_mechanism("LOGIN", {}, "");
    CHECK(login->start("alice").kind == Kind::challenge);
    CHECK(login->feed("").kind == Kind::malformed);
    CHECK(auth::make_mechanism("LOGIN", {}, "")->start(std::string(256, 'u')).kind == Kind::malformed);
}

TEST_CASE("SCRAM-SHA-1 plays the example of its RFC, byte for byte", "[auth][rfc5802-5]")
{
    auto scram = auth::make_mechanism("SCRAM-SHA-1", {}, "3rfcNHYJY1ZVvWVs7j");
    auto step = scram->start("n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
    REQUIRE(step.kind == Kind::want_secret);
    CHECK(step.user == "user");
    step = scram->secret(auth::ScramSecret::derive(tls::Digest::sha1, "pencil", salt1, 4096), true);
    CHECK(step.data == "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096");
    step = scram->feed("c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=");
    CHECK(step.kind == Kind::challenge);
    CHECK(step.data == "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=");
    step = scram->feed("");
    CHECK(step.kind == Kind::proven);
    CHECK(step.user == "user");
}

TEST_CASE("SCRAM-SHA-256 plays the example of its RFC, byte for byte", "[auth][rfc7677-3]")
{
    auto scram = auth::make_mechanism("SCRAM-SHA-256", {}, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    auto step = scram->start("n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    REQUIRE(step.kind == Kind::want_secret);
    step = scram->secret(auth::ScramSecret::derive(tls::Digest::sha256, "pencil", salt256, 4096), true);
    CHECK(step.data == "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    step = scram->feed("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    CHECK(step.data == "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    CHECK(scram->feed("").kind == Kind::proven);
}

TEST_CASE("channel binding holds a login to its TLS connection, and a stripped offer is noticed", "[auth][rfc5802-6]")
{
    const auth::Binding none, both{std::string(32, 'e'), std::string(12, 'u'), true}, other{std::string(32, 'x'), std::string(12, 'y'), true};
    ScramClient plain, able, exporter, unique;
    able.gs2 = "y,,";
    exporter.gs2 = "p=tls-exporter,,";
    exporter.binding = both.tls_exporter;
    unique.gs2 = "p=tls-unique,,";
    unique.binding = both.tls_unique;
    const struct {
        const char* name;
        const char* mechanism;
        const auth::Binding& binding;
        const ScramClient& client;
        Kind kind;
    } cases[] = {
        {"no binding", "SCRAM-SHA-256", none, plain, Kind::proven},
        {"no binding wanted though offered", "SCRAM-SHA-256", both, plain, Kind::proven},
        {"client could, we did not offer", "SCRAM-SHA-256", none, able, Kind::proven},
        {"client could, we offered: downgrade", "SCRAM-SHA-256", both, able, Kind::malformed},
        {"exporter", "SCRAM-SHA-256-PLUS", both, exporter, Kind::proven},
        {"unique", "SCRAM-SHA-256-PLUS", both, unique, Kind::proven},
        {"another connection", "SCRAM-SHA-256-PLUS", other, exporter, Kind::mismatch},
        {"another connection, unique", "SCRAM-SHA-256-PLUS", other, unique, Kind::mismatch},
        {"PLUS without a binding", "SCRAM-SHA-256-PLUS", both, plain, Kind::malformed},
        {"PLUS without TLS", "SCRAM-SHA-256-PLUS", none, exporter, Kind::malformed},
        {"binding without PLUS", "SCRAM-SHA-256", both, exporter, Kind::malformed},
    };
    for (const auto& c : cases) {
        INFO(c.name);
        CHECK(whole(c.mechanism, c.binding, c.client) == c.kind);
    }
    ScramClient sha1 = exporter;
    sha1.hash = tls::Digest::sha1;
    CHECK(whole("scram-sha-1-plus", both, sha1) == Kind::proven);
    auth::Binding only_exporter = both;
    only_exporter.tls_unique.clear();
    unique.binding.clear();
    CHECK(whole("SCRAM-SHA-256-PLUS", only_exporter, unique) == Kind::malformed);     // an empty binding binds to nothing
}

TEST_CASE("a wrong password, a made-up secret and a proof of another exchange end in mismatch", "[auth][rfc5802-3]")
{
    ScramClient wrong;
    wrong.password = "Pencil";
    CHECK(whole("SCRAM-SHA-256", {}, wrong) == Kind::mismatch);
    CHECK(whole("SCRAM-SHA-256", {}, ScramClient(), "pencil", false) == Kind::mismatch);

    ScramClient client;
    client.user = "user";
    client.password = "pencil";
    Run one = begin("SCRAM-SHA-256", {}, client, "pencil");
    const std::string replayed = client.final(one.first);
    auto two = auth::make_mechanism("SCRAM-SHA-256", {}, "anotherNonce");
    REQUIRE(two->start(client.first()).kind == Kind::want_secret);
    REQUIRE(two->secret(auth::ScramSecret::derive(tls::Digest::sha256, "pencil", salt256, 4096), true).kind == Kind::challenge);
    CHECK(two->feed(replayed).kind == Kind::mismatch);
    CHECK(two->feed(replayed).kind == Kind::malformed);      // and it is over
    CHECK(one.mechanism->feed(replayed).kind == Kind::challenge);
    CHECK(one.mechanism->feed("x").kind == Kind::malformed);  // after v= nothing but an empty line
}

TEST_CASE("names with comma and equals sign are coded, anything else that does not fit SCRAM's grammar is refused", "[auth][rfc5802-7]")
{
    const auto first = [](std::string_view message) { return auth::make_mechanism("SCRAM-SHA-256", {}, "nonce")->start(message); };
    CHECK(first("n,,n=a=2Cb=3Dc,r=abc").user == "a,b=c");
    CHECK(first("n,a=alice,n=alice,r=abc").kind == Kind::want_secret);
    CHECK(first("n,a=bob,n=alice,r=abc").kind == Kind::mismatch);
    CHECK(first("n,,n=alice,r=abc,x=extension").kind == Kind::want_secret);
    for (const char* bad : {"", "n", "n,", "n,,", "n,,n=alice", "n,,r=abc,n=alice", "n,,m=x,n=alice,r=abc", "n,,n=,r=abc", "n,,n=alice,r=", "n,,n=a=2c,r=abc", "n,,n=a=,r=abc",
                            "x,,n=alice,r=abc", "n,alice,n=alice,r=abc", "n,,n=al\nice,r=abc", "n,,n=alice,r=a b", "p=,,n=alice,r=abc", "p=tls-server-end-point,,n=alice,r=abc", "n,,n=\xff,r=abc"}) {
        INFO(bad);
        CHECK(first(bad).kind == Kind::malformed);
    }
    CHECK(first("n,,n=" + std::string(256, 'u') + ",r=abc").kind == Kind::malformed);
    CHECK(first("n,,n=u,r=" + std::string(1025, 'r')).kind == Kind::malformed);
    ScramClient client;
    client.user = "user";
    client.password = "pencil";
    for (const char* bad : {"", "p=", "c=biws", "c=biws,r=x", "c=biws,p=AAAA", "c=b!ws,r=x,p=AAAA", "r=x,c=biws,p=AAAA", ",,,", "c=biws,r=x,p=AAAA,"}) {
        INFO(bad);
        CHECK(begin("SCRAM-SHA-256", {}, client, "pencil").mechanism->feed(bad).kind == Kind::malformed);
    }
}

TEST_CASE("APOP begins with the timestamp, and what answers it is a name and a digest", "[auth][rfc1939-7]")
{
    const auto begin = [] { return auth::make_mechanism("apop", {}, "1896.697170952"); };
    const auto first = begin()->start(std::nullopt);
    CHECK(first.kind == Kind::challenge);
    CHECK(first.data == "<1896.697170952@veredus>");
    CHECK(begin()->start("mrose c4c9334bac560ecc979e58001b3e22fb").kind == Kind::malformed);
    const auto step = begin()->feed("a b C4C9334bac560ecc979e58001b3e22fb");
    CHECK(step.kind == Kind::check_digest);
    CHECK(step.user == "a b");
    CHECK(step.data == first.data);
    CHECK(step.password == "c4c9334bac560ecc979e58001b3e22fb");
    for (const char* bad : {"", " ", "mrose", "c4c9334bac560ecc979e58001b3e22fb", " c4c9334bac560ecc979e58001b3e22fb", "mrose c4c9334bac560ecc979e58001b3e22f",
                            "mrose c4c9334bac560ecc979e58001b3e22fb0", "m\x01 c4c9334bac560ecc979e58001b3e22fb"})
        CHECK(begin()->feed(bad).kind == Kind::malformed);
    CHECK(begin()->feed(std::string(300, 'x') + " c4c9334bac560ecc979e58001b3e22fb").kind == Kind::malformed);
}

TEST_CASE("no mechanism of ours answers to another name", "[auth]")
{
    for (const char* name : {"", "CRAM-MD5", "DIGEST-MD5", "EXTERNAL", "ANONYMOUS", "PLAIN-PLUS", "-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-256-PLUS-PLUS"}) {
        INFO(name);
        CHECK_FALSE(auth::make_mechanism(name, {}, "x"));
    }
    for (const auto& name : auth::mechanism_names()) CHECK(auth::make_mechanism(name, {}, "x"));
}

TEST_CASE("saslprep maps what vanishes, refuses what nobody can type, and leaves ASCII alone", "[auth][rfc4013-3]")
{
    CHECK(auth::saslprep("I\xc2\xadX") == "IX");                     // 1: soft hyphen
    CHECK(auth::saslprep("user") == "user");                        // 2
    CHECK(auth::saslprep("USER") == "USER");                        // 3: case stays
    CHECK_FALSE(auth::saslprep("\x07"));                             // 6: prohibited
    CHECK(auth::saslprep("a\xc2\xa0" "b\xe3\x80\x80" "c") == "a b c");
    CHECK(auth::saslprep(" ~!") == " ~!");
    CHECK(auth::saslprep("") == "");
    for (const std::string_view bad : {std::string_view("\0", 1), std::string_view("a\r"), std::string_view("\x7f"), std::string_view("\xc2\x85"), std::string_view("\xff"), std::string_view("\xe2\x80\xae"),
                                       std::string_view("\xee\x80\x80"), std::string_view("\xef\xbf\xbf"), std::string_view("\xc3")})
        CHECK_FALSE(auth::saslprep(bad));
}

TEST_CASE("SCRAM secrets are read as Dovecot writes them, and nothing else is", "[auth]")
{
    const auto secret = auth::ScramSecret::derive(tls::Digest::sha256, "pencil", salt256, 4096);
    const auto back = auth::ScramSecret::parse(tls::Digest::sha256, secret.str());
    REQUIRE(back);
    CHECK(back->str() == secret.str());
    CHECK(back->matches("pencil"));
    CHECK_FALSE(back->matches("pencils"));
    CHECK_FALSE(back->matches("pencil\x01"));
    CHECK_FALSE(auth::ScramSecret::parse(tls::Digest::sha1, secret.str()));       // of another length
    const std::string good = secret.str();
    CHECK_FALSE(auth::ScramSecret::parse(tls::Digest::sha256, "0" + good.substr(4)));
    CHECK_FALSE(auth::ScramSecret::parse(tls::Digest::sha256, "9999999" + good.substr(4)));    // would cost minutes
    CHECK_FALSE(auth::ScramSecret::parse(tls::Digest::sha256, good + ",x"));
    CHECK_FALSE(auth::ScramSecret::parse(tls::Digest::sha256, good.substr(0, good.size() - 1)));
    CHECK_FALSE(auth::ScramSecret::parse(tls::Digest::sha256, ""));
}

TEST_CASE("damaged exchanges never prove anything", "[auth][hostile]")
{
    std::minstd_rand random(7);
    for (int round = 0; round < 300; ++round) {
        ScramClient client;
        client.user = "user";
        client.password = "pencil";
        Run run = begin("SCRAM-SHA-256", {}, client, "pencil");
        std::string final = client.final(run.first);
        // the p= and the c= part and the nonce: any other byte anywhere
        const std::size_t at = random() % final.size();
        const char old = final[at];
        final[at] = static_cast<char>(random());
        if (final[at] == old) continue;
        const auto kind = run.mechanism->feed(final).kind;
        INFO(at << " " << printable(final));
        CHECK((kind == Kind::malformed || kind == Kind::mismatch));
    }
}

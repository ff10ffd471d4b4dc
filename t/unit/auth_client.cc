// SASL as a client: the RFCs' examples, our own server on the other side, and servers that lie.
#include "t/unit/catch.h"

#include "lib/auth/client.h"
#include "lib/auth/mechanism.h"
#include "lib/base/base64.h"
#include "lib/base/text.h"

using namespace veredus;
using namespace std::string_literals;
using Kind = auth::Mechanism::Step::Kind;

TEST_CASE("a SCRAM client says what the RFCs' examples say", "[auth][rfc5802-5][rfc7677-3]")
{
    const struct {
        std::string name, nonce, first, challenge, answer, proof_of_server;
    } cases[] = {
        {"SCRAM-SHA-1", "fyko+d2lbbFgONRv9qkxdawL", "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
         "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
         "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "v=rmF9pqV8S7suAoZWja4dJRkFsKQ="},
        {"scram-sha-256", "rOprNGfwEbeRWgbNEkqO", "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
         "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
         "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
         "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
    };
    for (const auto& c : cases) {
        INFO(c.name);
        const auto client = auth::make_client_mechanism(c.name, "user", "pencil", c.nonce);
        REQUIRE(client);
        CHECK(client->initial() == c.first);
        CHECK(client->answer(c.challenge) == c.answer);
        CHECK_FALSE(client->complete());
        CHECK(client->answer(c.proof_of_server) == "");
        CHECK(client->complete());
        CHECK_FALSE(client->answer(""));
        CHECK_FALSE(client->complete());
    }
}

TEST_CASE("names with comma and equals sign reach our own server", "[auth][rfc5802-5.1]")
{
    for (const char* name : {"SCRAM-SHA-1", "SCRAM-SHA-256"}) {
        const auto client = auth::make_client_mechanism(name, "a,b=c", "s3cret", "cnonce");
        const auto server = auth::make_mechanism(name, {}, "snonce");
        REQUIRE(client);
        auto step = server->start(*client->initial());
        REQUIRE(step.kind == Kind::want_secret);
        CHECK(step.user == "a,b=c");
        step = server->secret(auth::ScramSecret::derive(server->hash(), "s3cret", "salt", 4096), true);
        REQUIRE(step.kind == Kind::challenge);
        step = server->feed(client->answer(step.data).value());
        REQUIRE(step.kind == Kind::challenge);
        step = server->feed(client->answer(step.data).value());
        CHECK(step.kind == Kind::proven);
        CHECK(client->complete());
    }
}

TEST_CASE("a server that does not know the password, or wants too little or too much work, gets no login", "[auth][rfc5802-5][rfc7677-4]")
{
    const std::string good = "r=cnonceX,s=c2FsdA==,i=4096";
    for (const std::string first : {"r=cnonceX,s=c2FsdA==,i=4095", "r=cnonceX,s=c2FsdA==,i=1000001", "r=cnonceX,s=c2FsdA==,i=4294967296", "r=cnonce,s=c2FsdA==,i=4096",
                                    "r=other,s=c2FsdA==,i=4096", "r=cnonceX,s=,i=4096", "r=cnonceX,s=!,i=4096", "m=x,r=cnonceX,s=c2FsdA==,i=4096", "", ",,,"}) {
        INFO(first);
        const auto client = auth::make_client_mechanism("SCRAM-SHA-256", "u", "p", "cnonce");
        (void)client->initial();
        CHECK_FALSE(client->answer(first));
        CHECK_FALSE(client->answer(good)); // no second chance
        CHECK_FALSE(client->complete());
    }
    for (const char* last : {"", "v=", "v=AAAA", "e=invalid-proof"}) {
        const auto client = auth::make_client_mechanism("SCRAM-SHA-256", "u", "p", "cnonce");
        (void)client->initial();
        REQUIRE(client->answer(good));
        CHECK_FALSE(client->answer(last));
        CHECK_FALSE(client->complete());
    }
}

TEST_CASE("PLAIN and LOGIN say name and password once", "[auth][rfc4616-2]")
{
    const auto plain = auth::make_client_mechanism("plain", "tim", "tanstaaf", "");
    CHECK_FALSE(plain->complete());
    CHECK(plain->initial() == "\0tim\0tanstaaf"s);
    CHECK(plain->complete());
    CHECK_FALSE(plain->answer("more"));
    const auto login = auth::make_client_mechanism("LOGIN", "tim", "tanstaaf", "");
    CHECK_FALSE(login->initial());
    CHECK(login->answer("Username:") == "tim");
    CHECK_FALSE(login->complete());
    CHECK(login->answer("anything") == "tanstaaf");
    CHECK(login->complete());
    CHECK_FALSE(login->answer("once more"));
    CHECK_FALSE(auth::make_client_mechanism("PLAIN", "a\0b"s, "x", ""));
    CHECK_FALSE(auth::make_client_mechanism("PLAIN", "a", "x\0y"s, ""));
    CHECK_FALSE(auth::make_client_mechanism("PLAIN", "", "x", ""));
    CHECK_FALSE(auth::make_client_mechanism("CRAM-MD5", "a", "x", ""));
    CHECK_FALSE(auth::make_client_mechanism("SCRAM-SHA-256", "a\x01", "x", "n"));
}

// Base64, digests, and the messages between roles and authd.
#include "t/unit/catch.h"

#include "lib/base/base64.h"
#include "lib/base/text.h"
#include "lib/ipc/auth.h"
#include "lib/tls/digest.h"

using namespace veredus;

namespace {
std::string hex(std::string_view bytes)
{
    std::string out;
    for (const char c : bytes) out += lower(hex_upper(static_cast<unsigned char>(c), 2));
    return out;
}
}  // namespace

TEST_CASE("base64 gives the vectors of its RFC in both directions", "[base][rfc4648-10]")
{
    const std::pair<const char*, const char*> vectors[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
    for (const auto& [plain, coded] : vectors) {
        CHECK(base64_encode(plain) == coded);
        CHECK(base64_decode(coded) == std::string(plain));
    }
    std::string all;
    for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
    CHECK(base64_decode(base64_encode(all)) == all);
}

TEST_CASE("base64 that has a second spelling, foreign characters or bad padding is refused", "[base][rfc4648-3.5]")
{
    for (const char* bad : {"Z", "Zg", "Zg=", "Zg===", "=", "====", "Zh==", "Zm9=", "Zm 9", "Zm9v\n", "Zg==Zg==", "Z===", "Zm-_", "=Zg="}) {
        INFO(bad);
        CHECK_FALSE(base64_decode(bad));
    }
    CHECK_FALSE(base64_decode(std::string("Zm9\0", 4)));
}

TEST_CASE("HMAC and PBKDF2 give the vectors of their RFCs", "[tls][digest][rfc4231-4.3]")
{
    CHECK(hex(tls::hmac(tls::Digest::sha256, "Jefe", "what do ya want for nothing?")) == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    CHECK(hex(tls::digest(tls::Digest::sha1, "abc")) == "a9993e364706816aba3e25717850c26c9cd0d89d");
    CHECK(hex(tls::pbkdf2(tls::Digest::sha1, "password", "salt", 4096)) == "4b007901b765489abead49d926f721d065a429c1");    // RFC 6070
    CHECK(tls::equal_time("abc", "abc"));
    CHECK_FALSE(tls::equal_time("abc", "abd"));
    CHECK_FALSE(tls::equal_time("abc", "ab"));
    std::string secret = "secret";
    tls::wipe(secret);
    CHECK(secret.empty());
}

TEST_CASE("MD5 gives APOP's example", "[tls][digest][rfc1939-7]")
{
    CHECK(tls::md5_hex("<1896.697170952@dbc.mtview.ca.us>tanstaaf") == "c4c9334bac560ecc979e58001b3e22fb");
}

TEST_CASE("messages of authd survive coding, and no cut or lengthened one is taken", "[ipc][auth]")
{
    ipc::AuthBegin begin{"SCRAM-SHA-256-PLUS", "n,,x", "submission", "2001:db8::7", true, true, std::string(32, '\x01'), ""};
    const auto body = begin.encode();
    const auto back = ipc::AuthBegin::decode(body);
    REQUIRE(back);
    CHECK(back->mechanism == begin.mechanism);
    CHECK(back->initial == begin.initial);
    CHECK(back->tls_exporter == begin.tls_exporter);
    CHECK(back->plus_offered);
    for (std::size_t n = 0; n < body.size(); ++n) CHECK_FALSE(ipc::AuthBegin::decode(std::string_view(body).substr(0, n)));
    CHECK_FALSE(ipc::AuthBegin::decode(body + "x"));
    begin.initial.reset();
    CHECK_FALSE(ipc::AuthBegin::decode(begin.encode())->initial);
    begin.initial = "";
    CHECK(ipc::AuthBegin::decode(begin.encode())->initial == "");
    begin.initial = std::string(ipc::max_sasl + 1, 'x');
    CHECK(ipc::AuthBegin::decode(begin.encode())->initial == begin.initial);      // the client's mistake, which authd judges
    begin.initial = std::string(ipc::max_message + 1, 'x');
    CHECK_FALSE(ipc::AuthBegin::decode(begin.encode()));

    const auto offer = ipc::AuthOffer::decode(ipc::AuthOffer{{"PLAIN", "LOGIN"}}.encode());
    REQUIRE(offer);
    CHECK(offer->mechanisms == std::vector<std::string>{"PLAIN", "LOGIN"});
    CHECK_FALSE(ipc::AuthOffer::decode(ipc::AuthOffer{std::vector<std::string>(33, "X")}.encode()));
    CHECK(ipc::AuthStep::decode(ipc::AuthStep{7, "abc"}.encode())->response == "abc");
}

TEST_CASE("a success without a user and a failure without a reason are no answers", "[ipc][auth]")
{
    using Kind = ipc::AuthReply::Kind;
    using ipc::AuthFailure;
    CHECK(ipc::AuthReply::decode(ipc::AuthReply{Kind::ok, 0, "", "alice", "Alice", AuthFailure::none}.encode()));
    CHECK_FALSE(ipc::AuthReply::decode(ipc::AuthReply{Kind::ok, 0, "", "", "Alice", AuthFailure::none}.encode()));
    CHECK_FALSE(ipc::AuthReply::decode(ipc::AuthReply{Kind::ok, 0, "", "alice", "", AuthFailure::locked}.encode()));
    CHECK_FALSE(ipc::AuthReply::decode(ipc::AuthReply{Kind::failed, 0, "", "", "", AuthFailure::none}.encode()));
    CHECK(ipc::AuthReply::decode(ipc::AuthReply{Kind::failed, 0, "", "", "", AuthFailure::internal}.encode()));
    CHECK(ipc::AuthReply::decode(ipc::AuthReply{Kind::challenge, 9, "x", "", "", AuthFailure::none}.encode()));
}

TEST_CASE("what a client hears of a failure does not tell whether the user exists, and ours is temporary", "[ipc][auth][rfc4954-6]")
{
    using ipc::AuthFailure;
    CHECK(std::string_view(ipc::smtp_failure_reply(AuthFailure::unknown_user)) == ipc::smtp_failure_reply(AuthFailure::password_mismatch));
    CHECK(std::string_view(ipc::failure_text(AuthFailure::unknown_user)) == ipc::failure_text(AuthFailure::password_mismatch));
    for (int i = 1; i <= 8; ++i) {
        const auto why = static_cast<AuthFailure>(i);
        const std::string_view reply = ipc::smtp_failure_reply(why);
        CHECK(reply.starts_with("454 4.7.0 ") == ipc::is_temporary(why));
        CHECK(std::string_view(ipc::failure_text(why)).size() > 0);
    }
}

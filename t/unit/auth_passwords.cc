// Stored passwords of every scheme, passwd-files, and what shadow(5) says of an account.
#include "t/unit/catch.h"

#include "lib/auth/argon2.h"
#include "lib/auth/passwd_file.h"
#include "lib/auth/password.h"
#include "lib/auth/shadow.h"
#include "lib/base/base64.h"
#include "lib/base/text.h"

using namespace veredus;
using Standing = auth::Found::Standing;

namespace {
bool fits(std::string_view stored, std::string_view password)
{
    const auto result = auth::check_password(stored, password);
    return result && *result;
}
// The vector of the SHA-crypt specification.
const std::string sha512_crypt = "$6$saltstring$" + std::string("svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1");   // "Hello world!"
}  // namespace

TEST_CASE("every scheme knows its password and no other", "[auth][password]")
{
    const std::pair<std::string, std::string> cases[] = {
        {sha512_crypt, "Hello world!"},
        {"{CRYPT}" + sha512_crypt, "Hello world!"},
        {"{SHA512-CRYPT}" + sha512_crypt, "Hello world!"},
        {"{sha512-crypt}" + sha512_crypt, "Hello world!"},
        {"$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "Hello world!"},
        {"{BLF-CRYPT}$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
        {"{PLAIN}secret", "secret"},
        {"{CLEARTEXT}s p a c e", "s p a c e"},
        {"{PLAIN.b64}c2VjcmV0", "secret"},
        {"{plain.hex}736563726574", "secret"},
        {"{SHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", "abc"},
        {"{SHA1}a9993e364706816aba3e25717850c26c9cd0d89d", "abc"},
        {"{SHA256}ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", "abc"},
        {"{SHA256.hex}ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "abc"},
        {"{SSHA}" + base64_encode(tls::digest(tls::Digest::sha1, "secretNaCl") + "NaCl"), "secret"},
        {"{SSHA256}" + base64_encode(tls::digest(tls::Digest::sha256, "secretNaCl") + "NaCl"), "secret"},
        {"{SSHA512}" + base64_encode(tls::digest(tls::Digest::sha512, "secretNaCl") + "NaCl"), "secret"},
        {"{PLAIN-MD5}900150983cd24fb0d6963f7d28e17f72", "abc"},
        {"{LDAP-MD5}kAFQmDzST7DWlj99KOF/cg==", "abc"},
        {"{MD5}kAFQmDzST7DWlj99KOF/cg==", "abc"},
        {"{MD5}$1$abcdefgh$Kn5qrjcQzV7oAHBJ23Cu3/", "abc"},
        {"{LDAP-MD5.hex}900150983cd24fb0d6963f7d28e17f72", "abc"},
        {"{SMD5}t6xns2DCS6727SipGd221U5hQ2w=", "secret"},
        {"{CRAM-MD5}d1f572fa933640912124fe03d50c3ca200f34cbe8f2fdcb046858c6f0bb260d3", "pass:wörd"},      // doveadm pw made these three
        {"{HMAC-MD5}52197db948d0932512a61b183e7d05b04e94d60a3bb0d00f92d3df52a5d275ca", std::string(100, 'x')},
        {"{PBKDF2}$1$M1oITlmK.xGe2CpO$5000$856be5fdfd820c14994a9f1b33234cc6ef7a3364", "pass:wörd"},
        {"{PBKDF2}$1$salt$4096$4b007901b765489abead49d926f721d065a429c1", "password"},      // RFC 6070
        {"{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=", "pencil"},
    };
    for (const auto& [stored, password] : cases) {
        INFO(stored);
        CHECK(auth::check_form(stored));
        CHECK(fits(stored, password));
        CHECK_FALSE(fits(stored, cat(password, "x")));
        CHECK_FALSE(fits(stored, ""));
        CHECK_FALSE(fits(stored, std::string(password) + std::string("\0", 1)));
        CHECK_FALSE(fits("!" + stored, password));
        CHECK_FALSE(fits(stored, stored));
    }
}

TEST_CASE("a stored form that is not known or not whole is an error, not a password", "[auth][password][hostile]")
{
    for (const std::string stored : {"{", "{}", "{X}secret", "{PLAIN", "{PLAIN}", "{PLAIN.b64}!", "{PLAIN.rot13}frperg", "{SHA}", "{SHA}YWJj", "{PLAIN-MD5}", "{PLAIN-MD5}abc", "{LDAP-MD5}YWJj", "{SMD5}kAFQmDzST7DWlj99KOF/cg==", "{CRAM-MD5}900150983cd24fb0d6963f7d28e17f72", "{DIGEST-MD5}900150983cd24fb0d6963f7d28e17f72", "{SSHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=",
                                     "{SCRAM-SHA-256}", "{SCRAM-SHA-256}4096,YQ==,YQ==,YQ==", "{PBKDF2}$1$salt$0$4b007901b765489abead49d926f721d065a429c1", "{PBKDF2}$1$salt$4294967295$00",
                                     "secret", "$", "$9$x$y", "{CRYPT}", "{CRYPT}plaintext", "{MD5-CRYPT}abc def"}) {
        INFO(stored);
        CHECK_FALSE(auth::check_form(stored));
        CHECK_FALSE(auth::check_password(stored, "secret"));
    }
    CHECK(auth::is_locked(""));
    CHECK(auth::is_locked("!"));
    CHECK(auth::is_locked("*"));
    CHECK(auth::is_locked("!$6$abc"));
    CHECK_FALSE(fits("*0", "*0"));
}

TEST_CASE("Argon2 hashes of argon2(1) and of Dovecot know their password", "[auth][password][rfc9106-3.1]")
{
    const std::pair<std::string, const char*> cases[] = {
        {"{ARGON2I}$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQxMjM0$/PUCqm0t31ekqmZUu+YJ9dTo95q4q3a0UJn/f7RF8eA", "secret"},
        {"{ARGON2I}$argon2i$v=19$m=256,t=2,p=4$c2FsdHNhbHQxMjM0$bC9NwTKLycuQcnDyV7oetrtOYKC+XobAsRMBfngY45g", "secret"},
        {"{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQxMjM0$gWSgKoc6c/3uNR4Xp3zc0F85cq0bju29muEg08rPoF4", "secret"},
        {"{argon2id}$argon2id$v=19$m=256,t=2,p=4$c2FsdHNhbHQxMjM0$c0VAO5PRdtXPgD9RfwUEKvUcSMS1kO4TMPQ6k3/c9B0", "secret"},
        {"$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQxMjM0$gWSgKoc6c/3uNR4Xp3zc0F85cq0bju29muEg08rPoF4", "secret"},
        {"{ARGON2ID.b64}" + base64_encode("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQxMjM0$gWSgKoc6c/3uNR4Xp3zc0F85cq0bju29muEg08rPoF4"), "secret"},
        {"{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$b9GgEDfuaNEJTUdaxSUW3g$/lZEthrpFvNRvKPq3YrWn/ZG4zIKTiHB+C8jd2s79lU", "pass:wörd"},
        {"{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$wBGdmfHGiwyNjLTpnO9/HA$GC7QBfGu0RdkuSoVQnmP+Qx6ulBGvCin0u3PYUFOlCU", "pass:wörd"},
    };
    for (const auto& [stored, password] : cases) {
        INFO(stored);
        if (!auth::argon2_built_in()) {
            const auto form = auth::check_form(stored);
            REQUIRE_FALSE(form);
            CHECK(form.error().text.find("built without Argon2 (configure found no libargon2-dev)") != std::string::npos);
            continue;
        }
        CHECK(auth::check_form(stored));
        CHECK(fits(stored, password));
        if (stored.find("m=6") != std::string::npos && stored.find("m=65536") == std::string::npos) CHECK_FALSE(fits(stored, cat(password, "x")));    // the others take long
        CHECK_FALSE(fits("!" + stored, password));
        CHECK(auth::Argon2::parse(stored.substr(stored.find('}') + 1)).value_or(auth::Argon2()).str() == (stored.find("b64") == std::string::npos ? stored.substr(stored.find('}') + 1) : auth::Argon2().str()));
    }
}

TEST_CASE("what an Argon2 hash may ask for is bounded before it is computed", "[auth][password][hostile]")
{
    const auto read = [](std::string_view kind, std::string_view version, std::string_view numbers, std::string_view salt, std::string_view hash) {
        return auth::Argon2::parse(cat('$', kind, "$v=", version, '$', numbers, '$', salt, '$', hash)).has_value();
    };
    const std::string salt = "c2FsdHNhbHQxMjM0", hash = "gWSgKoc6c/3uNR4Xp3zc0F85cq0bju29muEg08rPoF4";
    CHECK(read("argon2id", "19", "m=1048576,t=16,p=64", salt, hash));
    CHECK(read("argon2i", "19", "m=8,t=1048576,p=1", salt, hash));
    for (const char* numbers : {"m=1048577,t=1,p=1", "m=1048576,t=17,p=1", "m=4294967296,t=1,p=1", "m=8,t=4294967295,p=1", "m=64,t=1,p=65", "m=7,t=1,p=1", "m=64,t=1,p=9", "m=0,t=1,p=1", "m=64,t=0,p=1",
                                "m=64,t=1,p=0", "m=64,t=1", "m=64,t=1,p=1,x=1", "t=1,m=64,p=1", "m=-64,t=1,p=1", "m=64,t=1,p=", "", ",,", "m=64, t=1,p=1"}) {
        INFO(numbers);
        CHECK_FALSE(read("argon2id", "19", numbers, salt, hash));
    }
    CHECK_FALSE(read("argon2d", "19", "m=64,t=1,p=1", salt, hash));
    CHECK_FALSE(read("argon2id", "16", "m=64,t=1,p=1", salt, hash));
    for (const std::string& bad : {std::string(), std::string("c2FsdA"), std::string("c2FsdHNhbHQxMjM0=="), std::string("c2FsdHNhbHQxMjM0!"), std::string("c2FsdHNhbHQxM"), std::string(88, 'A'), std::string(100'000, 'A')}) {
        INFO(bad.substr(0, 100));
        CHECK_FALSE(read("argon2id", "19", "m=64,t=1,p=1", bad, hash));
        CHECK_FALSE(read("argon2id", "19", "m=64,t=1,p=1", salt, bad));
    }
    for (const char* text : {"", "$", "$$$$$", "argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQxMjM0$gWSg", "$argon2id$m=64,t=1,p=1$c2FsdHNhbHQxMjM0$gWSgKoc6c/3uNR4Xp3zc0F85cq0bju29muEg08rPoF4"})
        CHECK_FALSE(auth::Argon2::parse(text));
    if (auth::argon2_built_in()) CHECK(auth::check_form("{ARGON2ID}$argon2id$v=19$m=1048577,t=1,p=1$" + salt + "$" + hash).error().text.find("more than 1 GiB") != std::string::npos);
}

TEST_CASE("what is made is salted, fits its password, and can stand in a passwd-file", "[auth][password]")
{
    for (const auto& scheme : auth::makable_schemes()) {
        INFO(scheme);
        const bool slow = scheme == "ARGON2ID";
        const auto one = auth::make_password(scheme, "pass:wörd"), two = slow ? Result<std::string>("") : auth::make_password(scheme, "pass:wörd");
        REQUIRE(one);
        REQUIRE(two);
        CHECK((*one != *two || scheme == "PLAIN"));
        CHECK(one->find_first_of(":\n") == std::string::npos);
        CHECK(auth::check_form(*one));
        CHECK(fits(*one, "pass:wörd"));
        if (!slow) CHECK_FALSE(fits(*one, "pass:word"));
    }
    CHECK(auth::makable_schemes()[0] == "SCRAM-SHA-256");
    CHECK_FALSE(auth::make_password("SCRAM-SHA-256", ""));
    CHECK_FALSE(auth::make_password("SCRAM-SHA-256", "a\nb"));
    CHECK_FALSE(auth::make_password("SHA", "secret"));       // unsalted: read, never made
    CHECK_FALSE(auth::make_password("MD5", "secret"));
    CHECK(auth::stored_plain("{PLAIN}x") == "x");
    CHECK_FALSE(auth::stored_plain("!{PLAIN}x"));
    CHECK_FALSE(auth::stored_plain("$6$x$y"));
    CHECK(auth::stored_scram(*auth::make_password("SCRAM-SHA-1", "x"), tls::Digest::sha1));
    CHECK_FALSE(auth::stored_scram(*auth::make_password("SCRAM-SHA-1", "x"), tls::Digest::sha256));
}

TEST_CASE("extra fields of Dovecot's passwd-files that mean something are done, or named", "[auth][passwd-file]")
{
    std::vector<std::string> problems;
    const auto file = auth::PasswdFile::parse("info:{PLAIN}x::::::user=alice userdb_mail=maildir:~/Maildir\n"
                                              "alice:{PLAIN}x::::::nodelay=y proxy=n\n"
                                              "nets:{PLAIN}x::::::allow_nets=192.168.1.10/24,local,2001:db8::7/32,10.0.0.1\n"
                                              "inside:{PLAIN}x::::::allow_nets=local\n"
                                              "far:{PLAIN}x::::::proxy=y host=192.0.2.1\n"
                                              "maybe:{PLAIN}x::::::proxy_maybe host=192.0.2.1\n"
                                              "open:::::::nopassword=y\n"
                                              "vars:{PLAIN}x::::::user=%n\n"
                                              "none:{PLAIN}x::::::user=\n"
                                              "wide:{PLAIN}x::::::allow_nets=192.168.1.10/33\n",
                                              "key", &problems);
    const auto found = [&](const char* name) { return *file->find(name); };
    CHECK(found("info")->user == "alice");
    CHECK(found("alice")->user == "alice");
    const auto allowed = found("nets")->allowed;
    REQUIRE(allowed.size() == 3);
    CHECK(allowed[0].contains(*net::Address::parse_ip("192.168.1.99", 0)));
    CHECK_FALSE(allowed[0].contains(*net::Address::parse_ip("192.168.2.10", 0)));
    CHECK(allowed[1].contains(*net::Address::parse_ip("2001:db8:1::1", 0)));
    CHECK_FALSE(allowed[2].contains(*net::Address::parse_ip("10.0.0.2", 0)));
    CHECK(found("inside")->standing == Standing::locked);
    for (const char* name : {"far", "maybe", "open", "vars", "none", "wide"}) CHECK_FALSE(found(name));
    REQUIRE(problems.size() == 6);
    CHECK(problems[0] == "line 5: proxy: sessions are not passed on to another server here");
    CHECK(problems[2] == "line 7: nopassword: nobody logs in without a password here");
    CHECK(problems[3] == "line 8: user=%n: no user name");
}

TEST_CASE("a passwd-file as Dovecot has it works as it is", "[auth][passwd-file]")
{
    std::vector<std::string> problems;
    const auto file = auth::PasswdFile::parse(
        "# users\n"
        "\n"
        "alice:{PLAIN}wonder::::::\n"
        "bob@example.org:" + sha512_crypt + ":5000:5000::/srv/mail/bob::userdb_quota_rule=*:bytes=1G allow_nets=192.0.2.0/24,2001:db8::/32\r\n"
        "carol:!{PLAIN}x:1:1\n"
        "dave:{PLAIN}x::::::nologin\n"
        "erin:{NOSUCH}x\n"
        "frank\n"
        ":{PLAIN}x\n"
        "gr\x01te:{PLAIN}x\n"
        "mallory:{PLAIN}x::::::allow_nets=anywhere\n"
        "alice:{PLAIN}second\n",
        "key", &problems);
    const auto find = [&](const char* user) { return *file->find(user).value(); };
    CHECK(file->size() == 5);
    CHECK(find("alice").password == "{PLAIN}wonder");
    CHECK(find("alice").standing == Standing::good);
    const auto bob = find("bob@example.org");
    CHECK(bob.source == "passwd-file");
    REQUIRE(bob.allowed.size() == 2);
    CHECK(bob.allowed[1].contains(*net::Address::parse_ip("2001:db8::7", 0)));
    CHECK_FALSE(bob.allowed[0].contains(*net::Address::parse_ip("198.51.100.1", 0)));
    CHECK(find("carol").standing == Standing::locked);
    CHECK(find("dave").standing == Standing::locked);
    CHECK(find("frank").standing == Standing::locked);      // no password at all is none
    for (const char* user : {"erin", "", "mallory", "Alice", "# users", "bob"}) {
        INFO(user);
        CHECK_FALSE(file->find(user).value());
    }
    REQUIRE(problems.size() == 4);
    CHECK(problems[0] == "line 7: password scheme {NOSUCH} is not known");
    CHECK(problems[2].starts_with("line 10: "));
    for (const auto& problem : problems) CHECK(problem.find("{PLAIN}x") == std::string::npos);
}

TEST_CASE("SCRAM can be offered when all who can log in have a secret for it", "[auth][passwd-file]")
{
    const std::string scram256 = *auth::make_password("SCRAM-SHA-256", "x"), scram1 = *auth::make_password("SCRAM-SHA-1", "x");
    const auto all = [](const std::string& text) {
        const auto file = auth::PasswdFile::parse(text, "key", nullptr);
        return std::pair(file->all_scram(false), file->all_scram(true));
    };
    CHECK(all("a:{PLAIN}x\n") == std::pair(true, true));
    CHECK(all("a:" + scram256 + "\nb:{PLAIN}x\n") == std::pair(true, false));
    CHECK(all("a:" + scram256 + "\nb:" + scram1 + "\n") == std::pair(false, false));
    CHECK(all("a:" + scram256 + "\nb:" + sha512_crypt + "\n") == std::pair(false, false));
    CHECK(all("a:" + scram256 + "\nb:!" + sha512_crypt + "\n") == std::pair(true, false));
    CHECK(all("") == std::pair(false, false));
}

TEST_CASE("an unknown user always costs what the same known one would", "[auth][passwd-file]")
{
    const auto file = auth::PasswdFile::parse("a:{PLAIN}1\nb:{PLAIN}2\nc:!{PLAIN}3\n", "key", nullptr);
    bool one = false, two = false;
    for (int i = 0; i < 100; ++i) {
        const std::string user = cat("user", i), form = file->likely_password(user);
        CHECK(form == file->likely_password(user));
        CHECK((form == "{PLAIN}1" || form == "{PLAIN}2"));
        one = one || form == "{PLAIN}1";
        two = two || form == "{PLAIN}2";
    }
    CHECK((one && two));
    CHECK(auth::PasswdFile::parse("", "key", nullptr)->likely_password("x").empty());
    const auth::Shadow shadow("key");
    CHECK(shadow.likely_password("x").starts_with("$"));
}

TEST_CASE("a user's line is found by his whole name", "[auth][passwd-file]")
{
    const std::string text = "#a\nbob:x\nbobby:y\r\nlast:z";
    CHECK(auth::find_line(text, "bob") == std::pair<std::size_t, std::size_t>(3, 8));
    CHECK(auth::find_line(text, "bobby") == std::pair<std::size_t, std::size_t>(9, 16));
    CHECK(auth::find_line(text, "last") == std::pair<std::size_t, std::size_t>(18, 24));
    CHECK_FALSE(auth::find_line(text, "bo"));
    CHECK_FALSE(auth::find_line("", "bob"));
    CHECK_FALSE(auth::is_user_name("a:b"));
    CHECK_FALSE(auth::is_user_name(" a"));
    CHECK_FALSE(auth::is_user_name("../a"));
    CHECK(auth::is_user_name("alice@example.org"));
}

TEST_CASE("the line of a user that does not fit is told with its number, and no other one", "[auth][passwd-file]")
{
    const std::string text = "# x\nalice:{PLAIN}a\nbob:{NONSENSE}b\r\ncarol:{PLAIN}c:::::allow_nets=x\nbob:{PLAIN}b\n";
    CHECK(auth::line_problem(text, "bob") == "line 3: password scheme {NONSENSE} is not known");
    CHECK_FALSE(auth::line_problem(text, "alice"));
    CHECK_FALSE(auth::line_problem(text, "dave"));
    CHECK_FALSE(auth::line_problem("", "alice"));
}

TEST_CASE("locked and expired accounts of shadow are told as login sees them", "[auth][shadow]")
{
    const struct {
        const char* name;
        auth::ShadowEntry entry;
        Standing standing;
    } cases[] = {
        {"plain", {"$6$x", 20000, -1, -1, -1}, Standing::good},
        {"usual", {"$6$x", 20000, 99999, -1, -1}, Standing::good},
        {"usermod -L", {"!$6$x", 20000, 99999, -1, -1}, Standing::locked},
        {"no login", {"*", 20000, 99999, -1, -1}, Standing::locked},
        {"no password", {"", 20000, 99999, -1, -1}, Standing::locked},
        {"expires today", {"$6$x", 20000, 99999, -1, 20100}, Standing::expired},
        {"expires tomorrow", {"$6$x", 20000, 99999, -1, 20101}, Standing::good},
        {"must change", {"$6$x", 0, 99999, -1, -1}, Standing::expired},
        {"password of the last day", {"$6$x", 20010, 90, -1, -1}, Standing::good},
        {"password too old", {"$6$x", 20009, 90, -1, -1}, Standing::expired},
        {"no date", {"$6$x", -1, 90, -1, -1}, Standing::good},
    };
    for (const auto& c : cases) {
        INFO(c.name);
        CHECK(auth::standing_of(c.entry, 20100) == c.standing);
    }
}

// IMAP before the login: what is said when, exchanges, and what is left to the session.
#include "t/unit/catch.h"

#include "lib/base/base64.h"
#include "lib/base/text.h"
#include "lib/imap/login_dialect.h"

using namespace veredus;
using Wants = login::Dialect::Wants;

namespace {

// A stage: shakes hands, lets alice:secret in, and knows one challenge ("who?" to be answered with "me").
struct Stage {
    imap::LoginDialect dialect;
    login::Circumstances now;
    std::string out, text, input;
    bool entered = false, closed = false, temporary = false;
    unsigned cancelled = 0;

    explicit Stage(bool tls = true)
    {
        now.greeting = "ready.";
        now.tls = now.passwords = tls;
        now.starttls = !tls;
        now.mechanisms = tls ? std::vector<std::string>{"SCRAM-SHA-256", "PLAIN", "LOGIN"}
                             : std::vector<std::string>{"SCRAM-SHA-256"};
        dialect.set(now);
    }
    void act(Wants wants)
    {
        for (;;) switch (wants) {
            case Wants::input: return;
            case Wants::close: closed = true; return;
            case Wants::starttls:
                out += "<tls>\n";
                dialect.secured();
                now.tls = now.passwords = true;
                now.starttls = false;
                now.mechanisms = {"PLAIN"};
                dialect.set(now);
                return;
            case Wants::cancel:
                ++cancelled;
                wants = dialect.feed("", out);
                break;
            case Wants::begin: {
                auto asked = std::move(dialect.asked());
                if (asked.mechanism == "LOGIN" || (asked.mechanism == "PLAIN" && !now.passwords))
                    wants = dialect.refused(login::Refusal::no_mechanism, out);
                else if (!asked.initial)
                    wants = dialect.challenge(asked.mechanism == "PLAIN" ? "" : "who?", out);
                else if (!judge(*asked.initial, wants))
                    return;
                break;
            }
            case Wants::step:
                if (!judge(dialect.asked().response, wants)) return;
                break;
            }
    }
    bool judge(const std::string& said, Wants& wants)
    {
        if (temporary) return wants = dialect.refused(login::Refusal::unavailable, out), true;
        if (said != std::string("\0alice\0secret", 13) && said != "me")
            return wants = dialect.refused(login::Refusal::password, out), true;
        auto rest = dialect.hand_over();
        text = rest.text;
        input = rest.input;
        entered = true;
        return false;
    }
    std::string feed(std::string_view bytes, std::size_t piece = SIZE_MAX)
    {
        for (; !bytes.empty() && !entered && !closed; bytes.remove_prefix(std::min(piece, bytes.size())))
            act(dialect.feed(bytes.substr(0, piece), out));
        if (entered) input += bytes;
        return std::exchange(out, {});
    }
};

std::string said(std::string_view input, bool tls = true)
{
    Stage whole(tls), cut(tls);
    const std::string at_once = whole.feed(input);
    CHECK(cut.feed(input, 1) == at_once);
    CHECK(cut.closed == whole.closed);
    CHECK(cut.text == whole.text);
    CHECK(cut.cancelled == whole.cancelled);
    return at_once;
}

} // namespace

TEST_CASE("IMAP before the login", "[imap][login][rfc9051-6.1][rfc9051-6.2]")
{
    Stage stage;
    stage.dialect.greet(stage.out);
    CHECK(stage.out == "* OK [CAPABILITY IMAP4rev1 IMAP4rev2 SASL-IR ID ENABLE IDLE LITERAL+ AUTH=SCRAM-SHA-256 "
                       "AUTH=PLAIN AUTH=LOGIN] ready.\r\n");
    CHECK(
        said("a CAPABILITY\r\nb noop\r\n", false) ==
        "* CAPABILITY IMAP4rev1 IMAP4rev2 SASL-IR ID ENABLE IDLE LITERAL+ STARTTLS LOGINDISABLED AUTH=SCRAM-SHA-256\r\n"
        "a OK Capability completed.\r\nb OK NOOP completed.\r\n");
    CHECK(said("a ID (\"name\" \"mutt\")\r\n") == "* ID (\"name\" \"veredus\")\r\na OK ID completed.\r\n");
    Stage web;
    (void)web.feed("a ID (\"X-Originating-IP\" \"192.0.2.9\")\r\n");
    CHECK(web.dialect.speaks_for() == "192.0.2.9");
    (void)web.feed("a ID (\"x-originating-ip\" NIL \"x-originating-ip\" \"2001:db8:0000:0000:0000:0000:0000:0000:0000:0001\")\r\n");
    CHECK(web.dialect.speaks_for().empty());
    CHECK(said("a LOGOUT\r\nb NOOP\r\n") == "* BYE Logging out.\r\na OK Logout completed.\r\n");
    CHECK(said("a SELECT INBOX\r\nb APPEND x {3}\r\nc APPEND x {3+}\r\nabc\r\nd IDLE\r\ne FOO\r\n") ==
          "a BAD Log in first.\r\nb BAD Log in first.\r\nc BAD Log in first.\r\nd BAD Log in first.\r\ne BAD there is "
          "no command FOO\r\n");
    std::string junk;
    for (int i = 0; i < 12; ++i) junk += "GET / HTTP/1.0\r\n";
    const std::string answer = said(junk);
    CHECK(answer.ends_with("GET BAD a command expected\r\n* BYE Too many invalid commands.\r\n"));
    CHECK(said("a LOGIN {100000}\r\n") == "a BAD [TOOBIG] a command has at most 40000 bytes without messages\r\n");
    CHECK(said("a LOGIN {100000+}\r\n") == "a BAD [TOOBIG] a command has at most 40000 bytes without messages\r\n* BYE "
                                           "[TOOBIG] That is more than a login needs.\r\n");
}

TEST_CASE("where PLAIN is switched off, LOGIN is disabled", "[imap][login][rfc9051-6.2.3]")
{
    Stage stage;
    login::Circumstances now;
    now.passwords = true;
    now.mechanisms = {"SCRAM-SHA-256"};
    stage.dialect.set(now);
    std::string out;
    stage.dialect.greet(out);
    CHECK(out.find(" LOGINDISABLED AUTH=SCRAM-SHA-256]") != std::string::npos);
}

TEST_CASE("who gets no session hears BYE, and what he sent behind his login is nobody's",
          "[imap][login][rfc9051-7.1.5]")
{
    Stage stage;
    (void)stage.feed("a LOGIN alice secret\r\nb NOOP\r\n");
    REQUIRE(stage.entered);
    std::string out;
    CHECK(stage.dialect.refused(login::Refusal::not_admitted, out) == login::Dialect::Wants::close);
    CHECK(out == "a NO [UNAVAILABLE] The mailbox cannot be opened now, try again later.\r\n"
                 "* BYE [UNAVAILABLE] Come back later.\r\n");
}

TEST_CASE("LOGIN and AUTHENTICATE", "[imap][login][rfc9051-6.2.2][rfc9051-6.2.3][rfc4959-3][rfc5530-3]")
{
    Stage stage;
    CHECK(stage.feed("a LOGIN alice wrong\r\nb LOGIN \"alice\" {6}\r\n") ==
          "a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n+ OK\r\n");
    CHECK(stage.feed("secret\r\nc SELECT INBOX\r\nd NO").empty());
    CHECK(stage.entered);
    CHECK(stage.text == "b");
    CHECK(stage.input == "c SELECT INBOX\r\nd NO");

    Stage plain;
    CHECK(plain.feed("x1 ID (\"name\" \"K\" \"os\" NIL)\r\na AUTHENTICATE plain\r\n") ==
          "* ID (\"name\" \"veredus\")\r\nx1 OK ID completed.\r\n+ \r\n");
    CHECK(plain.feed(cat(base64_encode(std::string("\0alice\0secret", 13)), "\r\nb NOOP\r\n")).empty());
    CHECK(plain.text == "a name=\"K\", os=NIL");
    CHECK(plain.input == "b NOOP\r\n");
    const auto facts = imap::read_hand_over(plain.text);
    CHECK(facts.tag == "a");
    CHECK(facts.client == "name=\"K\", os=NIL");
    CHECK(imap::read_hand_over("a").tag == "a");
    CHECK(imap::read_hand_over("a").client.empty());

    const std::string initial = base64_encode(std::string("\0alice\0secret", 13));
    Stage ir;
    CHECK(ir.feed(cat("a AUTHENTICATE PLAIN ", initial, "\r\n")).empty());
    CHECK(ir.entered);

    CHECK(said("a AUTHENTICATE SCRAM-SHA-256\r\n*\r\nb AUTHENTICATE SCRAM-SHA-256\r\n!\r\nc AUTHENTICATE "
               "SCRAM-SHA-256\r\neA==\r\nd NOOP\r\n") ==
          "+ d2hvPw==\r\na BAD Authentication cancelled.\r\n+ d2hvPw==\r\nb BAD The response is not base64.\r\n"
          "+ d2hvPw==\r\nc NO [AUTHENTICATIONFAILED] Authentication failed.\r\nd OK NOOP completed.\r\n");
    CHECK(said("a AUTHENTICATE LOGIN\r\n") == "a NO [CANNOT] Unsupported authentication mechanism.\r\n");
    CHECK(said("a LOGIN alice secret\r\nb AUTHENTICATE PLAIN AA==\r\n", false) ==
          "a NO [PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.\r\n"
          "b NO [PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.\r\n");
    Stage away;
    away.temporary = true;
    CHECK(away.feed("a LOGIN alice secret\r\n") ==
          "a NO [UNAVAILABLE] Temporary authentication failure, try again later.\r\n");
}

TEST_CASE("what was said before TLS is forgotten", "[imap][login][rfc9051-6.2.1][rfc9051-11.1]")
{
    CHECK(said("a STARTTLS\r\n") == "a BAD TLS is active already.\r\n");
    Stage stage(false);
    // Pipelined behind it: injected by whoever is in the middle.
    CHECK(stage.feed("i ID (\"name\" \"x\")\r\na STARTTLS\r\nb LOGIN alice secret\r\nc NO") ==
          "* ID (\"name\" \"veredus\")\r\ni OK ID completed.\r\na OK Begin TLS negotiation now.\r\n<tls>\n");
    CHECK(stage.feed("b CAPABILITY\r\nc STARTTLS\r\nd LOGIN alice secret\r\n") ==
          "* CAPABILITY IMAP4rev1 IMAP4rev2 SASL-IR ID ENABLE IDLE LITERAL+ AUTH=PLAIN\r\nb OK Capability "
          "completed.\r\nc BAD TLS is active already.\r\n");
    CHECK(stage.text == "d");
    Stage none(false);
    none.now.starttls = false;
    none.dialect.set(none.now);
    CHECK(none.feed("a STARTTLS\r\n") == "a BAD TLS is not available.\r\n");
}

TEST_CASE("partings before the login say why", "[imap][login][rfc9051-7.1.5]")
{
    Stage stage;
    for (const auto why :
         {login::Parting::idle, login::Parting::stopping, login::Parting::crowded, login::Parting::too_many_failures}) {
        std::string out;
        stage.dialect.part(why, out);
        CHECK(out.starts_with("* BYE "));
        CHECK(out.ends_with(".\r\n"));
    }
}

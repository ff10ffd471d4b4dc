// POP3 after the login: each command in its table, any cut of input and output, and a maildrop that fails.
#include "t/unit/catch.h"

#include "lib/base/text.h"
#include "lib/mail/downgrade.h"
#include "lib/mail/encoded_word.h"
#include "lib/mail/utf8.h"
#include "lib/pop3/login.h"
#include "lib/pop3/transaction.h"
#include "lib/pop3/uidl.h"
#include "lib/pop3/vigil.h"

using namespace veredus;
using pop3::Transaction;

namespace {

struct Drop final : pop3::Maildrop {
    std::vector<std::string> mails = {"Subject: one\r\n\r\nfirst\r\n.\r\n..dots\r\nlast\r\n", "Subject: two\r\n\r\n",
                                      "no header end", "A: b\r\n c\r\n\r\n1\r\n2\r\n\r\n4"};
    std::vector<std::size_t> read_whole, gone;
    bool fails = false, broken = false;
    std::size_t kept = 0, lost = 0;
    std::size_t most = SIZE_MAX;
    std::size_t count() const override { return mails.size(); }
    uint64_t size(std::size_t n) const override { return mails[n - 1].size(); }
    std::string uid(std::size_t n) override { return cat("u", n); }
    Result<void> prepare(std::size_t n) override { return n == lost ? fail("ENOENT") : Result<void>(); }
    Result<std::string> read(std::size_t n, uint64_t offset, std::size_t at_most) override
    {
        if (broken) return fail("gone");
        return mails[n - 1].substr(offset, std::min(at_most, most));
    }
    void retrieved(std::size_t n) override { read_whole.push_back(n); }
    Result<std::size_t> remove(const std::vector<std::size_t>& numbers) override
    {
        if (fails) return fail("read-only");
        gone = numbers;
        return kept;
    }
};

std::string talk(Transaction& t, std::string_view input)
{
    std::string out;
    auto wants = t.feed(input, out);
    while (wants == Transaction::Wants::drain) wants = t.more(out);
    return out;
}

std::string answers(std::string_view input, std::size_t most = SIZE_MAX)
{
    Drop drop;
    drop.most = most;
    const pop3::Options options;
    Transaction t(drop, options);
    return talk(t, input);
}

} // namespace

TEST_CASE("the commands of a POP3 transaction", "[pop3][rfc1939-5]")
{
    struct Case {
        const char *input, *output;
    };
    const Case cases[] = {
        {"STAT\r\n", "+OK 4 90\r\n"},
        {"stat\n", "+OK 4 90\r\n"},
        {"LIST\r\n", "+OK 4 messages (90 octets)\r\n1 40\r\n2 16\r\n3 13\r\n4 21\r\n.\r\n"},
        {"LIST 2\r\n", "+OK 2 16\r\n"},
        {"LIST 5\r\n", "-ERR no such message, only 4 messages in maildrop\r\n"},
        {"LIST 0\r\n", "-ERR no such message, only 4 messages in maildrop\r\n"},
        {"LIST -1\r\n", "-ERR a message number is wanted\r\n"},
        {"LIST 99999999999999999999\r\n", "-ERR a message number is wanted\r\n"},
        {"UIDL 3\r\n", "+OK 3 u3\r\n"},
        {"UIDL\r\n", "+OK 4 messages\r\n1 u1\r\n2 u2\r\n3 u3\r\n4 u4\r\n.\r\n"},
        {"RETR 1\r\n", "+OK 40 octets\r\nSubject: one\r\n\r\nfirst\r\n..\r\n...dots\r\nlast\r\n.\r\n"},
        {"RETR 3\r\n", "+OK 13 octets\r\nno header end\r\n.\r\n"},
        {"RETR\r\n", "-ERR a message number is wanted\r\n"},
        {"TOP 1 0\r\n", "+OK\r\nSubject: one\r\n\r\n.\r\n"},
        {"TOP 1 2\r\n", "+OK\r\nSubject: one\r\n\r\nfirst\r\n..\r\n.\r\n"},
        {"TOP 4 3\r\n", "+OK\r\nA: b\r\n c\r\n\r\n1\r\n2\r\n\r\n.\r\n"},
        {"TOP 4 99\r\n", "+OK\r\nA: b\r\n c\r\n\r\n1\r\n2\r\n\r\n4\r\n.\r\n"},
        {"TOP 2 5\r\n", "+OK\r\nSubject: two\r\n\r\n.\r\n"},
        {"TOP 1\r\n", "-ERR TOP wants a message number and a number of lines\r\n"},
        {"TOP 9 1\r\n", "-ERR no such message, only 4 messages in maildrop\r\n"},
        {"DELE 1\r\nSTAT\r\nRETR 1\r\nDELE 1\r\nRSET\r\nSTAT\r\n",
         "+OK message 1 deleted\r\n+OK 3 50\r\n-ERR message 1 is deleted\r\n-ERR message 1 is deleted\r\n+OK maildrop "
         "has 4 messages (90 octets)\r\n+OK 4 90\r\n"},
        {"DELE 2\r\nLIST\r\n", "+OK message 2 deleted\r\n+OK 3 messages (74 octets)\r\n1 40\r\n3 13\r\n4 21\r\n.\r\n"},
        {"NOOP\r\n", "+OK\r\n"},
        {"XTND\r\n", "-ERR unknown command\r\n"},
        {"\r\n", "-ERR unknown command\r\n"},
        {"LANG\r\n", "+OK languages follow\r\nen English\r\n.\r\n"},
        {"LANG *\r\n", "+OK en English it is\r\n"},
        {"LANG xx\r\n", "-ERR there is no such language\r\n"},
        {"UTF8\r\n", "+OK UTF8 enabled\r\n"},
        {"CAPA\r\n", "+OK\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\nLANG\r\nUTF8 USER\r\n.\r\n"},
        {"QUIT\r\nSTAT\r\n", "+OK Bye, 4 messages left\r\n"},
    };
    for (const Case& c : cases) {
        INFO(c.input);
        CHECK(answers(c.input) == c.output);
        for (const std::size_t most : {1u, 2u, 3u, 7u}) CHECK(answers(c.input, most) == c.output);
        Drop drop;
        const pop3::Options options;
        Transaction t(drop, options);
        std::string trickled;
        for (const char* p = c.input; *p; ++p) trickled += talk(t, std::string_view(p, 1));
        CHECK(trickled == c.output);
    }
}

TEST_CASE("pipelined commands are answered in order, each message in pieces", "[pop3][rfc2449-6.6]")
{
    Drop drop;
    drop.mails[0] += std::string(3 * Transaction::piece, 'x') + "\r\n";
    drop.most = 5000;
    const pop3::Options options;
    Transaction t(drop, options);
    std::string out;
    REQUIRE(t.feed("RETR 1\r\nRETR 2\r\nNOOP\r\nQUIT\r\n", out) == Transaction::Wants::drain);
    CHECK(t.held() > 0);
    CHECK(out.size() < 2 * Transaction::piece);
    CHECK(out.find("+OK 16") == std::string::npos);
    auto wants = Transaction::Wants::drain;
    while (wants == Transaction::Wants::drain) wants = t.more(out);
    CHECK(wants == Transaction::Wants::close);
    CHECK(out.ends_with("Subject: two\r\n\r\n.\r\n+OK\r\n+OK Bye, 4 messages left\r\n"));
    CHECK(drop.read_whole == std::vector<std::size_t>{1, 2});
    CHECK(t.tally() == cat("top=0/0, retr=2/", 56 + 3 * Transaction::piece + 2, ", del=0/4, size=", 90 + 3 * Transaction::piece + 2));
}

TEST_CASE("a short message goes out in one piece, and what was read ahead is what would have been read", "[pop3]")
{
    Drop drop, other;
    const pop3::Options options;
    Transaction t(drop, options), plain(other, options);
    for (const char* command : {"RETR 1\r\n", "RETR 2\r\n", "RETR 3\r\n", "DELE 4\r\n", "RETR 4\r\n", "RSET\r\n", "RETR 4\r\n", "TOP 1 1\r\n",
                                "RETR 1\r\n", "RETR 3\r\n", "LIST 3\r\n", "RETR 4\r\n", "RETR 1\r\n", "TOP 2 0\r\n", "RETR 2\r\n"}) {
        INFO(command);
        std::string out;
        CHECK(t.feed(command, out) == Transaction::Wants::input);
        t.look_ahead();
        CHECK(out == talk(plain, command));
    }
    CHECK(t.tally() == plain.tally());
    CHECK(drop.read_whole == other.read_whole);
    // It is there without another look at the mailbox, and only one is.
    std::string out;
    t.feed("RETR 1\r\n", out);
    t.look_ahead();
    drop.broken = true;
    out.clear();
    CHECK(t.feed("RETR 2\r\n", out) == Transaction::Wants::input);
    CHECK(out == "+OK 16 octets\r\nSubject: two\r\n\r\n.\r\n");
    t.look_ahead();
    drop.broken = false;
    drop.lost = 3;
    t.look_ahead();
    CHECK(talk(t, "RETR 3\r\n") == "-ERR [SYS/TEMP] message 3 cannot be read now, or another session has removed it\r\n");
}

TEST_CASE("who has not said UTF8 gets ASCII headers", "[pop3][rfc6856-2.1]")
{
    Drop drop;
    const std::string mail = "From: J\xC3\xB6rg <j@example.org>\r\nSubject: na\xC3\xAFve\r\n\r\n\xC3\xB6""ffnen\r\n.\r\n";
    drop.mails = {mail, mail, "Subject: \xE4 Latin-1\r\n\r\nx\r\n"};
    const std::string surrogate = "From: =?UTF-8?B?SsO2cmc=?= <j@example.org>\r\nSubject: =?UTF-8?B?bmHDr3Zl?=\r\n\r\n";
    const std::string body = "\xC3\xB6""ffnen\r\n..\r\n.\r\n";
    const std::string fetched = cat("+OK ", surrogate.size() + body.size() - 4, " octets\r\n", surrogate, body);
    const pop3::Options options;
    for (const std::size_t most : {3u, 1000u}) {
        drop.most = most;
        if (most == 3) drop.mails[1] = "a"; // a real maildrop shows 64 KB at one look
        Transaction t(drop, options);
        const auto ask = [&](const char* command) {
            const std::string out = talk(t, command);
            t.look_ahead();
            return out;
        };
        if (most == 1000) {
            CHECK(ask("RETR 1\r\n") == fetched);
            CHECK(ask("RETR 2\r\n") == "+OK 1 octets\r\na\r\n.\r\n");
            CHECK(ask("TOP 1 0\r\n") == cat("+OK\r\n", surrogate, ".\r\n"));
            CHECK(ask("TOP 1 1\r\n") == cat("+OK\r\n", surrogate, "\xC3\xB6""ffnen\r\n.\r\n"));
        }
        CHECK(ask("LIST 1\r\n") == cat("+OK 1 ", mail.size(), "\r\n"));
        // Nobody knows what it says; of a header that cannot be seen at one look nothing is known.
        const std::string latin = cat("Subject: ", most == 3 ? "?" : "=?unknown-8bit?Q?=E4?=", " Latin-1\r\n\r\nx\r\n");
        CHECK(ask("RETR 3\r\n") == cat("+OK ", latin.size(), " octets\r\n", latin, ".\r\n"));
        CHECK(ask("UTF8\r\n") == "+OK UTF8 enabled\r\n");
        CHECK(ask("RETR 1\r\n") == cat("+OK ", mail.size(), " octets\r\n", mail.substr(0, mail.size() - 3), "..\r\n.\r\n"));
    }
    // Read ahead for one who says UTF8 then.
    drop.mails[1] = mail;
    Transaction t(drop, options), u(drop, options);
    talk(t, "RETR 1\r\n");
    t.look_ahead();
    CHECK(talk(t, "RETR 2\r\n") == fetched);
    talk(u, "RETR 1\r\n");
    u.look_ahead();
    talk(u, "UTF8\r\n");
    CHECK(talk(u, "RETR 2\r\n").starts_with(cat("+OK ", mail.size(), " octets\r\nFrom: J\xC3\xB6rg")));
}

TEST_CASE("no header is so odd that it goes out in UTF-8 to one who has not said UTF8", "[pop3][rfc6856-2.1]")
{
    const std::string name = "na\xC3\xAFve", word = "=?UTF-8?B?bmHDr3Zl?=", long_line = cat("X-Long: ", std::string(70'000, 'a'), "\r\n");
    const struct {
        std::string mail, shown;
    } cases[] = {
        {cat("Subject: ", name, "\r\n"), cat("Subject: ", word, "\r\n\r\n")},     // all of the message
        {cat("Subject: ", name), cat("Subject: ", word, "\r\n\r\n")},
        {cat("Comments: ", name, "\r\n"), "\r\n"},
        {cat("A: b\r\nno field ", name, "\r\nSubject: ", name, "\r\n\r\n", name, "\r\n"), cat("A: b\r\nno field na??ve\r\nSubject: na??ve\r\n\r\n", name, "\r\n")},
        {cat("\r\n", name, "\r\n\r\nx\r\n"), cat("\r\n", name, "\r\n\r\nx\r\n")},  // none, and a body
        {cat(long_line, "Subject: ", name, "\r\n\r\n", name, "\r\n"), cat(long_line, "Subject: na??ve\r\n\r\n", name, "\r\n")},
        {cat(long_line, "Subject: ", name, "\r\n"), cat(long_line, "Subject: na??ve\r\n")},
    };
    for (const auto& c : cases) {
        INFO(c.mail.substr(0, 60));
        Drop drop;
        drop.mails = {c.mail, c.mail};
        const pop3::Options options;
        Transaction t(drop, options);
        const std::string fetched = cat("+OK ", c.shown.size(), " octets\r\n", c.shown, ".\r\n");
        CHECK(talk(t, "RETR 1\r\n") == fetched);
        t.look_ahead();
        CHECK(talk(t, "RETR 2\r\n") == fetched);
        const std::size_t end = c.shown.find("\r\n\r\n");
        CHECK(talk(t, "TOP 1 0\r\n") == cat("+OK\r\n", c.shown.starts_with("\r\n") ? "\r\n" : c.shown.substr(0, end == std::string::npos ? end : end + 4), ".\r\n"));
        Transaction u(drop, options);
        CHECK(talk(u, "UTF8\r\nRETR 1\r\n").find(c.mail) != std::string::npos);
    }
}

TEST_CASE("CAPA says the same of logins before and after", "[pop3][rfc2449-6.3]")
{
    Drop drop;
    const pop3::Options options;
    Transaction t(drop, options);
    pop3::Login login("");
    login::Circumstances now;
    now.passwords = true;
    now.mechanisms = {"SCRAM-SHA-256", "PLAIN"};
    login.set(now);
    std::string out;
    (void)login.feed("UTF8\r\n", out);
    auto facts = pop3::read_hand_over(login.hand_over().text);
    CHECK(facts.utf8);
    CHECK(facts.capabilities == "USER\r\nSASL SCRAM-SHA-256 PLAIN\r\n");
    t.set_login_capabilities(facts.capabilities);
    CHECK(talk(t, "CAPA\r\n").ends_with("\r\nUTF8 USER\r\nUSER\r\nSASL SCRAM-SHA-256 PLAIN\r\n.\r\n"));
    for (const char* odd : {"", "USER", "SASL \xC3\xB6\r\n", "USER\r\n.\r\n"}) CHECK(pop3::read_hand_over(odd).capabilities.empty());
    CHECK(pop3::read_hand_over(std::string(1000, 'A') + "\r\n").capabilities.empty());
    CHECK_FALSE(pop3::read_hand_over("USER\r\n").utf8);
}

TEST_CASE("XCLIENT says for whom a proxy of login_trusted_networks speaks, and nobody else may say it", "[pop3][login]")
{
    pop3::Login login("");
    login::Circumstances now;
    now.greeting = "ready.";
    now.trusted = true;
    login.set(now);
    std::string out;
    login.greet(out);
    CHECK(out == "+OK [XCLIENT] ready.\r\n");
    const auto says = [&](std::string_view words) {
        out.clear();
        for (const char c : words) (void)login.feed(std::string_view(&c, 1), out);
        return out;
    };
    CHECK(says("XCLIENT ADDR=192.0.2.9 PORT=4711 SESSION=abc TTL=4\r\n") == "+OK Updated\r\n");
    CHECK(login.speaks_for() == "192.0.2.9");
    CHECK(says("xclient addr=2001:db8::1\r\n") == "+OK Updated\r\n");
    CHECK(login.speaks_for() == "2001:db8::1");
    CHECK(says("XCLIENT ADDR=2001:db8:0000:0000:0000:0000:0000:0000:0000:0001\r\n") == "+OK Updated\r\n");
    CHECK(login.speaks_for().empty());
    CHECK(says("XCLIENT ADDR\r\n") == "-ERR XCLIENT is followed by NAME=VALUE.\r\n");
    CHECK(says("XCLIENT ADDR=192.0.2.9\r\n") == "+OK Updated\r\n");
    login.secured(); // what came in clear anybody may have put in
    CHECK(login.speaks_for().empty());
    now.trusted = false;
    login.set(now);
    CHECK(says("XCLIENT ADDR=192.0.2.9\r\n") == "-ERR XCLIENT is for login_trusted_networks.\r\n");
    CHECK(login.speaks_for().empty());
    out.clear();
    login.greet(out);
    CHECK(out == "+OK ready.\r\n");
}

TEST_CASE("a header is said in ASCII as far as that goes", "[mail][rfc6858-2]")
{
    const struct {
        const char *header, *ascii;
    } cases[] = {
        {"Subject: plain\r\n", "Subject: plain\r\n"},
        {"SUBJECT: gr\xC3\xBC\xC3\x9F\r\n =?utf-8?q?e?=\r\n", "SUBJECT: =?UTF-8?B?Z3LDvMOfIGU=?=\r\n"},
        {"To: \"M\xC3\xBCller, A\" <a@example.org>, b@example.org\r\n",
         "To: =?UTF-8?B?TcO8bGxlciwgQQ==?= <a@example.org>,\r\n b@example.org\r\n"},
        {"From: j\xC3\xB6rg@example.org\r\n", "From: =?UTF-8?B?asO2cmdAZXhhbXBsZS5vcmc=?= <invalid@internationalized-address.invalid>\r\n"},
        {"Cc: Fred <fred@b\xC3\xBC.example>\r\n", "Cc: Fred <invalid@internationalized-address.invalid>\r\n"},
        {"Return-Path: <\xC3\xB6@example.org>\r\n", "Return-Path: =?UTF-8?B?w7ZAZXhhbXBsZS5vcmc=?= <invalid@internationalized-address.invalid>\r\n"},
        {"Reply-To: <\xC3\xB6@\r\n", "Reply-To: internationalized-address:;\r\n"},
        {"Content-Type: text/plain; name=\"\xC3\xB6;x\"; charset=utf-8\r\n", "Content-Type: text/plain; charset=utf-8\r\n"},
        {"Content-Disposition: attachment; filename=\xC3\xB6\r\n", "Content-Disposition: attachment\r\n"},
        {"Comments: \xC3\xB6\r\nX: y\r\n", "X: y\r\n"},
        {"Subject: \xF6\xF6\r\n", "Subject: =?unknown-8bit?Q?=F6=F6?=\r\n"}, // no UTF-8: RFC 6856 §2.1 lets none of it out
        {"subject: Re: sch\xF6n, \r\n gr\xFC\xDF _=? ok\r\n", "subject: Re: =?unknown-8bit?Q?sch=F6n=2C__gr=FC=DF?= _=? ok\r\n"},
        {"Comments: \xC3\xB6\xF6\r\n", "Comments: =?unknown-8bit?Q?=C3=B6=F6?=\r\n"},
        {"From: J\xF6rg <a@example.org>\r\nX: \xFF\r\n", "From: J?rg <a@example.org>\r\nX: ?\r\n"},
        {"X\xFF: a\r\nY: b\r\n", "X?: a\r\nY: b\r\n"},
        {"A: b\r\n>From \xC3\xB6\r\nB: \xC3\xB6\r\n", "A: b\r\n>From ??\r\nB: ??\r\n"},
    };
    for (const auto& c : cases) {
        INFO(c.header);
        CHECK(mail::downgrade_header(c.header) == c.ascii);
    }
    std::string title;
    for (int i = 0; i < 50; ++i) title += "\xF0\x9F\x93\xA8x";
    const std::string words = mail::encoded_words(title);
    for (const auto line : split_on(words, '\n')) CHECK(line.size() < 78);
    CHECK(mail::decode_header_text(words) == title);
    const std::string unknown = mail::downgrade_header(cat("Subject: ", std::string(200, '\xF6'), "\r\n"));
    CHECK(mail::ascii_prefix(unknown) == unknown.size());
    for (const auto line : split_on(unknown, '\n')) CHECK(line.size() < 86);
}

TEST_CASE("messages go at QUIT and never without it, and QUIT says when some stay", "[pop3][rfc1939-6]")
{
    Drop drop;
    const pop3::Options options;
    {
        Transaction t(drop, options);
        talk(t, "DELE 1\r\nDELE 3\r\n");
        CHECK(drop.gone.empty());
    }
    CHECK(drop.gone.empty());
    Transaction t(drop, options);
    CHECK(talk(t, "DELE 1\r\nDELE 3\r\nQUIT\r\n").ends_with("+OK Bye, 2 messages left\r\n"));
    CHECK(drop.gone == std::vector<std::size_t>{1, 3});
    CHECK(t.updated());
    Drop stuck;
    stuck.fails = true;
    Transaction u(stuck, options);
    CHECK(talk(u, "DELE 1\r\nQUIT\r\n")
              .ends_with("-ERR [SYS/TEMP] some deleted messages not removed\r\n"));
    CHECK_FALSE(u.updated());
    CHECK(u.said_quit());
    CHECK(u.trouble() == "the deleted messages could not be removed: read-only");
    Drop halves;
    halves.kept = 1;
    Transaction v(halves, options);
    CHECK(talk(v, "DELE 1\r\nDELE 2\r\nDELE 4\r\nQUIT\r\n").ends_with("-ERR [SYS/TEMP] some deleted messages not removed\r\n"));
    CHECK_FALSE(v.updated());
    CHECK(v.trouble() == "1 of 3 deleted messages could not be removed");
    CHECK(v.tally() == "top=0/0, retr=0/0, del=2/4, size=90");
}

TEST_CASE("a flood of commands makes output in portions, and each is answered", "[pop3]")
{
    constexpr std::size_t many = 20'000;
    const pop3::Options options;
    std::string flood, expected;
    for (std::size_t i = 0; i < many; ++i) {
        flood += "UIDL\r\n";
        expected += "+OK 4 messages\r\n1 u1\r\n2 u2\r\n3 u3\r\n4 u4\r\n.\r\n";
    }
    Drop drop;
    Transaction t(drop, options);
    std::string all, out;
    std::size_t portions = 0;
    auto wants = t.feed(flood, out);
    while (wants == Transaction::Wants::drain) {
        CHECK(out.size() < Transaction::piece + 1000);
        all += out;
        out.clear();
        ++portions;
        wants = t.more(out);
    }
    all += out;
    CHECK(wants == Transaction::Wants::input);
    CHECK(portions > 10);
    CHECK(all == expected);
    CHECK(t.held() == 0);
    // The end comes in its turn, and nothing after it.
    Transaction u(drop, options);
    CHECK(talk(u, flood + "QUIT\r\nNOOP\r\n") == expected + "+OK Bye, 4 messages left\r\n");
}

TEST_CASE("a message that cannot be read on ends the connection, not the message", "[pop3]")
{
    Drop drop;
    drop.mails[0] += std::string(2 * Transaction::piece, 'x');
    const pop3::Options options;
    Transaction t(drop, options);
    std::string out;
    REQUIRE(t.feed("RETR 1\r\n", out) == Transaction::Wants::drain);
    drop.broken = true;
    CHECK(t.more(out) == Transaction::Wants::close);
    CHECK_FALSE(out.ends_with(".\r\n"));
}

TEST_CASE("a message that another session removed is refused, and the session goes on", "[pop3]")
{
    Drop drop;
    drop.lost = 2;
    const pop3::Options options;
    Transaction t(drop, options);
    CHECK(talk(t, "RETR 2\r\nTOP 2 1\r\nRETR 3\r\n") ==
          "-ERR [SYS/TEMP] message 2 cannot be read now, or another session has removed it\r\n"
          "-ERR [SYS/TEMP] message 2 cannot be read now, or another session has removed it\r\n"
          "+OK 13 octets\r\nno header end\r\n.\r\n");
    CHECK(drop.read_whole == std::vector<std::size_t>{3});
}

TEST_CASE("a UID of our own format is known by its look", "[pop3][uidl]")
{
    const struct {
        const char *format, *name;
        bool ours;
    } cases[] = {
        {"%08Xu%08Xv", "0000001f65432100", true},   {"%08Xu%08Xv", "ffffffff65432100", true},
        {"%08Xu%08Xv", "0000001f65432101", false},  {"%08Xu%08Xv", "0000001F65432100", false},
        {"%08Xu%08Xv", "10000001f65432100", false}, {"%08Xu%08Xv", "1f65432100", false},
        {"%08XUu", "0000001F", true},               {"%08XUu", "0000001f", false},
        {"%v.%u", "1698898176.7", true},            {"%v.%u", "1698898176.4294967295", true},
        {"%v.%u", "1698898176.4294967296", false},  {"%v.%u", "1698898176.", false},
        {"%v.%u", "1698898176.07", false},          {"%u%v", "121698898176", true},
        {"%04u%%x", "0031%x", true},                {"%04u%%x", "031%x", false},
        {"%xu", "beef", true},                      {"%xu", "beet", false},
        {"a%u-%u", "a5-5", true},                   {"a%u-%u", "a5-6", false},
        {"%f", "1700000000.M1P2.host", false},      {"%u", "", false},
        {"%4u", "beet", true},                      {"%Mu", "beet", true}, // nobody tries them all
    };
    for (const auto& c : cases) {
        INFO(c.format << ' ' << c.name);
        const auto format = pop3::UidlFormat::parse(c.format);
        REQUIRE(format);
        CHECK(format->could_make(c.name, 0x65432100) == c.ours);
    }
}

TEST_CASE("endless lines and nonsense are bounded", "[pop3]")
{
    Drop drop;
    pop3::Options options;
    options.errors = 3;
    Transaction t(drop, options);
    std::string out;
    for (int i = 0; i < 100; ++i) CHECK(t.feed(std::string(1000, 'x'), out) == Transaction::Wants::input);
    CHECK(t.held() < 1000);
    CHECK(out.empty());
    CHECK(talk(t, "\r\nSTAT\r\n") == "-ERR the line is longer than 255 bytes\r\n+OK 4 90\r\n");
    CHECK(talk(t, "A\r\nB\r\n") == "-ERR unknown command\r\n-ERR unknown command\r\n-ERR too many of them\r\n");
    std::string rest;
    CHECK(t.feed("STAT\r\n", rest) == Transaction::Wants::close);
    CHECK(rest.empty());
}

TEST_CASE("clients with flaws get no NULs, and an end of each header", "[pop3]")
{
    pop3::Options options;
    REQUIRE(options.set_workarounds({"outlook-no-nuls", "OE-NS-EOH"}));
    const auto refused = options.set_workarounds({"outlook"});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().text.find("outlook-no-nuls") != std::string::npos);
    for (const std::size_t most : {1u, 3u, 1000u}) {
        Drop drop;
        drop.most = most;
        drop.mails[1] = std::string("A: b\0\r\n\r\n\0x\r\n", 13);
        drop.mails[0] = "A: b\r\n";
        Transaction t(drop, options);
        CHECK(talk(t, "RETR 2\r\n") == "+OK 13 octets\r\nA: b\x80\r\n\r\n\x80x\r\n.\r\n");
        CHECK(talk(t, "RETR 1\r\n") == "+OK 6 octets\r\nA: b\r\n\r\n.\r\n");
        CHECK(talk(t, "TOP 1 0\r\n") == "+OK\r\nA: b\r\n\r\n.\r\n");
        CHECK(talk(t, "RETR 3\r\n") == "+OK 13 octets\r\nno header end\r\n\r\n.\r\n");
        CHECK(talk(t, "RETR 4\r\n") == "+OK 21 octets\r\nA: b\r\n c\r\n\r\n1\r\n2\r\n\r\n4\r\n.\r\n");
    }
    const pop3::Options plain;
    Drop drop;
    drop.mails[0] = std::string("A: b\0\r\n", 7);
    Transaction t(drop, plain);
    CHECK(talk(t, "RETR 1\r\n") == std::string("+OK 7 octets\r\nA: b\0\r\n.\r\n", 24));
}

TEST_CASE("what another server noted as X-UIDL is taken over when it is a valid UID", "[pop3][uidl][rfc1939-7]")
{
    const struct {
        std::string head, noted;
    } cases[] = {
        {"X-UIDL: abc!~\r\n\r\n", "abc!~"},
        {"Subject: x\r\nx-uidl:  1.2 \r\nX-UIDL: second\r\n\r\nbody\r\n", "1.2"},
        {"X-UIDL:\r\n folded\r\n\r\n", "folded"},
        {"Subject: x\r\n\r\nX-UIDL: of the body\r\n", ""},
        {"X-UIDL: two words\r\n\r\n", ""},
        {"X-UIDL: \r\n\r\n", ""},
        {"X-UIDL: \xc3\xbc\r\n\r\n", ""},
        {"X-UIDL: " + std::string(70, 'x') + "\r\n\r\n", std::string(70, 'x')},
        {"X-UIDL: " + std::string(71, 'x') + "\r\n\r\n", ""},
        {"X-UIDL: cut", "cut"},
        {"", ""},
    };
    for (const auto& c : cases) {
        INFO(c.head);
        CHECK(pop3::noted_uidl(c.head).value_or("") == c.noted);
    }
}

TEST_CASE("a client as near as this host is looked out for, another one is not", "[pop3][vigil]")
{
    using pop3::Vigil;
    const auto spent = [](Vigil& vigil, int64_t& now, int64_t gap, int commands) {
        int64_t awake = 0;
        for (int i = 0; i < commands; ++i) {
            const int64_t patience = vigil.answered(now);
            CHECK(patience <= Vigil::longest_us);
            if (patience > 0 && gap > patience) vigil.in_vain();
            awake += std::min(patience, gap);
            now += gap;
            vigil.heard(now);
        }
        return awake;
    };
    int64_t now = 1'000'000;
    Vigil vigil(2);
    CHECK(vigil.answered(now) == 0); // nothing is known of him yet
    CHECK(spent(vigil, now, 20, Vigil::trust) == 0);
    CHECK(spent(vigil, now, 20, 1000) == 20'000);
    // He becomes slow: what that costs does not grow with what he asks.
    CHECK(spent(vigil, now, 5000, 1000) <= 2 * Vigil::longest_us);
    CHECK(spent(vigil, now, 20, 3 * Vigil::trust) > 0); // and near again
    // Nearly as near as a vigil is long, again and again in vain.
    const int64_t vain = spent(vigil, now, 100, 20'000);
    CHECK(vain < 60 * Vigil::longest_us);
    CHECK(spent(vigil, now, 20, 2 * static_cast<int>(Vigil::most_skipped)) > 0);

    Vigil alone(1);
    CHECK(spent(alone, now, 20, 1000) == 0);
    Vigil over_a_network(8);
    CHECK(spent(over_a_network, now, 300, 1000) == 0);
}

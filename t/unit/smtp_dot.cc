// lib/smtp: the end of DATA, replies read and written, the grammar of commands.
#include "t/unit/catch.h"

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/smtp/dot.h"
#include "lib/smtp/fold.h"
#include "lib/smtp/grammar.h"
#include "lib/smtp/reply.h"

using namespace veredus;
using namespace veredus::smtp;

namespace {
struct Read {
    std::string content, rest;
    bool ended = false, bare = false, eight = false, nul = false, dot = false;
    std::size_t longest = 0;
    bool operator==(const Read&) const = default;
};
Read read_dots(std::string_view wire, std::size_t piece = 1 << 20)
{
    DotReader reader;
    Read out;
    while (!wire.empty()) {
        const std::string_view part = wire.substr(0, piece);
        const std::size_t taken = reader.feed(part, out.content);
        wire.remove_prefix(taken);
        if (reader.ended()) break;
        REQUIRE(taken == part.size());
    }
    out.rest = wire;
    out.ended = reader.ended();
    out.bare = reader.saw_bare();
    out.eight = reader.saw_8bit();
    out.nul = reader.saw_nul();
    out.dot = reader.saw_leading_dot();
    out.longest = reader.longest_line();
    CHECK(reader.size() == out.content.size());
    return out;
}
}  // namespace

TEST_CASE("only CRLF dot CRLF ends DATA", "[smtp][rfc5321-4.1.1.4]")
{
    struct Case {
        const char *wire, *content, *rest;
        bool ended, bare;
    };
    static const Case cases[] = {
        {".\r\nQUIT\r\n", "", "QUIT\r\n", true, false},
        {"a\r\n.\r\nQUIT\r\n", "a\r\n", "QUIT\r\n", true, false},
        {"a\r\n..b\r\n.c\r\n...\r\n.\r\n", "a\r\n.b\r\nc\r\n..\r\n", "", true, false},
        {"a\n.\nb\r\n.\r\nx", "a\r\n.\r\nb\r\n", "x", true, true},              // LF.LF
        {"a\n.\r\nb\r\n.\r\nx", "a\r\n.\r\nb\r\n", "x", true, true},            // LF.CRLF
        {"a\r\n.\nb\r\n.\r\nx", "a\r\n.\r\nb\r\n", "x", true, true},            // CRLF.LF
        {"a\r.\rb\r\n.\r\nx", "a . b\r\n", "x", true, true},                    // CR.CR
        {"a\r\n.\rb\r\n.\r\nx", "a\r\n. b\r\n", "x", true, true},               // CRLF.CR
        {"a\r.\r\nb\r\n.\r\nx", "a .\r\nb\r\n", "x", true, true},               // CR.CRLF
        {"a\r\n.\r\r\nb\r\n.\r\nx", "a\r\n. \r\nb\r\n", "x", true, true},       // CRLF.CRCRLF
        {"a\n\r.\r\nb\r\n.\r\n", "a\r\n .\r\nb\r\n", "", true, true},           // LFCR.CRLF
        {"a\r\r\n.\r\n", "a \r\n", "", true, true},                             // CRCRLF.CRLF: the last four are CRLF.CRLF
        {"a\n..b\n.c\r\n.\r\n", "a\r\n.b\r\nc\r\n", "", true, true},            // dots stuffed after bare LF
        {"a\n.\r\n.\r\nx", "a\r\n.\r\n", "x", true, true},
        {"no end", "no end", "", false, false},
        {"a\r\n.", "a\r\n", "", false, false},
        {"\xc3\xa9\r\n.\r\n", "\xc3\xa9\r\n", "", true, false},
    };
    for (const Case& c : cases) {
        INFO(c.wire);
        const Read whole = read_dots(c.wire);
        CHECK(whole.content == c.content);
        CHECK(whole.rest == c.rest);
        CHECK(whole.ended == c.ended);
        CHECK(whole.bare == c.bare);
        for (std::size_t piece = 1; piece < 6; ++piece) CHECK(read_dots(c.wire, piece) == whole);
    }
}

TEST_CASE("content leaves the reader with CRLF line ends only, whatever came in", "[smtp][rfc5321-2.3.8]")
{
    for (int round = 0; round < 300; ++round) {
        std::string wire;
        for (const char b : random_bytes(200)) wire.push_back("\r\n.ab\r\n."[static_cast<unsigned char>(b) & 7]);
        const Read whole = read_dots(wire);
        CHECK(read_dots(wire, 1) == whole);
        CHECK(read_dots(wire, 3) == whole);
        for (std::size_t i = 0; i < whole.content.size(); ++i) {
            if (whole.content[i] == '\n') CHECK((i > 0 && whole.content[i - 1] == '\r'));
            if (whole.content[i] == '\r') CHECK((i + 1 == whole.content.size() || whole.content[i + 1] == '\n'));
        }
        // The end is where the bytes say CRLF.CRLF for the first time, the CRLF of the DATA line counted.
        const std::size_t at = ("\r\n" + wire).find("\r\n.\r\n");
        CHECK(whole.ended == (at != std::string::npos));
        if (whole.ended) CHECK(whole.rest.size() == wire.size() - (at + 3));
    }
}

TEST_CASE("facts about the content are gathered on the way", "[smtp]")
{
    CHECK(read_dots("plain\r\n.\r\n").longest == 5);
    CHECK(read_dots(std::string(5000, 'x') + "\r\n.\r\n", 7).longest == 5000);
    CHECK(read_dots(std::string_view("a\0b\r\n.\r\n", 8)).nul);
    CHECK(read_dots("0123456789012345678901234567890123456789\xff\r\n.\r\n").eight);
    CHECK_FALSE(read_dots(std::string(1000, '~') + "\r\n.\r\n").eight);
    CHECK(read_dots("..\r\n.\r\n").dot);
    CHECK_FALSE(read_dots(".a\r\n.\r\n").dot);
}

TEST_CASE("what the writer stuffs the reader gives back", "[smtp][rfc5321-4.5.2]")
{
    for (const char* content : {"", "a\r\n", ".\r\n", "..\r\n.\r\n", "a\r\n.b\r\n\r\n.", "no line end"}) {
        for (std::size_t piece = 1; piece < 5; ++piece) {
            DotWriter writer;
            std::string wire, want = content;
            for (std::string_view s = content; !s.empty(); s.remove_prefix(std::min(piece, s.size()))) writer.feed(s.substr(0, piece), wire);
            writer.finish(wire);
            if (!want.empty() && !want.ends_with("\r\n")) want += "\r\n";
            const Read r = read_dots(wire);
            CHECK(r.content == want);
            CHECK(r.ended);
            CHECK(r.rest.empty());
            CHECK_FALSE(r.bare);
        }
    }
}

TEST_CASE("lines that are too long are broken, and nothing else changes", "[smtp][trickle][rfc5321-4.5.3.1.6]")
{
    const auto x = [](std::size_t n) { return std::string(n, 'x'); };
    const std::string umlaut = "\xc3\xa4", bad(40, '\x80');
    const struct {
        std::string in, out;
    } cases[] = {
        {"", ""},
        {"\r\n", "\r\n"},
        {x(20) + "\r\n", x(20) + "\r\n"},
        {x(21) + "\r\n", x(20) + "\r\n x\r\n"},
        {x(20), x(20)},
        {x(21), x(20) + "\r\n x"},
        {x(39) + "\r\n", x(20) + "\r\n " + x(19) + "\r\n"},
        {x(40) + "\r\n" + x(20) + "\r\n", x(20) + "\r\n " + x(19) + "\r\n x\r\n" + x(20) + "\r\n"},
        {x(19) + umlaut + "\r\n", x(19) + "\r\n " + umlaut + "\r\n"},
        {x(18) + umlaut + "\r\n", x(18) + umlaut + "\r\n"},
        {x(17) + "\xf0\x9f\x98\x80z\r\n", x(17) + "\r\n \xf0\x9f\x98\x80z\r\n"},
        {bad + "\r\n", bad.substr(0, 20) + "\r\n " + bad.substr(0, 19) + "\r\n \x80\r\n"},     // no UTF-8: broken where the room ends
        {x(20) + "\r", x(20) + "\r\n \r"},
    };
    for (const auto& c : cases)
        for (const std::size_t piece : {1000, 1, 3}) {
            LineFolder folder(20);
            std::string out;
            for (std::size_t at = 0; at < c.in.size(); at += piece) folder.feed(std::string_view(c.in).substr(at, piece), out);
            folder.finish(out);
            INFO(c.in << " by " << piece);
            CHECK(out == c.out);
        }
    // A megabyte without a line end takes time like a megabyte with them.
    LineFolder folder(998);
    std::string out;
    for (int i = 0; i < 16; ++i) folder.feed(x(65'536), out);
    folder.finish(out);
    CHECK(out.size() == 16 * 65'536 + 3 * 1051);
}

TEST_CASE("a header that is too long is broken where it has a blank", "[smtp][rfc5322-2.2.3]")
{
    const auto x = [](std::size_t n) { return std::string(n, 'x'); };
    CHECK(fold_header("", 20).empty());
    CHECK(fold_header("A: b\r\n", 20) == "A: b\r\n");
    CHECK(fold_header("Subject: one two three\r\nB: c\r\n", 20) == "Subject: one two\r\n three\r\nB: c\r\n");
    CHECK(fold_header("Subject: one two thre\r\n", 20) == "Subject: one two\r\n thre\r\n");
    CHECK(fold_header(cat("S:", x(30), "\r\n"), 20) == cat("S:", x(18), "\r\n ", x(12), "\r\n"));
    CHECK(fold_header(cat("S: ", x(30), "\r\n"), 20) == cat("S:\r\n ", x(19), "\r\n ", x(11), "\r\n"));
    CHECK(fold_header(cat(" \t", x(30), "\r\n"), 20) == cat(" \t", x(18), "\r\n ", x(12), "\r\n"));   // no line of blanks alone
    CHECK(fold_header(std::string(50, ' ') + "\r\n", 20).size() > 50);
    CHECK(fold_header("S: " + x(16) + "\xc3\xa4", 20) == cat("S:\r\n ", x(16), "\xc3\xa4"));
}

TEST_CASE("a reply is one line per line and never longer than 512 bytes", "[smtp][rfc5321-4.5.3.1.5]")
{
    CHECK(Reply{250, "2.0.0", "Ok"}.wire() == "250 2.0.0 Ok\r\n");
    CHECK(Reply{250, "", "a\nb\nc"}.wire() == "250-a\r\n250-b\r\n250 c\r\n");
    CHECK(Reply{550, "5.1.1", "x\ny"}.wire() == "550-5.1.1 x\r\n550 5.1.1 y\r\n");
    CHECK(Reply{550, "5.1.1", "evil\r250 ok"}.wire() == "550 5.1.1 evil?250 ok\r\n");
    CHECK(Reply{550, "5.1.1", std::string(1000, 'x')}.wire().size() == 512);
    CHECK(Reply{250, "2.0.0", ""}.wire() == "250 2.0.0\r\n");
}

TEST_CASE("replies are read whole, whatever the cut, and junk is told apart", "[smtp][rfc5321-4.2]")
{
    const auto read = [](std::string_view wire, std::size_t piece) -> std::string {
        ReplyReader reader;
        std::string out;
        while (!wire.empty()) {
            std::size_t taken = 0;
            const auto state = reader.feed(wire.substr(0, piece), taken);
            wire.remove_prefix(taken);
            if (state == ReplyReader::State::garbage) return out + "garbage";
            if (state == ReplyReader::State::complete) {
                const Reply r = reader.take();
                append(out, r.code, '|', r.enhanced, '|', r.text, ';');
            }
        }
        return out;
    };
    for (std::size_t piece : {1u, 2u, 5u, 1000u}) {
        CHECK(read("250 2.1.0 Ok\r\n354 go\r\n", piece) == "250|2.1.0|Ok;354||go;");
        CHECK(read("250-a\r\n250-b\r\n250 c\r\n", piece) == "250||a\nb\nc;");
        CHECK(read("550-5.1.1 no\r\n550 5.1.1 such\r\n", piece) == "550|5.1.1|no\nsuch;");
        CHECK(read("550 2.1.1 liar\r\n", piece) == "550||2.1.1 liar;");
        CHECK(read("220\r\n", piece) == "220||;");
        CHECK(read("220 lf only\n", piece) == "220||lf only;");
        CHECK(read("hello\r\n", piece) == "garbage");
        CHECK(read("100 continue\r\n", piece) == "garbage");
        CHECK(read("2500 x\r\n", piece) == "garbage");
        CHECK(read("\r\n", piece) == "garbage");
    }
    CHECK(read("250 " + std::string(100'000, 'x') + "\r\n", 4096).size() < 3000);
    CHECK(read(std::string(2'000'000, 'x'), 65536) == "garbage");
    std::string many;
    for (int i = 0; i < 1000; ++i) many += "250-line\r\n";
    CHECK(read(many + "250 end\r\n", 65536).size() < 1000);
}

TEST_CASE("paths and their parameters", "[smtp][rfc5321-4.1.2]")
{
    const auto mail = [](std::string_view rest, bool strict) -> std::string {
        const auto p = parse_mail_from(rest, strict);
        if (!p) return "error";
        std::string out = cat('<', p->address.text(), '>');
        for (const Param& x : p->params) append(out, ' ', x.name, x.value ? "=" : "", x.value.value_or(""));
        return out;
    };
    struct Case {
        const char *text, *strict, *loose;
    };
    static const Case cases[] = {
        {"FROM:<a@b.org>", "<a@b.org>", "<a@b.org>"},
        {"from:<>", "<>", "<>"},
        {"FROM:<a@b.org> SIZE=100 BODY=8BITMIME", "<a@b.org> SIZE=100 BODY=8BITMIME", "<a@b.org> SIZE=100 BODY=8BITMIME"},
        {"FROM:<@x.org,@y.org:a@b.org>", "<a@b.org>", "<a@b.org>"},
        {"FROM:<\"a>b\"@b.org>", "<\"a>b\"@b.org>", "<\"a>b\"@b.org>"},
        {"FROM: <a@b.org>", "error", "<a@b.org>"},
        {"FROM:a@b.org SIZE=1", "error", "<a@b.org> SIZE=1"},
        {"FROM:<a@b.org>SIZE=1", "error", "error"},
        {"FROM:<a@b.org", "error", "error"},
        {"FROM:", "error", "error"},
        {"FROM", "error", "error"},
        {"FROM:<a@b.org> =1", "error", "error"},
        {"FROM:<a@b.org> SIZE=", "error", "error"},
        {"FROM:<a b@b.org>", "error", "error"},
    };
    for (const Case& c : cases) {
        INFO(c.text);
        CHECK(mail(c.text, true) == c.strict);
        CHECK(mail(c.text, false) == c.loose);
    }
    CHECK_FALSE(parse_rcpt_to("TO:<>", false));
    for (const char* odd : {"TO:<<alice@b.org>>", "TO:< alice@b.org >", "TO: <<<alice@b.org>>> NOTIFY=NEVER"}) {
        CHECK(parse_rcpt_to(odd, false)->address.text() == "alice@b.org");
        CHECK_FALSE(parse_rcpt_to(odd, true));
    }
    for (const char* bad : {"TO:<<alice@b.org>", "TO:<alice@b.org>>", "TO:<<>>", "TO:< >", "TO:<<", "TO:<al ice@b.org>"}) CHECK_FALSE(parse_rcpt_to(bad, false));
    CHECK(parse_rcpt_to("TO:<alice@b.org.>", false)->address.text() == "alice@b.org");
    CHECK(parse_mail_from("FROM:<alice@b.org.>", false)->address.text() == "alice@b.org");
    for (const char* bad : {"TO:<alice@b.org..>", "TO:<alice@.>", "TO:<@.>", "TO:<alice@[192.0.2.1].x.>"}) CHECK_FALSE(parse_rcpt_to(bad, false));
    CHECK_FALSE(parse_rcpt_to("TO:<alice@b.org.>", true));
    CHECK(parse_rcpt_to("TO:<Postmaster>", true)->address.local == "Postmaster");
    CHECK(parse_rcpt_to("TO:<j\xc3\xbc@b.org>", true)->utf8);
    CHECK_FALSE(parse_rcpt_to("TO:<" + std::string(65, 'a') + "@b.org>", true));
    CHECK(parse_rcpt_to("TO:<" + std::string(65, 'a') + "@b.org>", false));
}

TEST_CASE("xtext, NOTIFY, verbs and names", "[smtp][rfc3461-4]")
{
    CHECK(xtext_decode("a+2Bb+3D") == "a+b=");
    CHECK(xtext_encode("a+b= \xff") == "a+2Bb+3D+20+FF");
    for (const char* bad : {"+2", "+", "+2b", "a=b", "a b"}) CHECK_FALSE(xtext_decode(bad));
    const std::string bytes = random_bytes(100);
    CHECK(xtext_decode(xtext_encode(bytes)) == bytes);
    CHECK(parse_notify("NEVER") == mail::notify_never);
    CHECK(parse_notify("success,DELAY") == (mail::notify_success | mail::notify_delay));
    for (const char* bad : {"", "NEVER,DELAY", "SUCCESS,", "x"}) CHECK_FALSE(parse_notify(bad));
    CHECK(split_verb("  mail   FROM:<a> \r").verb == "mail");
    CHECK(split_verb("mail \t FROM:<a> \r").rest == "FROM:<a>");
    CHECK(split_verb("").verb.empty());
    CHECK(parse_helo("[192.0.2.1]") == "[192.0.2.1]");
    CHECK(parse_helo("Joergs  iPhone \t2") == "Joergs iPhone 2");  // devices do that, and must be able to send
    CHECK(parse_helo(std::string(255, 'a')) == std::string(255, 'a'));
    for (const std::string& bad : {std::string(), std::string(" "), std::string(256, 'a'), std::string("a\x7F"), std::string("a\0b", 3)}) CHECK_FALSE(parse_helo(bad));
}

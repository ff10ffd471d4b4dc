// lib/mail/structure: ENVELOPE and BODYSTRUCTURE of good mails and broken ones.
#include "t/unit/catch.h"

#include "lib/base/text.h"
#include "lib/mail/structure.h"

using namespace veredus;
using namespace veredus::mail;

namespace {

struct Made {
    std::string envelope, body, structure;
    bool operator==(const Made&) const = default;
};

Made make(std::string_view text, std::size_t cut = 0, const MimeLimits& limits = {})
{
    StructureMaker maker(limits);
    if (cut == 0) maker.feed(text);
    else
        for (std::size_t at = 0; at < text.size(); at += cut) maker.feed(text.substr(at, cut));
    maker.finish();
    return {maker.envelope(), maker.body(), maker.body_structure()};
}

std::string crlf(std::string_view text)
{
    std::string out;
    for (const char c : text) out += c == '\n' ? "\r\n" : std::string(1, c);
    return out;
}

}  // namespace

TEST_CASE("the envelope of a plain mail", "[mail][structure][rfc9051-7.5.2]")
{
    const auto made = make("Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\n"
                           "Subject: IMAP4rev2 WG mtg\r\n summary and minutes\r\nTo: imap@cac.washington.edu\r\n"
                           "Cc: minutes@CNRI.Reston.VA.US,\r\n John Klensin <KLENSIN@MIT.EDU>\r\n"
                           "Message-Id: <B27397-0100000@cac.washington.edu>\r\n\r\nbody\r\n");
    CHECK(made.envelope == "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev2 WG mtg summary and minutes\" "
                           "((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) "
                           "((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) ((NIL NIL \"imap\" \"cac.washington.edu\")) "
                           "((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")(\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) NIL NIL "
                           "\"<B27397-0100000@cac.washington.edu>\")");
    CHECK(made.body == "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 6 1)");
    CHECK(make("").envelope == "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
    CHECK(make("").body == "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0)");
}

TEST_CASE("address lists of every kind", "[mail][structure][rfc5322-3.4]")
{
    const std::pair<const char*, const char*> cases[] = {
        {"", "NIL"},
        {" , ,", "NIL"},
        {"a@b", "((NIL NIL \"a\" \"b\"))"},
        {"a @ b . c", "((NIL NIL \"a\" \"b.c\"))"},
        {"\"Doe, \\\"J\\\" (x)\" <j@d>", "((\"Doe, \\\"J\\\" (x)\" NIL \"j\" \"d\"))"},
        {"j@d (John (the) Doe)", "((\"John (the) Doe\" NIL \"j\" \"d\"))"},
        {"\"a b\"@c", "((NIL NIL \"a b\" \"c\"))"},
        {"X <@r1,@r2:a@b>", "((\"X\" \"@r1,@r2\" \"a\" \"b\"))"},
        {"undisclosed-recipients:;", "((NIL NIL \"undisclosed-recipients\" NIL)(NIL NIL NIL NIL))"},
        {"G: a@b, C <c@d>; e@f", "((NIL NIL \"G\" NIL)(NIL NIL \"a\" \"b\")(\"C\" NIL \"c\" \"d\")(NIL NIL NIL NIL)(NIL NIL \"e\" \"f\"))"},
        {"G: a@b", "((NIL NIL \"G\" NIL)(NIL NIL \"a\" \"b\")(NIL NIL NIL NIL))"},
        {"nobody", "((NIL NIL \"nobody\" \"MISSING_DOMAIN\"))"},
        {"X <>", "((\"X\" NIL \"MISSING_MAILBOX\" \"MISSING_DOMAIN\"))"},
        {"<@b>", "((NIL NIL \"MISSING_MAILBOX\" \"b\"))"},
        {"\"open", "((NIL NIL \"open\" \"MISSING_DOMAIN\"))"},
        {"a@b <", "((\"a@b\" NIL \"MISSING_MAILBOX\" \"MISSING_DOMAIN\"))"},
        {"M\xc3\xbcller <m@x>", "(({7}\r\nM\xc3\xbcller NIL \"m\" \"x\"))"},
    };
    for (const auto& [body, list] : cases) {
        INFO(body);
        CHECK(imap_addresses(body) == list);
    }
    CHECK(imap_addresses("a@b,c@d,e@f", 2) == "((NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\"))");
}

TEST_CASE("the structure of nested parts, with sizes of the CRLF form, however it is cut and whatever its line ends", "[mail][structure][rfc9051-7.5.2]")
{
    const std::string text = "Subject: outer\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b1\"\nContent-Language: en, de\n\npreamble\n"
                             "--b1\nContent-Type: TEXT/HTML; charset=utf-8\nContent-Transfer-Encoding: Quoted-Printable\nContent-ID: <x@y>\n\n<p>\n=20\n"
                             "--b1\nContent-Type: message/rfc822\nContent-Disposition: attachment; filename=\"m.eml\"\n\nSubject: inner\nFrom: a@b\n\ninner body\n\n"
                             "--b1\nContent-Type: application/pdf; name*=utf-8''%e2%82%ac.pdf\nContent-Transfer-Encoding: base64\n\nAAAA\n--b1--\n";
    const auto made = make(crlf(text));
    CHECK(made.structure.find("(\"text\" \"html\" (\"charset\" \"utf-8\") \"<x@y>\" NIL \"quoted-printable\" 8 1 NIL NIL NIL NIL)") == 1);
    CHECK(made.structure.find("(NIL \"inner\" ((NIL NIL \"a\" \"b\"))") != std::string::npos);
    CHECK(made.structure.find("(\"attachment\" (\"filename\" \"m.eml\"))") != std::string::npos);
    CHECK(made.structure.find("\"pdf\" (\"name*\" \"utf-8''%e2%82%ac.pdf\") NIL NIL \"base64\" 4 NIL NIL NIL NIL)") != std::string::npos);
    CHECK(made.structure.ends_with(" \"mixed\" (\"boundary\" \"b1\") NIL (\"en\" \"de\") NIL)"));
    CHECK(made.body.ends_with(" \"mixed\")"));
    CHECK(make(text) == made);
    for (std::size_t cut = 1; cut < 30; ++cut) CHECK(make(text, cut) == made);
}

TEST_CASE("what was not taken apart is not called a multipart or a message", "[mail][structure]")
{
    CHECK(make("Content-Type: multipart/mixed\r\n\r\nx\r\n").body.starts_with("(\"application\" \"octet-stream\" NIL"));
    CHECK(make("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x--\r\n").body.find("\"mixed\")") != std::string::npos);
    MimeLimits limits;
    limits.depth = 2;
    std::string text;
    for (int i = 0; i < 6; ++i) append(text, "Content-Type: multipart/mixed; boundary=b", i, "\r\n\r\n--b", i, "\r\n");
    const auto made = make(text, 0, limits);
    CHECK(made.body.find("octet-stream") != std::string::npos);
}

TEST_CASE("a bomb of headers and parts stays small", "[mail][structure]")
{
    std::string text = "Content-Type: multipart/mixed; boundary=b\r\n";
    for (int i = 0; i < 300; ++i) append(text, "To: ", std::string(30'000, 'x'), "@y\r\n");
    text += "\r\n";
    for (int i = 0; i < 20'000; ++i) append(text, "--b\r\nContent-Description: ", std::string(1000, 'd'), "\r\n\r\n");
    const auto made = make(text);
    CHECK(made.structure.size() < (12u << 20));
    CHECK(made.envelope.size() < (8u << 20));
}

TEST_CASE("addresses in every line of a header cost what they are worth", "[mail][structure]")
{
    std::string mail;
    while (mail.size() < 1'000'000) mail += "To:a\r\nCc:b\r\n";
    const std::string envelope = make(mail).envelope;
    CHECK(envelope.size() > 1'000'000);
    CHECK(envelope.size() < 2'200'000);      // a megabyte for each of the two
    CHECK(envelope.find("(NIL NIL \"a\" \"MISSING_DOMAIN\")(NIL NIL \"a\"") != std::string::npos);
    CHECK(make("To: a@b\r\nTo:\r\nTo: c@d\r\n\r\n").envelope.find("((NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\"))") != std::string::npos);
}

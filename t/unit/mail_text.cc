// lib/mail's way from bytes to text: charsets, transfer encodings, encoded words, case, dates.
#include "t/unit/catch.h"

#include "lib/base/text.h"
#include "lib/mail/casemap.h"
#include "lib/mail/charset.h"
#include "lib/mail/encoded_word.h"
#include "lib/mail/html_text.h"
#include "lib/mail/preview.h"
#include "lib/mail/sent_date.h"
#include "lib/mail/transfer.h"

using namespace veredus;
using namespace veredus::mail;

namespace {

std::string trickled(std::string_view charset, std::string_view bytes)
{
    CharsetDecoder decoder(charset);
    std::string out;
    for (const char c : bytes) decoder.feed(std::string_view(&c, 1), out);
    decoder.finish(out);
    return out;
}

struct Decoded {
    std::string text;
    bool broken = false;
    bool operator==(const Decoded&) const = default;
};

Decoded decode(Encoding encoding, std::string_view in, std::size_t piece = 0)
{
    TransferDecoder decoder(encoding);
    Decoded out;
    if (piece == 0) piece = in.size() + 1;
    for (std::size_t at = 0; at < in.size(); at += piece) decoder.feed(in.substr(at, piece), out.text);
    decoder.finish(out.text);
    out.broken = decoder.broken();
    return out;
}

} // namespace

TEST_CASE("charsets become UTF-8, in any cut", "[mail][charset]")
{
    struct Case {
        const char* charset;
        std::string_view bytes, text;
    };
    using namespace std::string_view_literals;
    const Case cases[] = {
        {"us-ascii", "plain", "plain"},
        {"", "gr\xC3\xBC\xC3\x9F", "grüß"},
        {"UTF-8", "a\xE2\x82\xAC\xF0\x9F\x98\x80", "a€😀"},
        {"utf-8", "a\xFFz\xC3", "a\uFFFDz\uFFFD"},
        {"utf-8", "\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"}, // a surrogate
        {"utf-8", "\xC0\xAF\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"},
        {"us-ascii", "\xE9t\xE9", "\uFFFDt\uFFFD"},
        {"ISO-8859-1", "\xE9t\xE9 \x93q\x94", "été “q”"},
        {"windows-1252", "\x80", "€"},
        {"iso-8859-15", "\xA4", "€"},
        {"ISO-8859-2",
         "\xB3\xF3"
         "d\xBC",
         "łódź"},
        {"koi8-r", "\xF0\xD2\xC9\xD7\xC5\xD4", "Привет"},
        {"gb2312", "\xC4\xE3\xBA\xC3", "你好"},
        {"Shift_JIS", "\x93\xFA\x96\x7B", "日本"},
        {"iso-2022-jp", "\x1B$BF|K\\\x1B(B!", "日本!"},
        {"euc-kr", "\xC7\xD1", "한"},
        {"utf-7", "Hi Mom -+Jjo--!", "Hi Mom -☺-!"},
        {"utf-16le", "a\0\xAC\x20"sv, "a€"},
        {"no-such-charset", "caf\xC3\xA9 \xE9", "café \uFFFD"},
        {"utf-8//TRANSLIT", "x\xC3\xA9", "xé"},
        {"../../etc/passwd", "x", "x"},
    };
    for (const Case& c : cases) {
        INFO(c.charset);
        CHECK(to_utf8(c.charset, c.bytes) == c.text);
        CHECK(trickled(c.charset, c.bytes) == c.text);
    }
    for (const char* name : {"utf-8", "US-ASCII", "iso-8859-7", "big5", "GB18030"}) CHECK(is_charset(name));
    for (const char* name : {"", "no-such-charset", "utf-8//IGNORE", "wchar_t", "CHAR", "a/b", "utf\n8"}) {
        INFO(name);
        CHECK_FALSE(is_charset(name));
    }
    CharsetDecoder one("koi8-r"), two(std::move(one));
    std::string out;
    two.feed("\xC1", out);
    one.feed("z", out); // what was moved from still works, as UTF-8
    CHECK(out == "аz");
}

TEST_CASE("base64 as it comes", "[mail][transfer][rfc2045-6.8]")
{
    struct Case {
        const char* in;
        const char* out;
        bool broken;
    };
    const Case cases[] = {
        {"", "", false},
        {"Zm9vYmFy", "foobar", false},
        {"Zm9v\r\nYmFy\r\n", "foobar", false},
        {"Zm9vYg==", "foob", false},
        {"Zm9vYmE=\r\n", "fooba", false},
        {"Zm9vYmE", "fooba", false}, // the padding is missing
        {"Zm9vYg", "foob", false},
        {"Zm9vY", "foo", true},
        {"Zm9v!YmFy", "foobar", true}, // RFC 2045: other characters are to be ignored
        {"Zg==Zg==", "ff", true},
        {"=", "", true},
        {"Zm 9 v", "foo", false},
    };
    for (const Case& c : cases) {
        INFO(c.in);
        const Decoded expected{c.out, c.broken};
        CHECK(decode(Encoding::base64, c.in) == expected);
        for (std::size_t piece = 1; piece < 6; ++piece) CHECK(decode(Encoding::base64, c.in, piece) == expected);
    }
}

TEST_CASE("quoted-printable as it comes", "[mail][transfer][rfc2045-6.7]")
{
    struct Case {
        const char* in;
        const char* out;
        bool broken;
    };
    const Case cases[] = {
        {"", "", false},
        {"caf=C3=A9", "caf\xC3\xA9", false},
        {"caf=c3=a9", "caf\xC3\xA9", false},
        {"one =\r\ntwo=\nthree", "one twothree", false},
        {"one= \t \r\ntwo", "onetwo", false},
        {"blanks  \t\r\nhere \nend  ", "blanks\r\nhere\nend", false},
        {"kept=20\r\n", "kept \r\n", false},
        {"a = b", "a = b", true},
        {"a=4", "a=4", true},
        {"a=", "a", false},
        {"=ZZ=4x", "=ZZ=4x", true},
        {"==41", "=A", true},
        {"a\rb", "a\rb", false},
        {"in the  middle", "in the  middle", false},
    };
    for (const Case& c : cases) {
        INFO(c.in);
        const Decoded expected{c.out, c.broken};
        CHECK(decode(Encoding::quoted_printable, c.in) == expected);
        for (std::size_t piece = 1; piece < 5; ++piece)
            CHECK(decode(Encoding::quoted_printable, c.in, piece) == expected);
    }
    const std::string many(5000, ' ');
    CHECK(decode(Encoding::quoted_printable, many + "\n").text.size() <= many.size() + 1);
    CHECK(decode(Encoding::quoted_printable, many + "x", 7) == decode(Encoding::quoted_printable, many + "x"));
    CHECK(decode(Encoding::unknown, "a=41").text == "a=41");
}

TEST_CASE("encoded words become text", "[mail][encoded_word][rfc2047-8]")
{
    const std::pair<const char*, const char*> cases[] = {
        {"plain", "plain"},
        {"=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"},
        {"=?ISO-8859-1?Q?Andr=E9?= Pirard", "André Pirard"},
        {"=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\r\n =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=",
         "If you can read this you understand the example."},
        {"=?ISO-8859-1?Q?a?= b", "a b"},
        {"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"},
        {"=?ISO-8859-1?Q?a?=  \t =?ISO-8859-1?q?b?=", "ab"},
        {"=?ISO-8859-1?Q?a?=\r\n     =?ISO-8859-1?Q?b?=", "ab"},
        {"=?ISO-8859-1?Q?a_b?=", "a b"},
        {"=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"},
        {"=?US-ASCII*EN?Q?Keith_Moore?=", "Keith Moore"},
        {"=?utf-8?b?w6=?= =?utf-8?q?=A9?=", "é"}, // a character cut in two, with broken padding
        {"=?utf-8?B?w7zDvA?=", "üü"},
        {"\"=?utf-8?Q?quoted?=\" <a@b>", "\"quoted\" <a@b>"},
        {"x=?utf-8?Q?in?=y", "xiny"},
        {"=?utf-8?Q?with blank?=", "with blank"},
        {"=?utf-8?Q?=ZZ=4?=", "=ZZ=4"},
        {"=?utf-8?X?abc?=", "=?utf-8?X?abc?="},
        {"=??Q?abc?=", "=??Q?abc?="},
        {"=?utf-8?Q?never closed", "=?utf-8?Q?never closed"},
        {"=?utf-8?Q?"
         "?=",
         ""},
        {"=?=?=?utf-8?Q?a?=", "=?=?a"},
        {"folded\r\n text\n\there", "folded text\there"},
        {"raw \xC3\xA9 and \xE9", "raw é and \uFFFD"},
        {"=?nonsense?Q?=C3=A9?=", "é"},
    };
    for (const auto& [in, out] : cases) {
        INFO(in);
        CHECK(decode_header_text(in) == out);
    }
    std::string bomb;
    while (bomb.size() < 1'000'000) bomb += "=?a?q?";
    CHECK(decode_header_text(bomb) == bomb);
    CHECK(decode_header_text(std::string(1'000'000, '=')) == std::string(1'000'000, '='));

    const auto type = parse_content_type("text/plain; title*=iso-8859-1'en'%A3%20rates; name=\"=?utf-8?q?=C3=A9?=\"");
    CHECK(parameter_text(*find_parameter(type.parameters, "title")) == "£ rates");
    CHECK(parameter_text(*find_parameter(type.parameters, "name")) == "é");
}

TEST_CASE("i;unicode-casemap makes what is alike equal", "[mail][casemap]")
{
    const std::pair<const char*, const char*> cases[] = {
        {"", ""},
        {"Hello, World {|}`@[", "HELLO, WORLD {|}`@["},
        {"é", "E\u0301"},
        {"ÉCOLE", "E\u0301COLE"},
        {"straße", "STRAßE"},
        {"Ǆ", "Dz\u030C"}, // the example of RFC 5051: title case U+01C5, then decomposed
        {"ǆ", "Dz\u030C"},
        {"ПРИВЕТ привет", "ПРИВЕТ ПРИВЕТ"},
        {"ﬁ", "fi"},
        {"①", "1"},
        {"한글", "\u1112\u1161\u11AB\u1100\u1173\u11AF"},
        {"가", "\u1100\u1161"},
        {"𐐨", "𐐀"},
        {"日本", "日本"},
        {"a\xFFz", "A\xFFZ"},
        {"\xC3", "\xC3"},
        {"\u212A", "K"}, // KELVIN SIGN
    };
    for (const auto& [in, out] : cases) {
        INFO(in);
        CHECK(casemap(in) == out);
        CHECK(casemap(cat("0123456789", in)) == cat("0123456789", out));
    }
    std::string mixed, expected;
    for (int c = 1; c < 0x80; ++c) {
        mixed += static_cast<char>(c);
        expected += static_cast<char>(to_upper(static_cast<char>(c)));
    }
    CHECK(casemap(mixed) == expected);
}

TEST_CASE("dates of mails, well made or not", "[mail][sent_date][rfc5256-2.2]")
{
    struct Case {
        const char* in;
        int64_t local, zone; // zone: seconds east
    };
    const Case cases[] = {
        {"Thu, 1 Jan 1970 00:00:00 +0000", 0, 0},
        {"31 Dec 2000 16:01:33 -0800", 978278493, -28800},
        {"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)", 837570205, -25200},
        {"17 Jul 96 02:23 PDT", 837570180, -25200},
        {"Wed,17-Jul-1996 02:23:25 GMT", 837570205, 0},
        {"Wed Jul 17 02:23:25 1996", 837570205, 0},
        {"Wed Jul 17 02:23:25 PDT 1996", 837570205, -25200},
        {"17 July 1996 02:23:25 +01:00", 837570205, 3600},
        {"17 Jul 1996 02:23:25 +9999", 837570205, 0},
        {"17 Jul 1996 02:23:25 nonsense", 837570205, 0},
        {"17 Jul 1996 29:23:25 +0100", 837561600, 0},
        {"17 Jul 1996", 837561600, 0},
        {"(c (d) \\) x) 17 (e) Jul\r\n 1996 02 : 23 : 25 +0000", 837570205, 0},
        {"Fri, 31 Dec 1999 23:59:60 +0000", 946684800, 0},
        {"29 Feb 2000 00:00:00 +0000", 951782400, 0},
        {"1 Jan 1900 00:00 +0000", -2208988800, 0},
    };
    for (const Case& c : cases) {
        INFO(c.in);
        const auto date = parse_sent_date(c.in);
        REQUIRE(date);
        CHECK(date->local == c.local);
        CHECK(date->utc == c.local - c.zone);
    }
    CHECK(parse_sent_date("31 Dec 2000 16:01:33 -0800")->day() == 11322);
    CHECK(parse_sent_date("31 Dec 1969 23:59:59 +0000")->day() == -1);
    CHECK(parse_sent_date("30 Dec 1969 00:00:00 +0000")->day() == -2);
    for (const char* bad : {"", "today", "Mon, ", "0 Jan 2000", "32 Jan 2000", "1 Foo 2000", "1 Jan", "1 Jan 20000",
                            "1 Jan 2", "(((((", "2000-01-01"}) {
        INFO(bad);
        CHECK_FALSE(parse_sent_date(bad));
    }
}

namespace {

std::string preview(std::string_view mail, std::size_t piece = 0)
{
    PreviewMaker maker;
    if (piece == 0) piece = mail.size() + 1;
    for (std::size_t at = 0; at < mail.size() && maker.feed(mail.substr(at, piece)); at += piece) {
    }
    return maker.finish();
}

std::string words(std::string_view html)
{
    HtmlText stripper;
    std::string out;
    for (const char c : html) stripper.feed(std::string_view(&c, 1), out);
    stripper.finish(out);
    HtmlText at_once;
    std::string whole;
    at_once.feed(html, whole);
    at_once.finish(whole);
    CHECK(whole == out);
    return out;
}

} // namespace

TEST_CASE("the words of HTML", "[mail][preview]")
{
    const std::pair<const char*, const char*> cases[] = {
        {"", ""},
        {"plain", "plain"},
        {"a<b>bo</b>ld", "abold"},
        {"<p>one</p><p>two<br/>three", " one  two three"},
        {"<a href=\"x>y\" title='a\"b'>link</a>", "link"},
        {"<head><style>p > a {}</style><title>t</title></head><body>x", " x"},
        {"<head><title>no end of the head</title><body>x", " x"},
        {"<script>if (a<b && \"</p>\") c();</script>x", "x"},
        {"<STYLE>h1 { }</STYLE >x", "x"},
        {"<!-- a > b -- c --->x<!DOCTYPE html>y<?xml?>z", "xyz"},
        {"a &lt; b &amp;&amp; c &euro;5 &#8364; &#x20ac;&nbsp;", "a < b && c €5 € €\u00A0"},
        {"AT&T ?a=1&copy=2 &unknown; &#0; & x", "AT&T ?a=1&copy=2 &unknown; &#0; & x"},
        {"1 < 2 <3 a<", "1 < 2 <3 a<"},
        {"end &am", "end &am"},
        {"<p never closed", ""},
    };
    for (const auto& [in, out] : cases) {
        INFO(in);
        CHECK(words(in) == out);
    }
}

TEST_CASE("previews", "[mail][preview][rfc8970-3.3]")
{
    std::string longest;
    for (int i = 0; i < 100; ++i) longest += "wörd ";
    std::string two_hundred;
    for (int i = 0; i < 40; ++i) two_hundred += "wörd ";
    two_hundred.pop_back();
    const std::string alternative =
        "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n"
        "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
    struct Case {
        std::string mail, text;
    };
    const Case cases[] = {
        {"", ""},
        {"Subject: x\r\n\r\n", ""},
        {"Subject: x\r\n\r\n  Hello,\r\n\r\n\tworld!\r\n", "Hello, world!"},
        {"\r\n> quoted\r\n>> more\r\nown words\r\n> again", "own words"},
        {"\r\n> quoted\r\n>> more\r\n", "quoted more"},
        {"Content-Type: text/plain; charset=utf-8\r\n\r\n" + longest, two_hundred},
        {alternative + "Gr=FC=DFe\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--b--\r\n", "Grüße"},
        {alternative + " \r\n--b\r\nContent-Type: "
                       "text/html\r\n\r\n<head><style>p{}</style></head><p>only&nbsp;html</p>\r\n--b--\r\n",
         "only html"},
        {"Content-Type: multipart/mixed; boundary=b\r\n\r\nno\r\n--b\r\nContent-Disposition: "
         "attachment\r\n\r\nattached\r\n--b\r\n\r\nshown\r\n--b--\r\n",
         "shown"},
        {"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/png\r\n\r\npng\r\n--b--\r\n", ""},
        {"Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\n", ""},
        {"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPHA+aMO8PC9wPg==\r\n", "hü"},
        {"Content-Type: text/html; charset=UTF-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPHA+aMO8\r\nPC9wPg==\r\n",
         "hü"},
        {"\r\na\x01\x02z \xE2\x80\x8C\xC2\xAD\xC2\xA0\xE2\x80\x8B end", "a z end"},
        {"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nforwarded", "forwarded"},
    };
    for (const Case& c : cases) {
        INFO(c.mail);
        for (const std::size_t piece : {0u, 1u, 5u}) CHECK(preview(c.mail, piece) == c.text);
    }
    PreviewMaker maker;
    CHECK_FALSE(maker.feed(cat("\r\n", std::string(10'000, 'x'), "\r\n", std::string(1000, 'y'))));
    CHECK(maker.finish() == std::string(200, 'x'));
    PreviewMaker styles;
    CHECK_FALSE(styles.feed("Content-Type: text/html\r\n\r\n<style>" + std::string(2'000'000, 'x')));
    CHECK(styles.finish().empty());
}

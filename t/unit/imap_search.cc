// lib/imap: SEARCH over messages that are nothing but bytes and facts.
#include "t/unit/catch.h"

#include <cerrno>
#include <cstdlib>
#include <ctime>

#include "lib/base/text.h"
#include "lib/imap/charset.h"
#include "lib/imap/search.h"
#include "lib/mail/header.h"

using namespace veredus;
using namespace veredus::imap;
using Kind = SearchKey::Kind;

namespace {

class Mail final : public Candidate {
public:
    explicit Mail(std::string text, std::size_t cut = 0) : text_(std::move(text)), cut_(cut)
    {
        number = uid = 1;
        block_ = mail::HeaderBlock::parse(std::string_view(text_).substr(0, text_.find("\r\n\r\n") + 2));
    }
    Result<uint64_t> size() override { return text_.size(); }
    Result<int64_t> received() override { return when; }
    std::string email_id() override { return "M1"; }
    std::string thread_id() override { return "T1"; }
    Result<void> header(std::string_view name, std::vector<std::string_view>& bodies) override
    {
        ++headers_asked;
        for (const mail::Field& field : block_.fields())
            if (iequals(field.name(), name)) bodies.push_back(field.body());
        return {};
    }
    Result<void> content(const std::function<bool(std::string_view)>& take) override
    {
        ++reads;
        if (fails) return fail_errno("read", EIO);
        std::string_view rest = text_;
        const std::size_t piece = cut_ ? cut_ : rest.size();
        while (!rest.empty() && take(rest.substr(0, piece))) rest.remove_prefix(std::min(piece, rest.size()));
        return {};
    }
    int64_t when = 1'000'000'000;
    int reads = 0, headers_asked = 0;
    bool fails = false;

private:
    std::string text_;
    std::size_t cut_;
    mail::HeaderBlock block_;
};

SearchKey word(Kind kind, std::string text, std::string field = {})
{
    SearchKey key;
    key.kind = kind;
    key.text = std::move(text);
    key.field = std::move(field);
    return key;
}

SearchKey list(Kind kind, std::vector<SearchKey> keys)
{
    SearchKey key;
    key.kind = kind;
    key.keys = std::move(keys);
    return key;
}

SearchKey on_day(Kind kind, int32_t day)
{
    SearchKey key;
    key.kind = kind;
    key.day = day;
    return key;
}

SearchKey of_number(Kind kind, uint64_t number)
{
    SearchKey key;
    key.kind = kind;
    key.number = number;
    return key;
}

SearchKey set(Kind kind, std::vector<SequenceSet::Range> ranges)
{
    SearchKey key;
    key.kind = kind;
    key.set.ranges = std::move(ranges);
    return key;
}

bool matches(const SearchKey& key, Candidate& mail, const Situation& situation = {})
{
    Program program(key, situation);
    auto answer = program.matches(mail);
    REQUIRE(answer);
    return *answer;
}

constexpr int32_t day_2001_09_09 = 11574; // 1,000,000,000 seconds is in it

const std::string parts_mail = "From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r\n"
                               "To: Team <team@example.org>\r\n"
                               "Subject: =?iso-8859-1?q?Gr=FC=DFe_aus?=\r\n =?iso-8859-1?q?_K=F6ln?=\r\n"
                               "Received: from one\r\nReceived: from two\r\n"
                               "Date: Sat, 8 Sep 2001 23:59:59 -0800\r\n"
                               "X-Empty:\r\n"
                               "Content-Type: multipart/mixed; boundary=\"b\"\r\n"
                               "\r\n"
                               "preamble word\r\n"
                               "--b\r\n"
                               "Content-Type: text/plain; charset=iso-8859-1\r\n"
                               "Content-Transfer-Encoding: quoted-printable\r\n"
                               "X-Part: partheader\r\n"
                               "\r\n"
                               "Ein sch=F6ner lan=\r\nger Tag\r\n"
                               "--b\r\n"
                               "Content-Type: text/html; charset=utf-8\r\n"
                               "Content-Transfer-Encoding: base64\r\n"
                               "\r\n"
                               "PGI+R3LDvMOfZTwvYj4gdmVyYm9y\r\nZ2Vu\r\n" // <b>Grüße</b> verborgen
                               "--b\r\n"
                               "Content-Type: application/octet-stream\r\n"
                               "\r\n"
                               "binaryword\r\n"
                               "--b\r\n"
                               "Content-Type: message/rfc822\r\n"
                               "\r\n"
                               "Subject: =?utf-8?q?inn=C3=A9r?= subject\r\n"
                               "\r\n"
                               "innermost body\r\n"
                               "--b--\r\n"
                               "epilogue word\r\n";

} // namespace

TEST_CASE("SEARCH finds words in headers, decoded, in any case", "[imap][search][rfc9051-6.4.4]")
{
    struct Case {
        SearchKey key;
        bool yes;
    };
    const Case cases[] = {
        {word(Kind::subject, "grüße aus köln"), true},
        {word(Kind::subject, "GRÜßE"), true},
        {word(Kind::subject, "Gru"), true}, // an accent is a character of its own behind its letter (RFC 5051)
        {word(Kind::subject, "Gr\u00FC"), true},
        {word(Kind::subject, "gru\u0308\u00DFe"), true}, // the same letter, written as two characters
        {word(Kind::subject, "iso-8859"), false},
        {word(Kind::from, "JÖRG"), true},
        {word(Kind::from, "@EXAMPLE."), true},
        {word(Kind::to, "team <"), true},
        {word(Kind::to, "joerg"), false},
        {word(Kind::cc, ""), false},
        {word(Kind::bcc, "x"), false},
        {word(Kind::header, "two", "RECEIVED"), true},
        {word(Kind::header, "one", "received"), true},
        {word(Kind::header, "onefrom", "received"), false},
        {word(Kind::header, "", "X-Empty"), true},
        {word(Kind::header, "x", "X-Empty"), false},
        {word(Kind::header, "", "X-Missing"), false},
        {word(Kind::header, "partheader", "X-Part"), false},
    };
    Mail mail(parts_mail);
    for (const Case& c : cases) {
        INFO(c.key.field << ' ' << c.key.text);
        CHECK(matches(c.key, mail) == c.yes);
    }
    CHECK(mail.reads == 0);
    Mail odd("From: <alice (at work)@ (home) Example.org>\r\nTo: \"bob b\" @example.org, x\r\n\r\n");
    CHECK(matches(word(Kind::from, "alice@example.org"), odd));
    CHECK(matches(word(Kind::from, "at work"), odd));
    CHECK(matches(word(Kind::to, "\"bob b\"@example"), odd));
    CHECK_FALSE(matches(word(Kind::header, "alice@example.org", "From"), odd));
    CHECK_FALSE(matches(word(Kind::from, "bob"), odd));
}

TEST_CASE("BODY and TEXT look where text is", "[imap][search][rfc9051-6.4.4]")
{
    struct Case {
        const char* words;
        bool body, text;
    };
    const Case cases[] = {
        {"schöner langer Tag", true, true}, // across a soft line break
        {"SCHÖNER", true, true},
        {"grüße", true, true},
        {"verborgen", true, true},
        {"binaryword", false, false},
        {"PGI+R3", false, false},
        {"inner subject", false, false},
        {"innér SUBJECT", true, true},
        {"innermost", true, true},
        {"partheader", false, true},
        {"köln", false, true},
        {"subject: grüße", false, true},
        {"from one", false, true},
        {"from onereceived", false, false},
        {"preamble", false, false},
        {"epilogue", false, false},
        {"Tag<b>", false, false}, // nothing lies across two parts
        {"", true, true},
    };
    for (const std::size_t cut : {0u, 1u, 7u}) {
        for (const Case& c : cases) {
            INFO(c.words << " in pieces of " << cut);
            Mail mail(parts_mail, cut);
            CHECK(matches(word(Kind::body, c.words), mail) == c.body);
            CHECK(matches(word(Kind::text, c.words), mail) == c.text);
        }
    }
}

TEST_CASE("a message is read once for all words, and only when they decide", "[imap][search]")
{
    Mail mail(parts_mail);
    CHECK(matches(
        list(Kind::all_of, {word(Kind::body, "Tag"), word(Kind::text, "Köln"), word(Kind::body, "verborgen")}), mail));
    CHECK(mail.reads == 1);
    SearchKey unseen;
    unseen.kind = Kind::no_flag;
    unseen.flag = store::seen;
    mail.flags = store::seen;
    CHECK_FALSE(matches(list(Kind::all_of, {word(Kind::body, "Tag"), word(Kind::subject, "x"), unseen}), mail));
    CHECK(mail.reads == 1);
    CHECK(mail.headers_asked == 0);
    unseen.kind = Kind::flag;
    CHECK(matches(list(Kind::any_of, {word(Kind::body, "Tag"), unseen}), mail));
    CHECK(matches(list(Kind::not_, {list(Kind::any_of, {word(Kind::body, "Tag"), word(Kind::subject, "x")})}), mail) ==
          false);
    CHECK(mail.reads == 2);
    mail.fails = true;
    Program program(list(Kind::not_, {word(Kind::body, "Tag")}), {});
    CHECK_FALSE(program.matches(mail));
    mail.fails = false;
    CHECK(program.matches(mail)); // the next one is none the worse
    CHECK(program.needs().content);
    CHECK(program.needs().fields.empty());
}

TEST_CASE("words are found across blocks, and a long text is left once all are found", "[imap][search]")
{
    std::string text = "Subject: x\r\n\r\n";
    for (int i = 0; i < 3000; ++i) veredus::append(text, "line ", i, " of a text that goes on\r\n");
    const std::string_view body = std::string_view(text).substr(14);
    for (const std::size_t at : {0u, 5000u, 16370u, 16384u, 32750u, 65520u, 90000u}) {
        INFO(at);
        Mail mail(text, 4096);
        CHECK(matches(word(Kind::body, std::string(body.substr(at, 40))), mail));
        CHECK(matches(word(Kind::body, std::string(body.substr(at, 20000))), mail));
        CHECK_FALSE(matches(word(Kind::body, cat(body.substr(at, 40), "\x01")), mail));
    }
    Mail umlauts("\r\n" + std::string(20001, 'x') + "\xC3\xA9" + std::string(20000, 'y'));
    CHECK(matches(word(Kind::body, "xéy"), umlauts));
    Mail wrong("Content-Type: text/plain; charset=x-unknown\r\n\r\nraw \xE9 \xC3\xA9 end");
    CHECK(matches(word(Kind::body, "é END"), wrong));
}

TEST_CASE("SEARCH by number, UID, flag and keyword", "[imap][search]")
{
    Situation s;
    s.messages = 10;
    s.last_uid = 500;
    s.keywords = {"", "$Forwarded", "Work"};
    s.saved = {{40, 50}, {7, 7}};
    Mail mail("Subject: x\r\n\r\n");
    const auto at = [&](uint32_t number, uint32_t uid) -> Mail& {
        mail.number = number;
        mail.uid = uid;
        return mail;
    };
    CHECK(matches(set(Kind::sequence, {{2, 4}, {9, 9}}), at(3, 1), s));
    CHECK(matches(set(Kind::sequence, {{4, 2}}), at(2, 1), s));
    CHECK_FALSE(matches(set(Kind::sequence, {{2, 4}, {9, 9}}), at(5, 3), s));
    CHECK(matches(set(Kind::sequence, {{0, 0}}), at(10, 3), s));
    CHECK_FALSE(matches(set(Kind::sequence, {{0, 0}}), at(9, 3), s));
    CHECK(matches(set(Kind::sequence, {{8, 0}}), at(9, 3), s));
    CHECK(matches(set(Kind::uid, {{559, 0}}), at(10, 500), s)); // RFC 9051 §6.4.9: always the last one
    CHECK_FALSE(matches(set(Kind::uid, {{559, 0}}), at(9, 499), s));
    CHECK(matches(set(Kind::uid, {{1, 4294967295}}), at(1, 1), s));
    CHECK_FALSE(matches(set(Kind::uid, {{0, 0}}), at(1, 1), {}));
    SearchKey saved = set(Kind::sequence, {});
    saved.set.saved = true;
    CHECK(matches(saved, at(1, 45), s));
    CHECK(matches(saved, at(1, 7), s));
    CHECK_FALSE(matches(saved, at(7, 8), s));
    std::vector<SequenceSet::Range> many;
    for (uint32_t i = 1; i < 60000; i += 2) many.push_back({60000 - i, 60000 - i});
    CHECK(matches(set(Kind::uid, many), at(1, 31), s));
    CHECK_FALSE(matches(set(Kind::uid, many), at(1, 32), s));

    mail.keywords = 4;
    CHECK(matches(word(Kind::keyword, "WORK"), mail, s));
    CHECK_FALSE(matches(word(Kind::keyword, "$forwarded"), mail, s));
    CHECK(matches(word(Kind::no_keyword, "$forwarded"), mail, s));
    CHECK_FALSE(matches(word(Kind::keyword, "unheard-of"), mail, s));
    CHECK(matches(word(Kind::no_keyword, "unheard-of"), mail, s));
    mail.recent = true;
    CHECK(matches(word(Kind::recent, ""), mail));
    CHECK(matches(word(Kind::new_, ""), mail));
    mail.flags = store::seen;
    CHECK_FALSE(matches(word(Kind::new_, ""), mail));
    CHECK_FALSE(matches(word(Kind::old, ""), mail));
    mail.modseq = 620162338;
    CHECK(matches(of_number(Kind::modseq, 620162338), mail));
    CHECK_FALSE(matches(of_number(Kind::modseq, 620162339), mail));
    CHECK(matches(word(Kind::emailid, "M1"), mail));
    CHECK_FALSE(matches(word(Kind::threadid, "M1"), mail));
    CHECK(matches(of_number(Kind::larger, 13), mail));
    CHECK_FALSE(matches(of_number(Kind::larger, 14), mail));
    CHECK(matches(of_number(Kind::smaller, 15), mail));
    CHECK_FALSE(matches(of_number(Kind::smaller, 14), mail));
    CHECK(matches(list(Kind::all_of, {}), mail));
}

TEST_CASE("SEARCH by dates", "[imap][search][rfc5032-2]")
{
    ::setenv("TZ", "UTC-5", 1); // five hours east
    ::tzset();
    Mail mail(parts_mail);
    const int32_t day = day_2001_09_09;
    mail.when = 1'000'000'000; // 01:46:40 UTC, the same day here
    CHECK(matches(on_day(Kind::on, day), mail));
    CHECK(matches(on_day(Kind::since, day), mail));
    CHECK_FALSE(matches(on_day(Kind::before, day), mail));
    CHECK(matches(on_day(Kind::before, day + 1), mail));
    mail.when = int64_t{day} * 86400 + 19 * 3600; // midnight of the next day here
    CHECK_FALSE(matches(on_day(Kind::on, day), mail));
    CHECK(matches(on_day(Kind::on, day + 1), mail));
    --mail.when;
    CHECK(matches(on_day(Kind::on, day), mail));
    CHECK(matches(on_day(Kind::saved_on, day), mail)); // RFC 8514: no save date, so INTERNALDATE
    mail.saved = mail.when + 86400;
    CHECK(matches(on_day(Kind::saved_on, day + 1), mail));
    CHECK(matches(on_day(Kind::saved_since, day + 1), mail));
    CHECK_FALSE(matches(on_day(Kind::saved_before, day + 1), mail));
    // Sent on the 8th at its sender, whatever the time was elsewhere.
    CHECK(matches(on_day(Kind::sent_on, day - 1), mail));
    CHECK(matches(on_day(Kind::sent_before, day), mail));
    CHECK_FALSE(matches(on_day(Kind::sent_since, day), mail));
    Mail undated("Subject: x\r\n\r\n");
    CHECK_FALSE(matches(on_day(Kind::sent_before, day), undated));
    Situation s;
    s.now = mail.when + 60;
    CHECK(matches(of_number(Kind::older, 60), mail, s));
    CHECK_FALSE(matches(of_number(Kind::older, 61), mail, s));
    CHECK(matches(of_number(Kind::younger, 60), mail, s));
    CHECK_FALSE(matches(of_number(Kind::younger, 59), mail, s));
    CHECK(matches(of_number(Kind::younger, UINT64_MAX), mail, s));
    CHECK(matches(word(Kind::save_date_supported, ""), mail));
    ::unsetenv("TZ");
    ::tzset();
}

TEST_CASE("hostile messages and keys end in good time", "[imap][search]")
{
    SearchKey deep = word(Kind::body, "x");
    for (int i = 0; i < 100; ++i) deep = list(Kind::not_, {std::move(deep)});
    Mail mail("Subject: y\r\n\r\nx");
    CHECK(matches(deep, mail));
    std::vector<SearchKey> many;
    for (int i = 0; i < 3000; ++i) many.push_back(word(Kind::text, cat("needle", i)));
    CHECK_FALSE(matches(list(Kind::any_of, many), mail));
    std::string nested;
    for (int i = 0; i < 500; ++i) nested += "Content-Type: message/rfc822\r\n\r\n";
    Mail deep_mail(nested + "findme");
    CHECK(matches(word(Kind::body, "findme"), deep_mail));
    Mail escapes("Content-Transfer-Encoding: quoted-printable\r\n\r\n" + std::string(1'000'000, '=') + "end");
    CHECK(matches(word(Kind::body, "=end"), escapes));
    Mail ones("\r\n" + std::string(1'000'000, 'a'));
    CHECK_FALSE(matches(word(Kind::body, std::string(2000, 'a') + "b"), ones));
}

TEST_CASE("the charset argument", "[imap][charset][rfc5256-3]")
{
    CHECK(*imap::to_utf8("ISO-8859-1", "\xE9") == "é");
    CHECK(*imap::to_utf8("", "é") == "é");
    CHECK(imap::to_utf8("UTF-8", "\xE9").error().code == EILSEQ);
    CHECK(imap::to_utf8("x-none", "e").error().code == EINVAL);
    CHECK(imap::to_utf8("UTF-8//TRANSLIT", "e").error().code == EINVAL);
    for (const auto name : split(charset_list(), " ")) {
        INFO(name);
        CHECK(imap::to_utf8(name, "").has_value());
    }
}

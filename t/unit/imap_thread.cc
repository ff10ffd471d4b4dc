// lib/imap: SORT and THREAD over messages that are header fields only.
#include "t/unit/catch.h"

#include <cerrno>
#include <map>

#include "lib/base/text.h"
#include "lib/imap/base_subject.h"
#include "lib/imap/interner.h"
#include "lib/imap/message_ids.h"
#include "lib/imap/sort.h"
#include "lib/imap/thread.h"

using namespace veredus;
using namespace veredus::imap;

namespace {

class Header final : public Candidate {
public:
    Header(uint32_t n, std::map<std::string, std::string, std::less<>> fields, int64_t when = 0, uint64_t bytes = 0)
        : fields_(std::move(fields)), when_(when), bytes_(bytes)
    {
        number = n;
        uid = n + 1000;
    }
    Result<uint64_t> size() override { return bytes_; }
    Result<int64_t> received() override { return when_; }
    std::string email_id() override { return {}; }
    std::string thread_id() override { return {}; }
    Result<void> header(std::string_view name, std::vector<std::string_view>& bodies) override
    {
        ++asked;
        if (name == fails) return fail_errno("read", EIO);
        const auto it = fields_.find(name);
        if (it != fields_.end()) bodies.emplace_back(it->second);
        return {};
    }
    Result<void> content(const std::function<bool(std::string_view)>&) override { return fail("not asked for"); }
    std::string_view fails;
    unsigned asked = 0;

private:
    std::map<std::string, std::string, std::less<>> fields_;
    int64_t when_;
    uint64_t bytes_;
};

std::string base(std::string text)
{
    return std::string(base_subject(text).text);
}

std::string key_of_mailbox(std::string_view list)
{
    std::string out;
    put_mailbox_key(list, out);
    return out;
}

// "number: id < reference reference, subject" of each; dates go up with the numbers unless `dates` says otherwise.
struct Line {
    std::string id, references, subject;
    int date = 0;
};

std::string threads(const std::vector<Line>& lines, Thread::Algorithm algorithm = Thread::Algorithm::references)
{
    Threader threader(algorithm);
    uint32_t n = 0;
    for (const Line& line : lines) {
        ++n;
        std::map<std::string, std::string, std::less<>> fields;
        if (!line.id.empty()) fields["message-id"] = cat("<", line.id, "@x>");
        for (const auto id : split(line.references, " ")) fields["references"] += cat(" <", id, "@x>\r\n");
        if (!line.subject.empty()) fields["subject"] = line.subject;
        Header mail(n, fields, line.date ? line.date : static_cast<int64_t>(n) * 100);
        REQUIRE(threader.add(mail));
    }
    return threader.finish(false);
}

} // namespace

TEST_CASE("base subjects", "[imap][base_subject][rfc5256-2.1]")
{
    struct Case {
        const char* in;
        const char* out;
        bool reply;
    };
    const Case cases[] = {
        {"", "", false},
        {"hello", "hello", false},
        {"  a \t b\t", "a b", false},
        {"Re: hello", "hello", true},
        {"RE: re:fwd: FW: hello", "hello", true},
        {"Re [list] : hello", "hello", true},
        {"Re[2]: hello", "hello", true},
        {"[list] hello", "hello", false},
        {"[list] Re: hello", "hello", true},
        {"[a] [b] Re: [c] hello", "hello", true},
        {"[list]", "[list]", false},
        {"[a] [b]", "[b]", false},
        {"[a[b] hello", "[a[b] hello", false},
        {"hello (fwd)", "hello", true},
        {"hello (FWD) (fwd)  ", "hello", true},
        {"[Fwd: hello]", "hello", true},
        {"[fwd: Re: [list] hello (fwd)] (fwd)", "hello", true},
        {"[fwd: [fwd: hello]]", "hello", true},
        {"[fwd: re: hello]", "hello", true},
        {"[fwd:]", "", true},
        {"Re:", "", true},
        {"Re", "Re", false},
        {"Return: x", "Return: x", false},
        {"Re : x", "x", true},
        {"AW: x", "AW: x", false},
        {"re: re", "re", true},
        {"(fwd)", "", true},
        {"[x] re: [y]", "[y]", true},
    };
    for (const Case& c : cases) {
        INFO(c.in);
        std::string text = c.in;
        const BaseSubject got = base_subject(text);
        CHECK(got.text == c.out);
        CHECK(got.reply_or_forward == c.reply);
    }
    std::string key;
    CHECK(put_subject_key("=?utf-8?q?re:_gr=C3=BC=C3=9Fe?=\r\n\t  (fwd)", key));
    CHECK(key == "GRU\u0308ßE");
    // What would be looked at again and again by a careless reader.
    std::string bomb;
    for (int i = 0; i < 300'000; ++i) bomb += "[a]";
    CHECK(base(bomb + "x") == "x");
    CHECK(base(bomb) == "[a]");
    std::string nest, unnest;
    for (int i = 0; i < 100'000; ++i) nest += "[fwd:", unnest += "]";
    CHECK(base(nest + "x" + unnest) == "x");
    CHECK(base(std::string(1'000'000, '[')) == std::string(1'000'000, '['));
    std::string replies, trailers;
    for (int i = 0; i < 200'000; ++i) replies += "re:", trailers += "(fwd)";
    CHECK(base(replies + "x" + trailers) == "x");
    key.clear();
    put_subject_key(std::string(100'000, 'a') + "é", key);
    CHECK(key == std::string(longest_sort_key, 'A'));
}

TEST_CASE("the first mailbox of an address list", "[imap][sort][rfc5256-3]")
{
    const std::pair<const char*, const char*> cases[] = {
        {"", ""},
        {"joe@example.org", "JOE"},
        {"Joe Doe <joe@example.org>, ann@example.org", "JOE"},
        {"\"Doe, Joe\" <joe@example.org>", "JOE"},
        {"joe@example.org (Doe, Joe)", "JOE"},
        {"(x) joe (y) @ example.org", "JOE"},
        {"\"joe doe\"@example.org", "JOE DOE"},
        {"<\"a@b\"@example.org>", "A@B"},
        {"<@route.example,@r2:joe@example.org>", "JOE"},
        {"Friends: joe@example.org, ann@example.org;", "FRIENDS"},
        {"undisclosed-recipients:;", "UNDISCLOSED-RECIPIENTS"},
        {", ,joe@example.org", "JOE"},
        {"joe", "JOE"},
        {"<>", ""},
        {"\"never closed", "NEVER CLOSED"},
        {"(never (closed", ""},
        {"=?utf-8?q?J=C3=B6?= <j\xC3\xB6@x>", "JO\u0308"},
    };
    for (const auto& [in, out] : cases) {
        INFO(in);
        CHECK(key_of_mailbox(in) == out);
    }
}

TEST_CASE("SORT by everything", "[imap][sort][rfc5256-3]")
{
    using By = SortCriterion::By;
    std::vector<Header> mails;
    mails.emplace_back(
        1,
        std::map<std::string, std::string, std::less<>>{
            {"subject", "Re: beta"}, {"from", "Zoe <zoe@x>"}, {"to", "a@x"}, {"date", "1 Jan 2001 00:00:00 +0000"}},
        500, 30);
    mails.emplace_back(
        2,
        std::map<std::string, std::string, std::less<>>{
            {"subject", "Alpha"}, {"from", "ann@x"}, {"cc", "b@x"}, {"date", "31 Dec 2000 16:01:33 -0800"}},
        400, 20);
    mails.emplace_back(3,
                       std::map<std::string, std::string, std::less<>>{
                           {"subject", "BETA"}, {"from", "ANN@y"}, {"to", "c@x"}, {"date", "no date"}},
                       300, 10);
    mails.emplace_back(4,
                       std::map<std::string, std::string, std::less<>>{
                           {"subject", "beta carotene, and what comes of it"}, {"cc", "a@x"}},
                       200, 20);
    mails.emplace_back(5, std::map<std::string, std::string, std::less<>>{{"subject", "beta carotene, and more"}}, 100,
                       20);
    const auto sorted = [&](const std::vector<SortCriterion>& by, bool uid = false) {
        Sorter sorter(by);
        for (Header& mail : mails) REQUIRE(sorter.add(mail));
        return sorter.finish(uid);
    };
    using Numbers = std::vector<uint32_t>;
    CHECK(sorted({{By::subject}}) == Numbers{2, 1, 3, 5, 4});
    CHECK(sorted({{By::subject, true}}) == Numbers{4, 5, 1, 3, 2}); // ties stay by number
    CHECK(sorted({{By::subject}, {By::date, true}}) == Numbers{2, 1, 3, 5, 4});
    CHECK(sorted({{By::subject}, {By::date}}) == Numbers{2, 3, 1, 5, 4});
    CHECK(sorted({{By::from}}) == Numbers{4, 5, 2, 3, 1});
    CHECK(sorted({{By::from, true}}) == Numbers{1, 2, 3, 4, 5});
    CHECK(sorted({{By::to}}) == Numbers{2, 4, 5, 1, 3});
    CHECK(sorted({{By::cc}, {By::arrival}}) == Numbers{5, 3, 1, 4, 2});
    CHECK(sorted({{By::date}}) == Numbers{5, 4, 3, 1, 2});
    CHECK(sorted({{By::arrival}}) == Numbers{5, 4, 3, 2, 1});
    CHECK(sorted({{By::size}, {By::size, true}, {By::arrival}}) == Numbers{3, 5, 4, 2, 1});
    CHECK(sorted({{By::size, true}}, true) == Numbers{1001, 1002, 1004, 1005, 1003});
    CHECK(sorted({}) == Numbers{1, 2, 3, 4, 5});

    Sorter sorter({{By::size}, {By::subject}});
    mails[0].fails = "subject";
    CHECK_FALSE(sorter.add(mails[0]));
    CHECK(sorter.add(mails[1]));
    CHECK(sorter.finish(false) == Numbers{2});
}

TEST_CASE("message IDs are compared without their quoting", "[imap][thread][rfc5256-3]")
{
    const std::pair<std::string_view, std::vector<std::string>> cases[] = {
        {"", {}},
        {"<a@b>", {"a@b"}},
        {"<\"01KF8JCEOCBS0045PS\"@xxx.yyy.com>", {"01KF8JCEOCBS0045PS@xxx.yyy.com"}},
        {"<01KF8JCEOCBS0045PS@xxx.yyy.com>", {"01KF8JCEOCBS0045PS@xxx.yyy.com"}},
        {"<\"a\\\"b>\"@c>", {"a\"b>@c"}},
        {"<a@b> <c@d>\r\n\t<e@f>", {"a@b", "c@d", "e@f"}},
        {"<a@b><c@d>", {"a@b", "c@d"}},
        {"Your message of <Monday> <a@b>", {"a@b"}},
        {"<a@\r\n b>", {"a@b"}},
        {"<a <b@c>", {"b@c"}},
        {"<@b> <a@> <> <a> a@b <", {}},
        {"<\"never closed@x> <a@b>", {"a@b"}},
    };
    for (const auto& [in, expected] : cases) {
        INFO(in);
        std::vector<std::string> got;
        std::string_view rest = in, id;
        std::string scratch;
        while (next_message_id(rest, id, scratch)) got.emplace_back(id);
        CHECK(got == expected);
    }
    std::string bomb, scratch;
    for (int i = 0; i < 100'000; ++i) bomb += "<\"";
    std::string_view rest = bomb, id;
    CHECK_FALSE(next_message_id(rest, id, scratch));
    Interner interner;
    for (uint32_t i = 0; i < 10'000; ++i) REQUIRE(interner.number(cat("text ", i)) == i);
    CHECK(interner.number("text 77") == 77);
    CHECK(interner.find("text 9999") == 9999u);
    CHECK_FALSE(interner.find("text"));
    CHECK(interner.size() == 10'000);
}

TEST_CASE("THREAD REFERENCES", "[imap][thread][rfc5256-3]")
{
    struct Case {
        const char* what;
        std::vector<Line> lines;
        const char* threads;
    };
    const Case cases[] = {
        {"nothing", {}, ""},
        {"single ones", {{"a", "", "x"}, {"b", "", "y"}}, "(1)(2)"},
        {"a chain", {{"a", "", "x"}, {"b", "a", "Re: x"}, {"c", "a b", "Re: x"}}, "(1 2 3)"},
        {"the example of the RFC",
         {{"one", "", "p"},
          {"two", "", "a"},
          {"three", "", "b"},
          {"four", "six", "c", 1},
          {"six", "three", "d"},
          {"s23", "four", "e"},
          {"s44", "six", "f"},
          {"s7", "s44", "g"},
          {"s96", "s7", "h"}},
         "(1)(2)(3 5 (4 6)(7 8 9))"},
        {"brothers of a missing father", {{"a", "gone", "x"}, {"b", "gone", "y"}}, "((1)(2))"},
        {"a missing father with one child", {{"a", "gone", "x"}}, "(1)"},
        {"missing ancestors in a row", {{"a", "g1 g2 g3", "x"}, {"b", "g1 g2 g4", "y"}}, "((1)(2))"},
        {"a missing one in the middle", {{"a", "", "x"}, {"b", "a gone", "y"}, {"c", "a gone", "z"}}, "(1 (2)(3))"},
        {"answers before the question", {{"c", "a b", "x"}, {"b", "a", "x"}, {"a", "", "x"}}, "(3 2 1)"},
        {"references cut short", {{"a", "", "x"}, {"b", "a", "x"}, {"c", "b", "x"}, {"d", "a c", "x"}}, "(1 2 3 4)"},
        {"its own word counts", {{"x", "a b c", "s"}, {"c", "a", "t"}, {"a", "", "u"}}, "(3 2 1)"},
        {"its own word: none", {{"x", "a b", "s"}, {"b", "", "t"}, {"a", "", "u"}}, "(2 1)(3)"},
        {"loops", {{"a", "b", "x"}, {"b", "a", "y"}, {"c", "c", "z"}, {"d", "d e d", "w"}}, "(2 1)(3)(4)"},
        {"the same ID twice", {{"a", "", "x"}, {"a", "", "y"}, {"b", "a", "z"}}, "(1 3)(2)"},
        {"no ID", {{"", "a", "x"}, {"", "a", "x"}, {"a", "", "x"}}, "(3 (1)(2))"},
        {"alike by subject", {{"a", "", "x"}, {"b", "", "Re: x"}, {"c", "", "fwd: X"}}, "(1 (2)(3))"},
        {"the answer comes first", {{"b", "", "Re: x"}, {"a", "", "x"}}, "(2 1)"},
        {"two that begin", {{"a", "", "x"}, {"b", "", "x"}}, "((1)(2))"},
        {"three that begin", {{"a", "", "x"}, {"b", "", "x"}, {"c", "", "x"}}, "((1)(2)(3))"},
        {"answers only", {{"a", "", "re: x"}, {"b", "", "re: x"}}, "((1)(2))"},
        {"dummies merge", {{"a", "g1", "x"}, {"b", "g1", "y"}, {"c", "g2", "x"}, {"d", "g2", "z"}}, "((1)(2)(3)(4))"},
        {"one joins a dummy", {{"a", "g1", "x"}, {"b", "g1", "y"}, {"c", "", "x"}}, "((1)(2)(3))"},
        {"no subject is no likeness", {{"a", "", ""}, {"b", "", ""}, {"c", "", "re:"}}, "(1)(2)(3)"},
        {"by date, not by number",
         {{"a", "", "x", 30}, {"b", "", "y", 20}, {"c", "b", "z", 50}, {"d", "b", "w", 40}},
         "(2 (4)(3))(1)"},
        {"a dummy is as old as its first child",
         {{"a", "g", "x", 30}, {"b", "g", "y", 10}, {"c", "", "z", 20}},
         "((2)(1))(3)"},
        {"ties by number", {{"a", "", "x", 5}, {"b", "", "y", 5}, {"c", "", "z", 5}}, "(1)(2)(3)"},
    };
    for (const Case& c : cases) {
        INFO(c.what);
        CHECK(threads(c.lines) == c.threads);
    }
    Threader threader(Thread::Algorithm::references);
    Header first(1, {{"message-id", "<a@x>"}}),
        second(2, {{"message-id", "<b@x>"}, {"in-reply-to", "mail of joe@x, <a@x> <joe@x>"}});
    Header third(3, {{"message-id", "<c@x>"}, {"references", "rubbish"}, {"in-reply-to", "<\"b\"@x>"}});
    REQUIRE(threader.add(first));
    REQUIRE(threader.add(second));
    REQUIRE(threader.add(third));
    CHECK(threader.finish(true) == "(1001 1002 1003)");
}

TEST_CASE("THREAD ORDEREDSUBJECT", "[imap][thread][rfc5256-3]")
{
    const auto ordered = [](const std::vector<Line>& lines) {
        return threads(lines, Thread::Algorithm::ordered_subject);
    };
    CHECK(ordered({}).empty());
    CHECK(ordered({{"", "", "b"}, {"", "", "a"}, {"", "", "re: b"}}) == "(1 3)(2)");
    CHECK(ordered({{"", "", "b", 9}, {"", "", "a", 5}, {"", "", "re: B", 7}, {"", "", "b", 8}}) == "(2)(3 (4)(1))");
    CHECK(ordered({{"", "", ""}, {"", "", "x"}, {"", "", ""}}) == "(1 3)(2)");
}

TEST_CASE("threads made to be deep, wide and looped", "[imap][thread]")
{
    constexpr int count = 50'000;
    std::vector<Line> chain, reversed, comb, wide;
    for (int i = 0; i < count; ++i) {
        chain.push_back({cat("m", i), i ? cat("m", i - 1) : "", cat("s", i), 0});
        reversed.push_back({cat("m", count - i), cat("m", count - i - 1), cat("s", i), 0});
        wide.push_back({cat("m", i), i ? "m0" : "", "x", 0});
    }
    const std::string deep = threads(chain);
    CHECK(deep.starts_with("(1 2 3 4 "));
    CHECK(deep.ends_with(" 50000)"));
    CHECK(threads(reversed).starts_with("(50000 49999 "));
    CHECK(threads(wide).starts_with("(1 (2)(3)"));
    // Each of many pairs would like to hang below the end of a chain: without a bound every one of them walks it.
    comb = std::vector<Line>(chain.begin(), chain.begin() + 20'000);
    for (int i = 0; i < 20'000; ++i) comb.push_back({cat("p", i), cat("m19999 q", i, " r", i), cat("t", i), 0});
    const std::string bounded = threads(comb);
    CHECK(std::count(bounded.begin(), bounded.end(), '(') == std::count(bounded.begin(), bounded.end(), ')'));
    CHECK(split(bounded, " ()").size() == 40'000);
    std::string ids;
    for (int i = 0; i < 30'000; ++i) append(ids, " r", i);
    CHECK(threads({{"a", ids, "x"}, {"b", "r29998", "y"}, {"c", "r0", "z"}}) == "((1)(2))(3)");
}

TEST_CASE("what SORT and THREAD took out of a message once they know", "[imap][sort][thread]")
{
    using By = SortCriterion::By;
    using Numbers = std::vector<uint32_t>;
    const auto keys = std::make_shared<MessageKeys>();
    std::vector<Header> mails;
    for (uint32_t n = 1; n <= 6; ++n)
        mails.emplace_back(
            n, std::map<std::string, std::string, std::less<>>{{"subject", cat("a long subject ", 9 - n % 3)},
                                                               {"message-id", cat("<", n, "@x>")},
                                                               {"references", n > 3 ? "<1@x> <2@x>" : ""},
                                                               {"date", cat(n, " Jan 2001 00:00:00 +0000")}});
    const auto sorted = [&](By by, uint32_t from) {
        Sorter sorter({{by}}, keys);
        for (Header& mail : mails)
            if (mail.number >= from) REQUIRE(sorter.add(mail));
        return sorter.finish(false);
    };
    const auto threaded = [&](Thread::Algorithm algorithm, uint32_t from) {
        Threader threader(algorithm, keys);
        for (Header& mail : mails)
            if (mail.number >= from) REQUIRE(threader.add(mail));
        return threader.finish(false);
    };
    const auto asked = [&] {
        unsigned all = 0;
        for (Header& mail : mails) all += std::exchange(mail.asked, 0);
        return all;
    };
    CHECK(sorted(By::subject, 3) == Numbers{5, 4, 3, 6});
    CHECK(asked() == 4);
    CHECK(sorted(By::subject, 1) == Numbers{2, 5, 1, 4, 3, 6});
    CHECK(asked() == 2);
    CHECK(threaded(Thread::Algorithm::references, 1) == "(1 2 (4)(5)(6))(3)");
    CHECK(asked() > 0);
    CHECK(threaded(Thread::Algorithm::references, 1) == "(1 2 (4)(5)(6))(3)");
    CHECK(threaded(Thread::Algorithm::references, 4) == "((4)(5)(6))"); // other messages, other dummies
    CHECK(threaded(Thread::Algorithm::ordered_subject, 1) == "(1 4)(2 5)(3 6)");
    CHECK(sorted(By::date, 2) == Numbers{2, 3, 4, 5, 6});
    CHECK(sorted(By::subject, 2) == Numbers{2, 5, 4, 3, 6});
    Sorter backwards({{By::subject, true}}, keys);
    for (Header& mail : mails) REQUIRE(backwards.add(mail));
    CHECK(backwards.finish(false) == Numbers{3, 6, 1, 4, 2, 5}); // what was found before, the other way round
    CHECK(sorted(By::subject, 2) == Numbers{2, 5, 4, 3, 6});
    CHECK(asked() == 0);
    mails[0].fails = "from";
    Sorter failing({{By::subject}, {By::from}}, keys);
    CHECK_FALSE(failing.add(mails[0]));
    mails[0].fails = {};
    CHECK(failing.add(mails[0])); // nothing of it was taken for known
    CHECK(failing.finish(true) == Numbers{1001});
    CHECK(keys->memory() > 0);
}

// lib/mail: header blocks, cutting header from body, dates, reports.
#include "t/unit/catch.h"

#include <stdlib.h>
#include <time.h>

#include "lib/base/text.h"
#include "lib/mail/date.h"
#include "lib/mail/dsn.h"
#include "lib/mail/header.h"

using namespace veredus;
using namespace veredus::mail;

namespace {
struct Cut {
    std::string header, body;
    bool too_long = false;
    bool operator==(const Cut&) const = default;
};
Cut cut_content(std::string_view content, std::size_t piece, std::size_t limit = 1000)
{
    HeaderCutter cutter(limit);
    Cut out;
    for (; !content.empty(); content.remove_prefix(std::min(piece, content.size()))) out.body += cutter.feed(content.substr(0, piece));
    cutter.finish();
    out.header = cutter.take_header();
    out.body = cutter.take_body_start() + out.body;
    out.too_long = cutter.too_long();
    return out;
}
}  // namespace

TEST_CASE("the header ends at the blank line or at what is no field, however the content is cut", "[mail][rfc5322-2.1]")
{
    struct Case {
        const char *content, *header, *body;
    };
    static const Case cases[] = {
        {"A: 1\r\nB: 2\r\n\r\nbody\r\n", "A: 1\r\nB: 2\r\n", "body\r\n"},
        {"A: 1\r\n folded\r\n\r\n\r\nx", "A: 1\r\n folded\r\n", "\r\nx"},
        {"\r\nbody\r\n", "", "body\r\n"},
        {"", "", ""},
        {"A: 1\r\nno field here\r\nmore: x\r\n", "A: 1\r\n", "no field here\r\nmore: x\r\n"},
        {"just text\r\n", "", "just text\r\n"},
        {" leading blank\r\n", "", " leading blank\r\n"},
        {"A: 1\r\n", "A: 1\r\n", ""},
        {"A: 1", "A: 1\r\n", ""},
        {"A : old\r\n\r\n", "A : old\r\n", ""},
        {"From someone Mon\r\nA: 1\r\n\r\n", "X-Mailbox-Line: From someone Mon\r\nA: 1\r\n", ""},
        {">from x\r\n>>From y\r\nA: 1\r\n\r\nFrom z\r\n", "X-Mailbox-Line: >from x\r\nX-Mailbox-Line: >>From y\r\nA: 1\r\n", "From z\r\n"},
        {"A: 1\r\nFrom x\r\nB: 1\r\n", "A: 1\r\n", "From x\r\nB: 1\r\n"},
        {"From x\r\n folded\r\nA: 1\r\n", "X-Mailbox-Line: From x\r\n folded\r\nA: 1\r\n", ""},
        {"From: x\r\n\r\n", "From: x\r\n", ""},
        {">From\r\nA: 1\r\n", "", ">From\r\nA: 1\r\n"},
        {"From : a@b\r\nA: 1\r\n\r\n", "From : a@b\r\nA: 1\r\n", ""},
    };
    for (const Case& c : cases) {
        INFO(c.content);
        const Cut whole = cut_content(c.content, 1000);
        CHECK(whole.header == c.header);
        CHECK(whole.body == c.body);
        for (std::size_t piece = 1; piece < 8; ++piece) CHECK(cut_content(c.content, piece) == whole);
    }
}

TEST_CASE("a header beyond the limit is not kept, and its body is still found", "[mail]")
{
    const std::string content = "A: 1\r\nB: " + std::string(5000, 'x') + "\r\nC: 3\r\n\r\nbody\r\n";
    for (const std::size_t piece : {1u, 7u, 4096u, 100'000u}) {
        const Cut c = cut_content(content, piece, 100);
        CHECK(c.too_long);
        CHECK(c.header.size() <= 100);
        CHECK(c.body == "body\r\n");
    }
}

TEST_CASE("a header block keeps its fields as they came and finds them without regard to case", "[mail][rfc5322-2.2]")
{
    HeaderBlock block = HeaderBlock::parse("Subject: hello\r\n world\r\nTO: a@b\r\nto :c@d\r\nX-Empty:\r\n");
    REQUIRE(block.fields().size() == 4);
    CHECK(block.find("subject")->body() == "hello\r\n world");
    CHECK(block.find("subject")->unfolded() == "hello world");
    CHECK(block.find("x-empty")->body().empty());
    CHECK(block.count("To") == 2);
    CHECK(block.fields()[2].name() == "to");
    CHECK(block.fields()[2].body() == "c@d");
    block.prepend("Received", "by here;\r\n\tnow");
    block.replace("to", "e@f");
    CHECK(block.text() == "Received: by here;\r\n\tnow\r\nSubject: hello\r\n world\r\nto: e@f\r\nX-Empty:\r\n");
    CHECK(block.remove("SUBJECT") == 1);
    CHECK_FALSE(block.find("subject"));
    CHECK_FALSE(block.has_8bit());
}

TEST_CASE("no field of our making can begin another one", "[mail]")
{
    HeaderBlock block;
    block.append("X", "a\r\nBcc: evil\r\n");
    CHECK(block.text() == "X: a  Bcc: evil  \r\n");
    CHECK(quote_phrase("a\r\nb") == "\"a  b\"");
    CHECK(quote_phrase("Doe, \"J\"") == "\"Doe, \\\"J\\\"\"");
    CHECK(quote_phrase("Jane Doe") == "Jane Doe");
}

TEST_CASE("a tail that is no field becomes the rest", "[mail]")
{
    const HeaderBlock block = HeaderBlock::parse("A: 1\r\nnot a field\r\nB: 2\r\n");
    CHECK(block.fields().size() == 1);
    CHECK(block.rest() == "not a field\r\nB: 2\r\n");
    CHECK(HeaderBlock::parse("A: 1").text() == "A: 1\r\n");
    CHECK(HeaderBlock::parse("A: 1\n b\r{\nB: 2\r").text() == "A: 1\r\n b\r{\r\nB: 2\r\n");
}

TEST_CASE("dates are English, with the zone of this host", "[mail][rfc5322-3.3]")
{
    const char* old = getenv("TZ");
    const std::string saved = old ? old : "";
    setenv("TZ", "UTC", 1);
    tzset();
    const int64_t when = 1795528800LL * 1'000'000;  // 24 Nov 2026 14:00:00 UTC
    CHECK(date_rfc5322(when) == "Tue, 24 Nov 2026 14:00:00 +0000 (UTC)");
    CHECK(date_asctime(when) == "Tue Nov 24 14:00:00 2026");
    CHECK(date_asctime(when - 20LL * 86400 * 1'000'000) == "Wed Nov  4 14:00:00 2026");
    setenv("TZ", "XXX+3:30", 1);
    tzset();
    CHECK(date_rfc5322(when) == "Tue, 24 Nov 2026 10:30:00 -0330 (XXX)");
    old ? setenv("TZ", saved.c_str(), 1) : unsetenv("TZ");
    tzset();
    for (const char* text : {"Tue, 24 Nov 2026 14:00:00 +0000 (UTC)", "24 Nov 2026 14:00 GMT", "tue, 24 nov 26 09:00:00 EST",
                             "24 (comment (nested)) Nov 2026 15:30:00 +0130", "Tue,24 Nov 2026 14:00:00 Z"}) {
        INFO(text);
        CHECK(parse_date_rfc5322(text) == when);
    }
    CHECK(parse_date_rfc5322("1 Jan 99 00:00 +0000") == 915148800LL * 1'000'000);
    for (const char* bad : {"", "yesterday", "32 Jan 2026 00:00 +0000", "1 Foo 2026 00:00 +0000", "1 Jan 2026 25:00 +0000", "1 Jan 2026 00:00 +00x0",
                            "1 Jan 2026", "-1 Jan 2026 00:00 GMT"})
        CHECK_FALSE(parse_date_rfc5322(bad));
}

TEST_CASE("a report has three parts and every field that RFC 3464 asks for", "[mail][rfc3464-2.3]")
{
    Report r;
    r.reporting_mta = "mx.example.org";
    r.queue_id = "65A3F00C12B7AAAA";
    r.from = "MAILER-DAEMON@mx.example.org";
    r.to = r.original_sender = "a@b.org";
    r.message_id = "<x@mx.example.org>";
    r.boundary = "=_B";
    r.envid = "QQ314159";
    r.now_us = r.arrival_us = 1795528800LL * 1'000'000;
    r.recipients.push_back({"c@d.org", "rfc822;orig@d.org", ReportAction::failed, "5.1.1", "mx.d.org", "550 5.1.1 no such user\r\nBcc: x", true});
    r.recipients.push_back({"j\xc3\xbc@d.org", "", ReportAction::delayed, "nonsense", "", std::string(3000, 'y'), false});
    r.recipients.push_back({"e@d.org", "", ReportAction::failed, "5.7.1", "mx.d.org", "host mx.d.org[192.0.2.1] said: 554 no (really) (in reply to MAIL FROM command)", true});
    r.recipients.push_back({"f@d.org", "", ReportAction::failed, "5.3.2", "mx.d.org", "host mx.d.org[192.0.2.1] refused to talk to me: 554 go away", true});
    const ReportText t = make_report(r, true, false);
    CHECK(t.header.find("Subject: Undelivered Mail Returned to Sender\r\n") != std::string::npos);
    CHECK(t.header.find("Auto-Submitted: auto-replied\r\n") != std::string::npos);
    CHECK(t.header.find("report-type=delivery-status") != std::string::npos);
    for (const char* part : {"Reporting-MTA: dns; mx.example.org\r\n", "Original-Envelope-Id: QQ314159\r\n", "Final-Recipient: rfc822; c@d.org\r\n",
                             "Original-Recipient: rfc822;orig@d.org\r\n", "Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.d.org\r\n",
                             "Diagnostic-Code: smtp; 550 5.1.1 no such user??Bcc: x\r\n", "Final-Recipient: utf-8; j\\x{FC}@d.org\r\n",
                             "Action: delayed\r\nStatus: 5.0.0\r\n", "Diagnostic-Code: smtp; 554 no (really)\r\n",
                             "Diagnostic-Code: smtp; 554 go away\r\n", "<e@d.org> was not reached.\r\n    That server refuses the message by a rule of its own: its words say\r\n    which.\r\n", "    In detail: host mx.d.org[192.0.2.1] said: 554 no", "Content-Type: message/rfc822\r\n"}) {
        INFO(part);
        CHECK(t.body.find(part) != std::string::npos);
    }
    CHECK(t.tail == "\r\n--=_B--\r\n");
    CHECK(t.body.ends_with("\r\n\r\n"));
    CHECK(is_ascii(t.body));
    for (const auto line : split(t.body, "\r\n")) CHECK(line.size() <= 998);
    CHECK(make_report(r, false, false).body.find("text/rfc822-headers") != std::string::npos);
}

TEST_CASE("a report on a mail of SMTPUTF8 shows addresses as they are; any other is ASCII", "[mail][rfc6533-4]")
{
    Report r;
    r.reporting_mta = "mx.example.org";
    r.queue_id = "65A3F00C12B7AAAA";
    r.from = "MAILER-DAEMON@mx.example.org";
    r.to = r.original_sender = "s\xc3\xbc@b.org";
    r.message_id = "<x@mx.example.org>";
    r.boundary = "=_B";
    r.now_us = r.arrival_us = 1795528800LL * 1'000'000;
    r.recipients.push_back({"j\xc3\xbc@d.org", "utf-8;j\xc3\xbc@orig.org", ReportAction::failed, "5.1.1", "mx.d.org", "host mx.d.org[192.0.2.1] said: 550 kein j\xc3\xbc", true});
    r.global = true;
    const ReportText t = make_report(r, true, true);
    CHECK(t.eight_bit);
    for (const char* part : {"Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n", "Final-Recipient: utf-8; j\xc3\xbc@d.org\r\n",
                             "Original-Recipient: utf-8;j\xc3\xbc@orig.org\r\n", "Diagnostic-Code: smtp; 550 kein j\xc3\xbc\r\n",
                             "Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n", "charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"}) {
        INFO(part);
        CHECK(t.body.find(part) != std::string::npos);
    }
    CHECK(make_report(r, false, true).body.find("Content-Type: message/global-headers\r\n") != std::string::npos);
    CHECK(make_report(r, true, false).eight_bit);      // the addresses alone
    CHECK(make_report(r, true, false).body.find("Content-Type: message/rfc822\r\n\r\n") != std::string::npos);
    r.global = false;
    CHECK(is_ascii(make_report(r, true, false).body));
    CHECK_FALSE(make_report(r, true, false).eight_bit);
}

TEST_CASE("each kind of report says in its first line what happened and what to do", "[mail][rfc3464-2.3]")
{
    struct Row {
        ReportAction action;
        const char* status;
        const char* subject;
        const char* sentence;
    };
    const Row rows[] = {
        {ReportAction::failed, "5.1.1", "Undelivered Mail Returned to Sender", "<c@d.org> was not reached.\r\n    The address seems to be wrong"},
        {ReportAction::failed, "5.2.2", "Undelivered Mail Returned to Sender", "    The mailbox is full: tell its owner"},
        {ReportAction::failed, "4.4.1", "Undelivered Mail Returned to Sender", "    No attempt succeeded in the time allowed"},
        {ReportAction::delayed, "4.4.1", "Delayed Mail (still being retried)", "<c@d.org> was not reached yet.\r\n"},
        {ReportAction::delivered, "2.0.0", "Successful Mail Delivery Report", "<c@d.org> has it: it was delivered to the mailbox.\r\n"},
        {ReportAction::relayed, "2.0.0", "Successful Mail Delivery Report", "<c@d.org> is behind a server that took it and will not report what follows.\r\n"},
        {ReportAction::expanded, "2.0.0", "Successful Mail Delivery Report", "<c@d.org> stands for several recipients, and it was sent on to them.\r\n"},
    };
    for (const Row& row : rows) {
        Report r;
        r.reporting_mta = "mx.example.org";
        r.from = "MAILER-DAEMON@mx.example.org";
        r.to = "a@b.org";
        r.boundary = "=_B";
        r.now_us = 1795528800LL * 1'000'000;
        r.give_up_us = r.now_us + 86'400LL * 1'000'000;
        r.recipients.push_back({"c@d.org", "", row.action, row.status, "", "words", false});
        const ReportText t = make_report(r, false, false);
        INFO(t.body);
        CHECK(t.header.find(cat("Subject: ", row.subject, "\r\n")) != std::string::npos);
        CHECK(t.body.find(row.sentence) != std::string::npos);
        CHECK((t.body.find("Will-Retry-Until: ") != std::string::npos) == (row.action == ReportAction::delayed));
    }
}

TEST_CASE("an enhanced code is cut only when it is one", "[mail][rfc3463-2]")
{
    CHECK(cut_enhanced_code("5.1.1 User unknown").code == "5.1.1");
    CHECK(cut_enhanced_code("5.1.1 User unknown").text == "User unknown");
    CHECK(cut_enhanced_code("2.0.0").code == "2.0.0");
    for (const char* bad : {"3.1.1 x", "5.1 x", "5.1.1.1 x", "5.1.1234 x", "5..1 x", "User", "", "5.a.1"}) CHECK(cut_enhanced_code(bad).code.empty());
}

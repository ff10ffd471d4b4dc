// sendmail(1): what becomes of the bytes on standard input, of the header, and who gets the mail.
#include "t/unit/catch.h"

#include "lib/base/crc32c.h"
#include "lib/base/text.h"
#include "submission/sendmail/content.h"
#include "submission/sendmail/maildrop.h"
#include "submission/sendmail/prepare.h"
#include "submission/sendmail/session.h"

using namespace veredus;
using namespace veredus::sendmail;
using namespace std::string_view_literals;

namespace {

std::string content_of(std::string_view in, bool dot_ends, std::size_t step)
{
    ContentReader reader(dot_ends);
    std::string out;
    for (std::size_t i = 0; i < in.size() && !reader.ended(); i += step) reader.feed(in.substr(i, step), out);
    reader.finish(out);
    return out;
}

constexpr int64_t at_noon = 1'795'867'200'000'000;
const Caller joe{"joe", "Joe Doe"};

Result<Prepared> prepared(std::vector<std::string> words, std::string_view header, const Caller& caller = joe, std::string_view from_line = {})
{
    words.insert(words.begin(), "sendmail");
    const Invocation inv = TRY(parse_arguments(words));
    return prepare(inv, header, from_line, caller, at_noon);
}

std::string recipients_of(const Result<Prepared>& mail)
{
    REQUIRE(mail);
    std::string out;
    for (const auto& r : mail->envelope.recipients) append(out, out.empty() ? "" : " ", r.address.text());
    return out;
}

}  // namespace

TEST_CASE("content arrives with CRLF line ends whatever the caller wrote, in any cut", "[sendmail]")
{
    struct {
        std::string_view in, out;
        bool dot_ends;
    } cases[] = {
        {"a\nb\n", "a\r\nb\r\n", false},
        {"a\r\nb\r\n", "a\r\nb\r\n", false},
        {"a\r\nb\nc", "a\r\nb\r\nc\r\n", false},
        {"a\r\r\nb\n", "a\r\nb\r\n", false},
        {"a\rb\n", "a b\r\n", false},                      // a stray CR would be a line end to somebody
        {"\n\n", "\r\n\r\n", false},
        {"", "", false},
        {"a\n.\nb\n", "a\r\n", true},
        {"a\r\n.\r\nb\r\n", "a\r\n", true},
        {"a\n.\nb\n", "a\r\n.\r\nb\r\n", false},
        {"a\n..\n.b\n", "a\r\n..\r\n.b\r\n", true},        // only a lone dot means anything
        {"a\n.", "a\r\n", true},
        {"From joe Tue Nov 24 14:00:00 2026\nTo: x\n", "To: x\r\n", false},
        {">From joe\nTo: x\n", "To: x\r\n", false},
        {"To: x\n\nFrom here\n", "To: x\r\n\r\nFrom here\r\n", false},
        {"a\0b\n\xff\xfe\n"sv, "a\0b\r\n\xff\xfe\r\n"sv, false},
        {".\nx\n", "", true},
    };
    for (const auto& c : cases) {
        INFO(printable(c.in));
        for (const std::size_t step : {std::size_t{1}, std::size_t{2}, std::size_t{1000}}) CHECK(content_of(c.in, c.dot_ends, step) == c.out);
    }
}

TEST_CASE("the From_ line names rmail's sender", "[sendmail]")
{
    CHECK(from_line_sender("From a@b Tue Nov 24 14:00:00 2026") == "a@b");
    CHECK(from_line_sender("From joe Tue Nov 24 14:00:00 2026 remote from uunet") == "joe@uunet");
    CHECK(from_line_sender(">From joe") == "joe");
    CHECK(from_line_sender("").empty());
    CHECK(from_line_sender("From ").empty());
    auto mail = prepared({"r@x"}, "");
    CHECK(mail->envelope.sender.text() == "joe");
    Invocation inv;
    inv.from_line_sender = true;
    inv.operands = {"r@x"};
    CHECK(prepare(inv, "", "From a@b Tue", joe, at_noon)->envelope.sender.text() == "a@b");
    CHECK(prepare(inv, "", "", joe, at_noon)->envelope.sender.text() == "joe");
}

TEST_CASE("-t takes To, Cc and Bcc, adds the command line's, and each address once", "[sendmail][rfc5322-3.6.3]")
{
    const char* header = "To: a@x, Joe <b@x>\r\nCc: c@x,\r\n d@x\r\nBcc: hidden@x\r\nSubject: hi\r\n";
    CHECK(recipients_of(prepared({"-t"}, header)) == "a@x b@x c@x d@x hidden@x");
    CHECK(recipients_of(prepared({"-t", "e@x", "a@X"}, header)) == "e@x a@x b@x c@x d@x hidden@x");
    CHECK(recipients_of(prepared({"e@x"}, header)) == "e@x");
    CHECK(recipients_of(prepared({"-t"}, "To: team: a@x, b@x;, c\r\n")) == "a@x b@x c");
}

TEST_CASE("Resent fields take over when the mail was sent on", "[sendmail][rfc5322-3.6.6]")
{
    const char* header = "Resent-To: n@x\r\nResent-Bcc: h@x\r\nTo: old@x\r\nFrom: a@x\r\nDate: Tue, 24 Nov 2026 14:00:00 +0000\r\n";
    auto mail = prepared({"-t"}, header);
    CHECK(recipients_of(mail) == "n@x h@x");
    CHECK(mail->header.find("h@x") == std::string::npos);
    CHECK(mail->header.find("\r\nResent-From: Joe Doe <joe>\r\n") != std::string::npos);
    CHECK(mail->header.find("\r\nResent-Date: ") != std::string::npos);
    CHECK(mail->header.find("To: old@x\r\n") != std::string::npos);
}

TEST_CASE("Bcc never leaves, with -t or without", "[sendmail][rfc5322-3.6.3]")
{
    for (const char* option : {"-t", "-i"}) {
        auto mail = prepared({option, "r@x"}, "To: a@x\r\nBCC: secret@x,\r\n secret2@x\r\nReturn-Path: <x@y>\r\nContent-Length: 3\r\n");
        REQUIRE(mail);
        CHECK(mail->header.find("secret") == std::string::npos);
        CHECK(mail->header.find("Return-Path") == std::string::npos);
        CHECK(mail->header.find("Content-Length") == std::string::npos);
        CHECK(mail->header.starts_with("To: a@x\r\n"));
    }
}

TEST_CASE("From and Date are added when missing and left alone when there", "[sendmail][rfc6409-8]")
{
    auto bare = prepared({"r@x"}, "Subject: hi\r\n");
    CHECK(bare->header.find("From: Joe Doe <joe>\r\n") != std::string::npos);
    CHECK(bare->header.find("Date: ") != std::string::npos);
    auto full = prepared({"-Fother", "r@x"}, "from: me@x\r\nDATE: Tue, 24 Nov 2026 14:00:00 +0000\r\n");
    CHECK(full->header == "from: me@x\r\nDATE: Tue, 24 Nov 2026 14:00:00 +0000\r\n");
    // Who names a sender does not get the name of the one who runs the program.
    CHECK(prepared({"-fa@b", "r@x"}, "")->header.starts_with("From: a@b\r\n"));
    CHECK(prepared({"-f", "<>", "r@x"}, "")->header.starts_with("From: MAILER-DAEMON\r\n"));
    CHECK(prepared({"-FCron, Daemon", "r@x"}, "")->header.starts_with("From: \"Cron, Daemon\" <joe>\r\n"));
    CHECK(gecos_name("Joe & Sons,room 2,1234", "doe") == "Joe Doe Sons");
    CHECK(gecos_name("", "doe").empty());
}

TEST_CASE("what cannot be sent has the exit status that says why", "[sendmail]")
{
    CHECK(prepared({"-t"}, "Subject: to nobody\r\n").error().code == EX_DATAERR);
    CHECK(prepared({"-t"}, "To: undisclosed-recipients:;\r\n").error().code == EX_DATAERR);
    CHECK(prepared({}, "To: a@x\r\n").error().code == EX_USAGE);
    CHECK(prepared({"-t"}, "To: a@@x\r\n").error().code == EX_DATAERR);
    CHECK(prepared({"a@x"}, "", Caller{}).error().code == EX_OSERR);
    CHECK(prepared({"-fa@x", "a@x"}, "", Caller{}));
    CHECK(prepared({"-f", "a@x,b@x", "a@x"}, "").error().code == EX_USAGE);
}

TEST_CASE("a thousand recipients in one header, and in as many arguments", "[sendmail]")
{
    std::string header = "To: ";
    std::vector<std::string> words;
    for (int i = 0; i < 1000; ++i) {
        append(header, i ? ",\r\n " : "", "user", i, "@example.org");
        words.push_back(cat("user", i, "@example.org"));
    }
    CHECK(prepared({"-t"}, header + "\r\n")->envelope.recipients.size() == 1000);
    CHECK(prepared(words, "")->envelope.recipients.size() == 1000);
}

TEST_CASE("options of DSN travel in the envelope, non-ASCII addresses ask for SMTPUTF8", "[sendmail][rfc3461-4]")
{
    auto mail = prepared({"-N", "never", "-R", "hdrs", "-V", "id1", "-B8BITMIME", "r@x"}, "");
    CHECK(mail->envelope.recipients[0].notify == mail::notify_never);
    CHECK(mail->envelope.ret == mail::Ret::headers);
    CHECK(mail->envelope.envid == "id1");
    CHECK(mail->envelope.body == mail::Body::eight_bit);
    CHECK_FALSE(mail->envelope.smtputf8);
    CHECK(prepared({"gr\xc3\xbc\xc3\x9f@x"}, "")->envelope.smtputf8);
}

TEST_CASE("what sendmail writes, the maildrop's parser reads back, in any cut", "[sendmail][maildrop]")
{
    auto mail = prepared({"-N", "failure", "-V", "id1", "-R", "full", "-B8BITMIME", "-fs@x", "a@x", "\"b c\"@y"}, "Subject: x\r\n");
    Encoder encoder(mail->envelope);
    const std::string body = std::string(100'000, 'x') + "\r\n";
    encoder.content(mail->header + "\r\n");
    encoder.content(body);
    encoder.end();
    const std::string file = encoder.take();
    for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{70'000}, file.size()}) {
        queue::drop::Parser parser(0, crc32c);
        std::string records, content;
        using Step = queue::drop::Parser::Step;
        for (std::size_t i = 0; i < file.size(); i += step) {
            std::string_view in = std::string_view(file).substr(i, step);
            for (Step s = parser.next(in); s != Step::more; s = parser.next(in)) {
                REQUIRE(s != Step::bad);
                if (s == Step::record) append(records, static_cast<char>(parser.type()), parser.payload(), '|');
                if (s == Step::content) content += parser.payload();
            }
        }
        CHECK(parser.ended());
        CHECK(content == mail->header + "\r\n" + body);
        CHECK(records == "Ss@x|B8BITMIME|TFULL|Vid1|R\4\0\0a@x|R\4\0\0\"b c\"@y|"sv);
    }
}

namespace {

struct MemorySink final : Sink {
    std::string& out;
    int status;
    MemorySink(std::string& o, int s) : out(o), status(s) {}
    bool write(std::string_view bytes) override
    {
        out += bytes;
        return true;
    }
    int finish(std::string& id) override
    {
        id = "ID";
        return status;
    }
};

std::string talk(std::string_view in, std::string& dropped, int status = 0)
{
    StandardInputPolicy policy([&]() -> Result<std::unique_ptr<Sink>> {
        if (status == EX_UNAVAILABLE) return fail("no veredus-drop");
        return std::unique_ptr<Sink>(std::make_unique<MemorySink>(dropped, status));
    });
    smtp::Limits limits;
    limits.hostname = limits.banner = "host";
    smtp::Server server(policy, limits);
    std::string out;
    for (const char c : in) server.feed(std::string_view(&c, 1), out);
    return out;
}

}  // namespace

TEST_CASE("-bs answers 250 to a mail only when veredus-drop has it", "[sendmail][rfc5321-4.1.1.4]")
{
    const std::string_view dialogue = "EHLO me\r\nMAIL FROM:<joe>\r\nRCPT TO:<a@x>\r\nDATA\r\nBcc: z@x\r\nSubject: s\r\n\r\n..dot\r\n.\r\nQUIT\r\n";
    std::string dropped;
    CHECK(talk(dialogue, dropped).find("250 2.0.0 Ok: queued as ID\r\n221 ") != std::string::npos);
    CHECK(dropped.find("Subject: s\r\nFrom: joe\r\nDate: ") != std::string::npos);
    CHECK(dropped.find("\r\n\r\n.dot\r\n") != std::string::npos);
    CHECK(dropped.find("Bcc") == std::string::npos);
    CHECK(talk(dialogue, dropped, EX_TEMPFAIL).find("451 4.3.0 ") != std::string::npos);
    CHECK(talk(dialogue, dropped, EX_UNAVAILABLE).find("451 4.3.0 ") != std::string::npos);
    CHECK(talk(dialogue, dropped, EX_DATAERR).find("554 5.6.0 ") != std::string::npos);
    std::string two;
    CHECK(talk("EHLO me\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nx\r\n.\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\ny: z\r\n.\r\n", two).find("queued as ID\r\n250 2.1.0 Ok\r\n") != std::string::npos);
    CHECK(two.find("\r\n\r\nx\r\n") != std::string::npos);      // what is no header is body
    CHECK(two.find("y: z\r\nFrom: a@x\r\n") != std::string::npos);
}

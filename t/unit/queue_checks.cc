// lib/queue: header and body checks, what they change, and that nothing else changes.
#include "t/unit/catch.h"

#include <map>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/queue/checks.h"

using namespace veredus;
using namespace veredus::queue;

namespace {

using Rules = std::map<std::string, std::string>;   // what a text contains -> what is to be done

CheckRules::Lookup asking(Rules rules, std::vector<std::string>* asked = nullptr)
{
    return [rules = std::move(rules), asked](std::string_view text) -> Result<std::optional<std::string>> {
        if (asked) asked->push_back(std::string(text));
        for (const auto& [word, action] : rules)
            if (text.find(word) != std::string_view::npos) {
                if (action == "FAIL") return fail("pattern: match limit exceeded");
                return std::optional(action);
            }
        return std::optional<std::string>();
    };
}

struct Outcome {
    std::string header, body, log;
    Decision decision;
    mail::Envelope envelope;
};

Outcome run(const CheckRules& rules, std::string_view header, std::string_view body, std::size_t piece = 1 << 20)
{
    Outcome out;
    log::capture(&out.log);
    out.envelope.recipients.push_back({mail::Address{"bob", "example.org"}, 0, {}});
    ContentCheck check(std::make_shared<const CheckRules>(rules), {"ID", "h[192.0.2.1]", "a@b", "bob@example.org", "ESMTP", "helo.example"});
    check.begin_body(header);
    for (; !body.empty(); body.remove_prefix(std::min(piece, body.size()))) check.body(body.substr(0, piece), out.body);
    check.finish_body(out.body);
    auto block = mail::HeaderBlock::parse(header);
    out.decision = check.finish(block, out.envelope);
    log::flush();
    log::capture(nullptr);
    out.header = block.text();
    return out;
}

const std::string multipart_header = "Subject: top\r\nContent-Type: multipart/mixed; boundary=b\r\n";
const std::string multipart_body =
    "preamble\r\n--b\r\nContent-Type: text/plain\r\n\r\nfirst text\r\n--b\r\nContent-Type: application/x; name=\"a.exe\"\r\nX-Part: 1\r\n\r\nAAAA\r\n"
    "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: text/html\r\n\r\n<b>\r\n\r\n--b--\r\nepilogue\r\n";

}  // namespace

TEST_CASE("each field and line goes to the rules that are meant for it", "[queue][checks]")
{
    std::vector<std::string> header, mime, nested, body;
    CheckRules rules;
    rules.header = asking({}, &header);
    rules.mime = asking({}, &mime);
    rules.nested = asking({}, &nested);
    rules.body = asking({}, &body);
    const Outcome out = run(rules, multipart_header, multipart_body);
    CHECK(out.body == multipart_body);
    CHECK(out.header == multipart_header);
    CHECK(out.decision.kind == Decision::Kind::accept);
    CHECK(header == std::vector<std::string>{"Subject: top"});
    CHECK(mime == std::vector<std::string>{"Content-Type: text/plain", "Content-Type: application/x; name=\"a.exe\"", "X-Part: 1", "Content-Type: message/rfc822",
                                           "Content-Type: text/html", "Content-Type: multipart/mixed; boundary=b"});
    CHECK(nested == std::vector<std::string>{"Subject: inner"});
    CHECK(body == std::vector<std::string>{"preamble", "--b", "first text", "--b", "AAAA", "--b", "<b>", "", "--b--", "epilogue"});
}

TEST_CASE("a blank before the colon hides no field from the rules", "[queue][checks][rfc5322-4.5.8]")
{
    std::vector<std::string> header, mime, body;
    CheckRules rules;
    rules.header = asking({{"Subject: buy", "REJECT no"}}, &header);
    rules.mime = asking({}, &mime);
    rules.body = asking({}, &body);
    const Outcome out = run(rules, "Content-Type : text/plain;\r\n name=a\r\nSubject \t: buy\r\n", "Subject : x\r\n");
    CHECK(header == std::vector<std::string>{"Subject: buy"});
    CHECK(mime == std::vector<std::string>{"Content-Type: text/plain;\n name=a"});
    CHECK(body == std::vector<std::string>{"Subject : x"});
    CHECK(out.decision.kind == Decision::Kind::reject);
}

TEST_CASE("a body that no rule matches passes unchanged, however it is cut", "[queue][checks]")
{
    CheckRules rules;
    rules.mime = rules.nested = rules.body = asking({});
    const std::string texts[] = {multipart_body, "", "\r\n", "x\r\n", "--b\r\n", "--b\r\n\r\n--b\r\nA: 1\r\n", "--b\r\n folded\r\nno field\r\n--b--\r\n--b\r\n",
                                 cat(std::string(10'000, 'x'), "\r\n--b\r\nLong: ", std::string(9000, 'y'), "\r\n", std::string(5000, 'z'), "\r\n")};
    for (const std::string& text : texts)
        for (const std::size_t piece : {1u, 7u, 4096u, 100'000u}) CHECK(run(rules, multipart_header, text, piece).body == text);
}

TEST_CASE("what each action does", "[queue][checks]")
{
    CheckRules rules;
    struct Case {
        const char *action, *header, *body;
        Decision::Kind kind;
        const char* log;
    };
    using Kind = Decision::Kind;
    static const Case cases[] = {
        {"REJECT", "A: x\r\n", "x\r\n", Kind::reject, "ID: reject: header A: x from h[192.0.2.1]; from=<a@b> to=<bob@example.org> proto=ESMTP helo=<helo.example>: 5.7.1 message content rejected"},
        {"REJECT 5.7.9 No", "A: x\r\n", "x\r\n", Kind::reject, ": 5.7.9 No"},
        {"550 no", "A: x\r\n", "x\r\n", Kind::reject, ": 5.7.1 no"},
        {"DISCARD gone", "A: x\r\n", "x\r\n", Kind::discard, "ID: discard: header A: x from h[192.0.2.1]; from=<a@b> to=<bob@example.org> proto=ESMTP helo=<helo.example>: gone"},
        {"HOLD", "A: x\r\n", "x\r\n", Kind::hold, "ID: hold: header A: x from"},
        {"WARN look", "A: x\r\n", "x\r\n", Kind::accept, "ID: warning: header A: x from h[192.0.2.1]; from=<a@b> to=<bob@example.org> proto=ESMTP helo=<helo.example>: look"},
        {"INFO", "A: x\r\n", "x\r\n", Kind::accept, "ID: info: header A: x"},
        {"DUNNO", "A: x\r\n", "x\r\n", Kind::accept, ""},
        {"IGNORE", "", "", Kind::accept, ""},
        {"STRIP why", "", "", Kind::accept, "ID: strip: header A: x from"},
        {"REPLACE B: y", "B: y\r\n", "B: y\r\n", Kind::accept, "ID: replace: header A: x"},
        {"PREPEND B: y", "B: y\r\nA: x\r\n", "B: y\r\nx\r\n", Kind::accept, "ID: prepend: header A: x"},
        {"PREPEND no field", "A: x\r\n", "no field\r\nx\r\n", Kind::accept, "PREPEND wants \"Name: text\""},
        {"REPLACE B: y\nC: z", "B: y C: z\r\n", "B: y C: z\r\n", Kind::accept, ""},
        {"REPLACE B: y\n z", "B: y\r\n z\r\n", "B: y\r\n z\r\n", Kind::accept, ""},
        {"FILTER smtp:x", "A: x\r\n", "x\r\n", Kind::accept, "FILTER is not supported"},
        {"NONSENSE", "A: x\r\n", "x\r\n", Kind::accept, "unknown action: NONSENSE"},
        {"FAIL", "A: x\r\n", "x\r\n", Kind::reject, "match limit exceeded"},
    };
    for (const Case& c : cases) {
        INFO(c.action);
        rules.header = asking({{"x", c.action}});
        rules.body = nullptr;
        const Outcome header = run(rules, "A: x\r\n", "x\r\n");
        CHECK(header.header == c.header);
        CHECK(header.decision.kind == c.kind);
        CHECK(header.log.find(c.log) != std::string::npos);
        CHECK((*c.log || header.log.find("ID:") == std::string::npos || std::string(c.action).starts_with("REPLACE")));
        rules.header = nullptr;
        rules.body = asking({{"x", c.action}});
        const Outcome body = run(rules, "A: x\r\n", "x\r\n");
        CHECK(body.body == c.body);
        CHECK(body.decision.kind == c.kind);
        CHECK(body.header == "A: x\r\n");
    }
    rules.header = asking({{"x", "FAIL"}});
    CHECK(run(rules, "A: x\r\n", "").decision.code == 451);
    rules.header = asking({{"x", "REJECT 4.7.1 later"}});
    const Decision later = run(rules, "A: x\r\n", "").decision;
    CHECK(later.code == 451);
    CHECK(later.enhanced == "4.7.1");
    rules.header = asking({{"x", "REJECT"}});
    const Decision now = run(rules, "A: x\r\n", "").decision;
    CHECK(now.code == 550);
    CHECK(now.enhanced == "5.7.1");
}

TEST_CASE("an action that would do nothing is told before a mail meets it", "[queue][checks]")
{
    struct Row {
        const char* text;
        bool header, only_changes, variable;
        const char* said;
    };
    for (const Row& row : {
             Row{"REJECT spam", true, false, false, ""}, {"reject 5.7.1 spam", false, false, false, ""}, {"550 spam", true, false, false, ""},
             {"REJEKT spam", true, false, false, "unknown action \"REJEKT\"; known are REJECT"}, {"$1", true, false, true, ""},
             {"REJEKT $1", true, false, true, "unknown action \"REJEKT\""}, {"REDIRECT", true, false, false, "REDIRECT wants user@domain, not \"\""},
             {"REDIRECT alice", true, false, false, "REDIRECT wants user@domain"}, {"BCC alice@example.org", false, false, false, ""},
             {"REDIRECT $1", true, false, true, ""}, {"PREPEND", true, false, false, "PREPEND wants \"Name: text\""},
             {"PREPEND X-Seen: yes", true, false, false, ""}, {"REPLACE no field", true, false, false, "REPLACE wants"}, {"REPLACE any line", false, false, false, ""},
             {"FILTER smtp:x", true, false, false, "FILTER is not supported here"}, {"REJECT", true, true, false, "REJECT is not supported for mail on its way out"},
             {"IGNORE", true, true, false, ""}, {"DUNNO", true, false, false, ""},
         }) {
        INFO(row.text);
        const std::string said = queue::action_problem(row.text, row.header, row.only_changes, row.variable);
        INFO(said);
        if (*row.said) CHECK(said.find(row.said) == 0);
        else CHECK(said.empty());
    }
}

TEST_CASE("parts are changed in place, and the mail is redirected and copied", "[queue][checks]")
{
    CheckRules rules;
    rules.mime = asking({{"a.exe", "REPLACE Content-Type: text/plain; name=\"a.txt\""}, {"X-Part", "IGNORE"}});
    rules.nested = asking({{"inner", "PREPEND X-In: yes"}});
    rules.body = asking({{"first", "REPLACE second"}, {"AAAA", "IGNORE"}});
    for (const std::size_t piece : {1u, 1000u}) {
        const Outcome out = run(rules, multipart_header, multipart_body, piece);
        CHECK(out.body == "preamble\r\n--b\r\nContent-Type: text/plain\r\n\r\nsecond\r\n--b\r\nContent-Type: text/plain; name=\"a.txt\"\r\n\r\n"
                          "--b\r\nContent-Type: message/rfc822\r\n\r\nX-In: yes\r\nSubject: inner\r\nContent-Type: text/html\r\n\r\n<b>\r\n\r\n--b--\r\nepilogue\r\n");
    }
    rules = {};
    rules.header = asking({{"one", "BCC x@example.net"}, {"two", "REDIRECT y@example.net"}, {"three", "BCC x@example.net"}, {"four", "BCC nonsense"}});
    const Outcome out = run(rules, "A: one\r\nB: two\r\nC: three\r\nD: four\r\n", "");
    REQUIRE(out.envelope.recipients.size() == 2);
    CHECK(out.envelope.recipients[0].address.text() == "y@example.net");
    CHECK(out.envelope.recipients[1].address.text() == "x@example.net");
    CHECK(out.log.find("BCC wants user@domain") != std::string::npos);
}

TEST_CASE("checks are bounded", "[queue][checks]")
{
    std::vector<std::string> asked;
    CheckRules rules;
    rules.body = asking({}, &asked);
    rules.body_size = 10;
    std::string body;
    for (int i = 0; i < 100; ++i) body += "line\r\n";
    CHECK(run(rules, "A: 1\r\n", body).body == body);
    CHECK(asked.size() == 2);
    asked.clear();
    CHECK(run(rules, multipart_header, "--b\r\n\r\nlong enough line\r\nmore\r\n--b\r\n\r\nsecond\r\n--b--\r\n").body.size() > 40);
    CHECK(std::find(asked.begin(), asked.end(), "second") != asked.end());   // each part has its own
    CHECK(std::find(asked.begin(), asked.end(), "more") == asked.end());
    // All parts together have a bound too, which one part alone never meets.
    asked.clear();
    rules.body_size = 1000;
    std::string parts;
    for (int i = 0; i < 1000; ++i) parts += "--b\r\n\r\na\r\na\r\n";
    CHECK(run(rules, multipart_header, parts).body == parts);
    CHECK(asked.size() == 625);                         // 20 * 1000 / 32
    asked.clear();
    std::string lines;
    for (int i = 0; i < 1000; ++i) lines += "\r\n";
    CHECK(run(rules, multipart_header, cat("--b\r\n\r\n", lines)).body.size() == 2007);
    CHECK(asked.size() == 501);
    rules.body = asking({{"line", "WARN"}});
    rules.body_size = 1 << 20;
    const Outcome out = run(rules, "A: 1\r\n", cat(body, body, body));
    CHECK(std::count(out.log.begin(), out.log.end(), '\n') <= 101);
    rules.body = asking({{"xx", "IGNORE"}});
    CHECK(run(rules, "A: 1\r\n", cat(std::string(10'000, 'x'), "\r\ny\r\n")).body == "y\r\n");
    rules.body = asking({{"xx", "REPLACE z"}});
    CHECK(run(rules, "A: 1\r\n", cat(std::string(10'000, 'x'), "\r\ny\r\n")).body == "z\r\ny\r\n");
    rules.body = asking({{"xx", "PREPEND z"}});
    CHECK(run(rules, "A: 1\r\n", cat(std::string(10'000, 'x'), "\r\ny\r\n")).body == cat("z\r\n", std::string(10'000, 'x'), "\r\ny\r\n"));
    asked.clear();
    rules = {};
    rules.header = asking({}, &asked);
    CHECK(run(rules, cat("A: ", std::string(90'000, 'h'), "\r\n"), "").header.size() == 90'005);
    CHECK(asked.at(0).size() == 16'384);
}

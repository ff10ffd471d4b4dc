// lib/smtp: the server engine, as whole conversations.
#include "t/unit/catch.h"

#include <functional>
#include <map>
#include <set>

#include "lib/base/text.h"
#include "lib/smtp/server.h"

using namespace veredus;
using namespace veredus::smtp;

namespace {

// A policy that remembers what it was asked; `late` answers everything through answer().
class Policy final : public Delegate {
public:
    bool late = false;
    std::map<std::string, Reply> refuse;  // by "helo", "mail", "data", "end", or a recipient's address
    std::string content_seen, queued, refusals;
    unsigned resets = 0;
    bool room = true;
    std::optional<Reply> owed;
    Content last;

    Outcome helo(std::string_view, bool) override { return say("helo", {250, "", "x"}); }
    Outcome sender(const mail::Envelope&, uint64_t) override { return say("mail", {250, "2.1.0", "Ok"}); }
    Outcome recipient(mail::Recipient r, const mail::Envelope&) override { return say(r.address.text(), {250, "2.1.5", "Ok"}); }
    Outcome data(const mail::Envelope&) override { return say("data", {354, "", ""}); }
    bool content(std::string_view bytes) override
    {
        content_seen += bytes;
        return room;
    }
    Outcome end_of_data(const Content& facts, mail::Envelope&& e) override
    {
        last = facts;
        append(queued, e.sender.text(), " ->");
        for (const auto& r : e.recipients) append(queued, ' ', r.address.text(), r.orcpt.empty() ? "" : " orcpt ", r.orcpt, r.notify ? " notify " : "", r.notify ? cat(unsigned(r.notify)) : "");
        append(queued, e.envid.empty() ? "" : " envid ", e.envid, e.ret == mail::Ret::headers ? " hdrs" : "", e.smtputf8 ? " utf8" : "",
               e.body == mail::Body::eight_bit ? " 8bit" : e.body == mail::Body::binary ? " binary" : "", ": ", content_seen, "\n");
        content_seen.clear();
        return say("end", {250, "2.0.0", "Ok: queued"});
    }
    void refused(const Reply& r) override { append(refusals, r.code, ' '); }
    std::string bare_told, foot;
    void bare_newline(std::string_view where) override { append(bare_told, where, ';'); }
    std::string footer(const Reply&) override { return foot; }
    void reset() override
    {
        ++resets;
        content_seen.clear();
    }
    Outcome auth(std::string_view mechanism, std::string_view initial) override
    {
        if (mechanism != "PLAIN") return Reply{504, "5.5.4", "no"};
        return initial.empty() ? Reply{334, "", ""} : Reply{235, "2.7.0", "Authentication successful"};
    }
    unsigned cancelled = 0;
    void auth_cancelled() override { ++cancelled; }
    Outcome auth_response(std::string_view line) override { return line == "good" ? Reply{235, "2.7.0", "yes"} : Reply{535, "5.7.8", "no"}; }

private:
    Outcome say(const std::string& what, Reply reply)
    {
        if (refuse.count(what)) reply = refuse[what];
        if (!late) return reply;
        owed = reply;
        return Pending{};
    }
};

Limits limits()
{
    Limits l;
    l.hostname = "mx.example.org";
    l.banner = "mx.example.org ESMTP";
    l.strict_groups = false;
    return l;
}

struct Talk {
    Policy policy;
    Limits limit = limits();
    std::string out;
    Server::Wants wants = Server::Wants::input;

    std::string run(std::string_view in, std::size_t piece = 1 << 20)
    {
        Server server(policy, limit);
        server.greet(out);
        while (!in.empty() && wants != Server::Wants::close) {
            wants = server.feed(in.substr(0, piece), out);
            in.remove_prefix(std::min(piece, in.size()));
            settle(server);
        }
        tally = server.tally();
        return out;
    }
    void settle(Server& server)
    {
        while (wants == Server::Wants::answer) {
            REQUIRE(policy.owed);
            const Reply r = *std::exchange(policy.owed, std::nullopt);
            wants = server.answer(r, out);
        }
    }
    std::string tally;
};

std::string codes(const std::string& out)
{
    std::string list;
    for (const auto line : split(out, "\r\n"))
        if (line.size() < 4 || line[3] == ' ') append(list, list.empty() ? "" : " ", line.substr(0, 3));
    return list;
}

std::string talk(std::string_view in) { return codes(Talk().run(in)); }

}  // namespace

TEST_CASE("a mail is taken, cut anywhere, answered at once or late, always with the same words", "[smtp][rfc5321-3.3]")
{
    const std::string session = "EHLO client.example\r\nMAIL FROM:<a@x.org> SIZE=10 BODY=8BITMIME\r\nRCPT TO:<b@y.org>\r\nRCPT TO:<no@y.org>\r\n"
                                "RCPT TO:<c@y.org>\r\nDATA\r\nSubject: hi\r\n\r\n..dot\r\n.\r\nMAIL FROM:<>\r\nRSET\r\nNOOP x\r\nVRFY a\r\nBOGUS\r\nQUIT\r\n";
    Talk whole;
    whole.policy.refuse["no@y.org"] = {550, "5.1.1", "unknown"};
    whole.run(session);
    CHECK(codes(whole.out) == "220 250 250 250 550 250 354 250 250 250 250 502 500 221");
    CHECK(whole.policy.queued == "a@x.org -> b@y.org c@y.org 8bit: Subject: hi\r\n\r\n.dot\r\n\n");
    CHECK(whole.wants == Server::Wants::close);
    CHECK(whole.tally == "ehlo=1 mail=2 rcpt=2/3 data=1 rset=1 noop=1 vrfy=0/1 quit=1 unknown=0/1 commands=9/12");
    for (const bool late : {false, true})
        for (const std::size_t piece : {1u, 2u, 7u, 50u, 100'000u}) {
            Talk t;
            t.policy.late = late;
            t.policy.refuse["no@y.org"] = {550, "5.1.1", "unknown"};
            t.run(session, piece);
            CHECK(t.out == whole.out);
            CHECK(t.policy.queued == whole.policy.queued);
            CHECK(t.tally == whole.tally);
        }
}

TEST_CASE("EHLO announces what is on, one word per line", "[smtp][rfc5321-4.1.1.1]")
{
    Talk t;
    t.run("EHLO x\r\n");
    CHECK(t.out == "220 mx.example.org ESMTP\r\n250-mx.example.org\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n");
    Talk u;
    u.limit.starttls = u.limit.auth = u.limit.auth_in_clear = u.limit.dsn = u.limit.smtputf8 = true;
    u.limit.auth_mechanisms = "PLAIN LOGIN";
    u.run("EHLO x\r\n");
    for (const char* row : {"STARTTLS\r\n", "AUTH PLAIN LOGIN\r\n", "DSN\r\n", "SMTPUTF8\r\n"}) CHECK(u.out.find(row) != std::string::npos);
    Talk h;
    h.run("HELO x\r\n");
    CHECK(h.out.ends_with("250 mx.example.org\r\n"));
}

TEST_CASE("each extension that is announced does what its RFC asks of it first, and all replies have their enhanced codes",
          "[smtp][rfc1870-6.1][rfc2034-4][rfc2920-3.2][rfc3030-2][rfc3030-3][rfc3207-4][rfc3461-4][rfc4954-4][rfc6152-3][rfc6531-3.4]")
{
    const struct {
        std::string word, say, answers;
    } rows[] = {
        {"PIPELINING", "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n", "250 250 250 354"},
        {"SIZE", "MAIL FROM:<a@b> SIZE=10240001\r\nMAIL FROM:<a@b> SIZE=10240000\r\n", "552 250"},
        {"VRFY", "VRFY a\r\n", "252"},
        {"ENHANCEDSTATUSCODES", "NOOP\r\nRCPT TO:<a@b>\r\nMAIL FROM:<a@b\r\nNONSENSE\r\nRSET\r\nQUIT\r\n", "250 503 501 500 250 221"},
        {"8BITMIME", "MAIL FROM:<a@b> BODY=9BIT\r\nMAIL FROM:<a@b> BODY=7BIT\r\nRSET\r\nMAIL FROM:<a@b> BODY=8bitmime\r\n", "501 250 250 250"},
        {"DSN", "MAIL FROM:<a@b> RET=FULL ENVID=x\r\nRCPT TO:<c@d> NOTIFY=NEVER ORCPT=rfc822;c@d\r\n", "250 250"},
        {"SMTPUTF8", "MAIL FROM:<j\xc3\xbc@b>\r\nMAIL FROM:<j\xc3\xbc@b> SMTPUTF8\r\nRCPT TO:<\xc3\xbc@\xc3\xbc.example>\r\n", "553 250 250"},
        {"CHUNKING", "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 2\r\nhiBDAT 0 LAST\r\n", "250 250 250 250"},
        {"BINARYMIME", "MAIL FROM:<a@b> BODY=BINARYMIME\r\nRCPT TO:<c@d>\r\nDATA\r\nBDAT 3 LAST\r\n???", "250 250 503 250"},
        {"AUTH", "AUTH NTLM\r\nAUTH PLAIN AGEAYg==\r\n", "504 235"},
        {"STARTTLS", "STARTTLS now\r\nSTARTTLS\r\n", "501 220"},
    };
    std::set<std::string> known, announced;
    for (const auto& row : rows) {
        INFO(row.word);
        known.insert(row.word);
        Talk t;
        Limits& l = t.limit;
        l.starttls = l.auth = l.auth_in_clear = l.dsn = l.smtputf8 = l.chunking = l.binary = true;
        l.disable_vrfy = false;
        l.auth_mechanisms = "PLAIN";
        std::string say = row.say;
        if (row.word == "BINARYMIME") say.replace(say.size() - 3, 3, std::string("\r\0\n", 3));
        t.run(cat("EHLO x\r\n", say));
        CHECK(codes(t.out) == cat("220 250 ", row.answers));
        unsigned finals = 0;
        for (const auto line : split(t.out, "\r\n")) {
            if (line.starts_with("250-") && finals == 1) announced.insert(std::string(cut(line.substr(4), ' ').first));
            if (line.size() > 3 && line[3] != ' ') continue;
            if (++finals == 2) announced.insert(std::string(cut(line.substr(4), ' ').first));
            // RFC 2034 §4: in all but the greeting, the answers to EHLO and HELO, and what is neither success nor failure.
            if (finals > 2 && line[0] != '3') CHECK((line.size() > 8 && line[4] == line[0] && line[5] == '.'));
        }
    }
    announced.erase("mx.example.org");
    CHECK(announced == known);       // who announces another one writes its row
}

TEST_CASE("commands come in the order that the RFC gives them", "[smtp][rfc5321-4.1.4]")
{
    CHECK(talk("RCPT TO:<a@b>\r\n") == "220 503");
    CHECK(talk("DATA\r\n") == "220 503");
    CHECK(talk("MAIL FROM:<a@b>\r\n") == "220 250");
    CHECK(talk("HELO x\r\nMAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\n") == "220 250 250 503");
    CHECK(talk("HELO x\r\nMAIL FROM:<a@b>\r\nDATA\r\n") == "220 250 250 503");
    CHECK(talk("HELO x\r\nMAIL FROM:<a@b>\r\nEHLO y\r\nRCPT TO:<a@b>\r\n") == "220 250 250 250 503");
    CHECK(talk("EHLO\r\nEHLO a b\r\n") == "220 501 250");
    CHECK(talk("DATA x\r\nQUIT now\r\nRSET x\r\n") == "220 503 501 501");
    CHECK(talk("ehlo x\r\nmail from:<a@b>\r\nRcPt tO:<a@b>\r\n") == "220 250 250 250");
    CHECK(talk("AUTH PLAIN x\r\nSTARTTLS\r\n") == "220 503 502");
    CHECK(talk("HELP\r\nNOOP\n") == "220 214 250");
    Talk t;
    t.limit.helo_required = true;
    CHECK(codes(t.run("MAIL FROM:<a@b>\r\nHELO x\r\nMAIL FROM:<a@b>\r\n")) == "220 503 250 250");
}

TEST_CASE("DATA after every recipient was refused has no valid recipients", "[smtp][rfc5321-3.3]")
{
    Talk t;
    t.policy.refuse["a@b.org"] = {550, "5.1.1", "no"};
    CHECK(codes(t.run("HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.org>\r\nDATA\r\n")) == "220 250 250 550 554");
    CHECK(t.out.find("no valid recipients") != std::string::npos);
}

TEST_CASE("parameters are known or refused", "[smtp][rfc5321-4.1.1.11]")
{
    CHECK(talk("EHLO x\r\nMAIL FROM:<a@b> FOO=1\r\n") == "220 250 555");
    CHECK(talk("EHLO x\r\nMAIL FROM:<a@b> SIZE=x\r\n") == "220 250 501");
    CHECK(talk("EHLO x\r\nMAIL FROM:<a@b> SIZE=99999999\r\n") == "220 250 552");
    CHECK(talk("EHLO x\r\nMAIL FROM:<a@b> BODY=BINARYMIME\r\n") == "220 250 501");
    CHECK(talk("EHLO x\r\nMAIL FROM:<a@b> RET=FULL\r\n") == "220 250 555");
    CHECK(talk("EHLO x\r\nMAIL FROM:<a@b> SMTPUTF8\r\n") == "220 250 555");
    CHECK(talk("EHLO x\r\nMAIL FROM:<j\xc3\xbc@b>\r\n") == "220 250 553");
    CHECK(talk("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b> NOTIFY=NEVER\r\n") == "220 250 250 555");
    CHECK(talk("EHLO x\r\nMAIL FROM:a@b b=\r\nMAIL TO:<a@b>\r\n") == "220 250 501 501");
}

TEST_CASE("DSN and SMTPUTF8 parameters reach the envelope when they are on", "[smtp][rfc3461-4]")
{
    Talk t;
    t.limit.dsn = t.limit.smtputf8 = true;
    t.run("EHLO x\r\nMAIL FROM:<j\xc3\xbc@b> SMTPUTF8 RET=HDRS ENVID=a+2Bb\r\nRCPT TO:<c@d> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2B@d\r\nDATA\r\n.\r\n");
    CHECK(t.policy.queued == "j\xc3\xbc@b -> c@d orcpt rfc822;o+@d notify 10 envid a+b hdrs utf8: \n");
    const auto repeated = [](std::string_view piece, int times) {
        std::string out;
        while (times-- > 0) out += piece;
        return out;
    };
    for (const std::string& good : {"rfc822;" + repeated("a", 491) + "@d", "utf-8;" + repeated("\xc3\xbc", 492) + "@d"}) {
        Talk u;
        u.limit.dsn = u.limit.smtputf8 = true;
        CHECK(codes(u.run(cat("EHLO x\r\nMAIL FROM:<a@b> SMTPUTF8\r\nRCPT TO:<c@d> ORCPT=", good, "\r\n"))) == "220 250 250 250");
    }
    for (const std::string& bad : {std::string("NOTIFY=NEVER,DELAY"), std::string("NOTIFY"), std::string("ORCPT=rfc822"), std::string("ORCPT=rfc822;"), std::string("ORCPT=;x"), std::string("ORCPT=rfc822;a+0D+0A"),
                                   "ORCPT=rfc822;" + repeated("a", 494), "ORCPT=utf-8;" + repeated("\xc3\xbc", 495), "ORCPT=utf-8;" + repeated("a", 900)}) {
        INFO(bad);
        Talk u;
        u.limit.dsn = u.limit.smtputf8 = true;
        CHECK(codes(u.run(cat("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d> ", bad, "\r\n"))) == "220 250 250 501");
    }
}

TEST_CASE("too many recipients get 452, the others stay", "[smtp][rfc5321-4.5.3.1.10]")
{
    Talk t;
    t.limit.recipients = 2;
    CHECK(codes(t.run("HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@b>\r\nRCPT TO:<d@b>\r\nDATA\r\n.\r\n")) == "220 250 250 250 250 452 354 250");
    CHECK(t.policy.queued == " -> a@b c@b: \n");
    // Those beyond are no errors, up to a limit of their own, for each mail anew.
    for (const std::size_t beyond : {50U, 10U}) {
        Talk u;
        u.limit.recipients = 2;
        u.limit.recipients_beyond = 30;
        u.limit.hard_errors = 5;
        std::string says = "HELO x\r\n";
        for (int mail = 0; mail < 2; ++mail) {
            says += "MAIL FROM:<>\r\n";
            for (std::size_t i = 0; i < 2 + beyond; ++i) says += "RCPT TO:<a@b>\r\n";
            says += "DATA\r\n.\r\n";
        }
        const std::string heard = u.run(says);
        CHECK((heard.find("421 4.7.0") == std::string::npos) == (beyond <= 30));
        CHECK(u.policy.queued == (beyond <= 30 ? " -> a@b a@b: \n -> a@b a@b: \n" : ""));
    }
    // Nor are those that there is no room for now (RFC 3463 §3.4, X.3.1); what is wrong with an address is one.
    for (const auto& [refusal, mails] : {std::pair{Reply{452, "4.3.1", "no room"}, 1}, std::pair{Reply{450, "4.1.1", "not now"}, 0}}) {
        Talk u;
        u.limit.recipients_beyond = 30;
        u.limit.hard_errors = 5;
        u.policy.refuse["no@b"] = refusal;
        std::string says = "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\n";
        for (int i = 0; i < 30; ++i) says += "RCPT TO:<no@b>\r\n";
        u.run(cat(says, "DATA\r\n.\r\n"));
        CHECK(u.policy.queued == (mails ? " -> a@b: \n" : ""));
    }
}

TEST_CASE("content beyond the limit is read to its end and refused", "[smtp][rfc1870-6.2]")
{
    Talk t;
    t.limit.message_size = 100;
    const std::string in = "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n" + std::string(200, 'x') + "\r\n.\r\nNOOP\r\n";
    CHECK(codes(t.run(in, 10)) == "220 250 250 250 354 552 250");
    CHECK(t.policy.queued.empty());
    CHECK(t.policy.refusals == "552 ");
    CHECK(t.tally == "helo=1 mail=1 rcpt=1 data=0/1 noop=1 commands=4/5");
}

TEST_CASE("a delegate without room hears no more, but still decides at the end", "[smtp]")
{
    Talk t;
    t.policy.room = false;
    t.policy.refuse["end"] = {452, "4.3.1", "no space"};
    CHECK(codes(t.run("HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n1\r\n2\r\n3\r\n.\r\n", 1)) == "220 250 250 250 354 452");
    CHECK(t.policy.queued == " -> a@b: 1\n");  // one piece, no more
}

TEST_CASE("mail with bare line ends is mended, or refused when the owner says so", "[smtp][rfc5321-2.3.8]")
{
    const std::string in = "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\na\n.\nMAIL FROM:<evil@x>\r\n.\r\n";
    Talk t;
    CHECK(codes(t.run(in)) == "220 250 250 250 354 250");
    CHECK(t.policy.queued == " -> a@b: a\r\n.\r\nMAIL FROM:<evil@x>\r\n\n");
    CHECK(t.policy.last.bare_lf);
    Talk u;
    u.limit.bare_lf = BareLf::reject;
    CHECK(codes(u.run(in)) == "220 250 250 250 354 550");
    CHECK(u.out.find("550 5.5.2 mx.example.org Error: bare <LF> received\r\n") != std::string::npos);
    CHECK(u.policy.queued.empty());
    CHECK(u.policy.bare_told == "DATA content;");
    Talk noted;
    noted.limit.bare_lf = BareLf::note;
    CHECK(codes(noted.run(in)) == "220 250 250 250 354 250");
    CHECK(noted.policy.bare_told == "DATA content;");
    CHECK(noted.policy.queued == t.policy.queued);
    // A CR alone is no line end to anybody: mended, never refused.
    Talk cr;
    cr.limit.bare_lf = BareLf::reject;
    CHECK(codes(cr.run("HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\na\rb\r\n.\r\n", 1)) == "220 250 250 250 354 250");
    CHECK(cr.policy.queued == " -> a@b: a b\r\n\n");
}

TEST_CASE("a command that ends in a bare LF is one, is noted, or ends the conversation", "[smtp][rfc5321-2.3.8]")
{
    CHECK(talk("HELO x\nNOOP\n") == "220 250 250");
    Talk noted;
    noted.limit.bare_lf = BareLf::note;
    CHECK(codes(noted.run("HELO x\r\nNOOP\nNOOP\n")) == "220 250 250 250");
    CHECK(noted.policy.bare_told == "HELO;");      // once
    Talk refused;
    refused.limit.bare_lf = BareLf::reject;
    refused.limit.bare_lf_code = 450;
    CHECK(codes(refused.run("HELO x\r\nNOOP\nNOOP\r\n")) == "220 250 450");
    CHECK(refused.out.ends_with("450 4.5.2 mx.example.org Error: bare <LF> received\r\n"));
    CHECK(refused.wants == Server::Wants::close);
}

TEST_CASE("a footer follows refusals and nothing else", "[smtp]")
{
    Talk t;
    t.policy.foot = "\nAsk\x07 us";
    t.run("HELO x\r\nFOO\r\n");
    CHECK(t.out == "220 mx.example.org ESMTP\r\n250 mx.example.org\r\n500-5.5.2 Error: command not recognized\r\n500 5.5.2 Ask? us\r\n");
    Talk u;
    u.policy.foot = ". Ask us";
    u.run("FOO\r\n");
    CHECK(u.out.ends_with("500 5.5.2 Error: command not recognized. Ask us\r\n"));
}

TEST_CASE("REQUIRETLS is announced and taken under TLS only, without a value", "[smtp][rfc8689-2]")
{
    Policy policy;
    Limits l = limits();
    l.requiretls = l.starttls = true;
    Server server(policy, l);
    std::string out;
    server.feed("EHLO x\r\nMAIL FROM:<a@b> REQUIRETLS\r\n", out);
    CHECK(out.find("250 REQUIRETLS\r\n") == std::string::npos);
    CHECK(codes(out) == "250 555");
    CHECK(server.feed("STARTTLS\r\n", out) == Server::Wants::starttls);
    server.tls_started();
    out.clear();
    server.feed("EHLO x\r\nMAIL FROM:<a@b> REQUIRETLS=1\r\n", out);
    CHECK(out.find("250 REQUIRETLS\r\n") != std::string::npos);
    CHECK(codes(out) == "250 501");
    server.feed("MAIL FROM:<a@b> REQUIRETLS\r\n", out);
    CHECK(codes(out) == "250 501 250");
    CHECK(server.envelope().tls == mail::TlsNeed::required);
    server.feed("RSET\r\nMAIL FROM:<a@b>\r\n", out);
    CHECK(server.envelope().tls == mail::TlsNeed::unset);
}

TEST_CASE("a command that must end its group and does not ends the conversation", "[smtp][rfc2920-3.1]")
{
    for (const char* in : {"EHLO x\r\nMAIL FROM:<a@b>\r\n", "MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nSubject: x\r\n"}) {
        Talk t;
        t.limit.strict_groups = true;
        t.run(in);
        CHECK(t.out.find("554 5.5.0 Error: SMTP protocol synchronization\r\n") != std::string::npos);
        CHECK(t.wants == Server::Wants::close);
        CHECK(t.policy.queued.empty());
    }
    Talk t;
    t.limit.strict_groups = true;
    CHECK(codes(t.run("MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nRSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n")) == "220 250 250 250 250 250 354");
}

TEST_CASE("after STARTTLS nothing said in clear counts", "[smtp][rfc3207-4.2]")
{
    Policy policy;
    Limits l = limits();
    l.starttls = true;
    Server server(policy, l);
    std::string out;
    server.feed("EHLO x\r\nMAIL FROM:<a@b>\r\n", out);
    CHECK(server.feed("STARTTLS\r\nRCPT TO:<evil@b>\r\n", out) == Server::Wants::starttls);
    CHECK(out.ends_with("220 2.0.0 Ready to start TLS\r\n"));
    out.clear();
    CHECK(server.tls_started() == Server::Wants::input);
    CHECK(out.empty());
    server.feed("RCPT TO:<b@b>\r\n", out);
    CHECK(codes(out) == "503");
    out.clear();
    server.feed("EHLO x\r\n", out);
    CHECK(out.find("STARTTLS") == std::string::npos);
    CHECK(server.protocol() == "ESMTPS");
    server.feed("STARTTLS\r\n", out);
    CHECK(codes(out) == "250 554");
}

TEST_CASE("a login made in clear is not carried into TLS", "[smtp][rfc3207-4.2]")
{
    Policy policy;
    Limits l = limits();
    l.starttls = l.auth = l.auth_in_clear = true;
    Server server(policy, l);
    std::string out;
    server.feed("EHLO x\r\n", out);
    server.authenticated("mallory");
    out.clear();
    CHECK(server.feed("STARTTLS\r\n", out) == Server::Wants::input);
    CHECK(codes(out) == "503");
}

TEST_CASE("where TLS is demanded little else is heard in clear", "[smtp][rfc3207-4]")
{
    Talk t;
    t.limit.starttls = t.limit.require_tls = true;
    CHECK(codes(t.run("EHLO x\r\nMAIL FROM:<a@b>\r\nAUTH PLAIN x\r\nNOOP\r\nSTARTTLS\r\n")) == "220 250 530 530 250 220");
    CHECK(t.wants == Server::Wants::starttls);
}

TEST_CASE("AUTH goes through its exchange, or is cancelled", "[smtp][rfc4954-4]")
{
    const auto run = [](std::string_view in) {
        Talk t;
        t.limit.auth = t.limit.auth_in_clear = true;
        return codes(t.run(in));
    };
    CHECK(run("EHLO x\r\nAUTH PLAIN\r\ngood\r\n") == "220 250 334 235");
    CHECK(run("EHLO x\r\nAUTH PLAIN\r\nbad\r\nNOOP\r\n") == "220 250 334 535 250");
    CHECK(run("EHLO x\r\nAUTH PLAIN\r\n*\r\nNOOP\r\n") == "220 250 334 501 250");
    CHECK(run("EHLO x\r\nAUTH PLAIN " + std::string(1000, 'x') + "\r\nAUTH FOO\r\nAUTH\r\n") == "220 250 235 504 501");
    CHECK(run("HELO x\r\nAUTH PLAIN x\r\n") == "220 250 503");
    CHECK(run("EHLO x\r\nAUTH PLAIN\r\n" + std::string(11'000, 'x') + "\r\n") == "220 250 334 535");
}

TEST_CASE("an exchange that ends without its mechanism is cancelled, once", "[smtp][rfc4954-4][hostile]")
{
    const std::string begin = "EHLO x\r\nAUTH PLAIN\r\n", longer = std::string(12'300, 'x');
    const struct {
        std::string in, codes;
        unsigned cancelled;
    } cases[] = {
        {begin + "*\r\nNOOP\r\n", "220 250 334 501 250", 1},
        {begin + longer + "\r\nNOOP\r\n", "220 250 334 500 250", 1},
        {begin + longer + "\r\nAUTH PLAIN\r\n" + longer + "\r\nNOOP\r\n", "220 250 334 500 334 500 250", 2},
        {begin + "good\r\nNOOP\r\n", "220 250 334 235 250", 0},
        {"EHLO x\r\n" + longer + "\r\nNOOP\r\n", "220 250 500 250", 0},
        {begin + "RSET\r\nNOOP\r\n", "220 250 334 535 250", 0},     // it is a response: its answer ends the exchange
    };
    for (const auto& c : cases)
        for (const std::size_t piece : {1u, 1000u, 100'000u}) {
            INFO(c.codes << " by " << piece);
            Talk t;
            t.limit.auth = t.limit.auth_in_clear = true;
            CHECK(codes(t.run(c.in, piece)) == c.codes);
            CHECK(t.policy.cancelled == c.cancelled);
            CHECK((t.out.find("500 5.5.6 ") != std::string::npos) == (c.cancelled > 0 && c.codes.find("500") != std::string::npos));
        }
}

TEST_CASE("BDAT takes chunks by their size, whatever is in them", "[smtp][rfc3030-2]")
{
    const std::string begin = "EHLO x\r\nMAIL FROM:<s@x>\r\nRCPT TO:<a@b>\r\n";
    const auto run = [](const std::string& in, std::size_t piece, bool late) {
        Talk t;
        t.limit.chunking = true;
        t.limit.message_size = 100;
        t.policy.late = late;
        t.policy.refuse["no@b"] = {550, "5.1.1", "no"};
        t.run(in, piece);
        return codes(t.out) + " " + t.policy.queued;
    };
    struct Case {
        std::string in, want;
    };
    const Case cases[] = {
        {begin + "BDAT 8 LAST\r\nA: 1\r\n\r\nNOOP\r\n", "220 250 250 250 250 250 s@x -> a@b: A: 1\r\n\r\n\n"},
        {begin + "BDAT 5\r\n.\r\n.\rBDAT 4\r\n\nQUI\r\nBDAT 0 LAST\r\nNOOP\r\n", "220 250 250 250 250 250 500 250 250 s@x -> a@b: .\r\n.\r\nQUI\r\n\n"},
        {begin + "BDAT 3\r\nabcBDAT 2 last\r\nd\rQUIT\r\n", "220 250 250 250 250 250 221 s@x -> a@b: abcd \r\n\n"},
        {begin + "BDAT 3\r\nabcDATA\r\nRCPT TO:<c@d>\r\nMAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\n", "220 250 250 250 250 503 503 503 250 250 "},
        {"BDAT 6\r\nQUIT\r\nNOOP\r\n", "220 503 250 "},
        {"MAIL FROM:<>\r\nRCPT TO:<no@b>\r\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nRSET\r\n", "220 250 550 554 503 250 "},
        {begin + "BDAT 200\r\n" + std::string(200, 'x') + "BDAT 2 LAST\r\nyyRSET\r\n", "220 250 250 250 552 503 250 "},
        {begin + "BDAT x\r\nNOOP\r\n", "220 250 250 250 501 "},
    };
    for (const Case& c : cases)
        for (const bool late : {false, true})
            for (const std::size_t piece : {1u, 3u, 1000u}) {
                INFO(c.in);
                CHECK(run(c.in, piece, late) == c.want);
            }
    Talk off;
    CHECK(codes(off.run(begin + "BDAT 4 LAST\r\nQUIT\r\nNOOP\r\n")) == "220 250 250 250 502");
    CHECK(off.wants == Server::Wants::close);
}

TEST_CASE("BINARYMIME: every byte stays what it is, by BDAT only", "[smtp][rfc3030-3]")
{
    using namespace std::string_literals;
    const std::string begin = "EHLO x\r\nMAIL FROM:<s@x> BODY=binarymime\r\nRCPT TO:<a@b>\r\n";
    const std::string content = "A: 1\r\n\r\n\0\n\r.\r\n\r\n.\r\nQUIT\r\n\n.\n\xff\r"s;
    const auto run = [](const std::string& in, std::size_t piece, BareLf rule = BareLf::normalize, bool binary = true, bool chunking = true, bool eight_bit = true) {
        Talk t;
        t.limit.chunking = chunking;
        t.limit.binary = binary;
        t.limit.eight_bit = eight_bit;
        t.limit.bare_lf = rule;
        t.run(in, piece);
        return std::pair(codes(t.out), t.policy.queued);
    };
    for (const std::size_t piece : {1u, 5u, 1000u})
        for (const BareLf rule : {BareLf::normalize, BareLf::note, BareLf::reject}) {
            const auto one = run(cat(begin, "BDAT ", content.size(), " LAST\r\n", content, "NOOP\r\n"), piece, rule);
            CHECK(one == std::pair("220 250 250 250 250 250"s, cat("s@x -> a@b binary: ", content, "\n")));
            const auto two = run(cat(begin, "BDAT 10\r\n", content.substr(0, 10), "BDAT ", content.size() - 10, "\r\n", content.substr(10), "BDAT 0 LAST\r\n"), piece, rule);
            CHECK(two == std::pair("220 250 250 250 250 250 250"s, one.second));
        }
    Talk facts;
    facts.limit.chunking = facts.limit.binary = true;
    facts.run(cat(begin, "BDAT 9 LAST\r\nA\n.bcd\0\xff\r"s));
    CHECK(facts.policy.last.size == 9);
    CHECK((facts.policy.last.nul && facts.policy.last.eight_bit && facts.policy.last.leading_dot && !facts.policy.last.bare_lf));
    // DATA: 503, and the transaction is not lost; what follows it is no content
    CHECK(run(begin + "DATA\r\nBDAT 1 LAST\r\n.RSET\r\nDATA\r\n", 1000) == std::pair("220 250 250 250 503 250 250 503"s, "s@x -> a@b binary: .\n"s));
    CHECK(run(begin + "DATA\r\n.\r\n", 1000) == std::pair("220 250 250 250 503 500"s, ""s));
    // the next mail is one of lines again
    CHECK(run(begin + "BDAT 1 LAST\r\n\rMAIL FROM:<s@x>\r\nRCPT TO:<a@b>\r\nBDAT 2 LAST\r\na\nNOOP\r\n", 1000).second == "s@x -> a@b binary: \r\ns@x -> a@b: a\r\n\n");
    // announced and taken with CHUNKING only
    for (const auto& [binary, chunking] : {std::pair(true, true), std::pair(true, false), std::pair(false, true)}) {
        Talk t;
        t.limit.binary = binary;
        t.limit.chunking = chunking;
        const std::string said = t.run("EHLO x\r\n");
        CHECK((said.find("BINARYMIME\r\n") != std::string::npos) == (binary && chunking));
        if (!binary || !chunking) CHECK(run(begin, 1000, BareLf::normalize, binary, chunking).first == "220 250 501 503");
    }
    CHECK(run("EHLO x\r\nMAIL FROM:<> BODY=8BITMIME\r\nMAIL FROM:<> BODY=BINARYMIME\r\n", 1000, BareLf::normalize, true, true, false).first == "220 250 501 250");
}

TEST_CASE("errors are counted: the hard limit ends it", "[smtp]")
{
    Talk t;
    std::string in;
    for (int i = 0; i < 100; ++i) in += "BOGUS\r\n";
    t.run(in);
    CHECK(t.wants == Server::Wants::close);
    CHECK(t.out.ends_with("421 4.7.0 mx.example.org Error: too many errors\r\n"));
    CHECK(t.tally == "unknown=0/20 commands=0/20");
    Talk j;
    in.clear();
    for (int i = 0; i < 1000; ++i) in += "NOOP\r\n";
    j.run(in);
    CHECK(j.wants == Server::Wants::close);  // junk beyond the limit is an error each
}

TEST_CASE("hostile bytes cost nothing and break nothing", "[smtp]")
{
    CHECK(talk(std::string(1'000'000, 'x')) == "220");
    CHECK(talk(std::string(1'000'000, 'x') + "\r\nNOOP\r\n") == "220 500 250");
    CHECK(talk(std::string_view("NO\0OP\r\nNOOP\r\n", 13)) == "220 500 250");
    CHECK(talk("NOOP \x01\r\n\r\n   \r\n") == "220 500 500 500");
    CHECK(talk("MAIL FROM:<a@b>\rRCPT TO:<c@d>\r\n") == "220 500");
    CHECK(talk("GET / HTTP/1.0\r\nHost: x\r\n") == "220 421");
    std::string noise;
    for (unsigned i = 0; i < 100'000; ++i) noise.push_back(static_cast<char>(i * 2654435761u >> 11));
    for (const std::size_t piece : {1u, 100u, 65536u}) {
        Talk t;
        t.run(noise, piece);
        CHECK(t.out.size() < 10'000);
    }
    Talk million;
    million.limit.hard_errors = 2'000'000;
    std::string in;
    in.reserve(7'000'000);
    for (int i = 0; i < 1'000'000; ++i) in += "NOOP\r\n";
    million.run(in, 65536);
    CHECK(million.tally == "noop=1000000 commands=1000000");
}

TEST_CASE("a 421 from the delegate closes; refuse drops what runs", "[smtp][rfc5321-3.8]")
{
    Talk t;
    t.policy.refuse["mail"] = {421, "4.3.2", "going down"};
    CHECK(codes(t.run("HELO x\r\nMAIL FROM:<>\r\nNOOP\r\n")) == "220 250 421");
    Policy policy;
    policy.late = true;
    const Limits l = limits();
    Server server(policy, l);
    std::string out;
    CHECK(server.feed("HELO x\r\n", out) == Server::Wants::answer);
    server.refuse({421, "4.3.2", "bye"}, out);
    CHECK(server.answer({250, "", ""}, out) == Server::Wants::close);
    CHECK(out == "421 4.3.2 bye\r\n");
}

namespace {
// One LMTP conversation: a and c are taken at RCPT, b is not.
std::string lmtp(std::string_view in, const std::function<void(Talk&)>& prepare = {}, std::size_t piece = 1 << 20)
{
    Talk t;
    t.limit.lmtp = t.limit.helo_required = t.limit.chunking = true;
    t.policy.refuse["b@y.org"] = {550, "5.1.1", "unknown"};
    if (prepare) prepare(t);
    t.run(in, piece);
    return codes(t.out);
}
}  // namespace

TEST_CASE("LMTP: a greeting of its own, and no other", "[smtp][lmtp][rfc2033-4.1]")
{
    CHECK(lmtp("EHLO x\r\nHELO x\r\nMAIL FROM:<a@b>\r\nLHLO\r\nLHLO x\r\nMAIL FROM:<a@b>\r\n") == "220 500 500 503 501 250 250");
    CHECK(talk("LHLO x\r\n") == "220 500");
    Talk t;
    t.limit.lmtp = true;
    Server server(t.policy, t.limit);
    server.feed("LHLO x\r\n", t.out);
    CHECK(server.protocol() == "LMTP");
    CHECK(server.last_verb() == "LHLO");
}

TEST_CASE("LMTP: after the content a reply for each recipient that was taken", "[smtp][lmtp][rfc2033-4.2]")
{
    const std::string start = "LHLO x\r\nMAIL FROM:<s@x.org>\r\n", three = "RCPT TO:<a@y.org>\r\nRCPT TO:<b@y.org>\r\nRCPT TO:<c@y.org>\r\n";
    const std::string content = "DATA\r\nx\r\n.\r\n", next = "NOOP\r\n";
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{1} << 20}) {
        CHECK(lmtp(start + three + content + next, {}, piece) == "220 250 250 250 550 250 354 250 250 250");
        CHECK(lmtp(start + three + content + next, [](Talk& t) { t.policy.late = true; }, piece) == "220 250 250 250 550 250 354 250 250 250");
        CHECK(lmtp(start + three + content + next, [](Talk& t) { t.policy.refuse["end"] = {451, "4.3.0", "later"}; }, piece) == "220 250 250 250 550 250 354 451 451 250");
    }
    CHECK(lmtp(start + "RCPT TO:<a@y.org>\r\nRCPT TO:<a@y.org>\r\n" + content + next) == "220 250 250 250 250 354 250 250 250");      // one for each RCPT, not for each address
    CHECK(lmtp(start + "RCPT TO:<b@y.org>\r\nDATA\r\n") == "220 250 250 550 503");
    CHECK(lmtp(start + "DATA\r\n") == "220 250 250 503");
    CHECK(lmtp(start + three + "DATA\r\n" + std::string(200, 'x') + "\r\n.\r\n" + next, [](Talk& t) { t.limit.message_size = 100; }) == "220 250 250 250 550 250 354 552 552 250");
    CHECK(lmtp(start + three + content + start.substr(8) + three + content + "QUIT\r\n") == "220 250 250 250 550 250 354 250 250 250 250 550 250 354 250 250 221");
}

TEST_CASE("LMTP: BDAT answers each chunk once, and the last one for each recipient", "[smtp][lmtp][rfc2033-4.3]")
{
    const std::string start = "LHLO x\r\nMAIL FROM:<s@x.org>\r\n", two = "RCPT TO:<a@y.org>\r\nRCPT TO:<c@y.org>\r\n";
    CHECK(lmtp(start + two + "BDAT 3\r\nx\r\nBDAT 3 LAST\r\ny\r\nNOOP\r\n") == "220 250 250 250 250 250 250 250 250");
    CHECK(lmtp(start + "RCPT TO:<b@y.org>\r\nBDAT 3 LAST\r\nx\r\nNOOP\r\n") == "220 250 250 550 250");     // nobody, no reply
    CHECK(lmtp("LHLO x\r\nMAIL FROM:<\r\nRCPT TO:<a@y.org>\r\nBDAT 3 LAST\r\nx\r\nNOOP\r\n") == "220 250 501 503 250");     // pipelined behind a refused MAIL: the same
    CHECK(lmtp(start + "BDAT 3\r\nx\r\nNOOP\r\n") == "220 250 250 503 250");                   // not the last: always one
    const auto small = [](Talk& t) { t.limit.message_size = 5; };
    CHECK(lmtp(start + two + "BDAT 8\r\nabcdef\r\nBDAT 3 LAST\r\nx\r\nNOOP\r\n", small) == "220 250 250 250 250 552 503 503 250");
    CHECK(lmtp(start + two + "BDAT 8 LAST\r\nabcdef\r\nNOOP\r\n", small) == "220 250 250 250 250 552 552 250");
}

TEST_CASE("LMTP: the replies of single recipients stand in for the one", "[smtp][lmtp][rfc2033-4.2]")
{
    Talk t;
    t.limit.lmtp = true;
    t.limit.hard_errors = 2;
    t.policy.late = true;
    Server server(t.policy, t.limit);
    const auto say = [&](std::string_view line) {
        t.wants = server.feed(line, t.out);
        t.settle(server);
    };
    for (const char* line : {"LHLO x\r\n", "MAIL FROM:<s@x.org>\r\n", "RCPT TO:<a@y.org>\r\n", "RCPT TO:<c@y.org>\r\n", "RCPT TO:<d@y.org>\r\n", "DATA\r\n"}) say(line);
    t.out.clear();
    REQUIRE(server.feed("x\r\n.\r\n", t.out) == Server::Wants::answer);
    server.to_each({{250, "2.0.0", "in"}, {452, "4.2.2", "full"}, {550, "5.1.1", "gone"}});
    CHECK(server.answer({250, "2.0.0", "Ok"}, t.out) == Server::Wants::input);       // refused recipients are no errors of the client
    CHECK(t.out == "250 2.0.0 in\r\n452 4.2.2 full\r\n550 5.1.1 gone\r\n");
    CHECK(server.errors() == 0);
    for (const char* line : {"MAIL FROM:<s@x.org>\r\n", "RCPT TO:<a@y.org>\r\n", "DATA\r\n"}) say(line);
    t.out.clear();
    say("x\r\n.\r\n");
    CHECK(t.out == "250 2.0.0 Ok: queued\r\n");                                       // those of the last mail are forgotten
}

namespace {

// Refuses everything in the peer's own words, as access tables, policy services, router's answers and LMTP servers can make a policy do.
class Parrot final : public Delegate {
public:
    Outcome helo(std::string_view name, bool) override { return greet ? say(250, name) : say(550, name); }
    Outcome sender(const mail::Envelope& e, uint64_t) override { return say(e.sender.empty() ? 250 : 550, cat(e.sender.text(), e.envid)); }
    Outcome recipient(mail::Recipient r, const mail::Envelope&) override { return say(550, cat(r.address.text(), r.orcpt)); }
    Outcome data(const mail::Envelope&) override { return say(550, words); }
    bool content(std::string_view) override { return true; }
    Outcome end_of_data(const Content&, mail::Envelope&&) override { return say(550, words); }
    Outcome vrfy(std::string_view name) override { return say(550, name); }
    Outcome etrn(std::string_view name) override { return say(550, name); }
    Outcome auth(std::string_view mechanism, std::string_view initial) override { return say(initial.empty() ? 334 : 535, cat(mechanism, initial)); }
    Outcome auth_response(std::string_view line) override { return say(535, line); }
    std::string footer(const Reply&) override { return words; }
    std::string words;             // of somebody further away
    bool greet = true;

private:
    static Outcome say(int code, std::string_view text) { return Reply{code, code < 400 ? "" : "5.7.1", std::string(text)}; }
};

// A reply has lines of "NNN", a space or a hyphen, and printable text; no control byte, and none longer than RFC 5321 §4.5.3.1.5 allows.
bool is_clean(std::string_view out)
{
    while (!out.empty()) {
        const std::size_t end = out.find("\r\n");
        if (end == std::string_view::npos || end > 510 || end < 4) return false;
        const std::string_view line = out.substr(0, end);
        if (line[0] < '2' || line[0] > '5' || !is_digit(line[1]) || !is_digit(line[2]) || (line[3] != ' ' && line[3] != '-')) return false;
        for (const unsigned char c : line)
            if (c < 0x20 || c == 0x7F) return false;
        out.remove_prefix(end + 2);
    }
    return true;
}

}  // namespace

TEST_CASE("no reply holds a control byte of a peer, nor a line that he made", "[smtp][hostile][rfc5321-4.2]")
{
    const char* const lines[] = {
        "EHLO a@b", "HELO a@b", "EHLO [a@b]", "MAIL FROM:<a@b@x.example>", "MAIL FROM:<\"a@b\"@x.example>", "MAIL FROM:<> @", "MAIL FROM:<> SIZE=@", "MAIL FROM:<> BODY=8@",
        "MAIL FROM:<> X@Y=Z", "MAIL FROM:<> RET=@", "MAIL FROM:<> ENVID=+0@", "MAIL FROM:<> AUTH=@", "MAIL@FROM", "RCPT TO:<a@b@x.example>", "RCPT TO:<\"a@\"@x.example>",
        "RCPT TO:<a@x.example> NOTIFY=@", "RCPT TO:<a@x.example> ORCPT=rfc822;@+0D+0A", "RCPT TO:<a@[1.2.3.@]>", "VRFY a@b", "EXPN a@b", "ETRN a@b", "AUTH a@b", "AUTH PLAIN a@b",
        "AUTH PLAIN", "a@b", "@", "NOOP @", "HELP @", "BDAT @", "BDAT 1@ LAST", "STARTTLS @", "RSET @", "DATA @", "@QUIT", "GET @ HTTP/1.0", "LHLO a@b", "QUIT @",
    };
    for (int byte = 0; byte <= 0xFF; ++byte) {
        if (byte == '\n' || (byte >= 0x20 && byte != 0x7F && byte != 0x80 && byte != 0x85 && byte != 0xFF)) continue;
        const char c = static_cast<char>(byte);
        for (const bool greet : {true, false}) {
            for (const char* const line : lines) {
                Parrot parrot;
                parrot.greet = greet;
                parrot.words = cat("further", c, "away\r\n250 ", c);
                Limits limit = limits();
                limit.auth = limit.auth_in_clear = limit.dsn = limit.smtputf8 = limit.chunking = limit.starttls = true;
                limit.auth_mechanisms = "PLAIN";
                limit.disable_vrfy = false;
                limit.hard_errors = 1000;
                std::string said = line, out;
                for (char& at : said)
                    if (at == '@') at = c;
                Server server(parrot, limit);
                server.greet(out);
                for (const std::string& part : {std::string("EHLO client.example\r\nMAIL FROM:<>\r\n"), cat(said, "\r\n"), cat(c, c, "x\r\n"), std::string("RSET\r\n"), cat(said, "\r\n"), cat(said, "\r\n")})
                    if (server.feed(part, out) != Server::Wants::input) break;
                if (out.size() < 100 || !is_clean(out)) FAIL("byte " << byte << " in " << line << ": " << printable(out, 2000));
            }
        }
    }
}

TEST_CASE("ETRN is announced where it is offered, and has no place before EHLO or within a transaction", "[smtp][rfc1985-5]")
{
    class Flusher final : public Delegate {
    public:
        std::vector<std::string> asked;
        Outcome helo(std::string_view, bool) override { return Reply{250, "", "x"}; }
        Outcome sender(const mail::Envelope&, uint64_t) override { return Reply{250, "2.1.0", "Ok"}; }
        Outcome recipient(mail::Recipient, const mail::Envelope&) override { return Reply{250, "2.1.5", "Ok"}; }
        Outcome data(const mail::Envelope&) override { return Reply{354, "", ""}; }
        bool content(std::string_view) override { return true; }
        Outcome end_of_data(const Content&, mail::Envelope&&) override { return Reply{250, "2.0.0", "Ok"}; }
        Outcome etrn(std::string_view text) override
        {
            asked.emplace_back(text);
            return Pending{};
        }
    };
    for (const bool trickled : {false, true}) {
        Flusher flusher;
        Limits limits;
        limits.hostname = "mx.example.org";
        limits.etrn = true;
        Server server(flusher, limits);
        std::string out;
        const auto say = [&](std::string_view text) {
            out.clear();
            if (!trickled) return server.feed(text, out);
            auto wants = Server::Wants::input;
            for (const char c : text) wants = server.feed(std::string_view(&c, 1), out);
            return wants;
        };
        say("ETRN example.org\r\n");
        CHECK(out == "503 5.5.1 Error: send EHLO first\r\n");
        say("EHLO x.example\r\n");
        CHECK(out.find("250-ETRN\r\n") != std::string::npos);
        CHECK(say("etrn example.org\r\nNOOP\r\n") == Server::Wants::answer);     // what follows waits
        CHECK(out.empty());
        CHECK(server.answer(Reply{250, "2.0.0", "OK, queuing"}, out) == Server::Wants::input);
        CHECK(out == "250 2.0.0 OK, queuing\r\n250 2.0.0 Ok\r\n");
        say("MAIL FROM:<>\r\nETRN example.org\r\nRSET\r\n");
        CHECK(out.find("\r\n503 5.5.1 Error: MAIL transaction in progress\r\n") != std::string::npos);
        CHECK(flusher.asked == std::vector<std::string>{"example.org"});
    }
}

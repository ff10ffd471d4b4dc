// lib/smtp: the client engine against scripted servers, and against our own server engine.
#include "t/unit/catch.h"

#include "lib/base/text.h"
#include "lib/smtp/client.h"
#include "lib/smtp/dot.h"
#include "lib/smtp/server.h"

using namespace veredus;
using namespace veredus::smtp;
using Wants = Client::Wants;

namespace {

ClientOptions options(bool lmtp = false)
{
    ClientOptions o;
    o.helo_name = "me.example";
    o.lmtp = lmtp;
    return o;
}

Transaction transaction(unsigned recipients)
{
    Transaction t;
    t.sender = {"s", "x.org"};
    t.size = 100;
    for (unsigned i = 0; i < recipients; ++i) t.recipients.push_back({{cat("r", i), "y.org"}, 0, ""});
    return t;
}

// Feeds the script; begins when ready, "sends" content when asked. What was sent is in `sent`, content as "[content]".
struct Run {
    Client client;
    Transaction what;
    std::string sent;
    Wants last = Wants::input;
    bool begun = false;

    explicit Run(Transaction t, ClientOptions o = options()) : client(std::move(o)), what(std::move(t)) {}
    Run& feed(std::string_view script, std::size_t piece = 1 << 20)
    {
        // Line by line, as a peer that waits for what it answers; each line in pieces.
        while (!script.empty() && last != Wants::finished && last != Wants::close) {
            const std::string_view part = script.substr(0, std::min(piece, script.find('\n') + 1));
            script.remove_prefix(part.size());
            go(client.feed(part, sent));
        }
        return *this;
    }
    void go(Wants wants)
    {
        last = wants;
        if (wants == Wants::ready && !begun) {
            begun = true;
            go(client.begin(what, sent));
        } else if (wants == Wants::content) {
            sent += "[content]";
            go(client.content_sent(sent));
        } else if (wants == Wants::starttls) {
            sent += "[tls]";
            go(client.tls_started(sent));
        }
    }
    std::string results() const
    {
        std::string out;
        for (const auto& r : client.results()) append(out, out.empty() ? "" : " ", r.reply.code, r.ours ? "!" : "", '/', r.command);
        return out;
    }
};

const std::string hello = "220 hi ESMTP\r\n250-mx\r\n250-PIPELINING\r\n250-SIZE 5000\r\n250 8BITMIME\r\n";
const std::string plain = "220 hi\r\n250 mx\r\n";

}  // namespace

TEST_CASE("a filter changes lines of replies before they are read", "[smtp][trickle]")
{
    for (const std::size_t piece : {1000, 1}) {
        auto o = options();
        o.filter = [](std::string& line) {
            if (line.starts_with("250-EVIL")) line = "250-PIPELINING";
            if (line == "555 odd") line = "455 4.1.1 later\nmore";
            return line != "250 broken";
        };
        Run run(transaction(1), o);
        run.feed("220 x\r\n250-there.example greets\r\n250-EVIL\r\n250 SIZE\r\n", piece);
        CHECK(run.client.extensions().pipelining);
        CHECK(run.client.peer_name() == "there.example");
        run.feed("250 ok\r\n555 odd\r\n503 no\r\n", piece);
        REQUIRE(run.last == Wants::finished);
        CHECK(run.client.results()[0].reply.code == 455);
        CHECK(run.client.results()[0].reply.text == "later");
        Run broken(transaction(1), o);
        broken.feed("220 x\r\n250-there\r\n250 broken\r\n", piece);
        CHECK(broken.last == Wants::close);
        CHECK(broken.client.failure().code == 451);
    }
}

TEST_CASE("a pipelining peer gets the whole envelope in one go", "[smtp][rfc2920-3.1]")
{
    for (const std::size_t piece : {1u, 3u, 10'000u}) {
        Run r(transaction(2));
        r.feed(hello + "250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n250 2.0.0 queued as X\r\n", piece);
        CHECK(r.sent == "EHLO me.example\r\nMAIL FROM:<s@x.org> SIZE=100\r\nRCPT TO:<r0@y.org>\r\nRCPT TO:<r1@y.org>\r\nDATA\r\n[content]");
        CHECK(r.results() == "250/end of DATA 550/RCPT TO");
        CHECK(r.last == Wants::finished);
        CHECK(r.client.usable());
    }
}

TEST_CASE("a peer that does not pipeline gets one command at a time", "[smtp][rfc5321-3.3]")
{
    Run r(transaction(2));
    r.feed(plain);
    CHECK(r.sent == "EHLO me.example\r\nMAIL FROM:<s@x.org>\r\n");
    r.feed("250 ok\r\n");
    CHECK(r.sent.ends_with("RCPT TO:<r0@y.org>\r\n"));
    r.feed("250 ok\r\n");
    CHECK(r.sent.ends_with("RCPT TO:<r1@y.org>\r\n"));
    r.feed("251 ok\r\n");
    CHECK(r.sent.ends_with("DATA\r\n"));
    r.feed("354 go\r\n451 4.3.0 later\r\n");
    CHECK(r.results() == "451/end of DATA 451/end of DATA");
}

TEST_CASE("when nobody is left no content is sent", "[smtp][rfc2920-3.1]")
{
    Run alone(transaction(1));
    alone.feed(plain + "250 ok\r\n550 no\r\n");
    CHECK(alone.sent.find("DATA") == std::string::npos);
    CHECK(alone.results() == "550/RCPT TO");
    Run piped(transaction(1));
    piped.feed(hello + "250 ok\r\n550 no\r\n354 go anyway\r\n");
    CHECK(piped.sent.ends_with("DATA\r\n.\r\n"));
    CHECK(piped.last == Wants::input);
    piped.feed("554 no recipients\r\n");
    CHECK(piped.results() == "550/RCPT TO");
    CHECK(piped.last == Wants::finished);
    Run refused(transaction(2));
    refused.feed(hello + "451 4.7.1 greylisted\r\n503 no\r\n503 no\r\n503 no\r\n");
    CHECK(refused.results() == "451/MAIL FROM 451/MAIL FROM");
    CHECK(refused.client.usable());
    Run data(transaction(1));
    data.feed(hello + "250 ok\r\n250 ok\r\n451 4.3.0 no DATA\r\n");
    CHECK(data.results() == "451/DATA");
}

TEST_CASE("a second transaction begins with RSET only when the first left one open", "[smtp][rfc5321-4.1.1.5]")
{
    Run r(transaction(1));
    r.feed(hello + "250 ok\r\n250 ok\r\n354 go\r\n250 done\r\n");
    std::string out;
    CHECK(r.client.begin(transaction(1), out) == Wants::input);
    CHECK(out.starts_with("MAIL FROM"));
    CHECK(r.client.feed("250 ok\r\n550 no\r\n503 no\r\n", out) == Wants::finished);   // the peer answers a group in one go
    out.clear();
    r.client.begin(transaction(1), out);
    CHECK(out.starts_with("RSET\r\nMAIL FROM"));
    CHECK(r.client.feed("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", out) == Wants::content);
    out.clear();
    r.client.content_sent(out);
    CHECK(r.client.feed("250 ok\r\n", out) == Wants::finished);
    CHECK(r.client.quit(out) == Wants::input);
    CHECK(out == "QUIT\r\n");
    CHECK(r.client.feed("221 bye\r\n", out) == Wants::close);
}

TEST_CASE("HELO is the fallback, and a bad greeting ends it", "[smtp][rfc5321-3.2]")
{
    Run r(transaction(1));
    r.feed("220 old\r\n500 what\r\n250 fine\r\n");
    CHECK(r.sent == "EHLO me.example\r\nHELO me.example\r\nMAIL FROM:<s@x.org>\r\n");
    for (const char* greeting : {"554 no service\r\n", "421 busy\r\n", "250 odd\r\n", "SSH-2.0-OpenSSH\r\n"}) {
        Run g(transaction(1));
        g.feed(greeting);
        CHECK(g.last == Wants::close);
        CHECK(g.client.failure().code >= 400);
        CHECK_FALSE(g.client.usable());
    }
}

TEST_CASE("STARTTLS is used when offered, and what came in clear behind it is forgotten", "[smtp][rfc3207-5]")
{
    Run r(transaction(1));
    r.feed("220 hi\r\n250-mx\r\n250-STARTTLS\r\n250 DSN\r\n");
    r.go(r.client.feed("220 go\r\n250 injected\r\n", r.sent));
    CHECK(r.sent == "EHLO me.example\r\nSTARTTLS\r\n[tls]EHLO me.example\r\n");
    CHECK(r.last == Wants::input);
    r.feed("250-mx\r\n250 SIZE\r\n");
    CHECK(r.client.tls());
    CHECK_FALSE(r.client.extensions().dsn);
    CHECK(r.sent.ends_with("MAIL FROM:<s@x.org> SIZE=100\r\n"));
    Client no(options());
    std::string out;
    no.feed("220 hi\r\n250-mx\r\n250 STARTTLS\r\n", out);
    CHECK(no.feed("454 4.7.0 not now\r\n", out) == Wants::ready);
    CHECK_FALSE(no.tls());
    CHECK(no.failure().code == 454);
}

TEST_CASE("parameters go out only when they were offered", "[smtp][rfc5321-4.1.1.11]")
{
    Transaction t = transaction(1);
    t.ret = mail::Ret::headers;
    t.envid = "a+b";
    t.body = mail::Body::eight_bit;
    t.recipients[0].notify = mail::notify_success | mail::notify_delay;
    t.recipients[0].orcpt = "rfc822;o+o@y.org";
    Run all(t);
    all.feed("220 x\r\n250-mx\r\n250-8BITMIME\r\n250-DSN\r\n250 PIPELINING\r\n");
    CHECK(all.sent.ends_with("MAIL FROM:<s@x.org> BODY=8BITMIME RET=HDRS ENVID=a+2Bb\r\n"
                             "RCPT TO:<r0@y.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2Bo@y.org\r\nDATA\r\n"));
    Run none(t);
    none.feed(plain + "250 ok\r\n");
    CHECK(none.sent.ends_with("MAIL FROM:<s@x.org>\r\nRCPT TO:<r0@y.org>\r\n"));
}

TEST_CASE("what the peer cannot take is refused before it is sent", "[smtp][rfc1870-6.1]")
{
    Transaction big = transaction(2);
    big.size = 5001;
    Run r(big);
    r.feed(hello);
    CHECK(r.last == Wants::finished);
    CHECK(r.results() == "552!/ 552!/");
    CHECK(r.client.results()[0].reply.enhanced == "5.3.4");
    CHECK(r.sent == "EHLO me.example\r\n");
    CHECK(r.client.usable());
    Transaction utf8 = transaction(1);
    utf8.recipients[0].address.local = "j\xc3\xbc";
    Run u(utf8);
    u.feed(hello);
    CHECK(u.results() == "550!/");
}

TEST_CASE("421, garbage and early words end the transaction for whoever has no verdict", "[smtp][rfc5321-3.8]")
{
    Run r(transaction(3));
    r.feed(hello + "250 ok\r\n550 no\r\n250 ok\r\n421 4.3.2 going down\r\n");
    CHECK(r.results() == "550/RCPT TO 421/RCPT TO 421/RCPT TO");
    CHECK(r.last == Wants::finished);
    CHECK_FALSE(r.client.usable());
    Run late(transaction(1));
    late.feed(hello + "250 ok\r\n250 ok\r\n354 go\r\n421 4.3.2 going down\r\n");
    CHECK(late.results() == "421/end of DATA");
    Run g(transaction(1));
    g.feed(hello + "250 ok\r\nwhatever\r\n");
    CHECK(g.results() == "451!/sending RCPT TO");
    Run d(transaction(1));
    d.feed(hello + "250 ok\r\n250 ok\r\n250 not 354\r\n");
    CHECK(d.results() == "451!/DATA");
    Client early(options());
    std::string out;
    early.feed(hello, out);
    early.begin(transaction(1), out);
    CHECK(early.feed("250 ok\r\n250 ok\r\n354 go\r\n", out) == Wants::content);
    CHECK(early.feed("552 5.3.4 too big\r\n", out) == Wants::finished);
    CHECK(early.results()[0].reply.code == 552);
    CHECK_FALSE(early.usable());
    CHECK(early.content_sent(out) == Wants::close);
    Client idle(options());
    idle.feed(hello, out);
    CHECK(idle.feed("421 timeout\r\n", out) == Wants::close);
    Run old(transaction(1));
    old.feed(hello + "250 ok\r\n552 too many recipients\r\n354 x\r\n500 x\r\n");
    CHECK(old.results() == "452/RCPT TO");
}

TEST_CASE("what comes behind the last reply of a transaction changes no verdict, and nothing more is sent there", "[smtp][rfc5321-3.8]")
{
    for (const std::string rest : {"421 4.3.2 bye\r\n", "250 what\r\n", "421 4"}) {
        Run run(transaction(1));
        run.feed(hello).feed("250 ok\r\n250 ok\r\n354 go\r\n");
        std::string out;
        CHECK(run.client.feed(cat("250 taken\r\n", rest), out) == Wants::finished);
        CHECK(run.results() == "250/end of DATA");
        CHECK_FALSE(run.client.usable());
        CHECK(out.empty());
    }
}

TEST_CASE("LMTP answers for each recipient after the dot", "[smtp][rfc2033-4.2]")
{
    Run r(transaction(3), options(true));
    r.feed(hello + "250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n250 first\r\n");
    CHECK(r.last == Wants::input);
    r.feed("452 4.2.2 full\r\n");
    CHECK(r.sent.starts_with("LHLO me.example\r\n"));
    CHECK(r.results() == "250/end of DATA 550/RCPT TO 452/end of DATA");
}

namespace {
class Sink final : public Delegate {
public:
    std::string taken, body;
    Outcome helo(std::string_view, bool) override { return Reply{250, "", ""}; }
    Outcome sender(const mail::Envelope&, uint64_t) override { return Reply{250, "2.1.0", "Ok"}; }
    Outcome recipient(mail::Recipient r, const mail::Envelope&) override
    {
        return r.address.local == "r1" ? Reply{550, "5.1.1", "no"} : Reply{250, "2.1.5", "Ok"};
    }
    Outcome data(const mail::Envelope&) override { return Reply{354, "", ""}; }
    bool content(std::string_view bytes) override { return body.append(bytes), true; }
    Outcome end_of_data(const Content&, mail::Envelope&& e) override
    {
        taken = cat(e.sender.text(), ' ', e.recipients.size());
        return Reply{250, "2.0.0", "Ok"};
    }
};
}  // namespace

TEST_CASE("our client and our server understand each other", "[smtp]")
{
    for (const bool pipelining : {true, false}) {
        Sink sink;
        Limits limits;
        limits.hostname = limits.banner = "mx.example";
        limits.pipelining = pipelining;
        Server server(sink, limits);
        Client client(options());
        std::string to_client, to_server;
        server.greet(to_client);
        Wants wants = Wants::input;
        for (int turn = 0; turn < 30 && wants != Wants::finished; ++turn) {
            wants = client.feed(std::exchange(to_client, ""), to_server);
            if (wants == Wants::ready) client.begin(transaction(3), to_server);
            if (wants == Wants::content) {
                DotWriter dots;
                dots.feed("Subject: x\r\n\r\n.dot\r\n", to_server);
                dots.finish(to_server);
                client.content_sent(to_server);
            }
            server.feed(std::exchange(to_server, ""), to_client);
        }
        CHECK(wants == Wants::finished);
        CHECK(sink.taken == "s@x.org 2");
        CHECK(sink.body == "Subject: x\r\n\r\n.dot\r\n");
        CHECK(client.results()[1].reply.enhanced == "5.1.1");
        CHECK(client.results()[2].reply.code == 250);
    }
}

namespace {

const std::string chunking = "220 hi ESMTP\r\n250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250 8BITMIME\r\n";

Transaction chunked(unsigned recipients)
{
    Transaction t = transaction(recipients);
    t.chunk_size = 98;
    return t;
}

Sasl plain_login(bool complete = true)
{
    return {"PLAIN", std::string("\0u\0p", 4), [](std::string_view) { return std::nullopt; }, [complete] { return complete; }};
}

// Greeted, then AUTH with the replies of the server: what was sent after EHLO, and how it ended.
struct Login {
    Client client{options()};
    std::string sent;
    Wants last = Wants::input;
    explicit Login(Sasl sasl)
    {
        REQUIRE(client.feed("220 hi\r\n", sent) == Wants::input);
        REQUIRE(client.feed("250-mx\r\n250 AUTH PLAIN LOGIN\r\n", sent) == Wants::ready);
        CHECK(client.extensions().auth == "PLAIN LOGIN");
        sent.clear();
        last = client.authenticate(std::move(sasl), sent);
    }
    Login& feed(std::string_view text)
    {
        for (const char c : text) // byte by byte: any cut is as good
            if (last == Wants::input) last = client.feed(std::string_view(&c, 1), sent);
        return *this;
    }
};

} // namespace

TEST_CASE("BDAT waits for somebody who takes the mail and sends it in one chunk", "[smtp][rfc3030-2]")
{
    for (const std::size_t piece : {std::size_t(1), std::size_t(1000)}) {
        Run run(chunked(2));
        run.feed(chunking, piece).feed("250 ok\r\n250 ok\r\n550 no\r\n250 taken\r\n", piece);
        CHECK(run.sent == "EHLO me.example\r\nMAIL FROM:<s@x.org>\r\nRCPT TO:<r0@y.org>\r\nRCPT TO:<r1@y.org>\r\nBDAT 98 LAST\r\n[content]");
        CHECK(run.results() == "250/BDAT 550/RCPT TO");
        CHECK(run.client.chunked());
        CHECK(run.client.usable());
    }
    Run nobody(chunked(1));
    nobody.feed(chunking).feed("250 ok\r\n550 no\r\n");
    CHECK(nobody.sent.find("BDAT") == std::string::npos);
    CHECK(nobody.sent.find("DATA") == std::string::npos);
    CHECK(nobody.results() == "550/RCPT TO");
    std::string more;
    nobody.client.begin(chunked(1), more);
    CHECK(more.starts_with("RSET\r\nMAIL FROM"));
}

TEST_CASE("binary content goes to a server that asks for it, by BDAT, and under no circumstances to another", "[smtp][rfc3030-3]")
{
    Transaction binary = chunked(1);
    binary.body = mail::Body::binary;
    Run good(binary);
    good.feed(chunking).feed("250 ok\r\n250 ok\r\n250 taken\r\n");
    CHECK(good.sent == "EHLO me.example\r\nMAIL FROM:<s@x.org> BODY=BINARYMIME\r\nRCPT TO:<r0@y.org>\r\nBDAT 98 LAST\r\n[content]");
    CHECK(good.results() == "250/BDAT");
    Transaction unsized = binary;
    unsized.chunk_size = 0;
    const auto discarding = [](const char* word) {
        auto o = options();
        o.discard = {word};
        return o;
    };
    for (Run* run : {std::make_unique<Run>(unsized).release(), std::make_unique<Run>(binary, discarding("chunking")).release(), std::make_unique<Run>(binary, discarding("binarymime")).release()}) {
        const std::unique_ptr<Run> held(run);
        run->feed(chunking);
        CHECK(run->sent == "EHLO me.example\r\n");
        CHECK(run->results().starts_with("550!"));
        CHECK(run->client.results()[0].reply.enhanced == "5.6.3");
        CHECK(run->client.usable());
    }
}

namespace {

// One client that has sent the content of `first`, with the envelope of a second behind it.
struct Pair {
    Client client;
    std::string out;
    std::vector<std::string> verdicts;   // of each transaction
    Wants wants = Wants::input;
    Pair(const std::string& greeting, Transaction first, Transaction second, const std::string& replies, ClientOptions o = options()) : client(std::move(o))
    {
        REQUIRE(client.feed(greeting, out) == Wants::ready);
        client.begin(std::move(first), out);
        CHECK_FALSE(client.may_follow());
        REQUIRE(client.feed(replies, out) == Wants::content);
        CHECK_FALSE(client.may_follow());
        client.content_sent(out);
        REQUIRE(client.may_follow());
        out.clear();
        client.follow(std::move(second), out);
        CHECK_FALSE(client.may_follow());
    }
    // A | in the text: a peer does not speak on before it has the content.
    void feed(const std::string& text, std::size_t piece)
    {
        for (const std::string_view part : split_on(text, '|')) feed_part(std::string(part), piece);
    }
    void feed_part(std::string text, std::size_t piece)
    {
        for (; !text.empty() && wants != Wants::close; text.erase(0, piece)) {
            wants = client.feed(text.substr(0, piece), out);
            while (wants == Wants::finished) {
                verdicts.emplace_back();
                for (const auto& r : client.results()) append(verdicts.back(), verdicts.back().empty() ? "" : " ", r.reply.code, r.ours ? "!" : "");
                if (!client.usable() || !client.followed()) return;
                wants = client.go_on(out);
            }
            if (wants == Wants::content) wants = client.content_sent(out);
        }
    }
};

}  // namespace

TEST_CASE("the envelope of the next mail goes out behind the content of this one, and each has its own replies", "[smtp][rfc2920-3.1]")
{
    const std::string envelope = "MAIL FROM:<s@x.org> SIZE=100\r\nRCPT TO:<r0@y.org>\r\nRCPT TO:<r1@y.org>\r\nDATA\r\n";
    struct Row {
        const char *replies, *verdicts;
        bool usable;
    };
    for (const Row& row : {
             Row{"250 first\r\n250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n|250 second\r\n", "250|250 550", true},
             Row{"554 5.7.1 spam\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n|451 later\r\n", "554|451 451", true},
             Row{"250 first\r\n450 no sender\r\n503 x\r\n503 x\r\n503 x\r\n", "250|450 450", true},
             Row{"250 first\r\n250 ok\r\n550 no\r\n550 no\r\n354 go\r\n|554 nobody\r\n", "250|550 550", true},
             Row{"250 first\r\n421 4.3.2 going\r\n", "250|421 421", false},
             Row{"421 4.3.2 going\r\n250 ok\r\n", "421", false},
             Row{"what?\r\n250 ok\r\n", "451!", false},
         }) {
        for (const std::size_t piece : {std::size_t(1), std::size_t(7), std::size_t(1000)}) {
            CAPTURE(row.replies, piece);
            Pair pair(hello, transaction(1), transaction(2), "250 ok\r\n250 ok\r\n354 go\r\n");
            CHECK(pair.out == envelope);
            pair.feed(row.replies, piece);
            std::string all;
            for (const std::string& v : pair.verdicts) append(all, all.empty() ? "" : "|", v);
            CHECK(all == row.verdicts);
            CHECK(pair.client.usable() == row.usable);
        }
    }
    // Behind the second, nothing was asked for.
    Pair rude(hello, transaction(1), transaction(1), "250 ok\r\n250 ok\r\n354 go\r\n");
    rude.feed("250 first\r\n250 ok\r\n250 ok\r\n354 go\r\n", 1000);
    rude.feed("250 second\r\n250 what\r\n", 1000);
    CHECK(rude.verdicts == std::vector<std::string>{"250", "250"});
    CHECK_FALSE(rude.client.usable());
}

TEST_CASE("behind a chunk the next envelope begins with RSET, behind an LMTP mail it waits for a reply for each recipient", "[smtp][rfc3030-2][rfc2033-4.2]")
{
    for (const std::size_t piece : {std::size_t(1), std::size_t(1000)}) {
        for (const char* verdict : {"250", "452"}) {
            Pair pair(chunking, chunked(1), chunked(1), "250 ok\r\n250 ok\r\n");
            CHECK(pair.out == "RSET\r\nMAIL FROM:<s@x.org>\r\nRCPT TO:<r0@y.org>\r\n");
            pair.feed(cat(verdict, " first\r\n250 reset\r\n250 ok\r\n250 ok\r\n|250 second\r\n"), piece);
            CHECK(pair.verdicts == std::vector<std::string>{verdict, "250"});
        }
        Pair lmtp(hello, transaction(2), transaction(1), "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", options(true));
        lmtp.feed("250 a\r\n452 b\r\n250 ok\r\n250 ok\r\n354 go\r\n|250 c\r\n", piece);
        CHECK(lmtp.verdicts == std::vector<std::string>{"250 452", "250"});
    }
    Client client(options());
    std::string out;
    client.feed(hello, out);
    Transaction big = transaction(1);
    big.size = 5001;
    CHECK(client.why_unfit(big)->code == 552);
    CHECK_FALSE(client.why_unfit(transaction(1)));
    CHECK_FALSE(client.may_follow());
}

TEST_CASE("BDAT is not used unasked, and what it breaks is temporary", "[smtp][rfc3030-2]")
{
    Run data(transaction(1));
    data.feed(chunking).feed("250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n");
    CHECK(data.sent.find("DATA\r\n[content]") != std::string::npos);
    Run without(chunked(1));
    without.feed(hello).feed("250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n");
    CHECK(without.sent.find("DATA\r\n[content]") != std::string::npos);
    CHECK_FALSE(without.client.chunked());
    Run discarded(chunked(1), [] { auto o = options(); o.discard = {"chunking"}; return o; }());
    discarded.feed(chunking).feed("250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n");
    CHECK_FALSE(discarded.client.chunked());
    Run unknown(chunked(1));
    unknown.feed(chunking).feed("250 ok\r\n250 ok\r\n502 what is BDAT\r\n");
    CHECK(unknown.results() == "451!/BDAT");
    CHECK(unknown.client.bdat_refused());
    CHECK_FALSE(unknown.client.usable());
    Run spam(chunked(1));
    spam.feed(chunking).feed("250 ok\r\n250 ok\r\n554 5.7.1 spam\r\n");
    CHECK(spam.results() == "554/BDAT");
    std::string more;
    spam.client.begin(chunked(1), more);
    CHECK(more.starts_with("RSET\r\n"));
    Transaction binary = chunked(1);
    binary.body = mail::Body::binary;
    Run b(binary);
    b.feed(chunking);
    CHECK(b.sent.find("BODY=BINARYMIME") != std::string::npos);
}

TEST_CASE("AUTH sends what the mechanism says, and only a proven yes counts", "[smtp][rfc4954-4]")
{
    Login plain(plain_login());
    CHECK(plain.sent == "AUTH PLAIN AHUAcA==\r\n");
    plain.feed("235 2.7.0 welcome\r\n");
    CHECK(plain.last == Wants::ready);
    CHECK(plain.client.authenticated());
    CHECK(plain.client.failure().code == 0);

    Login wrong(plain_login());
    wrong.feed("535-5.7.8 no\r\n535 5.7.8 really\r\n");
    CHECK(wrong.last == Wants::ready);
    CHECK_FALSE(wrong.client.authenticated());
    CHECK(wrong.client.failure().code == 535);

    Login unproven(plain_login(false));
    unproven.feed("235 come in\r\n");
    CHECK_FALSE(unproven.client.authenticated());
    CHECK(unproven.client.failure().code == 454);

    std::vector<std::string> heard;
    Login login({"LOGIN", std::nullopt, [&](std::string_view c) { heard.emplace_back(c); return heard.size() == 1 ? "u" : "p"; }, [] { return true; }});
    login.feed("334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 ok\r\n");
    CHECK(login.sent == "AUTH LOGIN\r\ndQ==\r\ncA==\r\n");
    CHECK(heard == std::vector<std::string>{"Username:", "Password:"});
    CHECK(login.client.authenticated());

    Login empty({"X", std::string(), nullptr, [] { return true; }});
    CHECK(empty.sent == "AUTH X =\r\n");
}

TEST_CASE("a server that errs in AUTH gets a star, and one that never ends gets nothing", "[smtp][rfc4954-4]")
{
    Login odd(plain_login());
    odd.feed("334 !!!\r\n");
    CHECK(odd.sent.ends_with("\r\n*\r\n"));
    odd.feed("235 fine\r\n"); // after a cancelled exchange this is no login
    CHECK_FALSE(odd.client.authenticated());
    Login cancelled(plain_login());
    cancelled.feed("334 YWJj\r\n501 5.0.0 cancelled\r\n");
    CHECK(cancelled.client.failure().code == 501);
    CHECK(cancelled.last == Wants::ready);
    Login endless({"LOGIN", std::nullopt, [](std::string_view) { return "x"; }, [] { return true; }});
    for (int i = 0; i < 20; ++i) endless.feed("334 YQ==\r\n");
    CHECK(endless.last == Wants::close);
    Login strange(plain_login());
    CHECK(strange.feed("250 ok\r\n").last == Wants::close);
    Login gone(plain_login());
    CHECK(gone.feed("421 4.3.2 closing\r\n").last == Wants::close);
}

TEST_CASE("SMTPUTF8 is needed for what is not ASCII, not because somebody asked for it", "[smtp][rfc6531-3.2]")
{
    const struct {
        bool asked, header, address;
        std::string results;
    } cases[] = {{true, false, false, "250/end of DATA"}, {true, true, false, "550!/"}, {false, true, false, "250/end of DATA"}, {false, false, true, "550!/"}};
    for (const auto& c : cases) {
        Transaction t = transaction(1);
        t.smtputf8 = c.asked;
        t.utf8_header = c.header;
        if (c.address) t.recipients[0].address.local = "j\xC3\xB6rg";
        Run run(t);
        run.feed(hello).feed("250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n");
        CHECK(run.results() == c.results);
    }
}

TEST_CASE("REQUIRETLS is said under TLS to who has it, and nothing goes to anybody else", "[smtp][rfc8689-4.2.1]")
{
    Transaction t = transaction(1);
    t.require_tls = true;
    const std::string with = "250-mx\r\n250 REQUIRETLS\r\n";
    Run clear(t);
    clear.feed("220 hi\r\n" + with);
    CHECK(clear.results() == "550!/");
    CHECK(clear.client.results()[0].reply.enhanced == "5.7.30");
    CHECK(clear.sent.find("MAIL") == std::string::npos);
    Run good(t);
    good.feed("220 hi\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n").feed(with);
    CHECK(good.sent.ends_with("MAIL FROM:<s@x.org> REQUIRETLS\r\n"));
    Run without(t);
    without.feed("220 hi\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n").feed("250 mx\r\n");
    CHECK(without.results() == "550!/");
}

TEST_CASE("STARTTLS is said to who hides it when TLS is required", "[smtp][rfc3207-4]")
{
    auto o = options();
    o.require_starttls = true;
    Run run(transaction(1), o);
    run.feed(hello);
    CHECK(run.sent == "EHLO me.example\r\nSTARTTLS\r\n");
    run.feed("220 go\r\n");
    CHECK(run.sent.ends_with("[tls]EHLO me.example\r\n"));
}

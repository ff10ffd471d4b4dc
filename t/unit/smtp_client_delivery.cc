// smtp-client: whole attempts against scripted peers and a scripted name server, all in one loop.
#include "t/unit/catch.h"

#include <fcntl.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <map>
#include <set>
#include <tuple>

#include "lib/base/base64.h"
#include "lib/base/random.h"
#include "lib/conf/values.h"
#include "lib/dns/resolver.h"
#include "lib/log/log.h"
#include "smtp-client/agent.h"
#include "smtp-client/delivery.h"
#include "t/unit/dns_server.h"
#include "t/unit/smtp_peer.h"

using namespace veredus;
using namespace veredus::smtp_client;
using smtp_test::Peer;
namespace wire = veredus::dns_test;

namespace {

// Answers from a table of "name/type" to records; everything else does not exist.
struct Zone {
    std::map<std::string, std::vector<std::string>> records;
    std::set<std::string> failing; // "name/type": SERVFAIL
    void mx(const std::string& domain, unsigned preference, const std::string& host)
    {
        records[domain + "/15"].push_back(wire::mx_record(domain, preference, host));
    }
    void a(const std::string& host, const std::string& ip)
    {
        records[host + "/1"].push_back(wire::a_record(host, net::Address::parse_ip(ip, 0)->ip_bytes()));
    }
    std::vector<std::string> answer(const std::string& query) const
    {
        auto p = wire::reply_to(query);
        const std::string name = wire::asked_name(query), key = name + "/" + std::to_string(wire::asked_type(query));
        if (failing.contains(key)) {
            p.rcode = 2;
        } else if (const auto found = records.find(key); found != records.end()) {
            for (const auto& rr : found->second) p.add(rr);
        } else {
            const bool exists = std::any_of(records.begin(), records.end(),
                                            [&](const auto& r) { return r.first.starts_with(name + "/"); });
            p.rcode = exists ? 0 : 3;
            p.deny(wire::soa_record("example", 60, 60));
        }
        return {p.bytes()};
    }
};

struct Mail {
    std::string header = "From: a@sender.example\r\nSubject: test\r\n", body = "one\r\ntwo\r\n",
                sender = "a@sender.example", nexthop, transport = "smtp";
    std::vector<std::string> to{"b@dest.example"};
    bool leading_dot = false, eight_bit = false;
    mail::TlsNeed tls = mail::TlsNeed::unset;
    std::vector<std::string> senders; // per recipient, instead of "-"
    std::string delivered_to;
    mail::Body body_type = mail::Body::seven_bit;
    uint32_t longest_line = 0;
};

class Bench {
public:
    std::unique_ptr<Loop> loop = std::move(*Loop::create());
    Zone zone;
    wire::FakeServer dns{*loop, [this](const std::string& q, bool) { return zone.answer(q); }};
    dns::Resolver resolver{*loop, config()};
    Pool pool{*loop};
    Settings settings;
    World world{*loop, system_clock(), resolver, pool, nullptr, nullptr, [this] { return own; }, nullptr, nullptr};
    std::vector<net::Address> own;
    std::string logged;
    unsigned attempts = 0;

    Bench()
    {
        settings.myhostname = settings.helo_name = "me.example";
        settings.port = 25;
        settings.order.randomize = false;
        log::capture(&logged);
    }
    ~Bench() { log::capture(nullptr); }
    dns::Config config() const
    {
        dns::Config c;
        c.servers = {dns.address()};
        return c;
    }
    template <class Condition> bool until(Condition condition)
    {
        const int64_t end = system_clock().mono_us() + 30 * us_per_second; // only a failing test gets there
        while (!condition() && system_clock().mono_us() < end) loop->run_once(std::chrono::milliseconds(10));
        return condition();
    }
    static Fd file_of(const Mail& mail, queue::Layout& layout)
    {
        layout.body_offset = 8;
        layout.body_size = mail.body.size();
        layout.header_offset = 8 + mail.body.size();
        layout.header_size = mail.header.size();
        layout.leading_dot = mail.leading_dot;
        layout.eight_bit = mail.eight_bit;
        layout.longest_line = mail.longest_line;
        return std::move(*sealed_memfd("mail", "VEREDUS1" + mail.body + mail.header));
    }
    ipc::Attempt attempt_of(const Mail& mail, Fd& file)
    {
        ipc::Attempt attempt;
        attempt.attempt = ++attempts;
        attempt.queue_id = "65A3F00C12B70001";
        attempt.sender = mail.sender;
        attempt.transport = mail.transport;
        attempt.nexthop = mail.nexthop;
        attempt.delivered_to = mail.delivered_to;
        attempt.tls = mail.tls;
        attempt.body = mail.body_type;
        attempt.arrival_us = attempt.active_us = system_clock().wall_us();
        for (std::size_t i = 0; i < mail.to.size(); ++i) {
            ipc::Target target;
            target.index = static_cast<uint32_t>(100 + i);
            target.address = mail.to[i];
            target.sender = i < mail.senders.size() ? mail.senders[i] : "-";
            attempt.targets.push_back(target);
        }
        file = file_of(mail, attempt.layout);
        return attempt;
    }
    // Runs one attempt to its end: the verdicts in order of recipient.
    std::vector<ipc::Verdict> deliver(const Mail& mail)
    {
        world.settings = std::make_shared<const Settings>(settings);
        std::vector<ipc::Verdict> verdicts;
        bool done = false;
        Fd file;
        auto attempt = attempt_of(mail, file);
        auto delivery = std::make_unique<Delivery>(
            world, std::move(attempt), std::move(file),
            [&](std::vector<ipc::Verdict> some) {
                for (auto& v : some) verdicts.push_back(std::move(v));
            },
            [&] { done = true; });
        delivery->start();
        REQUIRE(until([&] { return done; }));
        std::sort(verdicts.begin(), verdicts.end(), [](const auto& a, const auto& b) { return a.index < b.index; });
        REQUIRE(verdicts.size() == mail.to.size());
        for (std::size_t i = 0; i < verdicts.size(); ++i) CHECK(verdicts[i].index == 100 + i);
        return verdicts;
    }
    ipc::Verdict deliver_one(const Mail& mail) { return deliver(mail)[0]; }
    Mail to(const Peer& peer) const
    {
        Mail mail;
        mail.nexthop = cat("[", peer.address().ip(), "]:", peer.address().port());
        return mail;
    }
    bool has_logged(std::string_view text) const { return logged.find(text) != std::string::npos; }
};

net::Address local(const char* ip, uint16_t port = 0)
{
    return *net::Address::parse_ip(ip, port);
}

// The usual replies, save for lines that begin with a key of `odd`.
Peer::Script script(std::map<std::string, std::string> odd)
{
    return [odd = std::move(odd)](const std::string& line) {
        for (const auto& [key, reply] : odd)
            if (line.starts_with(key)) return reply;
        return Peer::usual(line);
    };
}

ReworkRules rework_rules(const std::string& conf, const std::map<std::string, std::string>& files = {})
{
    const auto file = conf::File::parse(cat("myhostname = host.local\nmydomain = local\n", conf), "main.cf");
    REQUIRE(file.ok());
    return ReworkRules::read(file.values(), [](std::string_view rest) { return cat("smtp_", rest); }, [&](const std::string& path) -> Result<std::string> {
        const auto text = files.find(path);
        return text == files.end() ? Result<std::string>(fail("no such file")) : text->second;
    });
}

constexpr auto sent = ipc::Outcome::delivered, deferred = ipc::Outcome::deferred, failed = ipc::Outcome::failed;

} // namespace

TEST_CASE("a mail goes out in one pipelined transaction, and the log line is Postfix's", "[smtp-client][rfc2920-3.1]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.1"));
    Mail mail = b.to(peer);
    mail.to = {"b@dest.example", "\"c d\"@dest.example"};
    const auto verdicts = b.deliver(mail);
    const std::string relay = cat("127.0.0.1[127.0.0.1]:", peer.address().port());
    for (const auto& v : verdicts) {
        CHECK(v.outcome == sent);
        CHECK(v.dsn == "2.0.0");
        CHECK(v.text == "250 2.0.0 Ok: queued as 4711");
        CHECK(v.relay == relay);
        CHECK(v.remote_mta == "127.0.0.1");
    }
    CHECK(peer.lines == std::vector<std::string>{"EHLO me.example", "MAIL FROM:<a@sender.example> SIZE=51",
                                                 "RCPT TO:<b@dest.example>", "RCPT TO:<\"c d\"@dest.example>", "DATA"});
    REQUIRE(peer.contents.size() == 1);
    CHECK(peer.contents[0] == "From: a@sender.example\r\nSubject: test\r\n\r\none\r\ntwo\r\n");
    CHECK(b.has_logged("65A3F00C12B70001: to=<b@dest.example>, relay=" + relay + ", delay="));
    CHECK(b.has_logged(", dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4711)"));
}

TEST_CASE("content is sent whole whatever its size, end and dots", "[smtp-client][rfc5321-4.5.2]")
{
    struct Row {
        std::string header, body, wire;
        bool leading_dot;
    };
    std::string large, dotted, stuffed;
    for (int i = 0; i < 60'000; ++i)
        large += "line " + std::to_string(i) + "\r\n", dotted += ".dot\r\n", stuffed += "..dot\r\n";
    for (const Row& row : {
             Row{"A: b\r\n", "", "A: b\r\n\r\n", false},
             Row{"", "x\r\n", "\r\nx\r\n", false},
             Row{"A: b\r\n", "no end", "A: b\r\n\r\nno end\r\n", false},
             Row{"A: b\r\n", ".\r\n..\r\n.x\r\n", "A: b\r\n\r\n..\r\n...\r\n..x\r\n", true},
             Row{"A: b\r\n", ".no end", "A: b\r\n\r\n..no end\r\n", true},
             Row{".A: b\r\n", "x\r\n", "..A: b\r\n\r\nx\r\n", false}, // the header is looked at, whatever qmgr says
             Row{"A: b\r\n", large, "A: b\r\n\r\n" + large, false},
             Row{"A: b\r\n", dotted, "A: b\r\n\r\n" + stuffed, true},
         }) {
        Bench b;
        Peer peer(*b.loop, local("127.0.0.1"));
        Mail mail = b.to(peer);
        mail.header = row.header;
        mail.body = row.body;
        mail.leading_dot = row.leading_dot;
        CHECK(b.deliver_one(mail).outcome == sent);
        REQUIRE(peer.contents.size() == 1);
        CHECK((peer.contents[0] == row.wire));
    }
}

TEST_CASE("each recipient gets the verdict of its own reply", "[smtp-client]")
{
    for (const bool pipelining : {true, false}) {
        Bench b;
        std::map<std::string, std::string> odd{{"RCPT TO:<no@", "550 5.1.1 <no@dest.example>: unknown\r\n"},
                                               {"RCPT TO:<later@", "450 4.2.0 Greylisted\r\n"}};
        if (!pipelining) odd["EHLO"] = "250 peer.example\r\n";
        Peer peer(*b.loop, local("127.0.0.1"), script(odd));
        Mail mail = b.to(peer);
        mail.to = {"yes@dest.example", "no@dest.example", "later@dest.example"};
        const auto v = b.deliver(mail);
        CHECK(v[0].outcome == sent);
        CHECK(v[1].outcome == failed);
        CHECK(v[1].dsn == "5.1.1");
        CHECK(v[1].text ==
              "host 127.0.0.1[127.0.0.1] said: 550 5.1.1 <no@dest.example>: unknown (in reply to RCPT TO command)");
        CHECK(v[2].outcome == deferred);
        CHECK(v[2].dsn == "4.2.0");
        CHECK(v[2].text == "host 127.0.0.1[127.0.0.1] said: 450 4.2.0 Greylisted (in reply to RCPT TO command)");
        CHECK_FALSE(v[2].site);
    }
}

TEST_CASE("refusals of MAIL, DATA and the content hit all, with the command named", "[smtp-client]")
{
    struct Row {
        const char *line, *reply, *dsn, *command;
        ipc::Outcome outcome;
    };
    for (const Row& row : {Row{"MAIL", "550 5.7.1 no\r\n", "5.7.1", "MAIL FROM", failed},
                           Row{"MAIL", "451 busy\r\n", "4.0.0", "MAIL FROM", deferred},
                           Row{"DATA", "554 5.5.1 no\r\n", "5.5.1", "DATA", failed},
                           Row{"DATA", "450 4.3.0 wait\r\n", "4.3.0", "DATA", deferred},
                           Row{"<content>", "554 5.7.1 spam\r\n", "5.7.1", "end of DATA", failed},
                           Row{"<content>", "452 4.3.1 full\r\n", "4.3.1", "end of DATA", deferred}}) {
        Bench b;
        Peer peer(*b.loop, local("127.0.0.1"), script({{row.line, row.reply}}));
        Mail mail = b.to(peer);
        mail.to = {"b@dest.example", "c@dest.example"};
        CAPTURE(row.line, row.reply);
        for (const auto& v : b.deliver(mail)) {
            CHECK(v.outcome == row.outcome);
            CHECK(v.dsn == row.dsn);
            CHECK(v.text.ends_with(cat("(in reply to ", row.command, " command)")));
            CHECK_FALSE(v.site);
        }
    }
}

TEST_CASE("a peer that goes away, whenever, defers the mail and is named with the stage", "[smtp-client]")
{
    struct Row {
        const char *line, *reply, *text;
    };
    for (const Row& row : {
             Row{"<greeting>", "!close",
                 "lost connection with 127.0.0.1[127.0.0.1] while receiving the initial server greeting"},
             Row{"EHLO", "!close", "lost connection with 127.0.0.1[127.0.0.1] while performing the EHLO handshake"},
             Row{"MAIL", "!close", "lost connection with 127.0.0.1[127.0.0.1] while sending MAIL FROM"},
             Row{"RCPT", "!close", "lost connection with 127.0.0.1[127.0.0.1] while sending RCPT TO"},
             Row{"DATA", "!close", "lost connection with 127.0.0.1[127.0.0.1] while sending DATA command"},
             Row{"DATA", "354 go on\r\n!close", "lost connection with 127.0.0.1[127.0.0.1] while sending "},
             Row{"<content>", "!close",
                 "lost connection with 127.0.0.1[127.0.0.1] while sending end of data -- message may be sent more than "
                 "once"},
             Row{"<greeting>", "421 4.3.2 go away\r\n!close",
                 "host 127.0.0.1[127.0.0.1] refused to talk to me: 421 4.3.2 go away"},
             Row{"<greeting>", "554 5.7.1 banned\r\n!close",
                 "host 127.0.0.1[127.0.0.1] refused to talk to me: 554 5.7.1 banned"},
             Row{"EHLO", "421 4.3.2 too busy\r\n!close",
                 "host 127.0.0.1[127.0.0.1] refused to talk to me: 421 4.3.2 too busy"},
             Row{"<greeting>", "SSH-2.0-OpenSSH\r\n",
                 "host 127.0.0.1[127.0.0.1] refused to talk to me: 451 4.5.0 Protocol error"},
         }) {
        Bench b;
        Peer peer(*b.loop, local("127.0.0.1"), script({{row.line, row.reply}}));
        CAPTURE(row.line, row.reply);
        const auto v = b.deliver_one(b.to(peer));
        CHECK(v.outcome == deferred);
        CHECK(v.text.starts_with(row.text));
        CHECK(v.dsn.starts_with("4."));
        CHECK(v.site);
    }
}

TEST_CASE("421 in mid-session defers who is undecided, and keeps what was decided", "[smtp-client][rfc5321-3.8]")
{
    Bench b;
    Peer peer(
        *b.loop, local("127.0.0.1"),
        script({{"RCPT TO:<no@", "550 5.1.1 unknown\r\n"}, {"RCPT TO:<c@", "421 4.3.2 shutting down\r\n!close"}}));
    Mail mail = b.to(peer);
    mail.to = {"b@dest.example", "no@dest.example", "c@dest.example"};
    const auto v = b.deliver(mail);
    CHECK(v[0].outcome == deferred);
    CHECK(v[1].outcome == failed);
    CHECK(v[2].outcome == deferred);
    CHECK(v[2].text.find("421 4.3.2 shutting down") != std::string::npos);
    CHECK(v[2].site);
}

TEST_CASE("a silent peer is given up after the time-out of its stage", "[smtp-client]")
{
    struct Row {
        const char *line, *reply, *text;
        Settings::Time Settings::*time;
    };
    for (const Row& row :
         {Row{"<greeting>", "", "receiving the initial server greeting", &Settings::helo},
          Row{"EHLO", "", "performing the EHLO handshake", &Settings::helo},
          Row{"MAIL", "", "sending MAIL FROM", &Settings::mail},
          Row{"RCPT", "250 2.", "sending RCPT TO", &Settings::rcpt},
          Row{"DATA", "3", "sending DATA command", &Settings::data_init},
          Row{"<content>", "", "sending end of data -- message may be sent more than once", &Settings::data_done}}) {
        Bench b;
        b.settings.*row.time = std::chrono::milliseconds(250); // every other stage has minutes
        Peer peer(*b.loop, local("127.0.0.1"), [&](const std::string& said) -> std::string {
            if (said.starts_with(row.line)) return row.reply;
            return said.starts_with("EHLO") ? "250 peer.example\r\n" : Peer::usual(said); // one command at a time
        });
        CAPTURE(row.line);
        const auto v = b.deliver_one(b.to(peer));
        CHECK(v.outcome == deferred);
        CHECK(v.dsn == "4.4.2");
        CHECK(v.text == cat("conversation with 127.0.0.1[127.0.0.1] timed out while ", row.text));
        CHECK(v.site);
    }
}

TEST_CASE("a peer that floods its replies is bounded, one that only talks much is not", "[smtp-client]")
{
    for (const int lines : {2'000, 200'000}) {
        Bench b;
        std::string flood;
        for (int i = 0; i < lines; ++i) flood += "250-PIPELINING\r\n";
        Peer peer(*b.loop, local("127.0.0.1"), script({{"EHLO", flood + "250 SIZE\r\n"}}));
        const auto v = b.deliver_one(b.to(peer));
        CHECK(v.outcome == (lines == 2'000 ? sent : deferred));
        CHECK(v.site == (v.outcome == deferred));
    }
}

TEST_CASE("nobody listening defers with the kernel's word", "[smtp-client]")
{
    Bench b;
    net::Address closed;
    {
        Peer gone(*b.loop, local("127.0.0.1"));
        closed = gone.address();
    }
    Mail mail;
    mail.nexthop = cat("[127.0.0.1]:", closed.port());
    const auto v = b.deliver_one(mail);
    CHECK(v.outcome == deferred);
    CHECK(v.dsn == "4.4.1");
    CHECK(v.text == cat("connect to 127.0.0.1[127.0.0.1]:", closed.port(), ": Connection refused"));
    CHECK(v.relay == "none");
    CHECK(v.site);
}

TEST_CASE("MX hosts are tried in order until one takes the mail", "[smtp-client][rfc5321-5.1]")
{
    Bench b;
    Peer second(*b.loop, local("127.0.0.3"));
    const uint16_t port = second.address().port();
    Peer first(*b.loop, local("127.0.0.2", port),
               script({{"RCPT TO:<b@", "450 4.7.1 try the other\r\n"}, {"RCPT TO:<no@", "550 5.1.1 no\r\n"}}));
    b.zone.mx("dest.example", 20, "mx2.dest.example");
    b.zone.mx("dest.example", 10, "mx1.dest.example");
    b.zone.mx("dest.example", 5, "dead.dest.example");
    b.zone.a("dead.dest.example", "127.0.0.4");
    b.zone.a("mx1.dest.example", "127.0.0.2");
    b.zone.a("mx2.dest.example", "127.0.0.3");
    Mail mail;
    mail.nexthop = cat("dest.example:", port);
    mail.to = {"b@dest.example", "ok@dest.example", "no@dest.example"};
    const auto v = b.deliver(mail);
    CHECK(v[0].outcome == sent);
    CHECK(v[0].relay == cat("mx2.dest.example[127.0.0.3]:", port));
    CHECK(v[1].relay == cat("mx1.dest.example[127.0.0.2]:", port));
    CHECK(v[2].outcome == failed);
    CHECK(std::count(second.lines.begin(), second.lines.end(), "RCPT TO:<ok@dest.example>") == 0); // delivered once
    CHECK(b.has_logged(cat("connect to dead.dest.example[127.0.0.4]:", port, ": Connection refused")));
    CHECK(b.has_logged("65A3F00C12B70001: host mx1.dest.example[127.0.0.2] said: 450 4.7.1 try the other (in reply to "
                       "RCPT TO command)"));
}

TEST_CASE("an address that does not answer stalls one mail, not each", "[smtp-client]")
{
    Bench b;
    b.settings.connect = std::chrono::milliseconds(300);
    b.settings.cache_connections = false;
    Peer peer(*b.loop, local("127.0.0.3"));
    // Whose queue is full: the kernel drops what comes.
    auto deaf = net::listen_on(local("127.0.0.2", peer.address().port()), 0);
    REQUIRE(deaf);
    std::vector<Fd> fill;
    for (int i = 0; i < 4; ++i) {
        fill.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        const auto to = local("127.0.0.2", peer.address().port());
        (void)::connect(fill.back().get(), to.raw(), to.raw_size());
    }
    b.zone.mx("dest.example", 10, "one.dest.example");
    b.zone.mx("dest.example", 20, "two.dest.example");
    b.zone.a("one.dest.example", "127.0.0.2");
    b.zone.a("one.dest.example", "127.0.0.3");
    b.zone.a("two.dest.example", "127.0.0.2");
    Mail mail;
    mail.nexthop = cat("dest.example:", peer.address().port());
    const auto stalls = [&b] {
        std::size_t count = 0;
        for (std::size_t at = 0; (at = b.logged.find("Connection timed out", at)) != std::string::npos; ++at) ++count;
        return count;
    };
    CHECK(b.deliver_one(mail).outcome == sent);
    CHECK(stalls() == 1);
    for (int i = 0; i < 3; ++i) CHECK(b.deliver_one(mail).outcome == sent);
    CHECK(stalls() == 1);
    CHECK(b.world.silent.size() == 1);
}

namespace {

// A listening address whose queue is full: the kernel drops what comes.
struct Deaf {
    Fd listener;
    std::vector<Fd> fill;
    explicit Deaf(const net::Address& address) : listener(std::move(*net::listen_on(address, 0)))
    {
        const auto to = *net::Address::local_of(listener.get());
        for (int i = 0; i < 4; ++i) {
            fill.emplace_back(::socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
            (void)::connect(fill.back().get(), to.raw(), to.raw_size());
        }
    }
    net::Address address() const { return *net::Address::local_of(listener.get()); }
};

} // namespace

TEST_CASE("of two addresses the second one starts when the first has not answered for a moment, and the first to answer wins", "[smtp-client][rfc8305-5]")
{
    using namespace std::chrono_literals;
    Bench b;
    const Deaf deaf(local("127.0.0.2")), other(local("127.0.0.4"));
    Peer peer(*b.loop, local("127.0.0.3"));
    const auto closed = [] { return *net::Address::local_of(net::listen_on(local("127.0.0.5"), 1)->get()); }();
    struct Outcome {
        bool connected, second, second_failed;
    };
    const auto race = [&](const net::Address& one, std::optional<net::Address> two, std::chrono::milliseconds timeout, std::chrono::milliseconds head_start) {
        std::optional<Outcome> outcome;
        std::unique_ptr<Race> running;
        running = std::make_unique<Race>(*b.loop, Race::Runner{one, {}}, two ? std::optional(Race::Runner{*two, {}}) : std::nullopt, Race::Times{timeout, head_start}, [&](Result<Fd> fd, Race::Who who) {
            REQUIRE_FALSE(outcome);
            outcome = Outcome{fd.has_value(), who == Race::Who::second, running->second_error() != nullptr};
        });
        REQUIRE(b.until([&] { return outcome.has_value(); }));
        for (int i = 0; i < 5; ++i) b.loop->run_once(10ms);    // and never again
        return *outcome;
    };
    const auto is = [](const Outcome& o, bool connected, bool second, bool second_failed) { return o.connected == connected && o.second == second && o.second_failed == second_failed; };
    CHECK(is(race(deaf.address(), peer.address(), 20'000ms, 10ms), true, true, false));
    CHECK(is(race(peer.address(), deaf.address(), 20'000ms, 5'000ms), true, false, false));
    CHECK(is(race(deaf.address(), closed, 200ms, 10ms), false, false, true));
    CHECK(is(race(deaf.address(), other.address(), 200ms, 10ms), false, false, true));
    CHECK(is(race(closed, peer.address(), 20'000ms, 20'000ms), false, false, false));      // refused at once: the second is whoever's comes next
    CHECK(is(race(deaf.address(), std::nullopt, 100ms, 10ms), false, false, false));
    { Race left(*b.loop, {deaf.address(), {}}, Race::Runner{other.address(), {}}, {20'000ms, 1ms}, [](Result<Fd>, Race::Who) { FAIL("it is gone"); }); for (int i = 0; i < 3; ++i) b.loop->run_once(5ms); }
    for (int i = 0; i < 3; ++i) b.loop->run_once(5ms);
}

TEST_CASE("the other family of a host that does not answer is tried beside it", "[smtp-client][rfc8305-5]")
{
    if (!net::listen_on(local("::1"), 1)) {
        WARN("this host has no IPv6: not tested");
        return;
    }
    Bench b;
    b.settings.order.prefer = Family::ipv6;
    b.settings.head_start = std::chrono::milliseconds(10);
    b.settings.connect = std::chrono::milliseconds(20'000);
    b.settings.cache_connections = false;
    const Deaf deaf(local("::1"));
    const uint16_t port = deaf.address().port();
    Mail mail;
    mail.nexthop = cat("[both.example]:", port);
    b.zone.records["both.example/28"].push_back(wire::record("both.example", wire::aaaa, 300, local("::1").ip_bytes()));
    b.zone.a("both.example", "127.0.0.3");
    {
        Peer peer(*b.loop, local("127.0.0.3", port));
        const auto v = b.deliver_one(mail);
        CHECK(v.outcome == sent);
        CHECK(v.relay == cat("both.example[127.0.0.3]:", port));
        CHECK(b.has_logged(cat("connect to both.example[::1]:", port, ": no answer yet; both.example[127.0.0.3]:", port, " was tried too and answered first")));
        CHECK(b.world.silent.has("::1", system_clock().mono_us()));
        const std::size_t lines = b.logged.size();
        CHECK(b.deliver_one(mail).outcome == sent);    // it is asked first now
        CHECK(b.logged.find("no answer yet", lines) == std::string::npos);
    }
    // The one that was tried beside the first, in vain, is not tried again.
    b.world.silent = HostMemory(1000, 600 * us_per_second);
    b.settings.connect = std::chrono::milliseconds(300);
    b.logged.clear();
    const auto v = b.deliver_one(mail);
    CHECK(v.outcome == deferred);
    CHECK(v.text == cat("connect to both.example[::1]:", port, ": Connection timed out"));
    CHECK(b.logged.find(cat("connect to both.example[127.0.0.3]:", port, ": Connection refused")) == b.logged.rfind(cat("connect to both.example[127.0.0.3]:", port, ": Connection refused")));
}

TEST_CASE("a server of our own name is a loop, but its better hosts are waited for", "[smtp-client][rfc5321-5.1]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.2"), script({{"EHLO", "250-ME.example hello\r\n250 PIPELINING\r\n"}}));
    Peer named(*b.loop, local("127.0.0.4", peer.address().port()), script({{"EHLO", "250-me.example.org hello\r\n250 PIPELINING\r\n"}}));
    b.zone.mx("loop.example", 10, "one.loop.example");
    b.zone.mx("behind.example", 10, "gone.loop.example");
    b.zone.mx("behind.example", 20, "one.loop.example");
    b.zone.mx("behind.example", 30, "named.loop.example");
    b.zone.a("one.loop.example", "127.0.0.2");
    b.zone.a("gone.loop.example", "127.0.0.3");
    b.zone.a("named.loop.example", "127.0.0.4");
    Mail mail;
    mail.nexthop = cat("loop.example:", peer.address().port());
    CHECK(b.deliver_one(mail).outcome == sent);    // another port is another server
    b.settings.port = peer.address().port();
    b.settings.cache_connections = false;
    b.pool.clear();
    auto v = b.deliver_one(mail);
    CHECK(v.outcome == failed);
    CHECK(v.dsn == "5.4.6");
    CHECK(v.text == "mail for loop.example loops back to myself");
    CHECK(b.has_logged(cat("host one.loop.example[127.0.0.2] replied to EHLO with this host's own name, me.example")));
    mail.nexthop = cat("behind.example:", peer.address().port());
    v = b.deliver_one(mail);
    CHECK(v.outcome == deferred);
    CHECK(v.dsn == "4.4.6");
    CHECK(v.text == "mail for behind.example loops back to myself");
    CHECK(named.connections == 0);     // who is behind ourselves in the list
    mail.nexthop = cat("[named.loop.example]:", peer.address().port());
    CHECK(b.deliver_one(mail).outcome == sent);
}

TEST_CASE("a table makes other lines of a server's replies", "[smtp-client]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.1"), script({{"RCPT", "550-5.7.1 come back\r\n550 5.7.1 greylisted\r\n"}}));
    const auto filter = [&](const std::vector<std::string>& specs) {
        b.settings.reply_filter = std::make_shared<const Lookup>(specs, [](const std::string& path) -> Result<std::string> {
            return path == "/filter" ? Result<std::string>("/^550(.)5(.*)$/ 450${1}4$2\n/^354 (.*)/ no reply\n") : fail("no such file");
        });
        b.pool.clear();
    };
    CHECK(b.deliver_one(b.to(peer)).outcome == failed);
    filter({"regexp:/filter"});
    const auto v = b.deliver_one(b.to(peer));
    CHECK(v.outcome == deferred);
    CHECK(v.dsn == "4.7.1");
    CHECK(v.text.find("said: 450 4.7.1 come back greylisted (in reply to RCPT TO command)") != std::string::npos);
    Peer taking(*b.loop, local("127.0.0.1"));
    CHECK(b.deliver_one(b.to(taking)).dsn == "4.5.0");     // what it makes is a reply, or none
    filter({"regexp:/nowhere"});
    const auto unread = b.deliver_one(b.to(taking));
    CHECK(unread.outcome == deferred);
    CHECK(unread.text == "the table that filters replies cannot be read now");
    CHECK(taking.connections == 1);
}

TEST_CASE("what counts as not announced may be another thing for each server", "[smtp-client]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.1")), other(*b.loop, local("127.0.0.2"));
    b.settings.discard_keywords = {"dsn"};
    b.settings.discard_by_address = std::make_shared<const Lookup>(std::vector<std::string>{"inline:{127.0.0.1=size}"}, [](const std::string&) -> Result<std::string> { return fail("no such file"); });
    Mail mail = b.to(peer);
    CHECK(b.deliver_one(mail).outcome == sent);
    CHECK(b.deliver_one(b.to(other)).outcome == sent);
    const auto says = [](const Peer& p, std::string_view word) { return std::any_of(p.lines.begin(), p.lines.end(), [&](const auto& l) { return l.starts_with("MAIL FROM") && l.find(word) != std::string::npos; }); };
    CHECK_FALSE(says(peer, " SIZE="));
    CHECK(says(other, " SIZE="));
    b.settings.discard_by_address = std::make_shared<const Lookup>(std::vector<std::string>{"hash:/nonexistent"}, [](const std::string&) -> Result<std::string> { return fail("no such file"); });
    b.pool.clear();
    const auto v = b.deliver_one(mail);
    CHECK(v.outcome == deferred);
    CHECK(v.text == "a table for this server cannot be read now");
}

TEST_CASE("lines that are too long are broken on their way out", "[smtp-client][rfc5321-4.5.3.1.6]")
{
    const std::string longish(1500, 'x'), chunking = "250-peer.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 8BITMIME\r\n";
    Bench b;
    Peer peer(*b.loop, local("127.0.0.1"), [&](const std::string& line) -> std::string {
        if (line.starts_with("EHLO")) return chunking;
        if (line.starts_with("BDAT ")) return cat("!chunk ", *parse_number<std::size_t>(split_on(line, ' ')[1]));
        return Peer::usual(line);
    });
    const auto content = [&](const Mail& mail) {
        CHECK(b.deliver_one(mail).outcome == sent);
        return peer.contents.back();
    };
    Mail mail = b.to(peer);
    mail.header = cat("Subject: ", std::string(990, 's'), " tail\r\n");
    mail.body = cat("a\r\n", longish, "\r\n.b\r\n");
    CHECK(content(mail) == cat("Subject:\r\n ", std::string(990, 's'), " tail\r\n\r\n", mail.body));      // the queue file knows of no long line of the body
    mail.longest_line = 1500;
    mail.leading_dot = true;
    CHECK(content(mail) == cat("Subject:\r\n ", std::string(990, 's'), " tail\r\n\r\na\r\n", longish.substr(0, 998), "\r\n ", longish.substr(998), "\r\n..b\r\n"));
    CHECK(peer.lines.back() == "DATA");
    b.settings.line_limit = 1500;
    CHECK(content(mail).find(longish + "\r\n") != std::string::npos);
    b.settings.line_limit = 0;
    CHECK(content(mail) == cat(mail.header, "\r\n", mail.body));
    b.settings.line_limit = 100;      // less than what END tells of
    mail.longest_line = 0;
    mail.header = "Subject: x\r\n";
    const std::string folded = content(mail);
    for (const auto line : split_on(folded, '\n')) CHECK(line.size() <= 101);
}

TEST_CASE("the limit of a line is read, and one with no room is refused", "[smtp-client]")
{
    const auto limit = [](const std::string& conf, bool lmtp = false) -> std::string {
        const auto file = conf::File::parse(cat("myhostname = host.example\n", conf), "main.cf");
        if (!file.ok()) return "unread";
        const auto s = read_settings(file.values(), [](const std::string&) -> Result<std::string> { return fail("no such file"); }, lmtp);
        return s ? std::to_string(s->line_limit) : s.error().text;
    };
    CHECK(limit("") == "998");
    CHECK(limit("smtp_line_length_limit = 0\n") == "0");
    CHECK(limit("smtp_line_length_limit = 2147483647\n") == "0");
    CHECK(limit("smtp_line_length_limit = 990\n") == "990");
    CHECK(limit("smtp_line_length_limit = 990\n", true) == "998");
    CHECK(limit("lmtp_line_length_limit = 64\n", true) == "64");
    CHECK(limit("smtp_line_length_limit = 63\n") == "smtp_line_length_limit = 63: 0 for no limit, or 64 and more is wanted");
}

TEST_CASE("a greeting that refuses sends the mail to the next host", "[smtp-client]")
{
    for (const bool skip : {true, false}) {
        Bench b;
        b.settings.skip_5xx_greeting = skip;
        Peer second(*b.loop, local("127.0.0.3"));
        const uint16_t port = second.address().port();
        Peer first(*b.loop, local("127.0.0.2", port), script({{"<greeting>", "554 5.3.2 no service\r\n!close"}}));
        b.zone.mx("dest.example", 10, "mx1.dest.example");
        b.zone.mx("dest.example", 20, "mx2.dest.example");
        b.zone.a("mx1.dest.example", "127.0.0.2");
        b.zone.a("mx2.dest.example", "127.0.0.3");
        Mail mail;
        mail.nexthop = cat("dest.example:", port);
        const auto v = b.deliver_one(mail);
        CHECK(v.outcome == (skip ? sent : failed));
        CHECK(second.connections == (skip ? 1 : 0));
    }
}

TEST_CASE("no more sessions than the limit are begun for one delivery", "[smtp-client]")
{
    Bench b;
    Peer one(*b.loop, local("127.0.0.2"), script({{"MAIL", "450 4.0.0 no\r\n"}}));
    const uint16_t port = one.address().port();
    Peer two(*b.loop, local("127.0.0.3", port), script({{"MAIL", "451 4.0.1 no\r\n"}})),
        three(*b.loop, local("127.0.0.4", port));
    for (const char* n : {"1", "2", "3"}) b.zone.mx("dest.example", 10, cat("mx", n, ".dest.example"));
    b.zone.a("mx1.dest.example", "127.0.0.2");
    b.zone.a("mx2.dest.example", "127.0.0.3");
    b.zone.a("mx3.dest.example", "127.0.0.4");
    Mail mail;
    mail.nexthop = cat("dest.example:", port);
    const auto v = b.deliver_one(mail);
    CHECK(v.outcome == deferred);
    CHECK(one.connections == 1);
    CHECK(two.connections == 1);
    CHECK(three.connections == 0);
}

TEST_CASE("what DNS says becomes a verdict, and only certain news bounces", "[smtp-client]")
{
    Bench b;
    b.zone.records["null.example/15"].push_back(wire::mx_record("null.example", 0, ""));
    b.zone.records["nomx.example/16"].push_back(wire::record("nomx.example", wire::txt, 60, std::string("\1x")));
    b.zone.failing = {"broken.example/15", "half.example/1"};
    b.zone.mx("half.example", 10, "half.example");
    b.zone.mx("noaddress.example", 10, "gone.example");
    struct Row {
        const char* domain;
        ipc::Outcome outcome;
        const char *dsn, *text;
    };
    for (const Row& row : {
             Row{"null.example", failed, "5.1.10", "Domain null.example does not accept mail (nullMX)"},
             Row{"gone.example", failed, "5.4.4",
                 "Host or domain name not found. Name service error for name=gone.example type=MX: Host not found"},
             Row{"nomx.example", failed, "5.4.4",
                 "Host or domain name not found. Name service error for name=nomx.example type=A: Host found but no "
                 "data record of requested type"},
             Row{"noaddress.example", failed, "5.4.4",
                 "Host or domain name not found. Name service error for name=gone.example type=A: Host not found"},
             Row{"broken.example", deferred, "4.4.3",
                 "Host or domain name not found. Name service error for name=broken.example type=MX: Host not found, "
                 "try again"},
             Row{"half.example", deferred, "4.4.3",
                 "Host or domain name not found. Name service error for name=half.example type=A: Host not found, try "
                 "again"},
         }) {
        Mail mail;
        mail.nexthop = row.domain;
        CAPTURE(row.domain);
        const auto v = b.deliver_one(mail);
        CHECK(v.outcome == row.outcome);
        CHECK(v.dsn == row.dsn);
        CHECK(v.text == row.text);
        CHECK(v.relay == "none");
        CHECK(v.site == (row.outcome == deferred));
    }
}

TEST_CASE("the domain itself is the host when it has no MX, and an alias is followed", "[smtp-client][rfc5321-5.1]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.2"));
    b.zone.a("dest.example", "127.0.0.2");
    b.zone.records["alias.example/15"].push_back(wire::cname_record("alias.example", "dest.example"));
    b.zone.records["alias.example/1"] = {wire::cname_record("alias.example", "dest.example"),
                                         wire::a_record("dest.example", std::string("\x7f\0\0\2", 4))};
    for (const char* domain : {"dest.example", "alias.example"}) {
        Mail mail;
        mail.nexthop = cat(domain, ":", peer.address().port());
        const auto v = b.deliver_one(mail);
        CHECK(v.outcome == sent);
        CHECK(v.relay == cat(domain, "[127.0.0.2]:", peer.address().port()));
    }
}

TEST_CASE("hosts(5) comes after the DNS, before it, or in its place, as main.cf says", "[smtp-client]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.2"));
    b.zone.mx("dest.example", 10, "mx.dest.example");
    b.zone.a("mx.dest.example", "127.0.0.9");       // nobody listens there
    b.zone.failing = {"trouble.example/1", "mxtrouble.example/15"};
    const auto names = std::make_shared<const net::HostNames>(
        net::parse_host_names("127.0.0.2 mx.dest.example only.here trouble.example mxtrouble.example # x\n::1 six.here\nnonsense mx.dest.example\n"));
    const auto relay = [&](const std::string& hop) {
        Mail mail;
        mail.nexthop = cat(hop, ":", peer.address().port());
        const auto v = b.deliver_one(mail);
        return v.outcome == sent ? v.relay.substr(0, v.relay.find(':')) : cat(v.dsn, " ", v.text.find("Name service error") != std::string::npos ? "name" : "other");
    };
    b.settings.connect = std::chrono::milliseconds(500);
    CHECK(relay("[only.here]") == "5.4.4 name");
    b.settings.lookup.names = names;                // dns, native
    CHECK(relay("[only.here]") == "only.here[127.0.0.2]");
    CHECK(relay("only.here") == "only.here[127.0.0.2]");
    CHECK(relay("[trouble.example]") == "4.4.3 name");       // the DNS may know better in a moment
    CHECK(relay("mxtrouble.example") == "4.4.3 name");
    CHECK(relay("[unknown.example]") == "5.4.4 name");
    CHECK(relay("dest.example") == "4.4.1 other");
    b.settings.lookup.dns_first = false;            // native
    CHECK(relay("dest.example") == "mx.dest.example[127.0.0.2]");
    b.settings.ipv6 = false;
    CHECK(relay("[six.here]") == "5.4.4 name");     // an address of the wrong family is none
    b.pool.clear();
    b.settings.lookup.mx = false;                   // disable_dns_lookups
    CHECK(relay("dest.example") == "5.4.4 name");
    CHECK(relay("mx.dest.example") == "mx.dest.example[127.0.0.2]");
}

TEST_CASE("smtp_host_lookup and its kin are read, and what is none of its words is refused", "[smtp-client]")
{
    const auto lookup = [](const std::string& conf, bool lmtp = false) -> std::string {
        const auto file = conf::File::parse(cat("myhostname = host.example\n", conf), "main.cf");
        if (!file.ok()) return "unread";
        const auto s = read_settings(file.values(), [](const std::string& path) -> Result<std::string> {
            return path == "/etc/hosts" ? Result<std::string>("192.0.2.1 a.example\n") : fail("no such file");
        }, lmtp);
        if (!s) return "refused";
        return cat(s->lookup.mx ? "mx " : "", s->lookup.dns_first ? "dns " : "", s->lookup.names && s->lookup.names->contains("a.example") ? "hosts" : "");
    };
    CHECK(lookup("") == "mx dns ");
    CHECK(lookup("smtp_host_lookup = native, dns\n") == "mx dns hosts");
    CHECK(lookup("smtp_host_lookup = native\n") == "mx hosts");
    CHECK(lookup("smtp_host_lookup = native\n", true) == "mx hosts");
    CHECK(lookup("disable_dns_lookups = yes\n") == "hosts");
    CHECK(lookup("smtp_dns_support_level = disabled\n") == "hosts");
    CHECK(lookup("smtp_dns_support_level = enabled\n") == "mx dns ");
    CHECK(lookup("smtp_dns_support_level = perhaps\n") == "unread");
    CHECK(lookup("smtp_host_lookup = nis\n") == "unread");
}

TEST_CASE("mail never goes to hosts behind ourselves in the list", "[smtp-client][rfc5321-5.1]")
{
    Bench b;
    b.own = {local("192.0.2.9")};
    b.zone.mx("loop.example", 10, "mx1.loop.example");
    b.zone.mx("loop.example", 20, "mx2.loop.example");
    b.zone.a("mx1.loop.example", "192.0.2.9");
    b.zone.a("mx2.loop.example", "127.0.0.2");
    b.zone.mx("byname.example", 10, "me.example");
    b.zone.a("me.example", "203.0.113.7");
    for (const char* domain : {"loop.example", "byname.example", "[192.0.2.9]"}) {
        Mail mail;
        mail.nexthop = domain;
        const auto v = b.deliver_one(mail);
        CHECK(v.outcome == failed);
        CHECK(v.dsn == "5.4.6");
        CHECK(v.text.ends_with("loops back to myself"));
    }
}

TEST_CASE("an address that is no host's leads nowhere, least of all to this host", "[smtp-client]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.2"));
    b.zone.mx("void.example", 10, "mx.void.example");
    b.zone.a("mx.void.example", "0.0.0.0");
    b.zone.mx("half.example", 10, "mx.void.example");
    b.zone.mx("half.example", 20, "mx.half.example");
    b.zone.a("mx.half.example", "127.0.0.2");
    b.zone.a("six.example", "0.1.2.3");
    Mail mail;
    for (const char* domain : {"void.example", "six.example"}) {
        mail.nexthop = cat(domain, ":", peer.address().port());
        const auto v = b.deliver_one(mail);
        CHECK(v.outcome == failed);
        CHECK(v.dsn == "5.4.4");
    }
    CHECK(peer.connections == 0);
    mail.nexthop = cat("half.example:", peer.address().port());
    CHECK(b.deliver_one(mail).outcome == sent);
}

TEST_CASE("mail of one destination reuses the connection, and the log counts it", "[smtp-client]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.1"));
    for (int i = 0; i < 3; ++i) CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    CHECK(peer.connections == 1);
    CHECK(b.pool.idle() == 1);
    CHECK(b.has_logged(", conn_use=3, delay="));
    CHECK_FALSE(b.has_logged(", conn_use=1"));
    b.pool.clear();
    CHECK(b.until([&] { return peer.ended == 1 && b.pool.leaving() == 0; }));
    CHECK(peer.lines.back() == "QUIT");
    b.settings.reuse_count = 2;
    for (int i = 0; i < 3; ++i) CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    CHECK(peer.connections == 3);
    b.settings.cache_connections = false;
    b.pool.clear();
    for (int i = 0; i < 2; ++i) CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    CHECK(b.pool.idle() == 0);
}

namespace {

// Deliveries side by side.
struct Running {
    std::vector<ipc::Verdict> verdicts;
    bool done = false;
    std::unique_ptr<Delivery> delivery;
    Running(Bench& b, const Mail& mail)
    {
        b.world.settings = std::make_shared<const Settings>(b.settings);
        again(b, mail);
    }
    Running(Bench& b, const Mail& mail, std::nullptr_t) { again(b, mail); }    // under the settings of the one before

private:
    void again(Bench& b, const Mail& mail)
    {
        Fd file;
        auto attempt = b.attempt_of(mail, file);
        delivery = std::make_unique<Delivery>(b.world, std::move(attempt), std::move(file), [this](std::vector<ipc::Verdict> some) {
            for (auto& v : some) verdicts.push_back(std::move(v));
        }, [this] { done = true; });
        delivery->start();
    }
};

} // namespace

TEST_CASE("towards a prompt peer the envelope of the next mail goes out behind the content of this one", "[smtp-client][rfc2920-3.1]")
{
    enum class Then { answers, refuses, hangs_up, leaves, is_gone };
    for (const Then then : {Then::answers, Then::refuses, Then::hangs_up, Then::leaves, Then::is_gone}) {
        CAPTURE(static_cast<int>(then));
        Bench b;
        b.settings.prompt = std::chrono::seconds(60);
        bool holds = false, held = false;       // the answer to a content, until the next MAIL comes
        Peer peer(*b.loop, local("127.0.0.1"), [&](const std::string& line) -> std::string {
            if (line == "<content>" && holds) return held = true, holds = false, "";
            if (line.starts_with("MAIL") && std::exchange(held, false)) {
                if (then == Then::hangs_up) return "!close";
                if (then == Then::leaves) return "250 2.0.0 first\r\n421 4.3.2 enough\r\n!close";
                return then == Then::refuses ? "554 5.7.1 spam\r\n250 2.1.0 Ok\r\n" : "250 2.0.0 first\r\n250 2.1.0 Ok\r\n";
            }
            return Peer::usual(line);
        });
        Mail mail = b.to(peer);
        CHECK(b.deliver_one(mail).outcome == sent);          // the first one shows how prompt the peer is
        b.world.settings = std::make_shared<const Settings>(b.settings);
        CHECK(b.pool.idle() == 1);
        holds = true;
        mail.body = "first\r\n";
        Running first(b, mail, nullptr);
        REQUIRE(b.until([&] { return peer.lines.size() > 4 && b.pool.idle() == 0; }));
        mail.body = "second\r\n";
        Running second(b, mail, nullptr);
        if (then == Then::is_gone) second.delivery->cancel();
        if (then == Then::is_gone) holds = held = false;
        if (then == Then::is_gone) continue;                  // the first one's peer stays silent; everything goes in any state
        REQUIRE(b.until([&] { return first.done && second.done; }));
        CHECK(first.verdicts[0].outcome == (then == Then::answers || then == Then::leaves ? sent : then == Then::refuses ? failed : deferred));
        CHECK(second.verdicts[0].outcome == sent);            // after a hang-up or a good-bye over a connection of its own
        CHECK(peer.connections == (then == Then::hangs_up || then == Then::leaves ? 2 : 1));
        CHECK(std::count(peer.contents.begin(), peer.contents.end(), mail.header + "\r\nsecond\r\n") == 1);
        CHECK(b.until([&] { return b.pool.idle() == 1; }));
    }
}

TEST_CASE("nobody joins a connection that was made under settings of before", "[smtp-client]")
{
    Bench b;
    b.settings.prompt = std::chrono::seconds(60);
    unsigned contents = 0;
    bool held = false;
    Peer peer(*b.loop, local("127.0.0.1"), [&](const std::string& line) -> std::string {
        if (line == "<content>" && ++contents == 2) return held = true, "";        // answered when the next MAIL comes
        if (line == "<content>" && contents == 3) return "";                       // never
        if (line.starts_with("MAIL") && std::exchange(held, false)) return "250 2.0.0 first\r\n250 2.1.0 Ok\r\n";
        return Peer::usual(line);
    });
    CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    b.world.settings = std::make_shared<const Settings>(b.settings);
    Running first(b, b.to(peer), nullptr), second(b, b.to(peer), nullptr);
    b.pool.clear();                                                                 // as a reload does
    b.world.settings = std::make_shared<const Settings>(b.settings);
    REQUIRE(b.until([&] { return contents == 3; }));
    CHECK(first.done);
    Running third(b, b.to(peer), nullptr);
    REQUIRE(b.until([&] { return third.done; }));
    CHECK(third.verdicts[0].outcome == sent);
    CHECK_FALSE(second.done);
    CHECK(peer.connections == 2);
}

TEST_CASE("behind a peer that takes its time for each mail, mails have connections of their own", "[smtp-client]")
{
    Bench b;
    b.settings.prompt = std::chrono::seconds(-1);
    Peer peer(*b.loop, local("127.0.0.1"));
    CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    b.world.settings = std::make_shared<const Settings>(b.settings);
    Running first(b, b.to(peer), nullptr), second(b, b.to(peer), nullptr);
    REQUIRE(b.until([&] { return first.done && second.done; }));
    CHECK(peer.connections == 2);
}

TEST_CASE("who waits behind a connection that does not come free goes his own way", "[smtp-client]")
{
    Bench b;
    b.settings.prompt = std::chrono::seconds(60);
    bool silent = false, mute = false;      // from the content on, until somebody else comes
    Peer peer(*b.loop, local("127.0.0.1"), [&](const std::string& line) {
        if (line == "<content>" && std::exchange(silent, false)) mute = true;
        if (line == "<greeting>") mute = false;
        return mute ? std::string() : Peer::usual(line);
    });
    CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    b.world.settings = std::make_shared<const Settings>(b.settings);
    silent = true;
    Running first(b, b.to(peer), nullptr), second(b, b.to(peer), nullptr);
    REQUIRE(b.until([&] { return second.done; }));            // after the patience of who waits
    CHECK(second.verdicts[0].outcome == sent);
    CHECK_FALSE(first.done);
    CHECK(peer.connections == 2);
    first.delivery->cancel();
    CHECK(first.verdicts[0].outcome == deferred);
}

TEST_CASE("an idle connection says QUIT after its time", "[smtp-client]")
{
    Bench b;
    b.settings.cache_time = std::chrono::milliseconds(250);
    Peer peer(*b.loop, local("127.0.0.1"));
    CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    CHECK(b.until([&] { return peer.ended == 1; }));
    CHECK(peer.lines.back() == "QUIT");
    CHECK(b.pool.idle() == 0);
}

TEST_CASE("a cached connection that the peer closed is no reason to wait", "[smtp-client]")
{
    Bench b;
    int mails = 0;
    Peer peer(*b.loop, local("127.0.0.1"), [&](const std::string& line) -> std::string {
        if (line.starts_with("MAIL") && ++mails == 2) return "!close"; // just as the second mail comes
        return Peer::usual(line);
    });
    CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    CHECK(peer.connections == 2);
    // and one that closed while idle is forgotten
    peer.hang_up();
    CHECK(b.until([&] { return b.pool.idle() == 0; }));
    CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    CHECK(peer.connections == 3);
}

TEST_CASE("a good-bye instead of an answer to MAIL on an old connection is no reason to wait", "[smtp-client][rfc5321-3.8]")
{
    Bench b;
    int mails = 0;
    const auto second_time = [&](const std::string& line) -> std::string {
        if (line.starts_with("MAIL") && ++mails == 2) return "421 4.4.2 idle for too long\r\n!close";
        return Peer::usual(line);
    };
    Peer peer(*b.loop, local("127.0.0.1"), second_time);
    CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    CHECK(peer.connections == 2);
    mails = 1;                                      // on a new connection it is the host's word
    b.pool.clear();
    const auto v = b.deliver_one(b.to(peer));
    CHECK(v.outcome == deferred);
    CHECK(v.text.ends_with("said: 421 4.4.2 idle for too long (in reply to MAIL FROM command)"));
    // The host of another domain's connection.
    mails = 0;
    Peer shared(*b.loop, local("127.0.0.2"), second_time);
    b.zone.a("mx.host.example", "127.0.0.2");
    for (const char* domain : {"one.example", "two.example"}) {
        b.zone.mx(domain, 10, "mx.host.example");
        Mail mail;
        mail.nexthop = cat(domain, ":", shared.address().port());
        CHECK(b.deliver_one(mail).outcome == sent);
    }
    CHECK(shared.connections == 2);
}

TEST_CASE("what a cached connection refuses for now goes to the other hosts, not to the same again", "[smtp-client][rfc5321-5.1]")
{
    Bench b;
    Peer second(*b.loop, local("127.0.0.3"));
    const uint16_t port = second.address().port();
    Peer first(*b.loop, local("127.0.0.2", port), script({{"RCPT TO:<grey@", "450 4.7.1 try the other\r\n"}}));
    b.zone.mx("dest.example", 10, "mx1.dest.example");
    b.zone.mx("dest.example", 20, "mx2.dest.example");
    b.zone.a("mx1.dest.example", "127.0.0.2");
    b.zone.a("mx2.dest.example", "127.0.0.3");
    Mail mail;
    mail.nexthop = cat("dest.example:", port);
    CHECK(b.deliver_one(mail).outcome == sent);
    mail.to = {"grey@dest.example", "ok@dest.example"};
    const auto v = b.deliver(mail);
    CHECK(v[0].relay == cat("mx2.dest.example[127.0.0.3]:", port));
    CHECK(v[1].relay == cat("mx1.dest.example[127.0.0.2]:", port));
    CHECK(first.connections == 1);
    b.zone.records.clear();
    b.zone.mx("dest.example", 10, "mx1.dest.example");
    b.zone.a("mx1.dest.example", "127.0.0.2");
    b.resolver.set_config(b.config());
    b.pool.clear();
    mail.to = {"ok@dest.example"};
    CHECK(b.deliver_one(mail).outcome == sent);
    mail.to = {"grey@dest.example"};
    const auto alone = b.deliver_one(mail);
    CHECK(alone.outcome == deferred);
    CHECK(alone.text == "host mx1.dest.example[127.0.0.2] said: 450 4.7.1 try the other (in reply to RCPT TO command)");
    CHECK(first.connections == 2);
}

TEST_CASE("a connection to a lesser host serves again only where the best one does not", "[smtp-client][rfc5321-5.1]")
{
    Bench b;
    Peer second(*b.loop, local("127.0.0.3"));
    const uint16_t port = second.address().port();
    b.zone.mx("dest.example", 10, "mx1.dest.example");
    b.zone.mx("dest.example", 20, "mx2.dest.example");
    b.zone.a("mx1.dest.example", "127.0.0.2");
    b.zone.a("mx2.dest.example", "127.0.0.3");
    Mail mail;
    mail.nexthop = cat("dest.example:", port);
    for (int i = 0; i < 2; ++i) CHECK(b.deliver_one(mail).outcome == sent);   // the best one is down
    CHECK(second.connections == 1);
    CHECK(b.has_logged(cat("relay=mx2.dest.example[127.0.0.3]:", port, ", conn_use=2, ")));
    Peer first(*b.loop, local("127.0.0.2", port));
    for (int i = 0; i < 2; ++i) CHECK(b.deliver_one(mail).relay == cat("mx1.dest.example[127.0.0.2]:", port));
    CHECK(first.connections == 1);
    second.hang_up();
}

TEST_CASE("a connection to a host serves every domain of it", "[smtp-client]")
{
    Bench b;
    int mails = 0;
    Peer peer(*b.loop, local("127.0.0.2"), [&](const std::string& line) -> std::string {
        if (line.starts_with("MAIL") && ++mails == 3) return "!close";
        return Peer::usual(line);
    });
    b.zone.a("mx.host.example", "127.0.0.2");
    for (const char* domain : {"one.example", "two.example", "three.example"}) b.zone.mx(domain, 10, "mx.host.example");
    unsigned connections = 1;
    for (const char* domain : {"one.example", "two.example", "three.example"}) {
        Mail mail;
        mail.nexthop = cat(domain, ":", peer.address().port());
        if (mails == 2) connections = 2;   // the third mail finds it closing, and gets a new one
        CHECK(b.deliver_one(mail).outcome == sent);
        CHECK(peer.connections == connections);
    }
}

TEST_CASE("recipients with senders of their own get transactions of their own", "[smtp-client]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.1"));
    Mail mail = b.to(peer);
    mail.to = {"b@dest.example", "c@dest.example", "d@dest.example"};
    mail.senders = {"-", "owner-list@sender.example", "-"};
    for (const auto& v : b.deliver(mail)) CHECK(v.outcome == sent);
    CHECK(peer.connections == 1);
    CHECK(peer.contents.size() == 2);
    CHECK(std::count(peer.lines.begin(), peer.lines.end(), "MAIL FROM:<owner-list@sender.example> SIZE=51") == 1);
    mail.sender.clear();
    mail.senders.clear();
    CHECK(b.deliver(mail)[0].outcome == sent);
    CHECK(std::count(peer.lines.begin(), peer.lines.end(), "MAIL FROM:<> SIZE=51") == 1);
}

TEST_CASE("forwarded mail bears the mark of who forwarded it, and SIZE counts it", "[smtp-client]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.1"));
    Mail mail = b.to(peer);
    for (const bool dots : {false, true}) {
        mail.leading_dot = dots;
        mail.body = dots ? ".one\r\n" : "one\r\n";
        mail.delivered_to = "alice@here.example";
        CHECK(b.deliver(mail)[0].outcome == sent);
        REQUIRE(!peer.contents.empty());
        CHECK(peer.contents.back().starts_with("Delivered-To: alice@here.example\r\nFrom: "));
        const auto size = std::string("Delivered-To: alice@here.example\r\n").size() + mail.header.size() + 2 + mail.body.size();
        CHECK(std::count(peer.lines.begin(), peer.lines.end(), cat("MAIL FROM:<a@sender.example> SIZE=", size)) == 1);
    }
    mail.delivered_to = "x@here.example\r\nBcc: y";    // no address, whoever said it
    CHECK(b.deliver(mail)[0].outcome == sent);
    CHECK(peer.contents.back().starts_with("From: "));
}

TEST_CASE("what qmgr says is checked again", "[smtp-client]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.1"));
    Mail mail = b.to(peer);
    mail.to = {"b@dest.example>\r\nRCPT TO:<evil@dest.example", "nodomain", "good@dest.example"};
    auto v = b.deliver(mail);
    CHECK(v[0].outcome == failed);
    CHECK(v[0].dsn == "5.1.3");
    CHECK(v[1].outcome == failed);
    CHECK(v[2].outcome == sent);
    for (const auto& line : peer.lines) CHECK(line.find("evil") == std::string::npos);
    mail = b.to(peer);
    mail.sender = "a@b\r\nDATA";
    CHECK(b.deliver_one(mail).outcome == failed);
    mail = b.to(peer);
    mail.nexthop = "a b";
    CHECK(b.deliver_one(mail).dsn == "4.3.5");

    b.world.settings = std::make_shared<const Settings>(b.settings);
    for (const uint64_t offset :
         {uint64_t{1} << 40, UINT64_MAX, uint64_t{60}}) { // a layout that points beyond the file
        Fd file;
        auto attempt = b.attempt_of(b.to(peer), file);
        attempt.layout.body_offset = offset;
        std::vector<ipc::Verdict> verdicts;
        Delivery delivery(
            b.world, std::move(attempt), std::move(file),
            [&](std::vector<ipc::Verdict> some) { verdicts = std::move(some); }, [] {});
        delivery.start();
        REQUIRE(verdicts.size() == 1);
        CHECK(verdicts[0].outcome == deferred);
        CHECK(verdicts[0].dsn == "4.3.0");
    }
}

TEST_CASE("a mail larger than the peer takes is not even tried", "[smtp-client][rfc1870-6.1]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.1"), script({{"EHLO", "250-peer\r\n250 SIZE 10\r\n"}}));
    const auto v = b.deliver_one(b.to(peer));
    CHECK(v.outcome == failed);
    CHECK(v.dsn == "5.3.4");
    CHECK(v.text == "message size 51 exceeds size limit 10 of server 127.0.0.1[127.0.0.1]");
    CHECK(peer.lines == std::vector<std::string>{"EHLO me.example"});
}

TEST_CASE("the fallback relay takes what its destination does not", "[smtp-client]")
{
    Bench b;
    Peer relay(*b.loop, local("127.0.0.1"));
    b.settings.fallback = {*parse_nexthop(cat("[127.0.0.1]:", relay.address().port()), 25)};
    Mail mail;
    mail.nexthop = "gone.example";
    CHECK(b.deliver_one(mail).outcome == sent);
    b.pool.clear();
    Peer busy(*b.loop, local("127.0.0.1"), script({{"RCPT", "450 4.2.1 not now\r\n"}}));
    const auto v = b.deliver_one(b.to(busy));
    CHECK(v.outcome == sent);
    CHECK(v.relay == cat("127.0.0.1[127.0.0.1]:", relay.address().port()));
}

namespace {

struct Certificate { // a server context with a certificate of its own
    Certificate()
    {
        char name[] = "/tmp/veredus-pem.XXXXXX";
        const Fd fd(::mkstemp(name));
        const auto pems = tls::make_self_signed("mx.dest.example");
        REQUIRE(pems);
        REQUIRE(write_all(fd.get(), pems->certificate + pems->key));
        context = std::move(*tls::ServerContext::load(name, ""));
        ::unlink(name);
    }
    std::unique_ptr<tls::ServerContext> context;
};
const char* const ehlo_tls = "250-peer.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n";

std::shared_ptr<tls::ClientContext> client_tls()
{
    return std::shared_ptr<tls::ClientContext>(std::move(*tls::ClientContext::create("", "")));
}

} // namespace

TEST_CASE("STARTTLS is used when offered, EHLO said again, and the log tells", "[smtp-client][rfc3207-4.2]")
{
    Bench b;
    b.world.tls = client_tls();
    const Certificate certificate;
    Peer peer(*b.loop, local("127.0.0.1"), script({{"EHLO", ehlo_tls}}), certificate.context.get());
    Mail mail = b.to(peer);
    for (int i = 0; i < 40'000; ++i) mail.body += "a line of a larger mail\r\n";
    CHECK(b.deliver_one(mail).outcome == sent);
    CHECK(std::count(peer.lines.begin(), peer.lines.end(), "EHLO me.example") == 2);
    CHECK((peer.contents.at(0).ends_with(mail.body)));
    CHECK(b.has_logged(cat("Untrusted TLS connection established to 127.0.0.1[127.0.0.1]:", peer.address().port(),
                           ": TLSv1.3 with cipher TLS_AES_128_GCM_SHA256 (128/128 bits)")));
}

TEST_CASE("a TLS error in the middle of a session defers with its reason", "[smtp-client][tls]")
{
    Bench b;
    b.world.tls = client_tls();
    b.settings.tls.level = TlsLevel::encrypt;
    const Certificate certificate;
    Peer peer(*b.loop, local("127.0.0.1"), script({{"EHLO", ehlo_tls}, {"MAIL", "!damage"}}), certificate.context.get());
    const auto v = b.deliver_one(b.to(peer));
    CHECK(v.outcome == deferred);
    CHECK(v.text == "lost connection with 127.0.0.1[127.0.0.1] while sending MAIL FROM (TLS: decryption failed or bad record mac)");
}

TEST_CASE("a handshake that fails falls back to clear under may, and defers under encrypt", "[smtp-client]")
{
    for (const char* reply : {"220 go\r\n!garbage", "220 go\r\n!close", "220 go\r\n"}) {
        for (const TlsLevel level : {TlsLevel::may, TlsLevel::encrypt}) {
            Bench b;
            b.world.tls = client_tls();
            b.settings.tls.level = level;
            b.settings.starttls = std::chrono::milliseconds(250);
            Peer peer(*b.loop, local("127.0.0.1"), script({{"EHLO", ehlo_tls}, {"STARTTLS", reply}}));
            CAPTURE(reply);
            const auto v = b.deliver_one(b.to(peer));
            CHECK(v.outcome == (level == TlsLevel::may ? sent : deferred));
            CHECK(peer.connections == (level == TlsLevel::may ? 2 : 1));
            CHECK(b.has_logged("SSL_connect error to 127.0.0.1[127.0.0.1]:"));
            if (level == TlsLevel::encrypt) CHECK(v.dsn == "4.7.5");
        }
    }
}

TEST_CASE("without TLS on offer, encrypt waits and may goes on", "[smtp-client]")
{
    for (const auto& [ehlo, starttls, text] :
         {std::tuple{"250 peer\r\n", "", "TLS is required, but was not offered by host 127.0.0.1[127.0.0.1]"},
          std::tuple{ehlo_tls, "454 4.7.0 not now\r\n",
                     "TLS is required, but host 127.0.0.1[127.0.0.1] refused to start TLS: 454 4.7.0 not now"}}) {
        for (const TlsLevel level : {TlsLevel::may, TlsLevel::encrypt, TlsLevel::none}) {
            Bench b;
            b.world.tls = client_tls();
            b.settings.tls.level = level;
            Peer peer(*b.loop, local("127.0.0.1"), script({{"EHLO", ehlo}, {"STARTTLS", starttls}}));
            const auto v = b.deliver_one(b.to(peer));
            CHECK(v.outcome == (level == TlsLevel::encrypt ? deferred : sent));
            if (level == TlsLevel::encrypt) {
                CHECK(v.text == text);
                CHECK(v.dsn == "4.7.4");
            }
        }
    }
}

TEST_CASE("once TLS is demanded, no old connection in clear is used", "[smtp-client]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.1"));
    CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    b.settings.tls.level = TlsLevel::encrypt;
    b.world.tls = client_tls();
    const auto v = b.deliver_one(b.to(peer));
    CHECK(v.outcome == deferred);
    CHECK(v.dsn == "4.7.4");
    CHECK(peer.contents.size() == 1);
}

TEST_CASE("attempts come over the channel and verdicts go back, many at once", "[smtp-client]")
{
    Bench b;
    b.world.settings = std::make_shared<const Settings>(b.settings);
    Peer peer(*b.loop, local("127.0.0.1"));
    auto pair = socket_pair(SOCK_SEQPACKET);
    REQUIRE(pair);
    bool closed = false, idle = false;
    auto agent = std::make_unique<Agent>(b.world, std::move(pair->first), [&] { closed = true; });
    std::map<uint64_t, std::vector<ipc::Verdict>> heard;
    auto qmgr = std::make_unique<ipc::Channel>(
        *b.loop, std::move(pair->second),
        ipc::Channel::User{[&](ipc::Message m) {
                               REQUIRE(m.type == static_cast<uint16_t>(ipc::AgentType::verdicts));
                               auto v = ipc::Verdicts::decode(m.body);
                               REQUIRE(v);
                               for (auto& one : v->verdicts) heard[v->attempt].push_back(one);
                           },
                           [](const std::string&) {}});
    for (int i = 0; i < 20; ++i) {
        Fd file;
        const auto attempt = b.attempt_of(b.to(peer), file);
        const int fds[] = {file.get()};
        REQUIRE(qmgr->send(static_cast<uint16_t>(ipc::AgentType::attempt), attempt.encode(), fds));
    }
    REQUIRE(b.until([&] { return heard.size() == 20; }));
    for (const auto& [number, verdicts] : heard) {
        REQUIRE(verdicts.size() == 1);
        CHECK(verdicts[0].outcome == sent);
    }
    agent->when_idle([&] { idle = true; });
    REQUIRE(b.until([&] { return idle; }));

    // nonsense is dropped, and an attempt without its fd is deferred
    REQUIRE(qmgr->send(static_cast<uint16_t>(ipc::AgentType::attempt), "nonsense"));
    REQUIRE(qmgr->send(777, ""));
    Fd file;
    // more than may run at once are put off, and the log says so of each recipient
    {
        bool gone = false;
        auto other = socket_pair(SOCK_SEQPACKET);
        REQUIRE(other);
        Agent none(b.world, std::move(other->first), [&] { gone = true; }, 0);
        std::vector<ipc::Verdict> verdicts;
        ipc::Channel asks(*b.loop, std::move(other->second),
                          ipc::Channel::User{[&](ipc::Message m) { verdicts = ipc::Verdicts::decode(m.body)->verdicts; }, [](const std::string&) {}});
        Mail two = b.to(peer);
        two.to = {"b@dest.example", "c@dest.example"};
        const auto refused = b.attempt_of(two, file);
        const int held[] = {file.get()};
        REQUIRE(asks.send(static_cast<uint16_t>(ipc::AgentType::attempt), refused.encode(), held));
        REQUIRE(b.until([&] { return verdicts.size() == 2; }));
        CHECK(verdicts[1].outcome == deferred);
        for (const char* to : {"b@", "c@"})
            CHECK(b.has_logged(cat("65A3F00C12B70001: to=<", to, "dest.example>, relay=none, delay=")));
        CHECK(b.has_logged("dsn=4.3.2, status=deferred (too many deliveries at once)"));
    }
    const auto lacking = b.attempt_of(b.to(peer), file);
    REQUIRE(qmgr->send(static_cast<uint16_t>(ipc::AgentType::attempt), lacking.encode()));
    REQUIRE(b.until([&] { return heard.contains(lacking.attempt); }));
    CHECK(heard[lacking.attempt][0].outcome == deferred);

    // a cancelled one is answered, and the end of the channel ends what runs
    b.pool.clear();
    Peer silent(*b.loop, local("127.0.0.1"), script({{"<greeting>", ""}}));
    const auto slow = b.attempt_of(b.to(silent), file);
    const int fds[] = {file.get()};
    REQUIRE(qmgr->send(static_cast<uint16_t>(ipc::AgentType::attempt), slow.encode(), fds));
    REQUIRE(b.until([&] { return silent.connections == 1; }));
    ipc::Writer w;
    w.u64(slow.attempt);
    REQUIRE(qmgr->send(static_cast<uint16_t>(ipc::AgentType::cancel), w.take()));
    REQUIRE(b.until([&] { return heard.contains(slow.attempt); }));
    CHECK(heard[slow.attempt][0].dsn == "4.3.2");
    auto again = slow;
    again.attempt += 100;
    REQUIRE(qmgr->send(static_cast<uint16_t>(ipc::AgentType::attempt), again.encode(), fds));
    REQUIRE(b.until([&] { return silent.connections == 2; }));
    qmgr.reset();
    REQUIRE(b.until([&] { return closed; }));
    agent.reset();
    CHECK(b.until([&] { return silent.ended == 2; }));
}

TEST_CASE("a server with CHUNKING gets the content as it lies in the queue, in one chunk", "[smtp-client][rfc3030-2]")
{
    const std::string header = "From: a@sender.example\r\nSubject: test\r\n";
    const std::string big(200'000, 'x');
    for (const std::string& body : {std::string("one\r\n.two\r\n"), std::string("no end"), std::string(), big, big + "\r\n"}) {
        Bench b;
        std::string rest;
        std::size_t wanted = 0;
        Peer peer(*b.loop, local("127.0.0.1"), [&](const std::string& line) -> std::string {
            if (line.starts_with("EHLO")) return "250-peer.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n";
            if (!line.starts_with("BDAT ")) return Peer::usual(line);
            wanted = *parse_number<std::size_t>(split_on(line, ' ')[1]);
            return cat("!chunk ", wanted);
        });
        Mail mail = b.to(peer);
        mail.body = body;
        mail.leading_dot = body.find("\n.") != std::string::npos;
        CHECK(b.deliver_one(mail).outcome == sent);
        REQUIRE(peer.contents.size() == 1);
        CHECK((peer.contents[0] == cat(header, "\r\n", body, body.empty() || body.ends_with("\r\n") ? "" : "\r\n")));
        CHECK(wanted == peer.contents[0].size());
    }
}

TEST_CASE("a server without 8BITMIME gets 7-bit content, unless main.cf says no", "[smtp-client][rfc6152-3]")
{
    const std::string header = "Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
    for (const bool knows : {true, false})
        for (const char* convert : {"no", "yes"}) {
            Bench b;
            b.settings.rework = rework_rules(cat("disable_mime_output_conversion = ", convert, "\n"));
            Peer peer(*b.loop, local("127.0.0.1"), [&](const std::string& line) -> std::string {
                if (line.starts_with("EHLO")) return cat("250-peer.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 ", knows ? "8BITMIME\r\n" : "DSN\r\n");
                if (line.starts_with("BDAT ")) return cat("!chunk ", *parse_number<std::size_t>(split_on(line, ' ')[1]));
                return Peer::usual(line);
            });
            Mail mail = b.to(peer);
            mail.eight_bit = true;
            mail.header = header;
            mail.body = ".gr\xc3\xbcn\r\n" + std::string(200'000, 'x') + "\r\n";
            mail.leading_dot = true;
            CHECK(b.deliver_one(mail).outcome == sent);
            REQUIRE(peer.contents.size() == 1);
            const bool converted = !knows && convert == std::string("no");
            CHECK((peer.contents[0].find("Content-Transfer-Encoding: quoted-printable\r\nMIME-Version: 1.0\r\n\r\n..gr=C3=BCn\r\n") != std::string::npos) == converted);
            CHECK(std::any_of(peer.lines.begin(), peer.lines.end(), [](const auto& l) { return l.find("BODY=8BITMIME") != std::string::npos; }) == knows);
            CHECK(std::any_of(peer.lines.begin(), peer.lines.end(), [](const auto& l) { return l.starts_with("BDAT"); }) == !converted);
        }
}

TEST_CASE("binary content: by BDAT to who announces BINARYMIME, in base64 to others, and back to the sender when it cannot be encoded", "[smtp-client][rfc3030-3]")
{
    using namespace std::string_literals;
    const std::string bytes = "\0\n.\r\n.\r\nQUIT\r\n\r\xff"s;
    const auto multipart = [&](std::string_view kind, std::string_view fields) {
        return std::pair(cat("Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/", kind, "; boundary=b\r\n"),
                         cat("--b\r\nContent-Type: application/x\r\n", fields, "\r\n", bytes, "\r\n--b--"));
    };
    const auto good = multipart("mixed", "Content-Transfer-Encoding: binary\r\n"), claims = multipart("mixed", ""),
               lies = multipart("mixed", "Content-Transfer-Encoding: base64\r\n"), is_signed = multipart("signed", "Content-Transfer-Encoding: binary\r\n");
    const std::string takes = "250-CHUNKING\r\n250-BINARYMIME\r\n250 8BITMIME\r\n", chunks = "250-CHUNKING\r\n250 8BITMIME\r\n", none = "250 DSN\r\n";
    enum class Way { binary, base64, back };
    struct Case {
        const std::pair<std::string, std::string>& mail;
        std::string announced, settings;
        Way way;
    };
    const std::string checks = "smtp_body_checks = regexp:/body\n", kept = "disable_mime_output_conversion = yes\n";
    const Case cases[] = {
        {good, takes, "", Way::binary},   {is_signed, takes, kept, Way::binary}, {lies, takes, "", Way::binary},       {good, chunks, "", Way::base64},
        {good, none, "", Way::base64},    {claims, none, "", Way::base64},       {good, takes, checks, Way::base64},   {good, none, kept, Way::back},
        {lies, none, "", Way::back},      {is_signed, none, "", Way::back},      {is_signed, takes, checks, Way::back}, {good, chunks, kept, Way::back},
    };
    for (const Case& c : cases) {
        INFO(c.mail.first << c.announced << c.settings << static_cast<int>(c.way));
        Bench b;
        b.settings.rework = rework_rules(c.settings, {{"/body", "/^nothing/ WARN\n"}});
        Peer peer(*b.loop, local("127.0.0.1"), [&](const std::string& line) -> std::string {
            if (line.starts_with("EHLO")) return cat("250-peer.example\r\n250-PIPELINING\r\n", c.announced);
            if (line.starts_with("BDAT ")) return cat("!chunk ", *parse_number<std::size_t>(split_on(line, ' ')[1]));
            return Peer::usual(line);
        });
        Mail mail = b.to(peer);
        std::tie(mail.header, mail.body) = c.mail;
        mail.body_type = mail::Body::binary;
        mail.eight_bit = true;
        const auto verdict = b.deliver_one(mail);
        const auto said = [&](std::string_view what) { return std::any_of(peer.lines.begin(), peer.lines.end(), [&](const auto& l) { return l.find(what) != std::string::npos; }); };
        CHECK(said("BODY=BINARYMIME") == (c.way == Way::binary));
        CHECK(said("DATA") == (c.way == Way::base64));
        if (c.way == Way::back) {
            CHECK(verdict.outcome == failed);
            CHECK(verdict.dsn == "5.6.3");
            CHECK(peer.contents.empty());
            continue;
        }
        CHECK(verdict.outcome == sent);
        REQUIRE(peer.contents.size() == 1);
        const std::string& content = peer.contents[0];
        if (c.way == Way::binary) {
            CHECK((content == cat(mail.header, "\r\n", mail.body)));
            continue;
        }
        CHECK(content.find_first_of("\0\xff"s) == std::string::npos);
        const std::size_t at = content.find("base64\r\n"), begin = content.find("\r\n\r\n", at) + 4, end = content.find("\r\n--b--\r\n");
        REQUIRE((at != std::string::npos && end != std::string::npos));
        CHECK((base64_decode(content.substr(begin, end - begin)) == bytes));
    }
}

TEST_CASE("generic addresses stand in envelope and header, and a table that cannot be read makes the mail wait", "[smtp-client]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.1"));
    Mail mail = b.to(peer);
    mail.sender = "alice+x@host.local";
    mail.to = {"bob@host.local", "c@dest.example"};
    mail.header = "From: Alice <alice@host.local>\r\nTo: bob@host.local,\r\n c@dest.example\r\nSubject: bob@host.local\r\n";
    b.settings.rework = rework_rules("smtp_generic_maps = inline:{alice@host.local=alice@isp.example, @host.local=@sub.isp.example}\n"
                                     "propagate_unmatched_extensions = generic\n");
    for (const auto& v : b.deliver(mail)) CHECK(v.outcome == sent);
    CHECK(std::any_of(peer.lines.begin(), peer.lines.end(), [](const auto& l) { return l.starts_with("MAIL FROM:<alice+x@isp.example> SIZE="); }));
    CHECK(std::count(peer.lines.begin(), peer.lines.end(), "RCPT TO:<bob@sub.isp.example>") == 1);
    CHECK(std::count(peer.lines.begin(), peer.lines.end(), "RCPT TO:<c@dest.example>") == 1);
    CHECK(peer.contents.back().starts_with("From: Alice <alice@isp.example>\r\nTo: bob@sub.isp.example,\r\n c@dest.example\r\nSubject: bob@host.local\r\n\r\n"));
    CHECK(b.has_logged("to=<bob@host.local>"));
    for (const char* broken : {"smtp_generic_maps = hash:/nonexistent\n", "smtp_generic_maps = inline:{@host.local=a b c}\n"}) {
        b.settings.rework = rework_rules(broken);
        const auto v = b.deliver(mail);
        CHECK(v[0].outcome == deferred);
        CHECK(v[0].dsn == "4.3.0");
    }
}

TEST_CASE("checks on the way out change header and body, and refuse nothing", "[smtp-client]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.1"));
    Mail mail = b.to(peer);
    mail.header = "Received: from secret\r\nSubject: x\r\nX-Spam: y\r\n";
    mail.body = "one\r\ntwo\r\n";
    b.settings.rework = rework_rules("smtp_header_checks = regexp:/header\nsmtp_body_checks = regexp:/body\n", {{"/header", "/^Received:/ IGNORE\n/^X-Spam:/ REJECT no\n/^Subject: x/ REPLACE Subject: y\n"}, {"/body", "/^two/ REPLACE .2\n"}});
    CHECK(b.deliver_one(mail).outcome == sent);
    CHECK(peer.contents.back() == "Subject: y\r\nX-Spam: y\r\n\r\none\r\n..2\r\n");
    CHECK(b.has_logged("REJECT is not supported for mail on its way out and has no effect"));
    CHECK(b.has_logged("65A3F00C12B70001: replace: header Subject: x from local; from=<a@sender.example> to=<b@dest.example>: Subject: y"));
    b.settings.rework = rework_rules("smtp_header_checks = regexp:/header\n");
    CHECK(b.deliver_one(mail).dsn == "4.3.0");
    const std::size_t before = peer.contents.size();
    b.settings.rework = rework_rules("smtp_body_checks = regexp:/body\n");
    const auto unread = b.deliver_one(mail);
    CHECK(unread.outcome == deferred);
    CHECK(unread.text == "the tables of header and body checks cannot be used now");
    CHECK(peer.contents.size() == before);
}

TEST_CASE("who announces CHUNKING and does not know BDAT gets DATA at once, and no BDAT for a while", "[smtp-client][rfc3030-2]")
{
    Bench b;
    unsigned bdats = 0;
    Peer peer(*b.loop, local("127.0.0.1"), [&](const std::string& line) -> std::string {
        if (line.starts_with("EHLO")) return "250-peer.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n";
        if (line.starts_with("RCPT TO:<no@")) return "550 5.1.1 unknown\r\n";
        if (line.starts_with("BDAT ")) ++bdats;
        return line.starts_with("BDAT ") || line == "one" || line == "two" ? "502 5.5.1 what?\r\n" : Peer::usual(line);
    });
    Mail mail = b.to(peer);
    mail.to = {"no@dest.example", "b@dest.example"};
    const auto first = b.deliver(mail);
    CHECK(first[0].outcome == failed);
    CHECK(first[1].outcome == sent);
    CHECK(peer.connections == 2);
    CHECK(peer.contents.size() == 1);
    b.pool.clear();
    CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    CHECK(bdats == 1);
    CHECK(b.has_logged("announces CHUNKING and refuses BDAT; trying again with DATA"));

    HostMemory memory(2, 10);
    memory.remember("a", 0);
    memory.remember("b", 5);
    memory.remember("c", 6);
    CHECK(memory.size() == 2);
    CHECK(memory.has("c", 15));
    CHECK_FALSE(memory.has("c", 16));
}

TEST_CASE("a good-bye in one segment with the last reply is no reason to go elsewhere", "[smtp-client][rfc5321-3.8]")
{
    Bench b;
    Peer best(*b.loop, local("127.0.0.1"), script({{"<content>", "250 2.0.0 taken\r\n421 4.3.2 bye\r\n!close"}}));
    Peer second(*b.loop, local("127.0.0.2", best.address().port()));
    b.settings.port = best.address().port();
    b.zone.mx("dest.example", 10, "one.example");
    b.zone.mx("dest.example", 20, "two.example");
    b.zone.a("one.example", "127.0.0.1");
    b.zone.a("two.example", "127.0.0.2");
    Mail mail;
    mail.nexthop = "dest.example";
    for (int i = 0; i < 2; ++i) CHECK(b.deliver_one(mail).text == "250 2.0.0 taken");
    CHECK(best.connections == 2);
    CHECK(second.connections == 0);
}

namespace {

// A self-signed certificate for "relay.example" and a client that trusts it as an authority.
struct Trust {
    tls::Pems pems = *tls::make_self_signed("relay.example");
    std::unique_ptr<tls::ServerContext> server = tls::ServerContext::create();
    std::shared_ptr<tls::ClientContext> client;
    explicit Trust(bool trusted = true)
    {
        ::signal(SIGPIPE, SIG_IGN); // as daemons do: TLS writes to who is gone
        REQUIRE(server->use({{{"own", cat(pems.certificate, pems.key), false}}, {}, false, {}}));
        tls::ClientContext::Files files;
        if (trusted) files.ca_text = pems.certificate;
        client = std::move(*tls::ClientContext::create(files));
    }
};

std::shared_ptr<const Lookup> lookup(const std::string& text)
{
    return std::make_shared<const Lookup>(std::vector<std::string>{"hash:/t"}, [&](const std::string&) -> Result<std::string> { return text; });
}

} // namespace

TEST_CASE("verify, secure and fingerprint send only to who proves what was asked for", "[smtp-client]")
{
    const struct {
        TlsLevel level;
        std::vector<std::string> match;
        bool trusted, good;
        std::string text;
    } cases[] = {
        {TlsLevel::verify, {"relay.example"}, true, true, ""},
        {TlsLevel::secure, {"relay.example"}, true, true, ""},
        {TlsLevel::secure, {"other.example", ".example"}, true, true, ""},
        {TlsLevel::verify, {"other.example"}, true, false, "Server certificate not verified"},
        {TlsLevel::verify, {"hostname"}, true, false, "Server certificate not verified"},
        {TlsLevel::secure, {"relay.example"}, false, false, "Server certificate not trusted"},
        {TlsLevel::fingerprint, {std::string(64, 'a')}, true, false, "Server certificate not verified"},
    };
    for (const auto& c : cases) {
        Bench b;
        const Trust trust(c.trusted);
        b.world.tls = trust.client;
        b.settings.tls.level = c.level;
        b.settings.tls.verify_match = b.settings.tls.secure_match = b.settings.tls.fingerprints = c.match;
        Peer peer(*b.loop, local("127.0.0.1"), script({{"EHLO", ehlo_tls}}), trust.server.get());
        for (int round = 0; round < 2; ++round) { // the second may be a resumed session
            const auto v = b.deliver_one(b.to(peer));
            CHECK(v.outcome == (c.good ? sent : deferred));
            if (c.good) continue;
            CHECK(v.text == c.text);
            CHECK(v.dsn == "4.7.5");
            CHECK(b.has_logged("certificate verification failed for 127.0.0.1[127.0.0.1]:"));
            CHECK(peer.contents.empty());
        }
        if (c.good) CHECK(b.has_logged("Verified TLS connection established to 127.0.0.1[127.0.0.1]:"));
    }
}

TEST_CASE("a mail that requires TLS goes to a server that proves its name and promises the same, or back", "[smtp-client][rfc8689-4.2.1]")
{
    enum class Server { good, without, clear, stranger, second_good };
    for (const Server kind : {Server::good, Server::without, Server::clear, Server::stranger, Server::second_good})
        for (const bool report : {false, true}) {
            Bench b;
            const Trust trust(kind != Server::stranger);
            b.world.tls = trust.client;
            b.settings.tls.secure_match = {"relay.example"};
            const auto speaks = [](bool offers_tls, bool has) {
                auto hellos = std::make_shared<int>(0); // shared: the script is copied
                return [=](const std::string& line) -> std::string {
                    if (!line.starts_with("EHLO")) return Peer::usual(line);
                    const bool first = (*hellos)++ % 2 == 0;
                    return cat("250-peer.example\r\n", first && offers_tls ? "250-STARTTLS\r\n" : "", !first && has ? "250-REQUIRETLS\r\n" : "", "250 8BITMIME\r\n");
                };
            };
            Peer first(*b.loop, local("127.0.0.1"), speaks(kind != Server::clear, kind == Server::good || kind == Server::stranger), trust.server.get());
            Peer second(*b.loop, local("127.0.0.2", first.address().port()), speaks(true, true), trust.server.get());
            b.settings.port = first.address().port();
            b.zone.mx("dest.example", 10, "one.example");
            b.zone.a("one.example", "127.0.0.1");
            if (kind == Server::second_good) b.zone.mx("dest.example", 20, "two.example");
            if (kind == Server::second_good) b.zone.a("two.example", "127.0.0.2");
            Mail mail;
            mail.nexthop = "dest.example";
            mail.tls = mail::TlsNeed::required;
            if (report) mail.sender.clear();
            const auto v = b.deliver_one(mail);
            const bool good = kind == Server::good || kind == Server::second_good || report;
            INFO(static_cast<int>(kind) << ' ' << report << ' ' << v.text);
            CHECK(v.outcome == (good ? sent : failed));
            if (!good) CHECK(v.dsn == (kind == Server::without ? "5.7.30" : "5.7.10"));
            CHECK(first.contents.size() + second.contents.size() == (good ? 1 : 0));
            const Peer& taker = second.contents.empty() ? first : second;
            const bool said = std::any_of(taker.lines.begin(), taker.lines.end(), [](const auto& l) { return l.starts_with("MAIL FROM:") && l.ends_with(" REQUIRETLS"); });
            CHECK(said == (good && (kind == Server::good || (kind == Server::stranger && report) || (kind == Server::second_good && !report))));
        }
}

TEST_CASE("a mail whose sender waives TLS goes out in clear where the level would not let it", "[smtp-client][rfc8689-4.2.2]")
{
    Bench b;
    const Trust trust;
    b.world.tls = trust.client;
    b.settings.tls.level = TlsLevel::secure;
    Peer peer(*b.loop, local("127.0.0.1"));
    Mail mail = b.to(peer);
    CHECK(b.deliver_one(mail).dsn == "4.7.4");
    mail.tls = mail::TlsNeed::waived;
    CHECK(b.deliver_one(mail).outcome == sent);
    b.settings.sasl.enabled = true;
    b.pool.clear();
    CHECK(b.deliver_one(mail).dsn == "4.7.4");
}

TEST_CASE("a fingerprint from the log is one that fits", "[smtp-client]")
{
    Bench b;
    const Trust trust(false);
    b.world.tls = trust.client;
    b.settings.tls.level = TlsLevel::fingerprint;
    b.settings.tls.fingerprints = {std::string(64, 'a')};
    Peer peer(*b.loop, local("127.0.0.1"), script({{"EHLO", ehlo_tls}}), trust.server.get());
    CHECK(b.deliver_one(b.to(peer)).outcome == deferred);
    const std::string before = "its fingerprints are ", between = " and, of its key, ";
    const auto at = b.logged.find(before), second = b.logged.find(between);
    REQUIRE(at != std::string::npos);
    REQUIRE(second != std::string::npos);
    for (const std::string& print : {b.logged.substr(at + before.size(), 64), b.logged.substr(second + between.size(), 64)}) {
        b.settings.tls.fingerprints = {print};
        CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    }
}

TEST_CASE("wrapper mode speaks TLS before the greeting, and a table of policies picks levels", "[smtp-client][rfc8314-3.3]")
{
    Bench b;
    const Trust trust;
    b.world.tls = trust.client;
    b.settings.tls.wrapper = true;
    Peer peer(*b.loop, local("127.0.0.1"), script({{"<greeting>", "!wrap"}}), trust.server.get());
    CHECK(b.deliver_one(b.to(peer)).outcome == sent);
    CHECK(b.has_logged("Trusted TLS connection established"));
    CHECK(std::count(peer.lines.begin(), peer.lines.end(), "STARTTLS") == 0);
    CHECK(std::count(peer.lines.begin(), peer.lines.end(), "EHLO me.example") == 1);

    Peer clear(*b.loop, local("127.0.0.1")); // speaks first, and no TLS
    b.settings.starttls = std::chrono::milliseconds(250);
    const auto v = b.deliver_one(b.to(clear));
    CHECK(v.outcome == deferred);
    CHECK(v.dsn == "4.7.5");
    CHECK(clear.lines.empty());

    b.settings.tls.wrapper = false;
    b.settings.tls.table = lookup(cat(b.to(clear).nexthop, " secure\n[127.0.0.2] bad-level\n"));
    CHECK(b.deliver_one(b.to(clear)).dsn == "4.7.4");
    Mail mail = b.to(clear);
    mail.nexthop = "[127.0.0.2]";
    const auto bad = b.deliver_one(mail);
    CHECK(bad.outcome == deferred);
    CHECK(bad.text.starts_with("client TLS configuration problem: TLS policy for [127.0.0.2]: \"bad-level\""));
}

TEST_CASE("a server with a password in the table is logged in to, and its no makes the mail wait", "[smtp-client][rfc4954-4]")
{
    const struct {
        std::string ehlo, reply;
        bool strict;
        ipc::Outcome outcome;
        std::string said, text, dsn;
    } cases[] = {
        {"250-peer\r\n250 AUTH PLAIN LOGIN\r\n", "235 2.7.0 ok\r\n", false, sent, "AUTH PLAIN AHVzZXIAc2Vj", "", "2.0.0"},
        {"250-peer\r\n250 AUTH=PLAIN\r\n", "235 ok\r\n", false, sent, "AUTH PLAIN AHVzZXIAc2Vj", "", "2.0.0"},
        {"250-peer\r\n250 AUTH PLAIN\r\n", "535 5.7.8 wrong\r\n", false, deferred, "AUTH PLAIN AHVzZXIAc2Vj",
         "SASL authentication failed; server 127.0.0.1[127.0.0.1] said: 535 5.7.8 wrong", "4.7.8"},
        {"250-peer\r\n250 AUTH PLAIN\r\n", "", true, deferred, "",
         "SASL authentication failed; cannot authenticate to server 127.0.0.1[127.0.0.1]: no mechanism available on a connection without TLS", "4.7.0"},
        {"250-peer\r\n250 AUTH SCRAM-SHA-256 PLAIN\r\n", "235 gotcha\r\n", true, deferred, "AUTH SCRAM-SHA-256 ",
         "SASL authentication failed; server 127.0.0.1[127.0.0.1] said: 454 4.7.0 the server did not prove that it knows the password", "4.7.0"},
        {"250 peer\r\n", "", true, sent, "", "", "2.0.0"},
    };
    for (const auto& c : cases) {
        INFO(c.ehlo);
        Bench b;
        Peer peer(*b.loop, local("127.0.0.1"), script({{"EHLO", c.ehlo}, {"AUTH", c.reply}}));
        b.settings.sasl.enabled = true;
        b.settings.sasl.clear.no_plaintext = c.strict;
        b.settings.sasl.table = lookup(cat(b.to(peer).nexthop, " user:sec\n"));
        const auto v = b.deliver_one(b.to(peer));
        CHECK(v.outcome == c.outcome);
        CHECK(v.dsn == c.dsn);
        if (!c.text.empty()) CHECK(v.text == c.text);
        const bool said = std::any_of(peer.lines.begin(), peer.lines.end(), [&](const auto& line) { return line.starts_with(c.said) && line.starts_with("AUTH"); });
        CHECK(said == !c.said.empty());
        CHECK_FALSE(b.has_logged("sec\""));
        CHECK(b.logged.find("AHVzZXIAc2Vj") == std::string::npos);
    }
    Bench b; // a table that cannot be read: nothing is sent without the password that it may hold
    Peer peer(*b.loop, local("127.0.0.1"));
    b.settings.sasl.enabled = true;
    b.settings.sasl.table = std::make_shared<const Lookup>(std::vector<std::string>{"hash:/gone"}, [](const std::string& path) -> Result<std::string> { return fail(path); });
    const auto v = b.deliver_one(b.to(peer));
    CHECK(v.outcome == deferred);
    CHECK(peer.connections == 0);
}

TEST_CASE("senders with logins of their own share no connection", "[smtp-client]")
{
    Bench b;
    Peer peer(*b.loop, local("127.0.0.1"), script({{"EHLO", "250-peer\r\n250 AUTH PLAIN\r\n"}, {"AUTH", "235 ok\r\n"}}));
    b.settings.sasl.enabled = b.settings.sasl.by_sender = true;
    b.settings.sasl.clear.no_plaintext = false;
    b.settings.sasl.table = lookup("a@sender.example a:1\nb@sender.example b:2\n");
    Mail mail = b.to(peer);
    for (const char* sender : {"a@sender.example", "b@sender.example", "a@sender.example", "c@sender.example"}) {
        mail.sender = sender;
        CHECK(b.deliver_one(mail).outcome == sent);
    }
    CHECK(peer.connections == 3);
    CHECK(std::count(peer.lines.begin(), peer.lines.end(), "AUTH PLAIN AGEAMQ==") == 1);
    CHECK(std::count(peer.lines.begin(), peer.lines.end(), "AUTH PLAIN AGIAMg==") == 1);
}

TEST_CASE("LMTP has a verdict for each recipient after the content", "[smtp-client][rfc2033-4.2]")
{
    for (const bool by_path : {false, true}) {
        Bench b;
        Settings lmtp = b.settings;
        lmtp.lmtp = true;
        b.world.lmtp = std::make_shared<const Settings>(lmtp);
        Peer peer(*b.loop, local("127.0.0.1"), script({{"EHLO", "500 5.5.1 say LHLO\r\n"}, {"LHLO", "250-peer\r\n250 PIPELINING\r\n"},
                                                        {"RCPT TO:<gone@", "550 5.1.1 no such user\r\n"},
                                                        {"<content>", "250 2.0.0 saved\r\n452 4.2.2 full\r\n550 5.2.0 broken\r\n"}}));
        const std::string path = "/run/test/lmtp";
        unsigned asked = 0;
        b.world.unix_socket = [&](const std::string& wanted, std::function<void(Result<Fd>)> done) {
            CHECK(wanted == path);
            ++asked;
            Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
            REQUIRE(::connect(fd.get(), peer.address().raw(), peer.address().raw_size()) == 0);
            REQUIRE(::fcntl(fd.get(), F_SETFL, O_NONBLOCK) == 0);
            b.loop->defer([fd = std::make_shared<Fd>(std::move(fd)), done] { done(std::move(*fd)); });
        };
        Mail mail;
        mail.transport = "lmtp";
        mail.nexthop = by_path ? cat("unix:", path) : cat("inet:[127.0.0.1]:", peer.address().port());
        mail.to = {"a@d.example", "gone@d.example", "b@d.example", "c@d.example"};
        for (unsigned round = 1; round <= 2; ++round) { // the second over the same connection
            const auto v = b.deliver(mail);
            CHECK(v[0].outcome == sent);
            CHECK(v[0].relay == (by_path ? "localhost[/run/test/lmtp]" : cat("127.0.0.1[127.0.0.1]:", peer.address().port())));
            CHECK(v[1].outcome == failed);
            CHECK(v[2].outcome == deferred);
            CHECK(v[2].text.ends_with("said: 452 4.2.2 full (in reply to end of DATA command)"));
            CHECK(v[3].outcome == failed);
            CHECK(v[3].dsn == "5.2.0");
        }
        CHECK(peer.connections == 1);
        CHECK(asked == (by_path ? 1 : 0));
        CHECK(peer.lines[0] == "LHLO me.example");
    }
}

TEST_CASE("a Unix socket that is not to be had makes the mail wait", "[smtp-client]")
{
    Bench b;
    Settings lmtp = b.settings;
    lmtp.lmtp = true;
    b.world.lmtp = std::make_shared<const Settings>(lmtp);
    Mail mail;
    mail.transport = "lmtp";
    mail.nexthop = "unix:/run/test/lmtp";
    auto v = b.deliver_one(mail);
    CHECK(v.outcome == deferred);
    CHECK(v.text == "connect to localhost[/run/test/lmtp]: no access to Unix sockets");
    b.world.unix_socket = [&](const std::string&, std::function<void(Result<Fd>)> done) { b.loop->defer([done] { done(fail("No such file or directory")); }); };
    v = b.deliver_one(mail);
    CHECK(v.text == "connect to localhost[/run/test/lmtp]: No such file or directory");
    for (const std::string& bad : {std::string("unix:private/lmtp"), "unix:/" + std::string(120, 'x'), std::string("unix:"), std::string("inet:")}) {
        mail.nexthop = bad;
        v = b.deliver_one(mail);
        CHECK(v.outcome == deferred);
        CHECK(v.dsn == "4.3.5");
    }
}

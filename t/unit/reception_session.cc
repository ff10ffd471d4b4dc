// lib/reception and smtpd's policy: whole sessions over a socket pair, a fake router, and a disk that fails on demand.
#include "t/unit/catch.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "lib/base/text.h"
#include "lib/conf/values.h"
#include "lib/ipc/codec.h"
#include "lib/ipc/flush.h"
#include "lib/log/log.h"
#include "lib/mail/header.h"
#include "lib/reception/arrivals.h"
#include "lib/reception/logins.h"
#include "master/anvil/counters.h"
#include "smtpd/policy.h"
#include "submission/policy.h"
#include "lib/reception/settings.h"
#include "t/unit/dns_server.h"
#include "t/unit/slow_disk.h"

using namespace veredus;
using namespace veredus::reception;
using std::chrono::milliseconds;

namespace {

class FakeRouter final : public Recipients {
public:
    explicit FakeRouter(Loop& loop) : loop_(loop) {}
    bool late = false;
    unsigned asked = 0;
    std::optional<ipc::Route> check(const std::string& address, Done done) override
    {
        ++asked;
        const ipc::Route route = answer(address);
        if (!late) return route;
        loop_.defer([done, route] { done(route); });
        return std::nullopt;
    }

private:
    static ipc::Route answer(const std::string& address)
    {
        ipc::Route r;
        r.kind = ipc::Route::Kind::deliver;
        r.address_class = address.ends_with("@here.example") ? ipc::AddressClass::local : ipc::AddressClass::remote;
        if (address.starts_with("nobody@") || address.starts_with("postmaster@")) {
            r.kind = ipc::Route::Kind::reject;
            r.dsn = "5.1.1";
            r.text = "User unknown in local recipient table";
        }
        if (address.starts_with("later@")) r.kind = ipc::Route::Kind::defer;
        return r;
    }
    Loop& loop_;
};

std::shared_ptr<const Trust> trust(const std::vector<std::string>& networks)
{
    static const std::vector<net::Address> no_hops;
    return std::make_shared<const Trust>(*table::MatchList::networks(networks), no_hops);
}

// A running smtpd in one process: everything but the listener.
struct Desk {
    std::unique_ptr<Loop> loop = *Loop::create();
    test::ForgetfulDisk disk;
    std::string log;
    std::unique_ptr<queue::Intake> intake;
    FakeRouter router{*loop};
    PeerNames names{*loop};
    Fd policy_service;                                       // this end of a connection to one, for who wants to answer
    std::string policy_heard;
    PolicyServices services{*loop, [this](const std::string&, std::function<void(Result<Fd>)> done) {
        auto pair = *socket_pair(SOCK_STREAM);
        REQUIRE(set_nonblocking(pair.second.get(), true));
        policy_service = std::move(pair.first);
        done(std::move(pair.second));
    }};
    ipc::OwnerReply owner;                                   // of every address
    std::vector<ipc::OwnerRequest> owners_asked;
    Examiner examiner{{router, services, [] { return static_cast<dns::Resolver*>(nullptr); },
                       [this](const ipc::OwnerRequest& request, std::function<void(const ipc::OwnerReply&)> done) {
                           owners_asked.push_back(request);
                           loop->defer([done = std::move(done), reply = owner] { done(reply); });
                       }}};
    smtpd::MxPolicy policy{trust({"10.0.0.0/8"}), trust({"10.0.0.0/8"}), router, examiner};
    std::shared_ptr<Settings> settings = std::make_shared<Settings>();
    std::vector<std::string> queued;
    std::unique_ptr<Sessions> sessions;
    std::size_t peers = 0;                                   // of Peer, that have not hung up

    explicit Desk(std::size_t descriptors = 100)
    {
        log::capture(&log);
        disk.make_directory("/in/tmp");
        disk.make_directory("/in/new");
        disk.set_free_bytes(1'000'000'000);
        intake = *queue::Intake::open(disk, "/in", 1, system_clock(), nullptr);
        restrict({});
        settings->limits.hostname = "mx.example.org";
        settings->limits.banner = "mx.example.org ESMTP";
        settings->error_sleep = milliseconds(0);
        names.set_hosts({{"192.0.2.7", "client.example.org"}});
        sessions = std::make_unique<Sessions>(
            Sessions::Parts{*loop, *intake, policy, names, system_clock(), [this](const std::string& id) { queued.push_back(id); }, descriptors}, settings);
    }
    ~Desk()
    {
        sessions.reset();
        for (int i = 0; i < 3; ++i) loop->run_once(milliseconds(0));
        log::capture(nullptr);
    }
    // Queue files that are not finished; the mark of the IDs lies beside them.
    bool drafts() const
    {
        for (const std::string& name : disk.names("/in/tmp"))
            if (name[0] != '.') return true;
        return false;
    }
    // Restriction lists from here on: {"smtpd_recipient_restrictions", "..."}.
    void restrict(const std::map<std::string, std::string>& settings_of_lists)
    {
        conf::Values values = conf::Values::defaults();
        for (const auto& [name, value] : settings_of_lists) values.set_for_test(name, value);
        examiner.set_program(*make_program(values, "smtpd", [](const std::string& path) { return fail(path); }));
    }
    // The policy service finds nothing to object to, whatever it is asked.
    void permit()
    {
        char buffer[4096];
        ssize_t n = 0;
        while (policy_service && (n = ::recv(policy_service.get(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
            policy_heard.append(buffer, static_cast<std::size_t>(n));
            if (policy_heard.ends_with("\n\n")) REQUIRE(::send(policy_service.get(), "action=dunno\n\n", 14, MSG_NOSIGNAL) == 14);
        }
    }
    std::vector<std::string> told_policy(const std::string& attribute) const
    {
        std::vector<std::string> out;
        for (const auto line : split(policy_heard, "\n"))
            if (line.starts_with(attribute + "=")) out.emplace_back(line.substr(attribute.size() + 1));
        return out;
    }
    bool logged(const std::string& part) const { return log.find(part) != std::string::npos; }
};

struct Peer {
    Desk& desk;
    Fd fd;
    std::string heard;
    bool closed = false, counted = true;

    Peer(Desk& d, const char* ip = "192.0.2.7") : desk(d)
    {
        auto pair = *socket_pair(SOCK_STREAM);
        fd = std::move(pair.first);
        REQUIRE(set_nonblocking(fd.get(), true));
        ++desk.peers;
        desk.sessions->accept(std::move(pair.second), *net::Address::parse_ip(ip, 4321));
    }
    void turn()
    {
        desk.loop->run_once(milliseconds(20));
        desk.permit();
        char buffer[4096];
        for (;;) {
            const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
            if (n == 0) closed = true;
            if (n <= 0) return;
            heard.append(buffer, static_cast<std::size_t>(n));
        }
    }
    // Until as many final reply lines were heard, or the peer hung up; bounded only by patience.
    std::string talk(std::string_view say, std::size_t replies)
    {
        heard.clear();
        while (!say.empty()) {
            const ssize_t n = ::send(fd.get(), say.data(), say.size(), MSG_NOSIGNAL);
            if (n < 0) REQUIRE(errno == EAGAIN);
            if (n > 0) say.remove_prefix(static_cast<std::size_t>(n));
            if (!say.empty()) turn();
        }
        for (int i = 0; i < 500 && !closed && count() < replies; ++i) turn();
        return heard;
    }
    std::size_t count() const
    {
        std::size_t n = 0;
        for (const auto line : split(heard, "\r\n")) n += line.size() < 4 || line[3] == ' ';
        return n;
    }
    void hang_up()
    {
        fd.reset();
        closed = true;
        await_end();
    }
    void until_closed()
    {
        for (int i = 0; i < 500 && !closed; ++i) turn();
        await_end();
    }
    // Until this one's session is gone; those of others may stay.
    void await_end()
    {
        if (counted) --desk.peers;
        counted = false;
        for (int i = 0; i < 500 && desk.sessions->size() > desk.peers; ++i) desk.loop->run_once(milliseconds(20));
    }
};

std::string codes(const std::string& heard)
{
    std::string out;
    for (const auto line : split(heard, "\r\n"))
        if (line.size() < 4 || line[3] == ' ') append(out, out.empty() ? "" : " ", line.substr(0, 3));
    return out;
}

const char* envelope = "MAIL FROM:<a@x.org>\r\nRCPT TO:<u@here.example>\r\nDATA\r\n";

}  // namespace

TEST_CASE("a stranger's mail is queued, with a Received field, and the log tells it in Postfix's words", "[smtpd][rfc5321-4.4]")
{
    for (const bool late : {false, true}) {
        Desk desk;
        desk.router.late = late;
        Peer peer(desk);
        CHECK(codes(peer.talk("", 1)) == "220");
        peer.talk("EHLO out.example.org\r\n", 1);
        CHECK(codes(peer.talk(envelope, 3)) == "250 250 354");
        peer.talk("Subject: hi\r\nMessage-ID: <m1@x.org>\r\n\r\nbody\r\n..dot\r\n.\r\n", 1);
        REQUIRE(desk.queued.size() == 1);
        const std::string id = desk.queued[0];
        CHECK(peer.heard == cat("250 2.0.0 Ok: queued as ", id, "\r\n"));
        CHECK(codes(peer.talk("QUIT\r\n", 1)) == "221");
        peer.until_closed();
        CHECK(desk.logged("connect from client.example.org[192.0.2.7]\n"));
        CHECK(desk.logged(id + ": client=client.example.org[192.0.2.7]\n"));
        CHECK(desk.logged(id + ": message-id=<m1@x.org>\n"));
        CHECK(desk.logged("disconnect from client.example.org[192.0.2.7] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5\n"));
        CHECK_FALSE(desk.logged("lost connection"));

        REQUIRE(desk.disk.names("/in/new") == std::vector<std::string>{id});
        const auto dir = *desk.disk.open_directory(nullptr, "/in/new");
        const Fd file = *desk.disk.open_read(dir, id);
        const auto mail = queue::read_mail_file(desk.disk, file, true);
        REQUIRE(mail);
        CHECK(mail->envelope.sender.text() == "a@x.org");
        CHECK(mail->envelope.origin == mail::Origin::stranger);
        CHECK(mail->envelope.client_name == "client.example.org");
        CHECK(mail->envelope.protocol == "ESMTP");
        CHECK(mail->envelope.helo == "out.example.org");
        CHECK(mail->layout.leading_dot);
        const auto header = *desk.disk.read(file, mail->layout.header_offset, mail->layout.header_size);
        CHECK(header.starts_with(cat("Received: from out.example.org (client.example.org [192.0.2.7])\r\n\tby mx.example.org (veredus) with ESMTP id ", id,
                                     "\r\n\tfor <u@here.example>; ")));
        CHECK(header.ends_with("Subject: hi\r\nMessage-ID: <m1@x.org>\r\n"));
        CHECK(*desk.disk.read(file, mail->layout.body_offset, mail->layout.body_size) == "body\r\n.dot\r\n");
    }
}

TEST_CASE("a binary mail lies in the queue byte by byte, its header in lines, and checks see it", "[smtpd][rfc3030-3]")
{
    using namespace std::string_literals;
    const std::string body = "--b\r\nContent-Type: application/x\r\n\r\n\0\n.\r\n.\r\n\r\xff\n--b--"s;
    for (const bool checked : {false, true}) {
        Desk desk;
        desk.settings->limits.chunking = desk.settings->limits.binary = true;
        auto rules = std::make_shared<queue::CheckRules>();
        rules->body = [](std::string_view line) -> Result<std::optional<std::string>> {
            if (line.find("bad") != std::string_view::npos) return std::optional<std::string>("REJECT bad");
            return std::optional<std::string>();
        };
        if (checked) desk.settings->checks = rules;
        Peer peer(desk);
        peer.talk("", 1);
        peer.talk("EHLO h\r\n", 1);
        CHECK(peer.heard.find("BINARYMIME\r\n") != std::string::npos);
        const std::string begin = "MAIL FROM:<a@x.org> BODY=BINARYMIME\r\nRCPT TO:<u@here.example>\r\n";
        const std::string content = cat("Subject: a\rb\nX: 1\r\n\r\n", body);
        CHECK(codes(peer.talk(cat(begin, "BDAT ", content.size(), " LAST\r\n", content), 3)) == "250 250 250");
        REQUIRE(desk.queued.size() == 1);
        const auto dir = *desk.disk.open_directory(nullptr, "/in/new");
        const Fd file = *desk.disk.open_read(dir, desk.queued[0]);
        const auto mail = queue::read_mail_file(desk.disk, file, true);
        REQUIRE(mail);
        CHECK(mail->envelope.body == mail::Body::binary);
        CHECK((*desk.disk.read(file, mail->layout.body_offset, mail->layout.body_size) == body));
        CHECK((*desk.disk.read(file, mail->layout.header_offset, mail->layout.header_size)).ends_with("Subject: a b\r\nX: 1\r\n"));
        CHECK(codes(peer.talk(cat(begin, "BDAT 11 LAST\r\nA: b\r\n\r\nbad"), 3)) == (checked ? "250 250 550" : "250 250 250"));
    }
}

TEST_CASE("relaying is for mynetworks; unknown users are refused at RCPT; both are logged", "[smtpd][rfc5321-3.6.2]")
{
    for (const bool late : {false, true}) {
        Desk desk;
        desk.router.late = late;
        Peer peer(desk);
        peer.talk("", 1);
        peer.talk("EHLO h\r\n", 1);
        peer.talk("MAIL FROM:<a@x.org>\r\nRCPT TO:<b@far.example>\r\nRCPT TO:<nobody@here.example>\r\nRCPT TO:<later@here.example>\r\n"
                  "RCPT TO:<postmaster>\r\nRCPT TO:<Postmaster@here.example>\r\nRCPT TO:<postmaster@far.example>\r\nRCPT TO:<u@here.example>\r\n",
                  8);
        CHECK(peer.heard == "250 2.1.0 Ok\r\n"
                            "554 5.7.1 <b@far.example>: Relay access denied\r\n"
                            "550 5.1.1 <nobody@here.example>: Recipient address rejected: User unknown in local recipient table\r\n"
                            "451 4.3.0 <later@here.example>: Temporary lookup failure\r\n"
                            "250 2.1.5 Ok\r\n250 2.1.5 Ok\r\n"
                            "554 5.7.1 <postmaster@far.example>: Relay access denied\r\n"
                            "250 2.1.5 Ok\r\n");
        CHECK(desk.logged("NOQUEUE: reject: RCPT from client.example.org[192.0.2.7]: 554 5.7.1 <b@far.example>: Relay access denied; "
                          "from=<a@x.org> to=<b@far.example> proto=ESMTP helo=<h>\n"));
        CHECK(desk.logged("NOQUEUE: reject: RCPT from client.example.org[192.0.2.7]: 550 5.1.1 <nobody@here.example>: Recipient address rejected: "
                          "User unknown in local recipient table; from=<a@x.org> to=<nobody@here.example> proto=ESMTP helo=<h>\n"));
        Peer friendly(desk, "10.1.2.3");
        friendly.talk("", 1);
        CHECK(codes(friendly.talk("HELO h\r\nMAIL FROM:<>\r\nRCPT TO:<b@far.example>\r\nRCPT TO:<nobody@here.example>\r\n", 4)) == "554");
        Peer helo(desk, "10.1.2.3");
        helo.talk("", 1);
        helo.talk("HELO h\r\n", 1);
        CHECK(codes(helo.talk("MAIL FROM:<>\r\nRCPT TO:<b@far.example>\r\nRCPT TO:<nobody@here.example>\r\n", 3)) == "250 250 550");
    }
}

TEST_CASE("a session byte by byte hears what one gulp hears", "[smtpd]")
{
    Desk desk;
    desk.router.late = true;
    std::string first;
    for (const bool trickle : {false, true}) {
        Peer peer(desk);
        std::string all = peer.talk("", 1);
        for (const std::string_view group : {std::string_view("EHLO h\r\n"), std::string_view(envelope), std::string_view("A: 1\r\n\r\nx\r\n.\r\nRSET\r\nQUIT\r\n")}) {
            const std::size_t replies = group[0] == 'M' || group[0] == 'A' ? 3 : 1;
            peer.heard.clear();
            if (trickle)
                for (const char c : group) {
                    REQUIRE(::send(peer.fd.get(), &c, 1, MSG_NOSIGNAL) == 1);
                    desk.loop->run_once(milliseconds(0));
                }
            else
                REQUIRE(::send(peer.fd.get(), group.data(), group.size(), MSG_NOSIGNAL) > 0);
            for (int i = 0; i < 500 && !peer.closed && peer.count() < replies; ++i) peer.turn();
            all += peer.heard;
        }
        const std::size_t id = all.find("queued as ");
        REQUIRE(id != std::string::npos);
        all.erase(id + 10, 16);
        if (!trickle) first = all;
        CHECK(all == first);
    }
}

TEST_CASE("trouble with the disk is ours: 452 when full, 451 else, and nothing stays", "[smtpd]")
{
    struct Case {
        int code;
        bool sync;
        const char* reply;
    };
    for (const Case& c : {Case{ENOSPC, false, "452 4.3.1 Insufficient system storage\r\n"}, Case{EIO, true, "451 4.3.0 Error: queue file write error\r\n"},
                          Case{EDQUOT, true, "452 4.3.1 Insufficient system storage\r\n"}}) {
        Desk desk;
        Peer peer(desk);
        peer.talk("", 1);
        peer.talk("HELO h\r\n", 1);
        peer.talk(envelope, 3);
        if (c.sync) desk.disk.fail_sync(1, c.code);
        else desk.disk.fail_write(1, c.code);
        CHECK(peer.talk("A: 1\r\n\r\nx\r\n.\r\n", 1) == c.reply);
        CHECK(desk.queued.empty());
        CHECK(desk.disk.names("/in/new").empty());
        CHECK_FALSE(desk.drafts());
        CHECK(codes(peer.talk("NOOP\r\n", 1)) == "250");  // and the session goes on
        peer.talk(envelope, 3);
        CHECK(codes(peer.talk("A: 1\r\n\r\nx\r\n.\r\n", 1)) == "250");
    }
}

TEST_CASE("when the spool has too little room MAIL is refused", "[smtpd]")
{
    Desk desk;
    desk.settings->min_free = 500;
    desk.disk.set_free_bytes(1000);
    Peer peer(desk);
    peer.talk("", 1);
    peer.talk("EHLO h\r\n", 1);
    CHECK(codes(peer.talk("MAIL FROM:<a@x.org> SIZE=600\r\n", 1)) == "452");
    CHECK(desk.logged("NOQUEUE: reject: MAIL from client.example.org[192.0.2.7]: 452 4.3.1 Insufficient system storage; from=<a@x.org> proto=ESMTP helo=<h>\n"));
    CHECK(codes(peer.talk("MAIL FROM:<a@x.org> SIZE=100\r\n", 1)) == "250");
}

TEST_CASE("a mail that runs in a circle is refused", "[smtpd][rfc5321-6.3]")
{
    Desk desk;
    desk.settings->hops = 3;
    Peer peer(desk);
    peer.talk("", 1);
    peer.talk("HELO h\r\n", 1);
    peer.talk(envelope, 3);
    std::string content;
    for (int i = 0; i < 4; ++i) content += "Received: from x\r\n";
    CHECK(peer.talk(content + "\r\nx\r\n.\r\n", 1) == "554 5.4.0 Error: too many hops\r\n");
    CHECK(desk.logged(": reject: END-OF-MESSAGE from client.example.org[192.0.2.7]: 554 5.4.0 Error: too many hops; from=<a@x.org> proto=SMTP helo=<h>\n"));
    peer.talk(envelope, 3);
    CHECK(codes(peer.talk(std::string(500'000, 'x').insert(0, "X: ") + "\r\n\r\n.\r\n", 1)) == "552");
    CHECK_FALSE(desk.drafts());
}

TEST_CASE("peers that vanish, fall silent or talk nonsense leave their line", "[smtpd]")
{
    {
        Desk desk;
        Peer peer(desk);
        peer.talk("", 1);
        peer.talk("HELO h\r\n", 1);
        peer.talk(envelope, 3);
        peer.talk("abc\r\n", 0);
        for (int i = 0; i < 5; ++i) peer.turn();
        peer.hang_up();
        CHECK(desk.logged("lost connection after DATA (5 bytes) from client.example.org[192.0.2.7]\n"));
        CHECK(desk.logged("disconnect from client.example.org[192.0.2.7] helo=1 mail=1 rcpt=1 data=0/1 commands=3/4\n"));
        CHECK_FALSE(desk.drafts());
    }
    {
        Desk desk;
        Peer peer(desk, "192.0.2.9");
        peer.talk("", 1);
        peer.hang_up();
        CHECK(desk.logged("lost connection after CONNECT from unknown[192.0.2.9]\n"));
    }
    {
        Desk desk;
        desk.settings->timeout = std::chrono::seconds(1);
        Peer peer(desk);
        peer.talk("", 1);
        peer.talk("EHLO h\r\n", 1);
        peer.heard.clear();
        peer.until_closed();
        CHECK(peer.heard == "421 4.4.2 mx.example.org Error: timeout exceeded\r\n");
        CHECK(desk.logged("timeout after EHLO from client.example.org[192.0.2.7]\n"));
        CHECK_FALSE(desk.logged("lost connection"));
    }
    {
        Desk desk;
        Peer peer(desk);
        peer.talk("", 1);
        std::string bad;
        for (int i = 0; i < 30; ++i) bad += "XYZZY\r\n";
        CHECK(peer.talk(bad, 100).ends_with("421 4.7.0 mx.example.org Error: too many errors\r\n"));
        peer.until_closed();
        CHECK(desk.logged("too many errors after UNKNOWN from client.example.org[192.0.2.7]\n"));
    }
    {
        Desk desk;
        Peer peer(desk);
        peer.talk("", 1);
        peer.talk("EHLO h\r\nMAIL FROM:<a@x.org>\r\n", 100);
        peer.until_closed();
        CHECK(desk.logged("improper command pipelining after EHLO from client.example.org[192.0.2.7]: MAIL FROM:<a@x.org>??\n"));
    }
    struct Row {
        const char *said, *shown;
    };
    for (const Row& row : {Row{"AUTH LOGIN\r\nYWxpY2U=\r\nU0VDUkVU\r\n", "after AUTH from client.example.org[192.0.2.7]: 20 bytes that are not shown\n"},
                           Row{"EHLO h\r\nauth plain U0VDUkVU\r\n", "after EHLO from client.example.org[192.0.2.7]: auth (the rest is not shown)\n"},
                           Row{"EHLO h\r\nNOOP\r\nAUTH LOGIN\r\nYWxpY2U=\r\nU0VDUkVU\r\n", "192.0.2.7]: NOOP??AUTH (the rest is not shown)\n"}}) {
        INFO(row.said);
        Desk desk;
        Peer peer(desk);
        peer.talk("", 1);
        peer.talk("HELO h\r\n", 1);
        peer.talk(row.said, 100);
        peer.until_closed();
        CHECK(desk.logged(row.shown));
        CHECK_FALSE(desk.logged("U0VDUkVU"));
        CHECK_FALSE(desk.logged("YWxpY2U="));
    }
}

TEST_CASE("a client that errs too often is answered slowly", "[smtpd]")
{
    Desk desk;
    desk.settings->limits.soft_errors = 2;
    desk.settings->error_sleep = milliseconds(50);
    Peer peer(desk);
    peer.talk("", 1);
    peer.talk("X\r\nX\r\n", 2);
    const int64_t before = system_clock().mono_us();
    CHECK(codes(peer.talk("X\r\n", 1)) == "500");
    CHECK(system_clock().mono_us() - before >= 40'000);
    CHECK(codes(peer.talk("NOOP\r\n", 1)) == "250");
    const int64_t again = system_clock().mono_us();
    CHECK(codes(peer.talk("X\r\n", 1)) == "500");
    CHECK(codes(peer.talk("X\r\n", 1)) == "500");
    CHECK(system_clock().mono_us() - again >= 5 * 40'000);      // twice, and three times as long
}

namespace {

class HandClock final : public Clock {
public:
    int64_t wall_us() const override { return system_clock().wall_us(); }
    int64_t mono_us() const override { return now; }
    int64_t now = 1;
};

}  // namespace

TEST_CASE("a mail whose checks take long gives way to others, and is whole in the end", "[smtpd][checks]")
{
    Desk desk;
    HandClock clock;
    unsigned asked = 0;
    auto rules = std::make_shared<queue::CheckRules>();
    rules->body = [&](std::string_view) -> Result<std::optional<std::string>> {
        ++asked;
        clock.now += 10;
        return std::optional<std::string>();
    };
    desk.settings->checks = rules;
    desk.sessions = std::make_unique<Sessions>(
        Sessions::Parts{*desk.loop, *desk.intake, desk.policy, desk.names, clock, [&](const std::string& id) { desk.queued.push_back(id); }, 10}, desk.settings);
    {
        Peer peer(desk);
        peer.talk("", 1);
        peer.talk("HELO h\r\n", 1);
        peer.talk(envelope, 3);
        std::string body;
        for (int i = 0; i < 10'000; ++i) body += "a\r\n";
        const std::string content = cat("Subject: a\r\n\r\n", body, ".\r\nNOOP\r\n");
        REQUIRE(::send(peer.fd.get(), content.data(), content.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(content.size()));
        peer.heard.clear();
        unsigned most = 0;
        for (int i = 0; i < 500 && peer.count() < 2; ++i) {
            const unsigned before = asked;
            peer.turn();
            most = std::max(most, asked - before);
        }
        CHECK(codes(peer.heard) == "250 250");
        CHECK(asked == 10'000);
        CHECK(most <= 3 * 4096 / 3);
        REQUIRE(desk.queued.size() == 1);
        const auto dir = *desk.disk.open_directory(nullptr, "/in/new");
        const Fd file = *desk.disk.open_read(dir, desk.queued[0]);
        const auto mail = queue::read_mail_file(desk.disk, file, true);
        REQUIRE(mail);
        CHECK((*desk.disk.read(file, mail->layout.body_offset, mail->layout.body_size) == body));
        // The fields of a header likewise.
        rules->body = nullptr;
        rules->header = [&](std::string_view field) -> Result<std::optional<std::string>> {
            ++asked;
            clock.now += 500;
            return field == "X-150: x" ? std::optional<std::string>("IGNORE") : field == "X-199: bad" ? std::optional<std::string>("REJECT bad") : std::nullopt;
        };
        for (const bool bad : {false, true}) {
            peer.talk(envelope, 3);
            std::string header;
            for (int i = 0; i < 199; ++i) append(header, "X-", i, ": x\r\n");
            append(header, "X-199: ", bad ? "bad" : "good", "\r\n\r\nbody\r\n.\r\n");
            REQUIRE(::send(peer.fd.get(), header.data(), header.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(header.size()));
            peer.heard.clear();
            asked = most = 0;
            for (int i = 0; i < 500 && peer.count() < 1; ++i) {
                const unsigned before = asked;
                peer.turn();
                most = std::max(most, asked - before);
            }
            CHECK(codes(peer.heard) == (bad ? "550" : "250"));
            CHECK(asked == 201);                       // with Received
            CHECK(most <= 10);
        }
        REQUIRE(desk.queued.size() == 2);
        const auto second = queue::read_mail_file(desk.disk, *desk.disk.open_read(dir, desk.queued[1]), true);
        REQUIRE(second);
        const auto stored = *desk.disk.read(*desk.disk.open_read(dir, desk.queued[1]), second->layout.header_offset, second->layout.header_size);
        CHECK(stored.find("X-149: x\r\nX-151: x\r\n") != std::string::npos);
        CHECK(stored.ends_with("X-199: good\r\n"));
        CHECK(codes(peer.talk("QUIT\r\n", 1)) == "221");
    }
    for (int i = 0; i < 500 && desk.sessions->size() > 0; ++i) desk.loop->run_once(milliseconds(20));
    desk.sessions.reset();
    for (int i = 0; i < 3; ++i) desk.loop->run_once(milliseconds(0));
}

TEST_CASE("one address has only so many connections, friends any number", "[smtpd]")
{
    Desk desk;
    desk.settings->connections_per_client = 2;
    Peer a(desk), b(desk), c(desk), other(desk, "192.0.2.8");
    CHECK(codes(a.talk("", 1)) == "220");
    CHECK(codes(b.talk("", 1)) == "220");
    CHECK(c.talk("", 1) == "421 4.7.0 mx.example.org Error: too many connections from 192.0.2.7\r\n");
    CHECK(codes(other.talk("", 1)) == "220");
    CHECK(desk.logged("Connection concurrency limit exceeded: 3 from unknown[192.0.2.7] for service smtp"));
    Peer f(desk, "10.0.0.1"), g(desk, "10.0.0.1"), h(desk, "10.0.0.1");
    CHECK(codes(h.talk("", 1)) == "220");
}

TEST_CASE("when descriptors are short the stranger who was silent longest goes", "[smtpd]")
{
    Desk desk(2);
    Peer busy(desk), idle(desk);
    busy.talk("", 1);
    idle.talk("", 1);
    busy.talk("HELO h\r\n", 1);
    idle.talk("NOOP\r\n", 1);
    busy.talk(envelope, 3);
    Peer next(desk, "192.0.2.8");
    CHECK(codes(next.talk("", 1)) == "220");
    CHECK(codes(idle.talk("", 1)) == "421");
    CHECK(codes(busy.talk("x: y\r\n\r\n.\r\n", 1)) == "250");
    CHECK(desk.logged("RLIMIT_NOFILE"));
}

TEST_CASE("many who opened a transaction and say no more keep nobody out", "[smtpd]")
{
    Desk desk(3);
    std::vector<std::unique_ptr<Peer>> stuck;
    for (int i = 0; i < 3; ++i) {
        stuck.push_back(std::make_unique<Peer>(desk, cat("192.0.2.", 10 + i).c_str()));
        stuck[i]->talk("", 1);
        stuck[i]->talk("HELO h\r\n", 1);
        if (i != 1) stuck[i]->talk(envelope, 3);
    }
    Peer next(desk, "192.0.2.20");
    CHECK(codes(next.talk("", 1)) == "220");
    CHECK(codes(stuck[0]->talk("", 1)) == "421");
    CHECK_FALSE(desk.sessions->size() > 3);
    Peer another(desk, "192.0.2.21");
    CHECK(codes(another.talk("", 1)) == "220");
    CHECK(codes(stuck[1]->talk("", 1)) == "421");
    CHECK(codes(stuck[2]->talk("x: y\r\n\r\n.\r\n", 1)) == "250");
}

TEST_CASE("strangers do not take the places that are kept for mynetworks", "[smtpd]")
{
    Desk desk(32);
    std::vector<std::unique_ptr<Peer>> strangers, ours;
    for (int i = 0; i < 40; ++i) strangers.push_back(std::make_unique<Peer>(desk, cat("192.0.2.", 10 + i).c_str()));
    CHECK(desk.sessions->size() == 30);
    for (int i = 0; i < 2; ++i) ours.push_back(std::make_unique<Peer>(desk, "10.0.0.1"));
    CHECK(desk.sessions->size() == 32);
    CHECK(codes(strangers[10]->talk("", 1)) == "220");
    // One of ours takes a stranger's place, a stranger never one of ours.
    for (int i = 0; i < 30; ++i) ours.push_back(std::make_unique<Peer>(desk, "10.0.0.1"));
    CHECK(desk.sessions->size() == 32);
    Peer late(desk, "192.0.2.200");
    CHECK(codes(late.talk("", 1)) == "421");
    for (auto& one : ours) CHECK(codes(one->talk("", 1)) == "220");
}

TEST_CASE("addresses of one IPv6 /64 count as one client", "[smtpd]")
{
    Desk desk;
    desk.settings->connections_per_client = 2;
    Peer a(desk, "2001:db8:1:2::1"), b(desk, "2001:db8:1:2::2"), c(desk, "2001:db8:1:2:ffff::3"), d(desk, "2001:db8:1:3::1");
    CHECK(codes(a.talk("", 1)) == "220");
    CHECK(codes(b.talk("", 1)) == "220");
    CHECK(codes(c.talk("", 1)) == "421");
    CHECK(codes(d.talk("", 1)) == "220");
}

TEST_CASE("under stress a silent stranger is given less time, and half a command is silence", "[smtpd]")
{
    Desk desk(10);
    desk.settings->stress_timeout = std::chrono::seconds(1);
    Peer ours(desk, "10.0.0.1"), early(desk, "192.0.2.10");
    ours.talk("", 1);
    early.talk("", 1);
    std::vector<std::unique_ptr<Peer>> others;
    for (int i = 0; i < 7; ++i) others.push_back(std::make_unique<Peer>(desk, cat("192.0.2.", 20 + i).c_str()));
    for (auto& one : others) one->talk("", 1);
    const int64_t until = system_clock().mono_us() + 30 * us_per_second;
    while (!early.closed && system_clock().mono_us() < until) {
        (void)!::send(early.fd.get(), "N", 1, MSG_NOSIGNAL);
        early.turn();
    }
    CHECK(codes(early.heard) == "220 421");
    CHECK(early.heard.find("timeout exceeded") != std::string::npos);
    CHECK(codes(ours.talk("NOOP\r\n", 1)) == "250");
    CHECK(desk.logged("timeout after CONNECT from unknown[192.0.2.10]"));
}

TEST_CASE("an orderly stop lets content finish and sends the others away", "[smtpd]")
{
    Desk desk;
    Peer busy(desk), idle(desk);
    busy.talk("", 1);
    idle.talk("", 1);
    busy.talk("HELO h\r\n", 1);
    busy.talk(envelope, 3);
    bool done = false;
    desk.sessions->stop([&] { done = true; });
    CHECK(idle.talk("", 1) == "421 4.3.2 mx.example.org Service shutting down\r\n");
    CHECK_FALSE(done);
    const std::string last = busy.talk("x: y\r\n\r\n.\r\n", 2);
    CHECK(codes(last) == "250 421");
    busy.until_closed();
    CHECK(done);
    CHECK(desk.queued.size() == 1);
}

TEST_CASE("router is asked in batches, its answers are kept until its tables change", "[smtpd]")
{
    auto loop = *Loop::create();
    std::vector<ipc::RouteRequest> requests;
    std::vector<std::function<void(Result<ipc::Message>)>> answers;
    RouterRecipients recipients(*loop, [&](std::string body, std::function<void(Result<ipc::Message>)> done) {
        requests.push_back(*ipc::RouteRequest::decode(body));
        answers.push_back(std::move(done));
    });
    const auto reply = [&](std::size_t n, uint32_t generation, ipc::Route::Kind kind) {
        ipc::RouteReply r;
        r.generation = generation;
        r.routes.resize(requests[n].recipients.size());
        for (auto& route : r.routes) route.kind = kind;
        ipc::Message m;
        m.body = r.encode();
        answers[n](std::move(m));
    };
    std::string heard;
    const auto ask = [&](const char* address) {
        const auto known = recipients.check(address, [&](const ipc::Route& r) { append(heard, static_cast<int>(r.kind)); });
        if (known) append(heard, "k", static_cast<int>(known->kind));
    };
    ask("a@x");
    ask("b@x");
    CHECK(requests.empty());
    loop->run_once(milliseconds(10));
    REQUIRE(requests.size() == 1);
    CHECK(requests[0].check_only);
    CHECK(requests[0].recipients == std::vector<std::string>{"a@x", "b@x"});
    reply(0, 1, ipc::Route::Kind::deliver);
    CHECK(heard == "11");
    ask("a@x");
    CHECK(heard == "11k1");
    ask("c@x");
    loop->run_once(milliseconds(10));
    reply(1, 2, ipc::Route::Kind::deliver);  // other tables: what was known is forgotten
    CHECK(recipients.cached() == 1);
    ask("d@x");
    loop->run_once(milliseconds(10));
    answers[2](fail("router is away"));
    CHECK(heard == "11k114");
    CHECK(recipients.cached() == 1);
    ask("e@x");
    loop->run_once(milliseconds(10));
    ipc::Message garbage;
    garbage.body = "nonsense";
    answers[3](std::move(garbage));
    CHECK(heard == "11k1144");
    heard.clear();
    ask("f@x");
    ask("f@x");
    loop->run_once(milliseconds(10));
    ask("f@x");                      // it is on its way already
    loop->run_once(milliseconds(10));
    REQUIRE(requests.size() == 5);
    CHECK(requests[4].recipients == std::vector<std::string>{"f@x"});
    reply(4, 2, ipc::Route::Kind::defer);
    CHECK(heard == "444");
    ask("f@x");                      // a table that does not answer is not asked again at once
    CHECK(heard == "444k4");
    ask("g@x");
    loop->run_once(milliseconds(10));
    recipients.forget();
    ask("g@x");                      // the router that was asked is gone
    loop->run_once(milliseconds(10));
    REQUIRE(requests.size() == 7);
    answers[5](fail("router is away"));
    reply(6, 1, ipc::Route::Kind::deliver);
    CHECK(heard == "444k441");
    for (int i = 0; i < 1100; ++i) ask(cat("u", i, "@x").c_str());
    loop->run_once(milliseconds(10));
    REQUIRE(requests.size() == 10);
    CHECK(requests[7].recipients.size() + requests[8].recipients.size() + requests[9].recipients.size() == 1100);
    for (const auto& request : requests) CHECK(request.recipients.size() <= 500);
    for (int i = 0; i < 300; ++i) ask(cat(std::string(300, 'x'), i, "@x").c_str());
    loop->run_once(milliseconds(10));
    CHECK(requests.size() > 11);  // long addresses: fewer in a message
    for (const auto& request : requests) CHECK(request.encode().size() < ipc::max_message / 2);
}

TEST_CASE("pipelined recipients are looked up together", "[smtpd][rfc2920-3.2]")
{
    Desk desk;
    desk.settings->limits.soft_errors = desk.settings->limits.hard_errors = 1000;
    unsigned calls = 0;
    auto kind = ipc::Route::Kind::deliver;
    std::vector<std::size_t> sizes;
    RouterRecipients recipients(*desk.loop, [&](std::string body, std::function<void(Result<ipc::Message>)> done) {
        ++calls;
        ipc::RouteReply reply;
        reply.generation = 1;
        reply.routes.resize(ipc::RouteRequest::decode(body)->recipients.size());
        sizes.push_back(reply.routes.size());
        for (auto& route : reply.routes) {
            route.kind = kind;
            route.address_class = ipc::AddressClass::local;
        }
        desk.loop->defer([done, bytes = reply.encode()] {
            ipc::Message m;
            m.body = bytes;
            done(std::move(m));
        });
    });
    Examiner examiner({recipients, desk.services, [] { return static_cast<dns::Resolver*>(nullptr); }, nullptr});
    examiner.set_program(desk.examiner.program());
    smtpd::MxPolicy policy(trust({"10.0.0.0/8"}), trust({"10.0.0.0/8"}), recipients, examiner);
    desk.sessions = std::make_unique<Sessions>(Sessions::Parts{*desk.loop, *desk.intake, policy, desk.names, system_clock(), [](const std::string&) {}, 10}, desk.settings);
    {
        Peer peer(desk);
        peer.talk("", 1);
        peer.talk("HELO h\r\n", 1);
        std::string group = "MAIL FROM:<a@x.org>\r\n";
        for (int i = 0; i < 100; ++i) append(group, "RCPT TO:<u", i, "@here.example>\r\n");
        CHECK(peer.talk(group, 101).find("550") == std::string::npos);
        CHECK(peer.count() == 101);
        CHECK(calls <= 2);
        CHECK(sizes[0] >= 99);
        // When a table fails, too, each is asked about once, not anew for every RCPT before it.
        kind = ipc::Route::Kind::defer;
        sizes.clear();
        peer.talk("RSET\r\n", 1);
        group = "MAIL FROM:<a@x.org>\r\n";
        for (int i = 0; i < 300; ++i) append(group, "RCPT TO:<v", i, "@here.example>\r\n");
        CHECK(peer.talk(group, 301).find("550") == std::string::npos);
        CHECK(peer.count() == 301);
        std::size_t questions = 0;
        for (const std::size_t size : sizes) questions += size;
        CHECK(questions >= 300);
        CHECK(questions <= 600);
    }
    for (int i = 0; i < 500 && desk.sessions->size() > 0; ++i) desk.loop->run_once(milliseconds(20));
    desk.sessions.reset();
    for (int i = 0; i < 3; ++i) desk.loop->run_once(milliseconds(0));
}

// A resolver of sessions' own, and the server that it asks.
struct Names {
    dns_test::FakeServer server;
    dns::Resolver resolver;
    Names(Loop& loop, dns_test::FakeServer::Script script, milliseconds timeout)
        : server(loop, std::move(script)), resolver(loop, config(server.address(), timeout))
    {
    }
    static dns::Config config(const net::Address& server, milliseconds timeout)
    {
        dns::Config out;
        out.servers = {server};
        out.timeout = timeout;
        out.attempts = 1000;
        return out;
    }
};

TEST_CASE("what is looked up for a client that has gone is looked up no more", "[smtpd][restrictions][hostile]")
{
    Desk desk;
    Names names(*desk.loop, [](const std::string&, bool) { return std::vector<std::string>(); }, milliseconds(20));
    desk.restrict({{"smtpd_sender_restrictions", "check_sender_mx_access inline:{192.0.2.1=REJECT}"}});
    Examiner examiner({desk.router, desk.services, [&] { return &names.resolver; }, nullptr});
    examiner.set_program(desk.examiner.program());
    smtpd::MxPolicy policy(trust({"10.0.0.0/8"}), trust({"10.0.0.0/8"}), desk.router, examiner);
    desk.sessions = std::make_unique<Sessions>(Sessions::Parts{*desk.loop, *desk.intake, policy, desk.names, system_clock(), [](const std::string&) {}, 10}, desk.settings);
    Peer peer(desk);
    peer.talk("", 1);
    peer.talk("HELO h\r\n", 1);
    peer.talk("MAIL FROM:<a@slow.example>\r\n", 1);
    CHECK(::send(peer.fd.get(), "RCPT TO:<u@here.example>\r\n", 26, MSG_NOSIGNAL) == 26);
    for (int i = 0; i < 500 && names.server.queries.size() < 3; ++i) peer.turn();
    CHECK(names.server.queries.size() >= 3);           // asked for again and again
    const linger hard{1, 0};
    (void)::setsockopt(peer.fd.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    peer.hang_up();
    for (int i = 0; i < 3; ++i) desk.loop->run_once(milliseconds(30));      // a packet may be under way
    const std::size_t asked = names.server.queries.size();
    for (int i = 0; i < 10; ++i) desk.loop->run_once(milliseconds(30));
    CHECK(names.server.queries.size() == asked);
    desk.sessions.reset();
}

TEST_CASE("domains with very many records do not fill the memory of smtpd", "[smtpd][restrictions][hostile]")
{
    const auto script = [](const std::string& q, bool) -> std::vector<std::string> {
        const std::string name = dns_test::asked_name(q);
        auto reply = dns_test::reply_to(q);
        if (name == "fat.example")
            for (int i = 0; i < 5; ++i) reply.add(dns_test::mx_record(name, 10, cat("mx", i, ".fat.example")));
        else if (name == "thin.example") reply.add(dns_test::mx_record(name, 10, "mx.thin.example"));
        else if (dns_test::asked_type(q) == 1)
            for (int i = 0; i < (name == "mx.thin.example" ? 2 : 150); ++i) reply.add(dns_test::a_record(name, dns_test::test_net_one));
        return {reply.bytes()};
    };
    for (const std::size_t most : {std::size_t{1} << 30, std::size_t{100'000}}) {
        Desk desk;
        Names names(*desk.loop, script, milliseconds(60'000));
        desk.restrict({{"smtpd_sender_restrictions", "check_sender_mx_access inline:{198.51.100.1=REJECT}"}});
        Examiner examiner({desk.router, desk.services, [&] { return &names.resolver; }, nullptr, most});
        examiner.set_program(desk.examiner.program());
        smtpd::MxPolicy policy(trust({"10.0.0.0/8"}), trust({"10.0.0.0/8"}), desk.router, examiner);
        desk.sessions = std::make_unique<Sessions>(Sessions::Parts{*desk.loop, *desk.intake, policy, desk.names, system_clock(), [](const std::string&) {}, 10}, desk.settings);
        Peer peer(desk);
        peer.talk("", 1);
        peer.talk("HELO h\r\n", 1);
        for (int round = 0; round < 2; ++round) {      // what the first one held is given back
            CHECK(codes(peer.talk("MAIL FROM:<a@fat.example>\r\nRCPT TO:<u@here.example>\r\nRSET\r\n", 3)) == (most > 100'000 ? "250 250 250" : "250 451 250"));
            CHECK(codes(peer.talk("MAIL FROM:<a@thin.example>\r\nRCPT TO:<u@here.example>\r\nRSET\r\n", 3)) == "250 250 250");
        }
        peer.hang_up();
        desk.sessions.reset();
    }
}

TEST_CASE("domains of a group are looked up side by side, and replies do not wait for a mute DNS", "[submission][dns][rfc5321-4.5.3.2]")
{
    Desk desk;
    Names names(*desk.loop, [](const std::string&, bool) { return std::vector<std::string>(); }, milliseconds(60'000));
    class Router final : public Recipients {
        std::optional<ipc::Route> check(const std::string& address, Done) override
        {
            ipc::Route r;
            r.kind = ipc::Route::Kind::deliver;
            r.address = address;
            r.transport = "smtp";
            r.nexthop = address.substr(address.find('@') + 1);
            return r;
        }
    } router;
    Domains domains(*desk.loop, [&] { return &names.resolver; });
    Meters meters({[] { return false; }, nullptr, nullptr});
    submission::PolicySettings settings;
    settings.auth_required = settings.check_owner = false;
    submission::UserPolicy policy({router, domains, [](const ipc::OwnerRequest&, const auto& done) { done({}); }, meters, desk.examiner},
                                  trust({"10.0.0.0/8"}), trust({}), settings);
    desk.sessions = std::make_unique<Sessions>(Sessions::Parts{*desk.loop, *desk.intake, policy, desk.names, system_clock(), [](const std::string&) {}, 10}, desk.settings);
    Peer peer(desk, "10.1.2.3");
    peer.talk("", 1);
    peer.talk("EHLO h\r\n", 1);
    const std::string group = "MAIL FROM:<>\r\nRCPT TO:<a@one.example>\r\nRCPT TO:<a@two.example>\r\nRCPT TO:<a@three.example>\r\n";
    CHECK(codes(peer.talk(group, 1)) == "250");      // of MAIL, while the first RCPT waits for the DNS
    for (int i = 0; i < 500 && names.server.queries.size() < 3; ++i) peer.turn();
    std::sort(names.server.queries.begin(), names.server.queries.end());
    CHECK(names.server.queries == std::vector<std::string>{"one.example/15", "three.example/15", "two.example/15"});
    peer.hang_up();
    desk.sessions.reset();
}

TEST_CASE("what was queued in a turn is told in one message", "[smtpd]")
{
    auto loop = *Loop::create();
    std::vector<std::string> sent;
    Arrivals arrivals(*loop, [&](std::string body) { sent.push_back(std::move(body)); });
    arrivals.add("65A3F00C80000001");
    arrivals.add("65A3F00C80000002");
    CHECK(sent.empty());
    loop->run_once(milliseconds(10));
    REQUIRE(sent.size() == 1);
    CHECK(ipc::Queued::decode(sent[0])->ids == std::vector<std::string>{"65A3F00C80000001", "65A3F00C80000002"});
    arrivals.add("65A3F00C80000003");
    loop->run_once(milliseconds(10));
    CHECK(sent.size() == 2);
}

TEST_CASE("a gateway of this host is trusted only when it is listed by itself", "[smtpd]")
{
    const auto ip = [](const char* text) { return *net::Address::parse_ip(text, 0); };
    std::vector<net::Address> hops = {ip("10.0.0.1")};
    const Trust range(*table::MatchList::networks({"10.0.0.0/8"}), hops);
    CHECK(range.trusts(ip("10.0.0.2")));
    CHECK_FALSE(range.trusts(ip("10.0.0.1")));
    CHECK_FALSE(range.trusts(ip("192.0.2.1")));
    const Trust listed(*table::MatchList::networks({"10.0.0.0/8", "10.0.0.1"}), hops);
    CHECK(listed.trusts(ip("10.0.0.1")));
    std::string log;
    log::capture(&log);
    range.warn(hops);
    listed.warn(hops);
    log::capture(nullptr);
    CHECK(log.find("10.0.0.1 is a gateway") != std::string::npos);
    CHECK(log.find('\n') == log.rfind('\n'));

    hops.push_back(ip("10.0.0.2"));          // DHCP brought another one
    CHECK_FALSE(range.trusts(ip("10.0.0.2")));
    hops.clear();
    CHECK(range.trusts(ip("10.0.0.1")));
}

TEST_CASE("names of clients come from the hosts file, or are unknown without a resolver", "[smtpd]")
{
    const auto hosts = parse_hosts("127.0.0.1 localhost other # comment\n::1\tlocalhost6\n# 10.0.0.1 no\n10.0.0.2 bad..name\n127.0.0.1 second\n");
    CHECK(hosts == std::map<std::string, std::string>{{"127.0.0.1", "localhost"}, {"::1", "localhost6"}});
    auto loop = *Loop::create();
    PeerNames names(*loop);
    names.set_hosts(hosts);
    CHECK(names.find(*net::Address::parse_ip("127.0.0.1", 1), milliseconds(1), nullptr)->name == "localhost");
    CHECK(names.find(*net::Address::parse_ip("192.0.2.1", 1), milliseconds(1), nullptr)->name == "unknown");
}

TEST_CASE("nothing that a client says of itself breaks out of Received or of the log line", "[smtpd][rfc5321-4.4]")
{
    Client client;
    client.address = *net::Address::parse_ip("2001:db8::1", 25);
    const Talk talk{"evil) by x (\r\nBcc: y", "ESMTP"};
    const std::string body = received_body(client, talk, "mx", "ID", nullptr, 0);
    CHECK(body.starts_with("from evil?_by_x_???Bcc:_y (unknown [IPv6:2001:db8::1])\r\n\tby mx (veredus) with ESMTP id ID; "));
    mail::HeaderBlock block;
    block.prepend("Received", body);
    CHECK(mail::HeaderBlock::parse(block.text()).fields().size() == 1);
    CHECK(reject_line("RCPT", client, {550, "5.1.1", "no\nnever"}, {"a\"b", "x"}, nullptr, {"h>; to=<z", "SMTP"}) ==
          "reject: RCPT from unknown[2001:db8::1]: 550 5.1.1 no?never; from=<\"a\\\"b\"@x> proto=SMTP helo=<h??_to=?z>");
}

TEST_CASE("smtpd's settings reach the engine", "[smtpd]")
{
    auto values = conf::Values::defaults();
    Settings s = reception::read_settings(values, "smtpd");
    CHECK(s.limits.banner == s.limits.hostname + " ESMTP");
    CHECK(s.limits.message_size == 10'240'000);
    CHECK(s.min_free == 15'360'000);
    CHECK(s.timeout == std::chrono::seconds(300));
    CHECK(s.limits.disable_vrfy);
    values.set_for_test("smtpd_discard_ehlo_keywords", "pipelining, 8BITMIME");
    values.set_for_test("queue_minfree", "7");
    values.set_for_test("smtpd_helo_required", "yes");
    s = reception::read_settings(values, "smtpd");
    values.set_for_test("smtpd_discard_ehlo_keyword_address_maps", "inline:{192.0.2.1=chunking, 192.0.2.2=}");
    values.set_for_test("smtpd_forbid_bare_newline", "reject");
    values.set_for_test("smtpd_forbid_bare_newline_exclusions", "192.0.2.3");
    const auto no_file = [](const std::string& path) { return fail(path); };
    s = reception::read_settings(values, "smtpd");
    reception::read_tables(s, values, "smtpd", no_file);
    const auto base = std::make_shared<const Settings>(s);
    Variants variants;
    const auto at = [&](const char* ip) { return variants.find(base, *net::Address::parse_ip(ip, 25)); };
    const auto words = [&](const char* ip) {
        const smtp::Limits& l = at(ip)->limits;
        return cat(l.pipelining ? "pipelining " : "", l.eight_bit ? "8bit " : "", l.chunking ? "chunking " : "", l.bare_lf == smtp::BareLf::reject ? "strict" : "lenient");
    };
    CHECK(words("192.0.2.9") == "chunking strict");
    CHECK(words("192.0.2.1") == "pipelining 8bit strict");
    CHECK(words("192.0.2.2") == "pipelining 8bit chunking strict");
    CHECK(words("192.0.2.3") == "chunking lenient");
    CHECK(at("192.0.2.9").get() == at("192.0.2.10").get());
    CHECK(at("192.0.2.2").get() == base.get());
    CHECK(at("192.0.2.9")->limits.enhanced_codes);
    CHECK(unknown_keywords({"PIPELINING", "size", "dancing"}) == std::vector<std::string>{"dancing"});
    CHECK(s.min_free == 7);
    CHECK(s.limits.helo_required);
}

namespace {

conf::Values values_of(const std::string& text)
{
    const auto file = conf::File::parse(text, "main.cf");
    REQUIRE(file.ok());
    return file.values();
}

}  // namespace

TEST_CASE("each setting of the servers rules what it says, for smtpd and for submission by itself", "[smtpd][submission]")
{
    using std::chrono::seconds;
    struct Case {
        const char *name, *value;                            // "_..." is smtpd_... or submission_...
        bool (*holds)(const Settings& s);
    };
    const Case cases[] = {
        {"_banner", "hi there", [](const Settings& s) { return s.limits.banner == "hi there"; }},
        {"message_size_limit", "123456", [](const Settings& s) { return s.limits.message_size == 123456; }},
        {"_recipient_limit", "17", [](const Settings& s) { return s.limits.recipients == 17; }},
        {"message_drop_headers", "x-a, x-b", [](const Settings& s) { return s.drop_fields == std::vector<std::string>{"x-a", "x-b"}; }},
        {"_recipient_overshoot_limit", "18", [](const Settings& s) { return s.limits.recipients_beyond == 18; }},
        {"line_length_limit", "3000", [](const Settings& s) { return s.limits.line_length == 3000; }},
        {"_soft_error_limit", "3", [](const Settings& s) { return s.limits.soft_errors == 3; }},
        {"_hard_error_limit", "4", [](const Settings& s) { return s.limits.hard_errors == 4; }},
        {"_junk_command_limit", "5", [](const Settings& s) { return s.limits.junk_commands == 5; }},
        {"_helo_required", "yes", [](const Settings& s) { return s.limits.helo_required; }},
        {"disable_vrfy_command", "no", [](const Settings& s) { return !s.limits.disable_vrfy; }},
        {"strict_rfc821_envelopes", "yes", [](const Settings& s) { return s.limits.strict_envelopes; }},
        {"_forbid_bare_newline", "reject", [](const Settings& s) { return s.limits.bare_lf == smtp::BareLf::reject; }},
        {"_forbid_bare_newline", "note", [](const Settings& s) { return s.limits.bare_lf == smtp::BareLf::note; }},
        {"_forbid_bare_newline", "yes", [](const Settings& s) { return s.limits.bare_lf == smtp::BareLf::normalize; }},
        {"_forbid_bare_newline", "no", [](const Settings& s) { return s.limits.bare_lf == smtp::BareLf::normalize; }},
        {"_forbid_bare_newline_reject_code", "521", [](const Settings& s) { return s.limits.bare_lf_code == 521; }},
        {"_timeout", "77s", [](const Settings& s) { return s.timeout == seconds(77); }},
        {"_stress_timeout", "3s", [](const Settings& s) { return s.stress_timeout == seconds(3); }},
        {"_error_sleep_time", "9s", [](const Settings& s) { return s.error_sleep == seconds(9); }},
        {"header_size_limit", "5000", [](const Settings& s) { return s.header_size == 5000; }},
        {"header_count_limit", "60", [](const Settings& s) { return s.header_count == 60; }},
        {"hopcount_limit", "8", [](const Settings& s) { return s.hops == 8; }},
        {"queue_minfree", "99", [](const Settings& s) { return s.min_free == 99; }},
        {"_client_connection_count_limit", "6", [](const Settings& s) { return s.connections_per_client == 6; }},
        {"_client_connection_rate_limit", "7", [](const Settings& s) { return s.rates.connections == 7; }},
        {"_client_message_rate_limit", "8", [](const Settings& s) { return s.rates.messages == 8; }},
        {"_client_recipient_rate_limit", "9", [](const Settings& s) { return s.rates.recipients == 9; }},
        {"_client_auth_rate_limit", "10", [](const Settings& s) { return s.rates.auth == 10; }},
        {"_client_new_tls_session_rate_limit", "11", [](const Settings& s) { return s.rates.new_tls == 11; }},
        {"_stress_hard_error_limit", "2", [](const Settings& s) { return s.stress_hard_errors == 2; }},
        {"_stress_junk_command_limit", "3", [](const Settings& s) { return s.stress_junk_commands == 3; }},
        {"_peername_lookup", "no", [](const Settings& s) { return !s.look_up_names; }},
        {"_tls_security_level", "encrypt", [](const Settings& s) { return s.limits.require_tls && s.tls_offered; }},
        {"_tls_security_level", "none", [](const Settings& s) { return !s.limits.require_tls && !s.tls_offered; }},
        {"_tls_received_header", "yes", [](const Settings& s) { return s.tls_in_received; }},
        {"_tls_loglevel", "0", [](const Settings& s) { return !s.tls_logged; }},
        {"_tls_ask_ccert", "yes", [](const Settings& s) { return s.ask_certificate; }},
        {"_tls_fingerprint_digest", "sha512", [](const Settings& s) { return s.fingerprint_digest == "sha512"; }},
    };
    for (const Case& c : cases)
        for (const std::string prefix : {"smtpd", "submission"}) {
            INFO(prefix << c.name << " = " << c.value);
            const std::string name = c.name[0] == '_' ? prefix + c.name : c.name;
            if (!c.holds(read_settings(values_of(""), prefix))) {
                const auto values = values_of(cat(name, " = ", c.value, "\n"));
                CHECK(c.holds(read_settings(values, prefix)));
                // a twin's own value says nothing about the other server
                if (c.name[0] == '_' && prefix == "submission") CHECK_FALSE(c.holds(read_settings(values, "smtpd")));
            } else {
                CHECK((name.ends_with("_forbid_bare_newline") || name == "submission_tls_received_header" || name == "submission_tls_security_level"));
            }
        }

    struct RuleCase {
        const char *name, *value;
        bool (*holds)(const RuleSettings& s);
    };
    const RuleCase rules[] = {
        {"_delay_reject", "no", [](const RuleSettings& s) { return !s.delay_reject; }},
        {"_relay_before_recipient_restrictions", "no", [](const RuleSettings& s) { return !s.relay_first; }},
        {"_reject_unlisted_recipient", "no", [](const RuleSettings& s) { return !s.unlisted_recipient; }},
        {"_reject_unlisted_sender", "yes", [](const RuleSettings& s) { return s.unlisted_sender; }},
        {"smtpd_null_access_lookup_key", "null", [](const RuleSettings& s) { return s.null_key == "null"; }},
        {"default_rbl_reply", "go away", [](const RuleSettings& s) { return s.rbl_reply == "go away"; }},
        {"parent_domain_matches_subdomains", "relay_domains", [](const RuleSettings& s) { return !s.subdomains; }},
        {"recipient_delimiter", "-", [](const RuleSettings& s) { return s.delimiters == "-"; }},
        {"reject_code", "555", [](const RuleSettings& s) { return s.reject == 555; }},
        {"defer_code", "455", [](const RuleSettings& s) { return s.defer == 455; }},
        {"access_map_reject_code", "555", [](const RuleSettings& s) { return s.access_reject == 555; }},
        {"access_map_defer_code", "455", [](const RuleSettings& s) { return s.access_defer == 455; }},
        {"maps_rbl_reject_code", "555", [](const RuleSettings& s) { return s.rbl == 555; }},
        {"invalid_hostname_reject_code", "555", [](const RuleSettings& s) { return s.invalid_helo == 555; }},
        {"non_fqdn_reject_code", "555", [](const RuleSettings& s) { return s.non_fqdn == 555; }},
        {"unknown_address_reject_code", "555", [](const RuleSettings& s) { return s.unknown_address == 555; }},
        {"unknown_client_reject_code", "555", [](const RuleSettings& s) { return s.unknown_client == 555; }},
        {"unknown_hostname_reject_code", "555", [](const RuleSettings& s) { return s.unknown_helo == 555; }},
        {"relay_domains_reject_code", "555", [](const RuleSettings& s) { return s.relay == 555; }},
        {"plaintext_reject_code", "555", [](const RuleSettings& s) { return s.plaintext == 555; }},
        {"multi_recipient_bounce_reject_code", "555", [](const RuleSettings& s) { return s.multi_bounce == 555; }},
        {"unknown_address_tempfail_action", "reject", [](const RuleSettings& s) { return s.address_trouble == RuleSettings::OnTrouble::reject; }},
        {"unknown_helo_hostname_tempfail_action", "defer", [](const RuleSettings& s) { return s.helo_trouble == RuleSettings::OnTrouble::defer; }},
        {"reject_tempfail_action", "defer", [](const RuleSettings& s) { return s.address_trouble == RuleSettings::OnTrouble::defer && s.helo_trouble == s.address_trouble; }},
    };
    const auto none = [](const std::string& path) { return fail(path); };
    for (const RuleCase& c : rules)
        for (const std::string prefix : {"smtpd", "submission"}) {
            INFO(prefix << c.name << " = " << c.value);
            const auto values = values_of(cat(c.name[0] == '_' ? prefix : std::string(), c.name, " = ", c.value, "\n"));
            CHECK(c.holds((*make_program(values, prefix, none))->rules.settings));
        }
}

TEST_CASE("each setting of policy services rules what it says, unless a service has its own", "[smtpd][policy]")
{
    const auto none = [](const std::string& path) { return fail(path); };
    const auto server = [&](const std::string& settings, const std::string& own = {}) {
        const auto values = values_of(cat("smtpd_recipient_restrictions = check_policy_service ", own.empty() ? "inet:127.0.0.1:9" : own, '\n', settings));
        const auto program = make_program(values, "smtpd", none);
        REQUIRE(program);
        return *(*program)->rules.list(Stage::recipient).at(0).server;
    };
    CHECK(server("smtpd_policy_service_timeout = 7s\n").timeout_s == 7);
    CHECK(server("smtpd_policy_service_max_idle = 8s\n").max_idle_s == 8);
    CHECK(server("smtpd_policy_service_max_ttl = 9s\n").max_ttl_s == 9);
    CHECK(server("smtpd_policy_service_retry_delay = 10s\n").retry_delay_s == 10);
    CHECK(server("smtpd_policy_service_try_limit = 3\n").try_limit == 3);
    CHECK(server("smtpd_policy_service_request_limit = 12\n").request_limit == 12);
    CHECK(server("smtpd_policy_service_default_action = DUNNO\n").default_action == "DUNNO");
    CHECK(server("smtpd_policy_service_policy_context = inner\n").context == "inner");
    CHECK(server("smtpd_policy_service_timeout = 7s\n", "{ inet:127.0.0.1:9, timeout=2s, default_action=DUNNO }").timeout_s == 2);
}

TEST_CASE("content checks: each kind of rule has its own table, and mime and nested ones are header_checks unless they are said", "[smtpd]")
{
    const auto read = [](const std::string& path) { return Result<std::string>(cat("/./ WARN ", path, "\n")); };
    const auto verdicts = [&](const std::map<std::string, std::string>& given) {
        std::string text;
        for (const auto& [name, value] : given) append(text, name, " = ", value, '\n');
        Settings s;
        read_tables(s, values_of(text), "smtpd", read);
        if (!s.checks) return std::string("none");
        std::string out;
        for (const auto* lookup : {&s.checks->header, &s.checks->mime, &s.checks->nested, &s.checks->body})
            append(out, *lookup ? (*lookup)("x")->value_or("nothing").substr(5) : "-", ' ');
        return cat(out, s.checks->body_size, ' ', s.checks->depth);
    };
    CHECK(verdicts({}) == "none");
    CHECK(verdicts({{"header_checks", "regexp:/h"}}) == "/h /h /h - 51200 100");
    CHECK(verdicts({{"header_checks", "regexp:/h"}, {"mime_header_checks", "pcre:/m"}, {"nested_header_checks", "regexp:/n"}, {"body_checks", "pcre:/b"}}) == "/h /m /n /b 51200 100");
    CHECK(verdicts({{"body_checks", "regexp:/b"}, {"body_checks_size_limit", "7"}, {"mime_nesting_limit", "9"}}) == "- - - /b 7 9");
}

TEST_CASE("a header with more fields than may be is refused, and the next mail is taken", "[smtpd]")
{
    Desk desk;
    desk.settings->header_count = 60;
    Peer peer(desk);
    peer.talk("", 1);
    peer.talk("EHLO h\r\n", 1);
    for (const unsigned fields : {61u, 60u}) {
        peer.talk(envelope, 3);
        std::string content;
        for (unsigned i = 0; i < fields; ++i) append(content, "X-", i, ": 1\r\n");
        const std::string said = peer.talk(content + "\r\nbody\r\n.\r\n", 1);
        CHECK(said.starts_with(fields == 60 ? "250 2.0.0 Ok: queued" : "552 5.3.4 Error: message header has too many fields\r\n"));
    }
    CHECK(desk.queued.size() == 1);
}

TEST_CASE("client, HELO and sender are judged at the recipient, or at once when smtpd_delay_reject = no", "[smtpd][restrictions]")
{
    for (const bool delay : {true, false}) {
        Desk desk;
        desk.restrict({{"smtpd_delay_reject", delay ? "yes" : "no"}, {"smtpd_helo_restrictions", "reject_invalid_helo_hostname"}, {"smtpd_sender_restrictions", "reject_non_fqdn_sender"}});
        Peer peer(desk);
        peer.talk("", 1);
        CHECK(codes(peer.talk("HELO -x-\r\n", 1)) == (delay ? "250" : "501"));
        CHECK(codes(peer.talk("HELO out.example.org\r\n", 1)) == "250");
        CHECK(codes(peer.talk("MAIL FROM:<a@x>\r\n", 1)) == (delay ? "250" : "504"));
        CHECK(codes(peer.talk("RCPT TO:<u@here.example>\r\n", 1)) == (delay ? "504" : "503"));
    }
}

TEST_CASE("a stranger does not use a sender that smtpd_sender_login_maps gives to a user", "[smtpd][restrictions]")
{
    using Word = ipc::OwnerReply::Word;
    struct Row {
        Word word;
        bool listed;
        const char* reply;
    };
    for (const bool delay : {true, false})
        for (const Row& row : {Row{Word::no, true, "553 5.7.1 <shop@here.example>: Sender address rejected: not logged in"}, Row{Word::no, false, "250 "},
                               Row{Word::temporary, false, "451 4.3.0 <shop@here.example>: Temporary lookup failure"}}) {
            Desk desk;
            desk.owner.word = row.word;
            desk.owner.listed = row.listed;
            desk.restrict({{"smtpd_delay_reject", delay ? "yes" : "no"}, {"smtpd_sender_restrictions", "reject_sender_login_mismatch"}});
            Peer peer(desk);
            peer.talk("", 1);
            peer.talk("EHLO out.example.org\r\n", 1);
            const std::string mail = peer.talk("MAIL FROM:<shop@here.example>\r\n", 1);
            CHECK(mail.starts_with(delay ? "250 " : row.reply));
            if (mail.starts_with("250 ")) CHECK(peer.talk("RCPT TO:<u@here.example>\r\n", 1).starts_with(row.reply));
            REQUIRE_FALSE(desk.owners_asked.empty());
            CHECK((desk.owners_asked[0].user == "-" && desk.owners_asked[0].address == "shop@here.example"));
        }
}

TEST_CASE("copies and other recipients that a restriction list asks for are in the mail; Received names whom the client named", "[smtpd][restrictions]")
{
    struct Row {
        const char* action;
        std::vector<std::string> goes_to;
    };
    for (const bool late : {true, false})
        for (const Row& row : {Row{"BCC copy@here.example", {"u@here.example", "copy@here.example"}}, Row{"REDIRECT boss@here.example", {"boss@here.example"}}}) {
            Desk desk;
            desk.router.late = late;
            desk.restrict({{"smtpd_sender_restrictions", cat("check_sender_access inline:{{x.org=", row.action, "}}")}});
            Peer peer(desk);
            peer.talk("", 1);
            peer.talk("EHLO h\r\n", 1);
            CHECK(codes(peer.talk(envelope, 3)) == "250 250 354");
            CHECK(codes(peer.talk("Subject: hi\r\n\r\nbody\r\n.\r\n", 1)) == "250");
            REQUIRE(desk.queued.size() == 1);
            const auto dir = *desk.disk.open_directory(nullptr, "/in/new");
            const Fd file = *desk.disk.open_read(dir, desk.queued[0]);
            const auto mail = queue::read_mail_file(desk.disk, file, true);
            REQUIRE(mail);
            std::vector<std::string> goes_to;
            for (const mail::Recipient& r : mail->envelope.recipients) goes_to.push_back(r.address.text());
            CHECK(goes_to == row.goes_to);
            CHECK(desk.disk.read(file, mail->layout.header_offset, mail->layout.header_size)->find("for <u@here.example>; ") != std::string::npos);
        }
}

TEST_CASE("fields of message_drop_headers are in no mail that is taken, and the line of an mbox ends no header", "[smtpd]")
{
    Desk desk;
    desk.settings->drop_fields = {"bcc", "content-length"};
    Peer peer(desk);
    peer.talk("", 1);
    peer.talk("EHLO h\r\n", 1);
    CHECK(codes(peer.talk(envelope, 3)) == "250 250 354");
    CHECK(codes(peer.talk("From x Mon Jan  1\r\nSubject: hi\r\nBCC: secret@x.org,\r\n other@x.org\r\nContent-Length : 3\r\nTo: y@x.org\r\n\r\nBcc: body\r\n.\r\n", 1)) == "250");
    REQUIRE(desk.queued.size() == 1);
    const auto dir = *desk.disk.open_directory(nullptr, "/in/new");
    const Fd file = *desk.disk.open_read(dir, desk.queued[0]);
    const auto mail = queue::read_mail_file(desk.disk, file, true);
    REQUIRE(mail);
    CHECK(desk.disk.read(file, mail->layout.header_offset, mail->layout.header_size)->ends_with("\r\nX-Mailbox-Line: From x Mon Jan  1\r\nSubject: hi\r\nTo: y@x.org\r\n"));
    CHECK(*desk.disk.read(file, mail->layout.body_offset, mail->layout.body_size) == "Bcc: body\r\n");
}

TEST_CASE("421 and 521 of an access table end the session, other refusals do not", "[smtpd][restrictions][rfc5321-3.8]")
{
    for (const char* code : {"421 4.7.0", "521 5.7.1", "550 5.7.1"}) {
        Desk desk;
        desk.restrict({{"smtpd_recipient_restrictions", cat("check_recipient_access inline:{{u@here.example=", code, " go away}}")}});
        Peer peer(desk);
        peer.talk("", 1);
        peer.talk("EHLO h\r\n", 1);
        peer.talk("MAIL FROM:<a@x.org>\r\n", 1);
        CHECK(peer.talk("RCPT TO:<u@here.example>\r\n", 1).starts_with(std::string(code, 3)));
        const bool stays = std::string_view(code).starts_with("550");
        if (stays) CHECK(codes(peer.talk("NOOP\r\n", 1)) == "250");
        else peer.until_closed();
        CHECK(peer.closed != stays);
    }
}

TEST_CASE("a policy service knows each mail of each session by an instance of its own, and hears the declared size", "[smtpd][policy]")
{
    Desk desk;
    desk.restrict({{"smtpd_recipient_restrictions", "check_policy_service unix:/run/policy"}});
    for (int i = 0; i < 20; ++i) {
        Peer peer(desk);
        peer.talk("", 1);
        peer.talk("EHLO h\r\n", 1);
        const std::string two = "RCPT TO:<u@here.example>\r\nRCPT TO:<v@here.example>\r\n";
        CHECK(codes(peer.talk(cat("MAIL FROM:<a@x.org> SIZE=12345\r\n", two), 3)) == "250 250 250");
        CHECK(codes(peer.talk(cat("RSET\r\nMAIL FROM:<a@x.org>\r\n", two), 4)) == "250 250 250 250");
        peer.hang_up();
    }
    const std::vector<std::string> instances = desk.told_policy("instance"), sizes = desk.told_policy("size");
    REQUIRE(instances.size() == 80);
    for (std::size_t i = 0; i < 80; i += 2) {
        CHECK(instances[i] == instances[i + 1]);                // one mail, two recipients
        CHECK(std::count(instances.begin(), instances.end(), instances[i]) == 2);
        CHECK(sizes[i] == (i % 4 == 0 ? "12345" : "0"));
    }
}

TEST_CASE("a client that said HELO may not send commands in groups; after EHLO he may", "[smtpd][restrictions][rfc2920-3.1]")
{
    struct Row {
        bool late;
        std::vector<const char*> says;                          // each in one write
        bool refused;
    };
    const char* rest = "MAIL FROM:<a@x.org>\r\nRCPT TO:<u@here.example>\r\n";
    for (const Row& row : {Row{false, {"HELO x\r\n", rest}, true}, Row{true, {"HELO x\r\n", rest}, true}, Row{false, {"EHLO x\r\n", rest}, false},
                           Row{true, {"EHLO x\r\n", rest}, false}, Row{false, {"HELO x\r\n", "MAIL FROM:<a@x.org>\r\n", "RCPT TO:<u@here.example>\r\n"}, false},
                           Row{false, {"HELO x\r\n", "RSET\r\nMAIL FROM:<a@x.org>\r\n", "RCPT TO:<u@here.example>\r\n"}, true},
                           Row{false, {"HELO x\r\n", "RSET\r\nNOOP\r\n", "EHLO x\r\n", rest}, true}}) {
        Desk desk;
        desk.router.late = row.late;
        desk.restrict({{"smtpd_recipient_restrictions", "reject_unauth_pipelining"}});
        Peer peer(desk);
        peer.talk("", 1);
        std::string said;
        for (const char* say : row.says) said = peer.talk(say, static_cast<std::size_t>(std::count(say, say + std::strlen(say), '\n')));
        INFO(row.says[0] << row.says[1] << said);
        CHECK((said.find("503 5.5.0 <u@here.example>: Recipient address rejected: Improper use of SMTP command pipelining\r\n") != std::string::npos) == row.refused);
        CHECK((said.find("250 2.1.5 Ok") != std::string::npos) != row.refused);
        peer.hang_up();
    }
}

TEST_CASE("refusals end in the administrator's footer, from its table or the common one", "[smtpd]")
{
    Desk desk;
    auto values = conf::Values::defaults();
    values.set_for_test("smtpd_reject_footer", "\\c. Call 555 and say \"$client_address\", ${nothing?no}${nothing:yes}\\nor write to $server_name about <$helo_name>");
    values.set_for_test("smtpd_reject_footer_maps", "pcre:/footers");
    read_tables(*desk.settings, values, "smtpd", [](const std::string&) { return Result<std::string>("/^500 5.5.2 / footer of $$recipient$$client_port\n"); });
    desk.sessions->set_settings(desk.settings);
    Peer peer(desk);
    peer.talk("", 1);
    CHECK(peer.talk("EHLO e\x01vil\r\n", 1) == "500-5.5.2 Error: bad syntax\r\n500 5.5.2 footer of 4321\r\n");
    peer.talk("EHLO me\r\n", 1);
    CHECK(peer.talk("MAIL FROM:<a@x.org>\r\nRCPT TO:<nobody@here.example>\r\n", 2).ends_with(
        "in local recipient table. Call 555 and say \"192.0.2.7\", yes\r\n550 5.1.1 or write to mx.example.org about <me>\r\n"));
    CHECK(desk.logged("User unknown in local recipient table; from="));      // the log has the reply alone
}

TEST_CASE("what RFC 8689 says of TLS reaches the envelope", "[smtpd][rfc8689-4.1]")
{
    Desk desk;
    Peer peer(desk);
    peer.talk("", 1);
    for (const char* field : {"TLS-Required: No", "TLS-Required: maybe", "X: y"}) {
        peer.talk("HELO x\r\n", 1);
        CHECK(codes(peer.talk(envelope, 3)) == "250 250 354");
        CHECK(codes(peer.talk(cat(field, "\r\n\r\nhi\r\n.\r\n"), 1)) == "250");
    }
    REQUIRE(desk.queued.size() == 3);
    const auto wish = [&](std::size_t i) {
        const auto dir = *desk.disk.open_directory(nullptr, "/in/new");
        const Fd file = *desk.disk.open_read(dir, desk.queued[i]);
        return queue::read_mail_file(desk.disk, file, true)->envelope.tls;
    };
    CHECK(wish(0) == mail::TlsNeed::waived);
    CHECK(wish(1) == mail::TlsNeed::unset);
    CHECK(wish(2) == mail::TlsNeed::unset);
}

namespace {

// anvil without a process: answers in a later turn, as the real one does.
struct Tally {
    anvil::Counters counters{system_clock()};
    std::unique_ptr<Meters> meters;
    bool there = true;
    explicit Tally(Desk& desk)
    {
        const auto count = [this](const std::string& body) { return counters.count(1, "smtp", *ipc::AnvilEvent::decode(body)).encode(); };
        meters = std::make_unique<Meters>(Meters::Doors{[this] { return there; },
                                                        [count, &desk](std::string body, std::function<void(Result<ipc::Message>)> done) {
                                                            desk.loop->defer([done, answer = count(body)] {
                                                                ipc::Message message;
                                                                message.body = answer;
                                                                done(std::move(message));
                                                            });
                                                        },
                                                        [count](std::string body) { count(body); }});
        desk.sessions = std::make_unique<Sessions>(
            Sessions::Parts{*desk.loop, *desk.intake, desk.policy, desk.names, system_clock(), [&desk](const std::string& id) { desk.queued.push_back(id); }, 100, nullptr, nullptr, meters.get()},
            desk.settings);
    }
};

}  // namespace

TEST_CASE("limits of a client count in all processes: connections at a time and their rate", "[smtpd][anvil]")
{
    Desk desk;
    desk.settings->connections_per_client = 2;
    desk.settings->rates.connections = 4;
    Tally tally(desk);
    {
        tally.counters.count(2, "smtp", {ipc::AnvilEvent::Kind::held, "192.0.2.7", 1});    // another process has one of him
        Peer first(desk);
        CHECK(codes(first.talk("", 1)) == "220");
        Peer second(desk);
        CHECK(second.talk("", 1) == "421 4.7.0 mx.example.org Error: too many connections from 192.0.2.7\r\n");
        CHECK(desk.logged("warning: Connection concurrency limit exceeded: 3 from client.example.org[192.0.2.7] for service smtp\n"));
        Peer friendly(desk, "10.1.1.1");
        CHECK(codes(friendly.talk("", 1)) == "220");
        Peer other(desk, "192.0.2.8");
        CHECK(codes(other.talk("", 1)) == "220");
        first.hang_up(), second.hang_up(), friendly.hang_up(), other.hang_up();
    }
    tally.counters.drop_peer(2);
    for (int i = 0; i < 2; ++i) {
        Peer again(desk);
        CHECK(codes(again.talk("QUIT\r\n", 2)) == "220 221");
        again.until_closed();
    }
    Peer hasty(desk);
    CHECK(codes(hasty.talk("", 1)) == "421");
    CHECK(desk.logged("warning: Connection rate limit exceeded: 5 from client.example.org[192.0.2.7] for service smtp\n"));
    hasty.until_closed();
    tally.there = false;                                    // nobody is refused because we cannot count
    Peer unseen(desk);
    CHECK(codes(unseen.talk("QUIT\r\n", 2)) == "220 221");
    unseen.until_closed();
}

TEST_CASE("rates of mails and recipients are limits per client, in Postfix's words", "[smtpd][anvil]")
{
    for (const bool late : {false, true}) {
        Desk desk;
        desk.router.late = late;
        desk.settings->rates.messages = 2;
        desk.settings->rates.recipients = 2;
        Tally tally(desk);
        Peer peer(desk);
        peer.talk("EHLO h\r\n", 2);
        CHECK(codes(peer.talk("MAIL FROM:<a@x.org>\r\nRCPT TO:<u@here.example>\r\nRCPT TO:<b@far.example>\r\nRCPT TO:<u@here.example>\r\n", 4)) == "250 250 554 450");
        CHECK(peer.heard.ends_with("450 4.7.1 Error: too many recipients from 192.0.2.7\r\n"));
        CHECK(desk.logged("warning: Recipient address rate limit exceeded: 3 from client.example.org[192.0.2.7] for service smtp\n"));
        CHECK(desk.logged("NOQUEUE: reject: RCPT from client.example.org[192.0.2.7]: 450 4.7.1 Error: too many recipients from 192.0.2.7; from=<a@x.org> to=<u@here.example> "));
        CHECK(codes(peer.talk("DATA\r\n", 1)) == "354");
        CHECK(codes(peer.talk("x\r\n.\r\n", 1)) == "250");
        CHECK(codes(peer.talk("MAIL FROM:<>\r\nRSET\r\nMAIL FROM:<a@x.org>\r\nNOOP\r\n", 4)) == "250 250 450 250");
        CHECK(desk.logged("warning: Message delivery request rate limit exceeded: 3 from client.example.org[192.0.2.7] for service smtp\n"));
        CHECK(desk.logged("NOQUEUE: reject: MAIL from client.example.org[192.0.2.7]: 450 4.7.1 Error: too much mail from 192.0.2.7; from=<a@x.org> proto=ESMTP helo=<h>\n"));
        Peer friendly(desk, "10.1.1.1");
        friendly.talk("EHLO h\r\n", 2);
        for (int i = 0; i < 4; ++i) CHECK(codes(friendly.talk("MAIL FROM:<>\r\nRSET\r\n", 2)) == "250 250");
        peer.hang_up(), friendly.hang_up();
    }
}

TEST_CASE("a stranger who does not wait for the greeting is noticed; who has waited once waits no more", "[smtpd][rfc5321-3.1]")
{
    for (const bool drop : {false, true}) {
        Desk desk;
        desk.settings->pregreet_wait = std::chrono::seconds(600);
        desk.settings->pregreet_drop = drop;
        Peer hasty(desk);
        hasty.talk("RSET\r\nQUIT\r\n", drop ? 1 : 3);
        CHECK(codes(hasty.heard) == (drop ? "521" : "220 250 221"));
        hasty.until_closed();
        CHECK(desk.logged("PREGREET 12 after 0."));
        CHECK(desk.logged(" from [192.0.2.7]:4321: RSET"));
        Peer friendly(desk, "10.1.1.1");                    // not one of those who are looked at
        CHECK(codes(friendly.talk("QUIT\r\n", 2)) == "220 221");
        friendly.until_closed();
        Peer waits(desk, "192.0.2.9");
        for (int i = 0; i < 5; ++i) waits.turn();
        CHECK(waits.heard.empty());
        waits.hang_up();                                    // to go is no answer
        auto shorter = std::make_shared<Settings>(*desk.settings);
        shorter->pregreet_wait = milliseconds(1);
        desk.sessions->set_settings(shorter);
        Peer patient(desk, "192.0.2.10");
        CHECK(codes(patient.talk("", 1)) == "220");
        patient.hang_up();
        desk.sessions->set_settings(desk.settings);
        Peer known(desk, "192.0.2.10");
        CHECK(codes(known.talk("", 1)) == "220");
        CHECK(desk.log.find("PREGREET") == desk.log.rfind("PREGREET"));
        known.hang_up();
    }
}

TEST_CASE("under stress a stranger's first error is his last, and a friend's is not", "[smtpd]")
{
    Desk desk(10);
    Peer calm(desk, "192.0.2.1");
    CHECK(codes(calm.talk("FOO\r\n", 2)) == "220 500");     // came before the stress
    std::vector<std::unique_ptr<Peer>> crowd;
    for (int i = 0; i < 8; ++i) crowd.push_back(std::make_unique<Peer>(desk, "10.0.0.1"));
    Peer stranger(desk, "192.0.2.2");
    CHECK(codes(stranger.talk("FOO\r\n", 2)).starts_with("220 500 421"));
    for (auto& one : crowd)
        if (!one->closed) CHECK(codes(one->talk("FOO\r\nNOOP\r\n", 3)) == "220 500 250");
    desk.sessions.reset();
}

TEST_CASE("a policy service that cannot be reached is tried again, and then its default action counts", "[policy][smtpd]")
{
    const std::unique_ptr<Loop> loop = *Loop::create();
    std::string log;
    log::capture(&log);
    for (const bool at_once : {false, true}) {
        unsigned dials = 0;
        PolicyServices services(*loop, [&](const std::string&, std::function<void(Result<Fd>)> done) {
            ++dials;
            if (at_once) return done(fail("refused"));
            loop->defer([done = std::move(done)] { done(fail("refused")); });
        });
        auto server = std::make_shared<PolicyServer>();
        server->endpoint = "inet:127.0.0.1:10023";
        server->retry_delay_s = 0;
        server->try_limit = 3;
        server->default_action = "451 4.3.5 later";
        std::vector<std::string> actions;
        for (int i = 0; i < 2; ++i) services.ask(server, "request=smtpd_access_policy\n\n", [&](const std::string& action) { actions.push_back(action); });
        CHECK(actions.empty());
        for (int i = 0; i < 500 && actions.size() < 2; ++i) loop->run_once(milliseconds(20));
        CHECK(actions == std::vector<std::string>(2, "451 4.3.5 later"));
        CHECK(dials == 6);
    }
    // Whoever goes while his question waits for the next try hears nothing more.
    auto services = std::make_unique<PolicyServices>(*loop, [](const std::string&, std::function<void(Result<Fd>)> done) { done(fail("refused")); });
    bool heard = false;
    services->ask(std::make_shared<PolicyServer>(), "x\n\n", [&](const std::string&) { heard = true; });
    loop->run_once(milliseconds(0));
    services.reset();
    for (int i = 0; i < 3; ++i) loop->run_once(milliseconds(0));
    CHECK_FALSE(heard);
    log::capture(nullptr);
}

TEST_CASE("a client asks for the mail of a domain that may be flushed, and hears what its standing allows", "[reception][rfc1985-5.1]")
{
    const table::ReadText read = [](const std::string& path) -> Result<std::string> {
        if (path == "/etc/more") return "# ours\nfile.example, !never.example\n";
        if (path == "/etc/table") return "table.example x\n";
        return fail(cat(path, ": is not there"));
    };
    std::vector<std::string> asked;
    std::optional<ipc::SiteFlushed> answer = ipc::SiteFlushed{ipc::SiteFlushed::How::started, 14};
    Etrn etrn([&](std::string body, std::function<void(Result<ipc::Message>)> done) {
        asked.push_back(ipc::FlushSite::decode(body)->domain);
        if (!answer) return done(fail("qmgr is away"));
        ipc::Message message;
        message.body = answer->encode();
        done(std::move(message));
    });
    etrn.set_domains(DomainList::make({"relay.example", "!closed.never.example", "/etc/more", "hash:/etc/table"}, true, read));
    std::string late;
    const auto say = [&](std::string_view text, bool ours = true) {
        late.clear();
        const auto outcome = etrn.run(text, ours, [&] { return [&](const smtp::Reply& r) { late = cat(r.code, ' ', r.enhanced, ' ', r.text); }; });
        if (const smtp::Reply* r = std::get_if<smtp::Reply>(&outcome)) return cat(r->code, ' ', r->enhanced, ' ', r->text);
        return late;
    };
    CHECK(say("Relay.Example") == "253 2.0.0 OK, 14 pending messages for node relay.example started");
    CHECK(say("relay.example", false) == "250 2.0.0 OK, queuing for node relay.example started");
    for (const char* good : {"@relay.example", "sub.relay.example", "file.example", "table.example", "sub.table.example"}) CHECK(say(good).starts_with("253 "));
    for (const char* bad : {"never.example", "closed.never.example", "elsewhere.example", "#relay.example", "relay.example.net", "xrelay.example"}) CHECK(say(bad).starts_with("459 "));
    for (const char* wrong : {"localname", "a b.example", "..", "@", ".", "[192.0.2.1]", "-x.example\x01"}) CHECK(say(wrong).starts_with("501 "));
    CHECK(say(std::string(400, 'a') + ".example").starts_with("501 "));
    CHECK(say("").starts_with("500 "));
    CHECK(asked == std::vector<std::string>{"relay.example", "relay.example", "relay.example", "sub.relay.example", "file.example", "table.example", "sub.table.example"});
    answer->waiting = 0;
    CHECK(say("relay.example") == "251 2.0.0 OK, no messages waiting for node relay.example");
    answer->how = ipc::SiteFlushed::How::lately;
    CHECK(say("relay.example").starts_with("250 "));
    answer->how = ipc::SiteFlushed::How::busy;
    CHECK(say("relay.example", false) == "458 4.3.0 Unable to queue messages for node relay.example");
    answer.reset();
    CHECK(say("relay.example").starts_with("458 "));
    std::string log;
    log::capture(&log);
    etrn.set_domains(DomainList::make({"relay.example", "/etc/gone"}, true, read));
    CHECK(say("relay.example").starts_with("458 "));                          // a list that cannot be read: later, perhaps
    CHECK(log.find("fast_flush_domains: /etc/gone: is not there") != std::string::npos);
    log::capture(nullptr);
    etrn.set_domains(DomainList::make({}, true, read));
    CHECK(say("relay.example").starts_with("502 "));
    CHECK_FALSE(etrn.offered());
}

TEST_CASE("ETRN in a session: the late reply, and none where it is not offered", "[reception][rfc1985-5]")
{
    Desk desk;
    std::function<void(Result<ipc::Message>)> pending;
    Etrn etrn([&](std::string, std::function<void(Result<ipc::Message>)> done) { pending = std::move(done); });
    etrn.set_domains(DomainList::make({"relay.example"}, false, nullptr));
    desk.settings->limits.etrn = true;
    Sessions::Parts parts{*desk.loop, *desk.intake, desk.policy, desk.names, system_clock(), [](const std::string&) {}, 10};
    parts.etrn = &etrn;
    desk.sessions = std::make_unique<Sessions>(std::move(parts), desk.settings);
    Peer peer(desk);
    peer.talk("", 1);
    CHECK(peer.talk("EHLO client.example.org\r\n", 1).find("250-ETRN\r\n") != std::string::npos);
    CHECK(codes(peer.talk("ETRN other.example\r\n", 1)) == "459");
    CHECK(desk.logged("reject: ETRN from client.example.org[192.0.2.7]: 459 4.7.0 Node other.example not allowed"));
    peer.talk("ETRN relay.example\r\n", 0);
    for (int i = 0; i < 500 && !pending; ++i) peer.turn();
    REQUIRE(pending);
    ipc::Message message;
    message.body = ipc::SiteFlushed{ipc::SiteFlushed::How::started, 3}.encode();
    pending(std::move(message));
    CHECK(peer.talk("", 1) == "250 2.0.0 OK, queuing for node relay.example started\r\n");
    peer.talk("ETRN relay.example\r\n", 0);
    peer.hang_up();
    pending(fail("too late"));                                                // the session is gone
}

namespace {

// authd, as the sessions of a desk see it: asks for one more step each time it is asked.
struct FakeAuthd {
    std::vector<std::string> asked;
    std::vector<uint64_t> cancelled, withdrawn;
    std::function<void(Result<ipc::Message>)> waits;
    std::function<bool()> wanted;                  // is what was asked last
    bool late = false;
    Logins logins{"submission",
                  {[this](ipc::AuthType, std::string body, std::function<void(Result<ipc::Message>)> done, std::function<bool()> still) {
                       asked.push_back(std::move(body));
                       waits = std::move(done);
                       wanted = std::move(still);
                       if (!late) answer(ipc::AuthReply::Kind::challenge);
                   },
                   [this](ipc::AuthType type, const std::string& body) {
                       (type == ipc::AuthType::withdraw ? withdrawn : cancelled).push_back(ipc::Reader(body).u64());
                   }}};
    Loop* loop = nullptr;

    void answer(ipc::AuthReply::Kind kind)
    {
        ipc::AuthReply reply;
        reply.kind = kind;
        reply.exchange = 76 + asked.size();
        loop->defer([done = std::exchange(waits, nullptr), body = reply.encode()] {
            ipc::Message message;
            message.body = body;
            done(std::move(message));
        });
    }
    void offer(std::vector<std::string> mechanisms)
    {
        ipc::Message message;
        message.type = static_cast<uint16_t>(ipc::AuthType::offer);
        message.body = ipc::AuthOffer{std::move(mechanisms)}.encode();
        logins.heard(message);
    }
    void sits_at(Desk& desk)
    {
        loop = desk.loop.get();
        desk.settings->limits.auth = desk.settings->limits.auth_in_clear = true;
        Sessions::Parts parts{*desk.loop, *desk.intake, desk.policy, desk.names, system_clock(), [](const std::string&) {}, 100};
        parts.logins = &logins;
        desk.sessions = std::make_unique<Sessions>(std::move(parts), desk.settings);
        offer({"PLAIN", "LOGIN", "APOP"});
    }
};

// The desk's sessions, on a disk that stands still while it is not open, with threads for it. Goes after them: desk.sessions.reset(), pool.reset().
struct SlowSpool {
    test::SlowDisk disk;
    std::unique_ptr<veredus::disk::Pool> pool;
    std::unique_ptr<queue::Intake> intake;

    explicit SlowSpool(Desk& desk) : pool(std::make_unique<veredus::disk::Pool>(2, [&desk](std::function<void()> done) { desk.loop->post(std::move(done)); }))
    {
        disk.make_directory("/in/tmp");
        disk.make_directory("/in/new");
        disk.set_free_bytes(1'000'000'000);
        intake = *queue::Intake::open(disk, "/in", 1, system_clock(), pool.get());
        desk.sessions = std::make_unique<Sessions>(Sessions::Parts{*desk.loop, *intake, desk.policy, desk.names, system_clock(),
                                                                   [&desk](const std::string& id) { desk.queued.push_back(id); }, 100}, desk.settings);
    }
};

}  // namespace

TEST_CASE("a client that closes its side after the content hears that its mail is queued", "[smtpd][rfc5321-4.1.1.10]")
{
    for (const std::string_view last : {"QUIT\r\n", ""}) {
        Desk desk;
        SlowSpool spool(desk);
        test::SlowDisk& disk = spool.disk;
        {
            Peer peer(desk);
            peer.talk("", 1);
            peer.talk("EHLO x\r\n", 1);
            REQUIRE(codes(peer.talk(envelope, 3)) == "250 250 354");
            disk.open(false);
            peer.talk(cat("A: 1\r\n\r\nx\r\n.\r\n", last), 0);
            REQUIRE(::shutdown(peer.fd.get(), SHUT_WR) == 0);
            for (int i = 0; i < 10; ++i) desk.loop->run_once(milliseconds(20));
            CHECK(desk.queued.empty());
            disk.open(true);
            peer.until_closed();
            CHECK(codes(peer.heard) == (last.empty() ? "250" : "250 221"));
            CHECK(desk.queued.size() == 1);
            CHECK(desk.logged("lost connection after END-OF-MESSAGE") == last.empty());
        }
        desk.sessions.reset();
        spool.pool.reset();
        for (int i = 0; i < 3; ++i) desk.loop->run_once(milliseconds(0));
    }
}

TEST_CASE("recipients and headers of strangers do not fill the memory of smtpd", "[smtpd][hostile]")
{
    Desk desk;
    desk.settings->stress_timeout = desk.settings->timeout;
    desk.settings->limits.soft_errors = desk.settings->limits.hard_errors = 1000;
    Sessions::Parts parts{*desk.loop, *desk.intake, desk.policy, desk.names, system_clock(), [&](const std::string& id) { desk.queued.push_back(id); }, 100};
    parts.most_kept = 100'000;
    desk.sessions = std::make_unique<Sessions>(std::move(parts), desk.settings);
    const auto begin = [](Peer& peer) {
        peer.talk("", 1);
        peer.talk("EHLO h\r\n", 1);
        peer.talk("MAIL FROM:<a@x.org>\r\n", 1);
    };
    const std::string rcpt = cat("RCPT TO:<u+", std::string(490, 'x'), "@here.example>\r\n");
    const auto recipients = [&](Peer& peer, int count) {
        std::string all;
        for (int i = 0; i < count; ++i) all += rcpt;
        return codes(peer.talk(all, static_cast<std::size_t>(count)));
    };
    const std::string fields = [] {
        std::string out;
        while (out.size() < 40'000) out += cat("X: ", std::string(900, 'h'), "\r\n");
        return out;
    }();
    Peer fat(desk), wide(desk), small(desk), friendly(desk, "10.1.2.3");
    begin(fat);
    begin(wide);
    begin(small);
    begin(friendly);
    CHECK(recipients(fat, 60).find("452") == std::string::npos);
    CHECK(codes(wide.talk("RCPT TO:<u@here.example>\r\nDATA\r\n", 2)) == "250 354");
    wide.talk(fields, 0);
    CHECK(recipients(fat, 90).ends_with(" 452"));                              // together they have too much
    CHECK(desk.logged("envelopes and headers of strangers take 0 MB: who has many recipients or a large header is put off"));
    CHECK(codes(wide.talk(cat(fields, "\r\nx\r\n.\r\n"), 1)) == "452");
    CHECK(codes(small.talk(cat(rcpt, "DATA\r\n"), 2)) == "250 354");           // an ordinary mail is taken
    CHECK(codes(small.talk("A: 1\r\n\r\nx\r\n.\r\n", 1)) == "250");
    CHECK(recipients(friendly, 200).find("452") == std::string::npos);         // ours are not strangers
    const auto patience = std::exchange(desk.settings->stress_timeout, std::chrono::seconds(1));
    for (int i = 0; i < 500 && !fat.closed; ++i) fat.turn();                   // who is silent meanwhile goes
    fat.await_end();
    desk.settings->stress_timeout = patience;
    CHECK(fat.heard.find("421 4.4.2") != std::string::npos);
    CHECK_FALSE(small.closed);
    CHECK(codes(wide.talk("MAIL FROM:<a@x.org>\r\n", 1)) == "250");
    CHECK(recipients(wide, 30).find("452") == std::string::npos);              // and there is room again
    for (Peer* peer : {&wide, &small, &friendly}) peer->hang_up();
    desk.sessions.reset();
}

TEST_CASE("while strangers keep smtpd busy, others' ordinary mails and those with some more recipients are taken", "[smtpd][hostile]")
{
    Desk desk;
    desk.settings->limits.soft_errors = desk.settings->limits.hard_errors = 20;
    Sessions::Parts parts{*desk.loop, *desk.intake, desk.policy, desk.names, system_clock(), [&](const std::string& id) { desk.queued.push_back(id); }, 100};
    parts.most_kept = 100'000;
    parts.most_kept_of_one = 30'000;
    desk.sessions = std::make_unique<Sessions>(std::move(parts), desk.settings);
    const std::string recipient = cat("RCPT TO:<u+", std::string(490, 'x'), "@here.example>\r\n");
    const auto recipients = [&](Peer& peer, int count) {
        peer.talk("", 1);
        peer.talk("EHLO h\r\n", 1);
        peer.talk("MAIL FROM:<a@x.org>\r\n", 1);
        std::string heard;
        for (int i = 0; i < count; ++i) heard += codes(peer.talk(recipient, 1)) + " ";
        return heard;
    };
    std::string lines;
    while (lines.size() < 40'000) lines += cat(std::string(900, 'b'), "\r\n");

    Peer greedy(desk, "198.51.100.1"), other(desk, "203.0.113.9"), plain(desk, "203.0.113.200");
    const std::string heard = recipients(greedy, 130);                         // half of all, and more than one may have
    CHECK(heard.starts_with("250 "));
    CHECK(heard.ends_with("452 452 452 "));                                    // which is no error of his
    CHECK(recipients(other, 40).find("452") == std::string::npos);             // an address of another network has its own share
    CHECK(codes(other.talk("DATA\r\n", 1)) == "354");
    Peer third(desk, "192.0.2.99"), fourth(desk, "192.0.3.99");
    CHECK(recipients(third, 40).find("250") != std::string::npos);
    CHECK(recipients(fourth, 40).ends_with("452 "));                           // together they have all that there is
    CHECK(recipients(plain, 1) == "250 ");
    CHECK(codes(plain.talk("DATA\r\n", 1)) == "354");
    CHECK(codes(plain.talk(cat("A: 1\r\n\r\n", lines, ".\r\n"), 1)) == "250");   // what comes with the header and is none does not count
    CHECK(codes(other.talk("A: 1\r\n\r\nx\r\n.\r\n", 1)) == "250");            // whose recipients were taken may send his mail to them
    CHECK(codes(greedy.talk("DATA\r\n", 1)) == "354");
    CHECK(codes(greedy.talk("A: 1\r\n\r\nx\r\n.\r\n", 1)) == "250");
    CHECK(desk.queued.size() == 3);
    for (Peer* peer : {&greedy, &other, &third, &fourth, &plain}) peer->hang_up();
    desk.sessions.reset();
}

TEST_CASE("a disk that is slow for a large mail holds up its sender alone", "[smtpd][hostile]")
{
    Desk desk;
    SlowSpool spool(desk);
    test::SlowDisk& disk = spool.disk;
    {
        Peer slow(desk);
        slow.talk("", 1);
        slow.talk("EHLO x\r\n", 1);
        REQUIRE(codes(slow.talk(envelope, 3)) == "250 250 354");
        disk.open(false);
        const auto patience = std::exchange(desk.settings->timeout, std::chrono::seconds(1));
        std::string mail = "Subject: large\r\n\r\n";
        while (mail.size() < 4'000'000) mail += std::string(76, 'x') + "\r\n";
        std::string_view rest = mail;
        const auto push = [&] {
            const ssize_t n = ::send(slow.fd.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
            if (n > 0) rest.remove_prefix(static_cast<std::size_t>(n));
            slow.turn();
        };
        const int64_t begin = system_clock().mono_us();
        while (system_clock().mono_us() - begin < 2'500'000) push();    // longer than he may be silent
        desk.settings->timeout = patience;
        Peer other(desk, "192.0.2.8");
        CHECK(rest.size() > 2'000'000);                      // what we keep of him is bounded
        CHECK_FALSE(slow.closed);                            // it is not he who is slow
        CHECK(codes(other.talk("", 1)) == "220");
        CHECK(codes(other.talk("EHLO y\r\n", 1)) == "250");
        disk.open(true);
        while (!rest.empty() && !slow.closed) push();
        CHECK(codes(slow.talk(".\r\n", 1)) == "250");
        REQUIRE(desk.queued.size() == 1);
        const auto content = disk.content(cat("/in/new/", desk.queued[0]));
        REQUIRE(content);
        CHECK(content->find(std::string_view(mail).substr(18, mail.size() - 18)) == 16);
        disk.open(false);
        slow.talk(envelope, 3);
        rest = mail;
        for (int i = 0; i < 20; ++i) push();
        slow.hang_up();                                      // and leaves his mail behind half done
        other.hang_up();
    }
    disk.open(true);
    desk.sessions.reset();
    spool.pool.reset();
    for (const std::string& name : disk.names("/in/tmp")) CHECK(name[0] == '.');
    for (int i = 0; i < 3; ++i) desk.loop->run_once(milliseconds(0));
}

TEST_CASE("each way out of an exchange tells authd of it", "[smtpd][auth][hostile][rfc4954-4]")
{
    FakeAuthd authd;
    Desk desk;
    authd.sits_at(desk);
    Peer peer(desk);
    peer.talk("", 1);
    peer.talk("EHLO x\r\n", 1);
    REQUIRE(codes(peer.talk("AUTH LOGIN\r\n", 1)) == "334");
    const auto ended = [&] {
        for (int i = 0; i < 500 && authd.cancelled.empty(); ++i) desk.loop->run_once(milliseconds(20));
        CHECK(authd.cancelled == std::vector<uint64_t>{77});
    };
    SECTION("the client gives up")
    {
        CHECK(codes(peer.talk("*\r\n", 1)) == "501");
        ended();
    }
    SECTION("what is no base64")
    {
        CHECK(codes(peer.talk("!\r\n", 1)) == "501");
        ended();
    }
    SECTION("a response longer than a line may be")
    {
        CHECK(peer.talk(std::string(12'400, 'A') + "\r\n", 1).starts_with("500 5.5.6 "));
        ended();
        CHECK(codes(peer.talk("AUTH LOGIN\r\n", 1)) == "334");
        CHECK(authd.cancelled.size() == 1);
    }
    SECTION("the client is gone")
    {
        peer.hang_up();
        ended();
    }
    SECTION("the client is gone, and the answer comes later")
    {
        authd.late = true;
        peer.talk("QUIT\r\n", 0);                          // a response like any other
        for (int i = 0; i < 500 && authd.asked.size() < 2; ++i) desk.loop->run_once(milliseconds(20));
        REQUIRE(authd.asked.size() == 2);
        CHECK(authd.wanted());
        peer.hang_up();
        for (int i = 0; i < 500 && authd.withdrawn.empty(); ++i) desk.loop->run_once(milliseconds(20));
        CHECK(authd.withdrawn == std::vector<uint64_t>{ipc::AuthStep::decode(authd.asked.back())->call});
        CHECK(authd.withdrawn[0] != ipc::AuthBegin::decode(authd.asked.front())->call);
        CHECK_FALSE(authd.wanted());                       // if it has not left us, it never does
        CHECK(authd.cancelled == std::vector<uint64_t>{77});    // and its exchange waits for it no longer
        authd.answer(ipc::AuthReply::Kind::challenge);
        for (int i = 0; i < 500 && authd.cancelled.size() < 2; ++i) desk.loop->run_once(milliseconds(20));
        CHECK(authd.cancelled == std::vector<uint64_t>{77, 78});
    }
    SECTION("we stop")
    {
        desk.sessions->stop([] {});
        ended();
    }
    peer.hang_up();
}

TEST_CASE("a client that is silent in an exchange is hung up on, and authd hears of it", "[smtpd][auth][hostile]")
{
    FakeAuthd authd;
    Desk desk;
    authd.sits_at(desk);
    desk.settings->timeout = std::chrono::seconds(1);
    Peer peer(desk);
    peer.talk("", 1);
    peer.talk("EHLO x\r\n", 1);
    REQUIRE(codes(peer.talk("AUTH LOGIN\r\n", 1)) == "334");
    peer.heard.clear();
    peer.until_closed();
    CHECK(peer.heard.starts_with("421 4.4.2 "));
    CHECK(authd.cancelled == std::vector<uint64_t>{77});
}

TEST_CASE("APOP is no mechanism of SMTP", "[smtpd][auth]")
{
    FakeAuthd authd;
    Desk desk;
    authd.sits_at(desk);
    Peer peer(desk);
    peer.talk("", 1);
    peer.talk("EHLO x\r\n", 1);
    CHECK(codes(peer.talk("AUTH APOP\r\n", 1)) == "504");
    CHECK(authd.asked.empty());
    peer.hang_up();
}

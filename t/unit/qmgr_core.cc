// qmgr without its process: the core over a forgetful disk, with a router and agents at the other ends of socket pairs.
#include "t/unit/catch.h"
#include "t/unit/slow_disk.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <set>

#include "lib/base/text.h"
#include "lib/ipc/control.h"
#include "lib/ipc/route.h"
#include "lib/ipc/wire.h"
#include "lib/log/log.h"
#include "lib/queue/intake.h"
#include "qmgr/core.h"
#include "qmgr/public.h"
#include "qmgr/query.h"
#include "qmgr/summaries.h"

using namespace veredus;
using namespace veredus::qmgr;
using test::Cut;
using test::ForgetfulDisk;

namespace {

// What agents saw, over all lives of the process.
struct AgentLog {
    std::map<std::string, int> delivered;                   // by recipient
    std::map<std::string, std::set<std::string>> ids;       // delivered queue IDs by recipient
    std::map<std::string, std::string> content;             // by queue ID
    bool defer_late = true;                                 // late@… is greylisted, and what is said of garbled@… cannot be read
    bool agents_answer = true;
};

class Rig {
public:
    Rig(ForgetfulDisk& disk, AgentLog& world) : disk_(disk), world_(world), loop_(std::move(*Loop::create()))
    {
        Limits limits;
        limits.myhostname = limits.myorigin = "host.example";
        connect(router_ours_, router_theirs_, [this](ipc::Message m) { answer_route(m); }, nullptr);
        for (const Agent a : {Agent{Agent::Kind::local, 0}, Agent{Agent::Kind::smtp, 0}})
            connect(agent_ours_[a.number()], agent_theirs_[a.number()], [this, a](ipc::Message m) { answer_attempt(a, m); },
                    [this, a](ipc::Message m) {
                        if (core) core->agent_message(a, m);
                    });
        Neighbours n;
        n.router = [this] { return router_ours_.get(); };
        n.agent = [this](Agent a) { return a.number() < 2 ? agent_ours_[a.number()].get() : nullptr; };
        auto opened = Core::open(*loop_, disk, "/spool", 120, system_clock(), limits, 1, n);
        if (!opened) return;
        core = std::move(*opened);
        core->agent_up({Agent::Kind::local, 0});
        core->agent_up({Agent::Kind::smtp, 0});
    }
    ~Rig() { core.reset(); }

    bool until(const std::function<bool()>& condition, int patience_ms = 10'000)
    {
        const int64_t end = system_clock().mono_us() + patience_ms * 1000;
        while (!condition()) {
            if (system_clock().mono_us() > end) return false;
            loop_->run_once(std::chrono::milliseconds(5));
        }
        return true;
    }
    Loop& loop() { return *loop_; }
    // The router dies and its successor comes; `meanwhile` is called when the end was noticed and before the owner has dropped the channel.
    void new_router(std::function<void()> meanwhile)
    {
        auto pair = std::move(*socket_pair(SOCK_SEQPACKET));
        auto closed = [this, meanwhile](const std::string&) {
            CHECK_FALSE(router_ours_->open());
            meanwhile();
            connect(router_ours_, router_theirs_, [this](ipc::Message m) { answer_route(m); }, nullptr);
            core->router_up();
        };
        router_ours_ = std::make_unique<ipc::Channel>(*loop_, std::move(pair.first), ipc::Channel::User{[](ipc::Message) {}, closed});
        router_theirs_.reset();
        pair.second.reset();
    }

    std::unique_ptr<Core> core;

private:
    void connect(std::unique_ptr<ipc::Channel>& ours, std::unique_ptr<ipc::Channel>& theirs, std::function<void(ipc::Message)> to_them, std::function<void(ipc::Message)> to_us)
    {
        auto pair = std::move(*socket_pair(SOCK_SEQPACKET));
        ours = std::make_unique<ipc::Channel>(*loop_, std::move(pair.first), ipc::Channel::User{to_us ? to_us : [](ipc::Message) {}, [](const std::string&) {}});
        theirs = std::make_unique<ipc::Channel>(*loop_, std::move(pair.second), ipc::Channel::User{to_them, [](const std::string&) {}});
    }

    void answer_route(const ipc::Message& m)
    {
        const auto request = ipc::RouteRequest::decode(m.body);
        REQUIRE(request);
        ipc::RouteReply reply;
        for (const auto& address : request->recipients) {
            ipc::Route r;
            r.kind = ipc::Route::Kind::deliver;
            r.address = address;
            r.transport = address.ends_with("@host.example") ? "local" : "smtp";
            if (r.transport == "smtp") r.nexthop = address.substr(address.rfind('@') + 1);
            if (address == "both@host.example") {
                r.kind = ipc::Route::Kind::expand;
                for (const char* member : {"one@host.example", "late@far.example"}) {
                    queue::Child c;
                    c.text = member;
                    r.children.push_back(c);
                }
            }
            reply.routes.push_back(std::move(r));
        }
        REQUIRE(router_theirs_->reply(m, static_cast<uint16_t>(ipc::RouterType::routes), reply.encode()));
    }

    void answer_attempt(Agent agent, const ipc::Message& m)
    {
        const auto attempt = ipc::Attempt::decode(m.body);
        REQUIRE(attempt);
        REQUIRE(m.fds.size() == 1);
        if (!world_.agents_answer) return;
        const auto header = queue::read_header(m.fds[0], attempt->layout, 1 << 20);
        REQUIRE(header);
        const auto body = pread_exact(m.fds[0].get(), static_cast<off_t>(attempt->layout.body_offset), attempt->layout.body_size);
        REQUIRE(body);
        world_.content[attempt->queue_id] = cat(*header, "\r\n", *body);
        ipc::Verdicts v;
        v.attempt = attempt->attempt;
        for (const auto& t : attempt->targets) {
            ipc::Verdict one;
            one.index = t.index;
            one.outcome = ipc::Outcome::delivered;
            one.dsn = "2.0.0";
            if (t.address.starts_with("unknown@")) {
                one.outcome = ipc::Outcome::failed;
                one.dsn = "5.1.1";
                one.text = "host mx.far.example[192.0.2.1] said: 550 5.1.1 User unknown (in reply to RCPT TO command)";
                one.remote_mta = "mx.far.example";
            } else if (t.address.starts_with("late@") && world_.defer_late) {
                one.outcome = ipc::Outcome::deferred;
                one.dsn = "4.2.0";
                one.text = "greylisted";
            } else {
                ++world_.delivered[t.address];
                world_.ids[t.address].insert(attempt->queue_id);
            }
            v.verdicts.push_back(std::move(one));
        }
        const bool garbled = world_.defer_late && attempt->targets[0].address.starts_with("garbled@");
        REQUIRE(agent_theirs_[agent.number()]->send(static_cast<uint16_t>(ipc::AgentType::verdicts), v.encode() + (garbled ? "x" : "")));
    }

    ForgetfulDisk& disk_;
    AgentLog& world_;
    std::unique_ptr<Loop> loop_;
    std::unique_ptr<ipc::Channel> router_ours_, router_theirs_, agent_ours_[2], agent_theirs_[2];
};

void make_spool(ForgetfulDisk& disk)
{
    disk.make_directory("/spool");
    for (const auto& d : queue::spool_directories())
        if (*d.path) disk.make_directory(cat("/spool/", d.path));
}

// As smtpd does it; the mail is durable when this returns.
std::string put(ForgetfulDisk& disk, const std::string& sender, const std::vector<std::string>& recipients, std::string_view body = "Hello\r\n",
                std::string_view writer = "smtpd")
{
    auto intake = queue::Intake::open(disk, cat("/spool/incoming/", writer), writer == "smtpd" ? 1 : 64, system_clock(), nullptr);
    REQUIRE(intake);
    auto draft = (*intake)->create();
    REQUIRE(draft);
    REQUIRE(draft->append(body));
    mail::Envelope e;
    if (!sender.empty()) e.sender = *mail::parse_address(sender);
    for (const auto& r : recipients) e.recipients.push_back({*mail::parse_address(r), 0, ""});
    e.arrival_us = system_clock().wall_us();
    e.origin = mail::Origin::network;
    std::string id;
    (*intake)->commit(std::move(*draft), mail::HeaderBlock::parse("Subject: test\r\nFrom: s@host.example\r\n"), e, [&](Result<queue::Receipt> r) {
        REQUIRE(r);
        id = r->id();
    });
    return id;
}

std::size_t mails_left(const ForgetfulDisk& disk)
{
    std::size_t n = 0;
    for (const auto& d : queue::spool_directories()) {
        const std::string path = d.path;
        if (!path.ends_with("/new") && !path.starts_with("deferred/") && path != "hold" && path != "corrupt") continue;
        if (path.starts_with("maildrop")) continue;
        for (const auto& name : disk.names(cat("/spool/", path))) n += queue::is_queue_id(name);
    }
    return n;
}

struct Quiet {
    Quiet() { log::capture(&text); }
    ~Quiet() { log::capture(nullptr); }
    std::string text;
};

}  // namespace

TEST_CASE("the core takes mail in, has it delivered, deferred and returned, and leaves nothing behind", "[qmgr]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    Rig rig(disk, world);
    REQUIRE(rig.core);
    const auto first = put(disk, "s@host.example", {"alice@host.example"});
    ipc::Queued queued;
    queued.ids = {first, "../etc/passwd", ""};
    ipc::Message message;
    message.type = static_cast<uint16_t>(ipc::QueueType::queued);
    message.body = queued.encode();
    rig.core->writer_message(0, 1, message);
    CHECK(rig.until([&] { return mails_left(disk) == 0; }));
    CHECK(world.delivered["alice@host.example"] == 1);
    CHECK(world.content[first] == "Subject: test\r\nFrom: s@host.example\r\n\r\nHello\r\n");

    const auto failing = put(disk, "s@host.example", {"unknown@far.example"}, "Dear Bob\r\n");
    const auto late = put(disk, "s@host.example", {"both@host.example"});
    rig.core->writer_came(0);                      // nobody told
    CHECK(rig.until([&] { return world.delivered["s@host.example"] == 1 && disk.names("/spool/deferred/" + late.substr(15)).size() == 1; }));
    const std::string report = world.content[*world.ids["s@host.example"].begin()];
    CHECK(report.find("Content-Type: multipart/report; report-type=delivery-status;") != std::string::npos);
    CHECK(report.find("Status: 5.1.1") != std::string::npos);
    CHECK(report.find("Remote-MTA: dns; mx.far.example") != std::string::npos);
    CHECK(report.find("Diagnostic-Code: smtp; 550 5.1.1 User unknown\r\n") != std::string::npos);
    CHECK(report.find("Dear Bob\r\n") != std::string::npos);
    CHECK(quiet.text.find(cat(failing, ": sender non-delivery notification: ", *world.ids["s@host.example"].begin())) != std::string::npos);
    world.defer_late = false;
    CHECK(rig.core->scheduler().flush_all() == 1);
    CHECK(rig.until([&] { return mails_left(disk) == 0; }));
    CHECK(world.delivered == std::map<std::string, int>{{"alice@host.example", 1}, {"s@host.example", 1}, {"one@host.example", 1}, {"late@far.example", 1}});
}

TEST_CASE("mails that end one after the other share the syncs of the log", "[qmgr]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    Rig rig(disk, world);
    REQUIRE(rig.core);
    constexpr int mails = 60;
    const int64_t began_us = system_clock().mono_us();
    uint64_t syncs = disk.syncs();
    for (int i = 1; i <= mails; ++i) {
        const uint64_t before = disk.syncs();
        ipc::Queued queued;
        queued.ids = {put(disk, "s@host.example", {"alice@host.example"})};
        syncs += disk.syncs() - before;      // smtpd's own
        ipc::Message message;
        message.type = static_cast<uint16_t>(ipc::QueueType::queued);
        message.body = queued.encode();
        rig.core->writer_message(0, 1, message);
        REQUIRE(rig.until([&] { return world.delivered["alice@host.example"] == i; }));
    }
    REQUIRE(rig.until([&] { return mails_left(disk) == 0; }));
    // However slow the machine is: so many pauses of 5 ms fit into that time, and a sync of the directory after each 20 ms.
    const auto pauses = static_cast<uint64_t>((system_clock().mono_us() - began_us) / 4000);
    CHECK(disk.syncs() - syncs <= pauses + 4);
}

TEST_CASE("a mail that its writer disowns is not delivered, whatever the disk brings back", "[qmgr][durability-2]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    const auto disown = [](Core& core, const std::vector<std::string>& ids, unsigned slot = 1) {
        ipc::Queued all;
        all.ids = ids;
        ipc::Message message;
        message.type = static_cast<uint16_t>(ipc::QueueType::disowned);
        message.body = all.encode();
        core.writer_message(0, slot, message);
    };
    std::string early, waiting;
    {
        Rig rig(disk, world);
        REQUIRE(rig.core);
        waiting = put(disk, "s@host.example", {"both@host.example"});
        rig.core->writer_came(0);
        REQUIRE(rig.until([&] { return disk.names("/spool/deferred/" + waiting.substr(15)).size() == 1; }));
        REQUIRE(rig.until([&] { return rig.core->scheduler().attempts_in_flight() == 0; }));
        early = put(disk, "s@host.example", {"alice@host.example"});
        disown(*rig.core, {waiting, early}, 2);        // of another writer: no business of this one
        disown(*rig.core, {"../etc/passwd", ""});
        CHECK(rig.core->scheduler().catalog().find(id_number(waiting)));
        CHECK_FALSE(rig.core->scheduler().catalog().done(id_number(early)));
        const std::string bytes = *disk.content("/spool/incoming/smtpd/new/" + early);
        disown(*rig.core, {waiting, early});
        CHECK(rig.until([&] { return mails_left(disk) == 0; }));
        disk.put("/spool/incoming/smtpd/new/" + early, bytes);      // a name that the disk was not rid of
        rig.core->writer_came(0);
        for (int i = 0; i < 20; ++i) rig.loop().run_once(std::chrono::milliseconds(1));
    }
    Rig rig(disk, world);                              // and after a crash
    REQUIRE(rig.core);
    CHECK(rig.until([&] { return mails_left(disk) == 0; }));
    CHECK(world.delivered["alice@host.example"] == 0);
    CHECK(quiet.text.find("which is not one of its queue IDs") != std::string::npos);
}

TEST_CASE("an answer that cannot be read puts that mail off, and holds nothing up", "[qmgr]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    Rig rig(disk, world);
    REQUIRE(rig.core);
    const auto id = put(disk, "s@host.example", {"garbled@host.example"});
    put(disk, "s@host.example", {"alice@host.example"});
    rig.core->writer_came(0);
    CHECK(rig.until([&] { return disk.names("/spool/deferred/" + id.substr(15)).size() == 1 && world.delivered["alice@host.example"] == 1; }));
    CHECK(quiet.text.find("a delivery agent sent malformed message: verdicts") != std::string::npos);
    CHECK(rig.until([&] { return rig.core->scheduler().attempts_in_flight() == 0; }));
    world.defer_late = false;
    CHECK(rig.core->scheduler().flush_all() == 1);
    CHECK(rig.until([&] { return mails_left(disk) == 0; }));
}

TEST_CASE("a mail that is opened in the moment in which the router dies asks its successor", "[qmgr][durability-6]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    Rig rig(disk, world);
    REQUIRE(rig.core);
    const std::string id = put(disk, "s@host.example", {"alice@host.example"});
    bool asked = false;
    rig.new_router([&] {
        asked = true;
        rig.core->scheduler().queued(id_number(id), 0);
        rig.core->scheduler().pump();
    });
    CHECK(rig.until([&] { return mails_left(disk) == 0; }));
    CHECK(asked);
    CHECK(world.delivered["alice@host.example"] == 1);
}

TEST_CASE("a site's mail is tried when somebody asks for it, and not again at once", "[qmgr][rfc1985-5.1]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    Rig rig(disk, world);
    REQUIRE(rig.core);
    const auto late = put(disk, "s@host.example", {"late@far.example"});
    const auto other = put(disk, "s@host.example", {"late@other.example"});
    rig.core->writer_came(0);
    const auto deferred = [&](const std::string& id) { return disk.names("/spool/deferred/" + id.substr(15)).size() >= 1; };
    CHECK(rig.until([&] { return deferred(late) && deferred(other) && rig.core->scheduler().counts().deferred == 2; }));
    world.defer_late = false;
    const auto flush = [&](const std::string& domain) {
        std::optional<ipc::SiteFlushed> got;
        rig.core->flush_site(domain, [&](ipc::SiteFlushed f) { got = f; });
        CHECK(rig.until([&] { return got.has_value(); }));
        return got.value_or(ipc::SiteFlushed{});
    };
    using How = ipc::SiteFlushed::How;
    const auto first = flush("far.example");
    CHECK((first.how == How::started && first.waiting == 1));
    CHECK(rig.until([&] { return world.delivered["late@far.example"] == 1; }));
    CHECK(world.delivered["late@other.example"] == 0);
    CHECK(flush("far.example").how == How::lately);
    const auto nothing = flush("nobody.example");
    CHECK((nothing.how == How::started && nothing.waiting == 0));
    for (std::size_t i = 2; i < SiteFlushes::most; ++i) CHECK(flush(cat("d", i, ".example")).how == How::started);
    CHECK(flush("other.example").how == How::busy);
    SiteFlushes flushes;                                                      // and with time it may again
    CHECK(flushes.ask("x", 0) == SiteFlushes::May::yes);
    CHECK(flushes.ask("x", SiteFlushes::pause_us - 1) == SiteFlushes::May::lately);
    CHECK(flushes.ask("x", SiteFlushes::pause_us) == SiteFlushes::May::yes);
    for (const std::string_view bad : {std::string_view("", 0), std::string_view("\xff\xff\xff\xff", 4), std::string_view("\1\0\0\0", 4)}) CHECK_FALSE(ipc::FlushSite::decode(bad));
    CHECK_FALSE(ipc::SiteFlushed::decode(std::string_view("\0\0\0\0\0\0\0\0\0", 9)));
}

// Its file may still be in the maildrop, and only submission knows: a mail delivered before would be taken up a second time.
TEST_CASE("mail of submission's is not looked for before submission has come", "[qmgr]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    const auto dropped = put(disk, "s@host.example", {"drop@host.example"}, "x\r\n", "submission");
    {
        Rig rig(disk, world);
        REQUIRE(rig.core);
        put(disk, "s@host.example", {"alice@host.example"});
        rig.core->writer_came(0);
        REQUIRE(rig.until([&] { return world.delivered["alice@host.example"] == 1; }));
        CHECK(world.delivered["drop@host.example"] == 0);
        CHECK_FALSE(rig.core->scheduler().knows(id_number(dropped)));
        rig.core->writer_came(1);
        REQUIRE(rig.until([&] { return mails_left(disk) == 0; }));
        CHECK(world.delivered["drop@host.example"] == 1);
        // What it announced and could not be delivered is qmgr's business, whoever is away at the next start.
        put(disk, "s@host.example", {"late@far.example"}, "x\r\n", "submission");
        rig.core->writer_came(1);
        REQUIRE(rig.until([&] { return rig.core->scheduler().counts().deferred == 1; }));
    }
    world.defer_late = false;
    Rig rig(disk, world);
    REQUIRE(rig.core);
    CHECK(rig.core->scheduler().flush_all() == 1);
    CHECK(rig.until([&] { return mails_left(disk) == 0; }));
    CHECK(world.delivered["late@far.example"] == 1);
}

TEST_CASE("a mail larger than bounce_size_limit comes back as its header", "[qmgr][rfc3461-4.3]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    Rig rig(disk, world);
    REQUIRE(rig.core);
    std::string body;
    for (int i = 0; i < 5000; ++i) body += "a line of a long mail\r\n";
    put(disk, "s@host.example", {"unknown@far.example"}, body);
    rig.core->writer_came(0);
    REQUIRE(rig.until([&] { return mails_left(disk) == 0; }));
    const std::string report = world.content[*world.ids["s@host.example"].begin()];
    CHECK(report.find("text/rfc822-headers") != std::string::npos);
    CHECK(report.find("Subject: test\r\n") != std::string::npos);
    CHECK(report.find("a line of a long mail") == std::string::npos);
}

TEST_CASE("a damaged file goes to corrupt/ and the log says why", "[qmgr]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    const auto flipped = put(disk, "s@host.example", {"alice@host.example"});
    disk.damage(cat("/spool/incoming/smtpd/new/", flipped), queue::file_start().size() + 2, 'X');    // in the body
    disk.put("/spool/incoming/smtpd/new/6B0641F080FFFFFF", "short");
    const auto good = put(disk, "s@host.example", {"alice@host.example"});
    Rig rig(disk, world);
    REQUIRE(rig.core);
    CHECK(rig.until([&] { return world.delivered["alice@host.example"] == 1 && disk.names("/spool/corrupt").size() == 2; }));
    CHECK(world.ids["alice@host.example"] == std::set<std::string>{good});
    CHECK(quiet.text.find(cat(flipped, ": damaged mail file, put aside in corrupt/: mail file: the body's checksum is wrong")) != std::string::npos);
}

TEST_CASE("a flipped byte of a large mail is found before anybody gets it, and the loop goes on meanwhile", "[qmgr]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    std::string body;
    while (body.size() < 700'000) body += "a line of a long mail\r\n";
    const auto flipped = put(disk, "s@host.example", {"alice@host.example"}, body);
    disk.damage(cat("/spool/incoming/smtpd/new/", flipped), 600'000, 'X');
    const auto good = put(disk, "s@host.example", {"bob@host.example"}, body);
    Rig rig(disk, world);
    REQUIRE(rig.core);
    CHECK(rig.until([&] { return world.delivered["bob@host.example"] == 1 && disk.names("/spool/corrupt").size() == 1 && mails_left(disk) == 1; }));
    CHECK(world.ids["bob@host.example"] == std::set<std::string>{good});
    CHECK(world.delivered["alice@host.example"] == 0);
    CHECK(quiet.text.find(cat(flipped, ": damaged mail file, put aside in corrupt/: mail file: the body's checksum is wrong")) != std::string::npos);
}

TEST_CASE("a foreign file that the kernel lets nobody link is put aside all the same", "[qmgr][queue]")
{
    ForgetfulDisk disk;
    make_spool(disk);
    disk.put("/spool/incoming/smtpd/new/6B0641F080FFFFFF", "short");
    auto spool = queue::Spool::open(disk, "/spool");
    REQUIRE(spool);
    disk.fail_step(1, EPERM);
    CHECK((*spool)->move({"6B0641F080FFFFFF"}, {queue::State::incoming, 0}, {queue::State::corrupt, 0}));
    CHECK(disk.names("/spool/corrupt") == std::vector<std::string>{"6B0641F080FFFFFF"});
    CHECK(disk.names("/spool/incoming/smtpd/new").empty());
    disk.power_cut(Cut::oldest);
    CHECK(disk.names("/spool/corrupt").size() == 1);
}

TEST_CASE("a power cut at any step loses nothing, repeats only what was in flight, and tells a sender once", "[qmgr][forgetful]")
{
    Quiet quiet;
    for (const Cut cut : {Cut::oldest, Cut::newest, Cut::random}) {
        uint64_t last = 0;
        for (uint64_t step = 1; last == 0 && step < 400; ++step) {
            INFO("cut " << static_cast<int>(cut) << " at step " << step);
            ForgetfulDisk disk;
            make_spool(disk);
            disk.after_each_step_sync("/spool/incoming/smtpd/new");         // smtpd goes on
            AgentLog world;
            put(disk, "a@host.example", {"alice@host.example"});
            put(disk, "s@host.example", {"unknown@far.example"});
            put(disk, "b@host.example", {"both@host.example"});
            {
                disk.cut_power_at(disk.steps() + step);
                Rig rig(disk, world);
                if (rig.core) {
                    const auto settled = [&] {
                        return !disk.powered() || (world.delivered["s@host.example"] > 0 && mails_left(disk) == 1 && disk.names("/spool/incoming/smtpd/new").empty());
                    };
                    REQUIRE(rig.until(settled));
                }
                if (disk.powered()) last = step;                            // the whole life passed before the cut
            }
            disk.power_cut(cut, step);
            const std::size_t start_of_life = quiet.text.size();
            world.defer_late = false;
            Rig rig(disk, world);
            REQUIRE(rig.core);
            rig.core->scheduler().flush_all();
            const bool emptied = rig.until([&] {
                if (mails_left(disk) == 0) return true;
                rig.core->scheduler().flush_all();
                return false;
            });
            INFO(quiet.text.substr(start_of_life));
            REQUIRE(emptied);
            for (const char* who : {"alice@host.example", "one@host.example", "late@far.example", "s@host.example"}) {
                INFO(who);
                CHECK(world.delivered[who] >= 1);
                CHECK(world.delivered[who] <= 2);
            }
            CHECK(world.delivered["late@far.example"] == 1);
            CHECK(world.ids["s@host.example"].size() == 1);                 // one notification, if perhaps delivered twice
            CHECK(disk.names("/spool/corrupt").empty());
        }
        CHECK(last > 10);
    }
}

TEST_CASE("an address is meant by itself, its domain, a part of it, or as nobody", "[qmgr]")
{
    for (const auto& [pattern, address, meant] : std::initializer_list<std::tuple<const char*, const char*, bool>>{
             {"a@b.org", "A@B.org", true}, {"a@b.org", "aa@b.org", false}, {"@b.org", "x@b.org", true}, {"@b.org", "x@ab.org", false}, {"*b.or*", "x@A.B.ORG", true},
             {"*b.or*", "x@c.org", false}, {"<>", "", true}, {"<>", "a@b", false}, {"**", "a@b", false}, {"*", "*", true}, {"*x*", "", false}}) {
        INFO(pattern << ' ' << address);
        CHECK(address_matches(pattern, address) == meant);
    }
}

TEST_CASE("the public socket lists, acts and refuses by who asks", "[qmgr]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    Rig rig(disk, world);
    REQUIRE(rig.core);
    std::vector<std::string> ids;
    for (int i = 0; i < 3; ++i) ids.push_back(put(disk, "s@host.example", {cat("late@far", i, ".example"), "alice@host.example"}));
    rig.core->writer_came(0);
    REQUIRE(rig.until([&] {
        std::size_t timed = 0;
        rig.core->scheduler().catalog().each([&](const Entry& e) { timed += e.stage == Stage::timed && e.state == queue::State::deferred; });
        return timed == 3;
    }));
    Public door(rig.loop(), *rig.core, Rights{});
    const Caller admin{0, true, true, true}, user{1000, false, true, true}, stranger{1001, false, false, false};
    const auto ask = [&](const Caller& who, ipc::QueueType type, std::string body) {
        ipc::Message m;
        m.type = static_cast<uint16_t>(type);
        m.body = std::move(body);
        std::string answer;
        bool come = false;
        door.ask(who, m, nullptr, [&](std::string a, Fd) { answer = std::move(a), come = true; });
        REQUIRE(rig.until([&] { return come; }));
        return answer;
    };
    const auto list = [&](const Caller& who, ipc::Filter filter, std::string after = "") {
        ipc::ListRequest r;
        r.filter = std::move(filter);
        r.after = std::move(after);
        const auto reply = ipc::ListReply::decode(ask(who, ipc::QueueType::list, r.encode()));
        REQUIRE(reply);
        return *reply;
    };
    const auto act = [&](const Caller& who, ipc::Act what, ipc::Filter filter, bool all = false) {
        ipc::ActRequest r;
        r.act = what;
        r.filter = std::move(filter);
        r.all = all;
        const auto reply = ipc::ActReply::decode(ask(who, ipc::QueueType::act, r.encode()));
        REQUIRE(reply);
        return *reply;
    };
    ipc::Filter any, far1, held, reason;
    far1.recipient = "@far1.example";
    held.state = "hold";
    reason.reason = "Greylist";

    auto all = list(user, any);
    REQUIRE(all.mails.size() == 3);
    CHECK_FALSE(all.more);
    CHECK(all.mails[0].id == ids[0]);
    CHECK(all.mails[0].state == "deferred");
    CHECK(all.mails[0].sender == "s@host.example");
    CHECK(all.mails[0].attempts == 1);
    REQUIRE(all.mails[0].recipients.size() == 1);           // alice is served
    CHECK(all.mails[0].recipients[0].address == "late@far0.example");
    CHECK(all.mails[0].recipients[0].reason == "greylisted");
    CHECK(list(user, any, ids[0]).mails.size() == 2);
    CHECK(list(user, far1).mails.size() == 1);
    CHECK(list(user, reason).mails.size() == 3);
    CHECK(list(stranger, any).mails.empty());

    CHECK(act(user, ipc::Act::hold, far1).code == static_cast<uint32_t>(ipc::Code::refused));
    CHECK(act(stranger, ipc::Act::flush, any, true).code == static_cast<uint32_t>(ipc::Code::refused));
    CHECK(act(admin, ipc::Act::remove, any).code == static_cast<uint32_t>(ipc::Code::invalid));     // all must be said
    CHECK(act(admin, ipc::Act::hold, far1).count == 1);
    REQUIRE(disk.names("/spool/hold").size() == 1);         // answered when it is so
    CHECK(list(user, held).mails[0].id == ids[1]);
    CHECK(act(admin, ipc::Act::remove, held).count == 1);
    REQUIRE(rig.until([&] { return mails_left(disk) == 2; }));
    world.defer_late = false;
    CHECK(act(user, ipc::Act::flush, any, true).count == 2);
    REQUIRE(rig.until([&] { return mails_left(disk) == 0; }));
    CHECK(list(user, any).mails.empty());
    CHECK(ask(user, ipc::QueueType::status, "").find("deferred 0\n") != std::string::npos);

    for (const auto type : {ipc::QueueType::list, ipc::QueueType::act, ipc::QueueType::content, ipc::QueueType::queued})
        CHECK_FALSE(ask(user, type, "\xff\xff\xff\xff garbage").empty());
}

TEST_CASE("mail is older and younger than an age by the date that is shown, also when it was requeued", "[qmgr]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    std::vector<uint64_t> ids;                              // five hours old, two, new
    for (const int hours : {5, 2, 0}) {
        auto intake = queue::Intake::open(disk, "/spool/incoming/smtpd", 1, system_clock(), nullptr);
        REQUIRE(intake);
        mail::Envelope e;
        e.sender = *mail::parse_address("s@host.example");
        e.recipients.push_back({*mail::parse_address("late@far.example"), 0, ""});
        e.arrival_us = system_clock().wall_us() - int64_t{hours} * 3'600'000'000;
        auto draft = (*intake)->create(cat(hex_upper(static_cast<uint64_t>(e.arrival_us / 1'000'000), 8), "81000001"));
        REQUIRE(draft);
        ids.push_back(id_number(draft->id()));
        (*intake)->commit(std::move(*draft), mail::HeaderBlock::parse("Subject: test\r\n"), e, [](const Result<queue::Receipt>& r) { REQUIRE(r); });
    }
    Rig rig(disk, world);
    REQUIRE(rig.core);
    const auto all_wait = [&] {
        std::size_t timed = 0;
        rig.core->scheduler().catalog().each([&](const Entry& e) { timed += e.stage == Stage::timed && e.attempts > 0 && e.state == queue::State::deferred; });
        return timed == ids.size();
    };
    REQUIRE(rig.until(all_wait));
    const auto meant = [&](int64_t older_s, int64_t younger_s) {
        ipc::Filter filter;
        filter.older_than_s = older_s;
        filter.younger_than_s = younger_s;
        std::vector<uint64_t> found;
        bool end = false;
        Query::run(*rig.core, filter, "", false, nullptr, [&](Seen& s) { found.push_back(id_number(s.listed.id)); return true; }, [&](bool) { end = true; });
        REQUIRE(rig.until([&] { return end; }));
        return found;
    };
    const auto as_shown = [&] {
        CHECK(meant(0, 3600) == std::vector{ids[2]});
        CHECK(meant(3600, 0) == std::vector{ids[0], ids[1]});
        CHECK(meant(3600, 4 * 3600) == std::vector{ids[1]});
    };
    as_shown();
    CHECK(rig.core->scheduler().requeue(ids) == ids.size());
    as_shown();
    REQUIRE(rig.until(all_wait));
    as_shown();
}

TEST_CASE("a mail of many recipients is listed within one message", "[qmgr]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    Rig rig(disk, world);
    REQUIRE(rig.core);
    std::vector<std::string> many;
    for (int i = 0; i < 3000; ++i) many.push_back(cat("late@host-with-a-long-name-", i, ".example"));
    put(disk, "s@host.example", many);
    rig.core->writer_came(0);
    REQUIRE(rig.until([&] { return disk.names("/spool/incoming/smtpd/new").empty(); }));
    Public door(rig.loop(), *rig.core, Rights{});
    ipc::Message m;
    m.type = static_cast<uint16_t>(ipc::QueueType::list);
    m.body = ipc::ListRequest{}.encode();
    std::string answer;
    door.ask(Caller{0, true, true, true}, m, nullptr, [&](std::string a, Fd) { answer = std::move(a); });
    REQUIRE(rig.until([&] { return !answer.empty(); }));
    CHECK(answer.size() < ipc::max_message - 100);
    const auto reply = ipc::ListReply::decode(answer);
    REQUIRE(reply);
    REQUIRE(reply->mails.size() == 1);
    REQUIRE(reply->mails[0].recipients.size() > 100);
    CHECK(reply->mails[0].recipients.back().address.find(" more)") != std::string::npos);
}

TEST_CASE("a long queue is listed page by page, each mail once and in order, and a filter finds the last one", "[qmgr]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    world.agents_answer = false;
    auto intake = queue::Intake::open(disk, "/spool/incoming/smtpd", 1, system_clock(), nullptr);
    REQUIRE(intake);
    std::vector<std::string> ids;
    for (int i = 0; i < 4100; ++i) {                   // more than two shares of what is put in order at once
        auto draft = (*intake)->create();
        REQUIRE(draft);
        mail::Envelope e;
        e.sender = *mail::parse_address(i == 4099 ? "last@host.example" : "s@host.example");
        // Some of which no summary is kept, and all of them more than what is read at once.
        const int recipients = i >= 100 && i < 140 ? 1500 : 1;
        for (int n = 0; n < recipients; ++n) e.recipients.push_back({*mail::parse_address(cat("alice+", n, "@host.example")), 0, ""});
        e.arrival_us = system_clock().wall_us();
        (*intake)->commit(std::move(*draft), mail::HeaderBlock::parse("Subject: test\r\n"), e, [&](Result<queue::Receipt> r) {
            REQUIRE(r);
            ids.push_back(r->id());
        });
    }
    REQUIRE(ids.size() == 4100);
    std::unique_ptr<Public> door;
    std::unique_ptr<Rig> rig;
    const auto restart = [&] {
        door.reset();
        rig.reset();
        rig = std::make_unique<Rig>(disk, world);
        REQUIRE(rig->core);
        door = std::make_unique<Public>(rig->loop(), *rig->core, Rights{});
    };
    restart();
    std::shared_ptr<Share> share;
    const auto list = [&](const ipc::ListRequest& request) {
        ipc::Message m;
        m.type = static_cast<uint16_t>(ipc::QueueType::list);
        m.body = request.encode();
        std::string answer;
        door->ask(Caller{0, true, true, true}, m, share, [&](std::string a, Fd) { answer = std::move(a); });
        REQUIRE(rig->until([&] { return !answer.empty(); }));
        auto reply = ipc::ListReply::decode(answer);
        REQUIRE(reply);
        return std::move(*reply);
    };
    const auto text = [](const ipc::Listed& l) {
        std::string out = cat(l.id, " ", l.size, " ", l.arrival_us, " ", l.sender);
        for (const auto& r : l.recipients) out += cat(" ", r.address);
        return out;
    };
    std::string of_files;
    for (const std::string_view from : {"files", "summaries", "summaries of an earlier life", "what is damaged from files", "summaries, with a share"}) {
        INFO(from);
        if (from.ends_with("life")) restart();
        if (from.ends_with("files") && !of_files.empty()) disk.damage("/spool/log/summaries", 100'000, '\x7F');
        CHECK((rig->core->scheduler().catalog().find(id_number(ids[7]))->summary_at != 0) == !of_files.empty());
        CHECK(rig->core->scheduler().catalog().find(id_number(ids[103]))->summary_at == 0);
        share = from.ends_with("share") ? std::make_shared<Share>() : nullptr;
        std::vector<std::string> listed;
        std::string all;
        ipc::ListRequest request;
        for (bool more = true; more;) {
            const auto page = list(request);
            REQUIRE((!page.mails.empty() || !page.more));
            for (const auto& l : page.mails) {
                listed.push_back(l.id);
                all += text(l) + "\n";
            }
            more = page.more;
            if (more) request.after = listed.back();
        }
        CHECK(listed == ids);
        if (of_files.empty()) of_files = all;
        CHECK(all == of_files);
    }
    ipc::ListRequest request;
    request.after = ids[2000];                         // another place and another filter than the share has
    CHECK(list(request).mails.at(0).id == ids[2001]);
    request = {};
    request.filter.sender = "last@host.example";
    const auto found = list(request);
    REQUIRE(found.mails.size() == 1);
    CHECK(found.mails[0].id == ids.back());
}

namespace {
Summary summary(uint64_t id, std::size_t length = 1)
{
    queue::Layout layout;
    layout.body_size = id;
    mail::Envelope e;
    e.sender = {std::string(length, 's'), "host.example"};
    e.recipients.push_back({{cat("u", id), "far.example"}, 0, ""});
    return Summary::of(layout, e);
}

bool all_right(const Summaries& s, const std::map<uint64_t, uint64_t>& where)
{
    return std::all_of(where.begin(), where.end(), [&](const auto& one) { return s.read(one.first, one.second).bytes() == summary(one.first).bytes(); });
}
}  // namespace

TEST_CASE("summaries last over a restart, are cut off behind damage, and are begun anew when most are of mails that left", "[qmgr]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    disk.make_directory("/log");
    const auto open = [&] { return std::make_unique<Summaries>(disk, std::move(*disk.open_directory(nullptr, "/log"))); };
    std::map<uint64_t, uint64_t> places, found;
    const auto load = [&](Summaries& s) {
        found.clear();
        s.load([&](uint64_t id, uint64_t place) { found[id] = place; });
    };
    const auto add = [&](Summaries& s, uint64_t first, uint64_t last) {
        for (uint64_t id = first; id < last; ++id) REQUIRE((places[id] = s.add(id, summary(id))) != 0);
    };
    auto s = open();
    load(*s);
    CHECK(found.empty());
    CHECK(s->add(1, Summary()) == 0);
    add(*s, 1, 3000);                                    // more than waits to be written
    CHECK(all_right(*s, places));
    CHECK_FALSE(s->read(2, places[1]));
    CHECK_FALSE(s->read(1, 1'000'000));
    s = open();
    load(*s);
    CHECK(found == places);
    CHECK(all_right(*s, places));
    add(*s, 3000, 3010);
    places[5] = s->add(5, summary(5));
    s = open();
    load(*s);
    CHECK(found == places);

    disk.damage("/log/summaries", places[1000] + 20, '!');
    s = open();
    load(*s);
    CHECK(found.size() == 999);
    CHECK(all_right(*s, found));
    add(*s, 1000, 1001);
    s = open();
    load(*s);
    CHECK(found.size() == 1000);

    disk.fail_write(1, ENOSPC);                          // nothing is kept until it can be written again
    const uint64_t lost = s->add(7777, summary(7777));
    s->flush();
    CHECK_FALSE(s->read(7777, lost));
    CHECK(s->add(7778, summary(7778)) == 0);
    const auto said = quiet.text.size();
    CHECK(said > 0);
    s->flush();
    disk.fail_write(1, ENOSPC);
    REQUIRE(s->add(7777, summary(7777)) == lost);
    s->flush();
    CHECK(quiet.text.size() == said);                    // once
    s->flush();
    add(*s, 7778, 7779);
    s = open();
    load(*s);
    CHECK(found.size() == 1001);
    CHECK(all_right(*s, found));

    disk.put("/log/summaries", "something else");
    s = open();
    load(*s);
    CHECK(found.empty());
    for (uint64_t id = 1; id < 5000; ++id) REQUIRE(s->add(id, summary(id, 900)) != 0);
    s->flush();
    CHECK(s->crowded(1000));
    CHECK_FALSE(s->crowded(2000));
    s->begin_anew();
    CHECK_FALSE(s->crowded(0));
    CHECK_FALSE(s->read(1, 20));
    places.clear();
    add(*s, 1, 10);
    CHECK(all_right(*s, places));
    disk.fail_write(1, ENOSPC);                          // the file's first
    s->begin_anew();
    s->flush();
    places.clear();
    add(*s, 1, 10);
    s = open();
    load(*s);
    CHECK(found == places);
}

TEST_CASE("summaries are written by the pool: while the disk is slow their owner goes on, and they are read where they wait", "[qmgr]")
{
    const bool finished = GENERATE(false, true);          // or destroyed, with what the pool had not begun
    Quiet quiet;
    test::SlowDisk disk;
    disk.make_directory("/log");
    const auto open = [&] { return std::make_unique<Summaries>(disk, std::move(*disk.open_directory(nullptr, "/log"))); };
    auto s = open();
    auto pool = std::make_unique<disk::Pool>(2, [](const std::function<void()>&) {});
    s->load([](uint64_t, uint64_t) {});
    s->write_with(*pool);
    std::map<uint64_t, uint64_t> places;
    uint64_t id = 0;
    const auto more = [&](uint64_t count) {
        for (const uint64_t end = id + count; id < end; places[id] = s->add(id, summary(id))) ++id;
        for (const auto& [of, place] : places) REQUIRE(place != 0);
    };
    const auto until_kept = [&] {
        ++id;
        for (int i = 0; i < 3000; ++i, std::this_thread::sleep_for(std::chrono::milliseconds(10))) {
            const uint64_t place = s->add(id, summary(id));
            if (place == 0) continue;
            places[id] = place;
            return true;
        }
        return false;
    };
    more(1000);
    disk.open(false);
    more(3000);
    s->flush();
    more(3000);
    CHECK(all_right(*s, places));
    std::size_t taken = 0;
    while (s->add(1'000'000 + taken, summary(1'000'000 + taken, 900)) != 0) REQUIRE(++taken < 10'000);      // bounded
    CHECK(all_right(*s, places));
    std::size_t expected = places.size() + taken;
    SECTION("then it goes on")
    {
        disk.open(true);
        REQUIRE(until_kept());
        expected = places.size() + taken;
    }
    SECTION("what was being written fails: what came behind it is not kept, and later it is again")
    {
        disk.open(true, true);
        for (int i = 0; i < 3000 && s->read(id, places[id]); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
        REQUIRE_FALSE(s->read(id, places[id]));
        CHECK(quiet.text.find("what mailq shows is not kept for now") != std::string::npos);
        CHECK(s->add(1, summary(1)) == 0);
        std::erase_if(places, [&](const auto& one) { return !s->read(one.first, one.second); });
        CHECK(all_right(*s, places));
        CHECK(places.size() < 4000);
        disk.open(true);
        s->flush();
        REQUIRE(until_kept());
        more(3000);
        expected = places.size();
    }
    SECTION("begun anew meanwhile")
    {
        s->begin_anew();
        CHECK(s->add(id + 1, summary(id + 1)) == 0);
        CHECK_FALSE(s->read(1, places[1]));
        CHECK_FALSE(s->read(id, places[id]));
        CHECK_FALSE(s->crowded(0));
        places.clear();
        disk.open(true);
        REQUIRE(until_kept());
        CHECK(places.begin()->second < 100);
        more(3000);
        expected = places.size();
    }
    const auto all = places;
    std::erase_if(places, [](const auto& one) { return one.first % 100 != 0; });      // this disk takes long to read a large file
    CHECK(places.size() > 5);
    CHECK(all_right(*s, places));
    if (finished) s->finish();
    pool.reset();
    s.reset();
    s = open();
    std::map<uint64_t, uint64_t> found;
    s->load([&](uint64_t of, uint64_t place) { found[of] = place; });
    CHECK(found.size() == expected);
    for (const auto& [of, place] : all) REQUIRE(found[of] == place);
    CHECK(all_right(*s, places));
}

namespace {
// A program at the public socket.
struct Asker {
    explicit Asker(Public& door)
    {
        auto pair = std::move(*socket_pair(SOCK_SEQPACKET));
        fd = std::move(pair.second);
        door.client(std::move(pair.first));
    }
    void ask(ipc::QueueType type, std::string body)
    {
        ipc::Message m;
        m.type = static_cast<uint16_t>(type);
        m.request = ++asked;
        m.body = std::move(body);
        REQUIRE(ipc::send_blocking(fd.get(), m, 1000));
    }
    void look()
    {
        std::string_view buffer;
        for (;;) {
            const auto got = ipc::receive_datagram(fd.get(), buffer, MSG_DONTWAIT);
            if (got && got->kind == ipc::Received::Kind::message) {
                ++answered;
                continue;
            }
            ended = ended || !got || got->kind == ipc::Received::Kind::closed;
            return;
        }
    }
    Fd fd;
    uint32_t asked = 0, answered = 0;
    bool ended = false;
};
}  // namespace

TEST_CASE("one user's connections to the public socket are few, and root gets in beside them", "[qmgr][hostile]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    Rig rig(disk, world);
    REQUIRE(rig.core);
    SECTION("a user")
    {
        Public door(rig.loop(), *rig.core, Rights{});
        std::vector<std::unique_ptr<Asker>> all;
        for (int i = 0; i < 30; ++i) all.push_back(std::make_unique<Asker>(door));
        CHECK(door.clients() == 10);
        all[29]->look();
        CHECK(all[29]->ended);
        all[0].reset();
        REQUIRE(rig.until([&] { return door.clients() == 9; }));
        all.push_back(std::make_unique<Asker>(door));
        CHECK(door.clients() == 10);
    }
    SECTION("an admin")
    {
        Rights rights;
        rights.admins.insert(::getuid());
        Public door(rig.loop(), *rig.core, rights);
        std::vector<std::unique_ptr<Asker>> all;
        for (int i = 0; i < 210; ++i) all.push_back(std::make_unique<Asker>(door));
        CHECK(door.clients() == 200);
    }
}

TEST_CASE("who asks nothing at the public socket loses his place", "[qmgr][hostile]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    Rig rig(disk, world);
    REQUIRE(rig.core);
    Public door(rig.loop(), *rig.core, Rights{}, std::chrono::milliseconds(20));
    Asker silent(door);
    REQUIRE(rig.until([&] { return door.clients() == 0; }));
    silent.look();
    CHECK(silent.ended);
}

TEST_CASE("pipelined questions are answered one by one, those of several connections too", "[qmgr][hostile]")
{
    Quiet quiet;
    ForgetfulDisk disk;
    make_spool(disk);
    AgentLog world;
    Rig rig(disk, world);
    REQUIRE(rig.core);
    for (int i = 0; i < 3; ++i) put(disk, "s@host.example", {cat("late@far", i, ".example")});
    rig.core->writer_came(0);
    Public door(rig.loop(), *rig.core, Rights{});
    std::vector<std::unique_ptr<Asker>> all;
    for (int i = 0; i < 10; ++i) {
        all.push_back(std::make_unique<Asker>(door));
        for (int n = 0; n < 8; ++n) all.back()->ask(ipc::QueueType::list, ipc::ListRequest{}.encode());
    }
    CHECK(rig.until([&] {
        bool done = true;
        for (auto& a : all) {
            a->look();
            done = done && a->answered == a->asked;
        }
        return done;
    }));
    // One that leaves while its question waits takes nothing along.
    for (auto& a : all) a->ask(ipc::QueueType::list, ipc::ListRequest{}.encode());
    rig.loop().run_once(std::chrono::milliseconds(1));
    for (std::size_t i = 1; i < all.size(); ++i) all[i].reset();
    CHECK(rig.until([&] { return door.clients() == 1; }));
    CHECK(rig.until([&] { all[0]->look(); return all[0]->answered == all[0]->asked; }));
}

// lmtpd: a mail between LMTP, router, local and the queue, all but the queue played by the test.
#include "t/unit/catch.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <optional>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/queue/id.h"
#include "local/lmtpd/handover.h"
#include "local/lmtpd/policy.h"

using namespace veredus;
using namespace veredus::lmtpd;
using ipc::Outcome;
using Kind = ipc::Route::Kind;
using Class = ipc::AddressClass;

namespace {

ipc::Route route(Kind kind, const char* transport = "local", const char* dsn = "", const char* text = "")
{
    ipc::Route r;
    r.kind = kind;
    r.address_class = Class::local;
    r.transport = transport;
    r.dsn = dsn;
    r.text = text;
    return r;
}

struct HandClock final : Clock {
    int64_t wall_us() const override { return system_clock().wall_us(); }
    int64_t mono_us() const override { return now; }
    int64_t now = us_per_second;
};

struct World {
    World()
    {
        log::capture(&log);
        char name[] = "/tmp/veredus-lmtpd.XXXXXX";
        base = ::mkdtemp(name);
        for (const char* part : {"/tmp", "/new"}) REQUIRE(::mkdir((base + part).c_str(), 0700) == 0);
        intake = std::move(*queue::Intake::open(disk::posix_disk(), base, 1, system_clock(), nullptr));
        handover = std::make_unique<Handover>(Handover::Parts{
            *intake, nullptr, clock,
            [this](ipc::RouteRequest request, std::function<void(Result<ipc::RouteReply>)> done) {
                if (router_away) return done(fail("away"));
                ipc::RouteReply reply;
                for (const auto& address : request.recipients) reply.routes.push_back(routes.count(address) ? routes[address] : route(Kind::deliver));
                ++questions;
                done(std::move(reply));
            },
            [this](const ipc::Attempt& attempt, const Fd& mail) -> Result<void> {
                if (local_away) return fail("local is not there at the moment");
                attempts.push_back(attempt);
                const auto file = queue::read_mail_file(disk::posix_disk(), mail, true);    // a whole queue file, checksums and all
                REQUIRE(file);
                CHECK(file->layout.body_size == attempt.layout.body_size);
                CHECK(::pwrite(mail.get(), "x", 1, 20) < 0);                                // who gets it cannot change what others get
                seen = *queue::read_header(mail, attempt.layout, 10'000);
                return {};
            },
            [this](const std::string& id) { queued.push_back(id); }, [this](uint64_t attempt) { cancelled.push_back(attempt); }, 3});
    }
    ~World()
    {
        handover.reset();
        intake.reset();
        std::filesystem::remove_all(base);
        log::capture(nullptr);
    }
    void begin(const std::vector<std::string>& recipients, const std::string& body = "x\r\n")
    {
        auto draft = intake->create();
        REQUIRE(draft);
        REQUIRE(draft->append(body));
        mail::Envelope envelope;
        envelope.sender = {"s", "example.net"};
        for (const auto& r : recipients) envelope.recipients.push_back({*mail::parse_address(r), 0, ""});
        replies.reset();
        auto fresh = std::make_shared<bool>(true);
        handover->begin({std::move(*draft), mail::HeaderBlock::parse("Subject: hi\r\n"), envelope}, [this, fresh](Handover::Replies r) {
            CHECK(std::exchange(*fresh, false));
            replies = std::move(r);
        });
    }
    void say(std::size_t attempt, std::vector<std::pair<uint32_t, ipc::Verdict>> list)
    {
        ipc::Verdicts v{attempts.at(attempt).attempt, {}};
        for (auto& [index, verdict] : list) {
            verdict.index = index;
            v.verdicts.push_back(verdict);
        }
        handover->local_said(std::move(v));
    }
    std::string codes() const
    {
        std::string out;
        for (const auto& r : replies.value_or(Handover::Replies())) append(out, out.empty() ? "" : " ", r.code, '/', r.enhanced);
        return out;
    }
    std::vector<std::string> names(const char* sub) const
    {
        std::vector<std::string> out;
        for (const auto& e : std::filesystem::directory_iterator(base + sub))
            if (queue::is_queue_id(e.path().filename().string())) out.push_back(e.path().filename());
        return out;
    }
    queue::MailFile in_queue() const
    {
        const auto all = names("/new");
        REQUIRE(all.size() == 1);
        auto dir = disk::posix_disk().open_directory(nullptr, base + "/new");
        auto file = disk::posix_disk().open_read(*dir, all[0]);
        REQUIRE(file);
        auto mail = queue::read_mail_file(disk::posix_disk(), *file, true);
        REQUIRE(mail);
        return std::move(*mail);
    }
    std::string base, log, seen;
    std::map<std::string, ipc::Route> routes;
    bool router_away = false, local_away = false;
    unsigned questions = 0;
    std::vector<ipc::Attempt> attempts;
    std::vector<std::string> queued;
    std::optional<Handover::Replies> replies;
    std::vector<uint64_t> cancelled;
    HandClock clock;
    std::unique_ptr<queue::Intake> intake;
    std::unique_ptr<Handover> handover;
};

ipc::Verdict word(Outcome outcome, const char* dsn, const char* text = "")
{
    ipc::Verdict v;
    v.outcome = outcome;
    v.dsn = dsn;
    v.text = text;
    return v;
}

const auto in_mailbox = word(Outcome::delivered, "2.0.0", "delivered to maildir");

}  // namespace

TEST_CASE("each recipient hears what became of his copy, and nothing is queued", "[lmtpd][rfc2033-4.2]")
{
    World w;
    const std::string body = GENERATE(std::string("x\r\n"), std::string(200'000, 'x') + "\r\n");    // in memory, and on the disk
    w.begin({"alice@example.org", "full@example.org", "Alice@example.org", "late@example.org", "never@example.org"}, body);
    REQUIRE(w.attempts.size() == 1);
    CHECK(w.attempts[0].transport == "local");
    CHECK(w.attempts[0].sender == "s@example.net");
    REQUIRE(w.attempts[0].targets.size() == 4);      // one copy for who is named twice
    CHECK(w.seen == "Subject: hi\r\n");
    w.say(0, {{0, in_mailbox}, {1, word(Outcome::failed, "5.2.2", "full")}});
    CHECK_FALSE(w.replies);
    w.say(0, {{0, word(Outcome::failed, "5.0.0", "twice")}, {2, word(Outcome::deferred, "4.2.2", "quota")}, {3, word(Outcome::failed, "5.7.1", "no")}, {9, in_mailbox}});
    CHECK(w.codes() == "250/2.0.0 552/5.2.2 250/2.0.0 452/4.2.2 554/5.7.1");
    CHECK((*w.replies)[0].text == "<alice@example.org> delivered to maildir");
    CHECK(w.names("/new").empty());
    CHECK(w.names("/tmp").empty());
    CHECK(w.queued.empty());
    CHECK(w.handover->in_flight() == 0);
}

TEST_CASE("what goes on from here is queued for those recipients only", "[lmtpd]")
{
    World w;
    const std::string body = GENERATE(std::string("x\r\n"), std::string(200'000, 'x') + "\r\n");
    w.routes["list@example.org"] = route(Kind::expand);
    w.routes["moved@example.org"] = route(Kind::deliver, "smtp");
    w.begin({"list@example.org", "alice@example.org", "forwards@example.org", "moved@example.org"}, body);
    REQUIRE(w.attempts.size() == 1);
    CHECK(w.attempts[0].targets.size() == 2);
    w.say(0, {{1, in_mailbox}, {2, word(Outcome::expanded, "2.0.0", "expanded to 1 recipient")}});
    CHECK(w.codes() == "250/2.0.0 250/2.0.0 250/2.0.0 250/2.0.0");
    const auto mail = w.in_queue();
    REQUIRE(mail.envelope.recipients.size() == 3);
    CHECK(mail.envelope.recipients[0].address.text() == "list@example.org");
    CHECK(mail.envelope.recipients[1].address.text() == "forwards@example.org");
    CHECK(mail.envelope.recipients[2].address.text() == "moved@example.org");
    CHECK(mail.layout.body_size == body.size());
    CHECK(w.queued == w.names("/new"));
    CHECK((*w.replies)[2].text == cat("<forwards@example.org> Ok: queued as ", w.queued.at(0)));
}

TEST_CASE("many recipients go in pages, virtual ones by their own transport", "[lmtpd]")
{
    World w;
    std::vector<std::string> all;
    for (int i = 0; i < 90; ++i) all.push_back(cat("u", i, "@example.org"));
    for (int i = 0; i < 10; ++i) w.routes[all[static_cast<std::size_t>(i)]] = route(Kind::deliver, "virtual");
    w.begin(all);
    CHECK(w.questions == 3);
    REQUIRE(w.attempts.size() == 3);
    CHECK(w.attempts[2].transport == "virtual");
    for (std::size_t a = 0; a < 3; ++a) {
        std::vector<std::pair<uint32_t, ipc::Verdict>> list;
        for (const auto& target : w.attempts[a].targets) list.emplace_back(target.index, in_mailbox);
        CHECK_FALSE(w.replies);
        w.say(a, list);
    }
    REQUIRE(w.replies);
    CHECK(w.replies->size() == 90);
    for (const auto& r : *w.replies) CHECK(r.code == 250);
}

TEST_CASE("our failures are 4xx, whoever of us is away", "[lmtpd]")
{
    World w;
    SECTION("router")
    {
        w.router_away = true;
        w.begin({"alice@example.org"});
        CHECK(w.codes() == "451/4.3.0");
    }
    SECTION("local, from the start")
    {
        w.local_away = true;
        w.begin({"alice@example.org", "bob@example.org"});
        CHECK(w.codes() == "451/4.3.0 451/4.3.0");
    }
    SECTION("local, in the midst")
    {
        w.begin({"alice@example.org", "bob@example.org"});
        w.say(0, {{0, in_mailbox}});
        w.handover->local_gone();
        CHECK(w.codes() == "250/2.0.0 451/4.3.0");
        w.say(0, {{1, in_mailbox}});            // too late: of no use, and no harm
    }
    SECTION("local, when one side cannot read the other")
    {
        w.begin({"alice@example.org", "bob@example.org"});
        w.say(0, {});
        CHECK(w.codes() == "451/4.3.0 451/4.3.0");
    }
    SECTION("router's refusals keep their class")
    {
        w.routes["gone@example.org"] = route(Kind::reject, "", "5.1.1", "User unknown");
        w.routes["wait@example.org"] = route(Kind::defer, "", "4.4.3", "no DNS");
        w.begin({"gone@example.org", "wait@example.org"});
        CHECK(w.codes() == "550/5.1.1 451/4.4.3");
        CHECK(w.attempts.empty());
    }
    SECTION("the queue's disk")
    {
        w.routes["list@example.org"] = route(Kind::expand);
        std::filesystem::remove_all(w.base + "/new");
        w.begin({"list@example.org"});
        CHECK(w.codes() == "451/4.3.0");
        CHECK(w.queued.empty());
        CHECK(w.names("/tmp").empty());
    }
    CHECK(w.handover->in_flight() == 0);
}

TEST_CASE("one recipient who is not served in time is no reason to keep the others waiting", "[lmtpd][rfc2033-4.2]")
{
    World w;
    w.routes["list@example.org"] = route(Kind::expand);
    w.begin({"alice@example.org", "bob@example.org", "list@example.org"});
    w.clock.now += 120 * us_per_second;
    w.begin({"carol@example.org"});
    w.say(0, {{1, in_mailbox}});
    w.clock.now += 119 * us_per_second;
    w.handover->expire();
    CHECK_FALSE(w.replies);
    w.clock.now += us_per_second;
    w.handover->expire();
    CHECK(w.codes() == "451/4.2.0 250/2.0.0 250/2.0.0");
    CHECK(w.in_queue().envelope.recipients.size() == 1);
    CHECK(w.cancelled == std::vector<uint64_t>{w.attempts[0].attempt});    // what no process has got yet is not delivered beside
    w.say(0, {{0, in_mailbox}});            // too late: of no use, and no harm
    CHECK(w.handover->in_flight() == 1);
    w.say(1, {{0, in_mailbox}});
    CHECK(w.codes() == "250/2.0.0");
    w.clock.now += 1000 * us_per_second;
    w.handover->expire();
    CHECK(w.handover->in_flight() == 0);
}

TEST_CASE("mails are taken as long as there are descriptors, whether their clients stay or not", "[lmtpd][hostile]")
{
    World w;
    for (int i = 0; i < 3; ++i) w.begin({"alice@example.org"});
    CHECK_FALSE(w.replies);
    w.begin({"alice@example.org", "bob@example.org"});
    CHECK(w.codes() == "451/4.3.2 451/4.3.2");
    CHECK(w.handover->in_flight() == 3);
    CHECK(w.names("/tmp").empty());
    w.say(0, {{0, in_mailbox}});
    w.begin({"bob@example.org"});
    CHECK_FALSE(w.replies);
    CHECK(w.handover->in_flight() == 3);
}

TEST_CASE("stopping waits for the mails at local", "[lmtpd]")
{
    World w;
    w.begin({"alice@example.org"});
    bool stopped = false;
    w.handover->stop([&] { stopped = true; });
    CHECK_FALSE(stopped);
    w.say(0, {{0, in_mailbox}});
    CHECK(stopped);
    CHECK(w.codes() == "250/2.0.0");
}

TEST_CASE("LMTP is for mailboxes here", "[lmtpd]")
{
    struct Case {
        Kind kind;
        Class address_class;
        const char* dsn;
        const char* reply;
    };
    const Case cases[] = {
        {Kind::deliver, Class::local, "", "250 2.1.5"},           {Kind::expand, Class::virtual_alias, "", "250 2.1.5"},
        {Kind::deliver, Class::virtual_mailbox, "", "250 2.1.5"}, {Kind::deliver, Class::relay, "", "550 5.7.1"},
        {Kind::deliver, Class::remote, "", "550 5.7.1"},          {Kind::reject, Class::local, "5.1.1", "550 5.1.1"},
        {Kind::reject, Class::local, "4.1.1", "550 5.1.1"},       {Kind::defer, Class::local, "4.4.4", "451 4.4.4"},
        {Kind::defer, Class::local, "", "451 4.3.0"},
    };
    for (const Case& c : cases) {
        auto r = route(c.kind, "", c.dsn, "text");
        r.address_class = c.address_class;
        const auto reply = reply_to_recipient(r, {"a", "example.org"});
        CHECK(cat(reply.code, ' ', reply.enhanced) == c.reply);
    }
    auto networks = table::MatchList::networks({"192.0.2.0/28"});
    REQUIRE(networks);
    struct Nobody final : reception::Recipients {
        std::optional<ipc::Route> check(const std::string&, Done) override { return std::nullopt; }
    } nobody;
    const std::vector<net::Address> gateways = {*net::Address::parse_ip("192.0.2.1", 0)};
    const std::shared_ptr<const reception::Trust> trust = std::make_shared<const reception::Trust>(std::move(*networks), gateways, "lmtp_trusted_networks");
    Policy policy(trust, nobody);
    CHECK(policy.origin(*net::Address::parse_ip("192.0.2.1", 1)) == mail::Origin::stranger);    // behind NAT every stranger has its address
    CHECK(policy.origin(*net::Address::parse_ip("192.0.2.7", 1)) == mail::Origin::network);
    CHECK(policy.origin(*net::Address::parse_ip("192.0.2.17", 1)) == mail::Origin::stranger);
    CHECK(policy.origin(net::Address::unix_path("/run/x")) == mail::Origin::network);
    reception::Client stranger;
    CHECK(policy.greet(stranger)->code == 554);
    stranger.origin = mail::Origin::network;
    CHECK_FALSE(policy.greet(stranger));
}

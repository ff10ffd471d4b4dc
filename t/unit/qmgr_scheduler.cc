// qmgr: the scheduler, in simulated time.
#include "t/unit/catch.h"

#include "lib/conf/values.h"
#include "t/unit/qmgr_world.h"

using namespace veredus;
using namespace veredus::test;

namespace {
const auto connect_failed = [](const ipc::Attempt&, const ipc::Target&) {
    return FakeWorld::verdict(ipc::Outcome::deferred, "4.4.1", "connect to mx[192.0.2.1]:25: Connection refused", true);
};
const auto greylisted = [](const ipc::Attempt&, const ipc::Target&) { return FakeWorld::verdict(ipc::Outcome::deferred, "4.2.0", "greylisted"); };
const auto unknown_user = [](const ipc::Attempt&, const ipc::Target&) { return FakeWorld::verdict(ipc::Outcome::failed, "5.1.1", "User unknown"); };

ipc::Verdict expanded(std::vector<std::string> members)
{
    ipc::Verdict v;
    v.outcome = ipc::Outcome::expanded;
    for (auto& m : members) {
        queue::Child c;
        c.text = std::move(m);
        v.children.push_back(c);
    }
    return v;
}
}  // namespace

TEST_CASE("what main.cf says reaches the scheduler, of a transport before the default", "[qmgr][main.cf.5]")
{
    const auto file = conf::File::parse(R"(default_destination_concurrency_limit = 7
smtp_destination_concurrency_limit = 3
default_destination_recipient_limit = 11
relay_destination_recipient_limit = 4
default_destination_rate_delay = 2s
lmtp_destination_rate_delay = 0s
initial_destination_concurrency = 2
smtp_destination_concurrency_failed_cohort_limit = 6
pipe_transports = {gate user=nobody argv=/bin/cat}
gate_destination_concurrency_limit = 1
gate_destination_rate_delay = 9s
gate_initial_destination_concurrency = 3
gate_destination_concurrency_failed_cohort_limit = 0
virtual_destination_concurrency_limit = 6
virtual_destination_rate_delay = 3s
qmgr_message_active_limit = 123
defer_transports = smtp, gate
minimal_backoff_time = 10s
maximal_backoff_time = 20s
queue_run_delay = 30s
maximal_queue_lifetime = 2d
bounce_queue_lifetime = 1d
delay_warning_time = 4h
notify_classes = bounce, delay
soft_bounce = yes
)",
                                      "main.cf");
    const Limits l = read_limits(file.values());
    CHECK(l.transport("smtp").concurrency == 3);
    CHECK(l.transport("relay").concurrency == 7);
    CHECK(l.transport("relay").recipients == 4);
    CHECK(l.transport("smtp").recipients == 11);
    CHECK(l.transport("smtp").rate_delay_us == 2 * second);
    CHECK(l.transport("lmtp").rate_delay_us == 0);
    CHECK(l.transport("lmtp").initial == 2);
    CHECK(l.transport("smtp").cohorts == 6);
    CHECK(l.transport("gate").concurrency == 1);
    CHECK(l.transport("gate").rate_delay_us == 9 * second);
    CHECK(l.transport("gate").recipients == 1);
    CHECK(l.transport("gate").initial == 3);
    CHECK(l.transport("gate").cohorts == 0);
    CHECK(l.transport("virtual").concurrency == 6);
    CHECK(l.transport("virtual").rate_delay_us == 3 * second);
    CHECK(l.transport("local").concurrency == 400);
    CHECK(l.transport("another").concurrency == 7);
    CHECK(l.active == 123);
    CHECK(l.defer_transports == std::vector<std::string>{"smtp", "gate"});
    CHECK(l.minimal_backoff_us == 10 * second);
    CHECK(l.maximal_backoff_us == 20 * second);
    CHECK(l.queue_run_us == 30 * second);
    CHECK(l.lifetime_us == 48 * 3600 * second);
    CHECK(l.bounce_lifetime_us == 24 * 3600 * second);
    CHECK(l.delay_warning_us == 4 * 3600 * second);
    CHECK_FALSE(l.bounce_copy_to.empty());
    CHECK_FALSE(l.notify_postmaster);
    CHECK(l.soft_bounce);
}

TEST_CASE("a mail that is delivered in one go costs one record and is unlinked after it", "[qmgr]")
{
    FakeWorld w;
    const auto id = w.take("a@there.example", {"alice@host.example"});
    REQUIRE(w.sent.size() == 1);
    CHECK(w.sent[0].attempt.queue_id == id);
    CHECK(w.sent[0].attempt.transport == "local");
    CHECK(w.sent[0].agent == Agent{Agent::Kind::local, 0});
    w.answer(FakeWorld::delivered);
    CHECK_FALSE(w.waits(id));
    REQUIRE(w.journal.size() == 1);
    CHECK(w.journal[0].event == queue::Event::done);
    CHECK(w.said_has(cat(id, ": from=<a@there.example>, size=2, nrcpt=1 (queue active)")));
    CHECK(w.said_has(cat(id, ": removed")));
    w.scheduler->queued(id_number(id), 0);     // told again, or found by a look into the directory that began before
    w.run();
    CHECK(w.sent.empty());
}

TEST_CASE("recipients of one host share an attempt up to the limit, senders and hosts part them", "[qmgr]")
{
    FakeWorld w;
    std::vector<std::string> many;
    for (int i = 0; i < 120; ++i) many.push_back(cat("u", i, "@far.example"));
    many.push_back("x@other.example");
    w.take("a@host.example", many);
    REQUIRE(w.sent.size() == 4);
    CHECK(w.sent[0].attempt.targets.size() == 50);
    CHECK(w.sent[1].attempt.targets.size() == 50);
    std::set<std::size_t> sizes;
    for (const auto& s : w.sent) sizes.insert(s.attempt.targets.size());
    CHECK(sizes == std::set<std::size_t>{50, 20, 1});
}

TEST_CASE("the concurrency window starts small, grows with success and stops at its limit", "[qmgr]")
{
    FakeWorld w;
    for (int i = 0; i < 200; ++i) w.take("a@host.example", {cat("u", i, "@far.example")});
    CHECK(w.in_flight_to("far.example") == 5);
    std::size_t most = 0;
    while (w.answer(FakeWorld::delivered, 1)) most = std::max(most, w.in_flight_to("far.example"));
    CHECK(most == 20);
    CHECK(w.files.empty());
}

TEST_CASE("a window shrinks with each failure of the site and dies when all of it failed", "[qmgr]")
{
    Window win(5, 20);
    CHECK(win.size() == 5);
    win.succeeded(5);
    CHECK(win.size() == 6);
    win.succeeded(3);                      // not in use: no reason to grow
    CHECK(win.size() == 6);
    CHECK_FALSE(win.failed());
    CHECK(win.size() == 5);
    win.succeeded(5);
    int failures = 0;
    while (!win.failed()) ++failures;
    CHECK(failures >= 2);
    CHECK(win.dead());
    CHECK_FALSE(win.room(0));
    win.probe();
    CHECK(win.room(0));
    CHECK_FALSE(win.room(1));
    CHECK(win.failed());
    win.probe();
    win.succeeded(1);
    CHECK(win.size() == 5);
    Window fresh(5, 20);
    CHECK(fresh.failed());                 // never answered: dead at its first failure
}

TEST_CASE("a failed cohort limit of n bears n windows of failures, 0 any number", "[qmgr]")
{
    struct Row {
        unsigned cohorts, fresh, proven;      // failures in a row until death
    };
    for (const Row& row : {Row{1, 1, 3}, Row{2, 2, 4}, Row{3, 3, 5}}) {
        Window fresh(5, 20, row.cohorts), proven(5, 20, row.cohorts);
        proven.succeeded(0);
        INFO(row.cohorts);
        for (unsigned i = 1; i <= row.fresh; ++i) CHECK(fresh.failed() == (i == row.fresh));
        unsigned n = 1;
        while (!proven.failed()) ++n;
        CHECK(n >= row.proven);
        CHECK(proven.dead());
    }
    Window never(5, 20, 0);
    for (int i = 0; i < 100; ++i) REQUIRE_FALSE(never.failed());
    CHECK(never.room(0));
    CHECK_FALSE(never.room(1));
}

TEST_CASE("a rate delay makes one attempt at a time, with a pause after each", "[qmgr]")
{
    FakeWorld w;
    w.limits.transports["smtp"].rate_delay_us = 10 * second;
    w.restart();
    for (int i = 0; i < 100; ++i) w.take("s@host.example", {cat("u", i, "@slow.example")});
    w.take("s@host.example", {"me@host.example"});
    CHECK(w.in_flight_to("slow.example") == 1);
    CHECK(w.targets().size() == 2);                  // local mail has no such pause
    w.pass(60 * second);
    CHECK(w.in_flight_to("slow.example") == 1);
    const int64_t begin = w.mono;
    w.answer(FakeWorld::delivered);
    CHECK(w.sent.empty());
    w.pass(9 * second);
    CHECK(w.sent.empty());
    w.pass(1 * second);
    CHECK(w.in_flight_to("slow.example") == 1);
    while (!w.files.empty() && w.mono - begin < 2000 * second) {
        w.answer(FakeWorld::delivered, 1);
        w.pass(1 * second);
    }
    CHECK(w.files.empty());
    CHECK(w.mono - begin >= 980 * second);
    CHECK(w.attempts == 101);
}

TEST_CASE("virtual users have a limit of their own", "[qmgr]")
{
    FakeWorld w;
    w.limits.transports["local"].concurrency = 9;
    w.limits.transports["virtual"].concurrency = 4;
    for (const char* user : {"v@virtual.example", "u@host.example"}) {
        ipc::Route r;
        r.kind = ipc::Route::Kind::deliver;
        r.address = user;
        r.transport = std::string_view(user).starts_with("v@") ? "virtual" : "local";
        w.table[user] = r;
        for (int i = 0; i < 30; ++i) w.put("s@host.example", {user});
    }
    w.restart();
    const auto to = [&](const char* transport) {
        return std::count_if(w.sent.begin(), w.sent.end(), [&](const FakeWorld::Sent& s) { return s.attempt.transport == transport; });
    };
    CHECK(to("virtual") == 4);
    CHECK(to("local") == 9);
    w.limits.transports["virtual"].concurrency = 2;
    w.scheduler->set_limits(w.limits);
    w.answer(FakeWorld::delivered, 13);
    CHECK(to("virtual") <= 2);
}

TEST_CASE("mail for defer_transports waits until somebody asks for it", "[qmgr]")
{
    FakeWorld w;
    w.limits.defer_transports = {"smtp"};
    w.restart();
    const auto id = w.take("s@host.example", {"u@far.example", "v@host.example"});
    CHECK(w.targets() == std::vector<std::string>{"v@host.example"});
    w.answer(FakeWorld::delivered);
    w.pass(3600 * second);
    CHECK(w.sent.empty());
    CHECK(w.waits(id));
    CHECK(w.said_has("to=<u@far.example>, relay=none"));
    CHECK(w.said_has("dsn=4.3.2, status=deferred (deferred transport)"));
    CHECK(w.scheduler->flush_all() == 1);
    w.run();
    CHECK(w.targets() == std::vector<std::string>{"u@far.example"});
    w.answer(greylisted);
    w.pass(7200 * second);                            // asked for once, not for ever
    CHECK(w.sent.empty());
}

TEST_CASE("a flush while an attempt is under way counts for the next one, once", "[qmgr]")
{
    FakeWorld w;
    const auto id = w.take("s@host.example", {"u@far.example"});
    CHECK(w.attempts == 1);
    CHECK(w.scheduler->flush_all() == 0);
    w.answer(greylisted);                             // and the attempt after it
    CHECK(w.attempts == 2);
    CHECK(w.sent.empty());
    CHECK(w.waits(id));
}

TEST_CASE("a dead host gets one attempt for all its mail, and later one probe", "[qmgr]")
{
    FakeWorld w;
    std::vector<std::string> ids;
    for (int i = 0; i < 300; ++i) ids.push_back(w.take("a@host.example", {cat("u", i, "@dead.example")}));
    CHECK(w.attempts == 5);
    w.answer(connect_failed);
    CHECK(w.attempts == 5);
    for (const auto& id : ids) REQUIRE(w.entry(id)->stage == Stage::timed);
    w.attempts = 0;
    w.opens = 0;
    for (int i = 0; i < 9; ++i) {          // 45 minutes: nine times the shortest wait
        w.pass(300 * second);
        w.answer(connect_failed);
    }
    CHECK(w.attempts >= 2);
    CHECK(w.attempts <= 10);               // not one for each of 300 mails
    for (const auto& id : ids) CHECK(w.files.at(id).place.state == queue::State::deferred);
    // It comes back: the next probe brings all of its mail.
    for (int i = 0; i < 20 && !w.files.empty(); ++i) {
        w.pass(300 * second);
        while (w.answer(FakeWorld::delivered)) {}
    }
    CHECK(w.files.empty());
}

TEST_CASE("after an outage all hosts' mail goes at once, and the queue is looked through for all of them together", "[qmgr]")
{
    FakeWorld w;
    for (int mail = 0; mail < 3; ++mail)
        for (int host = 0; host < 300; ++host) w.put("s@host.example", {cat("u", mail, "@h", host, ".example")});
    w.restart();
    while (w.answer(connect_failed) > 0) {}
    CHECK(w.files.size() == 900);
    const std::size_t before = w.scheduler->scans();
    w.pass(305 * second);                                // one attempt for each host, all of which succeed
    while (w.answer(FakeWorld::delivered) > 0) {}
    w.pass(2 * second);
    while (w.answer(FakeWorld::delivered) > 0) {}
    CHECK(w.files.empty());
    CHECK(w.scheduler->scans() > before);
    CHECK(w.scheduler->scans() <= before + 5);
}

TEST_CASE("neither slow nor dead hosts delay fresh local mail or another host", "[qmgr]")
{
    FakeWorld w;
    w.limits.active = 100;
    w.restart();
    for (int i = 0; i < 1000; ++i) w.take("a@host.example", {cat("u", i, "@slow", i % 30, ".example")});
    const std::size_t before = w.attempts;
    const auto local = w.take("a@host.example", {"alice@host.example"});
    CHECK(w.attempts == before + 1);
    CHECK(w.sent.back().attempt.queue_id == local);
    CHECK(w.opens < 1200);                 // none is opened and parked in turn
    // Open files stay within the setting: the rest waits as a record.
    std::size_t active = 0, parked = 0;
    w.scheduler->catalog().each([&](const Entry& e) {
        active += e.stage == Stage::active;
        parked += e.stage == Stage::parked;
    });
    CHECK(active <= 100);
    CHECK(active + parked == 1001);
    while (w.answer(FakeWorld::delivered)) {}
    CHECK(w.files.empty());                // nothing was forgotten where it was parked
}

TEST_CASE("one host with endless mail takes turns with the others", "[qmgr]")
{
    FakeWorld w;
    w.limits.attempts = 6;
    w.restart();
    for (int i = 0; i < 100; ++i) w.take("a@host.example", {cat("u", i, "@big.example")});
    const auto small = w.take("a@host.example", {"x@small.example"});
    int answered = 0;
    while (w.waits(small) && w.answer(FakeWorld::delivered, 1)) ++answered;
    CHECK(answered < 20);
}

TEST_CASE("a backlog that never empties is remembered no longer than its mails are open", "[qmgr]")
{
    FakeWorld w;
    w.limits.attempts = 10;
    w.restart();
    const std::size_t always = 40;
    for (std::size_t i = 0; i < 2000; ++i) {
        w.take("s@far.example", {cat("u@host", i % 60, ".example")});
        if (i >= always) w.answer(FakeWorld::delivered, 1);
        REQUIRE(w.scheduler->remembered_turns() <= 2 * always);
    }
    CHECK(w.sent.size() > 0);
}

TEST_CASE("a mailing to 50,000 recipients delays nobody else's mail: neither at one host nor at many, neither routed nor sent", "[qmgr][long]")
{
    const auto mailing = [](FakeWorld& w, const auto& address) {
        std::vector<std::string> all;
        for (int i = 0; i < 50'000; ++i) all.push_back(address(i));
        return w.put("news@host.example", all);
    };
    const auto sent_to = [](const FakeWorld& w, const std::string& address) {
        return std::any_of(w.sent.begin(), w.sent.end(), [&](const auto& s) { return s.attempt.targets[0].address == address; });
    };
    SECTION("at one host")
    {
        FakeWorld w;
        const auto id = mailing(w, [](int i) { return cat("u", i, "@far.example"); });
        w.scheduler->queued(id_number(id), 0);
        w.run();
        w.answer(FakeWorld::delivered, 30);
        for (int i = 0; i < 20; ++i) {                  // at any time
            const std::string me = cat("me", i, "@far.example");
            w.take("s@host.example", {me});
            std::size_t before = 0;
            while (!sent_to(w, me) && before < 100) before += w.answer(FakeWorld::delivered, 1);
            CHECK(before <= 2);
            w.answer(FakeWorld::delivered, 10);
        }
        while (w.answer(FakeWorld::delivered)) {}
        CHECK(w.files.empty());
        CHECK(w.attempts == 50'000 / 50 + 20);
    }
    SECTION("at as many hosts")
    {
        FakeWorld w;
        const auto id = mailing(w, [](int i) { return cat("u@far", i, ".example"); });
        w.scheduler->queued(id_number(id), 0);
        w.run();
        w.answer(FakeWorld::delivered, 1000);
        for (int i = 0; i < 20; ++i) {
            const std::string me = cat("me@other", i, ".example");
            w.take("s@host.example", {me});
            // Two agents: what counts is how many places of its own come free before one is its.
            const Agent its{Agent::Kind::smtp, destination_hash(destination_key("smtp", me.substr(3))) % 2};
            std::size_t before = 0;
            for (int n = 0; n < 2000 && !sent_to(w, me); ++n) {
                if (w.sent.front().agent == its) ++before;
                w.answer(FakeWorld::delivered, 1);
            }
            CHECK(sent_to(w, me));
            CHECK(before <= 3);
        }
        CHECK(w.files.size() == 21);
        while (w.answer(FakeWorld::delivered)) {}
        CHECK(w.files.empty());
    }
    SECTION("while it is routed")
    {
        FakeWorld w;
        const auto id = mailing(w, [](int i) { return cat("u@far", i, ".example"); });
        w.scheduler->queued(id_number(id), 0);
        w.scheduler->pump();
        CHECK(w.routings <= 10);                         // and not 1,000
        const auto mine = w.put("s@host.example", {"me@other.example"});
        w.scheduler->queued(id_number(mine), 0);
        w.scheduler->pump();
        CHECK(w.routings <= 11);
        for (int i = 0; i < 100 && !sent_to(w, "me@other.example"); ++i) {
            if (std::exchange(w.woken, false)) w.scheduler->pump();
            auto work = std::move(w.posted.front());
            w.posted.pop_front();
            work();
        }
        CHECK(sent_to(w, "me@other.example"));
        CHECK(w.routings < 100);
        w.run();
        CHECK(w.routings == 1001);
    }
}

TEST_CASE("endless mail of others does not keep a mailing from its turns: neither at one host nor at many", "[qmgr]")
{
    const bool one_host = GENERATE(true, false);
    FakeWorld w;
    w.limits.attempts = 10;
    w.restart();
    std::vector<std::string> all;
    for (int i = 0; i < 5000; ++i) all.push_back(one_host ? cat("u", i, "@far.example") : cat("u@far", i, ".example"));
    const auto id = w.put("news@host.example", all);
    w.scheduler->queued(id_number(id), 0);
    w.run();
    std::size_t of_mailing = 0;
    const auto count = [&](const ipc::Attempt& a, const ipc::Target& t) {
        of_mailing += a.queue_id == id && (!one_host || t.index % 50 == 0);      // 50 go together
        return FakeWorld::delivered(a, t);
    };
    for (int i = 0; i < 20; ++i) w.take("s@host.example", {one_host ? cat("me", i, "@far.example") : cat("me@more", i, ".example")});
    for (int i = 0; i < 30; ++i) w.answer(count, 1);
    of_mailing = 0;
    // For each attempt that ends a mail comes: all that the agents can do, and the mailing beside.
    for (int i = 0; i < 1000; ++i) {
        w.answer(count, 1);
        w.take("s@host.example", {one_host ? cat("other", i, "@far.example") : cat("me@other", i, ".example")});
    }
    CHECK(of_mailing >= 20);
    while (w.answer(FakeWorld::delivered)) {}
    CHECK(w.files.empty());
}

TEST_CASE("one user's extensions, commands and files leave way for everybody else's local mail", "[qmgr]")
{
    FakeWorld w;
    w.limits.attempts = 100;
    w.restart();
    for (int i = 0; i < 800; ++i) w.take("a@host.example", {cat("alice+", i, i % 2 ? "@host.example" : "")});
    CHECK(w.sent.size() == 20);
    // Each of mallory's has a command and a file of its own.
    for (int i = 0; i < 200; ++i) w.take("a@host.example", {cat("mallory+", i, "@host.example")});
    CHECK(w.sent.size() == 40);
    const auto is_mallory = [](const FakeWorld::Sent& s) { return s.attempt.targets[0].address.starts_with("mallory"); };
    for (int n = 0; n < 400; ++n) {
        const auto s = std::find_if(w.sent.begin(), w.sent.end(), is_mallory);
        if (s == w.sent.end()) break;
        ipc::Verdicts v{s->attempt.attempt, {expanded({cat("/bin/sleep ", n), cat("/home/mallory/", n)})}};
        v.verdicts[0].index = s->attempt.targets[0].index;
        for (std::size_t c = 0; c < 2; ++c) {
            v.verdicts[0].children[c].kind = c ? queue::Child::Kind::file : queue::Child::Kind::command;
            v.verdicts[0].children[c].run_as = "mallory";
        }
        const Agent agent = s->agent;
        w.sent.erase(s);
        w.scheduler->verdicts(agent, v);
        w.run();
    }
    CHECK(w.sent.size() == 60);            // 20 at alice, 20 commands, 20 files
    // The same command of somebody else is none of mallory's.
    w.take("a@host.example", {"bob@host.example"});
    REQUIRE(w.sent.back().attempt.targets[0].address == "bob@host.example");
    ipc::Verdicts v{w.sent.back().attempt.attempt, {expanded({"/bin/sleep 1"})}};
    v.verdicts[0].index = w.sent.back().attempt.targets[0].index;
    v.verdicts[0].children[0].kind = queue::Child::Kind::command;
    v.verdicts[0].children[0].run_as = "bob";
    w.sent.pop_back();
    w.scheduler->verdicts({Agent::Kind::local, 0}, v);
    w.run();
    CHECK(w.sent.back().attempt.targets[0].run_as == "bob");
    while (w.answer(FakeWorld::delivered)) {}
    CHECK(w.files.empty());
}

TEST_CASE("a quarter of local's attempts is kept for users who have few", "[qmgr]")
{
    FakeWorld w;
    w.limits.attempts = 40;
    w.limits.transports["local"] = {1000, 1};
    w.restart();
    for (int i = 0; i < 200; ++i) w.take("a@host.example", {"alice@host.example"});
    CHECK(w.sent.size() == 30);
    for (int i = 0; i < 5; ++i) {
        const auto id = w.take("a@host.example", {cat("u", i, "@host.example")});
        CHECK(w.sent.back().attempt.queue_id == id);
    }
    while (w.answer(FakeWorld::delivered)) {}
    CHECK(w.files.empty());
}

TEST_CASE("back-off doubles a mail's age between the two settings", "[qmgr]")
{
    FakeWorld w;
    const auto id = w.take("a@host.example", {"u@far.example"});
    w.answer(greylisted);
    struct Case { int64_t age; int64_t wait; };
    std::vector<int64_t> waits;
    for (int i = 0; i < 8; ++i) {
        const int64_t next = w.entry(id)->next_us - w.mono;
        waits.push_back(next / second);
        w.pass(next);
        REQUIRE(w.sent.size() == 1);
        w.answer(greylisted);
    }
    CHECK(waits == std::vector<int64_t>{300, 300, 600, 1200, 2400, 4000, 4000, 4000});
    CHECK(w.entry(id)->attempts == 9);
}

TEST_CASE("a mail that is too old is returned after an attempt that failed", "[qmgr]")
{
    FakeWorld w;
    const auto id = w.take("a@far.example", {"u@gone.example"});
    w.answer(greylisted);
    for (int i = 0; i < 200 && w.waits(id); ++i) {
        w.pass(4000 * second);
        w.answer([](const ipc::Attempt& a, const ipc::Target& t) { return a.nexthop == "far.example" ? FakeWorld::delivered(a, t) : greylisted(a, t); });
    }
    CHECK_FALSE(w.waits(id));
    CHECK(w.mono - 1000 * second >= 5 * 86'400 * second);
    CHECK(w.mono - 1000 * second < 5 * 86'400 * second + 8000 * second);
    REQUIRE(w.notices.size() == 1);
    CHECK(w.notices[0].to == "a@far.example");
    CHECK(w.notices[0].recipients[0].status == "4.2.0");
    CHECK(w.said_has(cat(id, ": from=<a@far.example>, status=expired, returned to sender")));
    CHECK(w.said_has(cat(id, ": sender non-delivery notification: ", w.notices[0].id)));
    CHECK(w.files.empty());
}

TEST_CASE("a step of the wall clock, either way, expires nothing and delays nothing", "[qmgr]")
{
    for (const int64_t step : {int64_t{10} * 365 * 86'400 * second, -int64_t{10} * 365 * 86'400 * second}) {
        FakeWorld w;
        const auto id = w.take("a@host.example", {"u@far.example"});
        w.answer(greylisted);
        w.wall += step;
        CHECK(w.entry(id)->next_us - w.mono == 300 * second);
        w.pass(300 * second);
        REQUIRE(w.sent.size() == 1);
        w.answer(greylisted);
        CHECK(w.notices.empty());
        CHECK(w.entry(id)->next_us - w.mono <= 4000 * second);
        // And a start under the new clock waits no longer than the longest back-off. What it makes of ages
        // it must take from the clock, but an attempt always comes before a return.
        w.restart();
        CHECK(w.notices.empty());
        CHECK(w.entry(id)->next_us - w.mono <= 4000 * second);
    }
}

TEST_CASE("a wrong clock at the start that is set right returns no mail", "[qmgr]")
{
    FakeWorld w;
    const auto id = w.take("a@host.example", {"u@far.example"});
    w.answer(greylisted);
    w.wall += 10ll * 365 * 86'400 * second;    // the battery is empty
    w.restart();
    w.wall -= 10ll * 365 * 86'400 * second;    // and then the network says what time it is
    for (int i = 0; i < 5; ++i) {
        w.pass(4000 * second);
        w.answer(greylisted);
    }
    CHECK(w.notices.empty());
    CHECK(w.waits(id));
}

TEST_CASE("time in which nobody could try a mail is a day of its age at most", "[qmgr][durability-4]")
{
    constexpr int64_t day = 86'400 * second;
    FakeWorld w;
    const auto attempt_fails = [&] {
        w.pass(4000 * second);
        return w.answer(greylisted) > 0;
    };
    SECTION("a clock a year ahead at the start, and the network is not up when the first attempt is due")
    {
        const auto id = w.take("a@host.example", {"u@far.example"});
        w.answer(greylisted);
        w.wall += 365 * day;
        w.restart();
        CHECK(attempt_fails());
        CHECK(w.waits(id));
        w.restart();
        CHECK(attempt_fails());
        w.wall -= 365 * day;
        w.restart();
        CHECK(attempt_fails());
        CHECK(w.waits(id));
        CHECK(w.notices.empty());
    }
    SECTION("a mail that came before the clock was set, and a start after it")
    {
        const int64_t right = w.wall, begin = w.mono;
        w.wall = 1000 * second;
        const auto id = w.take("a@host.example", {"u@far.example"});
        w.answer(greylisted);
        w.wall = right;
        for (int starts = 0; starts < 3; ++starts) {
            w.restart();
            CHECK(attempt_fails());
            w.journal = w.scheduler->catalog().live(w.now());
            w.restart();
            CHECK(attempt_fails());
        }
        REQUIRE(w.waits(id));
        while (w.waits(id) && w.mono - begin < 10 * day) {
            w.pass(4000 * second);
            w.answer([](const ipc::Attempt& a, const ipc::Target& t) { return a.nexthop == "far.example" ? greylisted(a, t) : FakeWorld::delivered(a, t); });
        }
        CHECK(w.notices.size() == 1);
        CHECK(w.mono - begin > 3 * day);
        CHECK(w.mono - begin < 6 * day);
    }
    SECTION("a mail that was stamped by a clock a year ahead, and a start each day after that was set right")
    {
        w.wall += 365 * day;
        const auto id = w.take("a@host.example", {"u@far.example"});
        w.answer(greylisted);
        w.wall -= 365 * day;
        const int64_t begin = w.mono;
        const auto put_off_or_delivered = [](const ipc::Attempt& a, const ipc::Target& t) { return a.nexthop == "far.example" ? greylisted(a, t) : FakeWorld::delivered(a, t); };
        for (int days = 0; days < 20 && w.waits(id); ++days) {
            if (days % 2) w.journal = w.scheduler->catalog().live(w.now());
            w.restart();
            for (int tries = 0; tries < 20 && w.waits(id); ++tries) {
                w.pass(4000 * second);
                w.answer(put_off_or_delivered);
            }
        }
        CHECK(w.notices.size() == 1);
        CHECK(w.mono - begin > 3 * day);
        CHECK(w.mono - begin < 8 * day);
    }
    SECTION("a machine that was off for a month")
    {
        const auto waited = w.take("a@host.example", {"u@far.example"});
        w.answer(greylisted);
        const auto new_one = w.put("a@host.example", {"v@far.example"});
        w.wall += 30 * day;
        w.restart();
        CHECK(attempt_fails());
        CHECK(attempt_fails());
        CHECK(w.waits(waited));
        CHECK(w.waits(new_one));
        CHECK(w.notices.empty());
    }
    SECTION("one that was off for a week, and mail with the null sender that has a shorter lifetime")
    {
        w.limits.bounce_lifetime_us = day;
        w.restart();
        const auto report = w.take("", {"u@far.example"});
        w.answer(greylisted);
        w.wall += 7 * day;
        w.restart();
        CHECK(attempt_fails());
        CHECK(w.waits(report));
        for (int tries = 0; tries < 20; ++tries) attempt_fails();
        CHECK_FALSE(w.waits(report));
    }
    SECTION("a lifetime of nought for mail with the null sender does not keep the rest from growing old")
    {
        w.limits.bounce_lifetime_us = 0;
        w.restart();
        const int64_t begin = w.wall;
        const auto id = w.take("a@host.example", {"u@far.example"});
        while (w.waits(id) && w.wall - begin < 10 * day) {
            w.answer([](const ipc::Attempt& a, const ipc::Target& t) { return a.nexthop == "far.example" ? greylisted(a, t) : FakeWorld::delivered(a, t); });
            w.wall += day / 2;
            w.restart();
        }
        CHECK(w.wall - begin < 7 * day);
    }
    SECTION("one that is off each night returns its mail in time")
    {
        const int64_t begin = w.wall;
        const auto id = w.take("a@host.example", {"u@far.example"});
        while (w.waits(id) && w.wall - begin < 10 * day) {
            for (int hours = 0; hours < 8; ++hours) {
                w.pass(3600 * second);
                w.answer([](const ipc::Attempt& a, const ipc::Target& t) { return a.nexthop == "far.example" ? greylisted(a, t) : FakeWorld::delivered(a, t); });
            }
            w.wall += 16 * 3600 * second;
            w.restart();
        }
        CHECK(w.wall - begin < 7 * day);
        CHECK(w.notices.size() == 1);
    }
    SECTION("a lifetime of nought returns at the first failure, whenever that is")
    {
        w.limits.lifetime_us = 0;
        const auto id = w.put("a@far.example", {"u@far.example"});
        w.wall += 30 * day;
        w.restart();
        w.answer(greylisted);
        CHECK(w.notices.size() == 1);
        CHECK_FALSE(w.waits(id));
    }
}

TEST_CASE("A to B and C, C deferred: B gets one copy", "[qmgr]")
{
    for (const bool crash : {false, true}) {
        FakeWorld w;
        w.alias("a@host.example", {"b@host.example", "c@far.example"});
        const auto id = w.take("s@host.example", {"a@host.example"});
        CHECK(w.targets() == std::vector<std::string>{"b@host.example", "c@far.example"});
        for (const auto& s : w.sent) CHECK(s.attempt.targets[0].original == "a@host.example");
        w.answer([](const ipc::Attempt& a, const ipc::Target& t) { return a.nexthop == "far.example" ? greylisted(a, t) : FakeWorld::delivered(a, t); });
        CHECK(w.waits(id));
        w.alias("a@host.example", {"somebody@else.example"});    // the table changes: the parent is never expanded again
        if (crash) w.restart();
        w.pass(300 * second);
        CHECK(w.targets() == std::vector<std::string>{"c@far.example"});
        w.answer(FakeWorld::delivered);
        CHECK(w.files.empty());
    }
}

TEST_CASE("an expansion is in the journal before a child is tried", "[qmgr]")
{
    FakeWorld w;
    w.alias("a@host.example", {"b@host.example"});
    const auto id = w.put("s@host.example", {"a@host.example"});
    w.crash_after_commits = 1;
    w.scheduler->queued(id_number(id), 0);
    CHECK_THROWS_AS(w.run(), FakeWorld::Crash);
    CHECK(w.sent.empty());
    REQUIRE(w.journal.size() == 1);
    CHECK(w.journal[0].event == queue::Event::expansion);
    w.alias("a@host.example", {"else@host.example"});
    w.restart();
    CHECK(w.targets() == std::vector<std::string>{"b@host.example"});
}

TEST_CASE("doubles within one mail are dropped, loops end in final delivery, and nobody is forgotten", "[qmgr]")
{
    struct Case {
        const char* name;
        std::map<std::string, std::vector<std::string>> aliases;
        std::vector<std::string> recipients;
        std::vector<std::string> expected;
    };
    const Case cases[] = {
        {"a member that is the alias itself", {{"a@host.example", {"a@host.example", "b@host.example"}}}, {"a@host.example"}, {"\\a", "b@host.example"}},
        {"a recipient that an alias names too", {{"a@host.example", {"b@host.example"}}}, {"a@host.example", "b@host.example"}, {"b@host.example"}},
        {"case does not part them", {{"a@host.example", {"B@host.example", "b@HOST.example"}}}, {"a@host.example"}, {"B@host.example"}},
        {"two aliases with a common member", {{"a@host.example", {"c@host.example"}}, {"b@host.example", {"c@host.example"}}}, {"a@host.example", "b@host.example"}, {"c@host.example"}},
        {"a loop of two", {{"a@host.example", {"b@host.example"}}, {"b@host.example", {"a@host.example"}}}, {"a@host.example"}, {"\\a"}},
        {"a loop of two, both addressed", {{"a@host.example", {"b@host.example"}}, {"b@host.example", {"a@host.example"}}}, {"a@host.example", "b@host.example"}, {"\\a"}},
        {"a bare member is of our origin", {{"a@host.example", {"b"}}}, {"a@host.example", "b@host.example"}, {"b@host.example"}},
        {"a loop of three with a way out", {{"a@host.example", {"b@host.example"}}, {"b@host.example", {"c@host.example"}}, {"c@host.example", {"a@host.example", "d@host.example"}}},
         {"a@host.example"}, {"\\a", "d@host.example"}},
    };
    for (const Case& c : cases) {
        INFO(c.name);
        FakeWorld w;
        for (const auto& [from, to] : c.aliases) w.alias(from, to);
        w.take("s@host.example", c.recipients);
        CHECK(w.targets() == c.expected);
        w.answer(FakeWorld::delivered);
        CHECK(w.files.empty());
    }
}

TEST_CASE("a command that two names share is run for each of them, and once for one of them", "[qmgr]")
{
    FakeWorld w;
    w.take("s@far.example", {"sales@host.example", "Support@host.example", "carol+work@host.example", "all@host.example"});
    REQUIRE(w.targets().size() == 4);
    w.answer([](const ipc::Attempt&, const ipc::Target& t) {
        ipc::Verdict v;
        v.index = t.index;
        v.outcome = ipc::Outcome::expanded;
        v.dsn = "2.0.0";
        if (t.address == "all@host.example") v.children = {{queue::Child::Kind::address, "carol+home@host.example", "", "-"}, {queue::Child::Kind::address, "carol+work@host.example", "", "-"}};
        else v.children = {{queue::Child::Kind::command, "/opt/tick", "", "-"}, {queue::Child::Kind::command, "/opt/tick", "", "-"}};
        return v;
    }, 4);
    CHECK(w.targets() == std::vector<std::string>{"/opt/tick", "/opt/tick", "/opt/tick", "carol+home@host.example"});
    std::vector<std::string> names;
    for (const auto& sent : w.sent)
        for (const auto& t : sent.attempt.targets)
            if (t.kind == queue::Child::Kind::command) names.push_back(t.extension);
    std::sort(names.begin(), names.end());
    CHECK(names == std::vector<std::string>{"Support@host.example", "carol+work@host.example", "sales@host.example"});
}

TEST_CASE("recipients of a mail that an earlier version expanded keep their numbers", "[qmgr]")
{
    for (const bool earlier : {false, true}) {
        FakeWorld w;
        w.take("s@far.example", {"sales@host.example", "support@host.example"});
        w.answer([](const ipc::Attempt&, const ipc::Target&) {
            ipc::Verdict v = expanded({"/opt/tick"});
            v.children[0].kind = queue::Child::Kind::command;
            return v;
        }, 2);
        CHECK(w.targets().size() == 2);
        for (auto& r : w.journal) {
            if (r.event != queue::Event::expansion) continue;
            CHECK(r.outcome == numbering_now);
            if (earlier) r.outcome = numbering_first;
        }
        w.restart();
        CHECK(w.targets().size() == (earlier ? 1 : 2));
        int expansions = 0;
        for (const auto& r : w.scheduler->catalog().live(w.now())) expansions += r.event == queue::Event::expansion && r.outcome == (earlier ? numbering_first : numbering_now);
        CHECK(expansions == 2);
    }
}

TEST_CASE("who is nobody after a way through his own name is in a loop, and no unknown user", "[qmgr]")
{
    FakeWorld w;
    w.alias("a@host.example", {"b@host.example"});
    w.alias("b@host.example", {"a@host.example"});
    w.take("s@host.example", {"a@host.example"});
    REQUIRE(w.targets() == std::vector<std::string>{"\\a"});
    w.answer([](const ipc::Attempt& a, const ipc::Target& t) {
        if (t.address != "\\a") return FakeWorld::delivered(a, t);    // the notification
        ipc::Verdict v;
        v.outcome = ipc::Outcome::failed;
        v.dsn = "5.1.1";
        v.text = "unknown user: \"a\"";
        return v;
    });
    REQUIRE(w.notices.size() == 1);
    CHECK(w.notices[0].recipients.at(0).status == "5.4.6");
    CHECK(w.notices[0].recipients.at(0).diagnostic.find("mail forwarding loop for a@host.example") != std::string::npos);
}

TEST_CASE("an expansion with a child that cannot be kept waits as a whole: nobody is left out of it", "[qmgr]")
{
    FakeWorld w;
    const auto id = w.take("s@far.example", {"list@host.example"});
    REQUIRE(w.sent.size() == 1);
    ipc::Verdicts v;
    v.attempt = w.sent[0].attempt.attempt;
    v.verdicts.push_back(expanded({"x@one.example", std::string(4097, 'c')}));
    v.verdicts[0].children[1].kind = queue::Child::Kind::command;
    const auto agent = w.sent[0].agent;
    w.sent.clear();
    w.scheduler->verdicts(agent, v);
    w.run();
    CHECK(w.sent.empty());
    CHECK(w.waits(id));
    CHECK(w.notices.empty());
    CHECK(w.said_has("dsn=4.3.5, status=deferred (the alias expands to a command of 4097 bytes: at most 4096 are taken)"));
    w.pass(3600 * second);
    CHECK(w.sent.size() == 1);                   // it is tried again
}

TEST_CASE("an alias of the local agent expands too, in pages, with owner and command", "[qmgr]")
{
    FakeWorld w;
    w.take("s@far.example", {"list@host.example"});
    REQUIRE(w.sent.size() == 1);
    ipc::Verdicts v;
    v.attempt = w.sent[0].attempt.attempt;
    v.verdicts.push_back(expanded({"x@one.example"}));
    v.verdicts[0].more = true;
    v.verdicts[0].children[0].sender = "owner-list@host.example";
    const auto agent = w.sent[0].agent;
    w.sent.clear();
    w.scheduler->verdicts(agent, v);
    w.run();
    CHECK(w.sent.empty());                       // not before the last page
    v.verdicts[0] = expanded({"/usr/bin/filter -x"});
    v.verdicts[0].children[0].kind = queue::Child::Kind::command;
    v.verdicts[0].children[0].run_as = "nobody";
    w.scheduler->verdicts(agent, v);
    w.run();
    REQUIRE(w.sent.size() == 2);
    const auto& first = w.sent[0].attempt.transport == "smtp" ? w.sent[0] : w.sent[1];
    const auto& second_one = w.sent[0].attempt.transport == "smtp" ? w.sent[1] : w.sent[0];
    CHECK(first.attempt.sender == "owner-list@host.example");
    CHECK(second_one.attempt.sender == "s@far.example");
    CHECK(second_one.attempt.targets[0].kind == queue::Child::Kind::command);
    CHECK(second_one.attempt.targets[0].run_as == "nobody");
    // A failure of the owner's branch goes to the owner.
    w.answer([](const ipc::Attempt& a, const ipc::Target& t) { return a.transport == "smtp" ? unknown_user(a, t) : FakeWorld::delivered(a, t); });
    REQUIRE(w.notices.size() == 1);
    CHECK(w.notices[0].to == "owner-list@host.example");
}

TEST_CASE("what local sends on to other hosts bears the name of who was expanded, also after a crash", "[qmgr]")
{
    FakeWorld w;
    w.alias("all@host.example", {"alice@host.example", "bob@host.example", "z@one.example"});
    w.alias("virtual@host.example", {"y@one.example"});
    w.take("s@far.example", {"all@host.example"});
    w.answer([](const ipc::Attempt& a, const ipc::Target& t) {
        if (a.transport == "smtp") return FakeWorld::verdict(ipc::Outcome::deferred, "4.4.1", "away", true);
        if (t.address == "bob@host.example") return expanded({"x@one.example", "virtual@host.example"});
        return expanded({"w@one.example", "v@one.example"});
    });
    for (int round = 0; round < 2; ++round) {
        w.restart();                             // the marks come from the journal
        w.pass(3 * 3600 * second);
        std::map<std::string, std::string> marks;
        for (int turn = 0; turn < 10 && !w.sent.empty(); ++turn)
            w.answer([&](const ipc::Attempt& a, const ipc::Target& t) {
                marks[t.address] = a.delivered_to;
                return FakeWorld::verdict(ipc::Outcome::deferred, "4.2.0", "later");
            });
        CHECK(marks == std::map<std::string, std::string>{{"w@one.example", "alice@host.example"}, {"v@one.example", "alice@host.example"},
                  {"x@one.example", "bob@host.example"}, {"y@one.example", "bob@host.example"}, {"z@one.example", ""}});
    }
}

TEST_CASE("a user whose mailbox is elsewhere goes there under his own name, without the router and without a mark", "[qmgr]")
{
    FakeWorld w;
    w.alias("all@host.example", {"alice@host.example"});
    w.take("s@far.example", {"all@host.example"});
    w.answer([](const ipc::Attempt& a, const ipc::Target& t) {
        if (a.transport == "lmtp") return FakeWorld::verdict(ipc::Outcome::deferred, "4.2.0", "later");
        auto v = expanded({"alice@host.example"});
        v.children[0].run_as = "lmtp:unix:/run/boxes";
        CHECK(t.address == "alice@host.example");
        return v;
    });
    for (const std::string hop : {"unix:/run/boxes", "unix:/run/others"}) {
        w.restart();
        w.pass(3 * 3600 * second);
        bool asked = false, seen = false;         // each attempt asks anew: the settings may have changed
        w.answer([&](const ipc::Attempt& a, const ipc::Target& t) {
            if (a.transport == "local") {
                CHECK(t.run_as.empty());
                asked = t.address == "alice@host.example";
                auto v = expanded({"alice@host.example"});
                v.children[0].run_as = cat("lmtp:", hop);
                return v;
            }
            seen = a.transport == "lmtp" && a.nexthop == hop && t.address == "alice@host.example" && a.delivered_to.empty();
            return FakeWorld::verdict(ipc::Outcome::deferred, "4.2.0", "later");
        });
        CHECK(asked);
        CHECK(seen);
    }
}

TEST_CASE("who stands in his own .forward is asked for by place at each attempt, and his mailbox may be here again", "[qmgr]")
{
    FakeWorld w;
    const auto id = w.take("s@far.example", {"alice+x@host.example"});
    w.answer([](const ipc::Attempt& a, const ipc::Target& t) {
        if (a.transport == "lmtp") return FakeWorld::verdict(ipc::Outcome::deferred, "4.2.0", "later");
        auto v = expanded({"alice+x@host.example"});
        v.children[0].run_as = t.run_as.empty() ? std::string(queue::by_place) : "lmtp:unix:/run/boxes";
        return v;
    });
    w.restart();                                 // that he stands for himself comes from the journal
    w.pass(3 * 3600 * second);
    REQUIRE(w.sent.size() == 1);
    CHECK(w.sent[0].attempt.transport == "local");
    CHECK(w.sent[0].attempt.targets.at(0).address == "alice+x@host.example");
    CHECK(w.sent[0].attempt.targets.at(0).run_as == queue::by_place);
    w.answer(FakeWorld::delivered);
    CHECK_FALSE(w.waits(id));
}

TEST_CASE("a transport in place of a mailbox may refuse, put off or discard, and only local may name it", "[qmgr]")
{
    FakeWorld w;
    const auto place = [&](const std::string& transport) {
        const auto id = w.take("s@far.example", {"alice@host.example"});
        w.answer([&](const ipc::Attempt& a, const ipc::Target&) {
            CHECK(a.transport == "local");
            auto v = expanded({"alice@host.example"});
            v.children[0].run_as = transport;
            return v;
        }, 1);
        return id;
    };
    CHECK_FALSE(w.waits(place("discard:")));
    CHECK(w.notices.empty());
    CHECK(w.waits(place("retry:4.2.2 later")));
    CHECK(w.said_has("4.2.2"));
    CHECK_FALSE(w.waits(place("error:5.2.2 full")));
    REQUIRE(w.notices.size() == 1);
    CHECK(w.notices[0].recipients[0].status == "5.2.2");
}

TEST_CASE("mail that was passed on to a pipe waits while the pipe is not configured, and goes there again after", "[qmgr]")
{
    FakeWorld w;
    const auto configure = [&](bool with_pipe) {
        w.limits.pipes.clear();
        if (with_pipe) w.limits.pipes.insert("boxes");
        w.scheduler->set_limits(w.limits);
        w.run();
    };
    configure(true);
    bool ready = false;
    const auto say = [&](const ipc::Attempt& a, const ipc::Target& t) {
        CHECK(a.transport != "smtp");
        if (a.transport == "boxes") return ready ? FakeWorld::delivered(a, t) : FakeWorld::verdict(ipc::Outcome::deferred, "4.2.0", "later");
        auto v = expanded({"alice@host.example"});
        v.children[0].run_as = "boxes:here";
        return v;
    };
    const auto id = w.take("s@far.example", {"alice@host.example"});
    CHECK(w.answer(say) == 2);
    configure(false);
    w.pass(3 * 3600 * second);
    CHECK(w.answer(say) == 1);
    CHECK(w.notices.empty());
    REQUIRE(w.waits(id));
    CHECK(w.said_has("4.3.5"));
    CHECK(w.said_has("there is no transport \"boxes\""));
    configure(true);
    w.pass(3 * 3600 * second);
    CHECK(w.answer(say, 1) == 1);
    REQUIRE(w.sent.size() == 1);
    CHECK(w.sent[0].agent.kind == Agent::Kind::local);
    CHECK(w.sent[0].attempt.transport == "boxes");
    ready = true;
    w.answer(say);
    CHECK_FALSE(w.waits(id));
}

TEST_CASE("an expansion without end is returned, not followed", "[qmgr]")
{
    FakeWorld w;
    for (int i = 0; i < 100; ++i) w.alias(cat("a", i, "@host.example"), {cat("a", i + 1, "@host.example")});
    w.take("s@far.example", {"a0@host.example"});
    CHECK(w.targets().empty() == false);          // the notification to s@far.example
    REQUIRE(w.notices.size() == 1);
    CHECK(w.notices[0].recipients[0].status == "5.4.6");
}

TEST_CASE("agents are not trusted: only what was handed out counts, once, and only local may expand", "[qmgr]")
{
    FakeWorld w;
    const auto id = w.take("s@host.example", {"u@far.example", "v@far.example"});
    const auto other = w.take("s@host.example", {"alice@host.example"});
    REQUIRE(w.sent.size() == 2);
    const auto smtp = w.sent[0].agent.kind == Agent::Kind::smtp ? w.sent[0] : w.sent[1];
    const auto local = w.sent[0].agent.kind == Agent::Kind::smtp ? w.sent[1] : w.sent[0];
    w.sent.clear();
    ipc::Verdicts v;
    v.attempt = local.attempt.attempt;             // somebody else's attempt
    v.verdicts.push_back(FakeWorld::verdict(ipc::Outcome::delivered, "2.0.0", ""));
    w.scheduler->verdicts(smtp.agent, v);
    w.run();
    CHECK(w.waits(other));
    v.attempt = smtp.attempt.attempt;
    v.verdicts[0].index = 7;                       // no such recipient
    w.scheduler->verdicts(smtp.agent, v);
    v.attempt = 99'999;                            // no such attempt
    w.scheduler->verdicts(smtp.agent, v);
    w.run();
    CHECK(w.waits(id));
    v.attempt = smtp.attempt.attempt;
    v.verdicts[0] = expanded({"/bin/sh"});         // a command out of the SMTP client
    v.verdicts[0].children[0].kind = queue::Child::Kind::command;
    v.verdicts[0].index = 0;
    w.scheduler->verdicts(smtp.agent, v);
    v.verdicts[0] = FakeWorld::verdict(ipc::Outcome::delivered, "nonsense\r\n", "text\r\nwith: lines");
    v.verdicts[0].index = 1;
    w.scheduler->verdicts(smtp.agent, v);
    w.scheduler->verdicts(smtp.agent, v);          // twice
    w.run();
    CHECK(w.sent.empty());
    REQUIRE(w.entry(id));
    CHECK(w.entry(id)->stage == Stage::timed);
    CHECK(w.entry(id)->attempts == 1);
    w.pass(300 * second);
    CHECK(w.targets() == std::vector<std::string>{"u@far.example"});
}

TEST_CASE("an attempt that one side could not read is over, and its recipients wait", "[qmgr]")
{
    FakeWorld w;
    const auto id = w.take("s@host.example", {"u@far.example", "v@far.example"});
    REQUIRE(w.sent.size() == 1);
    const auto sent = w.sent[0];
    w.sent.clear();
    w.scheduler->verdicts(sent.agent, {sent.attempt.attempt, {}});
    w.run();
    REQUIRE(w.entry(id));
    CHECK(w.entry(id)->stage == Stage::timed);
    CHECK(w.scheduler->attempts_in_flight() == 0);
    CHECK(w.said_has("to=<v@far.example>"));
    CHECK(w.said_has("status=deferred (mail system error)"));
    w.pass(300 * second);
    CHECK(w.targets() == std::vector<std::string>{"u@far.example", "v@far.example"});
}

TEST_CASE("when an agent dies its attempts are made again, and a mail that kills agents waits", "[qmgr]")
{
    FakeWorld w;
    const auto id = w.take("s@host.example", {"u@far.example"});
    const Agent agent = w.sent[0].agent;
    for (int death = 0; death < 2; ++death) {
        w.sent.clear();
        w.scheduler->agent_down(agent);
        w.run();
        CHECK(w.sent.empty());
        w.scheduler->agent_up(agent);
        w.run();
        REQUIRE(w.sent.size() == 1);
        CHECK(w.entry(id)->attempts == 0);
    }
    w.sent.clear();
    w.scheduler->agent_down(agent);
    w.scheduler->agent_up(agent);
    w.run();
    CHECK(w.sent.empty());
    CHECK(w.entry(id)->stage == Stage::timed);
    CHECK(w.entry(id)->attempts == 1);
    w.pass(300 * second);
    CHECK(w.sent.size() == 1);
}

TEST_CASE("while the router is away mail waits a moment and is not deferred", "[qmgr]")
{
    FakeWorld w;
    w.router_away = true;
    const auto id = w.take("s@host.example", {"u@far.example"});
    CHECK(w.entry(id)->attempts == 0);
    CHECK(w.journal.empty());
    w.router_away = false;
    w.pass(3 * second);
    CHECK(w.sent.size() == 1);
}

TEST_CASE("when the router is back, mail that waited for it goes on at once", "[qmgr]")
{
    FakeWorld w;
    w.router_away = true;
    for (int i = 0; i < 20; ++i) w.take("s@host.example", {cat("u", i, "@far.example")});
    w.router_away = false;
    w.run();
    CHECK(w.sent.empty());
    w.scheduler->router_up();
    w.run();
    w.answer(FakeWorld::delivered);
    while (!w.sent.empty()) w.answer(FakeWorld::delivered);
    CHECK(w.files.empty());
}

TEST_CASE("what the router refuses is returned; the null sender is told through the postmaster, and that is the end", "[qmgr][rfc5321-4.5.5]")
{
    FakeWorld w;
    ipc::Route reject;
    reject.kind = ipc::Route::Kind::reject;
    reject.dsn = "5.1.1";
    reject.text = "User unknown in local recipient table";
    w.table["nobody@host.example"] = reject;
    w.table["s@host.example"] = reject;
    w.table["postmaster@host.example"] = reject;
    const auto id = w.take("s@host.example", {"nobody@host.example"});
    CHECK(w.files.empty());
    REQUIRE(w.notices.size() == 2);                // to the sender; then, as that failed, to the postmaster; then nothing
    CHECK(w.notices[0].to == "s@host.example");
    CHECK_FALSE(w.notices[0].to_postmaster);
    CHECK(w.notices[1].to == "postmaster@host.example");
    CHECK(w.notices[1].to_postmaster);
    CHECK(w.said_has(cat(id, ": to=<nobody@host.example>, relay=none, delay=0, delays=0/0/0/0, dsn=5.1.1, status=bounced (User unknown in local recipient table)")));
    CHECK(w.said_has("undeliverable postmaster notification discarded"));
}

TEST_CASE("NOTIFY=NEVER, and a NOTIFY without FAILURE, are honoured", "[qmgr][rfc3461-4.1]")
{
    struct Case { uint8_t notify; std::size_t notices; };
    for (const Case& c : {Case{mail::notify_unset, 1}, Case{mail::notify_failure, 1}, Case{mail::notify_never, 0}, Case{mail::notify_success | mail::notify_delay, 0}}) {
        FakeWorld w;
        w.take("s@far.example", {"u@host.example"}, [&](mail::Envelope& e) { e.recipients[0].notify = c.notify; });
        w.answer(unknown_user, 1);
        CHECK(w.notices.size() == c.notices);
    }
}

TEST_CASE("a partial failure is told at once, in one notification, and the rest goes on", "[qmgr]")
{
    FakeWorld w;
    const auto id = w.take("s@far.example", {"a@x.example", "b@x.example", "c@x.example", "d@x.example"});
    w.answer([](const ipc::Attempt& a, const ipc::Target& t) {
        if (t.address == "a@x.example") return FakeWorld::delivered(a, t);
        return t.address == "d@x.example" ? greylisted(a, t) : unknown_user(a, t);
    }, 1);
    REQUIRE(w.notices.size() == 1);
    CHECK(w.notices[0].recipients.size() == 2);
    while (w.answer(FakeWorld::delivered)) {}
    CHECK(w.waits(id));
    w.restart();
    w.pass(300 * second);
    CHECK(w.targets() == std::vector<std::string>{"d@x.example"});
    w.answer(unknown_user, 1);
    CHECK(w.notices.size() == 2);                  // of d alone
    CHECK(w.notices[1].recipients.size() == 1);
}

TEST_CASE("a crash between a failure and its notification makes one notification, never two or none", "[qmgr]")
{
    FakeWorld w;
    const auto id = w.take("s@far.example", {"u@x.example"});
    SECTION("before the commit that names it")
    {
        w.crash_after_commits = 1;
        // The records of that commit are lost with it.
        CHECK_THROWS_AS(w.answer(unknown_user), FakeWorld::Crash);
        w.journal.clear();
        w.crash_after_commits = 0;
        w.restart();
        w.answer(unknown_user, 1);
        REQUIRE(w.notices.size() == 1);
    }
    SECTION("after the commit, before the file")
    {
        w.notices_crash = true;
        CHECK_THROWS_AS(w.answer(unknown_user), FakeWorld::Crash);
        w.notices_crash = false;
        const auto named = std::find_if(w.journal.begin(), w.journal.end(), [](const auto& r) { return r.event == queue::Event::bounced; });
        REQUIRE(named != w.journal.end());
        const std::string notice = named->text;
        w.restart();
        REQUIRE(w.notices.size() == 1);
        CHECK(w.notices[0].id == notice);          // the same ID
        CHECK(w.attempts == 2);                    // u once, the notification once: u is not tried again
    }
    SECTION("after the file, before the record that the mail is done")
    {
        w.crash_after_commits = 2;
        CHECK_THROWS_AS(w.answer(unknown_user), FakeWorld::Crash);
        w.journal.pop_back();                      // its last commit is lost
        w.crash_after_commits = 0;
        CHECK(w.waits(id));
        CHECK(w.notices.size() == 1);
        w.restart();
        CHECK(w.notices.size() == 1);
    }
    SECTION("after the notification itself is delivered and gone")
    {
        w.answer(unknown_user, 1);
        w.answer(FakeWorld::delivered);
        CHECK(w.files.empty());
        w.restart();
        CHECK(w.notices.size() == 1);
    }
    SECTION("the disk is full")
    {
        w.notices_fail = true;
        w.answer(unknown_user, 1);
        CHECK(w.notices.empty());
        CHECK(w.waits(id));
        w.pass(300 * second);
        CHECK(w.notices.empty());
        w.notices_fail = false;
        w.pass(61 * second);
        CHECK(w.notices.size() == 1);
    }
    while (w.answer(FakeWorld::delivered)) {}
    CHECK_FALSE(w.waits(id));
    CHECK(w.files.empty());
    CHECK(w.notices.size() == 1);
}

TEST_CASE("a start finds mail of all states, unlinks what is done, and keeps the times of the journal", "[qmgr]")
{
    FakeWorld w;
    const auto done = w.put("s@host.example", {"u@far.example"});
    const auto fresh = w.put("s@host.example", {"alice@host.example"});
    const auto deferred = w.put("s@host.example", {"v@far.example"});
    const auto held = w.put("s@host.example", {"w@far.example"});
    const auto unfinished_move = w.put("s@host.example", {"x@far.example"});
    w.files[deferred].place = {queue::State::deferred, 0};
    w.files[held].place = {queue::State::hold, 0};
    queue::Record r;
    r.id = done;
    r.event = queue::Event::done;
    w.journal.push_back(r);
    for (const auto& id : {deferred, unfinished_move}) {
        r = {};
        r.id = id;
        r.event = queue::Event::deferred;
        r.time_us = w.wall + 100 * second;
        r.attempts = 3;
        w.journal.push_back(r);
    }
    w.restart();
    CHECK_FALSE(w.waits(done));
    CHECK(w.targets() == std::vector<std::string>{"alice@host.example"});
    CHECK(w.files.at(unfinished_move).place.state == queue::State::deferred);
    w.pass(99 * second);
    CHECK(w.sent.size() == 1);
    w.pass(second);
    CHECK(w.targets() == std::vector<std::string>{"alice@host.example", "v@far.example", "x@far.example"});
    const Counts c = w.scheduler->counts();
    CHECK(c.hold == 1);
    CHECK(c.active == 3);
    (void)fresh;
}

TEST_CASE("without the log the mail files alone restart the queue", "[qmgr]")
{
    FakeWorld w;
    const auto id = w.take("s@host.example", {"a@far.example", "b@far.example"});
    w.answer(greylisted);
    w.journal.clear();
    w.restart();
    CHECK(w.targets() == std::vector<std::string>{"a@far.example", "b@far.example"});
    w.answer(FakeWorld::delivered);
    CHECK_FALSE(w.waits(id));
}

TEST_CASE("a damaged mail is put aside, and a missing one forgotten", "[qmgr]")
{
    FakeWorld w;
    const auto bad = w.put("s@host.example", {"a@far.example"});
    w.corrupt.insert(bad);
    w.scheduler->queued(id_number(bad), 0);
    w.scheduler->queued(id_number("6B0641F080FFFFFF"), 0);
    w.run();
    CHECK(w.sent.empty());
    CHECK(w.files.at(bad).place.state == queue::State::corrupt);
    CHECK(w.said_has(cat(bad, ": damaged mail file, put aside in corrupt/: damaged")));
    CHECK(w.scheduler->catalog().size() == 0);
}

TEST_CASE("a large mail is neither routed nor tried before its body was found whole", "[qmgr]")
{
    FakeWorld w;
    w.hold_checks = true;
    const auto put = [&](const std::string& to) {
        const auto id = w.put("s@host.example", {to});
        w.large.insert(id);
        w.scheduler->queued(id_number(id), 0);
        w.run();
        return id;
    };
    const auto whole = put("a@host.example"), flipped = put("b@host.example"), unreadable = put("c@host.example"), removed = put("d@host.example"),
               held = put("e@host.example");
    const auto small = w.take("s@host.example", {"small@host.example"});
    w.flipped.insert(flipped);
    w.unreadable.insert(unreadable);
    CHECK(w.checks == 5);
    CHECK(w.routings == 1);
    CHECK(w.targets() == std::vector<std::string>{"small@host.example"});
    CHECK(w.scheduler->remove({id_number(removed)}) == 1);
    CHECK(w.scheduler->hold({id_number(held)}) == 1);
    w.run();
    for (auto& work : std::exchange(w.held, {})) w.post(std::move(work));
    w.run();
    CHECK(w.targets() == std::vector<std::string>{"a@host.example", "small@host.example"});
    CHECK(w.files.at(flipped).place.state == queue::State::corrupt);
    CHECK(w.said_has(cat(flipped, ": damaged mail file, put aside in corrupt/: the body's checksum is wrong")));
    CHECK(w.said_has(cat(unreadable, ": cannot be read, will try again: input/output error")));
    CHECK_FALSE(w.waits(removed));
    CHECK(w.files.at(held).place.state == queue::State::hold);
    // EIO was not its end: the next look finds it whole.
    w.unreadable.clear();
    w.hold_checks = false;
    w.answer(FakeWorld::delivered);
    w.pass(120 * second);
    CHECK(w.targets() == std::vector<std::string>{"c@host.example"});
    w.answer(FakeWorld::delivered);
    CHECK_FALSE(w.waits(whole));
    CHECK_FALSE(w.waits(small));
    CHECK_FALSE(w.waits(unreadable));
}

TEST_CASE("a large mail that its writer told of a moment ago is not read again before it goes out", "[qmgr][speed]")
{
    FakeWorld w;
    const auto fresh = w.put("s@host.example", {"a@host.example"}), old = w.put("s@host.example", {"b@host.example"});
    w.large.insert({fresh, old});
    w.scheduler->queued(id_number(fresh), 0, true);
    w.run();
    CHECK(w.checks == 0);
    CHECK(w.targets() == std::vector<std::string>{"a@host.example"});
    w.answer([](const auto&, const auto&) { return FakeWorld::verdict(ipc::Outcome::deferred, "4.0.0", "later"); });
    w.pass(3600 * second);                        // at its next attempt it comes from the disk
    CHECK(w.checks == 1);
    w.answer(FakeWorld::delivered);
    const Limits limits = w.limits;               // told, but opened much later
    w.limits.active = 0;
    w.scheduler->set_limits(w.limits);
    w.scheduler->queued(id_number(old), 0, true);
    w.pass(120 * second);
    CHECK(w.checks == 1);
    w.scheduler->set_limits(limits);
    w.run();
    CHECK(w.checks == 2);
}

TEST_CASE("nothing is unlinked and no delivery begins while the journal cannot be written", "[qmgr]")
{
    FakeWorld w;
    const auto id = w.take("s@host.example", {"alice@host.example"});
    w.journal_fails = true;
    w.answer(FakeWorld::delivered);
    CHECK(w.waits(id));
    CHECK(w.rebuilds == 1);
    const auto next = w.take("s@host.example", {"bob@host.example"});
    CHECK(w.sent.empty());
    w.pass(60 * second);
    CHECK(w.waits(id));
    w.journal_fails = false;
    w.pass(11 * second);
    CHECK_FALSE(w.waits(id));
    CHECK(w.targets() == std::vector<std::string>{"bob@host.example"});
    w.answer(FakeWorld::delivered);
    CHECK_FALSE(w.waits(next));
    CHECK(w.said_has("qmgr's log is written again"));
}

TEST_CASE("hold, release, remove, requeue and flush do what they say, to waiting and to active mail", "[qmgr]")
{
    FakeWorld w;
    const auto waiting = w.take("s@host.example", {"a@far.example"});
    w.answer(greylisted);
    const auto active = w.take("s@host.example", {"b@far.example"});
    REQUIRE(w.sent.size() == 1);
    const std::vector<uint64_t> both{id_number(waiting), id_number(active)};
    CHECK(w.scheduler->hold(both) == 2);
    w.run();
    CHECK(w.files.at(waiting).place.state == queue::State::hold);
    CHECK(w.files.at(active).place.state == queue::State::incoming);    // its attempt ends first
    w.answer(greylisted);
    CHECK(w.files.at(active).place.state == queue::State::hold);
    w.pass(86'400 * second);
    CHECK(w.sent.empty());
    w.restart();
    w.pass(86'400 * second);
    CHECK(w.sent.empty());
    CHECK(w.scheduler->flush_all() == 0);
    CHECK(w.scheduler->release({id_number(waiting)}) == 1);
    w.run();
    CHECK(w.targets() == std::vector<std::string>{"a@far.example"});
    CHECK(w.files.at(waiting).place.state == queue::State::deferred);
    w.answer(greylisted);
    CHECK(w.scheduler->flush_all() == 1);
    w.run();
    CHECK(w.targets() == std::vector<std::string>{"a@far.example"});
    CHECK(w.scheduler->remove(both) == 2);
    w.run();
    CHECK_FALSE(w.waits(active));
    CHECK(w.waits(waiting));
    w.answer(FakeWorld::delivered);
    CHECK(w.files.empty());
    CHECK(w.scheduler->remove(both) == 0);
}

TEST_CASE("who asks for a hold or a removal is answered when it is durable, and told what failed", "[qmgr]")
{
    FakeWorld w;
    const auto one = w.take("s@host.example", {"a@far.example"}), two = w.take("s@host.example", {"b@far.example"});
    w.answer(greylisted);
    const std::vector<uint64_t> waiting{id_number(one), id_number(two)};
    std::string told;
    const auto deed = [&] {
        told = "nothing";
        return std::make_shared<Deed>([&](const Deed& d) { told = cat(d.failed, " failed, ", d.later, " later"); });
    };
    const auto let_go = [&] {
        w.hold_moves = w.hold_commits = false;
        for (auto& work : std::exchange(w.held, {})) w.post(std::move(work));
        w.run();
    };
    w.hold_moves = true;
    CHECK(w.scheduler->hold(waiting, deed()) == 2);
    w.run();
    CHECK(told == "nothing");
    let_go();
    CHECK(told == "0 failed, 0 later");
    w.moves_fail = true;
    CHECK(w.scheduler->release({id_number(two)}, deed()) == 1);
    w.run();
    CHECK(told == "1 failed, 0 later");
    w.answer(greylisted);
    CHECK(w.files.at(two).place.state == queue::State::hold);
    w.moves_fail = false;
    w.pass(61 * second);
    CHECK(w.files.at(two).place.state == queue::State::deferred);
    w.moves_fail = true;                                  // a hold that the disk does not know is a hold, and is told to the disk again
    CHECK(w.scheduler->hold({id_number(two)}, deed()) == 1);
    w.run();
    CHECK(told == "1 failed, 0 later");
    w.moves_fail = false;
    w.pass(61 * second);
    CHECK(w.files.at(two).place.state == queue::State::hold);
    const auto active = w.take("s@host.example", {"c@far.example"});
    CHECK(w.targets() == std::vector<std::string>{"c@far.example"});
    w.hold_commits = true;
    CHECK(w.scheduler->remove(waiting, deed()) == 2);
    w.run();
    CHECK(told == "nothing");
    let_go();
    CHECK(told == "0 failed, 0 later");
    CHECK(w.scheduler->remove({id_number(active)}, deed()) == 1);
    w.run();
    CHECK(told == "0 failed, 1 later");
    w.answer(greylisted);
    CHECK(w.files.empty());
    // Open, but nothing of it is under way: as good as waiting.
    w.hold_checks = true;
    const auto large = w.put("s@host.example", {"d@far.example"});
    w.large.insert(large);
    w.scheduler->queued(id_number(large), 0);
    w.run();
    CHECK(w.scheduler->remove({id_number(large)}, deed()) == 1);
    w.run();
    CHECK(told == "nothing");
    let_go();
    CHECK(told == "0 failed, 0 later");
    CHECK(w.files.empty());
}

TEST_CASE("holding, releasing and deleting many mails is a few moves and commits", "[qmgr]")
{
    FakeWorld w;
    std::vector<uint64_t> ids;
    for (int i = 0; i < 10'000; ++i) {
        const auto id = w.put("s@host.example", {cat("u", i, "@far.example")});
        w.journal.push_back([&] {
            queue::Record r;
            r.event = queue::Event::deferred;
            r.id = id;
            r.attempts = 1;
            r.time_us = w.wall + 3600 * second;
            return r;
        }());
        if (i % 2) w.files[id].place = {queue::State::deferred, 0};
        ids.push_back(id_number(id));
    }
    w.hold_moves = true;                              // the start's own
    w.restart();
    for (auto& work : std::exchange(w.held, {})) w.post(std::move(work));
    w.hold_moves = false;
    w.run();
    w.moves = w.commits = w.opens = 0;
    CHECK(w.scheduler->hold(ids) == 10'000);
    w.run();
    CHECK(w.moves <= 2);
    CHECK(w.scheduler->counts().hold == 10'000);
    CHECK(w.scheduler->release(ids) == 10'000);
    CHECK(w.moves <= 3);
    CHECK(w.scheduler->hold(ids) == 10'000);          // amid that move
    w.run();
    for (const auto& [id, file] : w.files) REQUIRE(file.place.state == queue::State::hold);
    w.commits = 0;
    CHECK(w.scheduler->remove(ids) == 10'000);
    w.run();
    CHECK(w.files.empty());
    CHECK(w.commits <= 2);
    CHECK(w.opens == 0);
}

TEST_CASE("a mail that is requeued has its whole lifetime before it again, also after a restart", "[qmgr]")
{
    constexpr int64_t day = 86'400 * second;
    FakeWorld w;
    std::vector<std::string> ids;
    for (const char* to : {"a@one.example", "b@two.example", "c@three.example"}) ids.push_back(w.take("s@host.example", {to}));
    w.answer(greylisted);
    std::vector<uint64_t> numbers;
    for (const auto& id : ids) numbers.push_back(id_number(id));
    CHECK(w.scheduler->hold(numbers) == 3);
    w.run();
    w.pass(10 * day);
    CHECK(w.scheduler->requeue({numbers[0]}) == 1);
    CHECK(w.scheduler->requeue({numbers[1]}) == 1);
    CHECK(w.scheduler->release({numbers[2]}) == 1);      // that one is too old
    w.run();
    const bool restart = GENERATE(false, true);
    if (restart) w.restart();
    const auto days = [&](int64_t n) {
        for (const int64_t end = w.mono + n * day; w.mono < end; w.pass(4000 * second))
            w.answer([](const ipc::Attempt& a, const ipc::Target& t) { return a.nexthop.empty() ? FakeWorld::delivered(a, t) : greylisted(a, t); });
    };
    days(4);
    CHECK(w.waits(ids[0]));
    CHECK(w.waits(ids[1]));
    if (!restart) CHECK_FALSE(w.waits(ids[2]));
    days(2);
    CHECK_FALSE(w.waits(ids[0]));
    CHECK(w.files.empty());
}

TEST_CASE("released mail is tried when its move has ended, well or badly, and many when those of all have", "[qmgr]")
{
    FakeWorld w;
    std::vector<uint64_t> ids;
    for (int i = 0; i < 1000; ++i) {
        const auto id = w.put("s@host.example", {cat("u", i, "@far.example")});
        w.files[id].place = {queue::State::hold, 0};
        ids.push_back(id_number(id));
    }
    w.restart();
    w.hold_moves = true;
    const std::vector<uint64_t> first(ids.begin(), ids.begin() + 10), rest(ids.begin() + 10, ids.end());
    CHECK(w.scheduler->release(first) == 10);
    CHECK(w.scheduler->release(rest) == 990);
    w.run();
    w.pass(second);
    CHECK(w.opens == 0);
    const auto end_move = [&] {
        REQUIRE_FALSE(w.held.empty());
        w.post(std::move(w.held.front()));
        w.held.erase(w.held.begin());
        w.run();
    };
    end_move();
    w.pass(10'000);
    CHECK(w.opens == 0);                                 // the others are on their way still
    SECTION("well")
    {
        end_move();
        CHECK(w.opens > 0);
        CHECK_FALSE(w.sent.empty());
        w.pass(second);
        CHECK(w.scheduler->counts().hold == 0);
    }
    SECTION("badly")
    {
        w.moves_fail = true;
        end_move();
        w.pass(second);
        CHECK(w.opens > 0);
        CHECK(w.files.at(id_text(rest[0])).place.state == queue::State::hold);
        CHECK(w.scheduler->release(rest) == 0);
    }
    SECTION("not at all")
    {
        w.pass(second);
        CHECK(w.opens == 10);
        w.pass(30 * second);
        CHECK(w.opens > 10);
    }
    SECTION("put on hold again meanwhile")
    {
        CHECK(w.scheduler->hold(rest) == 990);
        while (!w.held.empty()) end_move();
        w.pass(60 * second);
        CHECK(w.scheduler->counts().hold == 990);
        CHECK(w.opens == 10);
    }
}

TEST_CASE("a transport of pipe_transports goes to local, with its next hop, one recipient at a time", "[qmgr]")
{
    FakeWorld w;
    w.limits.pipes = {"lists"};
    w.limits.transports["lists"] = {.recipients = 1};
    w.restart();
    for (const char* to : {"a@lists.example", "b@lists.example"}) {
        ipc::Route route = w.route_of(to, false);
        route.transport = "lists";
        w.table[to] = route;
    }
    w.take("s@far.example", {"a@lists.example", "b@lists.example"});
    REQUIRE(w.sent.size() == 2);
    for (const auto& sent : w.sent) {
        CHECK(sent.agent.kind == Agent::Kind::local);
        CHECK(sent.attempt.transport == "lists");
        CHECK(sent.attempt.nexthop == "lists.example");
        CHECK(sent.attempt.targets.size() == 1);
    }
}

TEST_CASE("a mail that was to be held at intake is held", "[qmgr]")
{
    FakeWorld w;
    const auto id = w.take("s@host.example", {"a@host.example"}, [](mail::Envelope& e) { e.hold = true; });
    CHECK(w.sent.empty());
    CHECK(w.files.at(id).place.state == queue::State::hold);
    w.scheduler->release({id_number(id)});
    w.run();
    CHECK(w.sent.size() == 1);
}

TEST_CASE("a compacted journal means the same", "[qmgr]")
{
    FakeWorld w;
    w.alias("list@host.example", {"a@one.example", "b@two.example", "c@three.example"});
    const auto id = w.take("s@far.example", {"list@host.example", "x@four.example"});
    w.answer([](const ipc::Attempt& a, const ipc::Target& t) {
        if (a.nexthop == "one.example") return FakeWorld::delivered(a, t);
        if (a.nexthop == "two.example") return unknown_user(a, t);
        return a.nexthop == "far.example" ? FakeWorld::delivered(a, t) : greylisted(a, t);
    });
    CHECK(w.notices.size() == 1);
    const auto reason = w.scheduler->catalog().reasons().text(w.entry(id)->reason);
    const auto next = w.entry(id)->next_us;
    w.journal = w.scheduler->catalog().live(w.now());
    w.restart();
    w.journal = w.scheduler->catalog().live(w.now());       // and again
    w.restart();
    CHECK(w.notices.size() == 1);
    CHECK(w.entry(id)->next_us == next);
    CHECK(w.scheduler->catalog().reasons().text(w.entry(id)->reason) == reason);
    w.pass(300 * second);
    CHECK(w.targets() == std::vector<std::string>{"c@three.example", "x@four.example"});
    w.answer(FakeWorld::delivered);
    CHECK(w.files.empty());
}

TEST_CASE("transports error, retry and discard end in qmgr", "[qmgr]")
{
    FakeWorld w;
    const auto route = [](const char* transport, const char* nexthop) {
        ipc::Route r;
        r.kind = ipc::Route::Kind::deliver;
        r.transport = transport;
        r.nexthop = nexthop;
        return r;
    };
    w.table["a@x.example"] = route("error", "5.1.2 no such place");
    w.table["b@x.example"] = route("retry", "4.7.0 not today");
    w.table["c@x.example"] = route("discard", "");
    const auto id = w.take("", {"a@x.example", "b@x.example", "c@x.example"});
    CHECK(w.said_has("to=<a@x.example>, relay=none, delay=0, delays=0/0/0/0, dsn=5.1.2, status=bounced (no such place)"));
    CHECK(w.said_has("to=<b@x.example>, relay=none, delay=0, delays=0/0/0/0, dsn=4.7.0, status=deferred (not today)"));
    CHECK(w.said_has("to=<c@x.example>, relay=none, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (discarded)"));
    CHECK(w.entry(id)->attempts == 1);
}

TEST_CASE("100,000 waiting mails take less than 200 bytes each and start at once", "[qmgr]")
{
    CHECK(sizeof(Entry) + sizeof(uint64_t) + 4 * sizeof(void*) <= 200);
    FakeWorld w;
    queue::Record r;
    r.event = queue::Event::deferred;
    r.attempts = 3;
    r.recipient = destination_hash("smtp:dead.example");
    r.dsn = "4.4.1";
    r.text = "connect to dead.example[192.0.2.1]:25: Connection timed out";
    for (uint32_t i = 0; i < 100'000; ++i) {
        r.id = cat("6B05B000", hex_upper(0x80000000u + i, 8));
        r.time_us = w.wall + (1 + i % 4000) * second;
        w.scheduler->replay(r);
        w.scheduler->found(id_number(r.id), {queue::State::deferred, 0});
    }
    w.scheduler->begin();
    w.run();
    CHECK(w.opens == 0);
    CHECK(w.scheduler->catalog().size() == 100'000);
    CHECK(w.scheduler->catalog().reasons().distinct() == 1);
    CHECK(w.scheduler->counts().deferred == 100'000);
}

TEST_CASE("a mail is found where a move that failed at its end has left it", "[qmgr][durability-2]")
{
    FakeWorld w;
    w.moves_fail_at_their_end = true;
    w.take("s@host.example", {"u@far.example"});
    w.answer(greylisted);
    w.run();
    CHECK(w.said_has("I/O error"));
    w.pass(3600 * second);
    REQUIRE_FALSE(w.sent.empty());
    w.answer(FakeWorld::delivered);
    w.run();
    CHECK(w.files.empty());
    CHECK_FALSE(w.said_has("the mail file is gone"));
}

TEST_CASE("a mail that a failed move has left elsewhere is held where it lies", "[qmgr][durability-2]")
{
    FakeWorld w;
    w.moves_fail_at_their_end = true;
    const auto id = w.take("s@host.example", {"u@far.example"});
    w.answer(greylisted);
    w.run();
    REQUIRE(w.files.at(id).place.state == queue::State::deferred);
    w.moves_fail_at_their_end = false;
    REQUIRE(w.entry(id)->state == queue::State::incoming);
    CHECK(w.scheduler->hold({id_number(id)}) == 1);
    w.run();
    CHECK(w.files.at(id).place.state == queue::State::hold);
    w.restart();
    w.pass(86'400 * second);
    CHECK(w.sent.empty());
    CHECK(w.scheduler->release({id_number(id)}) == 1);
    w.run();
    CHECK(w.files.at(id).place.state == queue::State::deferred);
    CHECK(w.targets() == std::vector<std::string>{"u@far.example"});
}

TEST_CASE("a mail that is done while it is moved leaves no second name behind", "[qmgr]")
{
    for (const bool move_ends_first : {true, false}) {
        FakeWorld w;
        const auto id = w.take("s@host.example", {"a@far.example"});
        w.answer(greylisted);
        w.files[id].place = {queue::State::incoming, 0};     // as if the move had not happened before a crash
        w.hold_moves = true;
        w.restart();
        w.scheduler->flush_all();
        w.run();
        REQUIRE(w.sent.size() == 1);
        w.hold_commits = true;
        w.answer(FakeWorld::delivered);
        REQUIRE(w.held.size() == 2);                         // the move, then the end of the mail
        if (!move_ends_first) std::swap(w.held[0], w.held[1]);
        for (auto& work : std::exchange(w.held, {})) {
            work();
            w.run();
        }
        CHECK_FALSE(w.waits(id));
    }
}

TEST_CASE("flushing the mail of a dead host after a start opens little of it, and tries it once", "[qmgr]")
{
    FakeWorld w;
    queue::Record r;
    r.event = queue::Event::deferred;
    r.attempts = 3;
    r.recipient = destination_hash("smtp:dead.example");
    r.dsn = "4.4.1";
    r.text = "connect to dead.example[192.0.2.1]:25: Connection timed out";
    for (int i = 0; i < 5000; ++i) {
        r.id = w.put("s@host.example", {cat("u", i, "@dead.example")});
        r.time_us = w.wall + 3600 * second;
        w.files[r.id].place = {queue::State::deferred, 0};
        w.journal.push_back(r);
    }
    w.restart();
    CHECK(w.opens == 0);
    CHECK(w.scheduler->flush_all() == 5000);
    w.run();
    CHECK(w.attempts == 5);
    CHECK(w.opens < 500);
    while (w.answer(connect_failed)) {}
    CHECK(w.attempts == 5);
    const auto local = w.take("s@host.example", {"alice@host.example"});
    CHECK(w.targets() == std::vector<std::string>{"alice@host.example"});
    w.answer(FakeWorld::delivered);
    CHECK_FALSE(w.waits(local));
    CHECK(w.scheduler->flush_all() == 5000);       // once more: it is not forgotten that it may be back
    w.run();
    for (int rounds = 0; !w.files.empty() && rounds < 10'000; ++rounds) w.answer(FakeWorld::delivered);
    CHECK(w.files.empty());
}

TEST_CASE("a list full of hosts that time out leaves way for a host that answers", "[qmgr]")
{
    FakeWorld w;
    w.limits.attempts = 8;
    w.restart();
    w.take("a@host.example", {"u@good.example"});
    w.answer(FakeWorld::delivered);
    const Agent agent{Agent::Kind::smtp, destination_hash("smtp:good.example") % 2};
    int hosts = 0;
    for (int i = 0; hosts < 20; ++i) {
        if (destination_hash(cat("smtp:dead", i, ".example")) % 2 != agent.instance) continue;
        ++hosts;
        w.take("a@host.example", {cat("u@dead", i, ".example")});
    }
    CHECK(w.sent.size() == 6);
    w.take("a@host.example", {"v@good.example"});
    CHECK(w.in_flight_to("good.example") == 1);
    while (w.answer(FakeWorld::delivered)) {}
    CHECK(w.files.empty());
}

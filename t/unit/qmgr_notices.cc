// What qmgr tells senders: successes, delays, expansions, and what soft_bounce keeps (RFC 3461).
#include "t/unit/catch.h"
#include "qmgr/report.h"
#include "t/unit/qmgr_world.h"

using namespace veredus;
using namespace veredus::test;
using mail::ReportAction;
using Kind = Notice::Kind;

namespace {

constexpr uint8_t success = mail::notify_success, failure = mail::notify_failure, delay = mail::notify_delay,
                  never = mail::notify_never;

ipc::Verdict unknown_user(const ipc::Attempt&, const ipc::Target&)
{
    return FakeWorld::verdict(ipc::Outcome::failed, "5.1.1", "host mx said: 550 unknown");
}
ipc::Verdict greylisted(const ipc::Attempt&, const ipc::Target&)
{
    return FakeWorld::verdict(ipc::Outcome::deferred, "4.2.0", "greylisted");
}
ipc::Verdict taken_with_dsn(const ipc::Attempt& a, const ipc::Target& t)
{
    ipc::Verdict v = FakeWorld::delivered(a, t);
    v.dsn_taken = true;
    return v;
}

std::function<void(mail::Envelope&)> notify(uint8_t wish)
{
    return [wish](mail::Envelope& e) {
        for (auto& r : e.recipients) {
            r.notify = wish;
            r.orcpt = "rfc822;asked@far.example";
        }
        e.envid = "QQ1";
        e.ret = mail::Ret::full;
    };
}

// All that is under way ends well.
void settle(FakeWorld& w)
{
    while (w.answer(FakeWorld::delivered)) {
    }
}

std::vector<Kind> kinds(const FakeWorld& w)
{
    std::vector<Kind> all;
    for (const Notice& n : w.notices) all.push_back(n.kind);
    std::sort(all.begin(), all.end());
    return all;
}

} // namespace

TEST_CASE("a success is told when it was asked for, and by whoever is last in charge",
          "[qmgr][rfc3461-5.2.2][rfc3461-5.2.3]")
{
    struct Row {
        const char* sender;
        const char* to;
        uint8_t notify;
        FakeWorld::Say say;
        std::optional<ReportAction> told;
    };
    const Row rows[] = {
        {"s@far.example", "u@host.example", success, FakeWorld::delivered, ReportAction::delivered},
        {"s@far.example", "u@host.example", success | failure, FakeWorld::delivered, ReportAction::delivered},
        {"s@far.example", "u@host.example", mail::notify_unset, FakeWorld::delivered, std::nullopt},
        {"s@far.example", "u@host.example", failure | delay, FakeWorld::delivered, std::nullopt},
        {"s@far.example", "u@host.example", never, FakeWorld::delivered, std::nullopt},
        {"", "u@host.example", success, FakeWorld::delivered, std::nullopt},
        {"s@far.example", "u@x.example", success, FakeWorld::delivered, ReportAction::relayed},
        {"s@far.example", "u@x.example", success, taken_with_dsn, std::nullopt},
        {"s@far.example", "u@x.example", mail::notify_unset, FakeWorld::delivered, std::nullopt},
        {"", "u@x.example", success, FakeWorld::delivered, std::nullopt},
    };
    for (const Row& row : rows) {
        FakeWorld w;
        const auto id = w.take(row.sender, {row.to}, notify(row.notify));
        w.answer(row.say, 1);
        INFO(row.to << " notify " << int{row.notify});
        REQUIRE(w.notices.size() == (row.told ? 1u : 0u));
        CHECK_FALSE(w.waits(id));
        if (!row.told) continue;
        const Notice& n = w.notices[0];
        CHECK(n.kind == Kind::success);
        CHECK(n.to == row.sender);
        REQUIRE(n.recipients.size() == 1);
        CHECK(n.recipients[0].action == *row.told);
        CHECK(n.recipients[0].status == "2.0.0");
        CHECK(n.recipients[0].original_recipient == "rfc822;asked@far.example");
        CHECK(w.said_has(cat(id, ": sender delivery status notification: ", n.id)));
    }
}

TEST_CASE("an alias of one passes the wish on, an alias of several reports that it expanded, a list was the end",
          "[qmgr][rfc3461-5.2.7]")
{
    FakeWorld w;
    SECTION("one")
    {
        w.alias("a@host.example", {"b@x.example"});
        w.take("s@far.example", {"a@host.example"}, notify(success));
        REQUIRE(w.sent.size() == 1);
        CHECK(w.sent[0].attempt.targets[0].notify == success);
        CHECK(w.sent[0].attempt.targets[0].orcpt == "rfc822;asked@far.example");
        CHECK(w.sent[0].attempt.envid == "QQ1");
        w.answer(taken_with_dsn, 1);
        CHECK(w.notices.empty());
    }
    SECTION("several")
    {
        w.alias("a@host.example", {"b@x.example", "c@host.example"});
        w.take("s@far.example", {"a@host.example"}, notify(success | delay));
        REQUIRE(w.sent.size() == 2);
        for (const auto& s : w.sent) {
            CHECK(s.attempt.targets[0].notify == delay);
            CHECK(s.attempt.targets[0].orcpt == "rfc822;asked@far.example");
        }
        settle(w);
        REQUIRE(w.notices.size() == 1);
        REQUIRE(w.notices[0].recipients.size() == 1);
        CHECK(w.notices[0].recipients[0].action == ReportAction::expanded);
        CHECK(w.notices[0].recipients[0].final_recipient == "a@host.example");
    }
    SECTION("several, and no failure was to be told either")
    {
        w.alias("a@host.example", {"b@x.example", "c@host.example"});
        w.take("s@far.example", {"a@host.example"}, notify(success));
        CHECK(w.sent[0].attempt.targets[0].notify == never);
        while (w.answer(unknown_user, 1) && w.notices.empty()) {
        }
        settle(w);
        CHECK(kinds(w) == std::vector{Kind::success});
    }
    SECTION("a list with an owner")
    {
        w.alias("l@host.example", {"b@x.example", "c@x.example"});
        for (auto& c : w.table["l@host.example"].children) c.sender = "owner-l@host.example";
        w.take("s@far.example", {"l@host.example"}, notify(success));
        REQUIRE(w.sent.size() == 1);
        CHECK(w.sent[0].attempt.sender == "owner-l@host.example");
        CHECK(w.sent[0].attempt.envid.empty());
        CHECK(w.sent[0].attempt.ret == mail::Ret::unset);
        for (const auto& t : w.sent[0].attempt.targets) {
            CHECK(t.notify == mail::notify_unset);
            CHECK(t.orcpt.empty());
        }
        w.answer(unknown_user, 1);
        settle(w);
        REQUIRE(kinds(w) == std::vector{Kind::failure, Kind::success});
        for (const Notice& n : w.notices) {
            CHECK(n.to == (n.kind == Kind::failure ? "owner-l@host.example" : "s@far.example"));
            CHECK(n.original_sender == (n.kind == Kind::success));
            if (n.kind == Kind::success) CHECK(n.recipients[0].action == ReportAction::delivered);
        }
    }
    CHECK(w.files.empty());
}

TEST_CASE("failures and successes of one mail are told apart", "[qmgr][rfc3461-5.2.8]")
{
    FakeWorld w;
    w.take("s@far.example", {"a@x.example", "b@x.example", "c@host.example"}, notify(success | failure));
    while (w.answer([](const ipc::Attempt& a, const ipc::Target& t) {
        return t.address == "b@x.example" ? unknown_user(a, t) : FakeWorld::delivered(a, t);
    })) {
    }
    REQUIRE(kinds(w) == std::vector{Kind::failure, Kind::success});
    for (const Notice& n : w.notices) CHECK(n.recipients.size() == (n.kind == Kind::failure ? 1 : 2));
}

TEST_CASE("a delay is told once, to whoever wants to know", "[qmgr][rfc3461-4.1]")
{
    struct Row {
        const char* sender;
        uint8_t notify;
        bool told;
    };
    for (const Row& row : {Row{"s@far.example", mail::notify_unset, true}, Row{"s@far.example", delay | failure, true},
                           Row{"s@far.example", failure, false}, Row{"s@far.example", never, false},
                           Row{"", mail::notify_unset, false}}) {
        FakeWorld w;
        w.limits.delay_warning_us = 4 * 3600 * second;
        w.limits.delay_copy_to = "postmaster";
        w.restart();
        const auto id = w.take(row.sender, {"u@x.example", "v@x.example"}, notify(row.notify));
        const auto try_for = [&](int64_t us) {
            for (const int64_t end = w.mono + us; w.mono < end; w.pass(600 * second))
                w.answer([&](const ipc::Attempt& a, const ipc::Target& t) {
                    return a.queue_id == id && t.address[0] == 'u' ? greylisted(a, t) : FakeWorld::delivered(a, t);
                });
        };
        try_for(3 * 3600 * second);
        CHECK(w.notices.empty());
        try_for(3 * 3600 * second);
        INFO(row.sender << " " << int{row.notify});
        REQUIRE(w.notices.size() == (row.told ? 1u : 0u));
        w.journal = w.scheduler->catalog().live(w.now()); // as compacted
        w.restart();
        try_for(6 * 3600 * second);
        CHECK(w.notices.size() == (row.told ? 1u : 0u));
        CHECK(w.waits(id));
        if (!row.told) continue;
        CHECK(w.notices[0].kind == Kind::delay);
        CHECK(w.notices[0].copy_to == "postmaster@host.example");
        REQUIRE(w.notices[0].recipients.size() == 1); // the other one has it
        CHECK(w.notices[0].recipients[0].action == ReportAction::delayed);
        CHECK(w.notices[0].recipients[0].status == "4.2.0");
        CHECK(w.said_has(cat(id, ": sender delay notification: ", w.notices[0].id)));
    }
}

TEST_CASE("when one of two reports of a mail can have no ID, neither is made, and later each once", "[qmgr]")
{
    FakeWorld w;
    w.limits.delay_warning_us = 3600 * second;
    w.restart();
    ipc::Route list;
    list.kind = ipc::Route::Kind::expand;
    list.children.emplace_back().text = "u@far.example";
    list.children.back().sender = "owner@host.example";
    w.table["list@host.example"] = list;
    w.take("s@far.example", {"list@host.example", "v@other.example"});
    w.answer(greylisted);
    w.pass(3600 * second);
    w.ids_left = 1;
    while (w.answer(greylisted)) {
    }
    CHECK(w.notices.empty());
    w.ids_left = -1;
    for (int i = 0; i < 8; ++i) {
        w.pass(1800 * second);
        while (w.answer(greylisted)) {
        }
    }
    std::vector<std::string> to;
    for (const Notice& n : w.notices) to.push_back(n.to);
    std::sort(to.begin(), to.end());
    CHECK(to == std::vector<std::string>{"owner@host.example", "s@far.example"});
}

TEST_CASE("a delay is told of mail for a dead host too, and that it ended when confirm_delay_cleared says so", "[qmgr]")
{
    for (const bool confirm : {false, true}) {
        FakeWorld w;
        w.limits.delay_warning_us = 3600 * second;
        w.limits.confirm_delay_cleared = confirm;
        w.restart();
        const auto id = w.take("s@host.example", {"u@x.example"});
        w.take("s@host.example", {"early@y.example"});
        for (int i = 0; i < 40 && w.notices.empty(); ++i) {
            w.answer([](const ipc::Attempt& a, const ipc::Target& t) {
                return t.address == "u@x.example"
                           ? FakeWorld::verdict(ipc::Outcome::deferred, "4.4.1", "connect to x: timed out", true)
                           : FakeWorld::delivered(a, t);
            });
            w.pass(600 * second);
        }
        REQUIRE(kinds(w) == std::vector{Kind::delay});
        CHECK(w.notices[0].recipients[0].diagnostic.find("timed out") != std::string::npos);
        for (int i = 0; i < 20 && w.waits(id); ++i) {
            w.pass(600 * second);
            settle(w);
        }
        settle(w);
        CHECK_FALSE(w.waits(id));
        CHECK(kinds(w) == (confirm ? std::vector{Kind::success, Kind::delay} : std::vector{Kind::delay}));
    }
}

TEST_CASE("soft_bounce keeps what would be returned, until it is too old", "[qmgr]")
{
    FakeWorld w;
    w.limits.soft_bounce = true;
    w.table["gone@host.example"].kind = ipc::Route::Kind::reject;
    w.table["gone@host.example"].dsn = "5.1.1";
    w.table["gone@host.example"].text = "User unknown";
    w.restart();
    const auto id = w.take("s@far.example", {"u@x.example", "gone@host.example"});
    w.answer(unknown_user, 1);
    CHECK(w.notices.empty());
    CHECK(w.waits(id));
    CHECK(w.said_has("to=<u@x.example>, dsn=4.1.1, status=SOFTBOUNCE"));
    CHECK(w.said_has("to=<gone@host.example>, relay=none"));
    CHECK(w.said_has("dsn=4.1.1, status=deferred (User unknown)"));
    CHECK_FALSE(w.said_has("status=bounced"));
    for (int i = 0; i < 200 && w.notices.empty(); ++i) {
        w.pass(3600 * second);
        w.answer([&](const ipc::Attempt& a, const ipc::Target& t) {
            return a.queue_id == id ? unknown_user(a, t) : FakeWorld::delivered(a, t);
        });
    }
    REQUIRE(w.notices.size() == 1);
    CHECK(w.notices[0].recipients.size() == 2);
}

TEST_CASE("a report returns the whole mail when that is wanted, allowed and no binary content", "[qmgr][rfc3461-4.3][rfc3030-3][rfc8689-5]")
{
    Notice failure, delay;
    failure.kind = Notice::Kind::failure;
    delay.kind = Notice::Kind::delay;
    failure.original_sender = true;
    const auto whole = [](const Notice& notice, const std::function<void(mail::Envelope&)>& change, uint64_t size = 100) {
        mail::Envelope envelope;
        change(envelope);
        queue::Layout layout;
        layout.body_size = size;
        Limits limits;
        limits.bounce_size = 1000;
        return returns_whole(notice, Mail(1, Fd(), layout, envelope), limits);
    };
    CHECK(whole(failure, [](mail::Envelope&) {}));
    CHECK(whole(failure, [](mail::Envelope& e) { e.body = mail::Body::eight_bit; }));
    CHECK_FALSE(whole(failure, [](mail::Envelope& e) { e.body = mail::Body::binary; }));
    CHECK_FALSE(whole(failure, [](mail::Envelope& e) { e.ret = mail::Ret::headers; }));
    CHECK_FALSE(whole(failure, [](mail::Envelope& e) { e.tls = mail::TlsNeed::required; }));
    CHECK_FALSE(whole(failure, [](mail::Envelope&) {}, 2000));
    CHECK_FALSE(whole(delay, [](mail::Envelope&) {}));
}

TEST_CASE("the postmaster gets a copy of what notify_classes names", "[qmgr]")
{
    FakeWorld w;
    w.limits.bounce_copy_to = "boss@host.example";
    w.restart();
    w.take("s@far.example", {"u@x.example", "v@host.example"}, notify(success | failure));
    while (w.answer([](const ipc::Attempt& a, const ipc::Target& t) {
        return t.address == "u@x.example" ? unknown_user(a, t) : FakeWorld::delivered(a, t);
    })) {
    }
    REQUIRE(w.notices.size() == 2);
    for (const Notice& n : w.notices) CHECK(n.copy_to == (n.kind == Kind::failure ? "boss@host.example" : ""));
}

// Each commit in turn is the last thing that happens, or the first that does not.
TEST_CASE("a crash at any commit: each report once, of every kind", "[qmgr][durability-1]")
{
    const FakeWorld::Say say = [](const ipc::Attempt& a, const ipc::Target& t) {
        if (t.address == "bad@x.example") return unknown_user(a, t);
        return t.address == "late@x.example" ? greylisted(a, t) : FakeWorld::delivered(a, t);
    };
    for (const bool kept : {true, false}) {
        bool crashed = true;
        int rounds = 0;
        for (int at = 1; crashed; ++at) {
            FakeWorld w;
            w.limits.delay_warning_us = 3600 * second;
            w.restart();
            w.alias("all@host.example", {"one@host.example", "two@y.example"});
            w.crash_after_commits = at;
            crashed = false;
            const auto live = [&] {
                try {
                    w.run();
                    for (int i = 0; i < 20; ++i) {
                        while (w.answer(say)) {
                        }
                        w.pass(600 * second);
                    }
                } catch (const FakeWorld::Crash&) {
                    crashed = true;
                }
            };
            const auto id =
                w.put("s@far.example", {"bad@x.example", "late@x.example", "ok@z.example", "all@host.example"},
                      notify(success | failure | delay));
            w.scheduler->queued(id_number(id), 0);
            live();
            if (crashed) {
                if (!kept) w.journal.resize(w.journal.size() - w.commit_sizes.back());
                w.crash_after_commits = 0;
                w.restart();
                live();
                ++rounds;
            }
            INFO("crash at commit " << at << (kept ? ", kept" : ", lost"));
            std::map<std::pair<Kind, std::string>, int> told;
            for (const Notice& n : w.notices)
                for (const auto& r : n.recipients) ++told[{n.kind, r.final_recipient}];
            CHECK(told == std::map<std::pair<Kind, std::string>, int>{{{Kind::failure, "bad@x.example"}, 1},
                                                                      {{Kind::delay, "late@x.example"}, 1},
                                                                      {{Kind::success, "ok@z.example"}, 1},
                                                                      {{Kind::success, "all@host.example"}, 1}});
            CHECK(w.files.size() == 1); // what is late
        }
        CHECK(rounds > 8);
    }
}

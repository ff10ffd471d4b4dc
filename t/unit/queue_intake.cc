// lib/queue: drafts, commits, sweeps, the Inspect stage, and the spool's odd cases.
#include "t/unit/catch.h"
#include "t/unit/slow_disk.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <thread>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/mail/date.h"
#include "lib/queue/inspect.h"
#include "lib/queue/intake.h"
#include "lib/queue/spool.h"
#include "lib/queue/spool_lock.h"

using namespace veredus;
using namespace veredus::queue;
using test::ForgetfulDisk;

namespace {

class HandClock final : public Clock {
public:
    int64_t wall_us() const override { return wall; }
    int64_t mono_us() const override { return mono; }
    int64_t wall = 1'795'528'800 * us_per_second, mono = 5;
};

mail::Envelope plain_envelope()
{
    mail::Envelope e;
    e.sender = {"a", "example.org"};
    e.recipients = {{{"b", "example.net"}, 0, ""}};
    e.arrival_us = 1'795'528'800 * us_per_second;
    return e;
}

mail::HeaderBlock plain_header() { return mail::HeaderBlock::parse("Subject: s\r\n"); }

struct Bench {
    Bench()
    {
        for (const SpoolDirectory& d : spool_directories()) disk.make_directory(*d.path ? cat("/spool/", d.path) : "/spool");
        intake = std::move(*Intake::open(disk, "/spool/incoming/smtpd", 1, clock, nullptr));
    }
    Result<Receipt> commit(Draft draft, const mail::Envelope& envelope = plain_envelope())
    {
        std::optional<Result<Receipt>> out;
        intake->commit(std::move(draft), plain_header(), envelope, [&](Result<Receipt> r) { out = std::move(r); });
        REQUIRE(out);
        return std::move(*out);
    }
    std::vector<std::string> drafts() const
    {
        auto names = disk.names("/spool/incoming/smtpd/tmp");
        std::erase_if(names, [](const std::string& n) { return !is_queue_id(n); });
        return names;
    }
    std::vector<std::string> queued() const { return disk.names("/spool/incoming/smtpd/new"); }
    MailFile read(const std::string& id)
    {
        auto fd = disk.open_read(intake->new_directory(), id);
        REQUIRE(fd);
        auto mail = read_mail_file(disk, *fd, true);
        REQUIRE(mail);
        return std::move(*mail);
    }
    ForgetfulDisk disk;
    HandClock clock;
    std::unique_ptr<Intake> intake;
};

}  // namespace

TEST_CASE("a small mail takes one create, one write, one sync, one rename, one directory sync", "[queue][speed]")
{
    Bench b;
    auto draft = std::move(*b.intake->create());
    REQUIRE(draft.append("hello\r\n"));
    CHECK(b.drafts().empty());    // nothing is on disk yet
    const auto before = b.disk.steps();
    const auto receipt = b.commit(std::move(draft));
    REQUIRE(receipt);
    CHECK(b.disk.steps() - before == 5);
    CHECK(b.queued() == std::vector<std::string>{receipt->id()});
    CHECK(receipt->content_size() == 12 + 2 + 7);
    CHECK(b.drafts().empty());
}

TEST_CASE("a body byte by byte equals one gulp, dots and high bytes included", "[queue][trickle]")
{
    const struct {
        std::string body;
        bool dot, high;
    } cases[] = {
        {"", false, false}, {"plain\r\n", false, false}, {".\r\n", true, false}, {"a\r\n.b\r\n", true, false}, {"a.b\r\n", false, false},
        {"a\r\n\xc3\xa4\r\n", false, true}, {std::string(70'000, 'x') + "\r\n.y\r\n", true, false}, {std::string(65'534, 'x') + "\r\n.", true, false},
    };
    for (const auto& c : cases) {
        std::string contents[2];
        for (const bool trickle : {false, true}) {
            Bench b;
            auto draft = std::move(*b.intake->create());
            if (!trickle) REQUIRE(draft.append(c.body));
            else for (const char byte : c.body) REQUIRE(draft.append({&byte, 1}));
            CHECK(draft.body_size() == c.body.size());
            CHECK(draft.eight_bit() == c.high);
            const auto receipt = b.commit(std::move(draft));
            REQUIRE(receipt);
            const MailFile mail = b.read(receipt->id());
            CHECK(mail.layout.leading_dot == c.dot);
            CHECK(mail.layout.eight_bit == c.high);
            contents[trickle] = *b.disk.content(cat("/spool/incoming/smtpd/new/", receipt->id()));
            CHECK(contents[trickle].substr(16, c.body.size()) == c.body);
        }
        CHECK(contents[0] == contents[1]);
    }
}

TEST_CASE("a body's longest line is noted when it is no usual one, however it comes in", "[queue][trickle]")
{
    const auto x = [](std::size_t n) { return std::string(n, 'x'); };
    const struct {
        std::string body;
        uint32_t longest;
    } cases[] = {
        {"", 0}, {x(998) + "\r\n", 0}, {x(999) + "\r\n", 999}, {x(998), 0}, {x(999), 999}, {"a\r\n" + x(2000) + "\r\n" + x(1500), 2000},
        {x(1500) + "\r\n" + x(2000), 2000}, {x(70'000) + "\r\nb\r\n", 70'000},
    };
    for (const auto& c : cases)
        for (const std::size_t piece : {std::size_t{1}, std::size_t{999}, std::size_t{1} << 20}) {
            Bench b;
            auto draft = std::move(*b.intake->create());
            for (std::size_t at = 0; at < c.body.size(); at += piece) REQUIRE(draft.append(std::string_view(c.body).substr(at, piece)));
            const auto receipt = b.commit(std::move(draft));
            REQUIRE(receipt);
            CHECK(b.read(receipt->id()).layout.longest_line == c.longest);
        }
}

TEST_CASE("a draft that is not committed leaves nothing", "[queue]")
{
    Bench b;
    {
        auto small = std::move(*b.intake->create());
        REQUIRE(small.append("x"));
        auto large = std::move(*b.intake->create());
        REQUIRE(large.append(std::string(200'000, 'x')));
        CHECK(b.drafts() == std::vector<std::string>{large.id()});
        Draft moved = std::move(large);
        CHECK(b.drafts().size() == 1);
    }
    CHECK(b.drafts().empty());
    CHECK(b.queued().empty());
}

TEST_CASE("whatever fails in a commit, its error is told and nothing remains", "[queue][durability-2]")
{
    for (const std::size_t size : {std::size_t{10}, std::size_t{200'000}}) {
        for (const int code : {EIO, ENOSPC, EDQUOT}) {
            for (uint64_t nth = 1; nth <= 5; ++nth) {
                Bench b;
                auto draft = std::move(*b.intake->create());
                REQUIRE(draft.append(std::string(size, 'x')));
                const bool small = size < 1'000;
                if (!small && nth == 5) continue;    // the create was before
                b.disk.fail_step(nth, code);
                const auto receipt = b.commit(std::move(draft));
                INFO("size " << size << " step " << nth);
                REQUIRE_FALSE(receipt);
                CHECK(receipt.error().code == code);
                CHECK(b.drafts().empty());
                CHECK(b.queued().empty());
                auto next = std::move(*b.intake->create());    // and the next mail fares well
                CHECK(b.commit(std::move(next)));
            }
        }
    }
    Bench b;
    auto draft = std::move(*b.intake->create());
    b.disk.fail_write(1, ENOSPC);
    const auto full = draft.append(std::string(200'000, 'x'));
    REQUIRE_FALSE(full);
    CHECK(full.error().code == ENOSPC);
}

TEST_CASE("a mail that is refused for want of a sync is gone for good, or whoever delivers hears of it", "[queue][durability-2]")
{
    // Syncs of a commit, in order: the directory, the file; then the directory again, for the name that is taken away.
    const struct {
        std::vector<uint64_t> failing;
        bool taken_up;                    // by a look into the directory, before the sync fails
        bool gone;                        // the disk says so
    } cases[] = {{{2}, false, true}, {{1}, false, false}, {{2, 3}, false, false}, {{2}, true, false}};
    for (const auto& c : cases) {
        class Failing : public ForgetfulDisk {
        public:
            using ForgetfulDisk::sync;
            Result<void> sync(const Fd& file) override { return due() ? fail_errno("fdatasync", EIO) : ForgetfulDisk::sync(file); }
            Result<void> sync(const disk::Directory& dir) override { return due() ? fail_errno("fsync", EIO) : ForgetfulDisk::sync(dir); }
            bool due()
            {
                const bool fails = std::find(failing.begin(), failing.end(), ++count) != failing.end();
                if (fails && taken_up)
                    for (const std::string& id : names("/incoming/new")) (void)unlink(*open_directory(nullptr, "/incoming/new"), id);
                return fails;
            }
            std::vector<uint64_t> failing;
            bool taken_up = false;
            uint64_t count = 0;
        } disk;
        HandClock clock;
        disk.make_directory("/incoming/tmp");
        disk.make_directory("/incoming/new");
        auto intake = std::move(*Intake::open(disk, "/incoming", 1, clock, nullptr));
        std::vector<std::string> doubts;
        intake->on_doubt([&](const std::string& id) { doubts.push_back(id); });
        for (const bool from_elsewhere : {false, true}) {
            doubts.clear();
            auto draft = std::move(from_elsewhere ? *intake->create("6B05986000000001") : *intake->create());
            const std::string id = draft.id();
            disk.count = 0;
            disk.failing = c.failing;
            disk.taken_up = c.taken_up;
            if (from_elsewhere)           // its file is synced before it has its name
                for (uint64_t& nth : disk.failing) nth = nth == 2 ? 2 : nth + 1;
            bool refused = false;
            intake->commit(std::move(draft), plain_header(), plain_envelope(), [&](Result<Receipt> r) { refused = !r; });
            INFO("first failing sync " << c.failing[0] << ", taken up " << c.taken_up << ", from elsewhere " << from_elsewhere);
            REQUIRE(refused);
            CHECK(disk.names("/incoming/new").empty());
            // Somebody may have it open, whatever became of the name. Mail with an ID from elsewhere comes again under the same ID: nobody may
            // hear that it is done with.
            CHECK(doubts == (from_elsewhere ? std::vector<std::string>() : std::vector{id}));
        }
        disk.failing.clear();
        disk.power_cut(test::Cut::oldest);
        if (c.gone) CHECK(disk.names("/incoming/new").empty());
    }
}

TEST_CASE("bytes that the device did not take are no mail, though a later sync would say yes", "[queue][durability-4]")
{
    ForgetfulDisk disk;
    HandClock clock;
    disk.make_directory("/incoming/tmp");
    disk.make_directory("/incoming/new");
    auto intake = std::move(*Intake::open(disk, "/incoming", 1, clock, nullptr));
    disk.fail_write_out(1, EIO);
    auto draft = std::move(*intake->create());
    const auto before = disk.names("/incoming/tmp");
    int code = 0;
    intake->commit(std::move(draft), plain_header(), plain_envelope(), [&](Result<Receipt> r) { code = r ? 0 : r.error().code; });
    CHECK(code == EIO);
    CHECK(disk.names("/incoming/new").empty());
    CHECK(disk.names("/incoming/tmp") == before);
}

TEST_CASE("many commits at once need few syncs of the directory, and none of them waits for the next one's name", "[queue][speed]")
{
    // The first sync of the directory takes until all the others have their names; the second one serves them all.
    class Slow : public ForgetfulDisk {
    public:
        using ForgetfulDisk::sync;
        Result<void> sync(const disk::Directory& dir) override
        {
            if (armed && ++directories == 1)
                while (files < 9) std::this_thread::yield();
            return ForgetfulDisk::sync(dir);
        }
        Result<void> sync(const Fd& file) override
        {
            ++files;
            return ForgetfulDisk::sync(file);
        }
        std::atomic<bool> armed = false;      // not yet while the intake opens
        std::atomic<int> directories = 0, files = 0;
    } disk;
    HandClock clock;
    disk.make_directory("/incoming/tmp");
    disk.make_directory("/incoming/new");
    std::mutex mutex;
    std::deque<std::function<void()>> posted;
    std::unique_ptr<Intake> intake;
    int receipts = 0;
    {
        disk::Pool pool(10, [&](std::function<void()> f) { const std::lock_guard lock(mutex); posted.push_back(std::move(f)); });
        intake = std::move(*Intake::open(disk, "/incoming", 1, clock, &pool));
        disk.files = 0;
        disk.armed = true;
        for (int i = 0; i < 10; ++i) intake->commit(std::move(*intake->create()), plain_header(), plain_envelope(), [&](Result<Receipt> r) { receipts += r ? 1 : 0; });
        while (receipts < 10) {
            std::unique_lock lock(mutex);
            if (posted.empty()) continue;
            auto work = std::move(posted.front());
            posted.pop_front();
            lock.unlock();
            work();
        }
    }
    CHECK(disk.files >= 10);      // and perhaps one for queue IDs
    CHECK(disk.directories <= 3);
}

TEST_CASE("a mail is never written over another one of its ID", "[queue]")
{
    Bench b;
    auto first = std::move(*b.intake->create("6B05986000000001")), second = std::move(*b.intake->create("6B05986000000001"));
    REQUIRE(first.append("first\r\n"));
    REQUIRE(second.append("second\r\n"));
    REQUIRE(b.commit(std::move(first)));
    const auto refused = b.commit(std::move(second));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == EEXIST);
    CHECK(b.disk.content("/spool/incoming/smtpd/new/6B05986000000001")->substr(16, 7) == "first\r\n");
    CHECK_FALSE(b.intake->create("../6B059860000001"));
}

TEST_CASE("a name that may prove an earlier success is never there without its bytes; any name is whole when it was acknowledged",
          "[queue][crash][durability-1]")
{
    for (const bool from_elsewhere : {true, false}) {
        bool ended = false;
        unsigned torn = 0;
        for (uint64_t step = 1; !ended; ++step) {
            Bench b;
            auto draft = std::move(from_elsewhere ? *b.intake->create("6B05986000000001") : *b.intake->create());
            REQUIRE(draft.append("hello\r\n"));
            b.disk.cut_power_at(b.disk.steps() + step);
            const auto receipt = b.commit(std::move(draft));
            ended = b.disk.powered();
            b.disk.sync_alone("/spool/incoming/smtpd/new");      // by a neighbour, or the file system of itself
            b.disk.power_cut(test::Cut::oldest);
            INFO("from elsewhere: " << from_elsewhere << ", cut at step " << step);
            if (receipt) REQUIRE(b.queued().size() == 1);
            for (const std::string& id : b.queued()) {
                const auto fd = b.disk.open_read(b.intake->new_directory(), id);
                REQUIRE(fd);
                if (!read_mail_file(b.disk, *fd, true)) {
                    ++torn;
                    CHECK_FALSE(from_elsewhere);
                    CHECK_FALSE(receipt);
                }
            }
        }
        CHECK((torn > 0) == !from_elsewhere);
    }
}

TEST_CASE("an envelope that cannot be written is refused before the disk", "[queue]")
{
    Bench b;
    auto draft = std::move(*b.intake->create());
    mail::Envelope none = plain_envelope();
    none.recipients.clear();
    const auto before = b.disk.steps();
    CHECK_FALSE(b.commit(std::move(draft), none));
    CHECK(b.disk.steps() == before);
}

TEST_CASE("the sweep takes old drafts and leaves marks, young drafts and strangers", "[queue]")
{
    Bench b;
    b.disk.set_now(1'000'000);
    b.disk.put("/spool/incoming/smtpd/tmp/6B05986081000001", "old");
    b.disk.put("/spool/incoming/smtpd/tmp/README", "old, not ours");
    b.disk.set_now(9'000'000);
    b.disk.put("/spool/incoming/smtpd/tmp/6B05986081000002", "young");
    CHECK(*b.intake->sweep_drafts(5'000'000) == 1);
    CHECK(b.disk.names("/spool/incoming/smtpd/tmp") == std::vector<std::string>{".mark-1", "6B05986081000002", "README"});
}

TEST_CASE("free space is asked at most once a second", "[queue]")
{
    Bench b;
    b.disk.set_free_bytes(1000);
    CHECK(*b.intake->free_bytes() == 1000);
    b.disk.set_free_bytes(500);
    b.clock.mono += us_per_second - 1;
    CHECK(*b.intake->free_bytes() == 1000);
    b.clock.mono += 1;
    CHECK(*b.intake->free_bytes() == 500);
}

TEST_CASE("commits in a pool complete on the owner's thread; after the intake's end nobody is called", "[queue]")
{
    Bench b;
    std::mutex mutex;
    std::condition_variable came;
    std::deque<std::function<void()>> posted;
    {
        disk::Pool pool(4, [&](std::function<void()> f) { const std::lock_guard lock(mutex); posted.push_back(std::move(f)); came.notify_all(); });
        auto intake = std::move(*Intake::open(b.disk, "/spool/incoming/submission", 2, b.clock, &pool));
        int receipts = 0;
        for (int i = 0; i < 20; ++i) intake->commit(std::move(*intake->create()), plain_header(), plain_envelope(), [&](Result<Receipt> r) { receipts += r ? 1 : 0; });
        const auto take = [&] {
            std::unique_lock lock(mutex);
            came.wait(lock, [&] { return !posted.empty(); });
            auto work = std::move(posted.front());
            posted.pop_front();
            return work;
        };
        while (receipts < 20) take()();    // several may come in one piece
        intake->commit(std::move(*intake->create()), plain_header(), plain_envelope(), [&](Result<Receipt> r) { receipts += r ? 1 : 0; });
        const auto last = take();
        intake.reset();
        last();
        CHECK(receipts == 20);
        CHECK(b.disk.names("/spool/incoming/submission/new").size() == 21);
    }
}

TEST_CASE("a large draft is written by the pool, and its owner hears when he may go on", "[queue]")
{
    test::SlowDisk disk;
    for (const SpoolDirectory& d : spool_directories()) disk.make_directory(*d.path ? cat("/spool/", d.path) : "/spool");
    HandClock clock;
    std::deque<std::function<void()>> posted;
    std::mutex mutex;
    std::condition_variable came;
    const auto take = [&] {
        std::unique_lock lock(mutex);
        came.wait(lock, [&] { return !posted.empty(); });
        auto work = std::move(posted.front());
        posted.pop_front();
        lock.unlock();
        work();
    };
    const auto drafts = [&] {
        auto names = disk.names("/spool/incoming/submission/tmp");
        std::erase_if(names, [](const std::string& n) { return !is_queue_id(n); });
        return names.size();
    };
    auto pool = std::make_unique<disk::Pool>(2, [&](std::function<void()> f) { const std::lock_guard lock(mutex); posted.push_back(std::move(f)); came.notify_all(); });
    auto intake = std::move(*Intake::open(disk, "/spool/incoming/submission", 2, clock, pool.get()));
    auto draft = std::move(*intake->create());
    draft.write_in_background();
    std::string body;
    const auto give = [&](Draft& to) {
        const std::string part(10'000, static_cast<char>('a' + body.size() / 10'000 % 26));
        body += part;
        return to.append(part);
    };
    unsigned calls = 0;
    disk.open(false);                                        // from here on who writes waits, and it is not us
    SECTION("to the end")
    {
        for (int round = 0; round < 3; ++round) {
            while (!draft.behind()) REQUIRE(give(draft));
            CHECK(body.size() <= (round + 1) * 400'000u);
            draft.when_caught_up([&] { ++calls; });
            disk.open(true);
            while (calls <= static_cast<unsigned>(round)) take();
            CHECK_FALSE(draft.behind());
            disk.open(false);
        }
        while (!draft.behind()) REQUIRE(give(draft));
        draft.when_caught_up([&] { ++calls; });
        std::optional<Result<Receipt>> receipt;
        intake->commit(std::move(draft), plain_header(), plain_envelope(), [&](Result<Receipt> r) { receipt = std::move(r); });
        disk.open(true);
        while (!receipt) take();
        REQUIRE(*receipt);
        CHECK(calls == 3);                                   // who has committed waits for that alone
        const auto content = disk.content(cat("/spool/incoming/submission/new/", (*receipt)->id()));
        REQUIRE(content);
        CHECK(content->substr(16, body.size()) == body);
        CHECK(drafts() == 0);
    }
    SECTION("sealed while pieces wait")
    {
        while (!draft.behind()) REQUIRE(give(draft));
        disk.open(true);
        const auto sealed = draft.seal(plain_header(), plain_envelope());
        REQUIRE(sealed);
        CHECK(*disk.read(sealed->file, 16, body.size()) == body);
        REQUIRE(give(draft));
    }
    SECTION("sealed by a thread of the pool while pieces wait: no other one is asked to write them meanwhile")
    {
        while (!draft.behind()) REQUIRE(give(draft));
        disk.let(2);
        while (!draft.behind()) REQUIRE(give(draft));
        std::optional<Result<Draft::Sealed>> sealed;
        bool done = false, passed = false;
        pool->run([&] { sealed = draft.seal(plain_header(), plain_envelope()); }, [&] { done = true; });
        disk.let(2);                                         // the pool's turn is over, and seal() writes the rest
        take();                                              // of that turn
        pool->run([] {}, [&] { passed = true; });            // the second thread does all that came before
        take();
        CHECK(passed);
        disk.open(true);
        while (!done) take();
        REQUIRE(*sealed);
        CHECK(*disk.read((*sealed)->file, 16, body.size()) == body);
    }
    SECTION("the disk is full: the owner hears it with a later piece, or with the commit")
    {
        while (!draft.behind()) REQUIRE(give(draft));
        draft.when_caught_up([&] { ++calls; });
        disk.open(true, true);
        while (calls == 0) take();
        auto later = give(draft);
        for (int i = 0; i < 10 && later; ++i) later = give(draft);
        REQUIRE_FALSE(later);
        CHECK(later.error().code == ENOSPC);
        std::optional<Result<Receipt>> receipt;
        intake->commit(std::move(draft), plain_header(), plain_envelope(), [&](Result<Receipt> r) { receipt = std::move(r); });
        while (!receipt) take();
        REQUIRE_FALSE(*receipt);
        CHECK(receipt->error().code == ENOSPC);
        CHECK(drafts() == 0);
        CHECK(disk.names("/spool/incoming/submission/new").empty());
    }
    SECTION("given up while a piece is being written")
    {
        while (!draft.behind()) REQUIRE(give(draft));
        draft.when_caught_up([&] { ++calls; });
        draft = std::move(*intake->create());                // the old one ends here
        disk.open(true);
        pool.reset();                                        // finishes what was begun
        CHECK(drafts() == 0);
        CHECK(calls == 0);
    }
    SECTION("and one thread is all that it takes of the pool, for a moment")
    {
        while (!draft.behind()) REQUIRE(give(draft));
        std::atomic<bool> other = false;
        pool->run([&] { other = true; }, nullptr);
        for (int i = 0; i < 6000 && !other; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
        CHECK(other);
        disk.open(true);
        // Nor does it keep that one while there is more: others have their turn.
        std::mutex gate;
        disk::Pool one(1, [](std::function<void()>) {});
        const auto beside = std::move(*Intake::open(disk, "/spool/incoming/smtpd", 3, clock, &one));
        Draft large = std::move(*beside->create());
        large.write_in_background();
        std::unique_lock closed(gate);
        one.run([&] { const std::lock_guard wait(gate); }, nullptr);
        for (int i = 0; i < 200; ++i) REQUIRE(give(large));
        other = false;
        std::size_t written = 0;
        one.run([&] {
            written = disk.content(cat("/spool/incoming/smtpd/tmp/", large.id())).value_or("").size();
            other = true;
        }, nullptr);
        closed.unlock();
        for (int i = 0; i < 6000 && !other; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
        CHECK(other);
        CHECK(written > 0);
        CHECK(written < 500'000);
    }
    SECTION("many drafts together have no more than the process may have, and those that end give back what they had")
    {
        const std::string part(64 * 1024, 'x');
        std::deque<Draft> many;
        uint64_t number = 0;
        const auto fill = [&] {
            std::size_t given = 0;
            for (int i = 0; i < 600; ++i) {
                many.push_back(std::move(*intake->create("6B05CF42" + hex_upper(++number, 8))));
                many.back().write_in_background();
                while (!many.back().behind()) {
                    REQUIRE(many.back().append(part));
                    given += part.size();
                }
            }
            return given;
        };
        CHECK(fill() <= (64u << 20) + 600 * part.size());         // each alone could have four
        many.clear();
        CHECK_FALSE(draft.behind());
        REQUIRE(draft.append(part));
        REQUIRE(draft.append(part));
        CHECK_FALSE(draft.behind());                              // nobody else has anything waiting
        fill();
        unsigned called = 0;
        for (Draft& one : many) one.when_caught_up([&] { ++called; });
        disk.open(true);
        while (called < many.size()) take();
        for (const Draft& one : many) CHECK_FALSE(one.behind());
    }
    disk.open(true);
}

TEST_CASE("in an event loop an ID costs no sync, and a refill happens in the pool", "[queue]")
{
    Bench b;
    std::deque<std::function<void()>> posted;
    std::mutex mutex;
    disk::Pool pool(1, [&](std::function<void()> f) { const std::lock_guard lock(mutex); posted.push_back(std::move(f)); });
    auto intake = std::move(*Intake::open(b.disk, "/spool/incoming/submission", 2, b.clock, &pool));
    const std::string first = intake->create()->id();
    b.clock.wall += 3600 * us_per_second;
    const std::string second = intake->create()->id();
    CHECK(second > first);
    for (;;) {
        std::unique_lock lock(mutex);
        if (!posted.empty()) break;
        lock.unlock();
        std::this_thread::yield();
    }
    posted.front()();
    CHECK(id_seconds(intake->create()->id()) == b.clock.wall / us_per_second);
}

TEST_CASE("on a real disk the files have the modes that qmgr needs", "[queue]")
{
    char name[] = "/tmp/veredus-unit-XXXXXX";
    const std::string base = ::mkdtemp(name);
    std::filesystem::create_directory(base + "/tmp");
    std::filesystem::create_directory(base + "/new");
    {
        auto intake = std::move(*Intake::open(disk::posix_disk(), base, 0, system_clock(), nullptr));
        std::string id;
        intake->commit(std::move(*intake->create()), plain_header(), plain_envelope(), [&](Result<Receipt> r) { if (r) id = r->id(); });
        REQUIRE_FALSE(id.empty());
        struct stat st{};
        REQUIRE(::stat(cat(base, "/new/", id).c_str(), &st) == 0);
        CHECK((st.st_mode & 07777) == 0660);
        CHECK(st.st_nlink == 1);
    }
    std::filesystem::remove_all(base);
}

// --- Inspect

namespace {

Decision run(std::vector<std::unique_ptr<Inspector>> chain, mail::HeaderBlock& header, mail::Envelope& envelope)
{
    return inspect(chain, header, envelope);
}

template <class... I> std::vector<std::unique_ptr<Inspector>> chain_of(I... inspectors)
{
    std::vector<std::unique_ptr<Inspector>> out;
    (out.push_back(std::move(inspectors)), ...);
    return out;
}

}  // namespace

TEST_CASE("more Received fields than hopcount_limit is a loop", "[queue][rfc5321-6.3]")
{
    InspectSettings settings;
    settings.hopcount_limit = 3;
    mail::Envelope envelope = plain_envelope();
    mail::HeaderBlock header = plain_header();
    for (int i = 0; i < 3; ++i) header.prepend("Received", "from x");
    CHECK(run(chain_of(hop_count(settings)), header, envelope).kind == Decision::Kind::accept);
    CHECK(envelope.filtered);
    header.prepend("received", "from x");
    envelope.filtered = false;
    const Decision loop = run(chain_of(hop_count(settings)), header, envelope);
    CHECK(loop.kind == Decision::Kind::reject);
    CHECK(loop.code == 554);
    CHECK(loop.enhanced == "5.4.0");
    CHECK_FALSE(envelope.filtered);
}

TEST_CASE("our own users' mail is mended, a stranger's is not", "[queue][rfc6409-8]")
{
    InspectSettings settings;
    settings.myhostname = "mx.example.org";
    settings.myorigin = "example.org";
    for (const auto origin : {mail::Origin::stranger, mail::Origin::network, mail::Origin::internal, mail::Origin::local, mail::Origin::authenticated}) {
        const bool mends = origin == mail::Origin::local || origin == mail::Origin::authenticated;
        mail::Envelope envelope = plain_envelope();
        envelope.origin = origin;
        envelope.sender = {"al ice", ""};
        mail::HeaderBlock header = plain_header();
        CHECK(run(chain_of(mender(settings, "6B05986081000000")), header, envelope).kind == Decision::Kind::accept);
        CHECK(header.count("Date") == (mends ? 1 : 0));
        if (!mends) {
            CHECK(header.text() == plain_header().text());
            continue;
        }
        CHECK(header.find("From")->body() == "\"al ice\"@example.org");
        CHECK(header.find("Message-ID")->body() == "<20261124140000.6B05986081000000@mx.example.org>");
        CHECK(mail::parse_date_rfc5322(header.find("Date")->body()) == envelope.arrival_us);
        const std::string once = header.text();
        run(chain_of(mender(settings, "6B05986081000001")), header, envelope);
        CHECK(header.text() == once);
    }
}

TEST_CASE("who resends gets the fields of resending completed", "[queue][rfc5322-3.6.6]")
{
    InspectSettings settings;
    settings.myhostname = settings.myorigin = "example.org";
    mail::Envelope envelope = plain_envelope();
    envelope.origin = mail::Origin::local;
    mail::HeaderBlock header = mail::HeaderBlock::parse("Resent-To: x@example.net\r\nFrom: c@example.com\r\n");
    run(chain_of(mender(settings, "6B05986081000000")), header, envelope);
    CHECK(header.count("Resent-From") == 1);
    CHECK(header.count("Resent-Date") == 1);
    CHECK(header.count("Resent-Message-ID") == 1);
    CHECK(header.count("Message-ID") == 0);
    CHECK(header.find("From")->body() == "c@example.com");
}

// --- the spool's odd cases

namespace {

struct SpoolBench : Bench {
    SpoolBench() { spool = std::move(*Spool::open(disk, "/spool")); }
    std::string queue_one() { return commit(std::move(*intake->create()))->id(); }
    std::vector<Spool::Found> scan()
    {
        odd.clear();
        auto found = spool->scan([&](const std::string& path) { odd.push_back(path); });
        REQUIRE(found);
        return std::move(*found);
    }
    std::unique_ptr<Spool> spool;
    std::vector<std::string> odd;
};

constexpr Place in_smtpd{State::incoming, 0}, in_submission{State::incoming, 1}, in_deferred{State::deferred, 0}, in_hold{State::hold, 0}, in_corrupt{State::corrupt, 0};

}  // namespace

TEST_CASE("moves of many mails share a sync per target directory", "[queue][speed]")
{
    SpoolBench b;
    std::vector<std::string> ids;
    for (int i = 0; i < 64; ++i) ids.push_back(b.queue_one());
    const auto before = b.disk.syncs();
    REQUIRE(b.spool->move(ids, in_smtpd, in_deferred));
    CHECK(b.disk.syncs() - before == 16);
    const auto found = b.scan();
    REQUIRE(found.size() == 64);
    for (std::size_t i = 0; i < 64; ++i) {
        CHECK(found[i].id == ids[i]);
        CHECK(found[i].place == in_deferred);
        CHECK(b.spool->open_mail(found[i].id, found[i].place));
    }
    CHECK(b.queued().empty());
    CHECK(b.spool->scan_writer(0)->empty());
}

TEST_CASE("names that are no mails are told and left alone; dot files are nobody's business", "[queue]")
{
    SpoolBench b;
    const std::string id = b.queue_one();
    b.disk.put("/spool/incoming/smtpd/new/README", "x");
    b.disk.put("/spool/incoming/smtpd/new/.nfs0001", "x");
    b.disk.put("/spool/deferred/0/6B05986081000007", "in the wrong fan");
    const auto found = b.scan();
    REQUIRE(found.size() == 1);
    CHECK(found[0].id == id);
    CHECK(b.odd == std::vector<std::string>{"/spool/incoming/smtpd/new/README", "/spool/deferred/0/6B05986081000007"});
    CHECK(b.disk.names("/spool/incoming/smtpd/new").size() == 3);
    CHECK(*b.spool->scan_writer(0) == std::vector<std::string>{id});
}

TEST_CASE("a move of many that fails before its end moves none, and loses none wherever it fails", "[queue][durability-2]")
{
    for (const bool sync : {false, true}) {
        bool whole = false;
        for (uint64_t nth = 1; !whole; ++nth) {
            SpoolBench b;
            std::vector<std::string> ids;
            for (int i = 0; i < 20; ++i) ids.push_back(b.queue_one());
            const uint64_t before = b.disk.steps();
            if (sync) b.disk.fail_sync(nth, EIO);
            else b.disk.fail_step(nth, ENOSPC);
            const auto moved = b.spool->move(ids, in_smtpd, in_deferred);
            INFO("the " << nth << "th, sync: " << sync << (moved ? "" : moved.error().text));
            const auto still = b.queued();
            if (moved) CHECK(still.empty());
            else if (sync || b.disk.steps() - before < 20 + 16) CHECK(still.size() == 20);
            whole = moved.has_value();
            b.disk.power_cut(test::Cut::oldest);
            CHECK(b.scan().size() == 20);
        }
    }
    SpoolBench b;                                          // what somebody took away by hand keeps nobody back
    std::vector<std::string> ids = {b.queue_one(), "6B05986085000001", b.queue_one()};
    CHECK(b.spool->move(ids, in_smtpd, in_deferred));
    CHECK(b.queued().empty());
    CHECK(b.scan().size() == 2);
}

TEST_CASE("a second file under a known ID is put aside, and the known one stays", "[queue][security]")
{
    SpoolBench b;
    const std::string id = b.queue_one();
    REQUIRE(b.spool->move({id}, in_smtpd, in_deferred));
    const std::string good = *b.disk.content(cat("/spool/deferred/", id.back(), '/', id));
    b.disk.put(cat("/spool/incoming/submission/new/", id), "an impostor");
    auto found = b.scan();
    REQUIRE(found.size() == 1);
    CHECK(found[0].place == in_deferred);
    CHECK(b.odd == std::vector<std::string>{cat("/spool/incoming/submission/new/", id)});
    CHECK(*b.disk.content(cat("/spool/deferred/", id.back(), '/', id)) == good);
    CHECK(b.disk.content(cat("/spool/corrupt/", id, "-1")) == "an impostor");
    found = b.scan();
    CHECK(found.size() == 1);
    CHECK(b.odd.empty());
}

TEST_CASE("corrupt takes every file, even a second one of an ID", "[queue]")
{
    SpoolBench b;
    b.disk.put("/spool/incoming/smtpd/new/6B05986081000009", "one");
    REQUIRE(b.spool->move({"6B05986081000009"}, in_smtpd, in_corrupt));
    b.disk.put("/spool/incoming/submission/new/6B05986081000009", "two");
    REQUIRE(b.spool->move({"6B05986081000009"}, in_submission, in_corrupt));
    CHECK(b.disk.names("/spool/corrupt") == std::vector<std::string>{"6B05986081000009", "6B05986081000009-1"});
    b.disk.put("/spool/hold/6B05986081000009", "three");
    CHECK(b.spool->move({"6B05986081000009"}, in_corrupt, in_hold).error().code == EEXIST);
}

TEST_CASE("a move whose sync fails leaves the mail where it was, and can be done again", "[queue][durability-2]")
{
    SpoolBench b;
    const std::string id = b.queue_one();
    b.disk.fail_sync(1, EIO);
    const auto failed = b.spool->move({id}, in_smtpd, in_deferred);
    REQUIRE_FALSE(failed);
    CHECK(failed.error().code == EIO);
    CHECK(b.scan().at(0).place == in_smtpd);
    CHECK(b.disk.names(cat("/spool/deferred/", id.back())).empty());
    REQUIRE(b.spool->move({id}, in_smtpd, in_deferred));
    b.disk.power_cut(test::Cut::oldest);
    b.spool = std::move(*Spool::open(b.disk, "/spool"));
    CHECK(b.scan().at(0).place == in_deferred);
    CHECK_FALSE(is_queue_id("6B05986081000009-1"));
}

TEST_CASE("the spool's table has parents first and opens to nobody else", "[queue][security]")
{
    std::set<std::string> seen;
    for (const SpoolDirectory& d : spool_directories()) {
        const std::string path = d.path;
        if (!path.empty()) CHECK(seen.contains(path.find('/') == std::string::npos ? "" : path.substr(0, path.rfind('/'))));
        CHECK(seen.insert(path).second);
        CHECK((d.mode & 0002) == 0);
        if (std::string_view(d.user) != "root") CHECK((d.mode & 0007) == 0);
        if (path.ends_with("/new") && path.starts_with("incoming/") && path != "incoming/internal/new") CHECK(d.mode == 02770);
    }
    CHECK(seen.size() == 38);
}

TEST_CASE("one queue manager works on a spool, and the next one waits until it has ended", "[queue][durability-1]")
{
    char base[] = "/tmp/spool-lock-XXXXXX";
    REQUIRE(::mkdtemp(base));
    const std::filesystem::path log = std::filesystem::path(base) / "log";
    std::filesystem::create_directory(log);
    auto first = lock_spool(base, std::chrono::milliseconds(0));
    REQUIRE(first);
    const auto second = lock_spool(base, std::chrono::milliseconds(0));
    REQUIRE_FALSE(second);
    CHECK(second.error().text.find(cat("another queue manager, process ", ::getpid())) != std::string::npos);
    std::thread ending([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        first->reset();
    });
    CHECK(lock_spool(base, std::chrono::milliseconds(60'000)));
    ending.join();
    std::filesystem::remove(log / "lock");
    std::filesystem::create_symlink("/tmp/elsewhere", log / "lock");
    CHECK_FALSE(lock_spool(base, std::chrono::milliseconds(0)));
    std::filesystem::remove_all(base);
}

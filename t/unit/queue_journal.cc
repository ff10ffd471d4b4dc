// lib/queue: the journal's bytes, its commits, and what it does when the disk lets it down.
#include "t/unit/catch.h"
#include "t/unit/forgetful_disk.h"

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <mutex>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/queue/journal.h"

using namespace veredus;
using namespace veredus::queue;
using test::Cut;
using test::ForgetfulDisk;

namespace {

Record make(Event event, uint64_t id, std::string text = "")
{
    Record r;
    r.event = event;
    r.id = hex_upper(id, 16);
    r.text = std::move(text);
    r.time_us = -5;
    return r;
}

Record expansion()
{
    Record r = make(Event::expansion, 7);
    r.recipient = 3;
    r.outcome = 4;
    r.attempts = 9;
    r.dsn = "2.0.0";
    r.children = {{Child::Kind::address, "bob@example.org", "", "-"}, {Child::Kind::command, "/usr/bin/procmail \xff\n", "bob", "owner@example.org"}, {Child::Kind::file, "/dev/null", "", "-"}};
    return r;
}

struct Bench {
    Bench() { disk.make_directory("/log"); }
    Result<std::unique_ptr<Journal>> try_open()
    {
        seen.clear();
        return Journal::open(disk, std::move(*disk.open_directory(nullptr, "/log")), [this](const Record& r) { seen.push_back(r); }, [](std::function<void()> f) { f(); });
    }
    std::unique_ptr<Journal> open()
    {
        auto journal = try_open();
        REQUIRE(journal);
        return std::move(*journal);
    }
    Result<void> commit(Journal& journal, std::vector<Record> records)
    {
        Result<void> result = fail("never called");
        journal.commit(std::move(records), [&](Result<void> r) { result = std::move(r); });
        [[maybe_unused]] const auto flushed = journal.flush();
        return result;
    }
    Result<void> compact(Journal& journal, std::vector<Record> live)
    {
        Result<void> result = fail("never called");
        journal.compact(std::move(live), [&](Result<void> r) { result = std::move(r); });
        [[maybe_unused]] const auto flushed = journal.flush();
        return result;
    }
    // What the file holds, without the zeros behind it that are room for more.
    std::string written(const Journal& journal) { return disk.content("/log/journal")->substr(0, journal.size()); }
    ForgetfulDisk disk;
    std::vector<Record> seen;
};

}  // namespace

TEST_CASE("journal records read back as they were written", "[queue][veredus-queue.5]")
{
    const std::vector<Record> records = {make(Event::deferred, ~uint64_t{0}, "connect to mx: timed out"), expansion(), make(Event::done, 0)};
    const std::string bytes = encode_frame(records, "saltsalt");
    std::size_t valid = 0;
    CHECK(decode_records(bytes, valid, "saltsalt") == records);
    CHECK(valid == bytes.size());
    CHECK(decode_records(bytes, valid, "saltsalu").empty());    // another file's frame
    CHECK(decode_records(encode_record(records[1]), valid) == std::vector{records[1]});
}

TEST_CASE("a frame is there as a whole or not at all", "[queue]")
{
    const std::string first = encode_record(make(Event::deferred, 1)), bytes = first + encode_frame({make(Event::outcome, 2), make(Event::bounced, 2, "X")});
    std::size_t valid = 0;
    for (std::size_t size = 0; size <= bytes.size(); ++size) {
        const auto records = decode_records(std::string_view(bytes).substr(0, size), valid);
        REQUIRE(records.size() == (size < first.size() ? 0 : size < bytes.size() ? 1 : 3));
    }
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        std::string bad = bytes;
        bad[i] = static_cast<char>(bad[i] ^ 1);
        REQUIRE(decode_records(bad, valid).size() == (i < first.size() ? 0 : 1));
    }
    CHECK(decode_records(std::string(1000, '\0'), valid).empty());    // zeros are no frames
    CHECK(valid == 0);
}

TEST_CASE("a commit is durable before anyone hears of it", "[queue][durability-1]")
{
    for (const Cut cut : {Cut::oldest, Cut::newest, Cut::random}) {
        Bench b;
        {
            auto journal = b.open();
            REQUIRE(b.commit(*journal, {make(Event::deferred, 1), make(Event::retry, 1)}));
            REQUIRE(b.commit(*journal, {expansion()}));
            CHECK(journal->size() < 1000);
            CHECK(b.disk.content("/log/journal")->find_first_not_of('\0', journal->size()) == std::string::npos);
        }
        b.disk.power_cut(cut, 3);
        auto journal = b.open();
        CHECK(b.seen == std::vector{make(Event::deferred, 1), make(Event::retry, 1), expansion()});
        REQUIRE(b.commit(*journal, {make(Event::done, 7)}));
        journal.reset();
        b.disk.power_cut(cut, 4);
        b.open();
        CHECK(b.seen.size() == 4);
    }
}

TEST_CASE("all that wait share one sync", "[queue][speed]")
{
    // A disk whose first sync of the file takes until the test says so: what comes meanwhile must share the next one.
    class Slow : public ForgetfulDisk {
    public:
        using ForgetfulDisk::sync;
        Result<void> sync(const Fd& file) override
        {
            std::unique_lock lock(mutex);
            ++count;
            turned.notify_all();
            turned.wait(lock, [this] { return open; });
            return ForgetfulDisk::sync(file);
        }
        std::mutex mutex;
        std::condition_variable turned;
        bool open = true;
        int count = 0;
    } disk;
    disk.make_directory("/log");
    auto journal = std::move(*Journal::open(disk, std::move(*disk.open_directory(nullptr, "/log")), [](const Record&) {}, [](std::function<void()> f) { f(); }));
    std::atomic<int> durable = 0;
    const auto count = [&](Result<void> r) { durable += r ? 1 : 0; };
    disk.open = false;
    const int before = disk.count;
    journal->commit({make(Event::deferred, 1)}, count);
    {
        std::unique_lock lock(disk.mutex);
        disk.turned.wait(lock, [&] { return disk.count == before + 1; });
    }
    for (uint64_t i = 0; i < 100; ++i) journal->commit({make(Event::deferred, i)}, count);
    CHECK(durable == 0);
    {
        const std::lock_guard lock(disk.mutex);
        disk.open = true;
    }
    disk.turned.notify_all();
    REQUIRE(journal->flush());
    CHECK(durable == 101);
    CHECK(disk.count == before + 2);
}

TEST_CASE("a torn tail is cut off and the journal goes on behind it", "[queue]")
{
    Bench b;
    std::string whole;
    {
        auto journal = b.open();
        REQUIRE(b.commit(*journal, {make(Event::deferred, 1)}));
        REQUIRE(b.commit(*journal, {make(Event::deferred, 2)}));
        whole = b.written(*journal);
    }
    for (std::size_t cut = journal_start_size; cut < whole.size(); ++cut) {
        for (const std::size_t room : {0, 10'000}) {      // zeros where the file had been made longer
            b.disk.put("/log/journal", whole.substr(0, cut) + std::string(room, '\0'));
            auto journal = b.open();
            const std::size_t before = b.seen.size();
            REQUIRE(before <= 2);      // the bytes that were cut off may have been zeros
            if (room == 0) REQUIRE(before == (cut < journal_start_size + (whole.size() - journal_start_size) / 2 ? 0 : 1));
            REQUIRE(b.commit(*journal, {make(Event::done, 3)}));
            journal.reset();
            b.open();
            REQUIRE(b.seen.size() == before + 1);
            REQUIRE(b.seen.back() == make(Event::done, 3));
        }
    }
}

TEST_CASE("the journal writes into room that it made before, and makes more", "[queue][speed]")
{
    // The length that each sync finds: one that is the same as before has nothing but bytes to bring to the disk.
    class Watched : public ForgetfulDisk {
    public:
        using ForgetfulDisk::sync;
        Result<void> sync(const Fd& file) override
        {
            lengths.push_back(*size(file));
            return ForgetfulDisk::sync(file);
        }
        std::vector<uint64_t> lengths;
    } disk;
    disk.make_directory("/log");
    std::vector<Record> expected, seen;
    const auto open = [&] {
        seen.clear();
        return std::move(*Journal::open(disk, std::move(*disk.open_directory(nullptr, "/log")), [&](const Record& r) { seen.push_back(r); }, [](std::function<void()> f) { f(); }));
    };
    auto journal = open();
    const auto commit = [&](uint64_t id) {
        expected.push_back(make(Event::deferred, id, std::string(5'000, 'x')));
        journal->commit({expected.back()}, nullptr);
        REQUIRE(journal->flush());
    };
    const auto growths = [&] {
        std::size_t n = 0;
        for (std::size_t i = 1; i < disk.lengths.size(); ++i) n += disk.lengths[i] != disk.lengths[i - 1];
        return n;
    };
    for (uint64_t i = 1; i <= 200; ++i) commit(i);        // a million bytes
    CHECK(disk.lengths.size() > 200);
    CHECK(growths() <= 6);
    // Room of before is used, and what a process that was killed wrote into it is read.
    const std::size_t before = growths();
    journal.reset();
    journal = open();
    CHECK(seen == expected);
    commit(201);
    CHECK(growths() == before);
    journal.reset();
    disk.power_cut(Cut::oldest);
    journal = open();
    CHECK(seen == expected);
}

TEST_CASE("damage in the middle costs that frame and says so", "[queue]")
{
    Bench b;
    std::string whole;
    {
        auto journal = b.open();
        for (uint64_t i = 1; i <= 5; ++i) REQUIRE(b.commit(*journal, {make(Event::deferred, i, std::string(100, 'x'))}));
        whole = b.written(*journal);
    }
    const std::size_t frame = (whole.size() - journal_start_size) / 5;
    std::string log;
    log::capture(&log);
    for (std::size_t at = journal_start_size; at < journal_start_size + 4 * frame; at += 7) {
        b.disk.put("/log/journal", whole);
        b.disk.damage("/log/journal", at, static_cast<char>(whole[at] ^ 0x40));
        b.open();
        REQUIRE(b.seen.size() == 4);
        REQUIRE(b.seen.back() == make(Event::deferred, 5, std::string(100, 'x')));
    }
    log::capture(nullptr);
    CHECK(log.find("damaged bytes") != std::string::npos);
}

TEST_CASE("a text with a forged frame in it stays a text", "[queue]")
{
    Bench b;
    {
        auto journal = b.open();
        REQUIRE(b.commit(*journal, {make(Event::deferred, 1, encode_record(make(Event::done, 99)))}));
        REQUIRE(b.commit(*journal, {make(Event::deferred, 2)}));
    }
    b.disk.damage("/log/journal", journal_start_size, '\xee');    // the outer frame is lost, and the search begins
    std::string log;
    log::capture(&log);
    b.open();
    log::capture(nullptr);
    CHECK(b.seen == std::vector{make(Event::deferred, 2)});
}

TEST_CASE("a file that is no journal is set aside", "[queue]")
{
    Bench b;
    std::string log;
    log::capture(&log);
    for (const std::string& junk : {std::string(), std::string("hello"), std::string(100, '\0'), cat(journal_start("saltsalt").substr(0, 31), "x")}) {
        b.disk.put("/log/journal", junk);
        auto journal = b.open();
        CHECK(b.seen.empty());
        CHECK(b.disk.content("/log/journal.bad") == junk);
        CHECK(b.commit(*journal, {make(Event::deferred, 1)}));
    }
    log::capture(nullptr);
    CHECK(log.find("journal.bad") != std::string::npos);
}

TEST_CASE("a full disk fails that commit; the next one may succeed", "[queue][durability-2]")
{
    Bench b;
    {
        auto journal = b.open();
        REQUIRE(b.commit(*journal, {make(Event::deferred, 1)}));
        b.disk.fail_write(1, ENOSPC);
        const auto full = b.commit(*journal, {make(Event::deferred, 2)});
        REQUIRE_FALSE(full);
        CHECK(full.error().code == ENOSPC);
        CHECK_FALSE(journal->broken());
        REQUIRE(b.commit(*journal, {make(Event::deferred, 3)}));
    }
    b.disk.power_cut(Cut::oldest);
    b.open();
    CHECK(b.seen == std::vector{make(Event::deferred, 1), make(Event::deferred, 3)});
}

TEST_CASE("a disk that is nearly full takes records while there is room for them", "[queue][durability-2]")
{
    Bench b;
    {
        auto journal = b.open();
        b.disk.fail_write(1, ENOSPC);                  // of much room at once
        REQUIRE(b.commit(*journal, {make(Event::deferred, 1)}));
        CHECK(b.disk.content("/log/journal")->size() <= 4096);
        REQUIRE(b.commit(*journal, {make(Event::deferred, 2)}));
        b.disk.fail_write(1, ENOSPC);                  // of the record itself
        REQUIRE_FALSE(b.commit(*journal, {make(Event::deferred, 3)}));
        CHECK_FALSE(journal->broken());
        REQUIRE(b.commit(*journal, {make(Event::deferred, 4)}));
    }
    b.disk.power_cut(Cut::oldest);
    b.open();
    CHECK(b.seen == std::vector{make(Event::deferred, 1), make(Event::deferred, 2), make(Event::deferred, 4)});
}

TEST_CASE("after a failed sync nothing is promised until a fresh file was written", "[queue][durability-2]")
{
    Bench b;
    {
        auto journal = b.open();
        REQUIRE(b.commit(*journal, {make(Event::deferred, 1)}));
        b.disk.fail_sync(1, EIO);
        REQUIRE_FALSE(b.commit(*journal, {make(Event::deferred, 2)}));
        CHECK(journal->broken());
        CHECK_FALSE(journal->flush());
        const auto before = b.disk.steps();
        REQUIRE_FALSE(b.commit(*journal, {make(Event::deferred, 3)}));
        CHECK(b.disk.steps() == before);    // not even tried
        REQUIRE(b.compact(*journal, {make(Event::deferred, 1), make(Event::deferred, 2)}));
        CHECK_FALSE(journal->broken());
        REQUIRE(b.commit(*journal, {make(Event::deferred, 4)}));
    }
    b.disk.power_cut(Cut::oldest);
    b.open();
    CHECK(b.seen == std::vector{make(Event::deferred, 1), make(Event::deferred, 2), make(Event::deferred, 4)});
}

TEST_CASE("a compaction that a crash or an error stops loses nothing", "[queue][durability-1]")
{
    const std::vector<Record> before = {make(Event::deferred, 1), make(Event::deferred, 2), make(Event::done, 2)};
    const std::vector<Record> live = {make(Event::deferred, 1)};
    for (const bool crash : {true, false}) {
        for (uint64_t at = 1; at < 8; ++at) {
            for (const Cut cut : {Cut::oldest, Cut::newest, Cut::names_only, Cut::bytes_only, Cut::random}) {
                Bench b;
                auto journal = b.open();
                REQUIRE(b.commit(*journal, before));
                if (crash) b.disk.cut_power_at(b.disk.steps() + at);
                else b.disk.fail_step(at, EIO);
                const bool compacted = static_cast<bool>(b.compact(*journal, live));
                const bool more = static_cast<bool>(b.commit(*journal, {make(Event::deferred, 3)}));
                journal.reset();
                b.disk.power_cut(cut, at);
                b.open();
                INFO("crash " << crash << " at " << at << " cut " << static_cast<int>(cut));
                const bool extra = !b.seen.empty() && b.seen.back() == make(Event::deferred, 3);
                if (more) REQUIRE(extra);
                if (extra) b.seen.pop_back();
                if (compacted) REQUIRE(b.seen == live);
                else REQUIRE((b.seen == before || b.seen == live));
            }
        }
    }
}

TEST_CASE("a compaction that finds the disk full leaves the room to the records that come then", "[queue][durability-2]")
{
    Bench b;
    auto journal = b.open();
    REQUIRE(b.commit(*journal, {make(Event::deferred, 1)}));
    b.disk.fail_write(1, ENOSPC);
    const auto full = b.compact(*journal, {make(Event::deferred, 1), make(Event::deferred, 9)});
    REQUIRE_FALSE(full);
    CHECK(full.error().code == ENOSPC);
    CHECK_FALSE(journal->broken());
    CHECK(b.disk.names("/log") == std::vector<std::string>{"journal"});
    REQUIRE(b.commit(*journal, {make(Event::deferred, 2)}));
    journal.reset();
    b.disk.power_cut(Cut::oldest);
    b.open();
    CHECK(b.seen == std::vector{make(Event::deferred, 1), make(Event::deferred, 2)});
}

TEST_CASE("a journal of many frames, one larger than the reader's window, replays whole", "[queue]")
{
    Bench b;
    Record big = expansion();
    big.children.clear();
    for (int i = 0; i < 60'000; ++i) big.children.push_back({Child::Kind::address, cat("user", i, "@a-rather-long-name.example.org"), "", "-"});
    {
        auto journal = b.open();
        std::vector<Record> live(5'000, make(Event::deferred, 1, std::string(300, 'r')));
        live.push_back(big);
        live.push_back(make(Event::done, 9));
        REQUIRE(b.compact(*journal, live));
        REQUIRE(b.commit(*journal, {big}));
        std::vector<Record> absurd(300'000, make(Event::deferred, 1));
        REQUIRE_FALSE(b.commit(*journal, std::move(absurd)));
    }
    b.open();
    REQUIRE(b.seen.size() == 5'003);
    CHECK(b.seen[5'000] == big);
    CHECK(b.seen[5'002] == big);
}

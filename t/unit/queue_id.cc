// lib/queue: IDs that never repeat, whatever the clock, the power and the disk do.
#include "t/unit/catch.h"
#include "t/unit/forgetful_disk.h"

#include <cerrno>
#include <set>

#include "lib/base/text.h"
#include "lib/queue/id.h"

using namespace veredus;
using namespace veredus::queue;
using test::Cut;
using test::ForgetfulDisk;

namespace {

class HandClock final : public Clock {
public:
    int64_t wall_us() const override { return wall; }
    int64_t mono_us() const override { return wall; }
    int64_t wall = 1'795'528'800 * us_per_second;
};

struct Bench {
    Bench() { disk.make_directory("/tmp"); }
    IdMaker open(unsigned slot = 3)
    {
        dir = std::move(*disk.open_directory(nullptr, "/tmp"));
        return std::move(*IdMaker::open(disk, dir, slot, clock));
    }
    ForgetfulDisk disk;
    HandClock clock;
    disk::Directory dir;
};

}  // namespace

TEST_CASE("an ID is seconds, slot and counter in 16 upper-case digits", "[queue][veredus-queue.5]")
{
    Bench b;
    IdMaker ids = b.open();
    CHECK(*ids.next() == cat(hex_upper(1'795'528'800, 8), "83000000"));
    CHECK(*ids.next() == cat(hex_upper(1'795'528'800, 8), "83000001"));
    b.clock.wall += us_per_second;
    CHECK(*ids.next() == cat(hex_upper(1'795'528'801, 8), "83000000"));
    CHECK(id_seconds(*ids.next()) == 1'795'528'801);
    CHECK_FALSE(IdMaker::open(b.disk, b.dir, 128, b.clock));
}

TEST_CASE("what is and what is not a queue ID", "[queue]")
{
    CHECK(is_queue_id("6B05A2E083000000"));
    for (const char* no : {"", "6B05A2E08300000", "6B05A2E0830000000", "6b05a2e083000000", "6B05A2E08300000G", "../../etc/passwd", ".mark-3"}) CHECK_FALSE(is_queue_id(no));
}

TEST_CASE("a drop file's ID has the high bit of its second half clear", "[queue][veredus-queue.5]")
{
    const std::string id = drop_id(1'795'528'800 * us_per_second + 999'999, 0x12345);
    CHECK(is_queue_id(id));
    CHECK(id == cat(hex_upper(1'795'528'800, 8), hex_upper(uint64_t{499'999} << 12 | 0x345, 8)));
    CHECK(id[8] < '8');
}

TEST_CASE("no ID repeats and none goes back over crashes, kills and clock steps", "[queue][durability-4]")
{
    for (const Cut cut : {Cut::oldest, Cut::newest, Cut::names_only, Cut::bytes_only, Cut::random}) {
        Bench b;
        std::set<std::string> all;
        std::string last;
        std::mt19937_64 random(7);
        int64_t furthest = 0;
        for (int round = 0; round < 60; ++round) {
            IdMaker ids = b.open();
            for (int i = 0; i < 40; ++i) {
                const auto id = ids.next();
                REQUIRE(id);
                REQUIRE(all.insert(*id).second);
                REQUIRE(*id > last);
                last = *id;
                furthest = std::max(furthest, b.clock.wall / us_per_second);
                b.clock.wall += static_cast<int64_t>(random() % 20'000'000);
                if (random() % 50 == 0) b.clock.wall -= 7'200 * us_per_second;    // the clock is set back
            }
            if (round % 3) b.disk.power_cut(cut, static_cast<uint64_t>(round));
        }
        CHECK(id_seconds(last) < furthest + 300 + 60 + 1);    // it never runs away
    }
}

TEST_CASE("the mark is synced once in some minutes, not per ID", "[queue]")
{
    Bench b;
    IdMaker ids = b.open();
    const auto before = b.disk.syncs();
    for (int i = 0; i < 3600; ++i) {
        REQUIRE(ids.next());
        b.clock.wall += us_per_second;
    }
    CHECK(b.disk.syncs() - before <= 13);
}

TEST_CASE("the counter's end moves to the next second", "[queue][long]")
{
    Bench b;
    IdMaker ids = b.open();
    std::string last = *ids.next();
    for (uint32_t i = 0; i < (1u << 24) + 5; ++i) {
        const auto id = ids.next_reserved();
        if (!id || *id <= last) FAIL("repeated at " << i);
        last = *id;
    }
    CHECK(id_seconds(last) == 1'795'528'801);
}

TEST_CASE("IDs go on beyond 2038, and a clock from the next century uses none of them up", "[queue][durability-4]")
{
    Bench b;
    b.clock.wall = 0x80000005ll * us_per_second;
    std::string last = *b.open().next();
    CHECK(last == "8000000583000000");
    CHECK(id_seconds(last) == 0x80000005ll);
    for (const int64_t broken : {int64_t{0xFFFFFFFF}, int64_t{0x1'0000'0005}, int64_t{8'000'000'000'000}}) {
        b.clock.wall = broken * us_per_second;
        for (int starts = 0; starts < 3; ++starts) {
            IdMaker ids = b.open();
            const auto id = ids.next();
            REQUIRE(id);
            CHECK(*id > last);
            last = *id;
        }
        b.clock.wall = 0x80000005ll * us_per_second;
        const auto id = b.open().next();
        REQUIRE(id);
        CHECK(*id > last);
        last = *id;
    }
    CHECK(id_seconds(last) < 4'102'444'800ll + 3600);
}

TEST_CASE("without a sync IDs lag behind the clock and still never repeat", "[queue]")
{
    Bench b;
    IdMaker ids = b.open();
    const std::string first = *ids.next_reserved();
    b.clock.wall += 3600 * us_per_second;
    CHECK(ids.runs_low());
    const auto syncs = b.disk.syncs();
    const std::string second = *ids.next_reserved();
    CHECK(second > first);
    CHECK(id_seconds(second) < b.clock.wall / us_per_second);
    CHECK(b.disk.syncs() == syncs);
    REQUIRE(ids.refill());
    CHECK_FALSE(ids.runs_low());
    CHECK(id_seconds(*ids.next_reserved()) == b.clock.wall / us_per_second);
}

TEST_CASE("a mark whose sync failed is written anew, not synced again", "[queue][durability-2]")
{
    Bench b;
    IdMaker ids = b.open();
    b.clock.wall += 400 * us_per_second;
    REQUIRE(ids.next());    // appended a line
    b.clock.wall += 400 * us_per_second;
    b.disk.fail_sync(1, EIO);
    const auto id = ids.next();    // into a fresh file
    REQUIRE(id);
    b.disk.power_cut(Cut::oldest);
    IdMaker again = b.open();
    CHECK(*again.next() > *id);
}

TEST_CASE("torn and forged lines of a mark count nothing", "[queue]")
{
    Bench b;
    const std::string id = *b.open().next();
    const std::string good = *b.disk.content("/tmp/.mark-3");
    b.disk.put("/tmp/.mark-3", good + "FFFFFFFF 00000000\n" + good.substr(0, 7));
    CHECK(*b.open().next() > id);
    CHECK(id_seconds(*b.open().next()) < 0xFFFFFFFF);
}

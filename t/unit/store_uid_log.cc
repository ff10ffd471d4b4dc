// lib/store/uid_log: numbers that never come twice, whatever happens to the file.
#include "t/unit/catch.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <set>

#include "lib/base/crc32c.h"
#include "lib/base/text.h"
#include "lib/store/uid_appender.h"
#include "lib/store/uid_log.h"
#include "t/unit/forgetful_disk.h"

using namespace veredus;
using namespace veredus::store;

namespace {

UidLog::MakeSeed seed_of(uint32_t validity)
{
    return [validity](UidLog::Begins) -> Result<Seed> {
        Seed seed;
        seed.uidvalidity = validity;
        seed.mailbox_id = 99;
        return seed;
    };
}

struct World {
    test::ForgetfulDisk disk;
    World() { disk.make_directory("/m"); }
    Result<std::unique_ptr<UidLog>> try_open(uint32_t validity = 7)
    {
        auto dir = disk.open_directory(nullptr, "/m");
        REQUIRE(dir);
        return UidLog::open(disk, std::move(*dir), "uidlog", seed_of(validity));
    }
    std::unique_ptr<UidLog> open(uint32_t validity = 7)
    {
        auto log = try_open(validity);
        INFO((log ? "" : log.error().text));
        REQUIRE(log);
        return std::move(*log);
    }
};

NewMessage named(std::string name, uint8_t flags = 0)
{
    NewMessage m;
    m.name = std::move(name);
    m.flags = flags;
    return m;
}

uint32_t add(UidLog& log, const std::string& name, uint8_t flags = 0)
{
    auto change = log.begin();
    REQUIRE((change && *change));
    const uint32_t uid = (*change)->add(named(name, flags));
    REQUIRE((*change)->commit());
    return uid;
}

std::string shape(const UidTable& t)
{
    std::string out = cat(t.uidvalidity(), ' ', t.uidnext(), ':');
    for (const Message& m : t.messages()) append(out, ' ', m.uid, '=', t.name(m), '/', int{m.flags}, '/', m.keywords);
    return out;
}

}  // namespace

TEST_CASE("UIDs grow, flags and names stay, through another opening", "[store][uidlog][rfc9051-2.3.1.1]")
{
    World w;
    auto log = w.open();
    CHECK(log->created());
    CHECK(add(*log, "a:2,") == 1);
    CHECK(add(*log, "b:2,S", seen) == 2);
    {
        auto change = log->begin();
        REQUIRE((change && *change));
        const auto bit = (*change)->keyword("$Junk");
        REQUIRE(bit);
        CHECK((*change)->keyword("$JUNK") == bit);
        CHECK_FALSE((*change)->keyword("with space"));
        CHECK_FALSE((*change)->keyword(""));
        (*change)->set_flags(flagged, uint64_t{1} << *bit, {{1, 2}});
        (*change)->rename(1, false, "a:2,F-a-longer-one");
        REQUIRE((*change)->commit());
    }
    REQUIRE(log->sync());
    const auto before = shape(log->table());
    CHECK(before == "7 3: 1=a:2,F-a-longer-one/2/1 2=b:2,S/2/1");
    auto again = w.open(8);
    CHECK_FALSE(again->created());
    CHECK(shape(again->table()) == before);
    CHECK(again->table().keywords().at(0) == "$Junk");
    CHECK(again->table().highest_modseq() == log->table().highest_modseq());
    CHECK(again->table().mailbox_id() == 99);
}

TEST_CASE("a change that was not committed is none", "[store][uidlog]")
{
    World w;
    auto log = w.open();
    {
        auto change = log->begin();
        REQUIRE((change && *change));
        (*change)->add(named("a"));
    }
    CHECK(log->table().messages().empty());
    CHECK(add(*log, "b") == 1);
}

TEST_CASE("one sees what the other appended, and follows it through a compaction", "[store][uidlog]")
{
    World w;
    auto one = w.open(), two = w.open();
    CHECK(add(*one, "a") == 1);
    CHECK(add(*two, "b") == 2);                  // begin() reads first
    auto news = one->refresh();
    REQUIRE((news && *news));
    CHECK(one->table().messages().size() == 2);
    news = one->refresh();
    CHECK((news && !*news));
    REQUIRE(two->compact());
    CHECK(add(*one, "c") == 3);
    REQUIRE(two->refresh());
    CHECK(shape(two->table()) == shape(one->table()));
    CHECK(w.disk.names("/m") == std::vector<std::string>{"uidlog"});
}

TEST_CASE("vanished UIDs are told since a mod-sequence, and merged", "[store][uidlog][rfc7162-3.2.6]")
{
    World w;
    auto log = w.open();
    for (int i = 0; i < 10; ++i) add(*log, cat("m", i));
    const uint64_t start = log->table().highest_modseq();
    std::vector<uint64_t> at;
    for (const auto& range : std::vector<UidRange>{{7, 8}, {3, 3}, {4, 6}}) {
        auto change = log->begin();
        REQUIRE((change && *change));
        (*change)->vanish({range});
        REQUIRE((*change)->commit());
        at.push_back(log->table().highest_modseq());
    }
    const auto check = [&](const UidTable& t) {
        CHECK(t.vanished_since(start) == std::vector<UidRange>{{3, 8}});
        CHECK(t.vanished_since(at[0]) == std::vector<UidRange>{{3, 6}});
        CHECK(t.vanished_since(at[2]).empty());
        CHECK(t.messages().size() == 4);
        CHECK(t.find(5) == nullptr);
        CHECK(t.find(9) != nullptr);
    };
    check(log->table());
    REQUIRE(log->compact());
    check(w.open()->table());
}

TEST_CASE("when too much vanished to remember, all that is not there is told", "[store][uidlog][rfc7162-3.2.6]")
{
    UidTable t;
    Seed seed;
    seed.uidvalidity = 1;
    t.start(seed);
    std::string records;
    NewMessage m = named("x");
    for (uint32_t uid = 1; uid <= 80'000; ++uid) records += encode_add(m, uid, 2);
    std::vector<UidRange> odd;
    for (uint32_t uid = 1; uid <= 80'000; uid += 2) odd.push_back({uid, uid});
    for (std::size_t i = 0; i < odd.size(); i += 100)
        encode_vanished(records, 3 + i, {odd.begin() + static_cast<long>(i), odd.begin() + static_cast<long>(i) + 100});
    t.apply(records);
    CHECK(t.messages().size() == 40'000);
    const auto all = t.vanished_since(1);
    CHECK(all.size() == 40'000);
    CHECK(all.front() == UidRange{1, 1});
    CHECK(t.vanished_since(t.highest_modseq() - 1).size() == 100);
}

TEST_CASE("a torn end is cut off, and no UID that may have stood there is given again", "[store][uidlog]")
{
    World w;
    {
        auto log = w.open();
        add(*log, "a");
        add(*log, "b");
    }
    const std::string whole = *w.disk.content("/m/uidlog");
    for (std::size_t cut = 1; cut < 60; cut += 7) {
        w.disk.put("/m/uidlog", whole.substr(0, whole.size() - cut));
        auto log = w.open();
        CHECK(log->healed());
        CHECK(log->table().uidvalidity() == 7);
        REQUIRE(log->table().messages().size() >= 1);
        CHECK(log->table().name(log->table().messages()[0]) == "a");
        if (log->table().messages().size() == 1) CHECK(add(*log, "c") > 2);
    }
}

TEST_CASE("any flipped byte costs at most its own record, and never a UID", "[store][uidlog]")
{
    World w;
    {
        auto log = w.open();
        for (int i = 0; i < 5; ++i) add(*log, cat("name", i));
        REQUIRE(log->compact());
        for (int i = 5; i < 8; ++i) add(*log, cat("name", i));
    }
    const std::string whole = *w.disk.content("/m/uidlog");
    for (std::size_t at = 0; at < whole.size(); ++at) {
        std::string bad = whole;
        bad[at] = static_cast<char>(bad[at] ^ 0x55);
        w.disk.put("/m/uidlog", bad);
        auto log = w.open(1000);
        INFO("byte " << at);
        CHECK(log->table().uidvalidity() == 7);          // the head stands there twice
        CHECK(log->table().messages().size() >= 7);
        for (const Message& m : log->table().messages()) CHECK(log->table().name(m) == cat("name", m.uid - 1));
        CHECK(add(*log, "new") >= 9);
        auto again = w.open();
        CHECK_FALSE(again->healed());
        CHECK(shape(again->table()) == shape(log->table()));
    }
}

TEST_CASE("without a head the names and flags stay and the numbers are new", "[store][uidlog]")
{
    World w;
    {
        auto log = w.open();
        add(*log, "a", seen);
    }
    std::string bytes = *w.disk.content("/m/uidlog");
    UidTable empty;
    Seed seed;
    seed.uidvalidity = 7;
    seed.mailbox_id = 99;
    empty.start(seed);
    for (std::size_t i = 0; i < empty.snapshot().size(); ++i) bytes[i] = 'x';
    w.disk.put("/m/uidlog", bytes);
    auto log = w.open(4711);
    CHECK(log->table().uidvalidity() == 4711);
    REQUIRE(log->table().messages().size() == 1);
    CHECK(log->table().messages()[0].flags == seen);
    w.disk.put("/m/uidlog", "");
    CHECK(w.open(4712)->table().uidvalidity() == 4712);
}

TEST_CASE("a log of a later version is left alone", "[store][uidlog]")
{
    World w;
    (void)w.open();
    std::string framed = encode_state(std::string_view("\x02\x00 whatever comes then", 22));
    framed[1] = 1;                               // a head of version 2, with the checksum of the format
    uint32_t sum = crc32c(crc32c(0, std::string_view(framed).substr(1, 7)), std::string_view(framed).substr(12));
    for (int i = 0; i < 4; ++i, sum >>= 8) framed[8 + static_cast<std::size_t>(i)] = static_cast<char>(sum);
    w.disk.put("/m/uidlog", framed);
    auto log = w.try_open();
    REQUIRE_FALSE(log);
    CHECK(log.error().code == EPROTONOSUPPORT);
    CHECK(log.error().text.find("later version") != std::string::npos);
    CHECK(*w.disk.content("/m/uidlog") == framed);
}

TEST_CASE("a keyword's bit is not given again in the change that uses it", "[store][uidlog]")
{
    World w;
    auto log = w.open();
    add(*log, "a");
    {
        auto change = log->begin();
        REQUIRE((change && *change));
        uint64_t all = 0;
        for (int i = 0; i < 64; ++i)
            if (const auto bit = (*change)->keyword(cat("k", i))) all |= uint64_t{1} << *bit;
        CHECK(all == ~uint64_t{0});
        (*change)->set_flags(0, all & ~uint64_t{7}, {{1, 1}});      // k0, k1 and k2 are nobody's
        REQUIRE((*change)->commit());
    }
    auto change = log->begin();
    REQUIRE((change && *change));
    const auto old = (*change)->keyword("k0"), fresh = (*change)->keyword("fresh");
    REQUIRE((old && fresh));
    CHECK(*old != *fresh);
    (*change)->set_flags(0, uint64_t{4}, {{1, 1}});
    CHECK_FALSE((*change)->keyword("one-more"));
}

TEST_CASE("a full disk changes nothing, and the next change works", "[store][uidlog]")
{
    World w;
    auto log = w.open();
    add(*log, "a");
    w.disk.fail_write(1, ENOSPC);
    {
        auto change = log->begin();
        REQUIRE((change && *change));
        (*change)->add(named("b"));
        const auto done = (*change)->commit();
        REQUIRE_FALSE(done);
        CHECK(done.error().code == ENOSPC);
    }
    CHECK(log->table().messages().size() == 1);
    CHECK(add(*log, "c") == 2);
    CHECK(shape(w.open()->table()) == "7 3: 1=a/0/0 2=c/0/0");
}

TEST_CASE("of a write that filled the disk, whole records stay: others may have read them", "[store][uidlog][rfc9051-2.3.1.1]")
{
    World w;
    auto log = w.open(), other = w.open();
    add(*log, "a");
    w.disk.fail_write(1, ENOSPC);                        // half of it gets there: one record and a half
    {
        auto change = log->begin();
        REQUIRE((change && *change));
        for (const char* name : {"b", "c", "d"}) (*change)->add(named(name));
        const auto done = (*change)->commit();
        REQUIRE_FALSE(done);
        CHECK(done.error().code == ENOSPC);
        REQUIRE(other->refresh());
        CHECK(shape(other->table()) == "7 3: 1=a/0/0 2=b/0/0");
        CHECK(shape(log->table()) == shape(other->table()));
        CHECK((*change)->add(named("e")) == 3);          // what was not written was nobody's
        REQUIRE((*change)->commit());
    }
    CHECK(shape(w.open()->table()) == "7 4: 1=a/0/0 2=b/0/0 3=e/0/0");
    // The same of a delivery's hand.
    REQUIRE(log->sync());
    w.disk.fail_write(1, ENOSPC);
    auto dir = w.disk.open_directory(nullptr, "/m");
    REQUIRE(dir);
    {
        auto hand = UidAppender::try_begin(w.disk, *dir, "uidlog");
        REQUIRE((hand && *hand));
        for (const char* name : {"f", "g", "h"}) (*hand)->add(named(name));
        CHECK_FALSE((*hand)->commit());
    }
    REQUIRE(other->refresh());
    CHECK(shape(other->table()) == "7 5: 1=a/0/0 2=b/0/0 3=e/0/0 4=f/0/0");
    CHECK(add(*log, "i") == 5);
}

TEST_CASE("after a failed sync the log is written anew before anything is promised", "[store][uidlog]")
{
    World w;
    auto log = w.open();
    add(*log, "a");
    w.disk.fail_sync(1, EIO);
    CHECK_FALSE(log->sync());
    CHECK_FALSE(log->sync());                    // a second yes would be a lie
    CHECK(add(*log, "b") == 2);
    REQUIRE(log->sync());
    w.disk.power_cut(test::Cut::oldest);
    CHECK(shape(w.open()->table()) == "7 3: 1=a/0/0 2=b/0/0");
}

TEST_CASE("what was synced survives any power cut, and no UID means two messages", "[store][uidlog][forgetful]")
{
    for (uint64_t cut_at = 1; cut_at < 40; ++cut_at)
        for (const auto cut : {test::Cut::oldest, test::Cut::newest, test::Cut::names_only, test::Cut::bytes_only, test::Cut::random}) {
            World w;
            std::set<std::string> promised;       // "uid=name"
            uint32_t validity = 0;
            w.disk.cut_power_at(cut_at);
            {
                auto log = w.try_open();
                for (int i = 0; log && i < 6; ++i) {
                    if (i == 3 && !(*log)->compact()) break;
                    auto change = (*log)->begin();
                    if (!change) break;
                    const std::string name = cat("m", i);
                    const uint32_t uid = (*change)->add(named(name));
                    if (!(*change)->commit() || !(*log)->sync()) break;
                    promised.insert(cat(uid, '=', name));
                    validity = (*log)->table().uidvalidity();
                }
            }
            w.disk.power_cut(cut, cut_at);
            auto log = w.open(8);
            INFO("cut at step " << cut_at << ", " << static_cast<int>(cut) << ": " << shape(log->table()));
            if (promised.empty()) continue;
            CHECK(log->table().uidvalidity() == validity);
            const std::string got = shape(log->table());
            for (const auto& p : promised) CHECK(got.find(cat(' ', p, '/')) != std::string::npos);
            CHECK(add(*log, "later") > promised.size());
        }
}

TEST_CASE("who compacted the log appends behind what others wrote since, not over it", "[store][uidlog]")
{
    char path[] = "/tmp/veredus-uidlog.XXXXXX";
    REQUIRE(::mkdtemp(path));
    const std::string dir = path;
    const auto open = [&] {
        auto d = disk::posix_disk().open_directory(nullptr, dir);
        REQUIRE(d);
        auto log = UidLog::open(disk::posix_disk(), std::move(*d), "uidlog", seed_of(5));
        REQUIRE(log);
        return std::move(*log);
    };
    {
        auto ours = open(), theirs = open();
        add(*ours, "one");
        REQUIRE(ours->compact());
        add(*theirs, "two");
        add(*ours, "three");
        add(*theirs, "four");
        REQUIRE(theirs->compact());
        add(*ours, "five");
        add(*theirs, "six");
    }
    auto log = open();
    CHECK_FALSE(log->healed());
    CHECK(log->table().messages().size() == 6);
    CHECK(log->table().uidnext() == 7);
    (void)std::system(cat("rm -rf ", dir).c_str());
}

TEST_CASE("what another process wrote and did not sync is synced before it is told on", "[store][uidlog][forgetful]")
{
    World w;
    auto theirs = w.open();
    auto ours = w.open();
    add(*theirs, "one");
    REQUIRE(ours->refresh());
    CHECK(ours->unsynced());
    REQUIRE(ours->sync());
    w.disk.power_cut(test::Cut::oldest);
    const auto after = w.open();
    CHECK(after->table().messages().size() == 1);
}

TEST_CASE("processes that append at once never share a UID, kill -9 or not", "[store][uidlog]")
{
    char path[] = "/tmp/veredus-uidlog.XXXXXX";
    REQUIRE(::mkdtemp(path));
    const std::string dir = path;
    const auto open = [&] {
        auto d = disk::posix_disk().open_directory(nullptr, dir);
        REQUIRE(d);
        auto log = UidLog::open(disk::posix_disk(), std::move(*d), "uidlog", seed_of(5));
        REQUIRE(log);
        return std::move(*log);
    };
    int start[2];
    REQUIRE(::pipe(start) == 0);                 // closed: all begin
    std::vector<pid_t> children;
    for (int child = 0; child < 3; ++child) {
        const pid_t pid = ::fork();
        if (pid == 0) {
            char none = 0;
            ::close(start[1]);
            if (::read(start[0], &none, 1) != 0) ::_exit(5);
            auto d = disk::posix_disk().open_directory(nullptr, dir);
            auto log = d ? UidLog::open(disk::posix_disk(), std::move(*d), "uidlog", seed_of(5)) : Result<std::unique_ptr<UidLog>>(fail("dir"));
            if (!log) ::_exit(1);
            for (int i = 0; i < 100; ++i) {
                auto change = (*log)->begin();
                if (!change || !*change) ::_exit(2);
                (*change)->add(named(cat('c', child, '.', i)));
                if (child == 2 && i == 50) ::_exit(0);            // dies with the lock held
                if (!(*change)->commit()) ::_exit(3);
                if (i % 10 == 9) {
                    change->reset();
                    if (!(*log)->compact()) ::_exit(4);
                }
            }
            ::_exit(0);
        }
        children.push_back(pid);
    }
    ::close(start[0]);
    ::close(start[1]);
    for (const pid_t pid : children) {
        int status = 0;
        ::waitpid(pid, &status, 0);
        CHECK(WEXITSTATUS(status) == 0);
    }
    auto log = open();
    CHECK(log->table().messages().size() == 250);
    CHECK(log->table().uidnext() == 251);
    CHECK_FALSE(log->healed());
    (void)std::system(cat("rm -rf ", dir).c_str());
}

TEST_CASE("the end of a log says what follows it, or nothing", "[store][uidlog][delivery]")
{
    World w;
    auto log = w.open();
    uint32_t told = 0, untold = 0;
    uint64_t random = 1;
    const auto check = [&](std::size_t tail) {
        const std::string bytes = *w.disk.content("/m/uidlog");
        const bool whole = tail >= bytes.size();
        const auto end = read_log_end(std::string_view(bytes).substr(whole ? 0 : bytes.size() - tail), whole);
        if (!end) {
            ++untold;
            REQUIRE_FALSE(whole);
            return;
        }
        ++told;
        REQUIRE(end->uidnext == log->table().uidnext());
        REQUIRE(end->highest_modseq == log->table().highest_modseq());
    };
    for (int i = 0; i < 400; ++i) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        const unsigned what = random >> 60;
        {
            auto begun = log->begin();
            REQUIRE((begun && *begun));
            auto& change = **begun;
            const auto& messages = log->table().messages();
            const uint32_t some = messages.empty() ? 0 : messages[(random >> 20) % messages.size()].uid;
            if (what < 6 || !some) change.add(named(cat("\xA7 m", i)));
            else if (what < 10) change.set_flags(what, 0, {{some, some}});
            else if (what < 12) change.vanish({{some, some}});
            else if (what < 14) change.rename(some, false, cat("renamed ", i));
            else change.note_state("state");
            REQUIRE(change.commit());
        }
        if (i % 90 == 89) REQUIRE(log->compact());
        for (const std::size_t tail : {std::size_t{100}, std::size_t{1000}, std::size_t{1} << 20}) check(tail);
    }
    CHECK(told > 400);
    CHECK(untold > 0);
    // What adds to it there is understood by who has read it all.
    const auto dir = w.disk.open_directory(nullptr, "/m");
    const uint32_t next = log->table().uidnext();
    for (int i = 0; i < 3; ++i) {
        auto appender = UidAppender::try_begin(w.disk, *dir, "uidlog");
        REQUIRE((appender && *appender));
        CHECK((*appender)->uidvalidity() == 7);
        CHECK((*appender)->add(named("new")) == next + 2 * static_cast<uint32_t>(i));
        CHECK((*appender)->add(named("newer")) == next + 2 * static_cast<uint32_t>(i) + 1);
        REQUIRE((*appender)->commit());
    }
    REQUIRE(log->refresh());
    CHECK(log->table().uidnext() == next + 6);
    auto again = w.open();
    CHECK_FALSE(again->healed());
    CHECK(shape(again->table()) == shape(log->table()));
    const auto none = UidAppender::try_begin(w.disk, *dir, "other");
    REQUIRE(none);
    CHECK_FALSE(*none);
    // Half a record on a full disk: taken back.
    {
        auto appender = UidAppender::try_begin(w.disk, *dir, "uidlog");
        (*appender)->add(named("lost"));
        w.disk.fail_write(1, ENOSPC);
        CHECK_FALSE((*appender)->commit());
    }
    CHECK_FALSE(w.open()->healed());
}

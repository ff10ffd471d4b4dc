// lib/store: line ends, quoting, Maildir under a disk that forgets, mbox with its locks and its way back.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "lib/base/base64.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/store/dotlock.h"
#include "lib/store/maildir.h"
#include "lib/store/mbox.h"
#include "lib/store/mbox_mark.h"
#include "lib/store/uid_log.h"
#include "lib/store/young_names.h"
#include "t/unit/faulty_disk.h"
#include "t/unit/forgetful_disk.h"

using namespace veredus;
using namespace veredus::store;

namespace {

struct TempDir {
    std::string path;
    TempDir()
    {
        char name[] = "/tmp/veredus-store.XXXXXX";
        path = ::mkdtemp(name);
    }
    ~TempDir() { (void)std::system(cat("rm -rf ", path).c_str()); }
};

Fd memory(std::string_view bytes)
{
    Fd fd(::memfd_create("mail", MFD_CLOEXEC));
    REQUIRE(write_all(fd.get(), bytes));
    return fd;
}

Content mail(const Fd& body, std::string head = "Subject: x\n")
{
    struct stat st {};
    REQUIRE(::fstat(body.get(), &st) == 0);
    return {"From a@example.org Tue Nov 24 14:00:00 2026\n", std::move(head), body.get(), 0, static_cast<uint64_t>(st.st_size), false, {}};
}

std::string file(const std::string& path)
{
    auto text = read_file(path, 200'000'000);
    return text ? *text : cat("(", text.error().text, ")");
}

MboxRules rules()
{
    MboxRules r;
    r.owner = ::getuid();
    r.lock_attempts = 4;
    r.lock_delay = std::chrono::milliseconds(10);
    return r;
}

std::unique_ptr<Maildir> maildir_on(test::ForgetfulDisk& disk, bool keeps_order = false)
{
    return std::make_unique<Maildir>(disk, "/m", std::move(*disk.open_directory(nullptr, "/m/tmp")), std::move(*disk.open_directory(nullptr, "/m/new")), keeps_order);
}

void make_maildir(test::ForgetfulDisk& disk)
{
    for (const char* part : {"/m/tmp", "/m/new", "/m/cur"}) disk.make_directory(part);
}

}  // namespace

TEST_CASE("CRLF becomes LF and a bare CR stays, however the bytes are cut", "[store]")
{
    const std::string wire = "a\r\nb\rc\n\r\r\n\r\nFrom x\r\nend\r";
    const std::string unix_lines = "a\nb\rc\n\r\n\nFrom x\nend\r";
    for (std::size_t step = 1; step <= wire.size(); ++step) {
        LineEnds ends;
        std::string out;
        for (std::size_t i = 0; i < wire.size(); i += step) ends.feed(std::string_view(wire).substr(i, step), out);
        ends.finish(out);
        CHECK(out == unix_lines);
    }
}

TEST_CASE("only lines that begin with From and a space are quoted, however the bytes are cut", "[store][rfc4155-A]")
{
    const std::string in = "From a\nFrom\nFro\n From b\n>From c\nxFrom d\nFrom e\nFrom";
    const std::string quoted = ">From a\nFrom\nFro\n From b\n>From c\nxFrom d\n>From e\nFrom";
    for (std::size_t step = 1; step <= in.size(); ++step) {
        FromQuoter quoter;
        std::string out;
        for (std::size_t i = 0; i < in.size(); i += step) quoter.feed(std::string_view(in).substr(i, step), out);
        quoter.finish(out);
        CHECK(out == quoted);
    }
}

TEST_CASE("a stored mail has LF lines, ends its last one, and knows its size on the wire", "[store]")
{
    struct Case {
        std::string body, stored;
    };
    for (const Case& c : {Case{"hello\r\n", "Subject: x\n\nhello\n"}, Case{"no end", "Subject: x\n\nno end\n"}, Case{"", "Subject: x\n\n"}, Case{"cr at end\r", "Subject: x\n\ncr at end\r\n"}}) {
        const Fd body = memory(c.body);
        std::string out;
        const auto sizes = stream(mail(body), [&](std::string_view bytes) -> Result<void> { return out.append(bytes), Result<void>(); });
        REQUIRE(sizes);
        CHECK(out == c.stored);
        CHECK(sizes->stored == c.stored.size());
        CHECK(sizes->wire == c.stored.size() + static_cast<std::size_t>(std::count(c.stored.begin(), c.stored.end(), '\n')));
    }
}

TEST_CASE("what came by BINARYMIME is stored so that its bytes come back", "[store][rfc3030-3]")
{
    using namespace std::string_literals;
    const std::string bytes = "\0\r\n\n\r.\r\nFrom x\n"s + std::string(100'000, '\xff');
    const Fd body = memory(cat("--b\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\n", bytes, "\r\n--b--\r\n"));
    Content content = mail(body, "Subject: x\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n");
    content.binary = true;
    std::string out;
    const auto sizes = stream(content, [&](std::string_view piece) -> Result<void> { return out.append(piece), Result<void>(); });
    REQUIRE(sizes);
    const std::string head = "Subject: x\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: application/x\nContent-Transfer-Encoding: base64\n\n";
    REQUIRE(out.starts_with(head));
    REQUIRE(out.ends_with("\n--b--\n"));
    CHECK(out.find_first_of("\0\r"s) == std::string::npos);
    CHECK(sizes->stored == out.size());
    CHECK(sizes->wire == out.size() + static_cast<std::size_t>(std::count(out.begin(), out.end(), '\n')));
    std::string joined;
    for (const auto line : split(std::string_view(out).substr(head.size(), out.size() - head.size() - 7), "\n")) append(joined, line);
    CHECK((base64_decode(joined) == bytes));
}

TEST_CASE("a body of megabytes passes in blocks and is whole", "[store]")
{
    std::string wire, stored;
    for (int i = 0; i < 60'000; ++i) {
        append(wire, "line ", i, " of a long mail\r\n");
        append(stored, "line ", i, " of a long mail\n");
    }
    const Fd body = memory(wire);
    std::string out;
    std::size_t largest = 0;
    REQUIRE(stream(mail(body, ""), [&](std::string_view bytes) -> Result<void> {
        largest = std::max(largest, bytes.size());
        out.append(bytes);
        return {};
    }));
    CHECK(out == "\n" + stored);
    CHECK(largest < 200'000);
}

TEST_CASE("a queue file shorter than it says is an error, never half a mail", "[store]")
{
    const Fd body = memory("short\r\n");
    Content c = mail(body);
    c.size += 10;
    CHECK_FALSE(stream(c, [](std::string_view) -> Result<void> { return {}; }));
}

TEST_CASE("what the kernel refuses is temporary, a full quota is told apart", "[store][rfc3463-3.3]")
{
    CHECK(problem_of({EDQUOT, "x"}).dsn == "4.2.2");
    CHECK(problem_of({ENOSPC, "x"}).dsn == "4.3.1");
    CHECK(problem_of({EIO, "x"}).dsn == "4.3.0");
    for (int code = 0; code < 134; ++code) CHECK_FALSE(problem_of({code, "x"}).permanent());
}

TEST_CASE("names of a Maildir tell sizes and never repeat", "[store]")
{
    const MaildirName name{1'732'456'800'123'456, 77, 3, 0x803, 0x1f0a, "host"};
    CHECK(name.base() == "1732456800.M123456P77Q3V803I1f0a.host");
    CHECK(name.full({100, 104}) == "1732456800.M123456P77Q3V803I1f0a.host,S=100,W=104");
}

TEST_CASE("a mail that was answered delivered survives any power cut, one that was not is whole or absent", "[store][maildir]")
{
    const std::string whole = "Subject: x\n\nbody\n";
    const auto open_log = [](test::ForgetfulDisk& disk) {
        const auto seed = [](UidLog::Begins) -> Result<Seed> {
            Seed out;
            out.uidvalidity = 7;
            return out;
        };
        return UidLog::open(disk, std::move(*disk.open_directory(nullptr, "/m/.veredus")), "uidlog", seed);
    };
    struct Kind {
        bool indexed, keeps_order;    // of the file system: then names come before the syncs
    };
    for (const auto [indexed, keeps_order] : {Kind{false, false}, Kind{true, false}, Kind{false, true}, Kind{true, true}}) {
        for (const auto cut : {test::Cut::oldest, test::Cut::newest, test::Cut::names_only, test::Cut::bytes_only, test::Cut::random}) {
            uint64_t steps = 1;
            for (uint64_t at = 1; at <= steps + 1; ++at) {
                test::ForgetfulDisk disk(keeps_order);
                make_maildir(disk);
                if (indexed) {
                    disk.make_directory("/m/.veredus");
                    auto log = open_log(disk);
                    REQUIRE(log);
                    auto change = (*log)->begin();
                    NewMessage first;
                    first.name = "first";
                    REQUIRE((*change)->add(std::move(first)) == 1);
                    REQUIRE((*change)->commit());
                    REQUIRE((*log)->sync());
                }
                const uint64_t before = disk.steps();
                disk.cut_power_at(before + at);
                const Fd body = memory("body\r\n");
                const auto answers = maildir_on(disk, keeps_order)->deliver({mail(body), mail(body)});
                steps = std::max(steps, disk.steps() - before);
                disk.power_cut(cut, at);
                INFO("keeps order " << keeps_order << " cut " << static_cast<int>(cut) << " at step " << at);
                std::size_t delivered = 0;
                for (const auto& answer : answers) delivered += !answer;
                const auto names = disk.names("/m/new");
                CHECK(names.size() >= delivered);
                for (const auto& name : names) CHECK(disk.content("/m/new/" + name) == whole);
                if (!indexed) continue;
                // No number that a session was told is lost, and the next one is a new one.
                auto log = open_log(disk);
                REQUIRE(log);
                CHECK((*log)->table().uidvalidity() == 7);
                CHECK((*log)->table().find(1));
                CHECK((*log)->table().uidnext() >= 2);
            }
            CHECK(steps >= 9);    // two of each: create, write, sync, link; and one sync of new
        }
    }
}

TEST_CASE("after a failed sync nothing is left and the mail is deferred", "[store][maildir]")
{
    for (uint64_t nth = 1; nth <= 3; ++nth) {
        test::ForgetfulDisk disk;
        make_maildir(disk);
        disk.fail_sync(nth, EIO);
        const Fd body = memory("body\r\n");
        const auto answers = maildir_on(disk)->deliver({mail(body), mail(body)});
        std::size_t delivered = 0;
        for (const auto& answer : answers) {
            if (!answer) ++delivered;
            else CHECK(answer->dsn == "4.3.0");
        }
        CHECK(delivered == (nth == 3 ? 0 : 1));    // the third is the directory's, which both share
        CHECK(disk.names("/m/new").size() == delivered);
        CHECK(disk.names("/m/tmp").empty());
    }
}

TEST_CASE("where names come before the syncs, a failed sync takes the names back, and bytes that the device refused get none", "[store][maildir]")
{
    for (uint64_t nth = 0; nth <= 4; ++nth) {    // 0: none; 1: of the device; the files' syncs, the directory's
        test::ForgetfulDisk disk(true);
        make_maildir(disk);
        if (nth == 1) disk.fail_write_out(1, EIO);
        if (nth > 1) disk.fail_sync(nth - 1, EIO);
        const Fd body = memory("body\r\n");
        const auto answers = maildir_on(disk, true)->deliver({mail(body), mail(body)});
        std::size_t delivered = 0;
        for (const auto& answer : answers) {
            if (!answer) ++delivered;
            else CHECK(answer->dsn == "4.3.0");
        }
        INFO(nth);
        CHECK(delivered == (nth == 0 ? 2 : nth == 1 ? 1 : 0));
        CHECK(disk.names("/m/new").size() == delivered);
        CHECK(disk.names("/m/tmp").empty());
    }
    // Many are synced before they have names there, too: their files do not stay open.
    test::ForgetfulDisk disk(true);
    make_maildir(disk);
    const Fd body = memory("body\r\n");
    disk.fail_sync(1, EIO);
    const auto answers = maildir_on(disk, true)->deliver(std::vector<Content>(16, mail(body)));
    CHECK(std::count_if(answers.begin(), answers.end(), [](const auto& answer) { return answer.has_value(); }) == 1);
    CHECK(disk.names("/m/new").size() == 15);
}

TEST_CASE("a full disk defers one mail and the next one of the batch is delivered", "[store][maildir]")
{
    test::ForgetfulDisk disk;
    make_maildir(disk);
    disk.fail_write(1, ENOSPC);
    const Fd body = memory("body\r\n");
    const auto answers = maildir_on(disk)->deliver({mail(body), mail(body)});
    REQUIRE(answers[0]);
    CHECK(answers[0]->dsn == "4.3.1");
    CHECK_FALSE(answers[1]);
    CHECK(disk.names("/m/new").size() == 1);
    CHECK(disk.names("/m/tmp").empty());
}

TEST_CASE("a Maildir is made on first delivery, and noticed when it moves away", "[store][maildir]")
{
    TempDir home;
    auto maildir = Maildir::open(disk::posix_disk(), home.path + "/deep/er/Maildir/");
    REQUIRE(maildir);
    for (const char* part : {"cur", "new", "tmp"}) {
        struct stat st {};
        REQUIRE(::stat(cat(home.path, "/deep/er/Maildir/", part).c_str(), &st) == 0);
        CHECK((st.st_mode & 07777) == 0700);
    }
    const Fd body = memory("x\r\n");
    CHECK_FALSE((*maildir)->deliver({mail(body)})[0]);
    CHECK((*maildir)->still_there());
    REQUIRE(::rename(cat(home.path, "/deep/er/Maildir").c_str(), cat(home.path, "/moved").c_str()) == 0);
    CHECK_FALSE((*maildir)->still_there());
}

TEST_CASE("many mails, the names of some durable with the files of the next, survive any power cut", "[store][maildir]")
{
    // One wait for the disk for each batch: a call for the whole file system, which may fail, and the fallback to each file by itself.
    struct Fault {
        int code;
        test::ForgetfulDisk::Whose whose;
        bool beside = false;    // each is written while the one before is waited for
    };
    constexpr std::size_t each = 18, batches = 3;
    const std::string whole = "Subject: x\n\nbody\n";
    for (const Fault fault : {Fault{0, test::ForgetfulDisk::Whose::ours}, Fault{EIO, test::ForgetfulDisk::Whose::ours}, Fault{EIO, test::ForgetfulDisk::Whose::others},
                              Fault{0, test::ForgetfulDisk::Whose::ours, true}, Fault{EIO, test::ForgetfulDisk::Whose::ours, true}})
        for (const auto cut : {test::Cut::oldest, test::Cut::newest, test::Cut::names_only, test::Cut::bytes_only, test::Cut::random}) {
            uint64_t steps = 0;                // the first time without a cut
            for (uint64_t at = 0; at <= steps + 1; at += at < 60 ? 1 : 7) {
                test::ForgetfulDisk disk;
                make_maildir(disk);
                const auto maildir = maildir_on(disk);
                disk::ParallelSync syncs(3, std::make_unique<test::ForgetfulWhole>(disk));
                const uint64_t before = disk.steps();
                if (at > 0) disk.cut_power_at(before + at);
                if (fault.code) disk.fail_sync_all(fault.whose, fault.code);
                const Fd body = memory("body\r\n");
                std::size_t delivered = 0, answered = 0;
                std::unique_ptr<Maildir::Delivery> named, next, after;
                std::size_t written = 0;
                const auto write = [&]() -> std::unique_ptr<Maildir::Delivery> {
                    if (written++ >= batches) return nullptr;
                    std::vector<Maildir::Load> loads(1);
                    loads[0].maildir = maildir.get();
                    loads[0].mails.assign(each, mail(body));
                    return std::make_unique<Maildir::Delivery>(std::move(loads));
                };
                for (next = write(); named || next; named = std::move(next), next = fault.beside ? std::move(after) : write()) {
                    Maildir::Delivery::Wait wait(named.get(), next.get());
                    std::thread waiting([&] {
                        if (fault.beside) wait.run(syncs);
                    });
                    if (fault.beside) after = write();
                    waiting.join();
                    if (!fault.beside) wait.run(syncs);
                    wait.end();
                    if (named)
                        for (const auto& answer : named->loads()[0].answers) delivered += !answer, ++answered;
                }
                steps = std::max(steps, disk.steps() - before);
                INFO("fault " << fault.code << ' ' << static_cast<int>(fault.whose) << " cut " << static_cast<int>(cut) << " at step " << at);
                CHECK(answered == each * batches);
                if (disk.powered()) {
                    const std::size_t lost = fault.code && fault.whose == test::ForgetfulDisk::Whose::ours ? each : 0;
                    CHECK(delivered <= each * batches - lost);
                    CHECK((fault.beside || delivered == each * batches - lost));    // of the next one, too, what was written when it failed
                    CHECK(disk.names("/m/new").size() == delivered);
                    CHECK(disk.names("/m/tmp").empty());
                }
                disk.power_cut(cut, at);
                const auto names = disk.names("/m/new");
                CHECK(names.size() >= delivered);
                bool all_whole = true;
                for (const auto& name : names) all_whole = all_whole && disk.content("/m/new/" + name) == whole;
                CHECK(all_whole);
            }
            CHECK(steps > 3 * each * batches);
        }
}

namespace {

// A file system that an error shut down while syncfs(2) ran, which says yes all the same (ext4 before Linux 6.13). Nobody but fsync(2) notices:
// what has no page to write says nothing.
struct ShutDownDisk final : test::RealDisk {
    std::atomic<bool> down = false;
    std::atomic<int> syncs = 0;
    Result<void> write_out(const Fd&) override { return {}; }
    Result<void> sync(const Fd& f) override { return ++syncs, down ? Result<void>(fail_errno("fdatasync", EROFS)) : RealDisk::sync(f); }
    Result<void> sync(const disk::Directory& d) override { return ++syncs, down ? Result<void>(fail_errno("fsync", EROFS)) : RealDisk::sync(d); }
};
struct ShuttingDown final : disk::WholeSync {
    ShutDownDisk& disk;
    int& calls;
    ShuttingDown(ShutDownDisk& d, int& c) : disk(d), calls(c) {}
    bool pays(int) override { return true; }
    Result<void> sync(int) override { return ++calls, disk.down = true, Result<void>(); }
};

}  // namespace

TEST_CASE("what one call for a whole file system says is believed of names only where a sync of names says the same", "[store][maildir]")
{
    // Beside the names: a few files that are to have names before their syncs, or new Maildirs, of which a sync that is not allowed is passed over.
    for (const bool new_maildirs : {false, true})
        for (const bool first_keeps_order : {false, true}) {
            INFO("new Maildirs " << new_maildirs << ", keeps order " << first_keeps_order);
            TempDir home;
            ShutDownDisk disk;
            int calls = 0;
            disk::ParallelSync syncs(4, std::make_unique<ShuttingDown>(disk, calls));
            const Fd body = memory("body\r\n");
            const auto load = [&](Maildir& maildir, std::size_t mails) {
                Maildir::Load one;
                one.maildir = &maildir;
                one.mails.assign(mails, mail(body));
                return one;
            };
            const std::string path = home.path + "/m";
            REQUIRE((*Maildir::open(disk, path))->settle_way());
            Maildir maildir(disk, path, std::move(*disk.open_directory(nullptr, path + "/tmp")), std::move(*disk.open_directory(nullptr, path + "/new")), first_keeps_order);
            std::vector<std::unique_ptr<Maildir>> fresh;
            std::vector<Maildir::Load> loads;
            loads.push_back(load(maildir, 3));
            Maildir::Delivery first(std::move(loads));
            Maildir::Delivery::sync(nullptr, &first, syncs);
            REQUIRE(calls == 0);
            loads.clear();
            if (!new_maildirs) loads.push_back(load(maildir, 15));
            for (int i = 0; new_maildirs && i < 16; ++i) {
                fresh.push_back(std::move(*Maildir::open(disk, cat(home.path, "/new", i))));
                loads.push_back(load(*fresh.back(), 1));
            }
            Maildir::Delivery second(std::move(loads));
            const int before = disk.syncs;
            Maildir::Delivery::sync(&first, &second, syncs);
            CHECK(calls == 1);
            CHECK(disk.syncs > before);
            Maildir::Delivery::sync(&second, nullptr, syncs);
            for (auto* const delivery : {&first, &second})
                for (const auto& of : delivery->loads())
                    for (const auto& answer : of.answers) CHECK(answer.has_value());
            CHECK(std::filesystem::is_empty(path + "/new"));
            for (int i = 0; new_maildirs && i < 16; ++i) CHECK(std::filesystem::is_empty(cat(home.path, "/new", i, "/new")));
        }
}

TEST_CASE("a directory whose sync failed is synced again before mail below it counts, by whomever", "[store][maildir]")
{
    TempDir home;
    test::FaultyDisk disk;
    disk::ParallelSync alone(1);
    const Fd body = memory("x\r\n");
    // What a process that has just begun says of one mail for each.
    bool keeps_order = false;
    const auto deliver = [&](std::initializer_list<const char*> paths) {
        std::vector<Maildir::Opening> openings;
        for (const char* path : paths) openings.emplace_back(cat(home.path, path));
        disk.synced.clear();
        Maildir::open_all(disk, openings, keeps_order);
        std::vector<Maildir::Load> loads(openings.size());
        for (std::size_t i = 0; i < loads.size(); ++i) {
            REQUIRE(openings[i].result);
            loads[i].maildir = openings[i].maildir.get();
            loads[i].mails.push_back(mail(body));
        }
        Maildir::deliver(loads, alone);
        std::vector<Delivered> answers;
        for (const auto& load : loads) answers.push_back(load.answers.at(0));
        return answers;
    };
    const auto synced = [&](const std::string& path) { return std::count(disk.synced.begin(), disk.synced.end(), home.path + path); };
    const auto mails = [&](const std::string& path) { return std::distance(std::filesystem::directory_iterator(home.path + path), std::filesystem::directory_iterator()); };
    disk.sick = home.path;
    // Both lie below a name that only the first one made.
    for (const auto& answer : deliver({"/domain/a/", "/domain/b/"})) {
        REQUIRE(answer);
        CHECK(answer->dsn == "4.3.0");
    }
    CHECK(synced("") == 1);
    CHECK(mails("/domain/a/new") + mails("/domain/a/tmp") == 0);
    // All is there now, and not yet durable.
    CHECK(deliver({"/domain/a/"})[0]);
    disk.sick.clear();
    CHECK_FALSE(deliver({"/domain/a/", "/domain/b/"})[0]);
    CHECK(synced("") == 1);
    CHECK(mails("/domain/a/new") == 1);
    CHECK_FALSE(deliver({"/domain/a/", "/domain/b/"})[1]);
    CHECK(synced("") + synced("/domain") + synced("/domain/a") == 0);      // known to be durable
    CHECK(synced("/domain/a/new") == 1);
    // As a process leaves it that is killed between mkdir and sync.
    std::filesystem::create_directories(home.path + "/domain/c/new");
    for (const char* part : {"cur", "tmp"}) std::filesystem::create_directory(cat(home.path, "/domain/c/", part));
    disk.sick = home.path + "/domain/c";
    CHECK(deliver({"/domain/c/"})[0]);
    disk.sick.clear();
    CHECK_FALSE(deliver({"/domain/c/"})[0]);
    CHECK(synced("/domain/c") == 1);
    CHECK(synced("/domain") == 0);             // c's own name was synced with the first
    // Where the journal keeps the order, the sync of the mail's name stands for those before it, unless it failed.
    keeps_order = true;
    disk.sick = home.path + "/domain/d/new";
    CHECK(deliver({"/domain/d/"})[0]);
    CHECK(synced("/domain") + synced("/domain/d") == 0);
    keeps_order = false;
    CHECK(deliver({"/domain/d/"})[0]);
    CHECK(synced("/domain") == 1);
    CHECK(synced("/domain/d") == 1);
    disk.sick.clear();
    keeps_order = true;
    CHECK_FALSE(deliver({"/domain/e/"})[0]);
    CHECK(synced("/domain") + synced("/domain/e") == 0);
    CHECK(synced("/domain/e/new") == 1);
    keeps_order = false;
    CHECK_FALSE(deliver({"/domain/e/"})[0]);
    CHECK(synced("/domain") + synced("/domain/e") == 0);
    CHECK(young_parents("/usr/bin/env").empty());    // old
    CHECK(young_parents("/proc").empty());           // what is mounted is no name
}

TEST_CASE("an mbox whose name may not be durable takes no mail before it is", "[store][mbox]")
{
    TempDir dir;
    const std::string path = dir.path + "/box";
    std::ofstream(path).flush();               // made by a process that was killed then
    REQUIRE(::chmod(path.c_str(), 0600) == 0);
    const Fd body = memory("b\r\n");
    test::FaultyDisk disk;
    disk.sick = dir.path;
    OwnKeeper keeper(path);
    const auto refused = deliver_mbox(disk, path, keeper, rules(), {mail(body)});
    REQUIRE(refused[0]);
    CHECK(refused[0]->dsn == "4.3.0");
    CHECK(file(path).empty());
    disk.sick.clear();
    CHECK_FALSE(deliver_mbox(disk, path, keeper, rules(), {mail(body)})[0]);
    CHECK_FALSE(deliver_mbox(disk, path, keeper, rules(), {mail(body)})[0]);
    CHECK(disk.synced == std::vector<std::string>{dir.path, dir.path});
}

TEST_CASE("an mbox grows by whole mails: From_ line, quoted, an empty line behind each", "[store][mbox]")
{
    TempDir dir;
    const std::string path = dir.path + "/box";
    const Fd one = memory("From the body\r\n"), two = memory("second");
    OwnKeeper keeper(path);
    const auto answers = deliver_mbox(disk::posix_disk(), path, keeper, rules(), {mail(one), mail(two)});
    CHECK_FALSE(answers[0]);
    CHECK_FALSE(answers[1]);
    CHECK(file(path) == "From a@example.org Tue Nov 24 14:00:00 2026\nSubject: x\n\n>From the body\n\n"
                        "From a@example.org Tue Nov 24 14:00:00 2026\nSubject: x\n\nsecond\n\n");
    struct stat st {};
    REQUIRE(::stat(path.c_str(), &st) == 0);
    CHECK((st.st_mode & 07777) == 0600);
    CHECK(::access((path + ".lock").c_str(), F_OK) != 0);
}

TEST_CASE("what a sender says of a mail's status is no word of the mailbox", "[store][mbox]")
{
    CHECK(without_status_fields("") == "");
    CHECK(without_status_fields("A: 1\nStatus: RO\n D\nX-status : D\nX-KEYWORDS: a\n\tb\nB: 2\n folded\nX-UID: 4\nX-IMAP: 5 5\nX-IMAPbase: 1 2\nContent-Length : 3\nC: 3") ==
          "A: 1\nB: 2\n folded\nC: 3");
    CHECK(without_status_fields("A: 1\ncontent-length : 3\nLines: 7\nContent-Lengths: 4\nContent-Type: x\n\nContent-Length: 5\n") ==
          "A: 1\nContent-Lengths: 4\nContent-Type: x\n\nContent-Length: 5\n");
    CHECK(without_status_fields("A: 1\n\nStatus: RO\n") == "A: 1\n\nStatus: RO\n");
    CHECK(without_status_fields("X-Status-Of: x\nStatus: O") == "X-Status-Of: x\n");
    TempDir dir;
    const std::string path = dir.path + "/box";
    const Fd body = memory("Status: RO\r\n");
    OwnKeeper keeper(path);
    CHECK_FALSE(deliver_mbox(disk::posix_disk(), path, keeper, rules(), {mail(body, "X-IMAP: 5 5\nSubject: x\nStatus: RO\nX-Status: D\n")})[0]);
    CHECK(file(path) == "From a@example.org Tue Nov 24 14:00:00 2026\nSubject: x\n\nStatus: RO\n\n");
}

TEST_CASE("what another program left without a line end does not swallow the next mail", "[store][mbox]")
{
    TempDir dir;
    const std::string path = dir.path + "/box";
    for (const char* left : {"", "torn", "torn\n", "fine\n\n"}) {
        const Fd out(::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600));
        REQUIRE(write_all(out.get(), left));
        const Fd body = memory("b\r\n");
        OwnKeeper keeper(path);
        CHECK_FALSE(deliver_mbox(disk::posix_disk(), path, keeper, rules(), {mail(body)})[0]);
        const std::string now = file(path);
        const auto at = now.find("From a@example.org");
        REQUIRE(at != std::string::npos);
        CHECK((at == 0 || now.substr(at - 2, 2) == "\n\n"));
    }
}

TEST_CASE("a failure puts an mbox back to where it was", "[store][mbox]")
{
    TempDir dir;
    const std::string path = dir.path + "/box";
    const Fd body = memory("b\r\n");
    OwnKeeper first(path);
    REQUIRE_FALSE(deliver_mbox(disk::posix_disk(), path, first, rules(), {mail(body)})[0]);
    const std::string before = file(path);
    SECTION("a write fails: that mail only")
    {
        test::FaultyDisk disk;
        disk.fail_write_at = 1;
        OwnKeeper keeper(path);
        const auto answers = deliver_mbox(disk, path, keeper, rules(), {mail(body), mail(body)});
        REQUIRE(answers[0]);
        CHECK(answers[0]->dsn == "4.3.1");
        CHECK_FALSE(answers[1]);
        CHECK(file(path) == before + before);
    }
    SECTION("a write fails and so does the way back: nothing more is appended, and what was whole counts")
    {
        test::FaultyDisk disk;
        disk.fail_write_at = disk.writes + 1;
        disk.fail_truncate = true;
        OwnKeeper keeper(path);
        const auto answers = deliver_mbox(disk, path, keeper, rules(), {mail(body), mail(body)});
        REQUIRE(answers[0]);
        REQUIRE(answers[1]);
        CHECK(answers[1]->dsn == "4.3.1");
        CHECK(answers[1]->text.find(cat(path, ": half a mail behind byte ", before.size())) != std::string::npos);
        CHECK(disk.writes == 1);
        CHECK((file(path).starts_with(before) && file(path).size() > before.size()));
        OwnKeeper next(path);                       // who comes next takes it out
        REQUIRE_FALSE(deliver_mbox(disk::posix_disk(), path, next, rules(), {mail(body)})[0]);
        CHECK(file(path) == before + before);
    }
    SECTION("the sync fails: all that shared it")
    {
        test::FaultyDisk disk;
        disk.fail_sync_at = 1;
        disk.code = EIO;
        OwnKeeper keeper(path);
        for (const auto& answer : deliver_mbox(disk, path, keeper, rules(), {mail(body), mail(body)})) {
            REQUIRE(answer);
            CHECK(answer->dsn == "4.3.0");
        }
        CHECK(file(path) == before);
    }
    SECTION("the size limit is the user's, and final")
    {
        MboxRules small = rules();
        small.size_limit = before.size() + 10;
        OwnKeeper keeper(path);
        const auto answers = deliver_mbox(disk::posix_disk(), path, keeper, small, {mail(body)});
        REQUIRE(answers[0]);
        CHECK(answers[0]->dsn == "5.2.2");
        CHECK(file(path) == before);
    }
}

TEST_CASE("half of a delivery is cut off an mbox, and nothing that may be another's", "[store][mbox][crash]")
{
    TempDir dir;
    const std::string path = dir.path + "/box";
    const std::string line = "From b@example.org Tue Nov 24 14:00:01 2026\n", before = cat("From z@example.org Tue Nov 24 13:00:00 2026\nSubject: old\n\nold\n\n");
    const std::string one = cat("From a@example.org Tue Nov 24 14:00:00 2026\nSubject: one\n\n", std::string(9000, 'a'), "\n>From a Tue Nov 24 14:00\n\n"), two = cat(line, "Subject: two\n\nFrom here on, ", std::string(3000, 'b'), "\n\n");
    const std::string other = "From c@example.net Tue Nov 24 14:00:02 2026\nSubject: foreign\n\nc\n\n";
    const auto attempt = [&](const std::string& in_front, std::string_view noted, const std::string& there, uint8_t gap = 0) {
        AppendMark mark;
        mark.from = in_front.size();
        mark.gap = gap;
        for (const std::string& text : {one, two}) {
            PlannedMail mail;
            for (std::size_t i = 0; i < text.size(); i += 7) mail.add(std::string_view(text).substr(i, 7));
            mark.mails.push_back(mail);
        }
        ::unlink(path.c_str());
        const Fd fd(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
        REQUIRE(write_all(fd.get(), noted));
        mark.before = *sum_before(fd.get(), mark.from);
        REQUIRE(set_append_mark(fd.get(), mark));
        REQUIRE(has_append_mark(fd.get()));
        REQUIRE(::ftruncate(fd.get(), 0) == 0);
        REQUIRE(::lseek(fd.get(), 0, SEEK_SET) == 0);
        REQUIRE(write_all(fd.get(), cat(in_front, there)));
        const auto cut = cut_half_append(fd.get());
        REQUIRE(cut);
        CHECK_FALSE(has_append_mark(fd.get()));
        const std::string now = file(path);
        CHECK(now.size() + *cut == in_front.size() + there.size());
        return now == in_front && !there.empty() ? "cut" : now == in_front + there ? "left" : "broken";
    };
    const auto with = [&](const std::string& there) { return std::string(attempt(before, before, there)); };
    for (std::size_t n = 1; n < one.size(); n += n < 100 || n > 8950 ? 1 : 997) {
        INFO(n);
        // The quoted line looks like a mail of somebody behind half a line: then it stays, rather than that one goes.
        CHECK(with(one.substr(0, n)) == (one.substr(0, n).find(">From a Tue Nov 24 14:0") == std::string::npos ? "cut" : "left"));
    }
    for (std::size_t n = 1; n < two.size(); n += n < 100 ? 1 : 499) {
        INFO(n);
        CHECK(with(one + two.substr(0, n)) == "cut");
    }
    CHECK(with("") == "left");
    CHECK(with(one) == "left");                               // whole mails: somebody may know of them
    CHECK(with(one + two) == "left");
    CHECK(with(one + two + other) == "left");
    CHECK(with(one + other) == "left");                       // where two was to begin
    CHECK(with(other) == "left");
    CHECK(with(one.substr(0, 500) + other) == "left");        // glued to half a line
    CHECK(with(cat(one.substr(0, 500), "\n\n", other)) == "left");
    CHECK(with(cat(one, two.substr(0, 300), "\n\n", other)) == "left");
    CHECK(with(cat(one.substr(0, 3), "\n\n", other)) == "left");
    CHECK(with(cat(one, line.substr(0, 20), other)) == "left");
    CHECK(with(one + line + other) == "left");
    CHECK(with(std::string(300, '\0')) == "left");
    CHECK(with(cat("X", one.substr(1, 300))) == "left");
    CHECK(with(cat(one.substr(0, 700), std::string(9500, 'x'))) == "left");
    std::string changed = one;
    changed[700] = 'X';
    CHECK(with(changed + two.substr(0, 100)) == "left");
    // another file, or other mails in front
    CHECK(std::string(attempt(cat("X", before.substr(1)), before, one.substr(0, 700))) == "left");
    CHECK(std::string(attempt(before, cat(before, "more"), one.substr(0, 700))) == "cut");          // as it was behind its end says nothing
    CHECK(std::string(attempt("", "", one.substr(0, 700))) == "cut");
    CHECK(std::string(attempt("half a line", "half a line", cat("\n\n", one.substr(0, 700)), 2)) == "cut");
    CHECK(std::string(attempt("half a line", "half a line", "\n", 2)) == "cut");
    CHECK(std::string(attempt("half a line", "half a line", cat("x\n", one.substr(0, 700)), 2)) == "left");
    // a note that is none
    for (const std::string& note : {std::string(), std::string("VMA1"), std::string(70, 'x'), std::string(5000, 'V')}) {
        std::ofstream(path, std::ios::trunc) << before;
        if (::setxattr(path.c_str(), "user.veredus.append", note.data(), note.size(), 0) != 0) continue;    // too long for this file system
        const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        const auto cut = cut_half_append(fd.get());
        REQUIRE(cut);
        CHECK(*cut == 0);
        CHECK_FALSE(has_append_mark(fd.get()));
        CHECK(file(path) == before);
    }
}

TEST_CASE("a delivery that was killed anywhere leaves whole mails only, and other programs' mails stay", "[store][mbox][crash]")
{
    TempDir dir;
    const std::string path = dir.path + "/box";
    const std::string body(400'000, 'y');
    const Fd big = memory(cat(body, "\r\nend\r\n")), small = memory("b\r\n");
    int acknowledged = 0, others = 0, halves = 0, number = 0;
    const auto whole_mails = [&](const std::string& text) {
        std::size_t n = 0;
        for (std::size_t at = 0; at < text.size(); ++n) {
            REQUIRE(text.substr(at, 5) == "From ");
            auto end = text.find("\n\nFrom ", at);
            end = end == std::string::npos ? text.size() : end + 2;
            const std::string_view mail = std::string_view(text).substr(at, end - at);
            REQUIRE((mail.ends_with("\nend\n\n") || mail.ends_with("\nb\n\n") || mail.ends_with("\nforeign\n\n")));
            if (mail.ends_with("\nend\n\n")) REQUIRE(mail.size() > body.size());
            at = end;
        }
        return n;
    };
    for (int round = 0; round < 25 || (halves == 0 && round < 2000); ++round) {
        int pipe[2];
        REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
        const Fd in(pipe[0]);
        const pid_t pid = ::fork();
        if (pid == 0) {
            for (int i = 0;; ++i) {
                OwnKeeper keeper(path);
                const auto answers = deliver_mbox(disk::posix_disk(), path, keeper, rules(), {mail(small), mail(big), mail(big, "Subject: second\n")});
                for (const auto& answer : answers)
                    if (answer) ::_exit(1);
                if (::write(pipe[1], "3", 1) != 1) ::_exit(2);
            }
        }
        ::close(pipe[1]);
        char byte = 0;
        REQUIRE(::read(in.get(), &byte, 1) == 1);
        ++acknowledged;
        ::usleep(static_cast<useconds_t>(number = (number * 7919 + 3001) % 9000));
        ::kill(pid, SIGKILL);
        int status = 0;
        ::waitpid(pid, &status, 0);
        REQUIRE(WIFSIGNALED(status));
        while (::read(in.get(), &byte, 1) == 1) ++acknowledged;
        const Fd fd(::open(path.c_str(), O_RDWR | O_APPEND | O_CLOEXEC));
        halves += has_append_mark(fd.get());
        REQUIRE(cut_half_append(fd.get()));
        (void)whole_mails(file(path));
        REQUIRE(write_all(fd.get(), "From c@example.net Tue Nov 24 14:00:02 2026\n\nforeign\n\n"));
        ++others;
        if (file(path).size() < 8'000'000) continue;
        const std::string text = file(path);
        CHECK(whole_mails(text) >= static_cast<std::size_t>(3 * acknowledged + others));
        acknowledged = others = 0;
        REQUIRE(::ftruncate(fd.get(), 0) == 0);
    }
    CHECK(halves > 0);                                      // some were killed in the midst
    CHECK(whole_mails(file(path)) >= static_cast<std::size_t>(3 * acknowledged + others));
}

TEST_CASE("more mails than one note holds go into an mbox, and a full disk among them costs its own mail", "[store][mbox]")
{
    TempDir dir;
    const std::string path = dir.path + "/box";
    const Fd body = memory("b\r\n");
    const std::vector<Content> mails(250, mail(body));
    test::FaultyDisk disk;
    disk.fail_write_at = 130;
    OwnKeeper keeper(path);
    const auto answers = deliver_mbox(disk, path, keeper, rules(), mails);
    REQUIRE(answers.size() == 250);
    for (std::size_t i = 0; i < answers.size(); ++i) CHECK(answers[i].has_value() == (i == 129));
    const std::string one = "From a@example.org Tue Nov 24 14:00:00 2026\nSubject: x\n\nb\n\n";
    std::string wanted;
    for (int i = 0; i < 249; ++i) wanted += one;
    CHECK(file(path) == wanted);
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    CHECK_FALSE(has_append_mark(fd.get()));
}

TEST_CASE("an mbox of more than four gigabytes grows, and shrinks back, as any other", "[store][mbox]")
{
    TempDir dir;
    const std::string path = dir.path + "/box";
    constexpr off_t huge = off_t{5} << 30;
    const Fd box(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    REQUIRE(::ftruncate(box.get(), huge) == 0);           // a hole: it takes no room
    REQUIRE(::pwrite(box.get(), "\n\n", 2, huge - 2) == 2);
    const auto end = [&] { return pread_exact(box.get(), static_cast<uint64_t>(huge - 2), static_cast<std::size_t>(::lseek(box.get(), 0, SEEK_END) - huge + 2)); };
    const Fd body = memory("b\r\n");
    OwnKeeper keeper(path);
    REQUIRE_FALSE(deliver_mbox(disk::posix_disk(), path, keeper, rules(), {mail(body)})[0]);
    const std::string one = "From a@example.org Tue Nov 24 14:00:00 2026\nSubject: x\n\nb\n\n";
    CHECK(*end() == "\n\n" + one);
    test::FaultyDisk disk;
    disk.fail_write_at = 1;
    CHECK(deliver_mbox(disk, path, keeper, rules(), {mail(body)})[0]);
    CHECK(*end() == "\n\n" + one);
    MboxRules small = rules();
    small.size_limit = uint64_t{5} << 30;
    const auto refused = deliver_mbox(disk::posix_disk(), path, keeper, small, {mail(body)})[0];
    REQUIRE(refused);
    CHECK(refused->dsn == "5.2.2");
    CHECK(*end() == "\n\n" + one);
}

TEST_CASE("links, devices and other people's files are no mailbox", "[store][mbox]")
{
    TempDir dir;
    const std::string path = dir.path + "/box", other = dir.path + "/other";
    const Fd made(::open(other.c_str(), O_CREAT | O_WRONLY, 0600));
    const Fd body = memory("b\r\n");
    const auto deliver = [&](const MboxRules& r) {
        OwnKeeper keeper(path);
        return deliver_mbox(disk::posix_disk(), path, keeper, r, {mail(body)})[0];
    };
    SECTION("symbolic link") { REQUIRE(::symlink(other.c_str(), path.c_str()) == 0); }
    SECTION("hard link") { REQUIRE(::link(other.c_str(), path.c_str()) == 0); }
    SECTION("fifo") { REQUIRE(::mkfifo(path.c_str(), 0600) == 0); }
    SECTION("directory") { REQUIRE(::mkdir(path.c_str(), 0700) == 0); }
    const auto answer = deliver(rules());
    REQUIRE(answer);
    CHECK_FALSE(answer->permanent());
    CHECK(file(other).empty());
    MboxRules foreign = rules();
    foreign.owner = ::getuid() + 1;
    const std::string mine = dir.path + "/mine";
    OwnKeeper keeper(mine);
    REQUIRE(keeper.create());
    const auto refused = deliver_mbox(disk::posix_disk(), mine, keeper, foreign, {mail(body)})[0];
    REQUIRE(refused);
    CHECK(refused->text.find("belongs to uid") != std::string::npos);
}

TEST_CASE("a mailbox that another process has locked is waited for, then deferred", "[store][mbox]")
{
    TempDir dir;
    const std::string path = dir.path + "/box";
    OwnKeeper keeper(path);
    REQUIRE(keeper.create());
    int ready[2], go[2];
    REQUIRE(::pipe(ready) == 0);
    REQUIRE(::pipe(go) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
        const int fd = ::open(path.c_str(), O_RDWR);
        struct flock lock {};
        lock.l_type = F_WRLCK;
        char c = ::fcntl(fd, F_SETLK, &lock) == 0 ? 'y' : 'n';
        if (::write(ready[1], &c, 1) != 1 || ::read(go[0], &c, 1) < 0) ::_exit(1);
        ::_exit(0);
    }
    char c = 0;
    REQUIRE(::read(ready[0], &c, 1) == 1);
    REQUIRE(c == 'y');
    const Fd body = memory("b\r\n");
    const auto answer = deliver_mbox(disk::posix_disk(), path, keeper, rules(), {mail(body)})[0];
    REQUIRE(answer);
    CHECK(answer->dsn == "4.2.0");
    CHECK(answer->text.find("locked") != std::string::npos);
    CHECK(file(path).empty());
    REQUIRE(::write(go[1], "x", 1) == 1);
    ::waitpid(child, nullptr, 0);
    CHECK_FALSE(deliver_mbox(disk::posix_disk(), path, keeper, rules(), {mail(body)})[0]);
    for (const int fd : {ready[0], ready[1], go[0], go[1]}) ::close(fd);
}

TEST_CASE("a mailbox that somebody locks all the time is tried often, not each second", "[store][mbox]")
{
    struct Busy final : MboxKeeper {
        OwnKeeper own;
        int refusals = 20;
        explicit Busy(const std::string& path) : own(path) {}
        Result<bool> lock() override { return refusals-- > 0 ? Result<bool>(false) : own.lock(); }
        void unlock() override { own.unlock(); }
        Result<void> create() override { return own.create(); }
    };
    TempDir dir;
    const std::string path = dir.path + "/box";
    Busy keeper(path);
    REQUIRE(keeper.create());
    MboxRules patient = rules();
    patient.lock_delay = std::chrono::milliseconds(1000);
    const Fd body = memory("b\r\n");
    CHECK_FALSE(deliver_mbox(disk::posix_disk(), path, keeper, patient, {mail(body)})[0]);
}

TEST_CASE("two processes that deliver at once lose and mix nothing", "[store][mbox]")
{
    TempDir dir;
    const std::string path = dir.path + "/box";
    MboxRules patient = rules();
    patient.lock_attempts = 1000;
    const auto run = [&](const char* text) {
        const Fd body = memory(text);
        int failures = 0;
        for (int i = 0; i < 25; ++i) {
            OwnKeeper keeper(path);
            if (deliver_mbox(disk::posix_disk(), path, keeper, patient, {mail(body)})[0]) ++failures;
        }
        return failures;
    };
    const pid_t child = ::fork();
    if (child == 0) ::_exit(run("child\r\n"));
    CHECK(run("parent\r\n") == 0);
    int status = -1;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
    const std::string start = "From a@example.org Tue Nov 24 14:00:00 2026\nSubject: x\n\n";
    std::string left = file(path);
    int mails = 0;
    for (; left.starts_with(start); ++mails) {
        left.erase(0, start.size());
        const std::string body = left.starts_with("child") ? "child\n\n" : "parent\n\n";
        REQUIRE(left.starts_with(body));
        left.erase(0, body.size());
    }
    CHECK(left.empty());
    CHECK(mails == 50);
}

TEST_CASE("new mail looks new: an mbox was read before it was changed", "[store][mbox]")
{
    TempDir dir;
    const std::string path = dir.path + "/box";
    const Fd body = memory("b\r\n");
    OwnKeeper keeper(path);
    REQUIRE_FALSE(deliver_mbox(disk::posix_disk(), path, keeper, rules(), {mail(body)})[0]);
    REQUIRE_FALSE(file(path).empty());    // read just now
    REQUIRE_FALSE(deliver_mbox(disk::posix_disk(), path, keeper, rules(), {mail(body)})[0]);
    struct stat st {};
    REQUIRE(::stat(path.c_str(), &st) == 0);
    CHECK(st.st_atim.tv_sec < st.st_mtim.tv_sec);
}

TEST_CASE("a dotlock names its holder and falls with him", "[store][dotlock]")
{
    const Holder me{::getpid(), "here", "boot-2"};
    CHECK(Holder::parse(me.text()) == me);
    for (const char* foreign : {"", "123", "123\n", "0 here boot\n", "-1 here boot\n", "12 a b c\n", "12 here boot"}) CHECK_FALSE(Holder::parse(foreign));
    const pid_t dead = ::fork();
    if (dead == 0) ::_exit(0);
    ::waitpid(dead, nullptr, 0);
    const auto fresh = std::chrono::seconds(1);
    struct Case {
        std::string text;
        std::chrono::seconds age;
        bool stale;
    };
    const Case cases[] = {
        {Holder{dead, "here", "boot-2"}.text(), fresh, true},          // gone
        {Holder{::getppid(), "here", "boot-2"}.text(), fresh, false},  // alive
        {Holder{::getppid(), "here", "boot-1"}.text(), fresh, true},   // of an earlier boot
        {Holder{dead, "there", "boot-2"}.text(), fresh, false},        // another host's: its pids say nothing here
        {me.text(), fresh, true},                                      // of our own life before an exec
        {"4711\n", fresh, false},
        {"4711\n", stale_after, true},
        {"4711\n", -fresh, false},
        {"4711\n", -stale_after, true},
        {Holder{dead, "there", "boot-2"}.text(), -stale_after, true},
        {Holder{::getppid(), "here", "boot-2"}.text(), -stale_after, false},    // the clock was set back
        {Holder{::getppid(), "here", "boot-2"}.text(), stale_after, true},
    };
    for (const Case& c : cases) {
        INFO(c.text);
        CHECK(is_stale(c.text, c.age, me) == c.stale);
    }
}

TEST_CASE("a Maildir behind a link that leads nowhere cannot be had, until it can", "[store][delivery]")
{
    TempDir home;
    for (const char* part : {"", "/new"}) {
        INFO(part);
        const std::string path = cat(home.path, "/Maildir"), disk = cat(home.path, "/disk");
        if (*part) std::filesystem::create_directory(path);
        std::filesystem::create_symlink(disk, path + part);
        const auto none = Maildir::open(disk::posix_disk(), path);
        REQUIRE_FALSE(none);
        CHECK(none.error().code == ENOENT);
        std::filesystem::create_directory(disk);
        CHECK(Maildir::open(disk::posix_disk(), path));
        std::filesystem::remove_all(path);
        std::filesystem::remove_all(disk);
    }
}

TEST_CASE("a dotlock is taken once, broken when stale, and only our own is removed", "[store][dotlock]")
{
    TempDir dir;
    const auto spool = disk::posix_disk().open_directory(nullptr, dir.path);
    REQUIRE(spool);
    const Holder parent{::getppid(), host_name(), this_process().boot};
    const auto held = try_dotlock(*spool, "u.lock", parent);
    REQUIRE(held);
    REQUIRE(*held);
    CHECK(file(dir.path + "/u.lock") == parent.text());
    const auto second = try_dotlock(*spool, "u.lock", this_process());
    REQUIRE(second);
    CHECK_FALSE(*second);
    release_dotlock(*spool, "u.lock", {1, 1});
    CHECK(::access((dir.path + "/u.lock").c_str(), F_OK) == 0);
    release_dotlock(*spool, "u.lock", **held);
    CHECK(::access((dir.path + "/u.lock").c_str(), F_OK) != 0);
    const Fd old(::open((dir.path + "/u.lock").c_str(), O_CREAT | O_WRONLY, 0600));
    const timespec times[2] = {{1000, 0}, {1000, 0}};
    REQUIRE(::futimens(old.get(), times) == 0);
    const auto third = try_dotlock(*spool, "u.lock", this_process());
    REQUIRE(third);
    CHECK(*third);
    CHECK(std::system(cat("test \"$(ls -A ", dir.path, ")\" = u.lock").c_str()) == 0);    // no drafts left
}

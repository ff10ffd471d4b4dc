// lib/disk: the kernel's disk as it is, the pool of threads, and directory syncs that are shared.
#include "t/unit/catch.h"
#include "t/unit/forgetful_disk.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "lib/base/text.h"
#include "lib/disk/parallel_sync.h"
#include "lib/disk/pool.h"

using namespace veredus;
using namespace veredus::disk;

namespace {

struct RealDirectory {
    RealDirectory()
    {
        char name[] = "/tmp/veredus-unit-XXXXXX";
        path = ::mkdtemp(name);
        dir = std::move(*posix_disk().open_directory(nullptr, path));
    }
    ~RealDirectory() { std::filesystem::remove_all(path); }
    std::string path;
    Directory dir;
};

std::set<std::string> threads_of_this_process()
{
    std::set<std::string> out;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) out.insert(task.path().filename());
    return out;
}

// Threads that were not there `before`. Counting all would err: one that an earlier test joined may still be on its way out of /proc.
std::size_t threads_since(const std::set<std::string>& before)
{
    const auto now = threads_of_this_process();
    return static_cast<std::size_t>(std::count_if(now.begin(), now.end(), [&](const std::string& id) { return !before.count(id); }));
}

// What is posted waits for the test to run it, as for a loop.
class Posts {
public:
    void post(std::function<void()> work)
    {
        const std::lock_guard lock(mutex_);
        posted_.push_back(std::move(work));
        came_.notify_all();
    }
    void run(std::size_t count)    // waits until so many came
    {
        for (std::size_t i = 0; i < count; ++i) {
            std::unique_lock lock(mutex_);
            came_.wait(lock, [this] { return !posted_.empty(); });
            auto work = std::move(posted_.front());
            posted_.pop_front();
            lock.unlock();
            work();
        }
    }

private:
    std::mutex mutex_;
    std::condition_variable came_;
    std::deque<std::function<void()>> posted_;
};

}  // namespace

TEST_CASE("create is exclusive, follows no link, and its mode is exact", "[disk]")
{
    RealDirectory d;
    Disk& disk = posix_disk();
    const mode_t before = ::umask(077);
    const auto file = disk.create(d.dir, "a", 0660);
    ::umask(before);
    REQUIRE(file);
    struct stat st{};
    REQUIRE(::fstat(file->get(), &st) == 0);
    CHECK((st.st_mode & 07777) == 0660);
    CHECK(disk.create(d.dir, "a", 0660).error().code == EEXIST);
    REQUIRE(::symlink("/etc/passwd", cat(d.path, "/link").c_str()) == 0);
    CHECK(disk.create(d.dir, "link", 0660).error().code == EEXIST);
    CHECK(disk.open_read(d.dir, "link").error().code == ELOOP);
    CHECK(disk.open_append(d.dir, "link", 0600).error().code == ELOOP);
    REQUIRE(::mkfifo(cat(d.path, "/fifo").c_str(), 0600) == 0);
    CHECK(disk.open_read(d.dir, "fifo").error().code == EINVAL);    // and does not wait for a writer
    CHECK(disk.open_read(d.dir, ".").error().code == EINVAL);
    CHECK(disk.open_read(d.dir, "none").error().code == ENOENT);
}

TEST_CASE("bytes are written at the end, read where asked, cut where asked", "[disk]")
{
    RealDirectory d;
    Disk& disk = posix_disk();
    for (const bool append : {false, true}) {
        const std::string name = append ? "appended" : "created";
        const Fd file = std::move(append ? *disk.open_append(d.dir, name, 0600) : *disk.create(d.dir, name, 0600));
        REQUIRE(disk.write(file, "hello "));
        REQUIRE(disk.write(file, "world"));
        CHECK(*disk.read(file, 6, 100) == "world");
        CHECK(disk.read(file, 60, 100)->empty());
        REQUIRE(disk.truncate(file, 5));
        REQUIRE(disk.write(file, "!"));
        CHECK(*disk.read(file, 0, 100) == "hello!");
        CHECK(*disk.size(file) == 6);
        REQUIRE(disk.sync(file));
    }
    REQUIRE(disk.sync(d.dir));
}

TEST_CASE("names are moved, linked, listed; a new name never replaces", "[disk]")
{
    RealDirectory d;
    Disk& disk = posix_disk();
    REQUIRE(disk.create(d.dir, "a", 0600));
    REQUIRE(disk.create(d.dir, "b", 0600));
    CHECK(disk.rename_new(d.dir, "a", d.dir, "b").error().code == EEXIST);
    REQUIRE(disk.rename_new(d.dir, "a", d.dir, "c"));
    REQUIRE(disk.link(d.dir, "b", d.dir, "b2"));
    CHECK(disk.link(d.dir, "b", d.dir, "c").error().code == EEXIST);
    CHECK(disk.stat(d.dir, "b")->file == disk.stat(d.dir, "b2")->file);
    CHECK(disk.stat(d.dir, "b")->links == 2);
    CHECK(disk.stat(d.dir, "c")->file != disk.stat(d.dir, "b2")->file);
    REQUIRE(disk.rename(d.dir, "c", d.dir, "b"));
    REQUIRE(disk.unlink(d.dir, "b2"));
    CHECK(*disk.list(d.dir) == std::vector<std::string>{"b"});
    CHECK(disk.unlink(d.dir, "b2").error().code == ENOENT);
    CHECK(disk.unlink(d.dir, "b2").error().text == cat("unlink ", d.path, "/b2: No such file or directory"));
    CHECK(*disk.free_bytes(d.dir) > 0);
}

TEST_CASE("a pool works on threads and completes through post", "[disk]")
{
    Posts posts;
    const auto owner = std::this_thread::get_id();
    Pool pool(4, [&](std::function<void()> f) { posts.post(std::move(f)); });
    std::atomic<int> worked = 0;
    int done = 0;
    for (int i = 0; i < 100; ++i)
        pool.run([&] { if (std::this_thread::get_id() != owner) ++worked; }, [&] { if (std::this_thread::get_id() == owner) ++done; });
    posts.run(100);
    CHECK(worked == 100);
    CHECK(done == 100);
    CHECK(pool.waiting() == 0);
}

TEST_CASE("a pool starts no thread before it has work, and no more than its limit", "[disk]")
{
    Posts posts;
    const auto before = threads_of_this_process();
    Pool pool(3, [&](std::function<void()> f) { posts.post(std::move(f)); });
    CHECK(threads_since(before) == 0);
    pool.run([] {}, [] {});
    posts.run(1);
    CHECK(threads_since(before) == 1);
    std::mutex gate;
    gate.lock();
    for (int i = 0; i < 10; ++i) pool.run([&] { const std::lock_guard wait(gate); }, [] {});
    CHECK(threads_since(before) == 3);
    CHECK(pool.waiting() >= 7);
    gate.unlock();
    posts.run(10);
}

TEST_CASE("a process has room for its descriptors before its first thread, for later Linux lets it wait for more", "[disk][speed]")
{
    const pid_t child = ::fork();    // one that is sure to have had no thread
    if (child == 0) {
        const auto size = [] {
            const auto status = read_file("/proc/self/status", 65'536);
            const auto at = status ? status->find("FDSize:") : std::string::npos;
            return at == std::string::npos ? 0 : std::atol(status->c_str() + at + 7);
        };
        rlimit files{};
        if (::getrlimit(RLIMIT_NOFILE, &files) != 0) ::_exit(3);
        files.rlim_cur = std::min<rlim_t>(files.rlim_max, 2000);
        ::setrlimit(RLIMIT_NOFILE, &files);
        long in_thread = 0;
        { auto thread = Thread::start([&] { in_thread = size(); }); }
        ::_exit(in_thread < static_cast<long>(std::min<rlim_t>(files.rlim_cur, 1024)) ? 1 : 0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

TEST_CASE("a pool's threads take no signals", "[disk]")
{
    Posts posts;
    Pool pool(1, [&](std::function<void()> f) { posts.post(std::move(f)); });
    bool blocked = false;
    pool.run([&] {
        sigset_t mask;
        ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
        blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGCHLD) == 1;
    }, [] {});
    posts.run(1);
    CHECK(blocked);
}

TEST_CASE("a pool that dies finishes what was begun and drops the rest", "[disk]")
{
    Posts posts;
    std::atomic<int> worked = 0;
    std::atomic<bool> begun = false, queued = false;
    auto pool = std::make_unique<Pool>(1, [&](std::function<void()> f) { posts.post(std::move(f)); });
    pool->run([&, dying = pool.get()] {
        begun = true;
        while (!queued || dying->waiting() != 0) std::this_thread::yield();    // until the destructor dropped the others
        ++worked;
    }, [] {});
    while (!begun) std::this_thread::yield();
    for (int i = 0; i < 5; ++i) pool->run([&] { ++worked; }, [] {});
    queued = true;
    pool.reset();
    CHECK(worked == 1);
    posts.run(1);
}

namespace {

// A directory whose sync waits for the test.
class GatedDisk : public test::ForgetfulDisk {
public:
    using ForgetfulDisk::sync;
    Result<void> sync(const Directory&) override
    {
        std::unique_lock lock(mutex);
        const int mine = ++begun;
        turned.notify_all();
        turned.wait(lock, [&] { return allowed >= mine; });
        if (fails == mine) return fail_errno("fsync", EIO);
        return {};
    }
    void wait_begun(int n)
    {
        std::unique_lock lock(mutex);
        turned.wait(lock, [&] { return begun >= n; });
    }
    void allow(int n)
    {
        {
            const std::lock_guard lock(mutex);
            allowed = n;
        }
        turned.notify_all();
    }
    std::mutex mutex;
    std::condition_variable turned;
    int begun = 0, allowed = 0, fails = 0;
};

}  // namespace

TEST_CASE("callers that come while a directory sync runs share the next one", "[disk][speed]")
{
    GatedDisk disk;
    const Directory dir{Fd(), "/d"};
    DirectorySync shared(disk, dir);
    std::atomic<int> calling = 0, good = 0;
    const auto call = [&] { ++calling; if (shared.sync()) ++good; };
    std::thread first(call);
    disk.wait_begun(1);
    std::vector<std::thread> others;
    for (int i = 0; i < 20; ++i) others.emplace_back(call);
    while (calling < 21) std::this_thread::yield();
    CHECK(good == 0);
    disk.allow(1000);
    first.join();
    for (auto& t : others) t.join();
    CHECK(good == 21);
    CHECK(disk.begun <= 10);    // 2 or 3, unless a thread dawdled between counting itself and its call
    CHECK(disk.begun >= 2);    // never answered by the sync that began before them
}

TEST_CASE("a failed directory sync fails all that shared it and nobody later", "[disk][durability-2]")
{
    GatedDisk disk;
    disk.fails = 1;
    disk.allowed = 100;
    const Directory dir{Fd(), "/d"};
    DirectorySync shared(disk, dir);
    CHECK_FALSE(shared.ever_failed());
    const auto failed = shared.sync();
    REQUIRE_FALSE(failed);
    CHECK(failed.error().code == EIO);
    CHECK(shared.sync());
    CHECK(shared.ever_failed());
}

TEST_CASE("files of a batch are synced together by several threads, and each has its own answer", "[disk]")
{
    for (const unsigned threads : {1U, 4U, 16U}) {
        INFO(threads << " threads");
        ParallelSync syncs(threads);
        CHECK(syncs.sync({}).empty());
        for (const std::size_t count : {1U, 2U, 50U}) {
            test::ForgetfulDisk disk;
            disk.make_directory("/d");
            const Directory dir = std::move(*disk.open_directory(nullptr, "/d"));
            std::vector<Fd> files;
            std::vector<Unsynced> borrowed;
            for (std::size_t i = 0; i < count; ++i) {
                files.push_back(std::move(*disk.create(dir, cat(count, '.', i), 0600)));
                REQUIRE(disk.write(files.back(), "whole"));
                start_writing(files.back());
            }
            for (const Fd& file : files) borrowed.push_back({[&disk, &file] { return disk.sync(file); }});
            disk.fail_sync(count, EIO);    // the last one to begin
            const auto results = syncs.sync(borrowed);
            REQUIRE(results.size() == count);
            CHECK(std::count_if(results.begin(), results.end(), [](const auto& r) { return !r; }) == 1);
            REQUIRE(disk.sync(dir));
            disk.power_cut(test::Cut::oldest, 1);
            for (std::size_t i = 0; i < count; ++i) CHECK((disk.content(cat("/d/", count, '.', i)) == "whole") == results[i].has_value());
        }
    }
}

TEST_CASE("several threads wait for the disk at once, and only the results of all end the wait", "[disk]")
{
    // Every sync waits until four are under way: with fewer threads this would never end.
    std::mutex mutex;
    std::condition_variable all;
    int there = 0, ended = 0;
    const std::vector<Unsynced> eight(8, {[&]() -> Result<void> {
        std::unique_lock lock(mutex);
        if (++there >= 4) all.notify_all();
        all.wait(lock, [&] { return there >= 4; });
        ++ended;
        return {};
    }});
    ParallelSync syncs(4);
    CHECK_FALSE(syncs.has_threads());
    CHECK(syncs.sync(eight).size() == 8);
    CHECK(ended == 8);
    CHECK(syncs.has_threads());
    // Threads that rest are gone; the next batch has as many again.
    const auto threads = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator()); };
    const auto before = threads();
    syncs.rest();
    CHECK(threads() == before - 3);
    syncs.rest();
    there = 0;
    CHECK(syncs.sync(eight).size() == 8);
    CHECK(threads() == before);
}

TEST_CASE("one call syncs a file system for many files of it, and where it fails or is not offered each is asked by itself", "[disk]")
{
    class Whole final : public WholeSync {
    public:
        std::vector<int>& asked;
        std::vector<int>& called;
        bool pay = true, fails = false;
        Whole(std::vector<int>& a, std::vector<int>& c) : asked(a), called(c) {}
        bool pays(int fd) override
        {
            asked.push_back(fd);
            return pay;
        }
        Result<void> sync(int fd) override
        {
            called.push_back(fd);
            return fails ? Result<void>(fail_errno("syncfs", EIO)) : Result<void>();
        }
    };
    struct Case {
        std::size_t first, second;             // files of device 1 and of device 2
        int open;                              // the descriptor that those of device 2 have; -1: none
        bool pays, fails;
        std::size_t asked, called, alone;      // expected
        std::size_t sick = 1;                  // 0: those with even numbers fail by themselves; 1: the others do
    };
    const Case cases[] = {
        {15, 0, 7, true, false, 0, 0, 15},     // too few
        {16, 0, 7, true, false, 1, 1, 1},      // the first one is asked whether all is well
        {17, 0, 7, true, false, 1, 1, 17, 0},  // it is not: a file system that was shut down says so to fsync alone
        {40, 40, 7, true, false, 2, 2, 2},
        {40, 5, 7, true, false, 1, 1, 6},      // too few of the second
        {40, 40, -1, true, false, 1, 1, 41},   // no descriptor of the second
        {40, 40, 7, false, false, 2, 0, 80},
        {40, 40, 7, true, true, 2, 2, 80},
    };
    for (const Case& c : cases) {
        INFO(c.first << " and " << c.second);
        std::vector<int> asked, called;
        auto whole = std::make_unique<Whole>(asked, called);
        whole->pay = c.pays;
        whole->fails = c.fails;
        ParallelSync syncs(4, std::move(whole));
        std::vector<std::atomic<int>> alone(c.first + c.second);
        std::vector<Unsynced> all;
        for (std::size_t i = 0; i < alone.size(); ++i) {
            const bool second = i >= c.first;
            all.push_back({[&alone, &c, i]() -> Result<void> {
                               ++alone[i];
                               return i % 2 == c.sick ? Result<void>(fail_errno("sync", EIO)) : Result<void>();
                           },
                           second ? 2U : 1U, second ? c.open : 100 + static_cast<int>(i)});
        }
        const auto results = syncs.sync(all);
        REQUIRE(results.size() == all.size());
        CHECK(asked.size() == c.asked);
        CHECK(called.size() == c.called);
        if (c.called > 0) CHECK(called[0] == 100);
        if (c.called > 0) CHECK(alone[0] == 1);
        if (c.called > 1) CHECK(alone[c.first] == 1);
        std::size_t by_itself = 0;
        for (std::size_t i = 0; i < results.size(); ++i) {
            by_itself += static_cast<std::size_t>(alone[i].load());
            CHECK(alone[i] <= 1);
            CHECK(results[i].has_value() == (alone[i] == 0 || i % 2 != c.sick));
        }
        CHECK(by_itself == c.alone);
    }
}

TEST_CASE("the kernel's call for a whole file system says yes where it is offered, and leaves no thread", "[disk]")
{
    char path[] = "/var/tmp/veredus-whole.XXXXXX";
    const Fd file(::mkstemp(path));
    REQUIRE(file);
    ::unlink(path);
    const auto whole = posix_whole_sync();
    CHECK_FALSE(whole->pays(-1));
    const Fd memory(::memfd_create("none", MFD_CLOEXEC));
    CHECK_FALSE(whole->pays(memory.get()));    // tmpfs
    const auto failed = whole->sync(-1);
    REQUIRE_FALSE(failed);
    CHECK(failed.error().code == EBADF);
    if (!whole->pays(file.get())) return;      // another file system, an old kernel, or much to be written
    const auto threads = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator()); };
    const auto before = threads();
    const auto synced = whole->sync(file.get());
    CHECK((synced || synced.error().code == ETIMEDOUT));    // a busy disk
    if (!synced) return;
    while (threads() != before) std::this_thread::yield();
}

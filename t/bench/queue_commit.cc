// How many mails a second become durable: Intake and its pool, beside what the disk allows to anyone who creates, writes,
// syncs, renames and syncs the directory. queue_commit [DIRECTORY [SECONDS]]; the directory decides which disk is measured.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <mutex>
#include <thread>
#include <vector>

#include "lib/base/text.h"
#include "lib/queue/intake.h"
#include "lib/queue/journal.h"

using namespace veredus;
using Time = std::chrono::steady_clock;

namespace {

constexpr std::size_t mail_size = 8 * 1024;

// A rate, and what it costs: on a busy machine the CPU per mail is the steadier figure.
struct Figure {
    double rate = 0, cpu_ms = 0;
};

double cpu_seconds()
{
    rusage u{};
    ::getrusage(RUSAGE_SELF, &u);
    const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
    return seconds(u.ru_utime) + seconds(u.ru_stime);
}

template <class Work> Figure measure(Work work)
{
    const double before = cpu_seconds();
    const auto begun = Time::now();
    const uint64_t count = work();
    const double took = std::chrono::duration<double>(Time::now() - begun).count();
    return {static_cast<double>(count) / took, 1000 * (cpu_seconds() - before) / static_cast<double>(std::max<uint64_t>(count, 1))};
}

struct Directory {
    explicit Directory(const std::string& base)
    {
        path = cat(base, "/veredus-bench-XXXXXX");
        if (!::mkdtemp(path.data())) std::exit(1);
        std::filesystem::create_directory(path + "/tmp");
        std::filesystem::create_directory(path + "/new");
    }
    ~Directory() { std::filesystem::remove_all(path); }
    std::string path;
};

// The floor: each thread by itself, no CRC, no envelope, every directory sync its own.
uint64_t raw(const std::string& base, unsigned writers, double seconds)
{
    const Directory d(base);
    const std::string bytes(mail_size, 'x');
    std::atomic<uint64_t> count = 0;
    const auto end = Time::now() + std::chrono::duration<double>(seconds);
    std::vector<std::thread> threads;
    for (unsigned w = 0; w < writers; ++w)
        threads.emplace_back([&, w] {
            const Fd tmp(::open((d.path + "/tmp").c_str(), O_RDONLY | O_DIRECTORY)), fresh(::open((d.path + "/new").c_str(), O_RDONLY | O_DIRECTORY));
            for (uint64_t i = 0; Time::now() < end; ++i) {
                const std::string name = cat(w, '-', i);
                const Fd file(::openat(tmp.get(), name.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600));
                if (::write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()) || ::fdatasync(file.get()) ||
                    ::renameat(tmp.get(), name.c_str(), fresh.get(), name.c_str()) || ::fsync(fresh.get()))
                    std::exit(1);
                ++count;
            }
        });
    for (auto& t : threads) t.join();
    return count;
}

// A loop in small: completions run on this thread.
class Posts {
public:
    void post(std::function<void()> work)
    {
        const std::lock_guard lock(mutex_);
        posted_.push_back(std::move(work));
        came_.notify_one();
    }
    void run_some()
    {
        std::unique_lock lock(mutex_);
        came_.wait(lock, [this] { return !posted_.empty(); });
        std::deque<std::function<void()>> batch;
        batch.swap(posted_);
        lock.unlock();
        for (auto& work : batch) work();
    }

private:
    std::mutex mutex_;
    std::condition_variable came_;
    std::deque<std::function<void()>> posted_;
};

// `writers` mails are always on their way, as from so many sessions.
uint64_t intake(const std::string& base, unsigned writers, unsigned threads, double seconds)
{
    const Directory d(base);
    Posts posts;
    disk::Pool pool(threads, [&](std::function<void()> f) { posts.post(std::move(f)); });
    auto intake = queue::Intake::open(disk::posix_disk(), d.path, 0, system_clock(), &pool);
    if (!intake) std::exit(1);
    std::string body;
    while (body.size() < mail_size) body += "A line of a mail that is neither short nor very long, as they are.\r\n";
    const auto header = mail::HeaderBlock::parse("Received: from a by b; now\r\nFrom: a@example.org\r\nTo: b@example.net\r\nSubject: bench\r\n");
    mail::Envelope envelope;
    envelope.sender = {"a", "example.org"};
    envelope.recipients = {{{"b", "example.net"}, 0, ""}};
    uint64_t count = 0, running = 0;
    const auto end = Time::now() + std::chrono::duration<double>(seconds);
    const std::function<void()> one = [&] {
        auto draft = (*intake)->create();
        if (!draft || !draft->append(body)) std::exit(1);
        ++running;
        (*intake)->commit(std::move(*draft), header, envelope, [&](Result<queue::Receipt> receipt) {
            if (!receipt) std::exit(1);
            --running, ++count;
            if (Time::now() < end) one();
        });
    };
    for (unsigned i = 0; i < writers; ++i) one();
    while (running) posts.run_some();
    return count;
}

uint64_t journal(const std::string& base, unsigned writers, double seconds)
{
    const Directory d(base);
    Posts posts;
    auto dir = disk::posix_disk().open_directory(nullptr, d.path);
    auto log = queue::Journal::open(disk::posix_disk(), std::move(*dir), [](const queue::Record&) {}, [&](std::function<void()> f) { posts.post(std::move(f)); });
    if (!log) std::exit(1);
    queue::Record outcome, done;
    outcome.event = queue::Event::outcome, done.event = queue::Event::done;
    outcome.id = done.id = "6B05986081000000";
    outcome.text = "delivered to maildir";
    uint64_t count = 0, running = 0;
    const auto end = Time::now() + std::chrono::duration<double>(seconds);
    const std::function<void()> one = [&] {
        ++running;
        (*log)->commit({outcome, done}, [&](Result<void> durable) {
            if (!durable) std::exit(1);
            --running, ++count;
            if (Time::now() < end) one();
        });
    };
    for (unsigned i = 0; i < writers; ++i) one();
    while (running) posts.run_some();
    return count;
}

}  // namespace

int main(int argc, char** argv)
{
    const std::string base = argc > 1 ? argv[1] : ".";
    const double seconds = argc > 2 ? std::atof(argv[2]) : 2;
    std::printf("mails of 8 KB, and journal commits, in %s: per second (CPU ms each)\n%8s %18s %18s %18s\n", base.c_str(), "writers", "raw disk", "intake", "journal");
    for (const unsigned writers : {1u, 16u, 64u}) {
        const Figure floor = measure([&] { return raw(base, writers, seconds); });
        const Figure ours = measure([&] { return intake(base, writers, writers, seconds); });
        const Figure log = measure([&] { return journal(base, writers, seconds); });
        std::printf("%8u %10.0f (%.3f) %10.0f (%.3f) %10.0f (%.3f)\n", writers, floor.rate, floor.cpu_ms, ours.rate, ours.cpu_ms, log.rate, log.cpu_ms);
    }
}

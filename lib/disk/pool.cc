// Threads that wait for the disk, so that no loop does.
#include "lib/disk/pool.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "lib/base/panic.h"
#include "lib/base/text.h"

namespace veredus::disk {

namespace {

// Deep enough for any file system's libc path; what a thread does is a handful of frames.
constexpr std::size_t stack_size = 512 * 1024;     // of which only what is used is there

void* thread_entry(void* argument)
{
    const std::unique_ptr<std::function<void()>> work(static_cast<std::function<void()>*>(argument));
    (*work)();
    return nullptr;
}

// 17 KB of the kernel's; who has more open pays for the growth.
constexpr rlim_t wide_table = 2048;

std::atomic<pid_t> widened{0};     // by whom: a fork has a small table again

}  // namespace

void widen_descriptor_table()
{
    if (widened.exchange(::getpid()) == ::getpid()) return;
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == 0) return;
    const int last = ::fcntl(0, F_DUPFD_CLOEXEC, static_cast<int>(std::min(files.rlim_cur, wide_table)) - 1);
    if (last >= 0) ::close(last);
}

Result<Thread> Thread::start(std::function<void()> work)
{
    widen_descriptor_table();
    auto argument = std::make_unique<std::function<void()>>(std::move(work));
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack_size);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);    // inherited by the thread
    Thread thread;
    const int code = pthread_create(&thread.id_, &attributes, thread_entry, argument.get());
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_attr_destroy(&attributes);
    if (code != 0) return fail_errno("start a thread", code);
    argument.release();
    thread.running_ = true;
    return thread;
}

Thread::~Thread()
{
    if (running_) pthread_join(id_, nullptr);
}

Pool::Pool(unsigned threads, std::function<void(std::function<void()>)> post) : limit_(threads ? threads : 1), post_(std::move(post)) {}

Pool::~Pool()
{
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        jobs_.clear();
    }
    wake_.notify_all();
    threads_.clear();    // joins
}

void Pool::run(std::function<void()> work, std::function<void()> done)
{
    std::unique_lock lock(mutex_);
    jobs_.push_back({std::move(work), std::move(done)});
    if (jobs_.size() > idle_ && threads_.size() < limit_) {
        auto thread = Thread::start([this] { thread_main(); });
        if (thread) threads_.push_back(std::move(*thread));
        // Out of threads: those that run will do it. None at all: the work is done here, late is better than never.
        if (threads_.empty()) {
            Job job = std::move(jobs_.back());
            jobs_.pop_back();
            lock.unlock();
            job.work();
            if (job.done) post_(std::move(job.done));
            return;
        }
    }
    lock.unlock();
    wake_.notify_one();
}

std::size_t Pool::waiting() const
{
    const std::lock_guard lock(mutex_);
    return jobs_.size();
}

void Pool::thread_main()
{
    std::unique_lock lock(mutex_);
    for (;;) {
        while (jobs_.empty() && !stopping_) {
            ++idle_;
            wake_.wait(lock);
            --idle_;
        }
        if (stopping_) return;
        Job job = std::move(jobs_.front());
        jobs_.pop_front();
        lock.unlock();
        job.work();
        job.work = nullptr;    // what the work held dies here, not on the loop's thread
        if (job.done) post_(std::move(job.done));
        lock.lock();
    }
}

Result<void> DirectorySync::sync()
{
    std::unique_lock lock(mutex_);
    const uint64_t mine = begun_ + 1;    // the next one to begin covers all that was done before this call
    while (done_ < mine) {
        if (running_) {
            ended_.wait(lock);
            continue;
        }
        running_ = true;
        const uint64_t number = ++begun_;
        lock.unlock();
        auto result = disk_.sync(dir_);
        lock.lock();
        running_ = false;
        done_ = number;
        if (!result) {
            last_failed_ = number;
            last_error_ = result.error();
        }
        ended_.notify_all();
    }
    // A later failure is taken for ours too: saying "temporary" about a durable mail costs a duplicate, no more.
    if (last_failed_ >= mine) return unexpected(last_error_);
    return {};
}

bool DirectorySync::ever_failed()
{
    const std::lock_guard lock(mutex_);
    return last_failed_ != 0;
}

}  // namespace veredus::disk

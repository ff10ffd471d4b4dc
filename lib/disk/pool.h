// A small pool of threads for steps that block (sync, rename, unlink), so that event loops never wait for a disk, and
// coalesced directory syncs: one fsync answers everyone whose rename was done before it began.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "lib/disk/disk.h"

namespace veredus::disk {

// Linux lets a process with threads wait for all CPUs (synchronize_rcu, 10 ms and more) whenever its descriptor table grows, at 64, 128, 256
// and so on. Called before its first thread, this lets the table grow once, for nothing.
void widen_descriptor_table();

// A thread with a small stack and every signal blocked: signals belong to the loop. Joined by its destructor.
class Thread {
public:
    static Result<Thread> start(std::function<void()> work);
    Thread(Thread&& other) noexcept : id_(other.id_), running_(std::exchange(other.running_, false)) {}
    Thread& operator=(Thread other) noexcept
    {
        std::swap(id_, other.id_);
        std::swap(running_, other.running_);
        return *this;
    }
    Thread() = default;
    ~Thread();

private:
    pthread_t id_{};
    bool running_ = false;
};

// Threads start with the work that needs them, so that a process may still fork before, and an idle one costs nothing.
// Lives shorter than what `post` posts to. A completion may be posted while the pool's owner dies: what `done` touches
// must be held by `done` itself, or be checked by a token that it holds.
class Pool {
public:
    // `post` brings a completion back to the owner's thread (Loop::post); it must be callable from any thread.
    Pool(unsigned threads, std::function<void(std::function<void()>)> post);
    ~Pool();                              // finishes what was begun, drops what was not; completions still go to post
    Pool(const Pool&) = delete;
    // `work` on a pool thread, then `done` through post. Work must not touch what the loop owns.
    void run(std::function<void()> work, std::function<void()> done);
    void post(std::function<void()> done) { post_(std::move(done)); }    // for work that completes otherwise than by returning
    std::size_t waiting() const;          // jobs not yet begun: the owner's back-pressure

private:
    struct Job {
        std::function<void()> work, done;
    };
    void thread_main();
    unsigned limit_;
    std::function<void(std::function<void()>)> post_;
    mutable std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Job> jobs_;
    std::size_t idle_ = 0;
    bool stopping_ = false;
    std::vector<Thread> threads_;
};

// Syncs of one directory, from any thread. sync() returns when an fsync of the directory that began after the call has
// ended; callers that come while one is running share the next one. A failure goes to all that shared it.
class DirectorySync {
public:
    DirectorySync(Disk& disk, const Directory& dir) : disk_(disk), dir_(dir) {}
    Result<void> sync();
    // A sync that failed may have lost changes for good that later syncs, which succeed, say nothing about.
    bool ever_failed();

private:
    Disk& disk_;
    const Directory& dir_;
    std::mutex mutex_;
    std::condition_variable ended_;
    uint64_t begun_ = 0, done_ = 0;       // numbers of syncs
    uint64_t last_failed_ = 0;
    Error last_error_;
    bool running_ = false;
};

}  // namespace veredus::disk

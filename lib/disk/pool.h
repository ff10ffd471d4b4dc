// A small pool of threads for steps that block (sync, rename, unlink), so that event loops never wait for a disk, and
// coalesced directory syncs: one fsync answers everyone whose rename was done before it began.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "lib/disk/disk.h"

namespace veredus::disk {

class Pool {
public:
    // `post` brings a completion back to the owner's thread (Loop::post); it must be callable from any thread.
    Pool(unsigned threads, std::function<void(std::function<void()>)> post);
    ~Pool();                              // finishes what was begun, drops what was not; completions still go to post
    // `work` on a pool thread, then `done` through post. Work must not touch what the loop owns.
    void run(std::function<void()> work, std::function<void()> done);
    std::size_t waiting() const;          // jobs not yet begun: the owner's back-pressure

private:
    struct Job {
        std::function<void()> work, done;
    };
    void thread_main();
    std::function<void(std::function<void()>)> post_;
    mutable std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Job> jobs_;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

// Syncs of one directory, from any thread. sync() returns when an fsync of the directory that began after the call has
// ended; callers that come while one is running share the next one. A failure goes to all that shared it.
class DirectorySync {
public:
    DirectorySync(Disk& disk, const Directory& dir) : disk_(disk), dir_(dir) {}
    Result<void> sync();

private:
    Disk& disk_;
    const Directory& dir_;
    std::mutex mutex_;
    std::condition_variable ended_;
    uint64_t begun_ = 0, done_ = 0, failed_upto_ = 0;
    bool running_ = false;
    Error last_error_;
    uint64_t last_failed_ = 0;
};

}  // namespace veredus::disk

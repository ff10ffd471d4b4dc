// A disk in memory whose writes can be made to wait.
#pragma once

#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "t/unit/forgetful_disk.h"

namespace veredus::test {

// Its writes wait until they may go on, and may fail. The thread that made it is the loop's, and is never to wait for a disk.
class SlowDisk final : public ForgetfulDisk {
public:
    Result<void> write(const Fd& file, std::string_view bytes) override
    {
        {
            std::unique_lock lock(mutex_);
            if (!open_ && std::this_thread::get_id() == loop_) throw std::logic_error("the loop's own thread waits for the disk");
            ++waiting_;
            turned_.notify_all();
            turned_.wait(lock, [&] { return open_ || let_ > 0; });
            --waiting_;
            if (!open_) --let_;
            turned_.notify_all();
            if (full_) return fail_errno("write", ENOSPC);
        }
        return ForgetfulDisk::write(file, bytes);
    }
    Result<void> unlink(const disk::Directory& dir, const std::string& name) override
    {
        {
            const std::lock_guard lock(mutex_);
            if (!open_ && std::this_thread::get_id() == loop_) throw std::logic_error("the loop's own thread waits for the disk");
        }
        return ForgetfulDisk::unlink(dir, name);
    }
    void open(bool yes, bool full = false)
    {
        const std::lock_guard lock(mutex_);
        open_ = yes;
        full_ = full;
        turned_.notify_all();
    }
    // Lets so many writes go on, and returns when the one after them waits.
    void let(unsigned writes)
    {
        std::unique_lock lock(mutex_);
        let_ = writes;
        turned_.notify_all();
        turned_.wait(lock, [&] { return let_ == 0 && waiting_ > 0; });
    }

private:
    const std::thread::id loop_ = std::this_thread::get_id();
    std::mutex mutex_;
    std::condition_variable turned_;
    bool open_ = true, full_ = false;
    unsigned waiting_ = 0, let_ = 0;
};

}  // namespace veredus::test

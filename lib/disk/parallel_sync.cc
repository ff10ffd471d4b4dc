// One batch: whoever has time takes the next file.
#include "lib/disk/parallel_sync.h"

#include <fcntl.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

namespace veredus::disk {

namespace {

struct Batch {
    Batch(Disk& disk_, const std::vector<const Fd*>& files_) : disk(disk_), files(files_), results(files_.size()) {}
    void work()
    {
        std::unique_lock lock(mutex);
        while (next < files.size()) {
            const std::size_t mine = next++;
            lock.unlock();
            auto result = disk.sync(*files[mine]);
            lock.lock();
            results[mine] = std::move(result);
            if (++done == files.size()) all_done.notify_one();
        }
    }
    Disk& disk;
    const std::vector<const Fd*> files;
    std::mutex mutex;
    std::condition_variable all_done;
    std::vector<Result<void>> results;
    std::size_t next = 0, done = 0;
};

}  // namespace

void start_writing(const Fd& file)
{
#ifdef SYNC_FILE_RANGE_WRITE
    (void)::sync_file_range(file.get(), 0, 0, SYNC_FILE_RANGE_WRITE);    // a file that cannot says so when it is synced
#else
    (void)file;
#endif
}

void write_out(const Fd& file)
{
#ifdef SYNC_FILE_RANGE_WRITE
    (void)::sync_file_range(file.get(), 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
#else
    (void)file;
#endif
}

ParallelSync::ParallelSync(unsigned threads) : threads_(std::max(threads, 1U)), pool_(threads_, [](const std::function<void()>&) {}) {}

std::vector<Result<void>> ParallelSync::sync(Disk& disk, const std::vector<const Fd*>& files)
{
    if (files.empty()) return {};
    // shared_ptr: a thread that comes when all is done still looks at it.
    const auto batch = std::make_shared<Batch>(disk, files);
    const std::size_t helpers = std::min<std::size_t>(threads_, files.size()) - 1;
    for (std::size_t i = 0; i < helpers; ++i) pool_.run([batch] { batch->work(); }, nullptr);
    batch->work();
    std::unique_lock lock(batch->mutex);
    batch->all_done.wait(lock, [&] { return batch->done == batch->files.size(); });
    return std::move(batch->results);
}

}  // namespace veredus::disk

// One batch: whoever has time takes the next file.
#include "lib/disk/parallel_sync.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "lib/base/text.h"

namespace veredus::disk {

namespace {

struct Batch {
    Batch(std::size_t count, const std::function<Result<void>(std::size_t)>& step_) : step(step_), results(count) {}
    void work()
    {
        std::unique_lock lock(mutex);
        while (next < results.size()) {
            const std::size_t mine = next++;
            lock.unlock();
            auto result = step(mine);
            lock.lock();
            results[mine] = std::move(result);
            if (++done == results.size()) all_done.notify_one();
        }
    }
    const std::function<Result<void>(std::size_t)>& step;    // the caller's, who waits for all of them
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

// The magic number of statfs(2) is the same for ext2, which has no journal; the mount table has the type's name. A line of it:
// "36 35 98:0 /root /mount/point options [fields ...] - type source options".
bool writes_data_before_names(const Directory& dir)
{
#ifdef SYNC_FILE_RANGE_WRITE
    constexpr std::size_t longest_table = 1u << 20;
    struct stat st {};
    if (::fstat(dir.fd.get(), &st) != 0) return false;
    const auto table = read_file("/proc/self/mountinfo", longest_table);
    if (!table) return false;
    const std::string device = cat(' ', ::major(st.st_dev), ':', ::minor(st.st_dev), ' ');
    std::string_view rest = *table;
    while (!rest.empty()) {
        const auto end = std::min(rest.find('\n'), rest.size() - 1) + 1;
        const auto line = rest.substr(0, end);
        rest.remove_prefix(end);
        const auto at = line.find(device), type = line.find(" - ");
        if (at == std::string_view::npos || type == std::string_view::npos || at > type) continue;
        const auto name = line.substr(type + 3, line.find(' ', type + 3) - type - 3);
        return name == "ext4" || name == "xfs";
    }
#else
    (void)dir;
#endif
    return false;
}

ParallelSync::ParallelSync(unsigned threads) : threads_(std::max(threads, 1U)) {}

std::vector<Result<void>> ParallelSync::sync(Disk& disk, const std::vector<const Fd*>& files)
{
    return run(files.size(), [&](std::size_t i) { return disk.sync(*files[i]); });
}

std::vector<Result<void>> ParallelSync::run(std::size_t count, const std::function<Result<void>(std::size_t)>& step)
{
    if (count == 0) return {};
    // shared_ptr: a thread that comes when all is done still looks at it.
    const auto batch = std::make_shared<Batch>(count, step);
    const std::size_t helpers = std::min<std::size_t>(threads_, count) - 1;
    if (helpers > 0 && !pool_) pool_ = std::make_unique<Pool>(threads_, [](const std::function<void()>&) {});
    for (std::size_t i = 0; i < helpers; ++i) pool_->run([batch] { batch->work(); }, nullptr);
    batch->work();
    std::unique_lock lock(batch->mutex);
    batch->all_done.wait(lock, [&] { return batch->done == count; });
    return std::exchange(batch->results, {});
}

}  // namespace veredus::disk

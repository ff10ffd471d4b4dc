// One batch: one wait for all of it, or whoever has time takes the next file.
#include "lib/disk/parallel_sync.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <map>
#include <mutex>
#include <utility>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/disk/pool.h"

namespace veredus::disk {

namespace {

// So few are synced one after the other: threads cost more than they gain. A first mail needs as many: its file, and the directories on
// the way to a new mailbox.
constexpr std::size_t few = 6;
// So many of one file system are worth a call for all of it.
constexpr std::size_t many = 16;
constexpr uint64_t most_dirty_kb = 1024 * 1024;
constexpr std::chrono::milliseconds patience{250};
constexpr int64_t rest_factor = 20;    // after a call that took too long: so many times as long

// Since 5.8 a data error of any file is told (errseq of the superblock), since 5.17 one of the journal, too.
bool tells_every_failure()
{
    utsname name{};
    unsigned major = 0, minor = 0;
    return ::uname(&name) == 0 && std::sscanf(name.release, "%u.%u", &major, &minor) == 2 && (major > 5 || (major == 5 && minor >= 17));
}

// Without a journal, as ext2 always is, syncfs(2) ends with blocks that the device may still hold in its cache. The magic number of statfs(2)
// is the same for all of them; of a journal the kernel names the thread: "<none>" where there is none.
bool is_ext4_with_journal(int fd)
{
    struct stat st {};
    struct statfs fs {};
    if (::fstatfs(fd, &fs) != 0 || fs.f_type != EXT4_SUPER_MAGIC || ::fstat(fd, &st) != 0) return false;
    char link[PATH_MAX];
    const ssize_t size = ::readlink(cat("/sys/dev/block/", ::major(st.st_dev), ':', ::minor(st.st_dev)).c_str(), link, sizeof link);
    if (size <= 0) return false;
    const std::string_view device(link, static_cast<std::size_t>(size));
    const auto task = read_file(cat("/sys/fs/ext4/", device.substr(device.rfind('/') + 1), "/journal_task"), 4096);
    return task && !task->empty() && (*task)[0] != '<';
}

// What waits to be written on the whole machine; UINT64_MAX: not known.
uint64_t dirty_kb()
{
    const auto info = read_file("/proc/meminfo", 65'536);
    if (!info) return UINT64_MAX;
    uint64_t sum = 0;
    for (const char* name : {"\nDirty:", "\nWriteback:"}) {
        const auto at = info->find(name);
        unsigned long long kb = 0;
        if (at == std::string::npos || std::sscanf(info->c_str() + info->find(':', at) + 1, "%llu", &kb) != 1) return UINT64_MAX;
        sum += kb;
    }
    return sum;
}

// A call in a thread of its own: who waits may lose patience.
struct WholeCall {
    explicit WholeCall(Fd f) : fd(std::move(f)) {}
    Fd fd;
    std::mutex mutex;
    std::condition_variable ended;
    bool done = false;
    int code = 0;
    int64_t began_us = system_clock().mono_us(), ended_us = 0;
};

void* call_syncfs(void* argument)
{
    const std::unique_ptr<std::shared_ptr<WholeCall>> call(static_cast<std::shared_ptr<WholeCall>*>(argument));
    const int code = ::syncfs((*call)->fd.get()) == 0 ? 0 : errno;
    const std::lock_guard lock((*call)->mutex);
    (*call)->code = code;
    (*call)->done = true;
    (*call)->ended_us = system_clock().mono_us();
    (*call)->ended.notify_one();
    return nullptr;
}

Result<void> start_detached(void* (*work)(void*), std::shared_ptr<WholeCall> call)
{
    widen_descriptor_table();
    auto argument = std::make_unique<std::shared_ptr<WholeCall>>(std::move(call));
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, std::size_t{128} * 1024);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);    // inherited by the thread
    pthread_t thread{};
    const int code = pthread_create(&thread, &attributes, work, argument.get());
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_attr_destroy(&attributes);
    if (code != 0) return fail_errno("start a thread", code);
    (void)argument.release();
    return {};
}

class PosixWholeSync final : public WholeSync {
public:
    bool pays(int fd) override
    {
        static const bool reliable = tells_every_failure();
        return reliable && !rests() && is_ext4_with_journal(fd) && dirty_kb() <= most_dirty_kb;
    }
    Result<void> sync(int fd) override
    {
        Fd own(::fcntl(fd, F_DUPFD_CLOEXEC, 0));    // the same open file: what it was told of errors is the caller's
        if (!own) return fail_errno("dup");
        call_ = std::make_shared<WholeCall>(std::move(own));
        if (auto started = start_detached(call_syncfs, call_); !started) {
            call_.reset();
            return started;
        }
        std::unique_lock lock(call_->mutex);
        if (!call_->ended.wait_for(lock, patience, [&] { return call_->done; })) return fail_errno("syncfs takes long", ETIMEDOUT);
        if (call_->code != 0) return fail_errno("syncfs", call_->code);
        return {};
    }

private:
    bool rests() const
    {
        if (!call_) return false;
        const std::lock_guard lock(call_->mutex);
        const int64_t took_us = call_->ended_us - call_->began_us;
        return !call_->done || (took_us > patience / std::chrono::microseconds(1) && system_clock().mono_us() - call_->ended_us < rest_factor * took_us);
    }
    std::shared_ptr<WholeCall> call_;    // shared_ptr: the thread of one that takes long outlives our patience
};

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

// ext4 is told by its journal, xfs by the mount table, which has the type's name. A line of it:
// "36 35 98:0 /root /mount/point options [fields ...] - type source options".
bool writes_data_before_names(const Directory& dir)
{
#ifdef SYNC_FILE_RANGE_WRITE
    constexpr std::size_t longest_table = 1u << 20;
    if (is_ext4_with_journal(dir.fd.get())) return true;
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
        return name == "xfs";
    }
#else
    (void)dir;
#endif
    return false;
}

std::unique_ptr<WholeSync> posix_whole_sync() { return std::make_unique<PosixWholeSync>(); }

ParallelSync::ParallelSync(unsigned threads, std::unique_ptr<WholeSync> whole) : threads_(std::max(threads, 1U)), whole_(std::move(whole)) {}

std::vector<Result<void>> ParallelSync::sync(const std::vector<Unsynced>& all)
{
    std::vector<Result<void>> results(all.size());
    const std::vector<std::size_t> left = after_whole(all, results);
    if (left.size() <= few) {
        for (const std::size_t i : left) results[i] = all[i].step();
        return results;
    }
    auto done = run(left.size(), [&](std::size_t i) { return all[left[i]].step(); });
    for (std::size_t i = 0; i < left.size(); ++i) results[left[i]] = std::move(done[i]);
    return results;
}

// Those that one call for their file system has not made durable. Where it failed, each is asked by itself: the failure may be another's,
// and whose it is hears of it again, for each open file has an error state of its own. Where it succeeded, the first one is asked all the same:
// until 6.13 ext4's syncfs(2) says yes after the file system was shut down by an error, and fsync(2) does not. It has nothing to write.
// After a failure the next batch is asked one by one, too: some of it may have been lost before that failure was told.
std::vector<std::size_t> ParallelSync::after_whole(const std::vector<Unsynced>& all, std::vector<Result<void>>& results)
{
    std::vector<std::size_t> left;
    std::map<uint64_t, std::vector<std::size_t>> of_device;
    const bool tried = whole_ && !std::exchange(whole_failed_, false) && all.size() >= many;
    for (std::size_t i = 0; i < all.size(); ++i) (tried ? of_device[all[i].device] : left).push_back(i);
    for (const auto& [device, some] : of_device) {
        const auto open = std::find_if(some.begin(), some.end(), [&](std::size_t i) { return all[i].fd >= 0; });
        auto unsynced = some;
        if (some.size() >= many && open != some.end() && whole_->pays(all[*open].fd)) {
            if (whole_->sync(all[*open].fd)) {
                results[some.front()] = all[some.front()].step();
                if (results[some.front()]) continue;
                unsynced.erase(unsynced.begin());
            } else {
                whole_failed_ = true;
            }
        }
        left.insert(left.end(), unsynced.begin(), unsynced.end());
    }
    return left;
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

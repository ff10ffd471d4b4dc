// Many files and directories of one batch, synced together: their data is on its way to the disk before the first of them is waited for;
// then one call waits for their whole file system where that is known to be sound and cheap, or several threads wait, so that one commit
// of the file system's journal serves most of them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "lib/disk/disk.h"
#include "lib/disk/pool.h"

namespace veredus::disk {

// Tells the kernel to begin writing what the file holds. Promises nothing: only sync() makes it durable.
void start_writing(const Fd& file);
// Is the directory on a file system of which Disk::write_out() says something? Whatever cannot be told counts as none.
bool writes_data_before_names(const Directory& dir);

// syncfs(2): all that a file system holds is durable after one wait, whoever wrote it. A failure may be of anybody's file.
class WholeSync {
public:
    virtual ~WholeSync() = default;
    // `fd` is open on the file system in question. True: what syncfs(2) says there can be relied on, and no other program's data would
    // make it wait for long.
    virtual bool pays(int fd) = 0;
    virtual Result<void> sync(int fd) = 0;
};
// Of the kernel: pays on ext4 with a journal, where each fsync(2) of a directory commits whatever the journal holds at that moment, so that a hundred of
// them beside other writers are dozens of commits, one after the other (measured: 620 mails a second into a hundred directories, 2,500
// with this). Only kernels since 5.17 (which tell every failure), and only while less than 1 GB waits to be written on the whole machine.
// A call that takes longer than a quarter of a second, because of another program's data, is not waited for (ETIMEDOUT), and none is made
// for twenty times as long after it ended.
std::unique_ptr<WholeSync> posix_whole_sync();

// One file or directory that is to be made durable. Of all on one device in a batch the first one stands for the others, for a call for the
// whole file system may say yes though that was shut down: that call is made with the first descriptor, and then the first step is
// called, and asked whether it is true. So it has to be one that notices, fsync(2) whose every failure is told, not one that only writes out
// or passes failures over; and its descriptor one that was opened before any of the others was changed. Where the first is no such
// step, success of the batch says nothing that anybody may be told.
struct Unsynced {
    std::function<Result<void>()> step;    // by itself; called by any thread, at most once
    uint64_t device = 0;                   // stat(2)'s
    int fd = -1;                           // borrowed, opened before what is to be synced was changed, or -1: none is open
};

class ParallelSync {
public:
    // At most so many threads, the caller's included; they begin with the first batch that has use for them, and a process that may
    // have no more threads does all by itself. `whole` null: each is always synced by itself.
    explicit ParallelSync(unsigned threads, std::unique_ptr<WholeSync> whole = nullptr);
    // Syncs all, and returns when the last one is done: one result for each, in order. What the next call will be about may be changed
    // meanwhile.
    std::vector<Result<void>> sync(const std::vector<Unsynced>& all);
    // The threads' part of it: steps of any kind, numbered from 0; each number is called once.
    std::vector<Result<void>> run(std::size_t count, const std::function<Result<void>(std::size_t)>& step);
    // Between batches, never while one is under way: ends the threads. The next batch starts what it needs.
    void rest() { pool_.reset(); }
    bool has_threads() const { return pool_ != nullptr; }

private:
    std::vector<std::size_t> after_whole(const std::vector<Unsynced>& all, std::vector<Result<void>>& results);

    unsigned threads_;
    std::unique_ptr<WholeSync> whole_;
    bool whole_failed_ = false;          // the call before: who used its fd has heard of what was changed meanwhile, and will not hear of it again
    std::unique_ptr<Pool> pool_;         // null: no threads
};

}  // namespace veredus::disk

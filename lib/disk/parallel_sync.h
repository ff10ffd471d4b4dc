// Many files of one batch, synced together: their data is on its way to the disk before the first of them is waited for, and several
// threads wait, so that one commit of the file system's journal serves most of them.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "lib/disk/disk.h"
#include "lib/disk/pool.h"

namespace veredus::disk {

// Tells the kernel to begin writing what the file holds. Promises nothing: only sync() makes it durable.
void start_writing(const Fd& file);
// Waits until the device was given what the file holds. Promises nothing either, but a journalling file system that writes data before the
// journal speaks of it (ext4 data=ordered, xfs) then keeps no name given later without these bytes.
void write_out(const Fd& file);
// Is the directory on such a file system? Whatever cannot be told counts as none.
bool writes_data_before_names(const Directory& dir);

class ParallelSync {
public:
    // At most so many threads, the caller's included; they begin with the first batch that has use for them, and a process that may
    // have no more threads does all by itself.
    explicit ParallelSync(unsigned threads);
    // Syncs all, and returns when the last one is done: one result for each file, in order. The disk must bear calls of several threads.
    std::vector<Result<void>> sync(Disk& disk, const std::vector<const Fd*>& files);
    // The same for steps of any kind, numbered from 0; each number is called once.
    std::vector<Result<void>> run(std::size_t count, const std::function<Result<void>(std::size_t)>& step);
    // Between batches: ends the threads. The next batch starts what it needs.
    void rest() { pool_.reset(); }

private:
    unsigned threads_;
    std::unique_ptr<Pool> pool_;         // null: no threads
};

}  // namespace veredus::disk

// What listings show of mail that was opened once, in a file beside the journal: mailq and filters then open no mail file, in this life of
// qmgr or a later one. It is never synced and promises nothing: what it has lost is read from the mail file again.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "lib/disk/disk.h"
#include "lib/disk/pool.h"
#include "qmgr/summary.h"

namespace veredus::qmgr {

class Summaries {
public:
    // Of `dir`/summaries. A file that cannot be used is a warning, and then nothing is kept.
    Summaries(disk::Disk& disk, disk::Directory dir);
    ~Summaries();
    // What the file has, in its order: of the same mail the later one counts. Behind damage it is cut off. Blocking; at the start.
    void load(const std::function<void(uint64_t id, uint64_t place)>& found);
    // From now on the file is written, and unlinked, by threads of the pool, which must die before this does. Until then, and without one,
    // the owner does it himself.
    void write_with(disk::Pool& pool) { pool_ = &pool; }
    // Its place; 0: it is not kept. The next ones are the owner's alone.
    uint64_t add(uint64_t id, const Summary& summary);
    void flush();                          // to the file; and where that failed before, whether it can be written again
    void finish();                         // the same before the end of the process. Blocking
    // All places are void, and until the old file is gone nothing is kept. To be done when most of the file is of mails that have left.
    bool crowded(std::size_t waiting) const;
    void begin_anew();
    // From any thread; may block. Empty: it is not there any more, or damaged.
    Summary read(uint64_t id, uint64_t place) const;

private:
    using File = std::shared_ptr<const Fd>;    // shared with whoever reads when it is begun anew
    using Lock = std::unique_lock<std::mutex>;
    File opened();
    void start();
    void work();
    void replace(Lock& lock);
    void repair(Lock& lock);
    void write(Lock& lock);
    disk::Disk& disk_;
    disk::Directory dir_;
    disk::Pool* pool_ = nullptr;           // owner's thread, like the next one
    std::size_t records_ = 0;
    mutable std::mutex mutex_;             // of what follows
    std::condition_variable ended_;        // the work
    File file_;
    uint64_t written_ = 0;                 // bytes of the file
    std::string writing_;                  // behind them, by whoever is at work
    std::string pending_;                  // behind those
    bool at_work_ = false;                 // somebody is, or will be
    bool anew_ = false;                    // the file is to be replaced
    bool failed_ = false;                  // the last write
    bool said_ = false;                    // so, since one went well
};

}  // namespace veredus::qmgr

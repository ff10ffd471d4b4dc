// Delivery into a Maildir: written in tmp, synced, renamed into new, the directory synced; many mails, of several Maildirs
// too, share the waits for the disk. A few, where the file system's journal keeps the order, are given to the device, renamed, and both synced
// in one commit: half of the wait. Where there is an index, the mails get their UIDs and their place in the cache with it, unless
// somebody else is just at it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/disk/disk.h"
#include "lib/disk/parallel_sync.h"
#include "lib/store/content.h"
#include "lib/store/facts.h"
#include "lib/store/problem.h"
#include "lib/store/young_names.h"

namespace veredus::store {

// "1732456800.M123456P77Q3V803I1f0a.host": never the same twice, whatever the clock does (process, counter and inode).
struct MaildirName {
    int64_t wall_us = 0;
    int32_t pid = 0;
    uint64_t counter = 0;
    uint64_t device = 0, inode = 0;
    std::string host;
    std::string base() const;
    // with Maildir++ sizes: S= as stored, W= with CRLF, so that IMAP and POP3 need not open the file
    std::string full(const Sizes& sizes) const;
};

class Maildir {
public:
    // Makes it, and what is missing of the path to it, on first delivery: 0700. What was made lately on the way to it, by whomever, is
    // synced once by each process, with the first mail that it delivers there: by itself, or where the file system's journal keeps the order
    // by the sync of that mail's name.
    static Result<std::unique_ptr<Maildir>> open(disk::Disk& disk, const std::string& path);
    struct Opening {                             // one of many; what is missing of all is made before the first directory is synced
        explicit Opening(std::string path_) : path(std::move(path_)) {}
        std::string path;
        std::unique_ptr<Maildir> maildir;        // filled in,
        Result<void> result;                     // or why not
    };
    // `keeps_order` as of disk::writes_data_before_names(), which is asked where it is not given.
    static void open_all(disk::Disk& disk, std::vector<Opening>& openings, std::optional<bool> keeps_order = std::nullopt);
    // With directories that are open already (tests, other stores).
    Maildir(disk::Disk& disk, std::string path, disk::Directory tmp, disk::Directory fresh, std::optional<bool> keeps_order = std::nullopt);
    bool still_there() const;                // the user may move it away while we hold its directories
    // Syncs what was made lately on the way to it: for who puts mail there in another way.
    Result<void> settle_way();
    // Mails for one Maildir, and an answer for each, in order.
    struct Load {
        Maildir* maildir = nullptr;
        std::vector<Content> mails;
        std::vector<Delivered> answers;          // filled in
    };
    class Delivery;
    // All that is to be delivered now, each Maildir at most once: the files of all are synced together, and so are the directories.
    // Nothing of a mail that failed is left behind.
    static void deliver(std::vector<Load>& loads, disk::ParallelSync& syncs);
    std::vector<Delivered> deliver(const std::vector<Content>& mails);       // one load by itself

private:
    struct Index;
    class Batch;
    class Waits;
    struct Draft {
        Fd file;
        MaildirName name;
        std::string tmp_name, final_name;
        Sizes sizes;
        std::unique_ptr<FactsMaker> facts;       // where there is an index
        bool published = false;
    };
    Result<Draft> write(const Content& mail, bool with_facts);
    std::optional<disk::Directory> index() const;
    bool keeps_order();
    bool comes_with_names(const YoungParent& parent);    // needs no sync of its own: that of new/ is enough
    void names_are_synced();                             // those of a mail
    Result<void> write_into(Draft& draft, const Content& mail);
    disk::Disk& disk_;
    std::string path_, host_;
    int32_t pid_;
    disk::Directory tmp_, new_;
    struct stat tmp_stat_, new_stat_;            // of what we hold
    std::optional<bool> keeps_order_;
    std::vector<YoungParent> young_;             // what is to be synced before mail in it counts
};

// A delivery step by step, so that batches that come one behind the other need one wait for the disk each: what makes the names of one
// durable also waits for the files of the next. A Maildir may get mail of both.
class Maildir::Delivery {
public:
    explicit Delivery(std::vector<Load> loads);       // writes all files; the mails' own files are not needed any more then
    ~Delivery();
    class Wait;
    // A whole Wait.
    static void sync(Delivery* named, Delivery* written, disk::ParallelSync& syncs);
    std::vector<Load>& loads() { return loads_; }
    std::size_t size() const;                         // mails

private:
    std::vector<Load> loads_;
    std::vector<Batch> batches_;                      // one for each load
};

// Until the names of `named` are durable, which completes its answers, and until the files of `written` are (or, of a few, may have names),
// and what lies on the way to them; these get their names in new/ then. Either may be null; both outlive it, and are nobody else's until it
// has ended. Another delivery, also into the same Maildirs, may be written while it runs.
class Maildir::Delivery::Wait {
public:
    Wait(Delivery* named, Delivery* written);
    ~Wait();
    void run(disk::ParallelSync& syncs);              // any thread, once
    void end();                                       // after run(), by whom the deliveries belong to

private:
    struct State;
    std::unique_ptr<State> state_;
};

// Threads that pay: measured on ext4, a batch of 100 small mails: 4,700 a second with 16 threads, 2,700 with 8, 380 with one.
constexpr unsigned delivery_sync_threads = 16;

}  // namespace veredus::store

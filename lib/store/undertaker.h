// Removes the files of folders that were deleted: those of large ones in a thread, one folder after the other, so that
// nobody waits.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "lib/disk/disk.h"
#include "lib/disk/pool.h"

namespace veredus::store {

// Everything below `name` and that itself, without following a link. What others remove at the same time is removed: no
// error.
Result<void> remove_tree(const disk::Directory& parent, const std::string& name);

class Undertaker {
public:
    using Remove = std::function<Result<void>(const disk::Directory&, const std::string&)>;
    explicit Undertaker(Remove remove = remove_tree); // called by one thread at a time; tests give another one
    ~Undertaker();                                    // waits until all is removed
    Undertaker(const Undertaker&) = delete;
    // `grave` in `index` goes: a small one when this returns, a large one some time later. An error is logged; whoever
    // opens the mailbox next tries again.
    void bury(const disk::Directory& index, const std::string& grave);

private:
    struct Graves {
        std::mutex mutex;
        std::deque<std::pair<disk::Directory, std::string>> waiting; // each with a descriptor of its own
        bool working = false;                                        // a thread is at them
    };
    void work();
    void put_under(const disk::Directory& index, const std::string& grave) const;
    Remove remove_;
    Graves graves_;
    disk::Thread thread_; // last: its destructor waits for it
};

} // namespace veredus::store

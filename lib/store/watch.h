// Learning of deliveries and other programs' changes at once: what to look at for a folder, and inotify(7) for all folders of a
// process. Where the kernel cannot tell (network file systems, no watch left), the owner looks from time to time.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/fd.h"

namespace veredus::store {

struct WatchPoint {
    std::string path;              // of a directory; /proc/self/fd/N is one
    std::string name;              // of the one file in it that matters; empty: all
    // `path` is the file itself, which need not be there: in a directory of everybody's mailboxes each would wake all.
    bool file = false;
};

class Watch {
public:
    // Without inotify (the system's limit of instances is reached) all folders are polled.
    Watch();
    // For the loop: readable when something may have happened; call read() then. -1: there is none.
    int fd() const { return fd_.get(); }
    // `points` are what Folder::watch_points() said; they need not last. The token is not 0.
    int add(const std::vector<WatchPoint>& points);
    void remove(int token);
    // Tokens of the folders that may have changed, each once, ascending; refresh() tells what. Never waits. More is left when it took
    // `bound` events, so call again from the loop.
    std::vector<int> read(std::size_t bound = 10'000);
    // To be called every poll_interval: tokens of the folders that must be looked at without being told. What was not there, or is
    // another file now, is watched from here on when that is possible.
    std::vector<int> poll();
    static constexpr std::chrono::seconds poll_interval{10};

private:
    struct Interest {
        int token = 0;
        WatchPoint point;
    };
    struct Blind {                 // what cannot be watched, or not now
        int token = 0;
        WatchPoint point;
    };
    bool watch(int token, const WatchPoint& point);
    void lose(int wd);
    bool another_file(const std::string& path, int wd) const;
    void all_tokens(std::vector<int>& out) const;
    Fd fd_;
    int last_token_ = 0;
    std::unordered_map<int, std::vector<Interest>> interests_;     // by watch descriptor: folders may share a directory
    std::map<int, std::vector<int>> watches_;                      // of a token
    std::vector<Blind> blind_;
};

}  // namespace veredus::store

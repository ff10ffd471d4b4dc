// Jobs for the threads, taken from each address in its turn: who sends a thousand makes the next one of another address
// wait for none of them.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "lib/disk/pool.h"

namespace veredus::authd {

class Turns {
public:
    // `at_once`: jobs in the pool at a time, `of_one` of them of one address at most. The pool is borrowed and lives longer; what comes
    // back from it after our end is dropped.
    Turns(disk::Pool& pool, unsigned at_once, unsigned of_one) : pool_(pool), free_(at_once ? at_once : 1), of_one_(of_one ? of_one : 1) {}
    ~Turns() { *alive_ = false; }
    Turns(const Turns&) = delete;
    // As disk::Pool::run(), on the thread of the pool's owner. `whose`: as guesser_of() writes an address. `unwanted` is asked once,
    // when the turn has come; true: nobody waits for it any more, and neither `work` nor `done` is called.
    void run(const std::string& whose, std::function<void()> work, std::function<void()> done, std::function<bool()> unwanted);
    std::size_t waiting() const { return waiting_; } // not in the pool yet

private:
    struct Job {
        std::function<void()> work, done;
        std::function<bool()> unwanted;
    };
    struct Own {                                      // of an address
        std::deque<Job> jobs;
        unsigned under_way = 0;                       // in the pool
        bool queued = false;                          // stands in next_
    };
    void start();
    void queue(const std::string& whose, Own& own);
    void came_back(const std::string& whose);
    disk::Pool& pool_;
    unsigned free_, of_one_;
    std::size_t waiting_ = 0;
    bool starting_ = false;
    std::unordered_map<std::string, Own> owns_;       // of those that have something, here or in the pool
    std::deque<std::string> next_;                    // those whose next job may begin, each once, in the order of their turns
    std::shared_ptr<bool> alive_ =
        std::make_shared<bool>(true); // shared: completions of the pool may come after our end
};

} // namespace veredus::authd

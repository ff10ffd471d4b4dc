// Jobs for the threads, taken from each address in its turn: who sends a thousand makes the next one of another address
// wait for none of them. And where a thousand addresses guess, those that do not come before them.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "lib/disk/pool.h"
#include "master/authd/gate.h"

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
    // `standing` is asked now, and when the turn has come: of four jobs that begin two are of known tries, one of a fresh and one of a
    // failing one, as long as there are such.
    void run(const std::string& whose, std::function<Standing()> standing, std::function<void()> work, std::function<void()> done, std::function<bool()> unwanted);
    std::size_t waiting() const { return waiting_; } // not in the pool yet

private:
    struct Job {
        std::function<void()> work, done;
        std::function<bool()> unwanted;
        std::function<Standing()> standing;
    };
    struct Own { // of an address
        std::deque<Job> jobs;
        bool queued = false; // stands in `next`
    };
    struct Lane {                                  // of a standing
        std::unordered_map<std::string, Own> owns; // of those that have jobs
        std::deque<std::string> next;              // those whose next job may begin, each once, in the order of their turns
    };
    void start();
    Lane* next_lane();
    void add(const std::string& whose, Lane& lane, Job job);
    void queue(Lane& lane, const std::string& whose);
    void came_back(const std::string& whose);
    disk::Pool& pool_;
    unsigned free_, of_one_, slot_ = 0;
    std::size_t waiting_ = 0;
    bool starting_ = false;
    Lane lanes_[3];                                       // by Standing
    std::unordered_map<std::string, unsigned> under_way_; // of those that have jobs in the pool
    std::shared_ptr<bool> alive_ =
        std::make_shared<bool>(true); // shared: completions of the pool may come after our end
};

} // namespace veredus::authd

// Round and round, one job of each.
#include "master/authd/turns.h"

#include <utility>

namespace veredus::authd {

void Turns::run(const std::string& whose, std::function<void()> work, std::function<void()> done, std::function<bool()> unwanted)
{
    std::deque<Job>& own = jobs_[whose];
    if (own.empty()) next_.push_back(whose);
    own.push_back({std::move(work), std::move(done), std::move(unwanted)});
    ++waiting_;
    start();
}

void Turns::start()
{
    if (starting_) return;    // `unwanted` may bring another one: the loop below goes on with it
    starting_ = true;
    while (free_ > 0 && !next_.empty()) {
        const auto at = jobs_.find(next_.front());
        std::deque<Job>& own = at->second;
        Job job = std::move(own.front());
        own.pop_front();
        if (own.empty())
            jobs_.erase(at);
        else
            next_.push_back(next_.front());
        next_.pop_front();
        --waiting_;
        if (job.unwanted()) continue;
        --free_;
        pool_.run(std::move(job.work), [this, alive = alive_, done = std::move(job.done)] {
            if (!*alive) return;
            ++free_;
            start();
            done();
        });
    }
    starting_ = false;
}

} // namespace veredus::authd

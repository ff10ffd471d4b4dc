// Round and round, one job of each.
#include "master/authd/turns.h"

#include <utility>

namespace veredus::authd {

void Turns::run(const std::string& whose, std::function<void()> work, std::function<void()> done, std::function<bool()> unwanted)
{
    Own& own = owns_[whose];
    own.jobs.push_back({std::move(work), std::move(done), std::move(unwanted)});
    ++waiting_;
    queue(whose, own);
    start();
}

void Turns::queue(const std::string& whose, Own& own)
{
    if (own.queued || own.jobs.empty() || own.under_way >= of_one_) return;
    own.queued = true;
    next_.push_back(whose);
}

void Turns::came_back(const std::string& whose)
{
    ++free_;
    const auto at = owns_.find(whose);
    --at->second.under_way;
    queue(whose, at->second);
    if (at->second.jobs.empty() && at->second.under_way == 0) owns_.erase(at);
}

void Turns::start()
{
    if (starting_) return;    // `unwanted` may bring another one: the loop below goes on with it
    starting_ = true;
    while (free_ > 0 && !next_.empty()) {
        const std::string whose = std::move(next_.front());
        next_.pop_front();
        Own& own = owns_.at(whose);
        own.queued = false;
        Job job = std::move(own.jobs.front());
        own.jobs.pop_front();
        --waiting_;
        ++own.under_way;
        --free_;
        queue(whose, own);
        if (job.unwanted()) {
            came_back(whose);
            continue;
        }
        pool_.run(std::move(job.work), [this, alive = alive_, whose, done = std::move(job.done)] {
            if (!*alive) return;
            came_back(whose);
            start();
            done();
        });
    }
    starting_ = false;
}

} // namespace veredus::authd

// Round and round, one job of each.
#include "master/authd/turns.h"

#include <utility>

namespace veredus::authd {

void Turns::run(const std::string& whose, std::function<Standing()> standing, std::function<void()> work, std::function<void()> done,
                std::function<bool()> unwanted)
{
    Lane& lane = lanes_[static_cast<std::size_t>(standing())];
    add(whose, lane, {std::move(work), std::move(done), std::move(unwanted), std::move(standing)});
    start();
}

void Turns::add(const std::string& whose, Lane& lane, Job job)
{
    lane.owns[whose].jobs.push_back(std::move(job));
    ++waiting_;
    queue(lane, whose);
}

void Turns::queue(Lane& lane, const std::string& whose)
{
    const auto at = lane.owns.find(whose);
    if (at == lane.owns.end() || at->second.queued) return;
    if (const auto busy = under_way_.find(whose); busy != under_way_.end() && busy->second >= of_one_) return;
    at->second.queued = true;
    lane.next.push_back(whose);
}

void Turns::came_back(const std::string& whose)
{
    ++free_;
    const auto busy = under_way_.find(whose);
    if (--busy->second == 0) under_way_.erase(busy);
    for (Lane& lane : lanes_) queue(lane, whose);
}

// Nobody starves: each lane has a slot in four that it is the first in.
Turns::Lane* Turns::next_lane()
{
    static constexpr std::size_t slots[4][3] = {{0, 1, 2}, {1, 0, 2}, {0, 1, 2}, {2, 0, 1}};
    const auto& order = slots[slot_++ % 4];
    for (const std::size_t i : order)
        if (!lanes_[i].next.empty()) return &lanes_[i];
    return nullptr;
}

void Turns::start()
{
    if (starting_) return;    // `unwanted` may bring another one: the loop below goes on with it
    starting_ = true;
    while (free_ > 0) {
        Lane* const lane = next_lane();
        if (!lane) break;
        const std::string whose = std::move(lane->next.front());
        lane->next.pop_front();
        const auto at = lane->owns.find(whose);
        at->second.queued = false;
        // An address that has as many in the pool as it may waits for one of them to come back, whichever lane it stands in.
        if (const auto busy = under_way_.find(whose); busy != under_way_.end() && busy->second >= of_one_) continue;
        Job job = std::move(at->second.jobs.front());
        at->second.jobs.pop_front();
        if (at->second.jobs.empty()) lane->owns.erase(at);
        --waiting_;
        // Since it came something may have failed from there: its place is behind those that is not true of.
        if (Lane& now = lanes_[static_cast<std::size_t>(job.standing())]; &now > lane) {
            queue(*lane, whose);
            add(whose, now, std::move(job));
            continue;
        }
        --free_;
        ++under_way_[whose];
        queue(*lane, whose);
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

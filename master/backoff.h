// How long a role that died waits before it is started again: not at all when it had been at work, longer each time when it
// cannot even start.
#pragma once

#include <algorithm>
#include <cstdint>

namespace veredus::master {

class Backoff {
public:
    Backoff(int64_t first_ms, int64_t longest_ms) : first_ms_(first_ms), longest_ms_(std::max(first_ms, longest_ms)) {}
    // It died after `lived_ms`: the wait before the next start. Work heals within a second or two, so one that was ready
    // comes back at once; only who never is, or dies as soon as it is several times in a row, is held back.
    int64_t died(int64_t lived_ms, bool was_ready)
    {
        if (was_ready && lived_ms >= short_life_ms) {
            did_its_work();
            return 0;
        }
        if (was_ready && short_lives_ < short_lives_free) {
            ++short_lives_;
            return 0;
        }
        const int64_t wait = std::max(next_ms_, first_ms_);
        next_ms_ = std::min(wait * 2, longest_ms_);
        return wait;
    }
    // It ended in order, with what it was there for done, however soon that was.
    void did_its_work() { *this = Backoff(first_ms_, longest_ms_); }

private:
    static constexpr int64_t short_life_ms = 1000;
    static constexpr int short_lives_free = 3;
    int64_t first_ms_, longest_ms_, next_ms_ = 0;
    int short_lives_ = 0;
};

}  // namespace veredus::master

// How long a role that died waits before it is started again: doubles with each death, afresh when it had lived a while.
#pragma once

#include <algorithm>
#include <cstdint>

namespace veredus::master {

class Backoff {
public:
    Backoff(int64_t first_ms, int64_t longest_ms) : first_ms_(first_ms), longest_ms_(std::max(first_ms, longest_ms)) {}
    // It died after `lived_ms`: the wait before the next start. A life longer than the longest wait was a good one.
    int64_t died(int64_t lived_ms)
    {
        if (lived_ms > longest_ms_) next_ms_ = 0;
        const int64_t wait = std::max(next_ms_, first_ms_);
        next_ms_ = std::min(wait * 2, longest_ms_);
        return wait;
    }

private:
    int64_t first_ms_, longest_ms_, next_ms_ = 0;
};

}  // namespace veredus::master

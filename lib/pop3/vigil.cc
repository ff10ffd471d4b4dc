#include "lib/pop3/vigil.h"

#include <algorithm>

namespace veredus::pop3 {

int64_t Vigil::answered(int64_t now_us)
{
    answered_us_ = now_us;
    awake_ = false;
    if (processors_ < 2 || soon_ < trust) return 0;
    if (skip_ > 0) {
        --skip_;
        return 0;
    }
    awake_ = true;
    return longest_us;
}

void Vigil::heard(int64_t now_us)
{
    soon_ = answered_us_ > 0 && now_us - answered_us_ <= near_us ? std::min(soon_ + 1, trust) : 0;
    if (awake_) penalty_ /= 2;
    awake_ = false;
}

void Vigil::in_vain()
{
    awake_ = false;
    penalty_ = std::min(2 * penalty_ + trust, most_skipped);
    skip_ = penalty_;
}

} // namespace veredus::pop3

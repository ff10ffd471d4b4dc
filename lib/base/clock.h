// The time seam: wall clock for dates, monotonic clock for every interval. Tests bring their own.
#pragma once

#include <cstdint>

namespace veredus {

class Clock {
public:
    virtual ~Clock() = default;
    virtual int64_t wall_us() const = 0;  // microseconds since 1970, may step either way
    virtual int64_t mono_us() const = 0;  // microseconds since boot-ish, never steps (CLOCK_BOOTTIME)
};

const Clock& system_clock();

constexpr int64_t us_per_second = 1'000'000;

}  // namespace veredus

// Whether to stay awake for the next command. A client on this host sends it some ten microseconds after the answer to the last one;
// to sleep and to be woken takes longer than that where the processor goes idle in between (a halted one of a virtual machine most of
// all). Learns from what the client does, and bounds what is spent on one who has become slow. Pure: the caller has the clock.
#pragma once

#include <cstdint>

namespace veredus::pop3 {

class Vigil {
public:
    // With one processor the client cannot run while we are awake.
    explicit Vigil(unsigned processors) : processors_(processors) {}
    // The answer has left. How many microseconds to look for the next command without sleeping; 0: sleep.
    int64_t answered(int64_t now_us);
    // A command has come: awake or not.
    void heard(int64_t now_us);
    // It did not come while we were awake.
    void in_vain();

    static constexpr int64_t longest_us = 60;   // of one vigil
    static constexpr int64_t near_us = 150;     // from answer to command, waking included: who is slower is not waited for
    static constexpr unsigned trust = 8;        // so many commands in a row that came so soon, before the first vigil
    static constexpr unsigned most_skipped = 512; // answers without a vigil, after many in vain

private:
    unsigned processors_, soon_ = 0, skip_ = 0, penalty_ = 0;
    int64_t answered_us_ = 0;
    bool awake_ = false;
};

} // namespace veredus::pop3

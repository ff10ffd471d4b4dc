// What a start leaves in memory that nobody needs again.
#pragma once

#include <chrono>

namespace veredus::daemon {

// A start is over by then: neighbours are met, files have come.
inline constexpr std::chrono::seconds start_settles{3};

// Before the first thread. Threads of a pool do little with the heap: one for each of them would hold much and share nothing.
void keep_memory_small();

// Gives back free heap, and lets go of the pages of the program and its libraries that the start has mapped: the kernel maps a dozen
// neighbours with each page that is touched, so that is nearly all of them. What is run again is mapped again, from the page cache.
void give_back_memory();

}  // namespace veredus::daemon

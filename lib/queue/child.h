// Which children an expansion may have: one rule for who makes them (local and its users' processes) and for who keeps them (qmgr).
#pragma once

#include <cstddef>
#include <string>

#include "lib/queue/journal.h"

namespace veredus::queue {

constexpr std::size_t max_child_text = 4096;       // bytes of a command line or a path
constexpr std::size_t max_child_address = 1000;    // of an address, a user's name, a sender
constexpr std::size_t max_child_run_as = 255;      // of a user's name, or TRANSPORT:NEXTHOP

// What is in the way of this child, in words that show nothing of its text; empty when qmgr takes it.
std::string why_unfit(const Child& child);

}  // namespace veredus::queue

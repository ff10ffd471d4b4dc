// The keys of TLS session tickets of one role: made here, so that a session begun in one process is resumed in any other, and
// forgotten after two turns, so that nobody opens a recorded session later.
#pragma once

#include <string>

namespace veredus::master {

class TicketKeys {
public:
    TicketKeys();
    void rotate();
    // Newest in use, then the coming one (a process may hear of a turn a moment after another), then the one before.
    std::string ring() const { return current_ + coming_ + previous_; }

private:
    std::string current_, coming_, previous_;
};

}  // namespace veredus::master

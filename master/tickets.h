// Tickets of authd that no client has used yet: each is good once, for one connection of one process, for half a minute.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>

#include "lib/base/result.h"
#include "lib/ipc/login.h"

namespace veredus::master {

class Tickets {
public:
    // EEXIST: authd has said this one before; EAGAIN: a login stage holds too many.
    Result<void> add(ipc::Ticket ticket, int64_t now_us);
    // The user. Whatever the answer, a ticket that was shown is spent: nobody gets a second try with it.
    Result<std::string> redeem(std::string_view id, std::string_view role, uint32_t instance, uint64_t connection,
                               int64_t now_us);
    void forget(std::string_view role, uint32_t instance); // the process has ended
    std::size_t size() const { return tickets_.size(); }

    static constexpr std::size_t most_per_process = 10'000;

private:
    struct Held {
        ipc::Ticket ticket;
        int64_t until_us;
    };
    void drop(std::unordered_map<std::string, Held>::iterator at);
    void expire(int64_t now_us);
    std::unordered_map<std::string, Held> tickets_; // by id
    std::deque<std::pair<int64_t, std::string>> ages_;
    std::map<std::pair<std::string, uint32_t>, std::size_t> per_process_;
};

} // namespace veredus::master

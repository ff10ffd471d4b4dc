// How often a client did something in the running unit of time, and how many connections it has. Pure: no socket, a
// clock from outside.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/base/clock.h"
#include "lib/ipc/anvil.h"

namespace veredus::anvil {

// Bounded in memory: the client that was seen longest ago goes first, one without connections before others. A peer
// that makes up clients can so make anvil forget, and nothing else.
class Counters {
public:
    explicit Counters(const Clock& clock, std::size_t most = 100'000) : clock_(clock), most_(most) {}
    void set_unit(int64_t us) { unit_us_ = us; }
    // `service`: "smtp", "submission": their clients are counted apart. `peer`: the channel it came over; its
    // connections end with it.
    ipc::AnvilCounts count(uint64_t peer, std::string_view service, const ipc::AnvilEvent& event);
    void drop_peer(uint64_t peer);
    std::size_t size() const { return clients_.size(); }
    // "statistics: max connection rate 3/60s for (smtp:192.0.2.7) at Nov 28 14:00:00" and so on since the last call;
    // nothing without traffic.
    std::vector<std::string> statistics();

private:
    using Kind = ipc::AnvilEvent::Kind;
    static constexpr std::size_t kinds = 5; // those with a rate
    struct Rate {
        uint32_t count = 0;
        int64_t began_us = 0;
    };
    struct Client {
        std::array<Rate, kinds> rates;
        uint32_t connections = 0;
        std::list<std::string>::iterator age;
    };
    struct Top { // the highest value since the last statistics
        uint32_t value = 0;
        std::string client;
        int64_t at_us = 0;
    };
    static std::size_t row_of(Kind kind);
    Client& client_of(const std::string& key);
    uint32_t add(Rate& rate, uint32_t amount);
    uint32_t connect(uint64_t peer, const std::string& key, Client& client, Kind kind, uint32_t amount);
    void note(Top& top, uint32_t value, const std::string& key);
    void shrink();

    const Clock& clock_;
    std::size_t most_;
    int64_t unit_us_ = 60 * us_per_second;
    std::unordered_map<std::string, Client> clients_;                               // by "service:client"
    std::list<std::string> ages_;                                                   // longest unseen first
    std::unordered_map<uint64_t, std::unordered_map<std::string, uint32_t>> peers_; // connections of each
    std::array<Top, kinds> top_rates_;
    Top top_connections_, top_size_;
};

} // namespace veredus::anvil

// A destination: its concurrency window, its queue, and whether it is dead. And how mail is kept fair between many of them.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace veredus::qmgr {

// Which process delivers: one local dispatcher, or one of the smtp-client instances.
struct Agent {
    enum class Kind : uint8_t { local, smtp } kind = Kind::local;
    uint32_t instance = 0;
    bool operator==(const Agent&) const = default;
    std::size_t number() const { return kind == Kind::local ? 0 : 1 + instance; }
};

// How many attempts may run at once. Grows by one with each success while it is in use, so a good peer gets its limit
// within a few round trips; shrinks by one with each failure of the site. Dead: a new peer at its first failure, a
// proven one when a whole window of attempts failed in a row.
class Window {
public:
    Window(unsigned initial, unsigned limit) : initial_(initial < limit ? initial : limit), limit_(limit), size_(initial_) {}
    unsigned size() const { return probing_ ? 1 : size_; }
    bool room(unsigned in_flight) const { return !dead_ && in_flight < size(); }
    void succeeded(unsigned in_flight);
    bool failed();                    // true: dead from now on
    void probe();                     // the time of death is over: one attempt may try
    bool dead() const { return dead_; }
    bool probing() const { return probing_; }
    bool proven() const { return proven_; }   // it has answered
    void revive();                    // someone asked for it (flush)
    void set_limit(unsigned limit);

private:
    unsigned initial_, limit_, size_;
    unsigned failed_in_row_ = 0;
    bool proven_ = false, dead_ = false, probing_ = false;
};

// Recipients of one mail that go to one destination together.
struct Group {
    uint64_t mail = 0;
    std::string sender;               // envelope sender for these
    std::vector<uint32_t> recipients;
    std::string delivered_to;         // what these are marked with on their way to another host
};

struct Destination {
    Destination(std::string k, Agent a, Window w) : key(std::move(k)), agent(a), window(w) {}
    std::string key;                  // "smtp:example.org", "local:alice@example.org"
    uint32_t hash = 0;
    std::string transport, nexthop;
    Agent agent;
    Window window;
    unsigned in_flight = 0;
    unsigned recipients_limit = 50;
    std::deque<Group> queue;
    std::deque<uint64_t> parked;      // mails that are due but not open, because the queue is long enough
    int64_t dead_until_us = 0;        // monotonic
    std::string dead_dsn, dead_text;
    bool in_ring = false;             // has work: stands in its agent's ring
    bool in_parked_ring = false;
    bool idle() const { return queue.empty() && parked.empty() && in_flight == 0 && !window.dead() && !window.probing(); }
};

std::string destination_key(std::string_view transport, std::string_view nexthop);
uint32_t destination_hash(std::string_view key);   // never 0

}  // namespace veredus::qmgr

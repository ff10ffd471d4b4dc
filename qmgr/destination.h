// A destination: its concurrency window, its queue, and whether it is dead. And how mail is kept fair between many of them.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
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
// within a few round trips; shrinks by one with each failure of the site.
class Window {
public:
    // Dead: when `cohorts` windows full of attempts have failed in a row, a new peer after so many attempts; 0: never.
    Window(unsigned initial, unsigned limit, unsigned cohorts = 1) : cohorts_(cohorts), initial_(initial < limit ? initial : limit), limit_(limit), size_(initial_) {}
    unsigned size() const { return probing_ ? 1 : size_; }
    bool room(unsigned in_flight) const { return !dead_ && in_flight < size(); }
    void succeeded(unsigned in_flight);
    bool failed();                    // true: dead from now on
    void probe();                     // the time of death is over: one attempt may try
    bool dead() const { return dead_; }
    bool probing() const { return probing_; }
    bool proven() const { return proven_; }   // it has answered
    void revive();                    // someone asked for it (flush)
    void set_limit(unsigned limit, unsigned cohorts);

private:
    unsigned cohorts_, initial_, limit_, size_;
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

// Groups in the order of their turn: one of each mail, then the next of each. So a mail with thousands of recipients at
// one host is in the way of no other mail there (start-time fair queueing, each group of equal size).
class Line {
public:
    bool empty() const { return groups_.empty(); }
    std::size_t groups() const { return groups_.size(); }
    std::size_t mails() const { return turns_.size(); }
    bool has(uint64_t mail) const { return turns_.contains(mail); }
    // Recipients of one mail that come one after the other, with one sender and mark, share a group up to `most`.
    void add(uint64_t mail, const std::string& sender, const std::string& delivered_to, uint32_t recipient, std::size_t most);
    void again(Group group);          // to the very front
    Group& front() { return groups_.front().group; }
    void pop_front();
    void drop(uint64_t mail);
    std::vector<Group> take_all();

private:
    struct Placed {
        uint64_t round = 0;
        Group group;
    };
    struct Turn {
        uint64_t round = 0;           // of its last group
        std::size_t groups = 0;
    };
    void left(uint64_t mail);
    std::deque<Placed> groups_;       // by round, then by arrival
    std::unordered_map<uint64_t, Turn> turns_;
    uint64_t now_ = 0;                // the round that is served
};

struct Destination;

// Destinations that have work, in the order of their turn: by the mail that is next there, as in a Line. So a mail to
// thousands of hosts is in the way of no other mail, and one host with endless mail takes turns with the others; and as in
// a Line, endless mail of others does not keep it from its turns.
class Ring {
public:
    bool empty() const { return entries_.empty(); }
    uint64_t round() const { return entries_.begin()->first.first; }
    void add(Destination& destination, uint64_t mail);
    Destination& take();
    uint64_t now() const { return now_; }
    void catch_up(uint64_t now) { now_ = now > now_ ? now : now_; }   // another ring that it takes turns with has come so far
    void forget(uint64_t mail) { last_.erase(mail); }             // it is not open any more: its turns count no longer
    std::size_t remembered() const { return last_.size(); }

private:
    struct Entry {
        Destination* destination = nullptr;
        uint64_t mail = 0;
    };
    std::map<std::pair<uint64_t, uint64_t>, Entry> entries_;      // by round and arrival
    std::unordered_map<uint64_t, uint64_t> last_;                 // round of the last entry of each mail
    uint64_t now_ = 0, arrivals_ = 0;
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
    int64_t rate_delay_us = 0;        // one attempt at a time, and such a pause after each
    int64_t not_before_us = 0;        // monotonic; of that pause
    // May another attempt begin now?
    bool room(int64_t now_us) const { return window.room(in_flight) && (rate_delay_us == 0 || (in_flight == 0 && now_us >= not_before_us)); }
    Line queue;
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

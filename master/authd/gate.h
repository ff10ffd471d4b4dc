// When a try at a password may begin: at once for those who do not guess, ever later for those who do.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>

namespace veredus::authd {

// What speaks for a try.
enum class Standing : uint8_t {
    known,      // this user has logged in from this address before
    fresh,      // nothing that counts has failed from there
    failing,    // something has
};

// Counted are failures per (address, user) and per address. Tries of a pair run side by side as long as few have failed, and one after
// the other, with a growing pause, when many have: so opening more connections gains a guesser nothing. Another address of the same
// user is another pair; and who has logged in from an address before is not slowed down by his neighbours behind the same NAT.
class Gate {
public:
    struct Limits {
        unsigned pair_free = 3, address_free = 20;          // failures that cost no pause
        unsigned parallel = 10;                             // tries of a pair under way at once
        int64_t first_pause_us = 1'000'000, longest_pause_us = 16'000'000;
        int64_t patience_us = 25'000'000;                   // who would wait longer is refused
        int64_t pair_memory_us = int64_t{15} * 60'000'000;  // failures of a pair are forgotten after this, counted from the last
        int64_t address_pardon_us = 60'000'000;             // an address is pardoned one failure in this time
        std::size_t waiting_per_pair = 100, waiting = 10'000, entries = 50'000;
        std::size_t suspects_per_address = 50;              // that wait because so many from there have failed
    };
    enum class Outcome { success, failure, neither };       // neither: cancelled, malformed, ours

    explicit Gate(Limits limits) : limits_(limits) {}
    // `start` is told true when the try may begin (perhaps within this call), or false: refused. After true, done() is owed.
    void enter(const std::string& address, const std::string& user, int64_t now_us, std::function<void(bool)> start);
    // `attempt`: something that is the same when the same wrong password is tried again, as a forgotten phone does for weeks: that is no
    // guessing and counts once. Empty: counts always.
    void done(const std::string& address, const std::string& user, int64_t now_us, Outcome outcome, std::string_view attempt);
    Standing standing(const std::string& address, const std::string& user, int64_t now_us) const;
    void turn(int64_t now_us);                              // starts whom it is time for
    int64_t next_us() const { return due_.empty() ? INT64_MAX : due_.begin()->first; }
    std::size_t waiting() const { return waiting_; }
    std::size_t entries() const { return pairs_.size() + addresses_.size(); }

private:
    struct Waiting {
        int64_t until_us;
        bool suspect;                                       // counted in suspects_
        std::function<void(bool)> start;
    };
    struct Address {
        unsigned failures = 0;
        int64_t counted_us = 0, next_us = 0;
        std::list<std::string>::iterator age;
    };
    struct Pair {
        std::string address;
        unsigned failures = 0, under_way = 0;
        bool good = false;                                  // has succeeded before
        int64_t last_us = 0, next_us = 0, due_us = INT64_MAX;
        std::deque<std::string> wrong;                      // the last few attempts that failed
        std::deque<Waiting> waiting;
        std::list<std::string>::iterator age;
    };
    Pair& pair_of(const std::string& address, const std::string& user, int64_t now_us);
    Address& address_of(const std::string& address, int64_t now_us);
    int64_t pause(unsigned failures, unsigned free) const;
    int64_t pardons(const Address& address, int64_t now_us) const;    // due to it since it was counted
    void advance(const std::string& key, int64_t now_us);
    void schedule(const std::string& key, Pair& pair, int64_t due_us);
    void shrink();
    void left(const std::string& address, const Waiting& who);
    static std::string key_of(const std::string& address, const std::string& user);

    Limits limits_;
    std::unordered_map<std::string, Pair> pairs_;
    std::unordered_map<std::string, Address> addresses_;
    std::list<std::string> pair_ages_, address_ages_;       // longest unused first
    std::set<std::pair<int64_t, std::string>> due_;
    std::size_t waiting_ = 0;
    std::unordered_map<std::string, std::size_t> suspects_; // of each address that has some: hanging up does not make room for more
};

// What counts as one address: an IPv4 address, or the /64 of an IPv6 one.
std::string guesser_of(std::string_view client);

}  // namespace veredus::authd

// Whose question is put next: all who ask share the places by turns, so that one who asks much waits and the others do not.
#pragma once

#include <list>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "lib/dns/cache.h"

namespace veredus::dns {

class Turns {
public:
    using Key = Cache::Key;
    struct Limits {
        std::size_t places;                // questions under way
        std::size_t each;                  // of them of one asker; and a fifth of all is left to who has none under way
        std::size_t waiting_each = 500;    // an asker's questions that wait
        std::size_t waiting = 20'000;      // of all askers together; one of each asker has room beyond
    };
    explicit Turns(Limits limits) : limits_(limits) {}
    // False: too many wait. Who has no name is ourselves: no share limits him.
    bool add(const std::string& who, const Key& key);
    void remove(const std::string& who, const Key& key);   // what waits is not wanted any more; else nothing happens
    // The next question, which waits no longer and takes a place of this asker; nothing: there is none, or no place.
    std::optional<std::pair<std::string, Key>> next();
    void release(const std::string& who);                  // a place
    std::size_t running() const { return running_; }
    std::size_t waiting() const { return waiting_; }
    std::size_t askers() const { return askers_.size(); }

private:
    using Order = std::list<std::string>;
    struct Asker {
        std::list<Key> waiting;
        std::map<Key, std::list<Key>::iterator> at;
        std::size_t running = 0;
        Order* order = nullptr;            // in which of them he stands; null: none
        Order::iterator place;
    };
    using Askers = std::map<std::string, Asker>;
    void settle(Askers::iterator asker);
    void leave(Asker& asker);
    Limits limits_;
    Askers askers_;
    Order without_, with_;                 // those who have no question under way, and those who have some
    std::size_t running_ = 0, waiting_ = 0;
};

}  // namespace veredus::dns

// Answers kept for as long as their TTL says: bounded in number and in bytes, the longest unused goes first. Time is a
// parameter.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>

#include "lib/dns/resolver.h"

namespace veredus::dns {

// For how long, in seconds, an answer may be kept, whatever its TTL promises.
constexpr uint32_t max_positive_ttl = 86'400;
constexpr uint32_t max_negative_ttl = 3'600; // RFC 2308 §5: one to three hours
constexpr uint32_t failure_ttl = 5;          // RFC 2308 §7.1, RFC 9520 §3.2: failures too, briefly

class Cache {
public:
    using Key = std::pair<std::string, Kind>;
    explicit Cache(std::size_t entries) : max_entries_(entries), max_bytes_(entries * 400) {}
    std::shared_ptr<const Answer> find(const Key& key, int64_t now_us); // null: not known. Shared: whoever keeps it has no copy
    void store(const Key& key, std::shared_ptr<const Answer> answer, int64_t now_us);
    void clear();
    std::size_t entries() const { return index_.size(); }
    std::size_t bytes() const { return bytes_; }

private:
    struct Entry {
        Key key;
        std::shared_ptr<const Answer> answer;
        int64_t until_us;
        std::size_t cost;
    };
    void drop(std::list<Entry>::iterator entry);
    std::size_t max_entries_, max_bytes_, bytes_ = 0;
    std::list<Entry> entries_; // the latest used first
    std::map<Key, std::list<Entry>::iterator> index_;
};

} // namespace veredus::dns

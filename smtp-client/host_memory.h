// What is remembered of hosts for a while: one fact about each, bounded in number and time.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "lib/base/clock.h"

namespace veredus::smtp_client {

class HostMemory {
public:
    HostMemory(std::size_t most, int64_t keep_us) : most_(most), keep_us_(keep_us) {}
    void remember(const std::string& host, int64_t now_us) // monotonic
    {
        std::erase_if(until_, [now_us](const auto& one) { return one.second <= now_us; });
        if (until_.size() >= most_ && !until_.contains(host)) until_.erase(until_.begin()); // any: it is learnt again
        until_[host] = now_us + keep_us_;
    }
    bool has(const std::string& host, int64_t now_us) const
    {
        const auto known = until_.find(host);
        return known != until_.end() && known->second > now_us;
    }
    std::size_t size() const { return until_.size(); }

private:
    std::size_t most_;
    int64_t keep_us_;
    std::map<std::string, int64_t> until_;
};

} // namespace veredus::smtp_client

// How often strangers may have a site's mail tried (ETRN): each site once in a while, and all together not without end.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>

namespace veredus::qmgr {

class SiteFlushes {
public:
    static constexpr int64_t pause_us = 60'000'000; // between two of one site
    static constexpr std::size_t most = 100;        // of all sites in such a time: each is a walk through the queue
    enum class May { yes, lately, no };
    // Counts it when the answer is yes. Time: monotonic, us.
    May ask(const std::string& site, int64_t now_us)
    {
        std::erase_if(begun_, [&](const auto& one) { return now_us - one.second >= pause_us; });
        if (begun_.contains(site)) return May::lately;
        if (begun_.size() >= most) return May::no;
        begun_.emplace(site, now_us);
        return May::yes;
    }

private:
    std::unordered_map<std::string, int64_t> begun_;
};

} // namespace veredus::qmgr

#include "lib/dns/cache.h"

#include <algorithm>

#include "lib/base/clock.h"

namespace veredus::dns {

namespace {

uint32_t lifetime(const Answer& answer)
{
    if (answer.status == Status::ok) return std::min(answer.ttl, max_positive_ttl);
    return temporary(answer.status) ? failure_ttl : std::min(answer.ttl, max_negative_ttl);
}

std::size_t cost_of(const Cache::Key& key, const Answer& answer)
{
    std::size_t cost = 200 + 2 * key.first.size() + answer.canonical.size();
    for (const Record& record : answer.records) cost += sizeof record + record.name.size() + record.bytes.size();
    return cost;
}

} // namespace

std::shared_ptr<const Answer> Cache::find(const Key& key, int64_t now_us)
{
    const auto found = index_.find(key);
    if (found == index_.end()) return nullptr;
    if (found->second->until_us <= now_us) {
        drop(found->second);
        return nullptr;
    }
    entries_.splice(entries_.begin(), entries_, found->second);
    return entries_.front().answer;
}

void Cache::store(const Key& key, std::shared_ptr<const Answer> answer, int64_t now_us)
{
    if (const auto old = index_.find(key); old != index_.end()) drop(old->second);
    const uint32_t seconds = lifetime(*answer);
    const std::size_t cost = cost_of(key, *answer);
    if (seconds == 0 || cost > max_bytes_ || max_entries_ == 0) return;
    while (!entries_.empty() && (index_.size() >= max_entries_ || bytes_ + cost > max_bytes_))
        drop(std::prev(entries_.end()));
    entries_.push_front({key, std::move(answer), now_us + int64_t{seconds} * us_per_second, cost});
    index_[key] = entries_.begin();
    bytes_ += cost;
}

void Cache::clear()
{
    index_.clear();
    entries_.clear();
    bytes_ = 0;
}

void Cache::drop(std::list<Entry>::iterator entry)
{
    bytes_ -= entry->cost;
    index_.erase(entry->key);
    entries_.erase(entry);
}

} // namespace veredus::dns

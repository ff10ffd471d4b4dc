// Counting failures, and pausing.
#include "master/authd/gate.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/net/address.h"

namespace veredus::authd {

namespace {
constexpr std::size_t remembered_attempts = 4;
}

std::string guesser_of(std::string_view client)
{
    const auto address = net::Address::parse_ip(client, 0);
    if (!address) return std::string(client);
    const std::string bytes = address->ip_bytes();
    return bytes.size() == 16 ? bytes.substr(0, 8) : bytes;
}

std::string Gate::key_of(const std::string& address, const std::string& user) { return cat(address.size(), ' ', address, user); }

int64_t Gate::pardons(const Address& address, int64_t now_us) const { return (now_us - address.counted_us) / limits_.address_pardon_us; }

Standing Gate::standing(const std::string& address, const std::string& user, int64_t now_us) const
{
    const auto pair = pairs_.find(key_of(address, user));
    if (pair != pairs_.end() && pair->second.good) return Standing::known;
    const auto at = addresses_.find(address);
    return at == addresses_.end() || at->second.failures <= pardons(at->second, now_us) ? Standing::fresh : Standing::failing;
}

Gate::Address& Gate::address_of(const std::string& name, int64_t now_us)
{
    const auto [at, fresh] = addresses_.try_emplace(name);
    Address& address = at->second;
    if (fresh) {
        address.age = address_ages_.insert(address_ages_.end(), name);
        address.counted_us = now_us;
    } else {
        address_ages_.splice(address_ages_.end(), address_ages_, address.age);
    }
    if (const int64_t due = pardons(address, now_us); due > 0) {
        address.failures -= static_cast<unsigned>(std::min<int64_t>(due, address.failures));
        address.counted_us += due * limits_.address_pardon_us;
    }
    return address;
}

Gate::Pair& Gate::pair_of(const std::string& address, const std::string& user, int64_t now_us)
{
    const std::string key = key_of(address, user);
    const auto [at, fresh] = pairs_.try_emplace(key);
    Pair& pair = at->second;
    if (fresh) {
        pair.address = address;
        pair.age = pair_ages_.insert(pair_ages_.end(), key);
    } else {
        pair_ages_.splice(pair_ages_.end(), pair_ages_, pair.age);
    }
    if (pair.failures && now_us - pair.last_us > limits_.pair_memory_us) {
        pair.failures = 0;
        pair.next_us = 0;
    }
    return pair;
}

// Bounded memory: the longest unused are forgotten, but nobody who is under way.
void Gate::shrink()
{
    for (std::size_t tries = pair_ages_.size(); pairs_.size() > limits_.entries && tries > 0; --tries) {
        const auto at = pairs_.find(pair_ages_.front());
        if (at->second.under_way || !at->second.waiting.empty()) {
            pair_ages_.splice(pair_ages_.end(), pair_ages_, pair_ages_.begin());
            continue;
        }
        schedule(at->first, at->second, INT64_MAX);
        pair_ages_.pop_front();
        pairs_.erase(at);
    }
    while (addresses_.size() > limits_.entries) {
        addresses_.erase(address_ages_.front());
        address_ages_.pop_front();
    }
}

int64_t Gate::pause(unsigned failures, unsigned free) const
{
    if (failures < free) return 0;
    const unsigned doublings = std::min(failures - free, 20u);
    return std::min(limits_.first_pause_us << doublings, limits_.longest_pause_us);
}

void Gate::schedule(const std::string& key, Pair& pair, int64_t due_us)
{
    if (pair.due_us != INT64_MAX) due_.erase({pair.due_us, key});
    pair.due_us = due_us;
    if (due_us != INT64_MAX) due_.insert({due_us, key});
}

void Gate::enter(const std::string& address, const std::string& user, int64_t now_us, std::function<void(bool)> start)
{
    shrink();
    Pair& pair = pair_of(address, user, now_us);
    const int64_t pause_us = pause(pair.failures, limits_.pair_free);
    const int64_t wait_us = std::max<int64_t>(0, pair.next_us - now_us) + pause_us * static_cast<int64_t>(pair.waiting.size());
    if (wait_us > limits_.patience_us || pair.waiting.size() >= limits_.waiting_per_pair) return start(false);
    // Places to wait are few, and guessers fill them: who need not wait is asked for none.
    const Address& from = address_of(address, now_us);
    const int64_t begin_us = std::max(pair.next_us, pair.good ? 0 : from.next_us);
    const bool waits = begin_us > now_us || pair.under_way >= limits_.parallel || !pair.waiting.empty();
    const bool suspect = waits && (pause_us > 0 || (!pair.good && pause(from.failures, limits_.address_free) > 0));
    if (waits && waiting_ >= limits_.waiting) return start(false);
    if (suspect) {
        std::size_t& count = suspects_[address];
        if (count >= limits_.suspects_per_address) return start(false);
        ++count;
    }
    pair.waiting.push_back({now_us + limits_.patience_us, suspect, std::move(start)});
    ++waiting_;
    advance(key_of(address, user), now_us);
}

void Gate::left(const std::string& address, const Waiting& who)
{
    --waiting_;
    const auto at = who.suspect ? suspects_.find(address) : suspects_.end();
    if (at != suspects_.end() && --at->second == 0) suspects_.erase(at);
}

void Gate::advance(const std::string& key, int64_t now_us)
{
    // `start` may come back here with done(): the pair is looked up again each round.
    for (;;) {
        const auto at = pairs_.find(key);
        if (at == pairs_.end()) return;
        Pair& pair = at->second;
        if (pair.waiting.empty()) return schedule(key, pair, INT64_MAX);
        const Waiting& front = pair.waiting.front();
        const bool late = front.until_us <= now_us;
        if (!late) {
            Address& address = address_of(pair.address, now_us);
            const int64_t begin_us = std::max(pair.next_us, pair.good ? 0 : address.next_us);
            if (pair.under_way >= limits_.parallel) return schedule(key, pair, front.until_us);
            if (begin_us > now_us) return schedule(key, pair, std::min(begin_us, front.until_us));
            ++pair.under_way;
            pair.next_us = now_us + pause(pair.failures, limits_.pair_free);
            if (!pair.good) address.next_us = now_us + pause(address.failures, limits_.address_free);
        }
        auto start = std::move(pair.waiting.front().start);
        left(pair.address, pair.waiting.front());
        pair.waiting.pop_front();
        start(!late);
    }
}

void Gate::done(const std::string& address_name, const std::string& user, int64_t now_us, Outcome outcome, std::string_view attempt)
{
    const std::string key = key_of(address_name, user);
    const auto at = pairs_.find(key);
    if (at == pairs_.end() || at->second.under_way == 0) return;
    Pair& pair = at->second;
    --pair.under_way;
    if (outcome == Outcome::success) {
        pair.good = true;
        pair.failures = 0;
        pair.next_us = 0;
        pair.wrong.clear();
    }
    const bool again = !attempt.empty() && std::find(pair.wrong.begin(), pair.wrong.end(), attempt) != pair.wrong.end();
    if (outcome == Outcome::failure && !again) {
        if (!attempt.empty()) pair.wrong.emplace_back(attempt);
        if (pair.wrong.size() > remembered_attempts) pair.wrong.pop_front();
        ++pair.failures;
        pair.last_us = now_us;
        pair.next_us = std::max(pair.next_us, now_us + pause(pair.failures, limits_.pair_free));
        Address& address = address_of(address_name, now_us);
        if (address.failures < 10'000) ++address.failures;
        address.next_us = std::max(address.next_us, now_us + pause(address.failures, limits_.address_free));
    }
    advance(key, now_us);
}

void Gate::turn(int64_t now_us)
{
    while (!due_.empty() && due_.begin()->first <= now_us) {
        const std::string key = due_.begin()->second;
        const auto at = pairs_.find(key);
        if (at == pairs_.end()) {
            due_.erase(due_.begin());
            continue;
        }
        schedule(key, at->second, INT64_MAX);
        advance(key, now_us);
    }
}

}  // namespace veredus::authd

// Counting clients.
#include "master/anvil/counters.h"

#include <algorithm>
#include <limits>

#include "lib/base/text.h"
#include "lib/mail/date.h"

namespace veredus::anvil {

using ipc::AnvilCounts;
using ipc::AnvilEvent;

namespace {

constexpr std::size_t looked_at = 64; // clients with connections that one new client may push past
constexpr const char* names[] = {"connection", "message", "recipient", "auth", "newtls"};

uint32_t sum(uint32_t a, uint32_t b)
{
    return b > std::numeric_limits<uint32_t>::max() - a ? std::numeric_limits<uint32_t>::max() : a + b;
}

// "Nov 28 14:00:00", out of "Sat Nov 28 14:00:00 2026".
std::string stamp(int64_t wall_us)
{
    const std::string date = mail::date_asctime(wall_us);
    return date.size() > 19 ? date.substr(4, 15) : date;
}

} // namespace

std::size_t Counters::row_of(Kind kind)
{
    switch (kind) {
    case Kind::message: return 1;
    case Kind::recipient: return 2;
    case Kind::auth: return 3;
    case Kind::new_tls: return 4;
    case Kind::connect:
    case Kind::disconnect:
    case Kind::held: break;
    }
    return 0;
}

Counters::Client& Counters::client_of(const std::string& key)
{
    if (const auto known = clients_.find(key); known != clients_.end()) {
        ages_.splice(ages_.end(), ages_, known->second.age);
        return known->second;
    }
    if (clients_.size() >= most_) shrink();
    Client& fresh = clients_[key];
    fresh.age = ages_.insert(ages_.end(), key);
    note(top_size_, static_cast<uint32_t>(clients_.size()), key);
    return fresh;
}

void Counters::shrink()
{
    auto victim = ages_.begin();
    std::size_t seen = 0;
    for (auto at = ages_.begin(); at != ages_.end() && seen < looked_at; ++at, ++seen) {
        if (clients_.find(*at)->second.connections > 0) continue;
        victim = at;
        break;
    }
    clients_.erase(*victim);
    ages_.erase(victim);
}

uint32_t Counters::add(Rate& rate, uint32_t amount)
{
    const int64_t now = clock_.mono_us();
    if (rate.count == 0 || now - rate.began_us >= unit_us_) rate = {0, now};
    return rate.count = sum(rate.count, amount);
}

// What a peer holds is kept with the peer: it can give back no connection of another one, and with it all of its own
// go.
uint32_t Counters::connect(uint64_t peer, const std::string& key, Client& client, Kind kind, uint32_t amount)
{
    auto& own = peers_[peer];
    auto at = own.find(key);
    if (at == own.end() && kind != Kind::disconnect && own.size() < most_) at = own.emplace(key, 0).first;
    if (at == own.end()) return client.connections;
    const uint32_t before = at->second;
    if (kind == Kind::connect)
        at->second = sum(before, amount);
    else if (kind == Kind::held)
        at->second = amount;
    else
        at->second -= std::min(before, amount);
    // A client that was forgotten in between has fewer than its peers believe.
    client.connections = sum(client.connections - std::min(client.connections, before), at->second);
    if (at->second == 0) own.erase(at);
    return client.connections;
}

AnvilCounts Counters::count(uint64_t peer, std::string_view service, const AnvilEvent& event)
{
    const std::string key = cat(service, ':', event.client);
    Client& client = client_of(key);
    AnvilCounts counts;
    const bool connection = event.kind == Kind::connect || event.kind == Kind::disconnect || event.kind == Kind::held;
    if (connection) {
        counts.connections = connect(peer, key, client, event.kind, event.amount);
        note(top_connections_, counts.connections, key);
        if (event.kind != Kind::connect) return counts;
    } else {
        counts.connections = client.connections;
    }
    const std::size_t row = row_of(event.kind);
    counts.rate = add(client.rates[row], event.amount);
    note(top_rates_[row], counts.rate, key);
    return counts;
}

void Counters::drop_peer(uint64_t peer)
{
    const auto gone = peers_.find(peer);
    if (gone == peers_.end()) return;
    for (const auto& [key, held] : gone->second)
        if (const auto client = clients_.find(key); client != clients_.end())
            client->second.connections -= std::min(client->second.connections, held);
    peers_.erase(gone);
}

void Counters::note(Top& top, uint32_t value, const std::string& key)
{
    if (value <= top.value) return;
    top = {value, key, clock_.wall_us()};
}

std::vector<std::string> Counters::statistics()
{
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < kinds; ++i) {
        if (const Top& top = top_rates_[i]; top.value > 0)
            lines.push_back(cat("statistics: max ", names[i], " rate ", top.value, '/', unit_us_ / us_per_second,
                                "s for (", printable(top.client, 300), ") at ", stamp(top.at_us)));
        if (i == 0 && top_connections_.value > 0)
            lines.push_back(cat("statistics: max connection count ", top_connections_.value, " for (",
                                printable(top_connections_.client, 300), ") at ", stamp(top_connections_.at_us)));
    }
    if (top_size_.value > 0)
        lines.push_back(cat("statistics: max cache size ", top_size_.value, " at ", stamp(top_size_.at_us)));
    top_rates_ = {};
    top_connections_ = top_size_ = {};
    return lines;
}

} // namespace veredus::anvil

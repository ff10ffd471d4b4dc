#include "smtp-client/order.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::smtp_client {

bool is_null_mx(const dns::Answer& answer)
{
    return answer.records.size() == 1 && answer.records[0].name.empty();
}

std::vector<Mx> mx_hosts(const dns::Answer& answer)
{
    std::vector<Mx> hosts;
    for (const dns::Record& record : answer.records)
        if (!record.name.empty()) hosts.push_back({record.name, record.preference});
    std::stable_sort(hosts.begin(), hosts.end(), [](const Mx& a, const Mx& b) { return a.preference < b.preference; });
    std::vector<Mx> unique;
    for (Mx& mx : hosts) {
        const bool seen = std::any_of(unique.begin(), unique.end(), [&](const Mx& u) { return u.host == mx.host; });
        if (!seen && unique.size() < max_mx_hosts) unique.push_back(std::move(mx));
    }
    return unique;
}

std::optional<uint16_t> own_preference(const std::vector<Endpoint>& endpoints, const std::vector<net::Address>& own,
                                       const std::string& myhostname)
{
    std::optional<uint16_t> best;
    for (const Endpoint& e : endpoints) {
        const bool mine =
            iequals(e.host, myhostname) ||
            std::any_of(own.begin(), own.end(), [&](const net::Address& a) { return a.same_ip(e.address); });
        if (mine && (!best || e.preference < *best)) best = e.preference;
    }
    return best;
}

namespace {

int family_rank(const Endpoint& e, Family prefer)
{
    if (prefer == Family::any) return 0;
    return (e.address.family() == AF_INET) == (prefer == Family::ipv4) ? 0 : 1;
}

// The first `limit`, but no family takes a place more than half while the other one has some left.
std::vector<Endpoint> cut(std::vector<Endpoint> all, std::size_t limit, bool balance)
{
    if (limit == 0 || all.size() <= limit) return all;
    const auto is_four = [](const Endpoint& e) { return e.address.family() == AF_INET; };
    const auto fours = static_cast<std::size_t>(std::count_if(all.begin(), all.end(), is_four));
    const std::size_t sixes = all.size() - fours, half = std::max<std::size_t>(1, limit / 2);
    std::size_t room[2] = {limit, limit}; // of IPv6, IPv4
    if (balance && limit > 1 && fours && sixes) {
        room[1] = limit - std::min(sixes, half);
        room[0] = limit - std::min(fours, half);
    }
    std::vector<Endpoint> kept;
    for (Endpoint& e : all) {
        std::size_t& left = room[is_four(e)];
        if (left == 0 || kept.size() == limit) continue;
        --left;
        kept.push_back(std::move(e));
    }
    return kept;
}

} // namespace

std::vector<Endpoint> order(std::vector<Endpoint> endpoints, const OrderRules& rules,
                            const std::function<uint32_t(uint32_t)>& random_below)
{
    if (rules.randomize)
        for (std::size_t i = endpoints.size(); i > 1; --i)
            std::swap(endpoints[i - 1], endpoints[random_below(static_cast<uint32_t>(i))]);
    std::stable_sort(endpoints.begin(), endpoints.end(), [&](const Endpoint& a, const Endpoint& b) {
        if (a.preference != b.preference) return a.preference < b.preference;
        return family_rank(a, rules.prefer) < family_rank(b, rules.prefer);
    });
    // One address may stand behind several names; once is enough.
    std::vector<Endpoint> unique;
    for (Endpoint& e : endpoints) {
        const bool seen =
            std::any_of(unique.begin(), unique.end(), [&](const Endpoint& u) { return u.address.same_ip(e.address); });
        if (!seen) unique.push_back(std::move(e));
    }
    return cut(std::move(unique), rules.limit, rules.balance);
}

} // namespace veredus::smtp_client

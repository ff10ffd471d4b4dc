#include "master/tickets.h"

#include <cerrno>

#include "lib/base/clock.h"
#include "lib/base/text.h"

namespace veredus::master {

void Tickets::drop(std::unordered_map<std::string, Held>::iterator at)
{
    const auto count = per_process_.find({at->second.ticket.role, at->second.ticket.instance});
    if (count != per_process_.end() && --count->second == 0) per_process_.erase(count);
    tickets_.erase(at);
}

void Tickets::expire(int64_t now_us)
{
    while (!ages_.empty() && ages_.front().first <= now_us) {
        const auto at = tickets_.find(ages_.front().second);
        if (at != tickets_.end()) drop(at);
        ages_.pop_front();
    }
}

Result<void> Tickets::add(ipc::Ticket ticket, int64_t now_us)
{
    expire(now_us);
    if (tickets_.contains(ticket.id)) return fail_errno("a ticket that was given before", EEXIST);
    std::size_t& count = per_process_[{ticket.role, ticket.instance}];
    if (count >= most_per_process) return fail_errno(cat(ticket.role, " holds too many tickets"), EAGAIN);
    ++count;
    const int64_t until = now_us + ipc::ticket_life_s * us_per_second;
    ages_.emplace_back(until, ticket.id);
    std::string id = ticket.id;
    tickets_.emplace(std::move(id), Held{std::move(ticket), until});
    return {};
}

Result<std::string> Tickets::redeem(std::string_view id, std::string_view role, uint32_t instance, uint64_t connection,
                                    int64_t now_us)
{
    expire(now_us);
    const auto at = tickets_.find(std::string(id));
    if (at == tickets_.end()) return fail("no such ticket, or it was used, or it is too old");
    const auto [ticket, until_us] = at->second;
    drop(at);
    if (until_us <= now_us) return fail("the ticket is too old");
    if (ticket.role != role || ticket.instance != instance) return fail("the ticket is another process's");
    if (ticket.connection != connection) return fail("the ticket is another connection's");
    return ticket.user;
}

void Tickets::forget(std::string_view role, uint32_t instance)
{
    std::erase_if(tickets_, [&](const auto& held) {
        return held.second.ticket.role == role && held.second.ticket.instance == instance;
    });
    per_process_.erase({std::string(role), instance});
}

} // namespace veredus::master

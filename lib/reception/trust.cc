// Which clients are ours: mynetworks, without the addresses behind which every stranger stands.
#include "lib/reception/trust.h"

#include <algorithm>

#include "lib/log/log.h"

namespace veredus::reception {

bool Trust::listed(const net::Address& client) const
{
    const auto match = networks_.matches_client(client);
    if (!match) log::warning(setting_, ": ", match.error().text);
    return match && *match;
}

bool Trust::trusts(const net::Address& client) const
{
    if (!client.is_ip() || !listed(client)) return false;
    const bool hop = std::any_of(hops_.begin(), hops_.end(), [&](const net::Address& a) { return a.same_ip(client); });
    return !hop || networks_.lists_singly(client);
}

void Trust::warn(const std::vector<net::Address>& of) const
{
    for (const net::Address& hop : of)
        if (listed(hop) && !networks_.lists_singly(hop))
            log::warning(setting_, ": ", hop.ip(), " is a gateway or a bridge of this host and is not trusted through a range; list it by itself if only friends stand behind it");
}

}  // namespace veredus::reception

// Which clients are ours: mynetworks, without the addresses behind which every stranger stands.
#include "lib/reception/trust.h"

#include <ifaddrs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::reception {

namespace {

constexpr std::size_t most_routes = 1 << 20;

// "0101A8C0": the kernel prints the address as one integer of its own byte order.
std::optional<net::Address> ipv4_of(std::string_view hex)
{
    const auto number = hex.size() == 8 ? parse_hex(hex) : std::nullopt;
    if (!number || *number == 0) return std::nullopt;
    sockaddr_in s{};
    s.sin_family = AF_INET;
    s.sin_addr.s_addr = static_cast<in_addr_t>(*number);
    return net::Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&s), sizeof s);
}

std::optional<net::Address> ipv6_of(std::string_view hex)
{
    if (hex.size() != 32 || hex.find_first_not_of('0') == std::string_view::npos) return std::nullopt;
    sockaddr_in6 s{};
    s.sin6_family = AF_INET6;
    for (std::size_t i = 0; i < 16; ++i) {
        const auto byte = parse_hex(hex.substr(2 * i, 2));
        if (!byte) return std::nullopt;
        s.sin6_addr.s6_addr[i] = static_cast<uint8_t>(*byte);
    }
    return net::Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&s), sizeof s);
}

void add_bridges(std::vector<net::Address>& out)
{
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0) return;
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, ::freeifaddrs);
    for (const ifaddrs* i = list; i; i = i->ifa_next) {
        if (!i->ifa_addr || (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6)) continue;
        if (::access(cat("/sys/class/net/", i->ifa_name, "/bridge").c_str(), F_OK) != 0) continue;
        const socklen_t size = i->ifa_addr->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
        out.push_back(net::Address::from_sockaddr(i->ifa_addr, size));
    }
}

}  // namespace

std::vector<net::Address> parse_routes(std::string_view ipv4, std::string_view ipv6)
{
    std::vector<net::Address> out;
    const auto add = [&](const std::optional<net::Address>& address) {
        const auto same = [&](const net::Address& a) { return a.same_ip(*address); };
        if (address && std::none_of(out.begin(), out.end(), same)) out.push_back(*address);
    };
    for (const std::string_view line : split_on(ipv4, '\n')) {
        const auto words = split(line, " \t");
        if (words.size() > 2) add(ipv4_of(words[2]));
    }
    for (const std::string_view line : split_on(ipv6, '\n')) {
        const auto words = split(line, " \t");
        if (words.size() > 4) add(ipv6_of(words[4]));
    }
    return out;
}

std::vector<net::Address> hops_of_host()
{
    // No /proc, no gateways known: then ranges rule alone, as everywhere else.
    const auto ipv4 = read_file("/proc/net/route", most_routes), ipv6 = read_file("/proc/net/ipv6_route", most_routes);
    auto out = parse_routes(ipv4 ? *ipv4 : "", ipv6 ? *ipv6 : "");
    add_bridges(out);
    return out;
}

bool Trust::listed(const net::Address& client) const
{
    const auto match = networks_.matches_client(client);
    if (!match) log::warning("mynetworks: ", match.error().text);
    return match && *match;
}

bool Trust::trusts(const net::Address& client) const
{
    if (!client.is_ip() || !listed(client)) return false;
    const bool hop = std::any_of(hops_.begin(), hops_.end(), [&](const net::Address& a) { return a.same_ip(client); });
    return !hop || networks_.lists_singly(client);
}

void Trust::warn() const
{
    for (const net::Address& hop : hops_)
        if (listed(hop) && !networks_.lists_singly(hop))
            log::warning("mynetworks: ", hop.ip(), " is a gateway or a bridge of this host and is not trusted through a range; list it by itself if only friends stand behind it");
}

}  // namespace veredus::reception

// This host's gateways and bridges, as rtnetlink tells them.
#include "lib/reception/hops.h"

#include <linux/netlink.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::reception {

namespace {

constexpr std::chrono::seconds look_again{30};     // for what went away, or when the kernel tells nothing by itself
constexpr std::size_t most_hops = 65'536;
constexpr std::size_t datagram_room = 64 * 1024;   // the kernel's dumps come in 32 KiB at most
constexpr int tidings_at_once = 1000;            // then a dump is shorter

template <class T> std::optional<T> head(std::string_view bytes)
{
    if (bytes.size() < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

std::string_view after(std::string_view bytes, std::size_t size) { return bytes.substr(std::min(bytes.size(), size)); }

// The kernel pads everything to four bytes; what does not fit its own length ends the list.
template <class F> void each_attribute(std::string_view bytes, F f)
{
    while (const auto attribute = head<rtattr>(bytes)) {
        if (attribute->rta_len < sizeof(rtattr) || attribute->rta_len > bytes.size()) return;
        f(attribute->rta_type & NLA_TYPE_MASK, bytes.substr(sizeof(rtattr), attribute->rta_len - sizeof(rtattr)));
        bytes = after(bytes, RTA_ALIGN(attribute->rta_len));
    }
}

std::optional<net::Address> address_of(const std::string& bytes)
{
    if (bytes.size() == 4) {
        sockaddr_in s{};
        s.sin_family = AF_INET;
        std::memcpy(&s.sin_addr, bytes.data(), 4);
        return net::Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&s), sizeof s);
    }
    sockaddr_in6 s{};
    s.sin6_family = AF_INET6;
    std::memcpy(&s.sin6_addr, bytes.data(), 16);
    return net::Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&s), sizeof s);
}

Fd open_netlink(unsigned groups)
{
    Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
    sockaddr_nl self{};
    self.nl_family = AF_NETLINK;
    self.nl_groups = groups;
    if (!fd || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&self), sizeof self) != 0) return Fd();
    // A group beyond those that `nl_groups` has room for; a kernel before 5.3 has none of them.
    const int nexthops = RTNLGRP_NEXTHOP;
    if (groups != 0) (void)::setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &nexthops, sizeof nexthops);
    return fd;
}

// One datagram of the kernel's; others may send to us too, and are not heard.
ssize_t receive(int fd, std::string& buffer)
{
    sockaddr_nl from{};
    for (;;) {
        socklen_t size = sizeof from;
        const ssize_t n = ::recvfrom(fd, buffer.data(), buffer.size(), MSG_TRUNC, reinterpret_cast<sockaddr*>(&from), &size);
        if (n < 0 && errno == EINTR) continue;
        if (n >= 0 && from.nl_pid != 0) continue;
        if (n > static_cast<ssize_t>(buffer.size())) {
            errno = ENOBUFS;
            return -1;
        }
        return n;
    }
}

bool ask(int fd, uint16_t type, uint32_t number)
{
    struct {
        nlmsghdr header;
        union {                      // both begin with the family, which is AF_UNSPEC
            rtgenmsg any;
            nhmsg nexthop;
        } body;
    } request{};
    request.header.nlmsg_len = NLMSG_LENGTH(type == RTM_GETNEXTHOP ? sizeof(nhmsg) : sizeof(rtgenmsg));
    request.header.nlmsg_type = type;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.header.nlmsg_seq = number;
    return ::send(fd, &request, request.header.nlmsg_len, 0) == static_cast<ssize_t>(request.header.nlmsg_len);
}

}  // namespace

void HopTable::add(std::set<std::string>& to, std::string_view bytes)
{
    if ((bytes.size() != 4 && bytes.size() != 16) || bytes.find_first_not_of('\0') == std::string_view::npos) return;
    if (to.size() < most_hops) to.emplace(bytes);
}

void HopTable::route(std::string_view payload)
{
    const auto gateway = [&](unsigned type, std::string_view value) {
        if (type == RTA_GATEWAY) add(gateways_, value);
        if (type == RTA_VIA) add(gateways_, after(value, sizeof(rtvia)));      // an IPv6 gateway of an IPv4 route
    };
    each_attribute(after(payload, RTA_ALIGN(sizeof(rtmsg))), [&](unsigned type, std::string_view value) {
        gateway(type, value);
        if (type != RTA_MULTIPATH) return;
        while (const auto hop = head<rtnexthop>(value)) {
            if (hop->rtnh_len < sizeof(rtnexthop) || hop->rtnh_len > value.size()) return;
            each_attribute(value.substr(sizeof(rtnexthop), hop->rtnh_len - sizeof(rtnexthop)), gateway);
            value = after(value, RTNH_ALIGN(hop->rtnh_len));
        }
    });
}

// With net.ipv4.nexthop_compat_mode=0 a route names its next hop's number alone.
void HopTable::nexthop(std::string_view payload)
{
    each_attribute(after(payload, RTA_ALIGN(sizeof(nhmsg))), [&](unsigned type, std::string_view value) {
        if (type == NHA_GATEWAY) add(gateways_, value);
    });
}

void HopTable::link(std::string_view payload)
{
    const auto info = head<ifinfomsg>(payload);
    if (!info) return;
    each_attribute(after(payload, RTA_ALIGN(sizeof(ifinfomsg))), [&](unsigned type, std::string_view value) {
        if (type != IFLA_LINKINFO) return;
        each_attribute(value, [&](unsigned kind, std::string_view name) {
            if (kind == IFLA_INFO_KIND && name.substr(0, name.find('\0')) == "bridge" && bridges_.size() < most_hops) bridges_.insert(info->ifi_index);
        });
    });
}

void HopTable::address(std::string_view payload)
{
    const auto info = head<ifaddrmsg>(payload);
    if (!info || of_interface_.size() >= most_hops) return;
    std::string_view local, peer;        // IPv6 has a local one only where there is a peer
    each_attribute(after(payload, RTA_ALIGN(sizeof(ifaddrmsg))), [&](unsigned type, std::string_view value) {
        if (type == IFA_LOCAL) local = value;
        if (type == IFA_ADDRESS) peer = value;
    });
    add(of_interface_[static_cast<int>(info->ifa_index)], local.empty() ? peer : local);
}

HopTable::Heard HopTable::feed(std::string_view datagram, uint32_t number)
{
    while (!datagram.empty()) {
        const auto header = head<nlmsghdr>(datagram);
        if (!header || header->nlmsg_len < sizeof(nlmsghdr) || header->nlmsg_len > datagram.size()) return Heard::broken;
        const std::string_view payload = datagram.substr(NLMSG_HDRLEN < header->nlmsg_len ? NLMSG_HDRLEN : header->nlmsg_len, header->nlmsg_len - std::min<std::size_t>(NLMSG_HDRLEN, header->nlmsg_len));
        datagram = after(datagram, NLMSG_ALIGN(header->nlmsg_len));
        if (number != 0 && header->nlmsg_seq != number) continue;
        if (header->nlmsg_flags & NLM_F_DUMP_INTR) return Heard::broken;      // it changed under the dump
        switch (header->nlmsg_type) {
        case NLMSG_DONE: return Heard::done;
        case NLMSG_ERROR: {
            const auto error = head<nlmsgerr>(payload);
            return error && (error->error == -EOPNOTSUPP || error->error == -EINVAL) ? Heard::unsupported : Heard::broken;
        }
        case NLMSG_OVERRUN: return Heard::broken;
        case RTM_NEWROUTE: route(payload); break;
        case RTM_NEWNEXTHOP: nexthop(payload); break;
        case RTM_NEWADDR: address(payload); break;
        case RTM_NEWLINK: link(payload); break;
        case RTM_DELROUTE:
        case RTM_DELNEXTHOP:
        case RTM_DELADDR:
        case RTM_DELLINK: lost_ = true; break;
        default: break;
        }
    }
    return Heard::more;
}

std::vector<net::Address> HopTable::addresses() const
{
    std::set<std::string> all = gateways_;
    for (const int bridge : bridges_)
        if (const auto of = of_interface_.find(bridge); of != of_interface_.end()) all.insert(of->second.begin(), of->second.end());
    std::vector<net::Address> out;
    for (const std::string& bytes : all) out.push_back(*address_of(bytes));
    return out;
}

// First the ear, then the look: what comes between is heard twice, not never.
Hops::Hops() : tidings_(open_netlink(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE))
{
    stale_ = !dump();
    if (stale_ || !tidings_) log::warning("rtnetlink tells nothing of gateways and bridges, which mynetworks shall not trust through a range; asked again each ", look_again.count(), " s");
}

// The kernel makes a dump while we read it, so this waits for nobody.
bool Hops::dump()
{
    const Fd fd = open_netlink(0);
    if (!fd) return false;
    HopTable fresh;
    std::string buffer(datagram_room, '\0');
    uint32_t number = 0;
    for (const uint16_t type : {RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETNEXTHOP}) {
        if (!ask(fd.get(), type, ++number)) return false;
        for (HopTable::Heard heard = HopTable::Heard::more; heard == HopTable::Heard::more;) {
            const ssize_t n = receive(fd.get(), buffer);
            if (n <= 0) return false;
            heard = fresh.feed(std::string_view(buffer).substr(0, static_cast<std::size_t>(n)), number);
            if (heard == HopTable::Heard::broken || (heard == HopTable::Heard::unsupported && type != RTM_GETNEXTHOP)) return false;
        }
    }
    table_ = std::move(fresh);
    adopt();
    return true;
}

void Hops::adopt()
{
    auto now = table_.addresses();
    std::vector<net::Address> fresh;
    for (const net::Address& address : now)
        if (std::none_of(addresses_.begin(), addresses_.end(), [&](const net::Address& old) { return old.same_ip(address); })) fresh.push_back(address);
    addresses_ = std::move(now);
    if (come_ && !fresh.empty()) come_(fresh);
}

void Hops::watch(Loop& loop, std::function<void(const std::vector<net::Address>&)> come)
{
    come_ = std::move(come);
    timer_ = std::make_unique<Timer>(loop, [this] {
        if (!tidings_ || stale_ || table_.lost()) stale_ = !dump();
        timer_->start(look_again);
    });
    timer_->start(look_again);
    if (tidings_) watch_ = std::make_unique<Watch>(loop, tidings_.get(), readable, [this](unsigned) { catch_up(); });
}

void Hops::catch_up()
{
    if (!tidings_) return;
    static thread_local std::string buffer(datagram_room, '\0');
    bool heard = false, broken = false;
    for (int i = 0;; ++i) {
        const ssize_t n = receive(tidings_.get(), buffer);
        if (n <= 0 || i == tidings_at_once) {
            broken = broken || n >= 0 || errno != EAGAIN;      // ENOBUFS: there was more than the socket holds
            break;
        }
        heard = true;
        broken = table_.feed(std::string_view(buffer).substr(0, static_cast<std::size_t>(n)), 0) == HopTable::Heard::broken || broken;
    }
    if (broken) stale_ = !dump();
    else if (heard) adopt();
}

}  // namespace veredus::reception

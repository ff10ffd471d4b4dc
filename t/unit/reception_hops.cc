// lib/reception/hops: rtnetlink messages, whole, torn and hostile; and the kernel of this host.
#include "t/unit/catch.h"

#include <linux/netlink.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>

#include <cerrno>
#include <cstring>

#include "lib/base/text.h"
#include "lib/reception/hops.h"

using namespace veredus;
using reception::HopTable;
using Heard = HopTable::Heard;

namespace {

template <class T> std::string raw(const T& value) { return std::string(reinterpret_cast<const char*>(&value), sizeof value); }
std::string padded(std::string text)
{
    text.resize(NLMSG_ALIGN(text.size()), '\0');
    return text;
}
std::string attribute(unsigned type, const std::string& value)
{
    rtattr head{};
    head.rta_type = static_cast<unsigned short>(type);
    head.rta_len = static_cast<unsigned short>(sizeof head + value.size());
    return padded(raw(head) + value);
}
std::string message(uint16_t type, const std::string& payload, uint32_t number = 0, uint16_t flags = 0)
{
    nlmsghdr head{};
    head.nlmsg_type = type;
    head.nlmsg_len = static_cast<uint32_t>(sizeof head + payload.size());
    head.nlmsg_seq = number;
    head.nlmsg_flags = flags;
    return padded(raw(head) + payload);
}
std::string ip(const char* text) { return net::Address::parse_ip(text, 0)->ip_bytes(); }
std::string route(const std::string& attributes) { return message(RTM_NEWROUTE, raw(rtmsg{}) + attributes); }
std::string link(int index, const char* kind)
{
    ifinfomsg info{};
    info.ifi_index = index;
    return message(RTM_NEWLINK, raw(info) + attribute(IFLA_IFNAME, "br0") + attribute(IFLA_LINKINFO | NLA_F_NESTED, attribute(IFLA_INFO_KIND, kind)));
}
std::string address(unsigned index, const std::string& attributes)
{
    ifaddrmsg info{};
    info.ifa_index = index;
    return message(RTM_NEWADDR, raw(info) + attributes);
}
std::string hop(const std::string& attributes)
{
    rtnexthop head{};
    head.rtnh_len = static_cast<unsigned short>(sizeof head + attributes.size());
    return raw(head) + attributes;
}
std::string known(const HopTable& table)
{
    std::string out;
    for (const net::Address& a : table.addresses()) append(out, out.empty() ? "" : " ", a.ip());
    return out;
}

}  // namespace

TEST_CASE("gateways of every kind of route are hops, and addresses of bridges, whichever is told first", "[smtpd][hops]")
{
    struct Case {
        std::string told;
        const char* hops;
    };
    const Case cases[] = {
        {route(attribute(RTA_GATEWAY, ip("192.0.2.3"))), "192.0.2.3"},
        {route(attribute(RTA_DST, ip("192.0.2.9"))), ""},
        {route(attribute(RTA_GATEWAY, ip("fe80::1"))), "fe80::1"},
        {route(attribute(RTA_GATEWAY, std::string(4, '\0'))), ""},
        {route(attribute(RTA_VIA, std::string("\x0a\0", 2) + ip("2001:db8::7"))), "2001:db8::7"},
        {route(attribute(RTA_MULTIPATH, hop(attribute(RTA_GATEWAY, ip("10.0.0.1"))) + hop(attribute(RTA_GATEWAY, ip("10.0.0.2"))))), "10.0.0.1 10.0.0.2"},
        {message(RTM_NEWNEXTHOP, raw(nhmsg{}) + attribute(NHA_ID, raw(7)) + attribute(NHA_GATEWAY, ip("192.0.2.3"))), "192.0.2.3"},
        {message(RTM_NEWNEXTHOP, raw(nhmsg{}) + attribute(NHA_GATEWAY, ip("2001:db8::3"))), "2001:db8::3"},
        {message(RTM_NEWNEXTHOP, raw(nhmsg{}) + attribute(NHA_ID, raw(7)) + attribute(NHA_OIF, raw(2))), ""},
        {link(7, "bridge") + address(7, attribute(IFA_LOCAL, ip("172.18.0.1")) + attribute(IFA_ADDRESS, ip("172.18.0.9"))), "172.18.0.1"},
        {address(7, attribute(IFA_ADDRESS, ip("2001:db8::1"))) + link(7, "bridge"), "2001:db8::1"},
        {link(7, "veth") + address(7, attribute(IFA_LOCAL, ip("172.18.0.1"))), ""},
        {link(7, "bridge") + address(8, attribute(IFA_LOCAL, ip("172.18.0.1"))), ""},
    };
    for (const Case& c : cases) {
        HopTable table;
        CHECK(table.feed(c.told, 0) == Heard::more);
        CHECK(known(table) == c.hops);
        CHECK_FALSE(table.lost());
    }
    HopTable table;
    CHECK(table.feed(cases[0].told + message(RTM_DELROUTE, raw(rtmsg{})), 0) == Heard::more);
    CHECK(known(table) == "192.0.2.3");      // until the next look
    CHECK(table.lost());
    HopTable other;
    CHECK(other.feed(message(RTM_DELNEXTHOP, raw(nhmsg{})), 0) == Heard::more);
    CHECK(other.lost());
}

TEST_CASE("a dump ends with its own end, and one that changed underneath counts for nothing", "[smtpd][hops]")
{
    HopTable table;
    CHECK(table.feed(message(NLMSG_DONE, raw(0), 4), 5) == Heard::more);
    CHECK(table.feed(message(NLMSG_DONE, raw(0), 5), 5) == Heard::done);
    CHECK(table.feed(message(NLMSG_ERROR, raw(nlmsgerr{}), 5), 5) == Heard::broken);
    CHECK(table.feed(message(RTM_NEWLINK, raw(ifinfomsg{}), 5, NLM_F_DUMP_INTR), 5) == Heard::broken);
    nlmsgerr unknown{};
    unknown.error = -EOPNOTSUPP;             // a kernel before 5.3 about next hops
    CHECK(table.feed(message(NLMSG_ERROR, raw(unknown), 5), 5) == Heard::unsupported);
    unknown.error = -ENOBUFS;
    CHECK(table.feed(message(NLMSG_ERROR, raw(unknown), 5), 5) == Heard::broken);
}

TEST_CASE("torn and lying messages are read no further than they go", "[smtpd][hops]")
{
    const std::string whole = link(7, "bridge") + address(7, attribute(IFA_LOCAL, ip("172.18.0.1"))) +
                              message(RTM_NEWNEXTHOP, raw(nhmsg{}) + attribute(NHA_GATEWAY, std::string(4, '\0'))) +
                              route(attribute(RTA_MULTIPATH, hop(attribute(RTA_GATEWAY, ip("10.0.0.1")))));
    for (std::size_t size = 0; size < whole.size(); ++size) {
        HopTable table;
        const std::string torn(whole.data(), size);       // a block of its own, so that a reader past its end is caught
        (void)table.feed(torn, 0);
        CHECK(table.addresses().size() < 2);
    }
    for (std::size_t at = 0; at < whole.size(); ++at)
        for (const char value : {'\0', '\1', '\3', '\x7f', '\xff'}) {
            HopTable table;
            std::string lie = whole;
            lie[at] = value;
            (void)table.feed(lie, 0);
            CHECK(table.addresses().size() <= 3);
        }
}

TEST_CASE("the routes of this host are those of /proc", "[smtpd][hops]")
{
    const std::string text = read_file("/proc/net/route", 1 << 20).value_or(std::string());
    const reception::Hops hops;
    for (const std::string_view line : split_on(text, '\n')) {
        const auto words = split(line, " \t");
        const auto number = words.size() > 2 && words[2].size() == 8 ? parse_hex(words[2]) : std::nullopt;
        if (!number || *number == 0) continue;
        in_addr address{static_cast<in_addr_t>(*number)};
        const std::string bytes(reinterpret_cast<const char*>(&address), 4);
        bool found = false;
        for (const net::Address& a : hops.addresses()) found = found || a.ip_bytes() == bytes;
        CHECK(found);
    }
}

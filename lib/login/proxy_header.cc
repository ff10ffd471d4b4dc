#include "lib/login/proxy_header.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "lib/base/text.h"

namespace veredus::login {

namespace {

constexpr std::string_view signature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::string_view word = "PROXY ";
constexpr std::size_t head_size = 16; // signature, version and command, family, length

bool agrees(std::string_view begun, std::string_view whole)
{
    const std::size_t n = std::min(begun.size(), whole.size());
    return begun.substr(0, n) == whole.substr(0, n);
}

unsigned byte(std::string_view s, std::size_t at)
{
    return static_cast<unsigned char>(s[at]);
}

std::optional<net::Address> address_from(int family, std::string_view ip, std::string_view port)
{
    const auto number = static_cast<uint16_t>(byte(port, 0) << 8 | byte(port, 1));
    if (family == AF_INET) {
        sockaddr_in v4{};
        v4.sin_family = AF_INET;
        v4.sin_port = htons(number);
        std::memcpy(&v4.sin_addr, ip.data(), 4);
        return net::Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
    }
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(number);
    std::memcpy(&v6.sin6_addr, ip.data(), 16);
    return net::Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&v6), sizeof v6);
}

} // namespace

ProxyHeader::Heard ProxyHeader::feed(std::string_view waiting, std::size_t& taken)
{
    taken = 0;
    if (waiting.empty()) return Heard::more;
    const char first = seen_.empty() ? waiting[0] : seen_[0];
    if (first == word[0]) return feed_line(waiting, taken);
    if (first == signature[0]) return feed_binary(waiting, taken);
    return Heard::bad;
}

ProxyHeader::Heard ProxyHeader::feed_line(std::string_view waiting, std::size_t& taken)
{
    const std::size_t end = waiting.find('\n');
    taken = end == std::string_view::npos ? waiting.size() : end + 1;
    taken = std::min(taken, longest_line + 1 - seen_.size());
    seen_ += waiting.substr(0, taken);
    if (!agrees(seen_, word) || seen_.size() > longest_line) return Heard::bad;
    if (!seen_.ends_with('\n')) return Heard::more;
    if (!seen_.ends_with("\r\n")) return Heard::bad;
    return read_line(std::string_view(seen_).substr(0, seen_.size() - 2));
}

// "PROXY TCP4 192.0.2.7 192.0.2.1 56324 110"
ProxyHeader::Heard ProxyHeader::read_line(std::string_view line)
{
    const auto parts = split_on(line, ' ');
    if (parts.size() >= 2 && parts[1] == "UNKNOWN") return Heard::done;
    if (parts.size() != 6 || (parts[1] != "TCP4" && parts[1] != "TCP6")) return Heard::bad;
    const auto port = parse_number<uint16_t>(parts[4]), port_here = parse_number<uint16_t>(parts[5]);
    if (!port || !port_here) return Heard::bad;
    const bool four = parts[1] == "TCP4";
    // The family as it is written: an IPv4 address in IPv6 clothes is one of TCP6.
    if ((parts[2].find(':') == std::string_view::npos) != four ||
        (parts[3].find(':') == std::string_view::npos) != four)
        return Heard::bad;
    const auto from = net::Address::parse_ip(parts[2], *port), to = net::Address::parse_ip(parts[3], *port_here);
    if (!from || !to) return Heard::bad;
    source_ = net::Address::from_sockaddr(from->raw(), from->raw_size());
    destination_ = net::Address::from_sockaddr(to->raw(), to->raw_size());
    return Heard::done;
}

ProxyHeader::Heard ProxyHeader::feed_binary(std::string_view waiting, std::size_t& taken)
{
    const auto take_to = [&](std::size_t size) {
        const std::size_t n = std::min(size - std::min(size, seen_.size()), waiting.size() - taken);
        seen_ += waiting.substr(taken, n);
        taken += n;
        return seen_.size() >= size;
    };
    const bool has_head = take_to(head_size);
    if (!agrees(seen_, signature)) return Heard::bad;
    if (!has_head) return Heard::more;
    const std::size_t length = byte(seen_, 14) << 8 | byte(seen_, 15);
    if (byte(seen_, 12) >> 4 != 2 || head_size + length > longest) return Heard::bad;
    if (!take_to(head_size + length)) return Heard::more;
    return read_binary();
}

ProxyHeader::Heard ProxyHeader::read_binary()
{
    const unsigned command = byte(seen_, 12) & 15, family = byte(seen_, 13);
    const std::string_view rest = std::string_view(seen_).substr(head_size);
    if (command == 0) return Heard::done; // LOCAL: a health check of the proxy's own
    if (command != 1) return Heard::bad;
    const bool four = family == 0x11, six = family == 0x21;
    if (!four && !six) return Heard::done; // a family that is no TCP over IP: nobody is named
    const std::size_t n = four ? 4 : 16;
    if (rest.size() < 2 * n + 4) return Heard::bad;
    const int kind = four ? AF_INET : AF_INET6;
    source_ = *address_from(kind, rest.substr(0, n), rest.substr(2 * n, 2));
    destination_ = *address_from(kind, rest.substr(n, n), rest.substr(2 * n + 2, 2));
    return Heard::done;
}

} // namespace veredus::login

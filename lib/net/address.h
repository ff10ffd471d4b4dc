// Internet and Unix socket addresses, and networks in CIDR form.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <optional>
#include <string>
#include <string_view>

#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace veredus::net {

class Address {
public:
    Address() = default;
    static std::optional<Address> parse_ip(std::string_view ip, uint16_t port);   // "192.0.2.1", "2001:db8::1"; no brackets
    static Address unix_path(const std::string& path);
    static Address from_sockaddr(const sockaddr* address, socklen_t size);         // v4-mapped IPv6 becomes IPv4
    static Result<Address> peer_of(int fd);
    static Result<Address> local_of(int fd);
    int family() const { return storage_.ss_family; }
    bool is_ip() const { return family() == AF_INET || family() == AF_INET6; }
    uint16_t port() const;
    Address with_port(uint16_t port) const;
    std::string ip() const;            // "192.0.2.1"; "" for Unix
    std::string literal() const;       // "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 §4.1.3)
    std::string text() const;          // "192.0.2.1:25", "[2001:db8::1]:25", "unix:/path"
    bool loopback() const;
    const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage_); }
    socklen_t raw_size() const { return size_; }
    std::string ip_bytes() const;      // 4 or 16 bytes
    bool same_ip(const Address& other) const { return family() == other.family() && ip_bytes() == other.ip_bytes(); }

private:
    sockaddr_storage storage_{};
    socklen_t size_ = 0;
};

// "192.0.2.0/24", "[2001:db8::]/32", "2001:db8::/32", one address; host bits must be zero (as Postfix demands).
class Network {
public:
    static Result<Network> parse(std::string_view text);
    bool contains(const Address& address) const;
    bool single() const;               // one address only

private:
    std::string bytes_;
    unsigned bits_ = 0;
};

// A listening socket (SO_REUSEADDR, close-on-exec, non-blocking, IPV6_V6ONLY). The error says the address and what to do
// ("port in use": by whom when /proc tells).
Result<Fd> listen_on(const Address& address, int backlog);
Result<Fd> listen_unix(const std::string& path, int type, mode_t mode);   // replaces a stale socket file

}  // namespace veredus::net

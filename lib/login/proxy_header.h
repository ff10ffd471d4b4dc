// The PROXY protocol (haproxy's proxy-protocol.txt, versions 1 and 2): what a load balancer says before the client's
// first byte. Pure; the caller looks at the socket without taking (MSG_PEEK), so that not one byte of the client's TLS
// is read too early.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "lib/net/address.h"

namespace veredus::login {

class ProxyHeader {
public:
    enum class Heard { more, done, bad };
    // `waiting`: what the socket has. `taken`: how many of these bytes belong to the header and are to be read away.
    Heard feed(std::string_view waiting, std::size_t& taken);
    // After done. LOCAL and UNKNOWN name nobody: the connection's own addresses count.
    bool names_client() const { return source_.is_ip(); }
    const net::Address& source() const { return source_; }
    const net::Address& destination() const { return destination_; }

    static constexpr std::size_t longest_line = 107; // version 1, with CRLF
    static constexpr std::size_t longest = 2048;     // version 2, with what is behind the addresses

private:
    Heard feed_line(std::string_view waiting, std::size_t& taken);
    Heard feed_binary(std::string_view waiting, std::size_t& taken);
    Heard read_line(std::string_view line);
    Heard read_binary();
    std::string seen_;
    net::Address source_, destination_;
};

} // namespace veredus::login

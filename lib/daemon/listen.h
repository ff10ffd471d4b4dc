// Where to listen: the forms of smtpd_listen and its like, spread over inet_interfaces and inet_protocols.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/conf/values.h"
#include "lib/daemon/roles.h"
#include "lib/net/address.h"

namespace veredus::daemon {

struct ListenSpec {                // "25", "smtp", "host:25", "192.0.2.1:25", "[::1]:25", "unix:/path"; "/tls" behind each
    std::string host;              // empty: every address of inet_interfaces
    uint16_t port = 0;
    std::string path;              // unix:
    bool tls = false;
    bool operator==(const ListenSpec&) const = default;
};
Result<ListenSpec> parse_listen(std::string_view text);

struct Interfaces {
    std::vector<std::string> interfaces;    // "all", "loopback-only", or hosts and addresses
    bool ipv4 = true, ipv6 = true;
    static Result<Interfaces> from(const conf::Values& values);
};

struct ListenPoint {
    net::Address address;
    std::string text;              // "0.0.0.0:25", "[::]:465/tls"; names the listener to its role
    bool optional = false;         // one of several that a wildcard stands for: a kernel without IPv6 has no "::"
    std::string path() const;      // of a Unix socket; else empty
};
// Names are resolved (blocking; master does it at start and at reload only). An error begins with the setting that is its cause: `setting`,
// or inet_interfaces.
Result<std::vector<ListenPoint>> listen_points(std::string_view setting, const ListenSpec& spec, const Interfaces& interfaces);

struct WantedListener {
    const Role* role;
    ListenPoint point;
};
// Of all roles, as the settings say. What cannot be had is said in `problems`, once; all others are returned.
std::vector<WantedListener> wanted_listeners(const conf::Values& values, std::vector<std::string>& problems);

// The folder of a Unix socket, unless it is there or bind_point() makes it.
Result<void> missing_folder(const ListenPoint& point, std::string_view setting);

// A missing folder right below /run is made, with mode 0755. The error says what to do: who has the port, which setting to change.
Result<Fd> bind_point(const ListenPoint& point, int backlog, std::string_view setting);

}  // namespace veredus::daemon

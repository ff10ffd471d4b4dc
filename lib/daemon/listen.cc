// Listener addresses.
#include "lib/daemon/listen.h"

#include <netdb.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "lib/base/text.h"
#include "lib/conf/port.h"

namespace veredus::daemon {

namespace {

struct Free {
    void operator()(addrinfo* list) const noexcept { ::freeaddrinfo(list); }
};

Result<std::vector<net::Address>> resolve(const std::string& host, uint16_t port, const Interfaces& interfaces)
{
    std::vector<net::Address> found;
    if (const auto address = net::Address::parse_ip(host, port)) {
        found.push_back(*address);
        return found;
    }
    addrinfo hints{}, *list = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &list))
        return fail(cat(host, ": ", std::string_view(::gai_strerror(error))));
    const std::unique_ptr<addrinfo, Free> owner(list);
    for (const addrinfo* a = list; a; a = a->ai_next) {
        if ((a->ai_family == AF_INET && !interfaces.ipv4) || (a->ai_family == AF_INET6 && !interfaces.ipv6)) continue;
        if (a->ai_family == AF_INET || a->ai_family == AF_INET6) found.push_back(net::Address::from_sockaddr(a->ai_addr, a->ai_addrlen).with_port(port));
    }
    if (found.empty()) return fail(cat(host, ": has no address of a protocol in inet_protocols"));
    return found;
}

void add_pair(std::vector<net::Address>& out, const Interfaces& interfaces, const char* v4, const char* v6, uint16_t port)
{
    if (interfaces.ipv4) out.push_back(*net::Address::parse_ip(v4, port));
    if (interfaces.ipv6) out.push_back(*net::Address::parse_ip(v6, port));
}

void add_point(std::vector<ListenPoint>& points, const net::Address& address, bool tls, bool optional)
{
    std::string text = cat(address.text(), tls ? "/tls" : "");
    for (const ListenPoint& point : points)
        if (point.text == text) return;    // inet_interfaces = localhost, 127.0.0.1
    points.push_back({address, std::move(text), optional});
}

}  // namespace

Result<ListenSpec> parse_listen(std::string_view text)
{
    ListenSpec spec;
    const std::string whole(text);
    if (iends_with(text, "/tls")) {
        spec.tls = true;
        text.remove_suffix(4);
    }
    if (istarts_with(text, "unix:")) {
        spec.path = text.substr(5);
        if (spec.path.empty() || spec.path[0] != '/') return fail(cat(whole, ": unix: wants an absolute path"));
        if (spec.path.size() >= sizeof(sockaddr_un::sun_path)) return fail(cat(whole, ": the path of a socket must be shorter than ", sizeof(sockaddr_un::sun_path), " bytes"));
        return spec;
    }
    std::string_view port = text;
    if (const auto colon = text.rfind(':'); colon != std::string_view::npos) {
        std::string_view host = text.substr(0, colon);
        port = text.substr(colon + 1);
        const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
        if (bracketed) host = host.substr(1, host.size() - 2);
        if (!bracketed && host.find(':') != std::string_view::npos) return fail(cat(whole, ": write an IPv6 address in brackets: [::1]:25"));
        if (bracketed && !net::Address::parse_ip(host, 0)) return fail(cat(whole, ": no address between the brackets"));
        if (host.find_first_of("[]/") != std::string_view::npos) return fail(cat(whole, ": not a host name or address"));
        if (host != "*") spec.host = host;
    }
    const auto number = conf::port_of(port);
    if (!number) return fail(cat(whole, ": not a port (use 25, smtp, host:25, [::1]:25 or unix:/path)"));
    spec.port = *number;
    return spec;
}

Result<Interfaces> Interfaces::from(const conf::Values& values)
{
    Interfaces result;
    result.interfaces = values.list("inet_interfaces");
    if (result.interfaces.empty()) result.interfaces = {"all"};
    result.ipv4 = result.ipv6 = false;
    for (const std::string& word : values.list("inet_protocols")) {
        if (!iequals(word, "all") && !iequals(word, "ipv4") && !iequals(word, "ipv6")) return fail(cat("inet_protocols: ", word, " is none of all, ipv4, ipv6"));
        result.ipv4 = result.ipv4 || !iequals(word, "ipv6");
        result.ipv6 = result.ipv6 || !iequals(word, "ipv4");
    }
    if (!result.ipv4 && !result.ipv6) return fail("inet_protocols: name ipv4, ipv6 or all");
    return result;
}

Result<std::vector<ListenPoint>> listen_points(std::string_view setting, const ListenSpec& spec, const Interfaces& interfaces)
{
    const auto addresses_of = [&](std::string_view named_by, const std::string& host) -> Result<std::vector<net::Address>> {
        auto found = resolve(host, spec.port, interfaces);
        if (!found) return fail(cat(named_by, ": ", found.error().text, "; an interface is named by its address, or a host name that has it"));
        return found;
    };
    std::vector<ListenPoint> points;
    if (!spec.path.empty()) {
        points.push_back({net::Address::unix_path(spec.path), cat("unix:", spec.path, spec.tls ? "/tls" : ""), false});
        return points;
    }
    if (!spec.host.empty()) {
        const auto addresses = TRY(addresses_of(setting, spec.host));
        for (const auto& address : addresses) add_point(points, address, spec.tls, addresses.size() > 1 && address.family() == AF_INET6);
        return points;
    }
    for (const std::string& interface : interfaces.interfaces) {
        std::vector<net::Address> addresses;
        const bool wildcard = iequals(interface, "all") || iequals(interface, "loopback-only");
        if (iequals(interface, "all")) {
            add_pair(addresses, interfaces, "0.0.0.0", "::", spec.port);
        } else if (wildcard) {
            add_pair(addresses, interfaces, "127.0.0.1", "::1", spec.port);
        } else {
            std::string host = interface;
            if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
            addresses = TRY(addresses_of("inet_interfaces", host));
        }
        for (const auto& address : addresses) add_point(points, address, spec.tls, addresses.size() > 1 && address.family() == AF_INET6);
    }
    return points;
}

namespace {

// A folder right below /run, which is empty after each start of the machine: we make it.
bool is_made(std::string_view folder) { return folder.starts_with("/run/") && folder.find('/', 5) == std::string_view::npos && folder.size() > 5 && folder[5] != '.'; }

Result<void> make_folder_of(const std::string& path, std::string_view setting)
{
    const std::string folder = path.substr(0, path.rfind('/'));
    if (!is_made(folder)) return {};
    if (::mkdir(folder.c_str(), 0755) == 0) return ::chmod(folder.c_str(), 0755) == 0 ? Result<void>() : fail_errno(cat(setting, ": chmod ", folder));    // whatever the umask
    if (errno == EEXIST) return {};
    return fail_errno(cat(setting, ": make folder ", folder));
}

Result<std::vector<ListenPoint>> points_of(const Role& role, const std::string& text, const Interfaces& interfaces)
{
    const auto spec = parse_listen(text);
    if (!spec) return fail(cat(role.listeners, ": ", spec.error().text));
    return listen_points(role.listeners, *spec, interfaces);
}
}  // namespace

std::vector<WantedListener> wanted_listeners(const conf::Values& values, std::vector<std::string>& problems)
{
    std::vector<WantedListener> wanted;
    const auto say = [&](std::string text) {
        if (std::find(problems.begin(), problems.end(), text) == problems.end()) problems.push_back(std::move(text));
    };
    const auto interfaces = Interfaces::from(values);
    if (!interfaces) {
        say(interfaces.error().text);
        return wanted;
    }
    for (const Role& role : roles()) {
        if (!role.listeners) continue;
        for (const std::string& text : values.list(role.listeners)) {
            auto points = points_of(role, text, *interfaces);
            if (!points) {
                say(points.error().text);
                continue;
            }
            for (ListenPoint& point : *points) {
                const auto same = std::find_if(wanted.begin(), wanted.end(), [&](const WantedListener& w) { return w.point.address.text() == point.address.text(); });
                // Port 0 is any that is free.
                if (same == wanted.end() || (point.address.is_ip() && point.address.port() == 0)) wanted.push_back({&role, std::move(point)});
                else say(cat(role.listeners, ": ", point.address.text(), " stands ", same->role == &role ? "twice there" : cat("in ", same->role->listeners, ", too")));
            }
        }
    }
    return wanted;
}

std::string ListenPoint::path() const
{
    if (address.is_ip()) return {};
    const std::string_view rest = std::string_view(text).substr(5);
    return std::string(rest.ends_with("/tls") ? rest.substr(0, rest.size() - 4) : rest);
}

Result<void> missing_folder(const ListenPoint& point, std::string_view setting)
{
    const std::string path = point.path(), folder = path.substr(0, path.rfind('/'));
    struct stat st {};
    if (path.empty() || folder.empty() || is_made(folder) || ::stat(folder.c_str(), &st) == 0) return {};
    return fail_errno(cat(setting, ": the socket's folder ", folder));
}

Result<Fd> bind_point(const ListenPoint& point, int backlog, std::string_view setting)
{
    const std::string path = point.path();
    if (!path.empty()) TRY(make_folder_of(path, setting));
    auto fd = path.empty() ? net::listen_on(point.address, backlog) : net::listen_unix(path, SOCK_STREAM, 0666);
    if (fd) return fd;
    const int code = fd.error().code;
    if (point.optional && (code == EAFNOSUPPORT || code == EADDRNOTAVAIL)) return Fd();
    return unexpected({code, cat(setting, ": ", fd.error().text)});
}

}  // namespace veredus::daemon

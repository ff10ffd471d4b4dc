// Addresses, networks and listening sockets.
#include "lib/net/address.h"

#include <arpa/inet.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "lib/base/directory.h"
#include "lib/base/text.h"

namespace veredus::net {

namespace {

const sockaddr_in& v4(const sockaddr_storage& s) { return reinterpret_cast<const sockaddr_in&>(s); }
const sockaddr_in6& v6(const sockaddr_storage& s) { return reinterpret_cast<const sockaddr_in6&>(s); }
sockaddr_in& v4(sockaddr_storage& s) { return reinterpret_cast<sockaddr_in&>(s); }
sockaddr_in6& v6(sockaddr_storage& s) { return reinterpret_cast<sockaddr_in6&>(s); }

}  // namespace

std::optional<Address> Address::parse_ip(std::string_view ip, uint16_t port)
{
    const std::string text(ip);
    if (text.size() > INET6_ADDRSTRLEN || text.find('\0') != std::string::npos) return std::nullopt;
    Address a;
    if (::inet_pton(AF_INET, text.c_str(), &v4(a.storage_).sin_addr) == 1) {
        v4(a.storage_).sin_family = AF_INET;
        v4(a.storage_).sin_port = htons(port);
        a.size_ = sizeof(sockaddr_in);
        return a;
    }
    a.storage_ = {};
    if (::inet_pton(AF_INET6, text.c_str(), &v6(a.storage_).sin6_addr) == 1) {
        v6(a.storage_).sin6_family = AF_INET6;
        v6(a.storage_).sin6_port = htons(port);
        a.size_ = sizeof(sockaddr_in6);
        return a;
    }
    return std::nullopt;
}

Address Address::unix_path(const std::string& path)
{
    Address a;
    auto& u = reinterpret_cast<sockaddr_un&>(a.storage_);
    u.sun_family = AF_UNIX;
    const std::size_t n = std::min(path.size(), sizeof u.sun_path - 1);
    std::memcpy(u.sun_path, path.data(), n);
    a.size_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + n + 1);
    return a;
}

Address Address::from_sockaddr(const sockaddr* address, socklen_t size)
{
    Address a;
    a.size_ = std::min<socklen_t>(size, sizeof a.storage_);
    std::memcpy(&a.storage_, address, a.size_);
    if (a.family() == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6(a.storage_).sin6_addr)) {
        const sockaddr_in6 mapped = v6(a.storage_);
        a.storage_ = {};
        v4(a.storage_).sin_family = AF_INET;
        v4(a.storage_).sin_port = mapped.sin6_port;
        std::memcpy(&v4(a.storage_).sin_addr, mapped.sin6_addr.s6_addr + 12, 4);
        a.size_ = sizeof(sockaddr_in);
    }
    return a;
}

Result<Address> Address::peer_of(int fd)
{
    sockaddr_storage s{};
    socklen_t size = sizeof s;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&s), &size) < 0) return fail_errno("getpeername");
    return from_sockaddr(reinterpret_cast<sockaddr*>(&s), size);
}

Result<Address> Address::local_of(int fd)
{
    sockaddr_storage s{};
    socklen_t size = sizeof s;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&s), &size) < 0) return fail_errno("getsockname");
    return from_sockaddr(reinterpret_cast<sockaddr*>(&s), size);
}

uint16_t Address::port() const
{
    if (family() == AF_INET) return ntohs(v4(storage_).sin_port);
    if (family() == AF_INET6) return ntohs(v6(storage_).sin6_port);
    return 0;
}

Address Address::with_port(uint16_t port) const
{
    Address a = *this;
    if (family() == AF_INET) v4(a.storage_).sin_port = htons(port);
    if (family() == AF_INET6) v6(a.storage_).sin6_port = htons(port);
    return a;
}

std::string Address::ip() const
{
    char text[INET6_ADDRSTRLEN] = "";
    if (family() == AF_INET) ::inet_ntop(AF_INET, &v4(storage_).sin_addr, text, sizeof text);
    if (family() == AF_INET6) ::inet_ntop(AF_INET6, &v6(storage_).sin6_addr, text, sizeof text);
    return text;
}

std::string Address::literal() const { return family() == AF_INET6 ? cat("[IPv6:", ip(), ']') : cat('[', ip(), ']'); }

std::string Address::text() const
{
    if (family() == AF_INET) return cat(ip(), ':', port());
    if (family() == AF_INET6) return cat('[', ip(), "]:", port());
    if (family() == AF_UNIX) {
        const auto& u = reinterpret_cast<const sockaddr_un&>(storage_);
        return cat("unix:", std::string_view(u.sun_path, ::strnlen(u.sun_path, sizeof u.sun_path)));
    }
    return "unknown";
}

bool Address::loopback() const
{
    if (family() == AF_INET) return ntohl(v4(storage_).sin_addr.s_addr) >> 24 == 127;
    if (family() == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&v6(storage_).sin6_addr);
    return false;
}

std::string Address::ip_bytes() const
{
    if (family() == AF_INET) return {reinterpret_cast<const char*>(&v4(storage_).sin_addr), 4};
    if (family() == AF_INET6) return {reinterpret_cast<const char*>(&v6(storage_).sin6_addr), 16};
    return {};
}

Result<Network> Network::parse(std::string_view text)
{
    const auto refuse = [&](std::string_view why) { return fail(cat("\"", printable(text), "\" is no network: ", why)); };
    auto [base, bits] = cut(text, '/');
    // Postfix writes [2001:db8::]/32, and also takes [2001:db8::/32].
    if (!base.empty() && base.front() == '[') {
        base.remove_prefix(1);
        if (!base.empty() && base.back() == ']')
            base.remove_suffix(1);
        else if (bits && !bits->empty() && bits->back() == ']')
            bits->remove_suffix(1);
        else
            return refuse("the bracket is not closed");
    }
    const auto address = Address::parse_ip(base, 0);
    if (!address) return refuse("write it like 192.0.2.0/24 or [2001:db8::]/32");
    Network n;
    n.bytes_ = address->ip_bytes();
    n.bits_ = static_cast<unsigned>(n.bytes_.size() * 8);
    if (bits) {
        const auto number = parse_number<unsigned>(*bits, n.bits_);
        if (!number) return refuse(cat("the length after / must be 0 to ", n.bits_));
        n.bits_ = *number;
    }
    for (unsigned i = n.bits_; i < n.bytes_.size() * 8; ++i)
        if (static_cast<unsigned char>(n.bytes_[i / 8]) >> (7 - i % 8) & 1) return refuse("bits beyond the network length are set");
    // ::ffff:0:0/96 and longer are IPv4 networks: peers of that kind are seen as IPv4.
    static const std::string mapped("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
    if (n.bytes_.size() == 16 && n.bits_ >= 96 && n.bytes_.compare(0, 12, mapped) == 0) {
        n.bytes_.erase(0, 12);
        n.bits_ -= 96;
    }
    return n;
}

bool Network::contains(const Address& address) const
{
    const std::string other = address.ip_bytes();
    if (other.size() != bytes_.size()) return false;
    const unsigned whole = bits_ / 8, rest = bits_ % 8;
    if (std::memcmp(other.data(), bytes_.data(), whole) != 0) return false;
    if (rest == 0) return true;
    const auto mask = static_cast<unsigned char>(0xFF << (8 - rest));
    return ((static_cast<unsigned char>(other[whole]) ^ static_cast<unsigned char>(bytes_[whole])) & mask) == 0;
}

bool Network::single() const { return bits_ == bytes_.size() * 8; }

namespace {

// The inode of a listening socket on this port, from /proc/net/tcp; 0 when not found.
std::string listener_inode(uint16_t port)
{
    for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
        const auto text = read_file(table, 4u << 20);
        if (!text) continue;
        const std::string want = cat(':', hex_upper(port, 4));
        for (const auto line : split(*text, "\n")) {
            const auto words = split(line, " ");
            if (words.size() > 9 && words[3] == "0A" && iends_with(words[1], want)) return std::string(words[9]);
        }
    }
    return {};
}

// " (held by exim4, pid 812)" when /proc tells; only root sees other users' descriptors.
std::string holder_of(uint16_t port)
{
    const std::string inode = listener_inode(port);
    if (inode.empty()) return {};
    const std::string want = cat("socket:[", inode, ']');
    std::string found;
    // A process that ends while we look, or whose descriptors are not ours to see, is passed over.
    static_cast<void>(for_each_entry("/proc", [&](const DirectoryEntry& process) {
        const std::string pid = process.name;
        if (!parse_number<unsigned>(pid)) return true;
        const std::string folder = cat("/proc/", pid, "/fd");
        static_cast<void>(for_each_entry(folder, [&](const DirectoryEntry& descriptor) {
            char target[64];
            const ssize_t n = ::readlink(cat(folder, '/', descriptor.name).c_str(), target, sizeof target);
            if (n <= 0 || std::string_view(target, static_cast<std::size_t>(n)) != want) return true;
            const auto name = read_file(cat("/proc/", pid, "/comm"), 64);
            found = cat(" (held by ", name ? trim(*name) : "a process", ", pid ", pid, ')');
            return false;
        }));
        return found.empty();
    }));
    return found;
}

}  // namespace

Result<Fd> listen_on(const Address& address, int backlog)
{
    Fd fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return fail_errno(cat("socket for ", address.text()));
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address.family() == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (::bind(fd.get(), address.raw(), address.raw_size()) < 0 || ::listen(fd.get(), backlog) < 0) {
        const int code = errno;
        std::string what = cat("listen on ", address.text());
        if (code == EADDRINUSE) append(what, holder_of(address.port()), ": stop that program or choose another port");
        if (code == EACCES) append(what, ": ports below 1024 need root");
        if (code == EADDRNOTAVAIL) append(what, ": no interface of this host has that address");
        return fail_errno(std::move(what), code);
    }
    return fd;
}

Result<Fd> listen_unix(const std::string& path, int type, mode_t mode)
{
    if (path.size() >= sizeof(sockaddr_un::sun_path))
        return fail(cat("listen on ", path, ": a socket's path may have ", sizeof(sockaddr_un::sun_path) - 1, " bytes"));
    struct stat st {};
    if (::lstat(path.c_str(), &st) == 0) {
        if (!S_ISSOCK(st.st_mode)) return fail(cat("listen on ", path, ": something that is no socket is in the way"));
        ::unlink(path.c_str());
    }
    Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return fail_errno(cat("socket for ", path));
    const Address address = Address::unix_path(path);
    if (::bind(fd.get(), address.raw(), address.raw_size()) < 0) return fail_errno(cat("bind ", path));
    if (::chmod(path.c_str(), mode) < 0) return fail_errno(cat("chmod ", path));
    if (type != SOCK_DGRAM && ::listen(fd.get(), 1024) < 0) return fail_errno(cat("listen on ", path));
    return fd;
}

}  // namespace veredus::net

// The wire form of messages, and blocking send and receive.
#include "lib/ipc/message.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "lib/base/text.h"
#include "lib/ipc/wire.h"

namespace veredus::ipc {

namespace {
template <class T> void put(std::string& out, T v)
{
    for (std::size_t i = 0; i < sizeof v; ++i) out.push_back(static_cast<char>(v >> (8 * i)));
}
}  // namespace

Writer& Writer::u8(uint8_t v) { return put(out_, v), *this; }
Writer& Writer::u16(uint16_t v) { return put(out_, v), *this; }
Writer& Writer::u32(uint32_t v) { return put(out_, v), *this; }
Writer& Writer::u64(uint64_t v) { return put(out_, v), *this; }
Writer& Writer::str(std::string_view v)
{
    u32(static_cast<uint32_t>(v.size()));
    out_.append(v);
    return *this;
}

template <class T> T Reader::integer()
{
    if (!ok_ || bytes_.size() < sizeof(T)) {
        ok_ = false;
        return 0;
    }
    T v = 0;
    for (std::size_t i = 0; i < sizeof v; ++i) v = static_cast<T>(v | T{static_cast<unsigned char>(bytes_[i])} << (8 * i));
    bytes_.remove_prefix(sizeof v);
    return v;
}

uint8_t Reader::u8() { return integer<uint8_t>(); }
uint16_t Reader::u16() { return integer<uint16_t>(); }
uint32_t Reader::u32() { return integer<uint32_t>(); }
uint64_t Reader::u64() { return integer<uint64_t>(); }

std::string Reader::str(std::size_t limit)
{
    const uint32_t size = u32();
    if (!ok_ || size > limit || size > bytes_.size()) {
        ok_ = false;
        return {};
    }
    std::string v(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return v;
}

uint32_t Reader::count(std::size_t each)
{
    const uint32_t n = u32();
    if (!ok_ || uint64_t{n} * each > bytes_.size()) {
        ok_ = false;
        return 0;
    }
    return n;
}

std::string encode_message(const Message& message)
{
    Writer w;
    w.u16(version).u16(static_cast<uint16_t>(message.type | (message.answer ? answer_bit : 0)));
    w.u32(message.request).u32(message.deadline_ms);
    std::string out = w.take();
    out.append(message.body);
    return out;
}

Result<Message> decode_message(std::string_view bytes)
{
    Reader r(bytes);
    Message m;
    const uint16_t v = r.u16();
    const uint16_t type = r.u16();
    m.request = r.u32();
    m.deadline_ms = r.u32();
    if (!r.ok()) return fail("a message is shorter than its header");
    if (v != version) return fail(cat("a message has version ", v, ", this program speaks ", version));
    m.answer = type & answer_bit;
    m.type = type & static_cast<uint16_t>(~answer_bit);
    m.body.assign(bytes.substr(header_size));
    return m;
}

Result<bool> send_datagram(int fd, std::string_view bytes, std::span<const int> fds, int flags)
{
    if (bytes.size() > max_message) return fail(cat("a message of ", bytes.size(), " bytes is too long"));
    if (fds.size() > max_fds) return fail("a message has too many file descriptors");
    iovec io{const_cast<char*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * max_fds)] = {};
    msghdr header{};
    header.msg_iov = &io;
    header.msg_iovlen = 1;
    if (!fds.empty()) {
        header.msg_control = control;
        header.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
        cmsghdr* c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
        std::memcpy(CMSG_DATA(c), fds.data(), sizeof(int) * fds.size());
    }
    for (;;) {
        if (::sendmsg(fd, &header, MSG_NOSIGNAL | flags) >= 0) return true;
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ETOOMANYREFS) return false;
        return fail_errno("sendmsg");
    }
}

// One buffer for all channels, whose far end is hardly ever touched; clearing one for each message would cost more than the message.
Result<Received> receive_datagram(int fd, std::string_view& bytes, int flags)
{
    thread_local const std::unique_ptr<char[]> buffer = std::make_unique_for_overwrite<char[]>(max_message);
    bytes = {};
    iovec io{buffer.get(), max_message};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * (max_fds + 4)) + CMSG_SPACE(sizeof(ucred))] = {};
    msghdr header{};
    header.msg_iov = &io;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    ssize_t n;
    do n = ::recvmsg(fd, &header, MSG_CMSG_CLOEXEC | flags);
    while (n < 0 && errno == EINTR);
    Received out;
    if (n < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) return out;
        if (errno == ECONNRESET) n = 0;
        else return fail_errno("recvmsg");
    }
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int one;
            std::memcpy(&one, CMSG_DATA(c) + i * sizeof(int), sizeof one);
            Fd owned(one);
            if (out.fds.size() < max_fds) out.fds.push_back(std::move(owned));    // a surplus one closes here
        }
    }
    if (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) return fail("a message was truncated");
    out.kind = n == 0 ? Received::Kind::closed : Received::Kind::message;
    bytes = {buffer.get(), static_cast<std::size_t>(n)};
    return out;
}

namespace {
Result<void> wait_for(int fd, short events, int timeout_ms)
{
    pollfd p{fd, events, 0};
    for (;;) {
        const int n = ::poll(&p, 1, timeout_ms);
        if (n > 0) return {};
        if (n == 0) return fail_errno("waiting for the peer", ETIMEDOUT);
        if (errno != EINTR) return fail_errno("poll");
    }
}
}  // namespace

Result<void> send_blocking(int fd, const Message& message, int timeout_ms)
{
    const std::string bytes = encode_message(message);
    std::vector<int> fds;
    for (const Fd& f : message.fds) fds.push_back(f.get());
    for (;;) {
        if (TRY(send_datagram(fd, bytes, fds, MSG_DONTWAIT))) return {};
        TRY(wait_for(fd, POLLOUT, timeout_ms));
    }
}

Result<std::optional<Message>> recv_blocking(int fd, int timeout_ms)
{
    std::string_view bytes;
    for (;;) {
        TRY(wait_for(fd, POLLIN, timeout_ms));
        Received got = TRY(receive_datagram(fd, bytes, MSG_DONTWAIT));
        if (got.kind == Received::Kind::nothing) continue;
        if (got.kind == Received::Kind::closed) return std::optional<Message>();
        Message m = TRY(decode_message(bytes));
        m.fds = std::move(got.fds);
        return std::optional<Message>(std::move(m));
    }
}

Result<Fd> connect_unix(const std::string& path)
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return fail(cat("connect ", path, ": the path is too long for a socket"));
    std::memcpy(address.sun_path, path.data(), path.size());
    Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!fd) return fail_errno("socket");
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
        return fail_errno(cat("connect ", path));
    return fd;
}

Result<Credentials> peer_credentials(int fd)
{
    ucred c{};
    socklen_t size = sizeof c;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &size) < 0) return fail_errno("SO_PEERCRED");
    return Credentials{static_cast<uint32_t>(c.pid), c.uid, c.gid};
}

}  // namespace veredus::ipc

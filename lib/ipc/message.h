// Messages between roles: typed, versioned, bounded; one datagram each on SOCK_SEQPACKET (design.md §1).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace veredus::ipc {

constexpr std::size_t max_message = 65'536;   // header included
constexpr std::size_t max_fds = 4;
constexpr uint16_t version = 1;

// On the wire: u16 version, u16 type, u32 request id, u32 deadline in ms (0: none), then the body. Little-endian.
struct Message {
    uint16_t type = 0;            // the high bit on the wire marks an answer; it is cut off here
    bool answer = false;          // answers the request of that number that the receiver made
    uint32_t request = 0;         // 0: no answer is expected
    uint32_t deadline_ms = 0;
    std::string body;
    std::vector<Fd> fds;
};

// Builds a body: little-endian integers, strings with a u32 length.
class Writer {
public:
    Writer& u8(uint8_t v);
    Writer& u16(uint16_t v);
    Writer& u32(uint32_t v);
    Writer& u64(uint64_t v);
    Writer& i64(int64_t v) { return u64(static_cast<uint64_t>(v)); }
    Writer& str(std::string_view v);
    std::string take() { return std::move(out_); }
    std::size_t size() const { return out_.size(); }

private:
    std::string out_;
};

// Reads a body; after the first misfit everything reads as zero and ok() is false. done(): ok and nothing is left over.
class Reader {
public:
    explicit Reader(std::string_view bytes) : bytes_(bytes) {}
    uint8_t u8();
    uint16_t u16();
    uint32_t u32();
    uint64_t u64();
    int64_t i64() { return static_cast<int64_t>(u64()); }
    std::string str(std::size_t limit = max_message);
    // A count of things of at least `each` bytes: more than could fit is a misfit (so a reserve() is bounded).
    uint32_t count(std::size_t each);
    bool ok() const { return ok_; }
    bool done() const { return ok_ && bytes_.empty(); }

private:
    template <class T> T integer();
    std::string_view bytes_;
    bool ok_ = true;
};

// For programs without a loop: mailq, workers. Timeouts in ms, -1 waits. recv: nullopt when the peer closed.
Result<void> send_blocking(int fd, const Message& message, int timeout_ms);
Result<std::optional<Message>> recv_blocking(int fd, int timeout_ms);
Result<Fd> connect_unix(const std::string& path);      // SOCK_SEQPACKET

struct Credentials {
    uint32_t pid = 0, uid = 0, gid = 0;
};
Result<Credentials> peer_credentials(int fd);           // SO_PEERCRED

}  // namespace veredus::ipc

// Fd: one owner for a file descriptor.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "lib/base/result.h"

namespace veredus {

class Fd {  // move-only, closes once
public:
    explicit Fd(int fd = -1) noexcept : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd other) noexcept
    {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Fd()
    {
        if (fd_ >= 0) ::close(fd_);
    }
    int get() const noexcept { return fd_; }
    int release() noexcept { return std::exchange(fd_, -1); }
    void reset() noexcept { *this = Fd(); }
    explicit operator bool() const noexcept { return fd_ >= 0; }

private:
    int fd_;
};

// All of `bytes`, however often write(2) stops short; EINTR is retried. For files and blocking pipes.
Result<void> write_all(int fd, std::string_view bytes);
// Up to `limit` bytes from the current offset to the end; more than `limit` is an error (EFBIG).
Result<std::string> read_all(int fd, std::size_t limit);
// pread(2) of exactly `size` bytes; a short file is an error.
Result<std::string> pread_exact(int fd, off_t offset, std::size_t size);
// A whole small file; `limit` as in read_all.
Result<std::string> read_file(const std::string& path, std::size_t limit);
Result<void> set_nonblocking(int fd, bool on);
// A connected pair of SOCK_SEQPACKET or SOCK_STREAM Unix sockets, close-on-exec.
Result<std::pair<Fd, Fd>> socket_pair(int type);
// A sealed memfd (no write, no resize) with these bytes: a value that can be handed to another role.
Result<Fd> sealed_memfd(const char* name, std::string_view bytes);

}  // namespace veredus

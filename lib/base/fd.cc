// Fd helpers: whole reads and writes, socket pairs, sealed memory files.
#include "lib/base/fd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "lib/base/text.h"

namespace veredus {

Unexpected fail_errno(std::string what, int code)
{
    char buffer[128];
    append(what, ": ", std::string_view(strerror_r(code, buffer, sizeof buffer)));
    return unexpected({code, std::move(what)});
}

Unexpected fail_errno(std::string what)
{
    const int code = errno;
    return fail_errno(std::move(what), code);
}

Result<void> write_all(int fd, std::string_view bytes)
{
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0) {
            if (errno == EINTR) continue;
            return fail_errno("write");
        }
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
}

Result<std::string> read_all(int fd, std::size_t limit)
{
    std::string out;
    char buffer[16384];
    for (;;) {
        const ssize_t n = ::read(fd, buffer, sizeof buffer);
        if (n < 0) {
            if (errno == EINTR) continue;
            return fail_errno("read");
        }
        if (n == 0) return out;
        if (out.size() + static_cast<std::size_t>(n) > limit) return fail_errno("read", EFBIG);
        out.append(buffer, static_cast<std::size_t>(n));
    }
}

Result<std::string> pread_exact(int fd, off_t offset, std::size_t size)
{
    std::string out(size, '\0');
    std::size_t got = 0;
    while (got < size) {
        const ssize_t n = ::pread(fd, out.data() + got, size - got, offset + static_cast<off_t>(got));
        if (n < 0) {
            if (errno == EINTR) continue;
            return fail_errno("pread");
        }
        if (n == 0) return fail("pread: the file is shorter than expected");
        got += static_cast<std::size_t>(n);
    }
    return out;
}

Result<std::string> read_file(const std::string& path, std::size_t limit)
{
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!fd) return fail_errno(cat("open ", path));
    auto bytes = read_all(fd.get(), limit);
    if (!bytes) return unexpected({bytes.error().code, cat(path, ": ", bytes.error().text)});
    return bytes;
}

Result<void> set_nonblocking(int fd, bool on)
{
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0) return fail_errno("fcntl F_GETFL");
    if (((flags & O_NONBLOCK) != 0) == on) return {};
    if (::fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0) return fail_errno("fcntl F_SETFL");
    return {};
}

Result<std::pair<Fd, Fd>> socket_pair(int type)
{
    int fds[2];
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0) return fail_errno("socketpair");
    return std::pair<Fd, Fd>(Fd(fds[0]), Fd(fds[1]));
}

Result<Fd> sealed_memfd(const char* name, std::string_view bytes)
{
    Fd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd) return fail_errno("memfd_create");
    TRY(write_all(fd.get(), bytes));
    if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return fail_errno("seal memfd");
    if (::lseek(fd.get(), 0, SEEK_SET) < 0) return fail_errno("lseek memfd");
    return fd;
}

}  // namespace veredus

// tls_load: makes full TLS 1.3 handshakes (lean_tls.h) with a server for a time, and nothing else, as openssl s_time does at several times the price.
// tls_load CONNECTIONS SECONDS HOST PORT
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lean_tls.h"

namespace {

sockaddr_in server{};
int watched = -1, shaken = 0, failures = 0;

class Connection {
public:
    Connection() = default;
    Connection(const Connection&) = delete;
    ~Connection() { end(); }

    void begin()
    {
        greeted_ = false;
        fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        const int on = 1;
        ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        epoll_event event{};
        event.events = EPOLLOUT | EPOLLIN;
        event.data.ptr = this;
        if ((::connect(fd_, reinterpret_cast<const sockaddr*>(&server), sizeof server) != 0 && errno != EINPROGRESS) ||
            ::epoll_ctl(watched, EPOLL_CTL_ADD, fd_, &event) != 0) {
            std::perror("tls_load: connect");
            std::exit(1);
        }
    }
    // False: this one is over.
    bool on_ready()
    {
        std::string out;
        if (!greeted_) {
            greeted_ = true;
            tls_.begin(out);
            epoll_event event{};
            event.events = EPOLLIN;
            event.data.ptr = this;
            return send(out) && ::epoll_ctl(watched, EPOLL_CTL_MOD, fd_, &event) == 0;
        }
        char buffer[16 * 1024];
        const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EAGAIN) return true;
        std::string plain;
        if (n <= 0 || !tls_.feed({buffer, static_cast<std::size_t>(n)}, plain, out)) return fail(n <= 0 ? "the server has closed" : tls_.error());
        if (!out.empty() && !send(out)) return false;
        if (!tls_.ready()) return true;
        ++shaken;
        return false;
    }
    void end()
    {
        if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    }

private:
    bool send(std::string_view bytes)
    {
        return ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()) || fail("send");
    }
    static bool fail(const char* why)
    {
        std::fprintf(stderr, "tls_load: %s\n", why);
        ++failures;
        return false;
    }
    int fd_ = -1;
    bool greeted_ = false;
    lean::Client tls_;
};

} // namespace

int main(int argc, char** argv)
{
    if (argc != 5) {
        std::fprintf(stderr, "usage: tls_load CONNECTIONS SECONDS HOST PORT\n");
        return 64;
    }
    server.sin_family = AF_INET;
    inet_pton(AF_INET, argv[3], &server.sin_addr);
    server.sin_port = htons(static_cast<uint16_t>(std::atoi(argv[4])));
    watched = ::epoll_create1(EPOLL_CLOEXEC);
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now(), end = begin + std::chrono::seconds(std::atoi(argv[2]));
    std::vector<std::unique_ptr<Connection>> connections;
    for (int i = 0; i < std::atoi(argv[1]); ++i) connections.push_back(std::make_unique<Connection>());
    for (auto& c : connections) c->begin();
    while (Clock::now() < end && failures < 100) {
        epoll_event events[64];
        const int n = ::epoll_wait(watched, events, 64, 1000);
        for (int i = 0; i < n; ++i) {
            auto* const one = static_cast<Connection*>(events[i].data.ptr);
            if (one->on_ready()) continue;
            one->end();
            one->begin();
        }
    }
    std::printf("handshakes %d seconds %.3f\n", shaken, std::chrono::duration<double>(Clock::now() - begin).count());
    return failures ? 1 : 0;
}

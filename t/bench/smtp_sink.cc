// smtp_sink: takes every mail and throws it away, as fast as one process can; what a relay's speed is measured against.
// smtp_sink ADDRESS PORT: announces PIPELINING, SIZE, 8BITMIME and ENHANCEDSTATUSCODES; ends when its standard input does.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

namespace {

constexpr std::string_view greeting = "220 sink.example.net ESMTP\r\n", ehlo = "250-sink.example.net\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n",
                           ok = "250 2.0.0 Ok\r\n", go = "354 go\r\n", bye = "221 2.0.0 Bye\r\n", end = "\r\n.\r\n";
constexpr int tail = 16 * 1024;
char buffer[256 * 1024];

class Session {
public:
    explicit Session(int fd) : fd_(fd) { say(greeting); }
    ~Session() { ::close(fd_); }
    // False: it is over.
    bool on_bytes()
    {
        int waiting = 0;
        // Of a large content the kernel throws away what cannot hold its end: fewer bytes than `tail` can follow that, an envelope at most.
        if (in_content_ && ::ioctl(fd_, FIONREAD, &waiting) == 0 && waiting > 2 * tail) {
            if (::recv(fd_, nullptr, static_cast<std::size_t>(waiting - tail), MSG_TRUNC) <= 0) return false;
            held_.clear();
        }
        const ssize_t got = ::recv(fd_, buffer, sizeof buffer, 0);
        if (got < 0 && errno == EAGAIN) return true;
        if (got <= 0) return false;
        std::string_view bytes(buffer, static_cast<std::size_t>(got));
        std::string out;
        while (!bytes.empty() && open_) in_content_ ? content(bytes, out) : command(bytes, out);
        if (!out.empty()) say(out);
        return open_;
    }

private:
    void say(std::string_view text) { open_ = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()) && open_; }

    void command(std::string_view& bytes, std::string& out)
    {
        const auto stop = bytes.find('\n');
        held_.append(bytes.substr(0, stop));
        bytes.remove_prefix(stop == std::string_view::npos ? bytes.size() : stop + 1);
        if (stop == std::string_view::npos) return;
        const std::string_view line = held_;
        if (line.starts_with("EHLO") || line.starts_with("HELO")) out += ehlo;
        else if (line.starts_with("DATA")) out += go;
        else if (line.starts_with("QUIT")) out += bye;
        else out += ok;
        open_ = open_ && !line.starts_with("QUIT");
        in_content_ = line.starts_with("DATA");
        held_ = in_content_ ? "\r\n" : "";    // the end may follow at once
    }

    // held_: the last bytes of what came before, in which the end may have begun.
    void content(std::string_view& bytes, std::string& out)
    {
        const std::size_t before = held_.size();
        held_ += bytes.substr(0, end.size());
        std::size_t taken = std::string_view::npos;
        if (const auto at = held_.find(end); at != std::string::npos) taken = at + end.size() - before;
        else if (const void* found = ::memmem(bytes.data(), bytes.size(), end.data(), end.size()))
            taken = static_cast<std::size_t>(static_cast<const char*>(found) - bytes.data()) + end.size();
        if (taken == std::string_view::npos) {
            held_ = bytes.size() >= end.size() ? std::string(bytes.substr(bytes.size() - end.size() + 1)) : held_.substr(held_.size() - std::min(held_.size(), end.size() - 1));
            bytes = {};
            return;
        }
        bytes.remove_prefix(taken);
        held_.clear();
        in_content_ = false;
        out += ok;
    }

    int fd_;
    bool open_ = true, in_content_ = false;
    std::string held_;
};

}  // namespace

int main(int argc, char** argv)
{
    if (argc != 3) {
        std::fprintf(stderr, "usage: smtp_sink ADDRESS PORT\n");
        return 64;
    }
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = ::epoll_create1(0), on = 1;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(std::atoi(argv[2])));
    inet_pton(AF_INET, argv[1], &address.sin_addr);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(listener, 1000) != 0) {
        std::perror("smtp_sink");
        return 1;
    }
    const auto watch = [poll](int fd) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = fd;
        ::epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
    };
    watch(listener);
    watch(0);
    std::puts("ready");
    std::fflush(stdout);
    std::unordered_map<int, std::unique_ptr<Session>> sessions;
    for (;;) {
        epoll_event events[64];
        const int count = ::epoll_wait(poll, events, 64, -1);
        for (int i = 0; i < count; ++i) {
            const int fd = events[i].data.fd;
            if (fd == 0) return 0;
            if (fd != listener) {
                if (!sessions.at(fd)->on_bytes()) sessions.erase(fd);
                continue;
            }
            const int client = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
            if (client < 0) continue;
            setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            sessions.emplace(client, std::make_unique<Session>(client));
            watch(client);
        }
    }
}

// login_load: hands mails to a submission server, each over a connection of its own, and prints rate and acknowledgement times as smtp_load does.
// login_load CONNECTIONS MAILS SIZE USERS HOST PORT DOMAIN: STARTTLS with a full handshake, AUTH PLAIN of user0@… round robin with "secret", one
// mail from that user to him, QUIT behind its last line. It shares the cores with the server that it measures, and is made to cost little: one
// thread for all connections, the TLS of lean_tls.h, and as Postfix's own client does it sends the envelope in one group (RFC 2920).
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
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

using Clock = std::chrono::steady_clock;

struct Plan {
    int connections = 0, mails = 0, size = 0, users = 0;
    sockaddr_in server{};
    std::string domain, content; // with the dot, and QUIT behind it
} plan;

int watched = -1, next_mail = 0, failures = 0, busy = 0;
std::vector<double> acks;

// What the server has to answer next.
enum class Turn { greeting, ehlo, starttls, handshake, secure_ehlo, login, envelope, content, quit };

class Connection {
public:
    Connection() = default;
    Connection(const Connection&) = delete;
    ~Connection() { end(); }

    // The next mail, if there is one.
    void begin()
    {
        if (next_mail >= plan.mails) return;
        user_ = "user" + std::to_string(next_mail++ % plan.users);
        turn_ = Turn::greeting;
        replies_ = 0;
        input_.clear();
        ++busy;
        fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        const int on = 1;
        ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.ptr = this;
        if (::connect(fd_, reinterpret_cast<const sockaddr*>(&plan.server), sizeof plan.server) != 0 && errno != EINPROGRESS) return fail("connect");
        if (::epoll_ctl(watched, EPOLL_CTL_ADD, fd_, &event) != 0) fail("epoll_ctl");
    }

    void on_readable()
    {
        static char buffer[64 * 1024];
        const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) return fail("the server has closed");
        const std::string_view bytes(buffer, static_cast<std::size_t>(n));
        std::string out;
        if (turn_ < Turn::handshake) {
            input_.append(bytes);
        } else {
            if (!tls_.feed(bytes, input_, out)) return fail(tls_.error());
            if (turn_ == Turn::handshake && tls_.ready()) {
                turn_ = Turn::secure_ehlo;
                tls_.seal(ehlo, out); // in one packet with our Finished
            }
        }
        if (!answers(out)) return;
        if (!out.empty() && !send(out)) return fail("send");
    }

private:
    static constexpr std::string_view ehlo = "EHLO bench.example.net\r\n";

    void end()
    {
        if (fd_ < 0) return;
        ::close(std::exchange(fd_, -1));
        --busy;
    }
    void fail(const char* why)
    {
        std::fprintf(stderr, "turn %d: %s\n", static_cast<int>(turn_), why);
        ++failures;
        end();
        begin();
    }
    // Complete replies that are there. False: the connection is another one.
    bool answers(std::string& out)
    {
        std::size_t at = 0;
        for (std::size_t lf; fd_ >= 0 && (lf = input_.find('\n', at)) != std::string::npos; at = lf + 1) {
            const std::string_view line = std::string_view(input_).substr(at, lf - at);
            if (line.size() > 3 && line[3] == '-') continue;
            const char want = turn_ == Turn::envelope && replies_ == 2 ? '3' : '2';
            if (line.empty() || line[0] != want) return fail(std::string(line).c_str()), false;
            if (turn_ == Turn::quit) {
                end();
                begin();
                return false;
            }
            if (turn_ == Turn::envelope && ++replies_ < 3) continue;
            next(out);
        }
        input_.erase(0, at);
        return true;
    }
    void next(std::string& out)
    {
        switch (turn_) {
        case Turn::greeting: turn_ = Turn::ehlo; out += ehlo; return;
        case Turn::ehlo: turn_ = Turn::starttls; out += "STARTTLS\r\n"; return;
        case Turn::starttls: turn_ = Turn::handshake; return tls_.begin(out);
        case Turn::handshake: return;
        case Turn::secure_ehlo: turn_ = Turn::login; return tls_.seal(credentials(), out);
        case Turn::login: {
            turn_ = Turn::envelope;
            began_ = Clock::now();
            const std::string address = user_ + "@" + plan.domain;
            return tls_.seal("MAIL FROM:<" + address + ">\r\nRCPT TO:<" + address + ">\r\nDATA\r\n", out);
        }
        case Turn::envelope: turn_ = Turn::content; return tls_.seal(plan.content, out);
        case Turn::content: turn_ = Turn::quit; acks.push_back(std::chrono::duration<double>(Clock::now() - began_).count()); return;
        case Turn::quit: return;
        }
    }
    std::string credentials() const
    {
        const std::string secret = '\0' + user_ + '\0' + "secret";
        unsigned char coded[200];
        EVP_EncodeBlock(coded, reinterpret_cast<const unsigned char*>(secret.data()), static_cast<int>(secret.size()));
        return "AUTH PLAIN " + std::string(reinterpret_cast<char*>(coded)) + "\r\n";
    }
    bool send(std::string_view bytes)
    {
        while (!bytes.empty()) {
            const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n < 0 && errno == EAGAIN) { // a server that reads no further; the others wait with us
                pollfd room{fd_, POLLOUT, 0};
                ::poll(&room, 1, -1);
                continue;
            }
            if (n <= 0) return false;
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
        return true;
    }

    int fd_ = -1;
    Turn turn_ = Turn::greeting;
    int replies_ = 0; // to the group of the envelope
    std::string user_, input_;
    lean::Client tls_;
    Clock::time_point began_;
};

void make_content()
{
    plan.content = "Subject: bench\r\nFrom: <bench@example.net>\r\nTo: <list@example.org>\r\n\r\n";
    while (static_cast<int>(plan.content.size()) < plan.size) plan.content += "The quick brown fox jumps over the lazy dog, and then some more of it.\r\n";
    plan.content += ".\r\nQUIT\r\n";
}

} // namespace

int main(int argc, char** argv)
{
    if (argc != 8) {
        std::fprintf(stderr, "usage: login_load CONNECTIONS MAILS SIZE USERS HOST PORT DOMAIN\n");
        return 64;
    }
    plan.connections = std::atoi(argv[1]);
    plan.mails = std::atoi(argv[2]);
    plan.size = std::atoi(argv[3]);
    plan.users = std::atoi(argv[4]);
    plan.server.sin_family = AF_INET;
    inet_pton(AF_INET, argv[5], &plan.server.sin_addr);
    plan.server.sin_port = htons(static_cast<uint16_t>(std::atoi(argv[6])));
    plan.domain = argv[7];
    make_content();
    watched = ::epoll_create1(EPOLL_CLOEXEC);
    const auto begin = Clock::now();
    std::vector<std::unique_ptr<Connection>> connections;
    for (int i = 0; i < plan.connections; ++i) connections.push_back(std::make_unique<Connection>());
    for (auto& c : connections) c->begin();
    while (busy > 0) {
        epoll_event events[64];
        const int n = ::epoll_wait(watched, events, 64, -1);
        for (int i = 0; i < n; ++i) static_cast<Connection*>(events[i].data.ptr)->on_readable();
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    std::sort(acks.begin(), acks.end());
    std::printf("seconds %.3f failures %d ack_p50_ms %.2f ack_p95_ms %.2f\n", seconds, failures, acks.empty() ? 0 : acks[acks.size() / 2] * 1e3,
                acks.empty() ? 0 : acks[acks.size() * 95 / 100] * 1e3);
    return failures ? 1 : 0;
}

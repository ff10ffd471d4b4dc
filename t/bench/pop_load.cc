// POP3 clients for make bench.  pop_load poll|fetch|hold THREADS SESSIONS USERS PORT [tls]: user0, user1, ... log in
// with "secret". poll: STAT, QUIT; fetch: UIDL, RETR of all, QUIT; hold: all are logged in at once, until stdin ends.
// tls: from the first byte, with a full handshake of each session by lean_tls.h, whose client costs little of the cores
// that it shares with the server.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "lean_tls.h"

namespace {

[[noreturn]] void die(const std::string& what)
{
    std::fprintf(stderr, "pop_load: %s\n", what.c_str());
    std::exit(1);
}

class Client {
public:
    Client(int port, bool tls) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))
    {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(static_cast<uint16_t>(port));
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) < 0)
            die(std::string("connect: ") + std::strerror(errno));
        if (!tls) return;
        std::string hello;
        tls_.emplace().begin(hello); // receive() does the rest, before the greeting
        send(hello);
    }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() { ::close(fd_); }
    void log_in(const std::string& user)
    {
        expect_line();
        ask("USER " + user);
        ask("PASS secret");
    }
    std::string ask(const std::string& command)
    {
        std::string line = command + "\r\n";
        if (tls_) {
            const std::string plain = std::exchange(line, {});
            tls_->seal(plain, line);
        }
        send(line);
        return expect_line();
    }
    std::size_t skip_lines() // up to the one with a dot alone
    {
        std::size_t count = 0;
        while (line() != ".") ++count;
        return count;
    }
    void skip_message() // the same without a look at each line: what the client spends is time of the server's, too
    {
        static constexpr std::string_view end = "\r\n.\r\n";
        std::size_t from = at_ - 2; // the end of the status line
        std::size_t found = 0;
        while ((found = buffer_.find(end, from)) == std::string::npos) {
            from = std::max(from, buffer_.size() < end.size() ? 0 : buffer_.size() - end.size() + 1);
            receive();
        }
        at_ = found + end.size();
    }

private:
    std::string expect_line()
    {
        std::string text = line();
        if (!text.starts_with("+OK")) die("the server says: " + text);
        return text;
    }
    std::string line()
    {
        for (;;) {
            const std::size_t end = buffer_.find('\n', at_);
            if (end != std::string::npos) {
                std::string out = buffer_.substr(at_, end - at_);
                at_ = end + 1;
                if (out.ends_with('\r')) out.pop_back();
                return out;
            }
            buffer_.erase(0, at_);
            at_ = 0;
            receive();
        }
    }
    void send(std::string_view bytes)
    {
        if (::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size()))
            die(std::string("send: ") + std::strerror(errno));
    }
    void receive() // what is there; under TLS it may have no content
    {
        char piece[65536];
        const ssize_t got = ::recv(fd_, piece, sizeof piece, 0);
        if (got <= 0) die("the server closed the connection");
        const std::string_view bytes(piece, static_cast<std::size_t>(got));
        if (!tls_) {
            buffer_.append(bytes);
            return;
        }
        std::string answer;
        if (!tls_->feed(bytes, buffer_, answer)) die(std::string("TLS: ") + tls_->error());
        if (!answer.empty()) send(answer);
    }
    int fd_;
    std::optional<lean::Client> tls_;
    std::string buffer_;
    std::size_t at_ = 0;
};

struct Work {
    std::string mode;
    int sessions, users, port;
    bool tls;
    std::atomic<int> next{0};
    std::atomic<long> mails{0};
    std::mutex lock;
    std::vector<std::unique_ptr<Client>> held;

    void run()
    {
        for (int n; (n = next++) < sessions;) {
            auto client = std::make_unique<Client>(port, tls);
            client->log_in("user" + std::to_string(n % users));
            if (mode == "hold") {
                const std::lock_guard guard(lock);
                held.push_back(std::move(client));
                continue;
            }
            if (mode == "fetch")
                fetch(*client);
            else
                client->ask("STAT");
            client->ask("QUIT");
        }
    }
    void fetch(Client& client)
    {
        client.ask("UIDL");
        const std::size_t count = client.skip_lines();
        for (std::size_t i = 1; i <= count; ++i) {
            client.ask("RETR " + std::to_string(i));
            client.skip_message();
        }
        mails += static_cast<long>(count);
    }
};

} // namespace

int main(int argc, char** argv)
{
    if (argc < 6) die("usage: pop_load poll|fetch|hold THREADS SESSIONS USERS PORT [tls]");
    Work work{argv[1], std::atoi(argv[3]), std::atoi(argv[4]), std::atoi(argv[5]), argc > 6, {}, {}, {}, {}};
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> threads;
    for (int i = 0; i < std::atoi(argv[2]); ++i) threads.emplace_back([&] { work.run(); });
    for (auto& thread : threads) thread.join();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    std::printf("seconds %.4f sessions %d mails %ld\n", took.count(), work.sessions, work.mails.load());
    std::fflush(stdout);
    char end;
    if (work.mode == "hold" && ::read(0, &end, 1) < 0) return 1;
}

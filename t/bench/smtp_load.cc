// smtp_load: hands mails to an SMTP server over parallel connections and prints rate and acknowledgement times.
// smtp_load CONNECTIONS MAILS PER_SESSION SIZE USERS HOST PORT [DOMAIN [lmtp | DOMAINSxRECIPIENTS]]: recipients user0@DOMAIN … round robin;
// a # in DOMAIN counts from 0 to DOMAINS - 1 (99), from mail to mail and among the RECIPIENTS of one. lmtp: the server speaks LMTP (RFC 2033).
// As Postfix's own client does, it sends the envelope in one group to who announces PIPELINING, and QUIT with the end of the last content
// (RFC 2920), so that it costs little itself.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Plan {
    int connections, mails, per_session, size, users;
    std::string host, domain;
    int port;
    int domains = 100, recipients = 1;
    bool lmtp = false;
    std::string content{};  // with the dot, and QUIT behind it
} plan;

constexpr std::string_view quit_line = "QUIT\r\n";

std::atomic<int> next_mail{0}, failures{0};
std::mutex mutex;
std::vector<double> acks;

class Session {
public:
    Session() = default;
    Session(const Session&) = delete;
    bool open()
    {
        fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in a{};
        a.sin_family = AF_INET;
        a.sin_port = htons(static_cast<uint16_t>(plan.port));
        inet_pton(AF_INET, plan.host.c_str(), &a.sin_addr);
        const int on = 1;
        setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        return ::connect(fd_, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0 && answer('2') &&
               say(plan.lmtp ? "LHLO bench.example.net\r\n" : "EHLO bench.example.net\r\n", '2');
    }
    ~Session()
    {
        if (fd_ >= 0) ::close(fd_);
    }
    bool say(std::string_view bytes, char want) { return put(bytes) && answer(want); }
    // One mail; `last`: QUIT comes with it. True: it was taken.
    bool mail(const std::string& from, const std::vector<std::string>& recipients, bool last)
    {
        if (pipelining_) {
            std::string group = from;
            for (const std::string& r : recipients) group += r;
            if (!put(group + "DATA\r\n")) return false;
            for (std::size_t i = 0; i <= recipients.size(); ++i)
                if (!answer('2')) return false;
            if (!answer('3')) return false;
        } else {
            if (!say(from, '2')) return false;
            for (const std::string& r : recipients)
                if (!say(r, '2')) return false;
            if (!say("DATA\r\n", '3')) return false;
        }
        quit_ = last && pipelining_;
        const std::string_view all = plan.content;
        return put(quit_ ? all : all.substr(0, all.size() - quit_line.size())) && answer('2');
    }
    void quit() { (quit_ || put(quit_line)) && answer('2'); }

private:
    bool put(std::string_view bytes)
    {
        std::size_t done = 0;
        while (done < bytes.size()) {
            const ssize_t n = ::send(fd_, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
            if (n <= 0) return false;
            done += static_cast<std::size_t>(n);
        }
        return true;
    }
    bool answer(char want)
    {
        for (;;) {
            const auto end = input_.find('\n');
            if (end == std::string::npos) {
                char buffer[4096];
                const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
                if (n <= 0) return false;
                input_.append(buffer, static_cast<std::size_t>(n));
                continue;
            }
            const std::string line = input_.substr(0, end);
            input_.erase(0, end + 1);
            pipelining_ = pipelining_ || line.find("PIPELINING") != std::string::npos;
            if (line.size() > 3 && line[3] == '-') continue;
            if (line.empty() || line[0] != want) std::fprintf(stderr, "unexpected: %s\n", line.c_str());
            return !line.empty() && line[0] == want;
        }
    }
    int fd_ = -1;
    bool pipelining_ = false, quit_ = false;
    std::string input_;
};

std::string recipient(int mail, int which)
{
    std::string domain = plan.domain;
    if (const auto at = domain.find('#'); at != std::string::npos) domain.replace(at, 1, std::to_string((mail * plan.recipients + which) % plan.domains));
    return "RCPT TO:<user" + std::to_string(mail % plan.users) + "@" + domain + ">\r\n";
}

void make_content()
{
    plan.content.reserve(static_cast<std::size_t>(plan.size) + 300);
    plan.content = "Subject: bench\r\nFrom: <bench@example.net>\r\nTo: <list@example.org>\r\n\r\n";
    while (static_cast<int>(plan.content.size()) < plan.size) plan.content += "The quick brown fox jumps over the lazy dog, and then some more of it.\r\n";
    plan.content.append(".\r\n").append(quit_line);
}

void work()
{
    std::vector<double> mine;
    for (bool more = true; more;) {
        Session s;
        bool good = false;
        for (int i = 0; i < plan.per_session; ++i) {
            const int n = next_mail++;
            if (n >= plan.mails) {
                more = false;
                break;
            }
            if (!good && !(good = s.open())) ++failures;
            const auto begin = Clock::now();
            if (good) {
                std::vector<std::string> recipients;
                for (int r = 0; r < plan.recipients; ++r) recipients.push_back(recipient(n, r));
                good = s.mail("MAIL FROM:<bench@example.net>\r\n", recipients, i + 1 == plan.per_session);
                if (!good) ++failures;
            }
            mine.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
            if (!good) break;
        }
        if (good) s.quit();
    }
    const std::lock_guard lock(mutex);
    acks.insert(acks.end(), mine.begin(), mine.end());
}

}  // namespace

int main(int argc, char** argv)
{
    if (argc < 8) {
        std::fprintf(stderr, "usage: smtp_load CONNECTIONS MAILS PER_SESSION SIZE USERS HOST PORT [DOMAIN [lmtp | DOMAINSxRECIPIENTS]]\n");
        return 64;
    }
    plan = {std::atoi(argv[1]), std::atoi(argv[2]), std::atoi(argv[3]), std::atoi(argv[4]), std::atoi(argv[5]), argv[6],
            argc > 8 ? argv[8] : "example.org", std::atoi(argv[7])};
    plan.lmtp = argc > 9 && std::string(argv[9]) == "lmtp";
    if (argc > 9 && !plan.lmtp && std::sscanf(argv[9], "%dx%d", &plan.domains, &plan.recipients) != 2) return 64;
    make_content();
    const auto begin = Clock::now();
    std::vector<std::thread> threads;
    for (int i = 0; i < plan.connections; ++i) threads.emplace_back(work);
    for (auto& t : threads) t.join();
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    std::sort(acks.begin(), acks.end());
    std::printf("seconds %.3f failures %d ack_p50_ms %.2f ack_p95_ms %.2f\n", seconds, failures.load(),
                acks.empty() ? 0 : acks[acks.size() / 2] * 1e3, acks.empty() ? 0 : acks[acks.size() * 95 / 100] * 1e3);
    return failures ? 1 : 0;
}

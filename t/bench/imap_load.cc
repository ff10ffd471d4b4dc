// IMAP clients for make bench; users user0, user1, ... with the password "secret". imap_load MODE PORT ...
//   fill FOLDER COUNT UID SEED         makes a Maildir with mails, the same ones for the same SEED; no server
//   talk PORT USER                     a command a line on stdin, \\r and \\n for those; answers "SECONDS BYTES"
//   logins PORT THREADS COUNT USERS    LOGIN, LOGOUT
//   idle PORT THREADS COUNT USERS      logged in at once, INBOX selected, IDLE; until stdin ends
//   append PORT THREADS COUNT USERS    each thread a session that appends to INBOX
//   mixed PORT THREADS ROUNDS          each thread a user, and ROUNDS sessions as programs make them, in INBOX, Sent
//   and Archive
#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void die(const std::string& what)
{
    std::fprintf(stderr, "imap_load: %s\n", what.c_str());
    std::_Exit(1);
}

std::string number(uint64_t n)
{
    return std::to_string(n);
}

double since(Clock::time_point begin)
{
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

// --- mails

struct Random {
    uint64_t state;
    uint64_t next(uint64_t below)
    {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        return (state >> 11) % below;
    }
};

constexpr const char* words[] = {"meeting", "report",   "invoice",  "project",  "the",     "a",
                                 "of",      "customer", "delivery", "and",      "with",    "please",
                                 "answer",  "until",    "Friday",   "attached", "version", "budget",
                                 "we",      "will",     "discuss",  "figures",  "quarter", "team"};

std::string text(Random& random, std::size_t size, const char* eol)
{
    std::string out;
    for (std::size_t line = 0; out.size() < size;) {
        const std::string word = words[random.next(std::size(words))];
        out += word;
        line += word.size() + 1;
        if (line > 64)
            out += eol, line = 0;
        else
            out += ' ';
    }
    return out += eol;
}

std::string message_id(uint64_t seed, uint64_t n)
{
    return "<" + number(n) + "." + number(seed) + ".bench@mail.example.net>";
}

// Plain text, quoted-printable, or text with an attachment; every fifth begins a thread, the others answer it.
std::string mail(uint64_t seed, uint64_t n, const char* eol)
{
    Random random{(seed + 1) * 0x9e3779b97f4a7c15u + n * 0xbf58476d1ce4e5b9u + 1};
    for (int i = 0; i < 8; ++i) random.next(2);
    const auto field = [&](const std::string& s) { return s + eol; };
    const uint64_t first = n - n % 5, who = random.next(40);
    std::string out = field("Return-Path: <sender" + number(who) + "@example.net>");
    out += field("Received: from relay.example.net (relay.example.net [192.0.2." + number(random.next(250)) + "])") +
           field("\tby mail.example.org (Postfix) with ESMTPS id " + number(1000000 + random.next(9000000))) +
           field("\tfor <user0@example.org>; Tue, 14 Nov 2023 22:13:20 +0000");
    char date[64];
    std::snprintf(date, sizeof date, "Date: %u Nov 2023 %02u:%02u:%02u +0100", unsigned(1 + random.next(28)),
                  unsigned(random.next(24)), unsigned(random.next(60)), unsigned(random.next(60)));
    out += field(date) + field("From: Sender Number " + number(who) + " <sender" + number(who) + "@example.net>") +
           field("To: \"User, Zero\" <user0@example.org>, colleague" + number(random.next(9)) + "@example.org") +
           field("Cc: team@example.org");
    Random subject{first * 77 + seed + 5};
    for (int i = 0; i < 8; ++i) subject.next(2);
    out += field(std::string("Subject: ") + (n == first ? "" : "Re: ") + words[subject.next(std::size(words))] + " " +
                 words[subject.next(std::size(words))] + " " + number(first));
    out += field("Message-ID: " + message_id(seed, n));
    if (n != first)
        out += field("In-Reply-To: " + message_id(seed, n - 1)) +
               field("References: " + message_id(seed, first) + eol + "\t" + message_id(seed, n - 1));
    out += field("User-Agent: Bench/1.0") + field("MIME-Version: 1.0");
    const std::string body = text(random, 800 + random.next(2400), eol) +
                             (random.next(100) ? "" : std::string("a zanzibar, rarely seen") + eol);
    const uint64_t kind = random.next(5);
    if (kind == 0)
        return out + field("Content-Type: text/plain; charset=utf-8") +
               field("Content-Transfer-Encoding: quoted-printable") + eol + "Gr=C3=BC=C3=9Fe" + eol + body;
    if (kind != 1) return out + field("Content-Type: text/plain; charset=us-ascii") + eol + body;
    out += field("Content-Type: multipart/mixed; boundary=\"=_bench\"") + eol + field("--=_bench") +
           field("Content-Type: text/plain; charset=utf-8") + eol + body + field("--=_bench") +
           field("Content-Type: application/pdf; name=\"report.pdf\"") + field("Content-Transfer-Encoding: base64") +
           field("Content-Disposition: attachment; filename=\"report.pdf\"") + eol;
    for (uint64_t i = 0, lines = 10 + random.next(30); i < lines; ++i) {
        for (int j = 0; j < 76; ++j) out += static_cast<char>('A' + random.next(26));
        out += eol;
    }
    return out + field("--=_bench--");
}

void fill(const std::string& folder, uint64_t count, uid_t uid, uint64_t seed)
{
    for (const char* d : {"", "/cur", "/new", "/tmp"}) {
        const std::string path = folder + d;
        if ((::mkdir(path.c_str(), 0700) < 0 && errno != EEXIST) || ::chown(path.c_str(), uid, uid) < 0)
            die(path + ": " + std::strerror(errno));
    }
    const int dir = ::open((folder + "/cur").c_str(), O_RDONLY | O_DIRECTORY);
    for (uint64_t n = 0; n < count; ++n) {
        const std::string bytes = mail(seed, n, "\n"),
                          name = number(1700000000 + n) + ".M" + number(n) + "P1.bench:2," + (n % 3 ? "S" : "");
        const int fd = ::openat(dir, name.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600);
        const timespec at{static_cast<time_t>(1700000000 + n * 60), 0}, times[2] = {at, at};
        if (fd < 0 || ::write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()) ||
            ::fchown(fd, uid, uid) < 0 || ::futimens(fd, times) < 0)
            die(folder + "/cur/" + name + ": " + std::strerror(errno));
        ::close(fd);
    }
    ::close(dir);
}

// --- a client

class Client {
public:
    explicit Client(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), piece_(256 * 1024, '\0')
    {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(static_cast<uint16_t>(port));
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const int on = 1;
        ::setsockopt(fd_, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
        if (::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) < 0)
            die(std::string("connect: ") + std::strerror(errno));
        await("* OK", false);
    }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() { ::close(fd_); }
    void log_in(uint64_t user) { ask("LOGIN user" + number(user) + " secret"); }
    // Bytes of the whole answer.
    uint64_t ask(const std::string& command)
    {
        const std::string tag = "bq" + number(++commands_);
        send(tag + " " + command + "\r\n");
        return await(tag + " OK", true);
    }
    void idle()
    {
        send("bqi IDLE\r\n");
        await("+ ", false);
    }
    const std::string& last() const { return tail_; } // at most 8 KB of the answer
    void free_buffer() { std::string().swap(piece_); }

private:
    void send(std::string_view bytes)
    {
        while (!bytes.empty()) {
            const auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent <= 0) die("the server closed the connection");
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
    }
    // Only the last line is looked at, so that this costs nothing.
    uint64_t await(std::string_view wanted, bool whole_tag)
    {
        if (piece_.empty()) piece_.resize(4096);
        uint64_t total = 0;
        tail_.clear();
        for (;;) {
            const auto got = ::recv(fd_, piece_.data(), piece_.size(), 0);
            if (got <= 0) die("the server closed the connection; last: " + tail_);
            total += static_cast<uint64_t>(got);
            const auto much = static_cast<std::size_t>(got);
            const std::size_t keep = std::min<std::size_t>(much, 8192);
            tail_.append(piece_, much - keep, keep);
            if (tail_.size() > 16384) tail_.erase(0, tail_.size() - 8192);
            if (!tail_.ends_with("\r\n")) continue;
            const std::size_t before = tail_.rfind("\r\n", tail_.size() - 3);
            const std::string_view line = std::string_view(tail_).substr(before == std::string::npos ? 0 : before + 2);
            if (line.starts_with(wanted)) return total;
            if (whole_tag && line.starts_with(wanted.substr(0, wanted.find(' ') + 1)))
                die("the server says: " + std::string(line));
            if (line.starts_with("* BYE")) die("the server says: " + std::string(line));
        }
    }
    int fd_;
    uint64_t commands_ = 0;
    std::string piece_, tail_;
};

void talk(int port, uint64_t user)
{
    Client client(port);
    client.log_in(user);
    std::printf("ready\n");
    std::fflush(stdout);
    for (std::string line; std::getline(std::cin, line);) {
        for (const auto& [written, meant] : {std::pair{"\\r", "\r"}, std::pair{"\\n", "\n"}})
            for (std::size_t i; (i = line.find(written)) != std::string::npos;) line.replace(i, 2, meant);
        const auto begin = Clock::now();
        const uint64_t bytes = client.ask(line);
        std::printf("%.6f %llu\n", since(begin), static_cast<unsigned long long>(bytes));
        std::fflush(stdout);
    }
}

template <class Run> double in_threads(int count, Run run)
{
    const auto begin = Clock::now();
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) threads.emplace_back([&run, i] { run(i); });
    for (auto& thread : threads) thread.join();
    return since(begin);
}

double logins(int port, int threads, int count, int users)
{
    std::atomic<int> next{0};
    return in_threads(threads, [&](int) {
        for (int n; (n = next++) < count;) {
            Client client(port);
            client.log_in(static_cast<uint64_t>(n % users));
            client.ask("LOGOUT");
        }
    });
}

double idle(int port, int threads, int count, int users)
{
    static std::vector<std::unique_ptr<Client>> held;
    std::mutex lock;
    std::atomic<int> next{0};
    return in_threads(threads, [&](int) {
        for (int n; (n = next++) < count;) {
            auto client = std::make_unique<Client>(port);
            client->log_in(static_cast<uint64_t>(n % users));
            client->ask("SELECT INBOX");
            client->idle();
            client->free_buffer();
            const std::lock_guard guard(lock);
            held.push_back(std::move(client));
        }
    });
}

std::string append_command(const std::string& folder, uint64_t seed, uint64_t n)
{
    const std::string bytes = mail(seed, n, "\r\n");
    return "APPEND " + folder + " (\\Seen) {" + number(bytes.size()) + "+}\r\n" + bytes;
}

// The logins are not measured.
double append(int port, int threads, int count, int users)
{
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < threads; ++i) {
        clients.push_back(std::make_unique<Client>(port));
        clients.back()->log_in(static_cast<uint64_t>(i % users));
        clients.back()->ask(append_command("INBOX", 7, static_cast<uint64_t>(i)));
    }
    std::atomic<int> next{0};
    return in_threads(threads, [&](int i) {
        for (int n; (n = next++) < count;)
            clients[static_cast<std::size_t>(i)]->ask(append_command("INBOX", 8, static_cast<uint64_t>(n)));
    });
}

// What a telephone, a desktop program and a script ask for.
void session(int port, uint64_t user, uint64_t round)
{
    Client c(port);
    c.log_in(user);
    c.ask("LIST \"\" *");
    c.ask("STATUS INBOX (MESSAGES UNSEEN UIDNEXT)");
    c.ask("SELECT INBOX");
    c.ask("UID FETCH 1:* (FLAGS)");
    c.ask("UID FETCH " + number(1 + round * 50 % 150) + ":" + number(50 + round * 50 % 150) +
          " (INTERNALDATE RFC822.SIZE FLAGS ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (FROM TO CC SUBJECT DATE "
          "MESSAGE-ID REFERENCES)])");
    for (uint64_t i = 0; i < 5; ++i) c.ask("UID FETCH " + number(1 + (round * 5 + i) % 200) + " (BODY.PEEK[])");
    for (uint64_t i = 0; i < 3; ++i)
        c.ask("UID STORE " + number(1 + (round * 3 + i) % 200) + (round % 2 ? " -" : " +") + "FLAGS (\\Flagged)");
    c.ask("UID SEARCH SUBJECT report SINCE 1-Jan-2023");
    c.ask("UID SEARCH UNSEEN");
    c.ask(append_command("Sent", user, 1000 + round));
    c.ask("UID COPY 1:3 Archive");
    c.ask("NOOP");
    c.ask("LOGOUT");
}

double mixed(int port, int threads, int rounds)
{
    return in_threads(threads, [&](int i) {
        for (int n = 0; n < rounds; ++n) session(port, static_cast<uint64_t>(i), static_cast<uint64_t>(n));
    });
}

} // namespace

int main(int argc, char** argv)
{
    const std::vector<std::string> args(argv + 1, argv + argc);
    const auto at = [&](std::size_t i) { return i < args.size() ? std::atoi(args[i].c_str()) : 0; };
    const std::string mode = args.empty() ? "" : args[0];
    if (mode == "fill" && args.size() == 5) {
        fill(args[1], static_cast<uint64_t>(at(2)), static_cast<uid_t>(at(3)), static_cast<uint64_t>(at(4)));
        return 0;
    }
    if (mode == "talk" && args.size() == 3) {
        talk(at(1), static_cast<uint64_t>(at(2)));
        return 0;
    }
    double seconds = 0;
    if (mode == "logins")
        seconds = logins(at(1), at(2), at(3), at(4));
    else if (mode == "idle")
        seconds = idle(at(1), at(2), at(3), at(4));
    else if (mode == "append")
        seconds = append(at(1), at(2), at(3), at(4));
    else if (mode == "mixed")
        seconds = mixed(at(1), at(2), at(3));
    else
        die("usage: imap_load fill|talk|logins|idle|append|mixed ...");
    std::printf("seconds %.4f\n", seconds);
    std::fflush(stdout);
    char end;
    if (mode == "idle" && ::read(0, &end, 1) < 0) return 1;
}

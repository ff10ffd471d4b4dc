// lib/net: addresses, networks, listening, streams, connecting.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/net/stream.h"

using namespace veredus;
using namespace std::chrono_literals;

namespace {

void turn_until(Loop& loop, const std::function<bool()>& condition)
{
    for (int i = 0; i < 3000 && !condition(); ++i) loop.run_once(10ms);
    REQUIRE(condition());
}

struct Sink : net::StreamUser {
    std::string got, why;
    int ends = 0, drained = 0, secured = 0;
    net::End end{};
    std::function<void(std::string_view)> also;
    void on_data(std::string_view bytes) override
    {
        got.append(bytes);
        if (also) also(bytes);
    }
    void on_end(net::End e, const std::string& w) override { end = e, why = w, ++ends; }
    void on_drained() override { ++drained; }
    void on_secure() override { ++secured; }
};

}  // namespace

TEST_CASE("addresses are parsed and printed in each form", "[net][rfc5321-4.1.3]")
{
    CHECK(net::Address::parse_ip("192.0.2.7", 25)->text() == "192.0.2.7:25");
    CHECK(net::Address::parse_ip("192.0.2.7", 25)->literal() == "[192.0.2.7]");
    CHECK(net::Address::parse_ip("2001:db8::1", 25)->text() == "[2001:db8::1]:25");
    CHECK(net::Address::parse_ip("2001:db8::1", 25)->literal() == "[IPv6:2001:db8::1]");
    for (const char* bad : {"", "192.0.2", "192.0.2.256", "[192.0.2.1]", "::g", "1.2.3.4 ", "x"}) CHECK_FALSE(net::Address::parse_ip(bad, 0));
    CHECK(net::Address::parse_ip("127.9.9.9", 0)->loopback());
    CHECK(net::Address::parse_ip("::1", 0)->loopback());
    CHECK(net::Address::unix_path("/run/x").text() == "unix:/run/x");
}

TEST_CASE("networks hold what they should", "[net]")
{
    const struct {
        const char* network;
        const char* address;
        bool inside;
    } cases[] = {
        {"192.0.2.0/24", "192.0.2.255", true}, {"192.0.2.0/24", "192.0.3.0", false}, {"0.0.0.0/0", "8.8.8.8", true},
        {"0.0.0.0/0", "::1", false}, {"[2001:db8::]/32", "2001:db8:ffff::1", true}, {"2001:db8::/32", "2001:db9::", false},
        {"[::1]/128", "::1", true}, {"127.0.0.1", "127.0.0.1", true}, {"127.0.0.1", "127.0.0.2", false},
        {"[::ffff:127.0.0.0]/104", "127.1.2.3", true}, {"10.1.2.128/25", "10.1.2.200", true}, {"10.1.2.128/25", "10.1.2.100", false},
    };
    for (const auto& c : cases) {
        CAPTURE(c.network, c.address);
        auto n = net::Network::parse(c.network);
        REQUIRE(n);
        CHECK(n->contains(*net::Address::parse_ip(c.address, 0)) == c.inside);
    }
    for (const char* bad : {"192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/", "[::1/128", "x/8", ""}) CHECK_FALSE(net::Network::parse(bad));
    CHECK(net::Network::parse("10.0.0.1")->single());
    CHECK_FALSE(net::Network::parse("10.0.0.0/8")->single());
}

TEST_CASE("a port in use is said with its holder", "[net]")
{
    auto first = net::listen_on(*net::Address::parse_ip("127.0.0.1", 0), 5);
    REQUIRE(first);
    const auto where = net::Address::local_of(first->get());
    auto second = net::listen_on(*where, 5);
    REQUIRE_FALSE(second);
    CHECK(second.error().code == EADDRINUSE);
    CHECK(second.error().text.find(cat("pid ", getpid())) != std::string::npos);
}

TEST_CASE("connect, accept, talk both ways, close", "[net]")
{
    auto loop = Loop::create();
    auto listener = net::listen_on(*net::Address::parse_ip("127.0.0.1", 0), 5);
    const auto where = net::Address::local_of(listener->get());
    Fd server_fd, client_fd;
    net::Acceptor acceptor(**loop, std::move(*listener), [&](Fd fd, net::Address peer) {
        CHECK(peer.loopback());
        server_fd = std::move(fd);
    });
    net::Connector connector(**loop, *where, nullptr, 5s, [&](Result<Fd> fd) {
        REQUIRE(fd);
        client_fd = std::move(*fd);
    });
    turn_until(**loop, [&] { return server_fd && client_fd; });
    Sink a, b;
    net::Stream server(**loop, std::move(server_fd), a), client(**loop, std::move(client_fd), b);
    client.write("ping");
    a.also = [&](std::string_view) { server.write("pong"), server.close_after_flush(); };
    turn_until(**loop, [&] { return b.ends == 1 && a.ends == 1; });
    CHECK(a.got == "ping");
    CHECK(b.got == "pong");
    CHECK(b.end == net::End::eof);
}

TEST_CASE("a refused connection says so, and a destroyed connector says nothing", "[net]")
{
    auto loop = Loop::create();
    net::Address where;
    {
        auto listener = net::listen_on(*net::Address::parse_ip("127.0.0.1", 0), 1);
        where = *net::Address::local_of(listener->get());
    }
    int refused = 0, never = 0;
    net::Connector one(**loop, where, nullptr, 5s, [&](Result<Fd> fd) { refused += !fd && fd.error().code == ECONNREFUSED; });
    { net::Connector two(**loop, where, nullptr, 5s, [&](Result<Fd>) { ++never; }); }
    turn_until(**loop, [&] { return refused == 1; });
    CHECK(never == 0);
}

TEST_CASE("a file extent goes between written bytes, larger than the socket", "[net]")
{
    auto loop = Loop::create();
    auto pair = socket_pair(SOCK_STREAM);
    Sink a, b;
    net::Stream left(**loop, std::move(pair->first), a), right(**loop, std::move(pair->second), b);
    const std::string content = random_bytes(3'000'000);
    auto file = sealed_memfd("content", content);
    left.write("head ");
    left.send_file(file->get(), 10, content.size() - 10);
    left.write(" tail");
    file->reset();
    CHECK(left.pending() > 0);
    turn_until(**loop, [&] { return b.got.size() == content.size(); });
    CHECK(b.got == cat("head ", std::string_view(content).substr(10), " tail"));
    turn_until(**loop, [&] { return a.drained > 0 && left.pending() == 0; });
}

namespace {
// Whether this kernel can encrypt for us: its answer to who asks for a connection. Elsewhere it refuses, which must change nothing.
bool kernel_has_tls()
{
    auto listener = net::listen_on(*net::Address::parse_ip("127.0.0.1", 0), 5);
    const auto where = net::Address::local_of(listener->get());
    const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::connect(fd.get(), where->raw(), where->raw_size()) == 0);
    if (::setsockopt(fd.get(), IPPROTO_TCP, TCP_ULP, "tls", 3) != 0) return false;
    tls12_crypto_info_aes_gcm_256 keys{};    // the cipher that two of ours agree on, which is a module of its own
    keys.info.version = TLS_1_3_VERSION;
    keys.info.cipher_type = TLS_CIPHER_AES_GCM_256;
    return ::setsockopt(fd.get(), 282 /* SOL_TLS */, TLS_TX, &keys, sizeof keys) == 0;
}
}  // namespace

TEST_CASE("a file extent under TLS is whole, whether the kernel could encrypt it or not", "[net][tls][ktls]")
{
    const auto pems = tls::make_self_signed("mail.example.org");
    REQUIRE(pems);
    const std::string content = random_bytes(3'000'000);
    for (const bool kernel : {false, true}) {
        auto loop = Loop::create();
        auto keys = tls::ServerKeys{{{"own", cat(pems->key, pems->certificate), false}}, {}, false, {}, kernel};
        const auto server = tls::ServerContext::create();
        REQUIRE(server->use(keys));
        tls::ClientContext::Files files;
        files.kernel = kernel;
        const auto client = *tls::ClientContext::create(files);
        auto listener = net::listen_on(*net::Address::parse_ip("127.0.0.1", 0), 5);      // kTLS wants TCP
        const auto where = net::Address::local_of(listener->get());
        Fd fds[2];
        net::Acceptor acceptor(**loop, std::move(*listener), [&](Fd fd, net::Address) { fds[0] = std::move(fd); });
        net::Connector connector(**loop, *where, nullptr, 5s, [&](Result<Fd> fd) { fds[1] = std::move(*fd); });
        turn_until(**loop, [&] { return fds[0] && fds[1]; });
        Sink a, b;
        net::Stream left(**loop, std::move(fds[0]), a), right(**loop, std::move(fds[1]), b);
        REQUIRE(left.start_tls_server(*server));
        REQUIRE(right.start_tls_client(*client, "mail.example.org", ""));
        turn_until(**loop, [&] { return a.secured && b.secured; });
        auto file = sealed_memfd("content", content);
        left.write("head ");
        left.send_file(file->get(), 10, content.size() - 10);
        left.write(" tail");
        file->reset();
        turn_until(**loop, [&] { return b.got.size() == content.size(); });
        CHECK((b.got == cat("head ", std::string_view(content).substr(10), " tail")));
        CHECK(left.pending() == 0);
        CHECK(left.tls()->sends_files() == (kernel && kernel_has_tls()));
    }
}

TEST_CASE("many small TLS records that came at once are all read, also after a pause", "[net][tls]")
{
    const auto pems = tls::make_self_signed("mail.example.org");
    REQUIRE(pems);
    const auto context = tls::ServerContext::create();
    REQUIRE(context->use({{{"own", cat(pems->key, pems->certificate), false}}, {}, false, {}}));
    const auto client = *tls::ClientContext::create(tls::ClientContext::Files());
    for (const bool pause : {false, true}) {
        auto loop = Loop::create();
        auto pair = socket_pair(SOCK_STREAM);
        REQUIRE(set_nonblocking(pair->second.get(), true));
        Sink a;
        net::Stream stream(**loop, std::move(pair->first), a);
        REQUIRE(stream.start_tls_server(*context));
        const auto peer = *client->session(pair->second.get(), "mail.example.org", "");
        turn_until(**loop, [&] { return peer->handshake() == tls::Session::Step::done && a.secured; });
        if (pause) {
            stream.pause_reading(true);
            stream.pause_reading(false);
            stream.pause_reading(true);
        }
        std::string sent;
        for (int i = 0; i < 100; ++i) {
            std::size_t taken = 0;
            const char byte = static_cast<char>('a' + i % 26);
            REQUIRE(peer->write(std::string_view(&byte, 1), taken) == tls::Session::Step::done);
            sent += byte;
        }
        for (int i = 0; i < 5; ++i) (*loop)->run_once(1ms);
        if (pause) CHECK(a.got.empty());
        if (pause) stream.pause_reading(false);
        turn_until(**loop, [&] { return a.got.size() == sent.size(); });
        CHECK(a.got == sent);
        std::size_t taken = 0;
        REQUIRE(peer->write("more", taken) == tls::Session::Step::done);      // events tell again
        turn_until(**loop, [&] { return a.got.size() == sent.size() + 4; });
    }
}

TEST_CASE("bytes under TLS that are none end the stream with the reason, and who just leaves is no such case", "[net][tls]")
{
    const auto pems = tls::make_self_signed("mail.example.org");
    REQUIRE(pems);
    const auto context = tls::ServerContext::create();
    REQUIRE(context->use({{{"own", cat(pems->key, pems->certificate), false}}, {}, false, {}}));
    const auto client = *tls::ClientContext::create(tls::ClientContext::Files());
    tls::ClientPolicy current;
    current.versions = *tls::parse_protocols("TLSv1.3");
    for (const bool leaves : {false, true}) {
        auto loop = Loop::create();
        auto pair = socket_pair(SOCK_STREAM);
        REQUIRE(set_nonblocking(pair->second.get(), true));
        Sink a;
        net::Stream stream(**loop, std::move(pair->first), a);
        const auto peer = *client->session(pair->second.get(), current, "");
        REQUIRE(stream.start_tls_server(*context));
        turn_until(**loop, [&] { return peer->handshake() == tls::Session::Step::done && a.secured; });
        // A record of the right version whose bytes do not decipher; or none at all.
        if (leaves) ::shutdown(pair->second.get(), SHUT_WR);
        else REQUIRE(write_all(pair->second.get(), std::string("\x17\x03\x03\0\x20", 5) + std::string(32, 'x')));
        turn_until(**loop, [&] { return a.ends == 1; });
        CHECK((a.end == net::End::tls_broken) == !leaves);
        if (!leaves) CHECK(a.why.find("decryption failed or bad record mac") != std::string::npos);
    }
}

TEST_CASE("a file shorter than promised ends the stream", "[net]")
{
    auto loop = Loop::create();
    auto pair = socket_pair(SOCK_STREAM);
    Sink a, b;
    net::Stream left(**loop, std::move(pair->first), a), right(**loop, std::move(pair->second), b);
    auto file = sealed_memfd("content", "short");
    left.send_file(file->get(), 0, 100);
    turn_until(**loop, [&] { return a.ends == 1; });
    CHECK(a.end == net::End::error);
}

TEST_CASE("an idle stream times out, one that hears bytes does not", "[net]")
{
    auto loop = Loop::create();
    auto pair = socket_pair(SOCK_STREAM);
    Sink a, b;
    net::Stream left(**loop, std::move(pair->first), a), right(**loop, std::move(pair->second), b);
    left.set_timeout(30ms);
    turn_until(**loop, [&] { return a.ends == 1; });
    CHECK(a.end == net::End::timeout);
    CHECK(a.ends == 1);
}

TEST_CASE("a paused stream reads nothing until it goes on", "[net]")
{
    auto loop = Loop::create();
    auto pair = socket_pair(SOCK_STREAM);
    Sink a, b;
    net::Stream left(**loop, std::move(pair->first), a), right(**loop, std::move(pair->second), b);
    right.pause_reading(true);
    left.write("x");
    for (int i = 0; i < 5; ++i) (*loop)->run_once(1ms);
    CHECK(b.got.empty());
    right.pause_reading(false);
    turn_until(**loop, [&] { return b.got == "x"; });
}

TEST_CASE("the owner may destroy the stream inside on_data and on_end", "[net]")
{
    auto loop = Loop::create();
    auto pair = socket_pair(SOCK_STREAM);
    struct Owner : net::StreamUser {
        std::unique_ptr<net::Stream> stream;
        int calls = 0;
        void on_data(std::string_view) override { ++calls, stream.reset(); }
        void on_end(net::End, const std::string&) override { ++calls, stream.reset(); }
    } one, two;
    one.stream = std::make_unique<net::Stream>(**loop, std::move(pair->first), one);
    two.stream = std::make_unique<net::Stream>(**loop, std::move(pair->second), two);
    one.stream->write("x");
    turn_until(**loop, [&] { return one.calls == 1 && two.calls == 1; });
    CHECK_FALSE(one.stream);
    CHECK_FALSE(two.stream);
}

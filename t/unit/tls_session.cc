// lib/tls: handshakes over a socket pair, with a certificate made on the spot.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <csignal>
#include <fstream>

#include "lib/base/fd.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/tls/tls.h"

using namespace veredus;
using tls::Session;

namespace {

struct Files { // a certificate and its key in a temporary folder
    std::string directory, certificate, key;
    explicit Files(const std::string& host)
    {
        char name[] = "/tmp/veredus-tls.XXXXXX";
        REQUIRE(::mkdtemp(name));
        directory = name;
        certificate = directory + "/cert.pem";
        key = directory + "/key.pem";
        const auto pems = tls::make_self_signed(host);
        REQUIRE(pems);
        std::ofstream(certificate) << pems->certificate;
        std::ofstream(key) << pems->key;
    }
    ~Files()
    {
        ::unlink(certificate.c_str());
        ::unlink(key.c_str());
        ::rmdir(directory.c_str());
    }
};

struct Ends {
    Fd client_fd, server_fd;
    std::unique_ptr<Session> client, server;
    Ends(tls::ClientContext& from, tls::ServerContext& to, const std::string& host, const std::string& key)
    {
        std::signal(SIGPIPE, SIG_IGN);
        auto pair = socket_pair(SOCK_STREAM);
        REQUIRE(pair);
        client_fd = std::move(pair->first);
        server_fd = std::move(pair->second);
        REQUIRE(set_nonblocking(client_fd.get(), true));
        REQUIRE(set_nonblocking(server_fd.get(), true));
        client = std::move(*from.session(client_fd.get(), host, key));
        server = std::move(*to.session(server_fd.get()));
    }
    // Both sides step by turns; each want_* of one is answered by the other.
    bool shake()
    {
        Session::Step c = Session::Step::want_read, s = c;
        for (int i = 0; i < 20 && (c != Session::Step::done || s != Session::Step::done); ++i) {
            if (c != Session::Step::done) c = client->handshake();
            if (s != Session::Step::done) s = server->handshake();
            if (c == Session::Step::failed || s == Session::Step::failed) return false;
        }
        return c == Session::Step::done && s == Session::Step::done;
    }
    void carry(Session& from, Session& to, std::string bytes)
    {
        std::string got;
        const std::string all = bytes;
        std::string_view left = bytes;
        char buffer[5000];
        for (int i = 0; i < 100'000 && got.size() < all.size(); ++i) {
            std::size_t taken = 0, n = 0;
            if (!left.empty() && from.write(left, taken) == Session::Step::done) left.remove_prefix(taken);
            if (to.read(buffer, sizeof buffer, n) == Session::Step::done) got.append(buffer, n);
        }
        REQUIRE((got == all));
    }
};

} // namespace

TEST_CASE("a handshake carries bytes both ways and tells its facts in Postfix's words", "[tls][rfc3207]")
{
    const Files files("mx.example.org");
    const auto server = tls::ServerContext::load(files.certificate, files.key);
    REQUIRE(server);
    const auto client = tls::ClientContext::create("", "");
    REQUIRE(client);
    Ends ends(**client, **server, "mx.example.org", "k");
    REQUIRE(ends.shake());
    ends.carry(*ends.client, *ends.server, "EHLO me\r\n");
    ends.carry(*ends.server, *ends.client, random_bytes(300'000));
    CHECK(ends.client->protocol() == "TLSv1.3");
    CHECK(ends.client->summary() == "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 "
                                    "server-signature ECDSA (prime256v1) server-digest SHA256");
    CHECK(ends.client->trust_word() == "Untrusted");
    CHECK(ends.client->peer_certificate());
    CHECK_FALSE(ends.client->chain_trusted());
    CHECK_FALSE(ends.client->peer_verified());
    CHECK(ends.server->trust_word() == "Anonymous");
    CHECK_FALSE(ends.client->resumed());
}

TEST_CASE("a trusted chain is told apart from a matching name", "[tls]")
{
    const Files files("mx.example.org");
    const auto server = tls::ServerContext::load(files.certificate, files.key);
    const auto client = tls::ClientContext::create(files.certificate, "");
    REQUIRE(server);
    REQUIRE(client);
    Ends right(**client, **server, "mx.example.org", "");
    REQUIRE(right.shake());
    CHECK(right.client->trust_word() == "Trusted");
    CHECK(right.client->peer_verified());
    Ends wrong(**client, **server, "mx.example.net", "");
    REQUIRE(wrong.shake());
    CHECK(wrong.client->chain_trusted());
    CHECK_FALSE(wrong.client->peer_verified());
    // a folder of authorities does too; files that are none are passed over
    const auto folder = tls::ClientContext::create("", files.directory);
    REQUIRE(folder);
    Ends by_folder(**folder, **server, "mx.example.org", "");
    REQUIRE(by_folder.shake());
    CHECK(by_folder.client->peer_verified());
}

TEST_CASE("a session is resumed for its own key only", "[tls]")
{
    const Files files("mx.example.org");
    const auto server = tls::ServerContext::load(files.certificate, files.key);
    const auto client = tls::ClientContext::create("", "");
    REQUIRE(server);
    REQUIRE(client);
    const auto once = [&](const std::string& key) {
        Ends ends(**client, **server, "mx.example.org", key);
        REQUIRE(ends.shake());
        ends.carry(*ends.server, *ends.client, "220 tickets come before data");
        return ends.client->resumed();
    };
    CHECK_FALSE(once("a"));
    CHECK_FALSE(once("b"));
    CHECK(once("a"));
    CHECK(once("b"));
    CHECK_FALSE(once(""));
}

TEST_CASE("clear text instead of a handshake fails with a reason", "[tls]")
{
    const auto client = tls::ClientContext::create("", "");
    REQUIRE(client);
    auto pair = socket_pair(SOCK_STREAM);
    REQUIRE(set_nonblocking(pair->first.get(), true));
    auto session = (*client)->session(pair->first.get(), "mx.example.org", "");
    REQUIRE(session);
    CHECK((*session)->handshake() == Session::Step::want_read);
    REQUIRE(write_all(pair->second.get(), "500 what?\r\n500 what?\r\n500 what?\r\n"));
    CHECK((*session)->handshake() == Session::Step::failed);
    CHECK((*session)->error().find("wrong version number") != std::string::npos);
    (*session)->close_notify(); // must not touch a broken session
}

TEST_CASE("a peer that hangs up in the handshake is told as such", "[tls]")
{
    const auto client = tls::ClientContext::create("", "");
    auto pair = socket_pair(SOCK_STREAM);
    REQUIRE(set_nonblocking(pair->first.get(), true));
    auto session = (*client)->session(pair->first.get(), "", "");
    REQUIRE(session);
    CHECK((*session)->handshake() == Session::Step::want_read);
    pair->second.reset();
    CHECK((*session)->handshake() != Session::Step::done);
    CHECK_FALSE((*session)->error().empty());
}

TEST_CASE("wrong files are refused with their name", "[tls]")
{
    const Files one("a.example"), two("b.example");
    const auto mixed = tls::ServerContext::load(one.certificate, two.key);
    REQUIRE_FALSE(mixed);
    CHECK(mixed.error().text.find(two.key) != std::string::npos);
    CHECK_FALSE(tls::ServerContext::load("/nonexistent/cert.pem", ""));
    CHECK_FALSE(tls::ClientContext::create("/nonexistent/ca.pem", ""));
    CHECK_FALSE(tls::ClientContext::create("", "/nonexistent"));
    CHECK_FALSE(tls::make_self_signed("a.example,DNS:b.example"));
    CHECK_FALSE(tls::make_self_signed(""));
}

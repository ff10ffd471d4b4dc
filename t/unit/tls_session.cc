// lib/tls: handshakes over a socket pair, with a certificate made on the spot.
#include "t/unit/catch.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
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

TEST_CASE("a private key is read in each of its forms, and issuers that many chains share are those of each", "[tls]")
{
    const auto one = tls::make_self_signed("one.example.org"), two = tls::make_self_signed("two.example.org"), issuer = tls::make_self_signed("issuer.example.org");
    REQUIRE((one && two && issuer));
    const auto traditional = [](const std::string& pem) {
        const std::unique_ptr<BIO, decltype(&BIO_free_all)> in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &BIO_free_all), out(BIO_new(BIO_s_mem()), &BIO_free_all);
        const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr), &EVP_PKEY_free);
        REQUIRE(PEM_write_bio_PrivateKey_traditional(out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1);
        char* text = nullptr;
        const long size = BIO_get_mem_data(out.get(), &text);
        return std::string(text, static_cast<std::size_t>(size));
    };
    std::string labelled = traditional(one->key);
    REQUIRE(labelled.starts_with("-----BEGIN EC PRIVATE KEY"));
    for (std::size_t at; (at = labelled.find("EC PRIVATE")) != std::string::npos;) labelled.replace(at, 2, "RSA");
    for (const std::string& key : {one->key, traditional(one->key), labelled}) {
        INFO(key);
        const auto facts = tls::check_keys({{{"x", key + one->certificate + issuer->certificate, true}}, {}, false, {}});
        REQUIRE(facts);
        CHECK(facts->at(0).host == "one.example.org");
        CHECK(facts->at(0).kind == "ECDSA");
    }
    const auto other = tls::check_keys({{{"x", two->key + two->certificate + issuer->certificate + issuer->certificate, true}}, {}, false, {}});
    REQUIRE(other);
    CHECK(other->at(0).host == "two.example.org");
    // What was an issuer may be shown by itself, and the other way round.
    CHECK(tls::check_keys({{{"x", issuer->key + issuer->certificate + one->certificate, true}}, {}, false, {}}));
    std::string damaged = issuer->certificate;
    damaged[damaged.size() / 2] = '!';
    CHECK_FALSE(tls::check_keys({{{"x", one->key + one->certificate + damaged, true}}, {}, false, {}}));
    CHECK_FALSE(tls::check_keys({{{"x", one->key + two->certificate, true}}, {}, false, {}}));
}

TEST_CASE("a stream of KeyUpdates ends the session, and those of an honest client do not", "[tls][rfc8446-4.6.3][hostile]")
{
    const Files files("mx.example.org");
    const auto server = tls::ServerContext::load(files.certificate, files.key);
    REQUIRE(server);
    enum Kind { honest, flood, with_a_byte };
    for (const Kind kind : {honest, flood, with_a_byte}) {
        INFO(kind);
        auto pair = socket_pair(SOCK_STREAM);
        REQUIRE(set_nonblocking(pair->first.get(), true));
        REQUIRE(set_nonblocking(pair->second.get(), true));
        const auto session = std::move(*(*server)->session(pair->second.get()));
        const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free);
        const std::unique_ptr<SSL, decltype(&SSL_free)> client(SSL_new(context.get()), &SSL_free);
        SSL_set_fd(client.get(), pair->first.get());
        SSL_set_connect_state(client.get());
        auto step = Session::Step::want_read;
        for (int i = 0; i < 10 && (!SSL_is_init_finished(client.get()) || step != Session::Step::done); ++i) {
            SSL_do_handshake(client.get());
            if (step != Session::Step::done) step = session->handshake();
        }
        REQUIRE(std::string_view(SSL_get_version(client.get())) == "TLSv1.3");
        char buffer[65536];
        std::size_t got = 0;
        unsigned sent = 0;
        const auto update = [&] {
            REQUIRE(SSL_key_update(client.get(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
            REQUIRE(SSL_do_handshake(client.get()) == 1);
            ++sent;
        };
        if (kind != honest) {
            while (sent < 150) {            // as many as a socket pair holds
                update();
                if (kind == flood || sent % 30 != 0) continue;
                REQUIRE(SSL_write(client.get(), "x", 1) == 1);
                if (sent < 90) CHECK(session->read(buffer, sizeof buffer, got) == Session::Step::done);
            }
            while (kind == with_a_byte && sent < 200 && session->read(buffer, sizeof buffer, got) == Session::Step::done) update();
            REQUIRE(SSL_write(client.get(), "x", 1) == 1);
            CHECK(session->read(buffer, sizeof buffer, got) == Session::Step::failed);
            CHECK(session->error().find("too many handshake messages") == 0);
            CHECK(session->tls_fault());
            CHECK(session->read(buffer, sizeof buffer, got) == Session::Step::failed);
            continue;
        }
        for (int round = 0; round < 30; ++round) {
            for (int i = 0; i < 10; ++i) update();
            const std::string content(10'240, 'x');
            REQUIRE(SSL_write(client.get(), content.data(), static_cast<int>(content.size())) == static_cast<int>(content.size()));
            CHECK(session->read(buffer, sizeof buffer, got) == Session::Step::done);
            CHECK(got == content.size());
        }
    }
}

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
    CHECK(ends.client->summary() == "TLSv1.3 with cipher TLS_AES_128_GCM_SHA256 (128/128 bits) key-exchange X25519 "
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

namespace {

std::string text_of(const std::string& path) { return *read_file(path, 1 << 20); }

tls::ServerKeys keys_of(const Files& files) { return {{{files.certificate, text_of(files.certificate) + text_of(files.key), false}}, {}, false, {}}; }

std::string ring(char fill, std::size_t count = 1) { return std::string(count * tls::ticket_key_size, fill); }

}  // namespace

TEST_CASE("a client asks for a name and gets its certificate, and is never refused for a name that nobody has", "[tls][rfc6066-3]")
{
    const Files main("mx.example.org"), other("mail.example.net"), below("x.example.com");
    const auto server = tls::ServerContext::create();
    CHECK_FALSE(server->ready());
    tls::ServerKeys keys = keys_of(main);
    const auto in_order = [](const Files& f) { return std::vector<tls::Chain>{{"sni", text_of(f.key) + text_of(f.certificate), true}}; };
    keys.names["mail.example.net"] = in_order(other);
    keys.names[".example.com"] = in_order(below);
    const auto facts = server->use(keys);
    REQUIRE(facts);
    REQUIRE(facts->size() == 3);
    CHECK(facts->front().host == "mx.example.org");
    CHECK(facts->front().kind == "ECDSA");
    struct Case {
        const char *asked, *trusted, *told;
    };
    const Case cases[] = {{"mx.example.org", "main", ""}, {"MAIL.example.net", "other", "MAIL.example.net"}, {"x.example.com", "below", "x.example.com"}, {"nobody.example", "main", ""}, {"", "main", ""}};
    for (const Case& c : cases) {
        INFO(c.asked);
        const Files& expected = c.trusted == std::string("main") ? main : c.trusted == std::string("other") ? other : below;
        const auto client = tls::ClientContext::create(expected.certificate, "");
        Ends ends(**client, *server, c.asked, "");
        REQUIRE(ends.shake());
        CHECK(ends.client->chain_trusted());
        CHECK(ends.server->server_name() == c.told);
    }
}

TEST_CASE("tickets are good at every process that has the ring, while the ring has their key, and after a new certificate", "[tls][rfc8446-4.6.1]")
{
    const Files files("mx.example.org"), fresh("mx.example.org");
    const auto one = tls::ServerContext::create(), two = tls::ServerContext::create();
    REQUIRE(one->use(keys_of(files)));
    REQUIRE(two->use(keys_of(files)));
    const auto client = tls::ClientContext::create("", "");
    const auto resumed = [&](tls::ServerContext& server) {
        Ends ends(**client, server, "mx.example.org", "k");
        REQUIRE(ends.shake());
        ends.carry(*ends.server, *ends.client, "220 tickets come before data");
        return ends.client->resumed();
    };
    CHECK_FALSE(resumed(*one));
    CHECK_FALSE(resumed(*two));         // rings of their own
    for (auto* server : {one.get(), two.get()}) REQUIRE(server->set_ticket_keys(ring('a')));
    CHECK_FALSE(resumed(*one));
    CHECK(resumed(*two));
    CHECK(resumed(*one));
    REQUIRE(two->set_ticket_keys(ring('b') + ring('c') + ring('a')));    // turned: the old key still opens
    CHECK(resumed(*two));
    REQUIRE(one->set_ticket_keys(ring('c') + ring('d') + ring('b')));
    CHECK(resumed(*one));
    REQUIRE(one->use(keys_of(fresh)));
    CHECK(resumed(*one));
    REQUIRE(one->set_ticket_keys(ring('e')));
    CHECK_FALSE(resumed(*one));         // forgotten
    CHECK_FALSE(one->set_ticket_keys(""));
    CHECK_FALSE(one->set_ticket_keys("short"));
    CHECK_FALSE(one->set_ticket_keys(ring('x', tls::max_ticket_keys + 1)));
}

TEST_CASE("a session goes on with the certificate it began with when there is a new one, and a bad one changes nothing", "[tls]")
{
    const Files first("mx.example.org"), second("mx.example.org"), alien("mx.example.org");
    const auto server = tls::ServerContext::create();
    REQUIRE(server->use(keys_of(first)));
    const auto client = tls::ClientContext::create(second.certificate, "");
    Ends old(**client, *server, "mx.example.org", "");
    REQUIRE(server->use(keys_of(second)));
    REQUIRE(old.shake());
    CHECK_FALSE(old.client->chain_trusted());
    old.carry(*old.client, *old.server, random_bytes(100'000));
    tls::ServerKeys mixed{{{"mixed", text_of(alien.certificate) + text_of(first.key), false}}, {}, false, {}};
    const auto refused = server->use(mixed);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().text.find("does not belong") != std::string::npos);
    Ends now(**client, *server, "mx.example.org", "");
    REQUIRE(now.shake());
    CHECK(now.client->peer_verified());
}

TEST_CASE("hostile and damaged PEM text is refused with a reason", "[tls]")
{
    const Files files("mx.example.org"), other("b.example");
    const std::string key = text_of(files.key), certificate = text_of(files.certificate), other_key = text_of(other.key);
    struct Case {
        std::string pem;
        bool in_order, good;
        const char* reason;
    };
    const Case cases[] = {
        {key + certificate, false, true, ""},
        {certificate + key, false, true, ""},
        {other_key + certificate + key, false, true, ""},      // whichever key fits
        {"words before\n" + key + "and between\n" + certificate, true, true, ""},
        {certificate + key, true, false, "before its private key"},
        {key, false, false, "no certificate"},
        {key + certificate + other_key, true, false, "no certificate"},
        {certificate, false, false, "no private key"},
        {other_key + certificate, true, false, "does not belong"},
        {"", false, false, "no certificate and no key"},
        {std::string(1000, '\0'), false, false, "no certificate and no key"},
        {certificate.substr(0, certificate.size() / 2), false, false, "PEM"},
        {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + key, false, false, "damaged certificate"},
        {"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n" + certificate, false, false, "encrypted"},
    };
    for (const Case& c : cases) {
        INFO(c.reason << " " << c.pem.substr(0, 80));
        const auto facts = tls::check_keys({{{"the chain", c.pem, c.in_order}}, {}, false, {}});
        CHECK(facts.has_value() == c.good);
        if (!facts) {
            CHECK(facts.error().text.find("the chain") != std::string::npos);
            CHECK(facts.error().text.find(c.reason) != std::string::npos);
        }
    }
}

TEST_CASE("a chain that has been read is not parsed again", "[tls]")
{
    const Files files("mx.example.org");
    auto keys = keys_of(files);
    REQUIRE(tls::read(keys.chains.at(0)));
    keys.chains[0].pem = "nobody looks at this";
    const auto facts = tls::check_keys(keys);
    REQUIRE(facts);
    CHECK(facts->at(0).host == "mx.example.org");
    tls::Chain bad{"the chain", "nonsense", false};
    CHECK_FALSE(tls::read(bad));
    CHECK_FALSE(bad.parsed);
}

TEST_CASE("both sides find the same channel binding, and another connection another one", "[tls][rfc9266-2]")
{
    const Files files("mx.example.org");
    const auto server = tls::ServerContext::create();
    REQUIRE(server->use(keys_of(files)));
    const auto client = tls::ClientContext::create("", "");
    std::string before;
    for (int i = 0; i < 3; ++i) {    // full, then resumed
        Ends ends(**client, *server, "mx.example.org", "k");
        CHECK_FALSE(ends.server->channel_binding("tls-exporter"));
        CHECK_FALSE(ends.server->binds_channel());
        REQUIRE(ends.shake());
        CHECK(ends.server->binds_channel());
        ends.carry(*ends.server, *ends.client, "220");
        const auto ours = ends.server->channel_binding("tls-exporter"), theirs = ends.client->channel_binding("tls-exporter");
        REQUIRE(ours);
        CHECK(ours->size() == 32);
        CHECK((ours == theirs));
        CHECK((*ours != before));
        before = *ours;
        CHECK_FALSE(ends.server->channel_binding("tls-unique"));    // RFC 9266 §3: not in TLS 1.3
        CHECK_FALSE(ends.server->channel_binding("tls-magic"));
    }
}

TEST_CASE("a client that is asked for a certificate may show any, or none, and is told by its fingerprint", "[tls][rfc8446-4.3.2]")
{
    const Files main("mx.example.org"), own("client.example.net");
    for (const bool ask : {false, true})
        for (const bool has : {false, true}) {
            INFO(ask << has);
            const auto server = tls::ServerContext::create();
            tls::ServerKeys keys = keys_of(main);
            keys.ask_client = ask;
            REQUIRE(server->use(keys));
            tls::ClientContext::Files files;
            if (has) files.own = {"own", text_of(own.key) + text_of(own.certificate), false};
            const auto client = tls::ClientContext::create(files);
            REQUIRE(client);
            Ends ends(**client, *server, "mx.example.org", "key");
            REQUIRE(ends.shake());
            const auto peer = ends.server->peer("sha256");
            CHECK(peer.has_value() == (ask && has));
            if (!peer) continue;
            CHECK(peer->subject == "client.example.net");
            CHECK(peer->issuer == "client.example.net");
            CHECK(peer->fingerprint.size() == 32 * 3 - 1);
            CHECK(peer->fingerprint.find_first_not_of("0123456789ABCDEF:") == std::string::npos);
            CHECK(peer->key_fingerprint.size() == 32 * 3 - 1);
            CHECK(peer->key_fingerprint != peer->fingerprint);
            CHECK(ends.server->peer("sha1")->fingerprint.size() == 20 * 3 - 1);
            CHECK_FALSE(ends.server->peer("rot13"));
            CHECK_FALSE(ends.server->chain_trusted());
            CHECK(ends.server->trust_word() == "Untrusted");
            ends.carry(*ends.client, *ends.server, "hello");
            ends.carry(*ends.server, *ends.client, "ticket");
            Ends again(**client, *server, "mx.example.org", "key");       // resumed: still the same client
            REQUIRE(again.shake());
            CHECK(again.server->resumed());
            REQUIRE(again.server->peer("sha256"));
            CHECK(again.server->peer("sha256")->fingerprint == peer->fingerprint);
        }
}

// What the files of this room share of OpenSSL: owners, its error queue as text, and the session over an fd.
#pragma once

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

#include "lib/tls/tls.h"

namespace veredus::tls {

template <auto Free> struct Freed {
    void operator()(auto* p) const noexcept { Free(p); }
};
using CtxPtr = std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, Freed<SSL_free>>;
using SessionPtr = std::unique_ptr<SSL_SESSION, Freed<SSL_SESSION_free>>;
using X509Ptr = std::unique_ptr<X509, Freed<X509_free>>;
using PkeyPtr = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, Freed<BIO_free_all>>;

// The whole queue of this thread as one line, then empty.
std::string take_errors();
Unexpected fail_tls(std::string what);
// What both sides want: TLS 1.2 and later, no compression, no renegotiation, buffers given back while idle.
// `kernel`: with kTLS where the kernel has it and knows the cipher; OpenSSL goes on by itself where not.
Result<CtxPtr> make_context(const SSL_METHOD* method, bool kernel = false);

// One key with its certificate (first) and the issuers.
struct KeyAndChain {
    PkeyPtr key;
    std::vector<X509Ptr> certificates;
};
struct ParsedChain {
    std::vector<KeyAndChain> pairs;
};
Result<std::vector<KeyAndChain>> parse_chain(const Chain& chain);
// The first key and certificate of a chain into a context, for the log and the peer.
Result<void> install(SSL_CTX* ctx, const KeyAndChain& pair, const Chain& chain);
bool install(SSL* ssl, const KeyAndChain& pair) noexcept;      // for this connection alone
// PEM text of any number of certificates, into the store that peers are verified with.
Result<void> load_authorities(SSL_CTX* ctx, const std::string& text);
CertificateFacts facts_of(const KeyAndChain& pair, const std::string& chain_name);

class SslSession : public Session {
public:
    SslSession(SslPtr ssl, ClientPolicy policy);
    // OpenSSL would forbid to resume a session whose connection ended without close_notify; mail peers often end so.
    ~SslSession() override
    {
        if (!broken_) SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    Step handshake() override;
    Step read(char* buffer, std::size_t size, std::size_t& got) override;
    bool has_unread() const override { return SSL_has_pending(ssl_.get()) == 1; }
    Step write(std::string_view bytes, std::size_t& taken) override;
    bool sends_files() const override;
    Step send_file(int file, uint64_t offset, std::size_t size, std::size_t& taken) override;
    void close_notify() override;
    std::string error() const override { return error_; }
    bool tls_fault() const override { return tls_fault_; }
    std::string protocol() const override;
    std::string cipher() const override;
    std::string key_exchange() const override;
    bool peer_verified() const override;
    bool resumed() const override;
    bool peer_certificate() const override;
    bool chain_trusted() const override;
    std::optional<PeerCertificate> peer(const std::string& digest) const override;
    bool matched() const override;
    std::string why_not() const override;
    std::string server_name() const override;
    std::optional<std::string> channel_binding(std::string_view type) const override;
    bool binds_channel() const override;

private:
    Step judge(int result);
    static void on_message(int write, int version, int type, const void* bytes, size_t size, SSL* ssl, void* self);
    void cork(bool on);
    SslPtr ssl_;
    bool has_name(const std::string& name) const;
    ClientPolicy policy_; // empty on the server side
    std::string error_;
    bool ticket_due_ = false;      // TLSv1.3, server: with the first write
    bool tls_fault_ = false;
    unsigned messages_ = 0;        // of the handshake protocol, less those that content has made up for
    std::size_t paid_ = 0;         // bytes of content that came since then
    bool broken_ = false; // after a fatal error OpenSSL forbids SSL_shutdown
};

} // namespace veredus::tls

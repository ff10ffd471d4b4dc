// TLS: OpenSSL lives here and nowhere else. Contexts made once, sessions over a non-blocking fd.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace veredus::tls {

class ServerContext;   // issue of submission fills in SNI, tickets, kTLS
class ClientContext;

// One side of a connection. The fd is the caller's and must outlive the session. Non-blocking. Whoever uses one ignores SIGPIPE.
class Session {
public:
    enum class Step { done, want_read, want_write, closed, failed };
    virtual ~Session() = default;
    virtual Step handshake() = 0;
    virtual Step read(char* buffer, std::size_t size, std::size_t& got) = 0;     // done: got > 0
    virtual Step write(std::string_view bytes, std::size_t& taken) = 0;          // done: taken > 0; want_*: call again with the same bytes
    virtual void close_notify() = 0;                                             // best effort, never blocks
    virtual std::string error() const = 0;                                       // why failed, for the log
    virtual std::string protocol() const = 0;                                    // "TLSv1.3"
    virtual std::string cipher() const = 0;                                      // "TLS_AES_256_GCM_SHA384 (256/256 bits)"
    virtual bool peer_verified() const = 0;                                      // chain and name
    virtual bool resumed() const = 0;
    // Postfix's line after "Untrusted|Trusted|Verified|Anonymous TLS connection established to X: ": protocol, cipher, key exchange.
    std::string summary() const;
    std::string trust_word() const;                                              // "Anonymous", "Untrusted", "Trusted", "Verified"
    virtual bool peer_certificate() const = 0;
    virtual bool chain_trusted() const = 0;
    virtual std::string key_exchange() const = 0;                                // " key-exchange X25519 server-signature …"; may be empty
};

class ClientContext {
public:
    // Opportunistic: no verification is demanded, what was found is told. Both are read whole now (a jail may hide them
    // later); both empty: no authority is trusted, as with Postfix's tls_append_default_CA = no.
    static Result<std::unique_ptr<ClientContext>> create(const std::string& ca_file, const std::string& ca_path);
    virtual ~ClientContext() = default;
    // `host`: for SNI and name check; `cache_key`: sessions are resumed per key (bounded cache).
    virtual Result<std::unique_ptr<Session>> session(int fd, const std::string& host, const std::string& cache_key) = 0;
};

class ServerContext {
public:
    static Result<std::unique_ptr<ServerContext>> load(const std::string& cert_file, const std::string& key_file);
    virtual ~ServerContext() = default;
    virtual Result<std::unique_ptr<Session>> session(int fd) = 0;
};

// A fresh P-256 key and a certificate for `host` signed by it, good for ten years: what STARTTLS uses until somebody gives
// a better one, and what tests use.
struct Pems {
    std::string certificate, key;
};
Result<Pems> make_self_signed(const std::string& host);

}  // namespace veredus::tls

// TLS: OpenSSL lives here and nowhere else. Contexts made once, sessions over a non-blocking fd.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/tls/parameters.h"

namespace veredus::tls {

class ServerContext;
class ClientContext;

// Of the certificate that a client showed. Nobody has vouched for the names; a fingerprint is the certificate's alone.
struct PeerCertificate {
    std::string subject, issuer;                 // common names; any bytes
    std::string fingerprint, key_fingerprint;    // of the certificate and of its public key: "3D:95:34:…"
};

// One side of a connection. The fd is the caller's and must outlive the session. Non-blocking. Whoever uses one ignores SIGPIPE.
class Session {
public:
    enum class Step { done, want_read, want_write, closed, failed };
    virtual ~Session() = default;
    virtual Step handshake() = 0;
    virtual Step read(char* buffer, std::size_t size, std::size_t& got) = 0;     // done: got > 0
    virtual bool has_unread() const = 0;                                         // bytes are here that no event of the fd will tell of
    virtual Step write(std::string_view bytes, std::size_t& taken) = 0;          // done: taken > 0; want_*: call again with the same bytes
    // After the handshake: whether the kernel encrypts what is sent here, so that bytes of a file need not pass through us.
    virtual bool sends_files() const = 0;
    virtual Step send_file(int file, uint64_t offset, std::size_t size, std::size_t& taken) = 0;   // as write(); taken may be less than size
    virtual void close_notify() = 0;                                             // best effort, never blocks
    virtual std::string error() const = 0;                                       // why failed, for the log
    // Whether it failed for TLS itself, a record that is none or the peer's alert, and not because the connection went away.
    virtual bool tls_fault() const = 0;
    virtual std::string protocol() const = 0;                                    // "TLSv1.3"
    virtual std::string cipher() const = 0;                                      // "TLS_AES_128_GCM_SHA256 (128/128 bits)"
    virtual bool peer_verified() const = 0;                                      // chain and name
    virtual bool resumed() const = 0;
    // A client whose policy demanded a name or a fingerprint: whether the server has it; else why not, for the log.
    virtual bool matched() const = 0;
    virtual std::string why_not() const = 0;
    // Postfix's line after "Untrusted|Trusted|Verified|Anonymous TLS connection established to X: ": protocol, cipher, key exchange.
    std::string summary() const;
    std::string trust_word() const;                                              // "Anonymous", "Untrusted", "Trusted", "Verified"
    virtual bool peer_certificate() const = 0;
    virtual bool chain_trusted() const = 0;
    virtual std::optional<PeerCertificate> peer(const std::string& digest) const = 0;   // "sha256"; nothing: it showed none
    virtual std::string key_exchange() const = 0;                                // " key-exchange X25519 server-signature …"; may be empty
    virtual std::string server_name() const = 0;                                 // of SNI, when a certificate of that name was shown; may be empty
    // For SCRAM-…-PLUS: "tls-exporter" (RFC 9266) or "tls-unique" (RFC 5929 §3); nothing when this connection has no safe value.
    virtual std::optional<std::string> channel_binding(std::string_view type) const = 0;
    // Whether one of them has a value; costs nothing, while the value costs as much as a packet.
    virtual bool binds_channel() const = 0;
};

struct ParsedChain;

// Private keys and their certificates as PEM text.
struct Chain {
    std::string name;        // of the setting or the files, for messages
    std::string pem;
    bool in_order = false;   // any number of chains, each a key, its certificate, and the issuers (smtpd_tls_chain_files);
                             // else it is one chain, and the key may stand anywhere
    std::shared_ptr<const ParsedChain> parsed = nullptr;    // by read(); shared: chains are copied
};
// Reads the text, so that nobody who uses this chain need read it again. An error: it cannot be used.
Result<void> read(Chain& chain);

// What one connection to a server is to be like. The handshake never fails for a certificate: ask matched() afterwards.
struct ClientPolicy {
    std::string server_name;                  // for SNI (an address is none); empty: none
    std::string host;                         // of peer_verified()
    enum class Demand : uint8_t { nothing, fingerprint, name } demand = Demand::nothing;
    std::vector<std::string> names;           // one of them: "mail.example.org", ".example.org" (any name below); under a trusted chain
    std::vector<std::string> fingerprints;    // one of them, lower-case hex, of the certificate or of its public key
    std::string digest = "sha256";            // of the fingerprints
    Versions versions;
    std::string ciphers;                      // in OpenSSL's words, of TLSv1.2 and before; empty: its default
};

class ClientContext {
public:
    struct Files {               // as text, so that whoever reads them needs no rights
        Chain own;               // the certificate that we show; without a name: none
        std::string ca_text = {};     // certificates of authorities
        std::string ca_path;     // a folder of them, read whole now
        bool kernel = false;     // let the kernel encrypt (kTLS) where it can: see Session::sends_files()
    };
    static Result<std::unique_ptr<ClientContext>> create(const Files& files);
    virtual Result<std::unique_ptr<Session>> session(int fd, const ClientPolicy& policy, const std::string& cache_key) = 0;
    // Opportunistic: no verification is demanded, what was found is told. Both are read whole now (a jail may hide them
    // later); both empty: no authority is trusted, as with Postfix's tls_append_default_CA = no.
    static Result<std::unique_ptr<ClientContext>> create(const std::string& ca_file, const std::string& ca_path);
    virtual ~ClientContext() = default;
    // `host`: for SNI and name check; `cache_key`: sessions are resumed per key (bounded cache).
    virtual Result<std::unique_ptr<Session>> session(int fd, const std::string& host, const std::string& cache_key) = 0;
};

struct ServerKeys {
    std::vector<Chain> chains;                          // ECDSA and RSA side by side: the client's abilities choose
    std::map<std::string, std::vector<Chain>> names;    // SNI: "mail.example.org", ".example.org" (what is below); in lower case
    bool ask_client = false;                            // for a certificate; any is taken, and none too: see Session::peer()
    std::string ca_text;                                // authorities that chain_trusted() of a client means; empty: none
    bool kernel = false;                                // as ClientContext::Files::kernel
};
struct CertificateFacts {    // of one chain, for the log
    std::string chain;       // Chain::name
    std::string host;        // the first name it is good for
    std::string kind;        // "ECDSA", "RSA", "ED25519"
    int64_t not_after = 0;   // wall clock seconds
};
// Reads keys and chains without putting them into force.
Result<std::vector<CertificateFacts>> check_keys(const ServerKeys& keys);

// Tickets of RFC 5077 and RFC 8446 §4.6.1 are sealed with the first key of a ring and opened with any. Whoever has the ring
// resumes the sessions of all who have it.
constexpr std::size_t ticket_key_size = 80;             // name, AES-256 key, HMAC-SHA-256 key
constexpr std::size_t max_ticket_keys = 8;

class ServerContext {
public:
    static Result<std::unique_ptr<ServerContext>> load(const std::string& cert_file, const std::string& key_file);
    static std::unique_ptr<ServerContext> create();     // with a ring of its own and no certificate yet
    virtual ~ServerContext() = default;
    // For sessions from now on. An error leaves the old ones in force. What was read, in the order of chains, then names.
    virtual Result<std::vector<CertificateFacts>> use(const ServerKeys& keys) = 0;
    virtual bool ready() const = 0;                     // there is a certificate
    virtual Result<void> set_ticket_keys(std::string_view ring) = 0;
    virtual Result<std::unique_ptr<Session>> session(int fd) = 0;
};

// A fresh P-256 key and a certificate for `host` signed by it, good for ten years: what STARTTLS uses until somebody gives
// a better one, and what tests use.
struct Pems {
    std::string certificate, key;
};
Result<Pems> make_self_signed(const std::string& host);

}  // namespace veredus::tls

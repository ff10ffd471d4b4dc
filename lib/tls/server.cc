// The server's context: certificates for every kind of key and name, and session tickets that outlive a change of them.
#include <openssl/core_names.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>

#include "lib/base/random.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/tls/openssl.h"

namespace veredus::tls {

namespace {

// TLS 1.2: forward secrecy first; RSA key exchange last, for peers that would else send in clear.
constexpr const char* old_ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:RSA+AESGCM:RSA+AES:!aNULL:!PSK:!SRP:!CAMELLIA";
// TLS 1.3: the one that all have (RFC 8446 §9.1) first. Processors compute SHA-256 by themselves and SHA-384 mostly not, and a full
// handshake is a good many hashes: a tenth less work than with AES-256.
constexpr const char* ciphers = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr const char* curves = "X25519:P-256:P-384:P-521";
constexpr long ticket_lifetime = 3600;
constexpr std::size_t name_size = 16, cipher_key_size = 32;
constexpr std::size_t max_pem_file = 1 << 20;

struct TicketKey {
    unsigned char name[name_size], cipher[cipher_key_size], mac[32];
};
static_assert(sizeof(TicketKey) == ticket_key_size);

// What the sessions of a context share and may need after the context itself has been given other certificates.
struct Shared {
    CtxPtr first;                                   // shown to all whose SNI names nobody
    // What others see. No context for each: it is large and takes long to make, and a host may have thousands.
    std::map<std::string, std::vector<std::shared_ptr<const ParsedChain>>, std::less<>> names;
    std::shared_ptr<std::vector<TicketKey>> ring;   // shared_ptr: one ring for this and all later certificates
};

int shared_index()
{
    static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, [](void*, void* shared, CRYPTO_EX_DATA*, int, long, void*) {
        delete static_cast<std::shared_ptr<Shared>*>(shared);
    });
    return index;
}

Shared* shared_of(SSL* ssl)
{
    auto* shared = static_cast<std::shared_ptr<Shared>*>(SSL_get_ex_data(ssl, shared_index()));
    return shared ? shared->get() : nullptr;
}

// 1: done, 2: open it and give a fresh ticket, 0: no ticket, a full handshake.
int seal_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, int sealing) noexcept
{
    Shared* shared = shared_of(ssl);
    if (!shared || shared->ring->empty()) return 0;
    const auto& ring = *shared->ring;
    auto key = ring.begin();
    if (sealing) {
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1) return -1;
        std::memcpy(name, key->name, name_size);
    } else {
        key = std::find_if(ring.begin(), ring.end(), [&](const TicketKey& k) { return std::memcmp(k.name, name, name_size) == 0; });
        if (key == ring.end()) return 0;
    }
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, const_cast<unsigned char*>(key->mac), sizeof key->mac),
                                 OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end()};
    if (EVP_MAC_CTX_set_params(mac, params) != 1) return -1;
    if (EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key->cipher, iv, sealing) != 1) return -1;
    // RFC 8446 §C.4: a client uses a ticket once, so each time it wants another.
    return sealing || (key == ring.begin() && SSL_version(ssl) < TLS1_3_VERSION) ? 1 : 2;
}

// These and no others. They were looked at when they were read.
bool show(SSL* ssl, const std::vector<std::shared_ptr<const ParsedChain>>& chains) noexcept
{
    SSL_certs_clear(ssl);
    for (const auto& chain : chains)
        for (const KeyAndChain& pair : chain->pairs)
            if (!install(ssl, pair)) return false;
    SSL_set_app_data(ssl, ssl);      // told by server_name()
    return true;
}

int choose_name(SSL* ssl, int*, void*) noexcept
{
    const char* asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    const Shared* shared = shared_of(ssl);
    if (!asked || !shared || shared->names.empty()) return SSL_TLSEXT_ERR_NOACK;
    std::string name = lower(std::string_view(asked).substr(0, 255));
    for (std::size_t dot = 0; dot != std::string::npos; dot = name.find('.', dot + 1)) {
        const auto found = shared->names.find(std::string_view(name).substr(dot));
        if (found == shared->names.end()) continue;
        return show(ssl, found->second) ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    return SSL_TLSEXT_ERR_NOACK;
}

// Whoever has the private key is let through; who he is, is for those who know his fingerprint.
int take_any_certificate(int, X509_STORE_CTX*) noexcept { return 1; }

Result<CtxPtr> make_server_context(const ServerKeys& keys)
{
    CtxPtr ctx = TRY(make_context(TLS_server_method(), keys.kernel));
    SSL_CTX_set_options(ctx.get(), SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    if (SSL_CTX_set1_groups_list(ctx.get(), curves) != 1) return fail_tls("TLS groups");
    if (SSL_CTX_set_cipher_list(ctx.get(), old_ciphers) != 1 || SSL_CTX_set_ciphersuites(ctx.get(), ciphers) != 1) return fail_tls("TLS ciphers");
    SSL_CTX_set_dh_auto(ctx.get(), 1);
    static constexpr unsigned char name[] = "veredus";
    SSL_CTX_set_session_id_context(ctx.get(), name, sizeof name - 1);
    SSL_CTX_set_session_cache_mode(ctx.get(), SSL_SESS_CACHE_OFF);    // tickets alone: the next connection may reach another process
    SSL_CTX_set_timeout(ctx.get(), ticket_lifetime);
    SSL_CTX_set_num_tickets(ctx.get(), 0);    // TLSv1.3: SslSession gives one with its first write
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx.get(), seal_ticket);
    SSL_CTX_set_tlsext_servername_callback(ctx.get(), choose_name);
    if (!keys.ask_client) return ctx;
    SSL_CTX_set_verify(ctx.get(), SSL_VERIFY_PEER, take_any_certificate);
    if (!keys.ca_text.empty()) TRY(load_authorities(ctx.get(), keys.ca_text));
    return ctx;
}

// One that can be used; of those that were read already nothing is done again.
Result<std::shared_ptr<const ParsedChain>> parsed_of(const Chain& chain)
{
    if (chain.parsed) return chain.parsed;
    Chain fresh = chain;
    TRY(read(fresh));
    return fresh.parsed;
}

Result<std::shared_ptr<Shared>> build_all(const ServerKeys& keys, std::vector<CertificateFacts>& facts)
{
    auto shared = std::make_shared<Shared>();
    if (keys.chains.empty()) return fail("no certificate is configured");
    shared->first = TRY(make_server_context(keys));
    for (const Chain& chain : keys.chains) {
        const auto parsed = TRY(parsed_of(chain));
        for (const KeyAndChain& pair : parsed->pairs) {
            TRY(install(shared->first.get(), pair, chain));
            facts.push_back(facts_of(pair, chain.name));
        }
    }
    for (const auto& [name, chains] : keys.names) {
        if (chains.empty()) return fail(cat("no certificate for the name ", name));
        auto& list = shared->names[name];
        for (const Chain& chain : chains) {
            list.push_back(TRY(parsed_of(chain)));
            for (const KeyAndChain& pair : list.back()->pairs) facts.push_back(facts_of(pair, chain.name));
        }
    }
    return shared;
}

class Context final : public ServerContext {
public:
    Context()
    {
        // Good until somebody brings a ring that others have too.
        const std::string key = random_bytes(ticket_key_size);
        (void)set_ticket_keys(key);
    }
    ~Context() override { OPENSSL_cleanse(ring_->data(), ring_->size() * ticket_key_size); }

    Result<std::vector<CertificateFacts>> use(const ServerKeys& keys) override
    {
        std::vector<CertificateFacts> facts;
        auto shared = TRY(build_all(keys, facts));
        shared->ring = ring_;
        shared_ = std::move(shared);
        return facts;
    }
    bool ready() const override { return shared_ != nullptr; }

    Result<void> set_ticket_keys(std::string_view bytes) override
    {
        if (bytes.empty() || bytes.size() % ticket_key_size != 0 || bytes.size() > max_ticket_keys * ticket_key_size)
            return fail("TLS ticket keys have a wrong size");
        OPENSSL_cleanse(ring_->data(), ring_->size() * ticket_key_size);    // forgotten keys open no recorded session
        ring_->resize(bytes.size() / ticket_key_size);
        std::memcpy(ring_->data(), bytes.data(), bytes.size());
        return {};
    }

    Result<std::unique_ptr<Session>> session(int fd) override
    {
        if (!shared_) return fail("no certificate is configured");
        ERR_clear_error();
        SslPtr ssl(SSL_new(shared_->first.get()));
        if (!ssl || SSL_set_fd(ssl.get(), fd) != 1) return fail_tls("TLS session");
        auto held = std::make_unique<std::shared_ptr<Shared>>(shared_);    // the session's own share: see Shared
        if (SSL_set_ex_data(ssl.get(), shared_index(), held.get()) != 1) return fail_tls("TLS session");
        held.release();
        SSL_set_accept_state(ssl.get());
        return std::unique_ptr<Session>(std::make_unique<SslSession>(std::move(ssl), ClientPolicy()));
    }

private:
    std::shared_ptr<Shared> shared_;    // shared_ptr: sessions hold it too
    std::shared_ptr<std::vector<TicketKey>> ring_ = std::make_shared<std::vector<TicketKey>>();
};

}  // namespace

std::unique_ptr<ServerContext> ServerContext::create() { return std::make_unique<Context>(); }

Result<std::vector<CertificateFacts>> check_keys(const ServerKeys& keys)
{
    std::vector<CertificateFacts> facts;
    TRY(build_all(keys, facts));
    return facts;
}

Result<void> read(Chain& chain)
{
    auto pairs = TRY(parse_chain(chain));
    static thread_local CtxPtr trial;      // making one takes longer than all the rest
    if (!trial) trial = TRY(make_server_context({}));
    for (const KeyAndChain& pair : pairs) TRY(install(trial.get(), pair, chain));
    chain.parsed = std::make_shared<ParsedChain>(ParsedChain{std::move(pairs)});
    return {};
}

Result<std::unique_ptr<ServerContext>> ServerContext::load(const std::string& cert_file, const std::string& key_file)
{
    std::string pem = TRY(read_file(cert_file, max_pem_file));    // not within the braces: an early return there leaks what was made
    Chain chain{cert_file, std::move(pem), false};
    if (!key_file.empty() && key_file != cert_file) {    // one file may hold both
        chain.name = cat(cert_file, " and ", key_file);
        append(chain.pem, "\n", TRY(read_file(key_file, max_pem_file)));
    }
    auto context = create();
    TRY(context->use({{chain}, {}, false, {}}));
    return context;
}

}  // namespace veredus::tls

// The client's context: SNI, resumption per key, and what the peer's certificate turned out to be worth.
#include <arpa/inet.h>
#include <openssl/pem.h>

#include <list>
#include <unordered_map>

#include "lib/base/directory.h"
#include "lib/base/text.h"
#include "lib/tls/openssl.h"

namespace veredus::tls {

namespace {

// The newest session of each key; the longest unused goes first.
class SessionCache {
public:
    void put(const std::string& key, SSL_SESSION* session)
    {
        drop(key);
        while (entries_.size() >= max_entries) {
            index_.erase(entries_.back().first);
            entries_.pop_back();
        }
        entries_.emplace_front(key, SessionPtr(session));
        index_[key] = entries_.begin();
    }
    // RFC 8446 §C.4: a ticket is used once.
    SessionPtr take(const std::string& key)
    {
        const auto found = index_.find(key);
        if (found == index_.end()) return nullptr;
        SessionPtr session = std::move(found->second->second);
        drop(key);
        return SSL_SESSION_is_resumable(session.get()) ? std::move(session) : nullptr;
    }

private:
    static constexpr std::size_t max_entries = 500; // a few KB each
    void drop(const std::string& key)
    {
        const auto found = index_.find(key);
        if (found == index_.end()) return;
        entries_.erase(found->second);
        index_.erase(found);
    }
    std::list<std::pair<std::string, SessionPtr>> entries_;
    std::unordered_map<std::string, std::list<std::pair<std::string, SessionPtr>>::iterator> index_;
};

bool is_ip(const std::string& host)
{
    unsigned char bytes[16];
    return ::inet_pton(AF_INET, host.c_str(), bytes) == 1 || ::inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

// The key of a connection's sessions rides on its SSL.
int key_index()
{
    static const int index =
        SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, [](void*, void* key, CRYPTO_EX_DATA*, int, long, void*) {
            delete static_cast<std::string*>(key);
        });
    return index;
}

class Context final : public ClientContext {
public:
    explicit Context(CtxPtr ctx) : ctx_(std::move(ctx))
    {
        SSL_CTX_set_app_data(ctx_.get(), this);
        SSL_CTX_set_session_cache_mode(ctx_.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx_.get(), remember);
    }

    Result<std::unique_ptr<Session>> session(int fd, const std::string& host, const std::string& cache_key) override
    {
        ClientPolicy policy;
        policy.server_name = policy.host = host;
        policy.versions.min = TLS1_2_VERSION;
        return session(fd, policy, cache_key);
    }
    Result<std::unique_ptr<Session>> session(int fd, const ClientPolicy& policy, const std::string& cache_key) override
    {
        ERR_clear_error();
        SslPtr ssl(SSL_new(ctx_.get()));
        if (!ssl || SSL_set_fd(ssl.get(), fd) != 1) return fail_tls("TLS session");
        TRY(apply(ssl.get(), policy));
        if (!cache_key.empty()) {
            SSL_set_ex_data(ssl.get(), key_index(), new std::string(cache_key));
            if (const SessionPtr old = cache_.take(cache_key)) SSL_set_session(ssl.get(), old.get());
        }
        SSL_set_connect_state(ssl.get());
        return std::unique_ptr<Session>(std::make_unique<SslSession>(std::move(ssl), policy));
    }

private:
    static Result<void> apply(SSL* ssl, const ClientPolicy& policy)
    {
        // RFC 6066 §3: an address is no name for SNI.
        const std::string& name = policy.server_name;
        if (!name.empty() && !is_ip(name) && SSL_set_tlsext_host_name(ssl, name.c_str()) != 1) return fail_tls(cat("TLS name ", name));
        if (!policy.ciphers.empty() && SSL_set_cipher_list(ssl, policy.ciphers.c_str()) != 1) return fail_tls("TLS ciphers");
        if (policy.versions.min && policy.versions.min < TLS1_2_VERSION) SSL_set_security_level(ssl, 0); // they sign with SHA-1
        if ((policy.versions.min && SSL_set_min_proto_version(ssl, policy.versions.min) != 1) || SSL_set_max_proto_version(ssl, policy.versions.max) != 1)
            return fail_tls("TLS versions");
        SSL_set_options(ssl, policy.versions.without);
        return {};
    }
    static int remember(SSL* ssl, SSL_SESSION* session) noexcept
    {
        auto* self = static_cast<Context*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
        const auto* key = static_cast<std::string*>(SSL_get_ex_data(ssl, key_index()));
        if (!key) return 0;
        self->cache_.put(*key, session);
        return 1; // the reference is ours now
    }
    CtxPtr ctx_;
    SessionCache cache_;
};

Result<void> load_directory(SSL_CTX* ctx, const std::string& path)
{
    unsigned loaded = 0;
    TRY(for_each_entry(path, [&](const DirectoryEntry& entry) {
        // Other files lie there too.
        if (entry.name[0] != '.' && SSL_CTX_load_verify_file(ctx, cat(path, '/', entry.name).c_str()) == 1) ++loaded;
        return true;
    }));
    ERR_clear_error();
    if (loaded == 0) return fail(cat(path, ": no certificate of an authority in it; give a folder with PEM files"));
    return {};
}

} // namespace

Result<std::unique_ptr<ClientContext>> ClientContext::create(const Files& files)
{
    CtxPtr ctx = TRY(make_context(TLS_client_method(), files.kernel));
    SSL_CTX_set_verify(ctx.get(), SSL_VERIFY_NONE, nullptr);
    if (!files.ca_text.empty()) TRY(load_authorities(ctx.get(), files.ca_text));
    if (!files.ca_path.empty()) TRY(load_directory(ctx.get(), files.ca_path));
    if (!files.own.name.empty()) {
        const auto pairs = TRY(parse_chain(files.own));
        for (const KeyAndChain& pair : pairs) TRY(install(ctx.get(), pair, files.own));
    }
    return std::unique_ptr<ClientContext>(std::make_unique<Context>(std::move(ctx)));
}

Result<std::unique_ptr<ClientContext>> ClientContext::create(const std::string& ca_file, const std::string& ca_path)
{
    CtxPtr ctx = TRY(make_context(TLS_client_method()));
    // The outcome is told by chain_trusted() and peer_verified(); nothing is refused here.
    SSL_CTX_set_verify(ctx.get(), SSL_VERIFY_NONE, nullptr);
    if (!ca_file.empty() && SSL_CTX_load_verify_file(ctx.get(), ca_file.c_str()) != 1)
        return fail_tls(cat("read certificates of authorities from ", ca_file));
    if (!ca_path.empty()) TRY(load_directory(ctx.get(), ca_path));
    return std::unique_ptr<ClientContext>(std::make_unique<Context>(std::move(ctx)));
}

} // namespace veredus::tls

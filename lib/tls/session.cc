// One TLS connection over a non-blocking fd: handshake, bytes, and the facts for the log.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "lib/base/text.h"
#include "lib/tls/openssl.h"

namespace veredus::tls {

std::string take_errors()
{
    std::string text;
    while (const unsigned long code = ERR_get_error()) {
        const char* reason = ERR_reason_error_string(code);
        if (!text.empty()) text += "; ";
        if (!reason && ERR_SYSTEM_ERROR(code)) {
            text += std::generic_category().message(ERR_GET_REASON(code));
            continue;
        }
        text += reason ? std::string(reason) : cat("error ", hex_upper(code, 8));
    }
    return text;
}

Unexpected fail_tls(std::string what)
{
    const std::string why = take_errors();
    return fail(why.empty() ? std::move(what) : cat(what, ": ", why));
}

Result<CtxPtr> make_context(const SSL_METHOD* method, bool kernel)
{
    ERR_clear_error();
    CtxPtr ctx(SSL_CTX_new(method));
    if (!ctx) return fail_tls("TLS context");
    if (SSL_CTX_set_min_proto_version(ctx.get(), TLS1_2_VERSION) != 1) return fail_tls("TLS versions");
    SSL_CTX_set_options(ctx.get(),
                        SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                            // SMTP and IMAP peers often close without a word; their own end marks tell cut content.
                            SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_read_ahead(ctx.get(), 1);    // one read for a record and what comes with it
    if (kernel) SSL_CTX_set_options(ctx.get(), SSL_OP_ENABLE_KTLS);
    SSL_CTX_set_mode(ctx.get(),
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    return ctx;
}

namespace {
// A handshake has some ten, and a server may send tickets after it; who rekeys does so after gigabytes.
constexpr unsigned most_messages = 100;
constexpr std::size_t bytes_of_message = 1024;     // of content, that make up for one
}

SslSession::SslSession(SslPtr ssl, ClientPolicy policy) : ssl_(std::move(ssl)), policy_(std::move(policy))
{
    SSL_set_msg_callback(ssl_.get(), on_message);
    SSL_set_msg_callback_arg(ssl_.get(), this);
}

// SSL_read works through all that is no content before it comes back, as long as the peer sends such: KeyUpdates (RFC 8446 §4.6.3), tickets,
// and what TLS 1.2 has for renegotiation. A connection that OpenSSL takes for shut down is one that it reads no further from.
void SslSession::on_message(int write, int, int type, const void*, size_t, SSL* ssl, void* self)
{
    if (write || type != SSL3_RT_HANDSHAKE) return;
    SslSession& session = *static_cast<SslSession*>(self);
    if (++session.messages_ > most_messages) SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_RECEIVED_SHUTDOWN);
}

Session::Step SslSession::judge(int result)
{
    const int saved = errno;
    if (messages_ > most_messages) {
        broken_ = tls_fault_ = true;
        error_ = "too many handshake messages (KeyUpdate, renegotiation)";
        return Step::failed;
    }
    switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ: return Step::want_read;
    case SSL_ERROR_WANT_WRITE: return Step::want_write;
    case SSL_ERROR_ZERO_RETURN: return Step::closed;
    case SSL_ERROR_SYSCALL:
        broken_ = true;
        error_ = take_errors();
        if (error_.empty()) error_ = saved ? fail_errno("TLS", saved).error.text : "the peer closed the connection";
        return Step::failed;
    default:
        broken_ = tls_fault_ = true;
        error_ = take_errors();
        if (error_.empty()) error_ = "TLS protocol error";
        return Step::failed;
    }
}

Session::Step SslSession::handshake()
{
    ERR_clear_error();
    errno = 0;
    const int result = SSL_do_handshake(ssl_.get());
    if (result == 1) {
        // RFC 8446 §4.6.1 lets a server give its ticket at any time: ours goes with the first words, and who leaves before costs none.
        ticket_due_ = SSL_is_server(ssl_.get()) && SSL_version(ssl_.get()) >= TLS1_3_VERSION;
        return Step::done;
    }
    const Step step = judge(result);
    if (step == Step::closed) error_ = "the peer closed the connection";
    return step;
}

Session::Step SslSession::read(char* buffer, std::size_t size, std::size_t& got)
{
    got = 0;
    ERR_clear_error();
    errno = 0;
    const int result = SSL_read_ex(ssl_.get(), buffer, size, &got);
    if (result != 1) return judge(result);
    paid_ += got;
    messages_ -= static_cast<unsigned>(std::min<std::size_t>(messages_, paid_ / bytes_of_message));
    paid_ %= bytes_of_message;
    return Step::done;
}

Session::Step SslSession::write(std::string_view bytes, std::size_t& taken)
{
    taken = 0;
    if (bytes.empty()) return Step::done;
    ERR_clear_error();
    const bool ticket = std::exchange(ticket_due_, false) && SSL_new_session_ticket(ssl_.get()) == 1;
    if (ticket) cork(true);
    errno = 0;
    const int result = SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &taken);
    const Step step = result == 1 ? Step::done : judge(result);
    if (ticket) cork(false);
    return step;
}

// OpenSSL writes a ticket by itself; in one packet with what follows, it costs the peer no wake-up. Not on Unix sockets.
void SslSession::cork(bool on)
{
    const int value = on;
    ::setsockopt(SSL_get_wfd(ssl_.get()), IPPROTO_TCP, TCP_CORK, &value, sizeof value);
}

bool SslSession::sends_files() const
{
    return SSL_is_init_finished(ssl_.get()) && BIO_get_ktls_send(SSL_get_wbio(ssl_.get()));
}

Session::Step SslSession::send_file(int file, uint64_t offset, std::size_t size, std::size_t& taken)
{
    taken = 0;
    if (size == 0) return Step::done;
    ERR_clear_error();
    errno = 0;
    const ossl_ssize_t result = SSL_sendfile(ssl_.get(), file, static_cast<off_t>(offset), size, 0);
    if (result > 0) {
        taken = static_cast<std::size_t>(result);
        return Step::done;
    }
    if (result == 0) { // OpenSSL has no word for it
        error_ = "sendfile: the file is shorter than expected";
        return Step::failed;
    }
    return judge(static_cast<int>(result));
}

void SslSession::close_notify()
{
    if (broken_ || !SSL_is_init_finished(ssl_.get())) return;
    ERR_clear_error();
    SSL_shutdown(ssl_.get()); // sends ours and does not wait for the peer's
    ERR_clear_error();
}

std::string SslSession::protocol() const
{
    return SSL_get_version(ssl_.get());
}

std::string SslSession::cipher() const
{
    const SSL_CIPHER* cipher = SSL_get_current_cipher(ssl_.get());
    if (!cipher) return "(NONE)";
    int algorithm = 0;
    const int used = SSL_CIPHER_get_bits(cipher, &algorithm);
    return cat(SSL_CIPHER_get_name(cipher), " (", used, '/', algorithm, " bits)");
}

namespace {

std::string curve_of(EVP_PKEY* key)
{
    char name[80];
    std::size_t size = 0;
    return EVP_PKEY_get_group_name(key, name, sizeof name, &size) == 1 ? std::string(name, size)
                                                                       : std::string("unknown curve");
}

// The words are Postfix's (tls_misc.c), so that its readers find them.
std::string describe_exchange(EVP_PKEY* key)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_EC: return cat("ECDHE (", curve_of(key), ')');
    case EVP_PKEY_DH: return cat("DHE (", EVP_PKEY_get_bits(key), " bits)");
    default: return OBJ_nid2sn(EVP_PKEY_get_base_id(key));
    }
}

std::string describe_signature(int type, EVP_PKEY* key)
{
    if (type == EVP_PKEY_EC) return cat("ECDSA (", key ? curve_of(key) : "unknown curve", ')');
    const char* name = type == EVP_PKEY_RSA_PSS ? "RSA-PSS" : OBJ_nid2sn(type);
    if (type == EVP_PKEY_RSA) name = "RSA";
    std::string text = name;
    if (key && (type == EVP_PKEY_RSA || type == EVP_PKEY_RSA_PSS)) append(text, " (", EVP_PKEY_get_bits(key), " bits)");
    return text;
}

} // namespace

std::string SslSession::key_exchange() const
{
    SSL* ssl = ssl_.get();
    if (SSL_version(ssl) < TLS1_3_VERSION) return {};
    std::string text;
    EVP_PKEY* exchanged = nullptr;
    if (SSL_get_peer_tmp_key(ssl, &exchanged)) {
        append(text, " key-exchange ", describe_exchange(exchanged));
        EVP_PKEY_free(exchanged);
    }
    const bool server = SSL_is_server(ssl);
    int type = 0;
    if (!(server ? SSL_get_signature_type_nid(ssl, &type) : SSL_get_peer_signature_type_nid(ssl, &type)) ||
        SSL_session_reused(ssl))
        return text;
    X509* certificate = server ? SSL_get_certificate(ssl) : SSL_get0_peer_certificate(ssl);
    append(text, " server-signature ", describe_signature(type, certificate ? X509_get0_pubkey(certificate) : nullptr));
    int digest = 0;
    if ((server ? SSL_get_signature_nid(ssl, &digest) : SSL_get_peer_signature_nid(ssl, &digest)) &&
        digest != NID_undef)
        append(text, " server-digest ", OBJ_nid2sn(digest));
    return text;
}

bool SslSession::resumed() const
{
    return SSL_session_reused(ssl_.get()) == 1;
}
bool SslSession::peer_certificate() const
{
    return SSL_get0_peer_certificate(ssl_.get()) != nullptr;
}
bool SslSession::chain_trusted() const
{
    return peer_certificate() && SSL_get_verify_result(ssl_.get()) == X509_V_OK;
}

bool SslSession::has_name(const std::string& name) const
{
    X509* certificate = SSL_get0_peer_certificate(ssl_.get());
    if (!certificate || name.empty()) return false;
    if (X509_check_ip_asc(certificate, name.c_str(), 0) == 1) return true;
    // RFC 6125 §6.4.3: a wildcard is a whole label. A name with a dot in front stands for all that are below it.
    return X509_check_host(certificate, name.data(), name.size(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, nullptr) == 1;
}

bool SslSession::peer_verified() const
{
    return chain_trusted() && has_name(policy_.host);
}

namespace {

std::string hex_digest(const EVP_MD* kind, const unsigned char* bytes, std::size_t size)
{
    unsigned char value[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (EVP_Digest(bytes, size, value, &length, kind, nullptr) != 1) return {};
    static constexpr char digits[] = "0123456789abcdef";
    std::string out;
    for (unsigned i = 0; i < length; ++i) {
        out += digits[value[i] >> 4];
        out += digits[value[i] & 15];
    }
    return out;
}

// Of the certificate and of its public key.
std::vector<std::string> fingerprints_of(X509* certificate, const std::string& digest)
{
    std::vector<std::string> out;
    const EVP_MD* kind = EVP_get_digestbyname(digest.c_str());
    if (!kind) return out;
    unsigned char* der = nullptr;
    if (const int size = i2d_X509(certificate, &der); size > 0) out.push_back(hex_digest(kind, der, static_cast<std::size_t>(size)));
    OPENSSL_free(std::exchange(der, nullptr));
    if (const int size = i2d_PUBKEY(X509_get0_pubkey(certificate), &der); size > 0)
        out.push_back(hex_digest(kind, der, static_cast<std::size_t>(size)));
    OPENSSL_free(der);
    return out;
}

std::string common_name(const X509_NAME* name)
{
    char text[256];
    const int size = X509_NAME_get_text_by_NID(const_cast<X509_NAME*>(name), NID_commonName, text, sizeof text);
    return size > 0 ? std::string(text, static_cast<std::size_t>(size)) : std::string();
}

std::string with_colons(const std::string& hex)
{
    std::string out;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2) append(out, i ? ":" : "", upper(hex.substr(i, 2)));
    return out;
}

} // namespace

std::optional<PeerCertificate> SslSession::peer(const std::string& digest) const
{
    X509* certificate = SSL_get0_peer_certificate(ssl_.get());
    if (!certificate) return std::nullopt;
    PeerCertificate out;
    out.subject = common_name(X509_get_subject_name(certificate));
    out.issuer = common_name(X509_get_issuer_name(certificate));
    const auto fingerprints = fingerprints_of(certificate, digest);
    if (fingerprints.size() != 2) return std::nullopt;
    out.fingerprint = with_colons(fingerprints[0]);
    out.key_fingerprint = with_colons(fingerprints[1]);
    return out;
}

bool SslSession::matched() const
{
    X509* certificate = SSL_is_server(ssl_.get()) ? nullptr : SSL_get0_peer_certificate(ssl_.get());
    if (!certificate) return false;
    switch (policy_.demand) {
    case ClientPolicy::Demand::nothing: return false;
    case ClientPolicy::Demand::fingerprint:
        for (const std::string& one : fingerprints_of(certificate, policy_.digest))
            for (const std::string& wanted : policy_.fingerprints)
                if (!one.empty() && one == wanted) return true;
        return false;
    case ClientPolicy::Demand::name:
        if (!chain_trusted()) return false;
        for (const std::string& name : policy_.names)
            if (has_name(name)) return true;
        return false;
    }
    return false;
}

std::string SslSession::why_not() const
{
    X509* certificate = SSL_get0_peer_certificate(ssl_.get());
    if (!certificate) return "the server has no certificate";
    if (policy_.demand == ClientPolicy::Demand::fingerprint) {
        const auto has = fingerprints_of(certificate, policy_.digest);
        return cat("its fingerprints are ", has.empty() ? "unknown" : has[0], has.size() > 1 ? " and, of its key, " : "", has.size() > 1 ? has[1] : "");
    }
    if (!chain_trusted()) return X509_verify_cert_error_string(SSL_get_verify_result(ssl_.get()));
    std::string wanted;
    for (const std::string& name : policy_.names) append(wanted, wanted.empty() ? "" : ", ", name);
    return cat("it has no name of: ", wanted);
}

std::string SslSession::server_name() const
{
    if (!SSL_is_server(ssl_.get())) return {};
    if (!SSL_get_app_data(ssl_.get())) return {};    // unknown names get the certificate of all
    const char* name = SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name);
    return name ? std::string(name) : std::string();
}

// Without the extended master secret two connections can be made to have the same value (RFC 7627 §1, RFC 9266 §4.2).
bool SslSession::binds_channel() const
{
    SSL* ssl = ssl_.get();
    return SSL_is_init_finished(ssl) && (SSL_version(ssl) >= TLS1_3_VERSION || SSL_get_extms_support(ssl) == 1);
}

std::optional<std::string> SslSession::channel_binding(std::string_view type) const
{
    SSL* ssl = ssl_.get();
    if (!binds_channel()) return std::nullopt;
    const bool current = SSL_version(ssl) >= TLS1_3_VERSION;
    if (type == "tls-exporter") {  // RFC 9266 §2
        static constexpr std::string_view label = "EXPORTER-Channel-Binding";
        unsigned char value[32];
        static constexpr unsigned char nothing[1] = {};
        if (SSL_export_keying_material(ssl, value, sizeof value, label.data(), label.size(), nothing, 0, 1) != 1) return std::nullopt;
        return std::string(reinterpret_cast<const char*>(value), sizeof value);
    }
    if (type != "tls-unique" || current) return std::nullopt;
    // RFC 5929 §3.1: the first Finished message: the client's in a full handshake, the server's in a resumed one.
    const bool clients = SSL_session_reused(ssl) != 1;
    const bool ours = (SSL_is_server(ssl) == 1) != clients;
    unsigned char value[64];
    const std::size_t size = ours ? SSL_get_finished(ssl, value, sizeof value) : SSL_get_peer_finished(ssl, value, sizeof value);
    if (size == 0 || size > sizeof value) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(value), size);
}

std::string Session::summary() const
{
    return cat(protocol(), " with cipher ", cipher(), key_exchange());
}

// Postfix says "Verified" only when the policy asked for a matching name or fingerprint.
std::string Session::trust_word() const
{
    if (matched()) return "Verified";
    if (!peer_certificate()) return "Anonymous";
    return chain_trusted() ? "Trusted" : "Untrusted";
}

} // namespace veredus::tls

// The server's context: one certificate with its key; and the self-signed one for hosts that have none yet.
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/tls/openssl.h"

namespace veredus::tls {

namespace {

class Context final : public ServerContext {
public:
    explicit Context(CtxPtr ctx) : ctx_(std::move(ctx)) {}
    Result<std::unique_ptr<Session>> session(int fd) override
    {
        ERR_clear_error();
        SslPtr ssl(SSL_new(ctx_.get()));
        if (!ssl || SSL_set_fd(ssl.get(), fd) != 1) return fail_tls("TLS session");
        SSL_set_accept_state(ssl.get());
        return std::unique_ptr<Session>(std::make_unique<SslSession>(std::move(ssl), std::string()));
    }

private:
    CtxPtr ctx_;
};

} // namespace

Result<std::unique_ptr<ServerContext>> ServerContext::load(const std::string& cert_file, const std::string& key_file)
{
    CtxPtr ctx = TRY(make_context(TLS_server_method()));
    SSL_CTX_set_options(ctx.get(), SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    if (SSL_CTX_set1_groups_list(ctx.get(), "X25519:P-256:P-384") != 1) return fail_tls("TLS groups");
    static constexpr unsigned char name[] = "veredus";
    SSL_CTX_set_session_id_context(ctx.get(), name, sizeof name - 1);
    // An encrypted key would make OpenSSL ask at the terminal, which a daemon has not.
    SSL_CTX_set_default_passwd_cb(ctx.get(), [](char*, int, int, void*) { return 0; });
    if (SSL_CTX_use_certificate_chain_file(ctx.get(), cert_file.c_str()) != 1)
        return fail_tls(cat("read the certificate in ", cert_file));
    const std::string& key = key_file.empty() ? cert_file : key_file; // one file may hold both
    if (SSL_CTX_use_PrivateKey_file(ctx.get(), key.c_str(), SSL_FILETYPE_PEM) != 1)
        return fail_tls(cat("read the private key in ", key));
    if (SSL_CTX_check_private_key(ctx.get()) != 1)
        return fail_tls(cat("the key in ", key, " does not belong to the certificate in ", cert_file));
    return std::unique_ptr<ServerContext>(std::make_unique<Context>(std::move(ctx)));
}

namespace {

bool add_extension(X509* certificate, int nid, const std::string& value)
{
    const std::unique_ptr<X509_EXTENSION, Freed<X509_EXTENSION_free>> extension(
        X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str()));
    return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool fill(X509* certificate, EVP_PKEY* key, const std::string& host)
{
    static constexpr long ten_years = 3650L * 86400;
    X509_NAME* name = X509_get_subject_name(certificate);
    const auto* common = reinterpret_cast<const unsigned char*>(host.data());
    const int size = static_cast<int>(host.size() < 64 ? host.size() : 64); // RFC 5280 A.1: ub-common-name
    return X509_set_version(certificate, 2) == 1 &&
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), random_u64() >> 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), -86400) &&
           X509_gmtime_adj(X509_getm_notAfter(certificate), ten_years) &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, common, size, -1, 0) == 1 &&
           X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
           add_extension(certificate, NID_subject_alt_name, cat("DNS:", host)) &&
           add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           X509_sign(certificate, key, EVP_sha256()) > 0;
}

std::string drain(BIO* bio)
{
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(bio, &bytes);
    return size > 0 ? std::string(bytes, static_cast<std::size_t>(size)) : std::string();
}

} // namespace

Result<Pems> make_self_signed(const std::string& host)
{
    for (const char c : host) // the name goes into OpenSSL's extension language, where ',' and ':' mean something
        if (!is_alnum(c) && c != '.' && c != '-' && c != '_')
            return fail(cat("no certificate for the host name ", printable(host)));
    if (host.empty()) return fail("no certificate for an empty host name");
    ERR_clear_error();
    const PkeyPtr key(EVP_EC_gen("P-256"));
    const X509Ptr certificate(X509_new());
    if (!key || !certificate || !fill(certificate.get(), key.get(), host)) return fail_tls("make a certificate");
    const BioPtr certificate_pem(BIO_new(BIO_s_mem())), key_pem(BIO_new(BIO_s_mem()));
    if (!certificate_pem || !key_pem || PEM_write_bio_X509(certificate_pem.get(), certificate.get()) != 1 ||
        PEM_write_bio_PKCS8PrivateKey(key_pem.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
        return fail_tls("write a certificate");
    return Pems{drain(certificate_pem.get()), drain(key_pem.get())};
}

} // namespace veredus::tls

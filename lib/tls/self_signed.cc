// A certificate for hosts that have none yet: a P-256 key and what it says about itself.
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/tls/openssl.h"

namespace veredus::tls {

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

// PEM text as keys and certificates, and what a certificate says.
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <ctime>
#include <map>
#include <string>
#include <string_view>

#include "lib/base/text.h"
#include "lib/tls/openssl.h"

namespace veredus::tls {

namespace {

constexpr std::size_t max_certificates = 20;    // in one chain

// One block of PEM, freed as what it may be: a key.
struct Block {
    char *name = nullptr, *header = nullptr;
    unsigned char* data = nullptr;
    long size = 0;
    Block() = default;
    Block(const Block&) = delete;
    ~Block()
    {
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(data, static_cast<std::size_t>(size));
    }
};

// Thousands of chains have the same issuers, and OpenSSL takes a quarter of a millisecond for each certificate.
X509Ptr issuer_of(const unsigned char* data, long size)
{
    constexpr std::size_t most = 100;
    static thread_local std::map<std::string, X509Ptr, std::less<>> known;
    const std::string_view bytes(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
    auto at = known.find(bytes);
    if (at == known.end()) {
        X509Ptr fresh(d2i_X509(nullptr, &data, size));
        if (!fresh) return nullptr;
        if (known.size() >= most) known.clear();
        at = known.emplace(bytes, std::move(fresh)).first;
    }
    return X509_up_ref(at->second.get()) == 1 ? X509Ptr(at->second.get()) : nullptr;
}

// By its type where that is told: to find it out takes three times as long as to read it.
PkeyPtr key_of(std::string_view name, const unsigned char* data, long size)
{
    int type = name == "EC PRIVATE KEY" ? EVP_PKEY_EC : name == "RSA PRIVATE KEY" ? EVP_PKEY_RSA : EVP_PKEY_NONE;
    const unsigned char* at = data;
    if (name == "PRIVATE KEY") {
        const std::unique_ptr<PKCS8_PRIV_KEY_INFO, Freed<PKCS8_PRIV_KEY_INFO_free>> info(d2i_PKCS8_PRIV_KEY_INFO(nullptr, &at, size));
        const ASN1_OBJECT* algorithm = nullptr;
        if (info && PKCS8_pkey_get0(&algorithm, nullptr, nullptr, nullptr, info.get()) == 1) type = OBJ_obj2nid(algorithm);
    }
    at = data;
    PkeyPtr key(type == EVP_PKEY_EC || type == EVP_PKEY_RSA ? d2i_PrivateKey(type, nullptr, &at, size) : nullptr);
    if (key) return key;
    ERR_clear_error();
    at = data;
    return PkeyPtr(d2i_AutoPrivateKey(nullptr, &at, size));
}

class Parser {
public:
    explicit Parser(const Chain& chain) : chain_(chain) {}
    Result<std::vector<KeyAndChain>> run()
    {
        ERR_clear_error();
        const BioPtr bio(BIO_new_mem_buf(chain_.pem.data(), static_cast<int>(chain_.pem.size())));
        if (!bio) return fail_tls("read PEM");
        for (;;) {
            Block block;
            if (PEM_read_bio(bio.get(), &block.name, &block.header, &block.data, &block.size) != 1) {
                if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) return fail_tls(cat(chain_.name, ": damaged PEM text"));
                ERR_clear_error();
                break;
            }
            TRY(take(block));
        }
        TRY(finish());
        if (done_.empty()) return fail(cat(chain_.name, ": no certificate and no key in it"));
        return std::move(done_);
    }

private:
    Result<void> take(const Block& block)
    {
        const std::string_view name = block.name;
        const unsigned char* data = block.data;
        if (name == "CERTIFICATE" || name == "X509 CERTIFICATE" || name == "TRUSTED CERTIFICATE") {
            if (chain_.in_order && !now_.key) return fail(cat(chain_.name, ": a certificate before its private key"));
            X509Ptr certificate(name.starts_with("TRUSTED") ? X509Ptr(d2i_X509_AUX(nullptr, &data, block.size))
                                : now_.certificates.empty() ? X509Ptr(d2i_X509(nullptr, &data, block.size))
                                                            : issuer_of(data, block.size));
            if (!certificate) return fail_tls(cat(chain_.name, ": damaged certificate"));
            if (now_.certificates.size() >= max_certificates) return fail(cat(chain_.name, ": more than ", max_certificates, " certificates for one key"));
            now_.certificates.push_back(std::move(certificate));
        } else if (name.ends_with("PRIVATE KEY")) {
            // An encrypted key wants somebody at a terminal, which a daemon has not.
            if (name == "ENCRYPTED PRIVATE KEY" || std::string_view(block.header).find("ENCRYPTED") != std::string_view::npos)
                return fail(cat(chain_.name, ": the private key is encrypted; `openssl pkey` can write it without a passphrase"));
            PkeyPtr key = key_of(name, data, block.size);
            if (!key) return fail_tls(cat(chain_.name, ": damaged private key"));
            if (now_.key && !chain_.in_order) {    // whichever fits the certificate
                others_.push_back(std::move(key));
                return {};
            }
            if (now_.key) TRY(finish());
            now_.key = std::move(key);
        }
        return {};    // EC PARAMETERS, DH PARAMETERS: not needed
    }

    Result<void> finish()
    {
        if (!now_.key && now_.certificates.empty()) return {};
        if (!now_.key) return fail(cat(chain_.name, ": no private key"));
        if (now_.certificates.empty()) return fail(cat(chain_.name, ": no certificate"));
        for (PkeyPtr& other : others_)
            if (X509_check_private_key(now_.certificates[0].get(), other.get()) == 1) now_.key = std::move(other);
        ERR_clear_error();
        if (X509_check_private_key(now_.certificates[0].get(), now_.key.get()) != 1)
            return fail_tls(cat(chain_.name, ": the private key does not belong to the certificate"));
        done_.push_back(std::move(now_));
        now_ = {};
        return {};
    }

    const Chain& chain_;
    KeyAndChain now_;
    std::vector<PkeyPtr> others_;
    std::vector<KeyAndChain> done_;
};

std::string first_name(X509* certificate)
{
    const std::unique_ptr<GENERAL_NAMES, Freed<GENERAL_NAMES_free>> names(
        static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
        const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
        if (name->type != GEN_DNS) continue;
        return std::string(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)), static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName)));
    }
    char common[256];
    const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, common, sizeof common);
    return size > 0 ? std::string(common, static_cast<std::size_t>(size)) : std::string("nobody");
}

}  // namespace

Result<std::vector<KeyAndChain>> parse_chain(const Chain& chain) { return Parser(chain).run(); }

namespace {

// They stay the pair's.
struct FreeStack {
    void operator()(STACK_OF(X509)* stack) const noexcept { sk_X509_free(stack); }
};
std::unique_ptr<STACK_OF(X509), FreeStack> issuers_of(const KeyAndChain& pair) noexcept
{
    std::unique_ptr<STACK_OF(X509), FreeStack> issuers(sk_X509_new_null());
    for (std::size_t i = 1; issuers && i < pair.certificates.size(); ++i)
        if (sk_X509_push(issuers.get(), pair.certificates[i].get()) == 0) issuers.reset();
    return issuers;
}

}  // namespace

bool install(SSL* ssl, const KeyAndChain& pair) noexcept
{
    const auto issuers = issuers_of(pair);
    return issuers && SSL_use_cert_and_key(ssl, pair.certificates[0].get(), pair.key.get(), issuers.get(), 1) == 1;
}

Result<void> install(SSL_CTX* ctx, const KeyAndChain& pair, const Chain& chain)
{
    const auto issuers = issuers_of(pair);
    if (!issuers) return fail_tls("TLS certificates");
    if (SSL_CTX_use_cert_and_key(ctx, pair.certificates[0].get(), pair.key.get(), issuers.get(), 1) != 1)
        return fail_tls(cat("use the certificate in ", chain.name));
    return {};
}

CertificateFacts facts_of(const KeyAndChain& pair, const std::string& chain_name)
{
    CertificateFacts facts;
    X509* certificate = pair.certificates[0].get();
    facts.chain = chain_name;
    facts.host = printable(first_name(certificate), 255);
    facts.kind = EVP_PKEY_get_base_id(pair.key.get()) == EVP_PKEY_EC ? "ECDSA" : OBJ_nid2sn(EVP_PKEY_get_base_id(pair.key.get()));
    if (facts.kind == "rsaEncryption") facts.kind = "RSA";
    tm end{};
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1) facts.not_after = ::timegm(&end);
    return facts;
}

Result<void> load_authorities(SSL_CTX* ctx, const std::string& text)
{
    const BioPtr bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
    if (!bio) return fail_tls("TLS memory");
    unsigned loaded = 0;
    while (const X509Ptr certificate{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
        if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), certificate.get()) != 1) return fail_tls("certificate of an authority");
        ++loaded;
    }
    ERR_clear_error(); // the end of the text
    if (loaded == 0) return fail("no certificate of an authority is in it");
    return {};
}

}  // namespace veredus::tls

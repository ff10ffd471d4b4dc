// The schemes of stored passwords.
#include "lib/auth/password.h"

#include <crypt.h>

#include <memory>

#include "lib/auth/argon2.h"
#include "lib/auth/mechanism.h"
#include "lib/base/base64.h"
#include "lib/base/random.h"
#include "lib/base/text.h"

namespace veredus::auth {

namespace {

enum class Kind { crypt, plain, salted, md5, hmac_md5, scram, pbkdf2, argon2 };

struct Scheme {
    const char* name;
    Kind kind;
    tls::Digest hash;
    const char* crypt_prefix;     // for making; null: not made here
};

constexpr Scheme schemes[] = {
    {"SCRAM-SHA-256", Kind::scram, tls::Digest::sha256, ""},
    {"SCRAM-SHA-1", Kind::scram, tls::Digest::sha1, ""},
    {"ARGON2ID", Kind::argon2, tls::Digest::sha1, ""},
    {"ARGON2I", Kind::argon2, tls::Digest::sha1, nullptr},
    {"CRYPT", Kind::crypt, tls::Digest::sha1, "$y$"},
    {"YESCRYPT", Kind::crypt, tls::Digest::sha1, "$y$"},
    {"BLF-CRYPT", Kind::crypt, tls::Digest::sha1, "$2b$"},
    {"SHA512-CRYPT", Kind::crypt, tls::Digest::sha1, "$6$"},
    {"SHA256-CRYPT", Kind::crypt, tls::Digest::sha1, "$5$"},
    {"MD5-CRYPT", Kind::crypt, tls::Digest::sha1, nullptr},
    {"DES-CRYPT", Kind::crypt, tls::Digest::sha1, nullptr},
    {"SSHA512", Kind::salted, tls::Digest::sha512, ""},
    {"SSHA256", Kind::salted, tls::Digest::sha256, ""},
    {"SSHA", Kind::salted, tls::Digest::sha1, nullptr},
    {"SHA512", Kind::salted, tls::Digest::sha512, nullptr},
    {"SHA256", Kind::salted, tls::Digest::sha256, nullptr},
    {"SHA1", Kind::salted, tls::Digest::sha1, nullptr},
    {"SHA", Kind::salted, tls::Digest::sha1, nullptr},
    // Broken long ago, and read for those who move here with them. Their hash is MD5, which an OpenSSL under FIPS does not have.
    {"SMD5", Kind::md5, tls::Digest::sha1, nullptr},
    {"LDAP-MD5", Kind::md5, tls::Digest::sha1, nullptr},
    {"PLAIN-MD5", Kind::md5, tls::Digest::sha1, nullptr},
    {"CRAM-MD5", Kind::hmac_md5, tls::Digest::sha1, nullptr},
    {"HMAC-MD5", Kind::hmac_md5, tls::Digest::sha1, nullptr},
    {"PBKDF2", Kind::pbkdf2, tls::Digest::sha1, nullptr},
    {"PLAIN", Kind::plain, tls::Digest::sha1, ""},
    {"CLEARTEXT", Kind::plain, tls::Digest::sha1, nullptr},
    {"CLEAR", Kind::plain, tls::Digest::sha1, nullptr},
};

struct Form {
    const Scheme* scheme = nullptr;
    std::string data;              // decoded
};

const Scheme* find_scheme(std::string_view name)
{
    for (const Scheme& scheme : schemes)
        if (iequals(name, scheme.name)) return &scheme;
    return nullptr;
}

std::optional<std::string> decode_hex(std::string_view text)
{
    std::string out;
    if (text.size() % 2) return std::nullopt;
    for (std::size_t i = 0; i < text.size(); i += 2) {
        const auto byte = parse_hex(text.substr(i, 2));
        if (!byte) return std::nullopt;
        out += static_cast<char>(*byte);
    }
    return out;
}

bool is_digest(const Scheme& scheme) { return scheme.kind == Kind::salted || scheme.kind == Kind::md5 || scheme.kind == Kind::hmac_md5; }
std::size_t size_of_digest(const Scheme& scheme) { return scheme.kind == Kind::md5 ? 16 : scheme.kind == Kind::hmac_md5 ? 32 : tls::digest_size(scheme.hash); }
bool has_salt(const Scheme& scheme) { return is_digest(scheme) && (std::string_view(scheme.name).starts_with("SSHA") || std::string_view(scheme.name) == "SMD5"); }

// "{SHA512.HEX}…": the encoding may be named; digests are base64 when it is not (hex is told by its length, as Dovecot does).
Result<Form> read_form(std::string_view stored)
{
    if (!stored.starts_with('{')) return Form{find_scheme(stored.starts_with("$argon2") ? "ARGON2ID" : "CRYPT"), std::string(stored)};
    const auto end = stored.find('}');
    if (end == std::string_view::npos) return fail("a password scheme without its closing brace");
    const auto [name, encoding] = cut(stored.substr(1, end - 1), '.');
    const std::string_view text = stored.substr(end + 1);
    // {MD5} is MD5-CRYPT for Dovecot; LDAP's has no "$".
    const bool md5 = iequals(name, "MD5");
    Form form{find_scheme(!md5 ? name : text.starts_with("$1$") ? "MD5-CRYPT" : "LDAP-MD5"), ""};
    if (!form.scheme) return fail(cat("password scheme {", printable(name, 40), "} is not known"));
    const bool digest = is_digest(*form.scheme), unsalted = digest && !has_salt(*form.scheme);
    std::optional<std::string> data;
    if (encoding && iequals(*encoding, "HEX"))
        data = decode_hex(text);
    else if ((encoding && (iequals(*encoding, "B64") || iequals(*encoding, "BASE64"))) || (!encoding && digest))
        data = !encoding && unsalted && text.size() == 2 * size_of_digest(*form.scheme) ? decode_hex(text) : base64_decode(text);
    else if (!encoding)
        data = text;
    if (!data) return fail(cat("what follows {", printable(stored.substr(1, end - 1), 40), "} is not of its form"));
    form.data = std::move(*data);
    return form;
}

struct CryptWork {
    CryptWork() : data(std::make_unique<crypt_data>()) {}     // zeroed; 32 KB: not on a thread's small stack
    ~CryptWork()
    {
        std::string_view bytes(reinterpret_cast<const char*>(data.get()), sizeof *data);
        volatile char* p = const_cast<char*>(bytes.data());   // it holds the passphrase
        for (std::size_t i = 0; i < bytes.size(); ++i) p[i] = 0;
    }
    std::unique_ptr<crypt_data> data;
};

// Empty when libcrypt has no such form or refuses.
std::string crypted(const std::string& password, const std::string& setting)
{
    CryptWork work;
    const char* out = ::crypt_rn(password.c_str(), setting.c_str(), work.data.get(), sizeof *work.data);
    return out && out[0] != '*' ? std::string(out) : std::string();
}

bool check_crypt(const std::string& stored, std::string_view password)
{
    std::string text(password);
    const std::string made = crypted(text, stored);
    tls::wipe(text);
    return !made.empty() && tls::equal_time(made, stored);
}

// {SSHA…}, {SMD5}: digest of password and salt, then the salt; the others: without one.
Result<bool> check_salted(const Scheme& scheme, std::string_view data, std::string_view password)
{
    const std::size_t size = size_of_digest(scheme);
    std::string text = cat(password, data.substr(size));
    const std::string made = scheme.kind == Kind::md5 ? decode_hex(tls::md5_hex(text)).value_or("") : tls::digest(scheme.hash, text);
    tls::wipe(text);
    if (made.empty()) return fail(cat("OpenSSL has no MD5 here, which {", scheme.name, "} needs"));
    return tls::equal_time(made, data.substr(0, size));
}

struct Pbkdf2 {
    std::string_view salt;
    uint32_t rounds = 0;
    std::string key;
};

// "$1$salt$rounds$hex" (Dovecot)
std::optional<Pbkdf2> read_pbkdf2(std::string_view data)
{
    const auto parts = split_on(data, '$');
    if (parts.size() != 5 || !parts[0].empty() || parts[1] != "1") return std::nullopt;
    const auto rounds = parse_number<uint32_t>(parts[3], max_scram_iterations);
    auto key = decode_hex(parts[4]);
    if (!rounds || *rounds == 0 || !key || key->size() != 20) return std::nullopt;
    return Pbkdf2{parts[2], *rounds, std::move(*key)};
}

Result<void> check_data(const Form& form)
{
    const auto misfit = [&]() -> Result<void> { return fail(cat("what follows {", form.scheme->name, "} is not of its form")); };
    switch (form.scheme->kind) {
    case Kind::plain: return form.data.empty() ? misfit() : Result<void>();
    case Kind::crypt: {
        if (form.data.find_first_of(std::string_view(" \t\n:\0", 5)) != std::string::npos || form.data.size() > 384) return misfit();
        if (form.data[0] != '$' && form.data.size() != 13 && form.data[0] != '_') return misfit();     // no DES form: a forgotten {PLAIN}
        return ::crypt_checksalt(form.data.c_str()) == CRYPT_SALT_INVALID ? misfit() : Result<void>();
    }
    case Kind::salted:
    case Kind::md5: {
        const std::size_t size = size_of_digest(*form.scheme);
        return has_salt(*form.scheme) ? (form.data.size() > size ? Result<void>() : misfit()) : (form.data.size() == size ? Result<void>() : misfit());
    }
    case Kind::scram: return ScramSecret::parse(form.scheme->hash, form.data) ? Result<void>() : misfit();
    case Kind::hmac_md5: return form.data.size() == size_of_digest(*form.scheme) ? Result<void>() : misfit();
    case Kind::pbkdf2: return read_pbkdf2(form.data) ? Result<void>() : misfit();
    case Kind::argon2:
        if (!argon2_built_in()) return fail(cat('{', form.scheme->name, "}: this veredus was built without Argon2 (configure found no libargon2-dev)"));
        if (Argon2::parse(form.data)) return {};
        return fail(cat("what follows {", form.scheme->name, "} is not $argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH, or wants more than 1 GiB of memory or 16 GiB in all passes"));
    }
    return {};
}

Result<std::string> make_crypt(const Scheme& scheme, const std::string& password)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    if (!::crypt_gensalt_rn(scheme.crypt_prefix, 0, nullptr, 0, setting, sizeof setting)) return fail(cat("libcrypt makes no ", scheme.name));
    std::string made = crypted(password, setting);
    if (made.empty()) return fail(cat("libcrypt refuses this password for ", scheme.name, " (too long?)"));
    return cat('{', scheme.name, '}', made);
}

}  // namespace

bool is_locked(std::string_view stored) { return stored.empty() || stored[0] == '!' || stored[0] == '*'; }

Result<void> check_form(std::string_view stored)
{
    if (is_locked(stored)) return {};
    return check_data(TRY(read_form(stored)));
}

Result<bool> check_password(std::string_view stored, std::string_view password)
{
    if (is_locked(stored)) return false;
    const Form form = TRY(read_form(stored));
    TRY(check_data(form));
    if (password.find('\0') != std::string_view::npos) return false;
    switch (form.scheme->kind) {
    case Kind::plain: return tls::equal_time(tls::digest(tls::Digest::sha256, form.data), tls::digest(tls::Digest::sha256, password));
    case Kind::crypt: return check_crypt(form.data, password);
    case Kind::salted:
    case Kind::md5: return check_salted(*form.scheme, form.data, password);
    case Kind::hmac_md5: {
        const std::string made = tls::hmac_md5_state(password);
        if (made.empty()) return fail(cat("OpenSSL has no MD5 here, which {", form.scheme->name, "} needs"));
        return tls::equal_time(made, form.data);
    }
    case Kind::argon2: return Argon2::parse(form.data)->matches(password);
    case Kind::scram: return ScramSecret::parse(form.scheme->hash, form.data)->matches(password);
    case Kind::pbkdf2: {
        const auto made = read_pbkdf2(form.data);
        return tls::equal_time(tls::pbkdf2(tls::Digest::sha1, password, made->salt, made->rounds), made->key);
    }
    }
    return false;
}

std::optional<ScramSecret> stored_scram(std::string_view stored, tls::Digest hash)
{
    if (is_locked(stored)) return std::nullopt;
    const auto form = read_form(stored);
    if (!form || form->scheme->kind != Kind::scram || form->scheme->hash != hash) return std::nullopt;
    return ScramSecret::parse(hash, form->data);
}

std::optional<std::string> stored_plain(std::string_view stored)
{
    if (is_locked(stored)) return std::nullopt;
    const auto form = read_form(stored);
    if (!form || form->scheme->kind != Kind::plain || form->data.empty()) return std::nullopt;
    return form->data;
}

Result<std::string> make_password(std::string_view scheme_name, std::string_view password)
{
    const Scheme* scheme = find_scheme(scheme_name);
    if (!scheme || !scheme->crypt_prefix) return fail(cat("no password is made with scheme ", printable(scheme_name, 40)));
    auto prepared = saslprep(password);
    if (!prepared || prepared->empty() || prepared->size() > max_password) return fail("the password is empty, too long, not UTF-8, or has a character that clients cannot send");
    switch (scheme->kind) {
    case Kind::scram: return cat('{', scheme->name, '}', ScramSecret::derive(scheme->hash, *prepared, random_bytes(16), scram_iterations).str());
    case Kind::crypt: return make_crypt(*scheme, *prepared);
    case Kind::argon2: {
        Argon2 made;
        made.salt = random_bytes(16);
        made.hash.resize(32);
        made.hash = TRY(made.compute(*prepared));
        return cat('{', scheme->name, '}', made.str());
    }
    case Kind::salted: {
        const std::string salt = random_bytes(16);
        return cat('{', scheme->name, '}', base64_encode(cat(tls::digest(scheme->hash, *prepared + salt), salt)));
    }
    default:
        // A colon or a line end would cut the line of a passwd-file; saslprep let no line end through.
        if (prepared->find(':') != std::string::npos) return cat('{', scheme->name, ".b64}", base64_encode(*prepared));
        return cat('{', scheme->name, '}', *prepared);
    }
}

const std::vector<std::string>& makable_schemes()
{
    static const std::vector<std::string> names = [] {
        std::vector<std::string> list;
        for (const Scheme& scheme : schemes)
            if (scheme.crypt_prefix && (scheme.kind != Kind::argon2 || argon2_built_in())) list.emplace_back(scheme.name);
        return list;
    }();
    return names;
}

}  // namespace veredus::auth

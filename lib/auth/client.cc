// PLAIN (RFC 4616), LOGIN and SCRAM (RFC 5802, RFC 7677), as a client speaks them.
#include "lib/auth/client.h"

#include <utility>

#include "lib/auth/mechanism.h"
#include "lib/base/base64.h"
#include "lib/base/text.h"
#include "lib/tls/digest.h"

namespace veredus::auth {

namespace {

class PlainClient final : public ClientMechanism {
public:
    PlainClient(std::string user, std::string password) : user_(std::move(user)), password_(std::move(password)) {}
    ~PlainClient() override { tls::wipe(password_); }
    std::optional<std::string> initial() override
    {
        sent_ = true;
        std::string out(1, '\0'); // no other identity to act for
        append(out, user_);
        out += '\0';
        append(out, password_);
        return out;
    }
    std::optional<std::string> answer(std::string_view) override { return std::nullopt; }
    bool complete() const override { return sent_; }

private:
    std::string user_, password_;
    bool sent_ = false;
};

// Never standardized; the server asks for the name, then for the password, in words that nobody can rely on.
class LoginClient final : public ClientMechanism {
public:
    LoginClient(std::string user, std::string password) : user_(std::move(user)), password_(std::move(password)) {}
    ~LoginClient() override { tls::wipe(password_); }
    std::optional<std::string> initial() override { return std::nullopt; }
    std::optional<std::string> answer(std::string_view) override
    {
        switch (step_++) {
        case 0: return user_;
        case 1: return password_;
        default: return std::nullopt;
        }
    }
    bool complete() const override { return step_ == 2; }

private:
    std::string user_, password_;
    unsigned step_ = 0;
};

std::optional<std::string_view> attribute(std::string_view text, char letter)
{
    if (text.size() < 2 || text[0] != letter || text[1] != '=') return std::nullopt;
    return text.substr(2);
}

class ScramClient final : public ClientMechanism {
public:
    ScramClient(tls::Digest hash, std::string user, std::string password, std::string nonce)
        : hash_(hash), user_(std::move(user)), password_(std::move(password)), nonce_(std::move(nonce))
    {}
    ~ScramClient() override { tls::wipe(password_); }
    std::optional<std::string> initial() override
    {
        // RFC 5802 §5.1: comma and equals sign of a name are written in code.
        std::string name;
        for (const char c : user_) append(name, c == ',' ? "=2C" : c == '=' ? "=3D" : std::string_view(&c, 1));
        bare_ = cat("n=", name, ",r=", nonce_);
        state_ = State::first;
        return cat(gs2, bare_);
    }
    std::optional<std::string> answer(std::string_view challenge) override
    {
        switch (std::exchange(state_, State::over)) {
        case State::first: return final(challenge);
        case State::final:
            if (!tls::equal_time(challenge, server_final_)) return std::nullopt;
            state_ = State::proven;
            return std::string(); // RFC 4954 §4: the 235 has no room for v=
        default: return std::nullopt;
        }
    }
    bool complete() const override { return state_ == State::proven; }

private:
    enum class State { fresh, first, final, proven, over };
    static constexpr std::string_view gs2 = "n,,";
    std::optional<std::string> final(std::string_view challenge)
    {
        if (challenge.size() > 4096) return std::nullopt;
        const auto parts = split_on(challenge, ','); // r=nonce,s=salt,i=count and what may follow
        if (parts.size() < 3) return std::nullopt;   // m= first: an extension that we do not have
        const auto nonce = attribute(parts[0], 'r'), salt_text = attribute(parts[1], 's'), count = attribute(parts[2], 'i');
        // RFC 5802 §5.1: ours, and something of the server's behind it.
        if (!nonce || !nonce->starts_with(nonce_) || nonce->size() == nonce_.size() || !salt_text || !count) return std::nullopt;
        const auto salt = base64_decode(*salt_text);
        const auto iterations = parse_number<uint32_t>(*count);
        if (!salt || salt->empty() || !iterations || *iterations < min_client_iterations || *iterations > max_client_iterations)
            return std::nullopt;
        std::string salted = tls::pbkdf2(hash_, password_, *salt, *iterations);
        const std::string without_proof = cat("c=", base64_encode(gs2), ",r=", *nonce);
        const std::string message = cat(bare_, ',', challenge, ',', without_proof);
        std::string proof = tls::hmac(hash_, salted, "Client Key");
        const std::string signature = tls::hmac(hash_, tls::digest(hash_, proof), message);
        for (std::size_t i = 0; i < proof.size(); ++i) proof[i] = static_cast<char>(proof[i] ^ signature[i]);
        server_final_ = cat("v=", base64_encode(tls::hmac(hash_, tls::hmac(hash_, salted, "Server Key"), message)));
        tls::wipe(salted);
        state_ = State::final;
        return cat(without_proof, ",p=", base64_encode(proof));
    }
    tls::Digest hash_;
    std::string user_, password_, nonce_, bare_, server_final_;
    State state_ = State::fresh;
};

} // namespace

const std::vector<std::string>& client_mechanism_names()
{
    static const std::vector<std::string> names = {"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"};
    return names;
}

bool is_plaintext(std::string_view mechanism)
{
    return iequals(mechanism, "PLAIN") || iequals(mechanism, "LOGIN");
}

std::unique_ptr<ClientMechanism> make_client_mechanism(std::string_view name, const std::string& user, const std::string& password,
                                                       std::string nonce)
{
    if (user.empty() || user.find('\0') != std::string::npos || password.find('\0') != std::string::npos) return nullptr;
    if (iequals(name, "PLAIN")) return std::make_unique<PlainClient>(user, password);
    if (iequals(name, "LOGIN")) return std::make_unique<LoginClient>(user, password);
    const bool sha1 = iequals(name, "SCRAM-SHA-1");
    if (!sha1 && !iequals(name, "SCRAM-SHA-256")) return nullptr;
    auto prepared_user = saslprep(user), prepared_password = saslprep(password);
    if (!prepared_user || !prepared_password || prepared_user->empty()) return nullptr;
    return std::make_unique<ScramClient>(sha1 ? tls::Digest::sha1 : tls::Digest::sha256, std::move(*prepared_user),
                                         std::move(*prepared_password), std::move(nonce));
}

} // namespace veredus::auth

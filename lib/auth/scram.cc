// The two messages of a SCRAM client, judged.
#include "lib/auth/scram.h"

#include <utility>

#include "lib/base/base64.h"
#include "lib/base/text.h"

namespace veredus::auth {

namespace {

constexpr std::size_t max_nonce = 1024;

// RFC 5802 §5.1: "=2C" and "=3D" stand for comma and equals sign, any other "=" is an error.
std::optional<std::string> decode_name(std::string_view text)
{
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '=') {
            out += text[i];
            continue;
        }
        const std::string_view code = text.substr(i, 3);
        if (code != "=2C" && code != "=3D") return std::nullopt;
        out += code == "=2C" ? ',' : '=';
        i += 2;
    }
    return out;
}

// "x=value" with just that letter.
std::optional<std::string_view> attribute(std::string_view text, char letter)
{
    if (text.size() < 2 || text[0] != letter || text[1] != '=') return std::nullopt;
    return text.substr(2);
}

bool is_nonce(std::string_view text)
{
    for (const char c : text)
        if (c <= 0x20 || c > 0x7E || c == ',') return false;
    return !text.empty() && text.size() <= max_nonce;
}

}  // namespace

Mechanism::Step Scram::start(std::optional<std::string_view> initial) { return initial ? feed(*initial) : Step{Step::Kind::challenge, "", "", ""}; }

Mechanism::Step Scram::feed(std::string_view response)
{
    const State state = std::exchange(state_, State::over);     // whoever errs once is done
    if (state == State::first) return first(response);
    if (state == State::final) return final(response);
    // SMTP has no room for v= in its 235 (RFC 4954 §4): it went as a challenge, and the client acknowledges it with nothing.
    if (state == State::acknowledge && response.empty()) return {Step::Kind::proven, "", user_, ""};
    return {};
}

// RFC 5802 §6 and §7, gs2-cbind-flag
bool Scram::read_binding_flag(std::string_view flag)
{
    if (flag == "n") return !plus_;
    // "y": I could, but you did not offer it. If we did, somebody in between took it away.
    if (flag == "y") return !plus_ && !binding_.offered;
    const auto type = attribute(flag, 'p');
    if (!type || !plus_) return false;
    const std::string& data = *type == "tls-exporter" ? binding_.tls_exporter : binding_.tls_unique;
    if ((*type != "tls-exporter" && *type != "tls-unique") || data.empty()) return false;
    bound_ = data;
    return true;
}

Mechanism::Step Scram::first(std::string_view message)
{
    // gs2-cbind-flag "," [ "a=" saslname ] "," [reserved-mext ","] "n=" saslname "," "r=" nonce ["," extensions]
    const auto [flag, after_flag] = cut(message, ',');
    if (!after_flag || !read_binding_flag(flag)) return {};
    const auto [authzid, bare] = cut(*after_flag, ',');
    if (!bare) return {};
    bound_.insert(0, message.substr(0, message.size() - bare->size()));
    const auto parts = split_on(*bare, ',');
    const auto name = parts.size() < 2 ? std::nullopt : attribute(parts[0], 'n');     // m= first: an extension that we do not have
    const auto nonce = name ? attribute(parts[1], 'r') : std::nullopt;
    if (!nonce || !is_nonce(*nonce)) return {};
    const auto decoded = decode_name(*name);
    auto user = decoded ? saslprep(*decoded) : std::nullopt;
    if (!user || user->empty() || user->size() > max_user) return {};
    if (!authzid.empty()) {
        const auto other = attribute(authzid, 'a');
        const auto other_name = other ? decode_name(*other) : std::nullopt;
        if (!other_name) return {};
        if (*other_name != *decoded) return {Step::Kind::mismatch, "", std::move(*user), ""};     // nobody acts for somebody else
    }
    user_ = std::move(*user);
    nonce_.insert(0, *nonce);
    first_bare_ = *bare;
    state_ = State::secret;
    return {Step::Kind::want_secret, "", user_, ""};
}

Mechanism::Step Scram::secret(const ScramSecret& secret, bool real)
{
    if (std::exchange(state_, State::over) != State::secret || secret.hash != hash_) return {};
    secret_ = secret;
    real_ = real;
    server_first_ = cat("r=", nonce_, ",s=", base64_encode(secret_.salt), ",i=", secret_.iterations);
    state_ = State::final;
    return {Step::Kind::challenge, server_first_, "", ""};
}

Mechanism::Step Scram::final(std::string_view message)
{
    // "c=" base64 "," "r=" nonce ["," extensions] "," "p=" base64
    const auto end = message.rfind(',');
    if (end == std::string_view::npos) return {};
    const std::string_view without_proof = message.substr(0, end);
    const auto proof_text = attribute(message.substr(end + 1), 'p');
    const auto parts = split_on(without_proof, ',');
    const auto binding = attribute(parts[0], 'c');
    const auto nonce = parts.size() < 2 ? std::nullopt : attribute(parts[1], 'r');
    if (!proof_text || !binding || !nonce) return {};
    const auto bound = base64_decode(*binding);
    const auto proof = base64_decode(*proof_text);
    if (!bound || !proof || proof->size() != tls::digest_size(hash_)) return {};
    // Another channel than ours, or an exchange of another time: as wrong as a wrong password.
    const bool same = tls::equal_time(*bound, bound_) & tls::equal_time(*nonce, nonce_);

    const std::string auth_message = cat(first_bare_, ',', server_first_, ',', without_proof);
    std::string client_key = tls::hmac(hash_, secret_.stored_key, auth_message);
    for (std::size_t i = 0; i < client_key.size(); ++i) client_key[i] = static_cast<char>(client_key[i] ^ (*proof)[i]);
    const bool proven = tls::equal_time(tls::digest(hash_, client_key), secret_.stored_key);
    tls::wipe(client_key);
    if (!(proven && same && real_)) return {Step::Kind::mismatch, "", user_, ""};
    state_ = State::acknowledge;
    return {Step::Kind::challenge, cat("v=", base64_encode(tls::hmac(hash_, secret_.server_key, auth_message))), "", ""};
}

}  // namespace veredus::auth

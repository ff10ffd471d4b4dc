// PLAIN and LOGIN, and the choice among mechanisms.
#include "lib/auth/mechanism.h"

#include "lib/auth/scram.h"
#include "lib/base/text.h"

namespace veredus::auth {

namespace {

using Step = Mechanism::Step;

Step checked(std::string_view user, std::string_view password)
{
    auto name = saslprep(user);
    if (!name || name->empty() || name->size() > max_user) return {};
    // A password of crypt(3) may be of any bytes but NUL, which no form of it could hold.
    if (password.empty() || password.size() > max_password || password.find('\0') != std::string_view::npos) return {};
    return {Step::Kind::check_password, "", std::move(*name), std::string(password)};
}

// RFC 4616 §2: [authzid] NUL authcid NUL passwd
class Plain final : public Mechanism {
public:
    Step start(std::optional<std::string_view> initial) override { return initial ? feed(*initial) : Step{Step::Kind::challenge, "", "", ""}; }
    Step feed(std::string_view response) override
    {
        const auto parts = split_on(response, '\0');
        if (parts.size() != 3) return {};
        Step step = checked(parts[1], parts[2]);
        // Nobody acts for somebody else here.
        if (step.kind == Step::Kind::check_password && !parts[0].empty() && parts[0] != parts[1]) step = {Step::Kind::mismatch, "", step.user, ""};
        return step;
    }
};

// No RFC; as every client does it: two prompts, answered by name and password. Some send the name with the command.
class Login final : public Mechanism {
public:
    Step start(std::optional<std::string_view> initial) override
    {
        return initial && !initial->empty() ? feed(*initial) : Step{Step::Kind::challenge, "Username:", "", ""};
    }
    Step feed(std::string_view response) override
    {
        if (user_) return checked(*user_, response);
        if (response.empty() || response.size() > max_user) return {};
        user_ = response;
        return {Step::Kind::challenge, "Password:", "", ""};
    }

private:
    std::optional<std::string> user_;
};

// RFC 1939 §7: the client has shown that he knows the password when he sends the MD5 of our timestamp and it.
class Apop final : public Mechanism {
public:
    explicit Apop(std::string_view nonce) : timestamp_(cat('<', nonce, "@veredus>")) {}
    Step start(std::optional<std::string_view> initial) override { return initial ? Step{} : Step{Step::Kind::challenge, timestamp_, "", ""}; }
    Step feed(std::string_view response) override
    {
        const auto blank = response.rfind(' ');
        if (blank == std::string_view::npos) return {};
        const auto digest = response.substr(blank + 1);
        auto name = saslprep(response.substr(0, blank));
        if (!name || name->empty() || name->size() > max_user || digest.size() != 32) return {};
        return {Step::Kind::check_digest, timestamp_, std::move(*name), lower(digest)};
    }

private:
    std::string timestamp_;
};

}  // namespace

std::unique_ptr<Mechanism> make_mechanism(std::string_view name, const Binding& binding, std::string nonce)
{
    if (iequals(name, "PLAIN")) return std::make_unique<Plain>();
    if (iequals(name, "LOGIN")) return std::make_unique<Login>();
    if (iequals(name, "APOP")) return std::make_unique<Apop>(nonce);
    const bool plus = iends_with(name, "-PLUS");
    if (plus) name.remove_suffix(5);
    if (iequals(name, "SCRAM-SHA-256")) return std::make_unique<Scram>(tls::Digest::sha256, plus, binding, std::move(nonce));
    if (iequals(name, "SCRAM-SHA-1")) return std::make_unique<Scram>(tls::Digest::sha1, plus, binding, std::move(nonce));
    return nullptr;
}

const std::vector<std::string>& mechanism_names()
{
    static const std::vector<std::string> names = {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"};
    return names;
}

}  // namespace veredus::auth

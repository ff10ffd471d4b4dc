// Clients of every SASL mechanism and of APOP, and passwd-files, of any bytes: nobody proves anything without the secret.
#include <cstdint>
#include <cstdlib>

#include "lib/auth/mechanism.h"
#include "lib/auth/passwd_file.h"
#include "lib/base/text.h"

using namespace veredus;
using Kind = auth::Mechanism::Step::Kind;

// The first byte chooses the mechanism; the rest is its messages, cut at bytes 0xFF.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    if (size == 0) return 0;
    const std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
    auto names = auth::mechanism_names();
    names.emplace_back("APOP");
    if (data[0] >= names.size()) {
        const auto file = auth::PasswdFile::parse(in, "key", nullptr);
        (void)file->likely_password("x");
        return 0;
    }
    const auto mechanism = auth::make_mechanism(names[data[0]], {std::string(32, 'e'), std::string(12, 'u'), (size & 1) != 0}, "nonce");
    bool first = true;
    if (names[data[0]] == "APOP") { // its challenge comes before its client has said anything
        if (mechanism->start(std::nullopt).kind != Kind::challenge) std::abort();
        first = false;
    }
    for (const std::string_view message : split_on(in, '\xFF')) {
        auto step = first ? mechanism->start(message) : mechanism->feed(message);
        first = false;
        if (step.kind == Kind::want_secret) {
            if (!auth::saslprep(step.user) || step.user.empty() || step.user.size() > auth::max_user) std::abort();
            const std::size_t length = tls::digest_size(mechanism->hash());
            step = mechanism->secret({mechanism->hash(), 4096, "salt", std::string(length, 's'), std::string(length, 'k')}, true);
        }
        if (step.kind == Kind::proven) std::abort();
        if (step.kind == Kind::check_password && (step.password.empty() || step.password.size() > auth::max_password)) std::abort();
        if (step.kind == Kind::check_digest && (step.password.size() != 32 || step.user.empty() || step.user.size() > auth::max_user)) std::abort();
        if (step.kind != Kind::challenge) break;
    }
    return 0;
}

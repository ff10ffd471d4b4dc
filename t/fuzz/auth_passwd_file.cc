// Passwd-files: any text is read without harm, and what a line keeps of a password has bounds before anything is computed.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lib/auth/argon2.h"
#include "lib/auth/passwd_file.h"
#include "lib/auth/password.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    using namespace veredus::auth;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    std::vector<std::string> problems;
    const auto file = PasswdFile::parse(text, "key", &problems);
    (void)file->likely_password("nobody");
    (void)line_problem(text, "alice");
    (void)check_form(text);
    const auto hash = Argon2::parse(text);
    if (!hash) return 0;
    if (uint64_t{hash->memory_kib} * hash->passes > (16u << 20) || hash->memory_kib > (1u << 20)) std::abort();
    const auto again = Argon2::parse(hash->str());
    if (!again || again->salt != hash->salt || again->hash != hash->hash || again->str() != hash->str()) std::abort();
    return 0;
}

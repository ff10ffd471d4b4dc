// Stored passwords: "{SCHEME}data" as Dovecot writes it, or a bare crypt(3) form; checking one and making one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/auth/scram_secret.h"
#include "lib/base/result.h"

namespace veredus::auth {

// Is it this password? Takes as long as the scheme is strong: not for a loop's thread. An Error: a scheme or form that we do not have.
Result<bool> check_password(std::string_view stored, std::string_view password);
// Known and whole as far as can be told without a password.
Result<void> check_form(std::string_view stored);
// "!" or "*" in front, as usermod -L does, or nothing at all: nobody logs in with it.
bool is_locked(std::string_view stored);

std::optional<ScramSecret> stored_scram(std::string_view stored, tls::Digest hash);     // {SCRAM-SHA-256}, {SCRAM-SHA-1}
std::optional<std::string> stored_plain(std::string_view stored);                       // {PLAIN} and its other names

// A fresh stored form, with a random salt. The password after saslprep.
Result<std::string> make_password(std::string_view scheme, std::string_view password);
const std::vector<std::string>& makable_schemes();     // the preferred one first

}  // namespace veredus::auth

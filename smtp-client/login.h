// Logging in to a server: whose name and password, and by which mechanism. Passwords are never logged.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/mail/address.h"
#include "smtp-client/lookup.h"

namespace veredus::smtp_client {

struct Login {
    std::string user, password;
};

// smtp_sasl_security_options: what a mechanism must not be.
struct SaslRules {
    bool no_plaintext = false, no_active = false, no_dictionary = false, forward_secrecy = false, mutual = false;
};
Result<SaslRules> parse_sasl_rules(const std::vector<std::string>& words);

// smtp_sasl_mechanism_filter: names and !names in order; empty: all.
bool passes_filter(std::string_view mechanism, const std::vector<std::string>& filter);

// The strongest of those that the server offers ("PLAIN LOGIN") and all agree to.
std::optional<std::string> choose_mechanism(std::string_view offered, const SaslRules& rules, const std::vector<std::string>& filter);

// Postfix's order: the sender (when asked for: user@domain, then @domain), the server's name, the next hop as it is written. "user:password";
// an empty user: no login.
Result<std::optional<Login>> find_login(const Lookup& table, const mail::Address* sender, const std::string& host, const std::string& next_hop);

} // namespace veredus::smtp_client

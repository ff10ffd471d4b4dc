#include "smtp-client/login.h"

#include <algorithm>

#include "lib/auth/client.h"
#include "lib/base/text.h"

namespace veredus::smtp_client {

Result<SaslRules> parse_sasl_rules(const std::vector<std::string>& words)
{
    SaslRules rules;
    const struct {
        std::string_view word;
        bool SaslRules::*flag;
    } rows[] = {{"noplaintext", &SaslRules::no_plaintext}, {"noactive", &SaslRules::no_active}, {"nodictionary", &SaslRules::no_dictionary},
                {"forward_secrecy", &SaslRules::forward_secrecy}, {"mutual_auth", &SaslRules::mutual}};
    for (const std::string& word : words) {
        if (iequals(word, "noanonymous")) continue; // we never are
        const auto row = std::find_if(std::begin(rows), std::end(rows), [&](const auto& r) { return iequals(r.word, word); });
        if (row == std::end(rows))
            return fail(cat("\"", printable(word, 40), "\" is none of noplaintext, noactive, nodictionary, noanonymous, forward_secrecy, mutual_auth"));
        rules.*(row->flag) = true;
    }
    return rules;
}

bool passes_filter(std::string_view mechanism, const std::vector<std::string>& filter)
{
    for (const std::string& item : filter) {
        std::string_view word = item;
        const bool no = word.starts_with('!');
        if (no) word.remove_prefix(1);
        if (iequals(word, mechanism) || word.starts_with("static:")) return !no;
    }
    return filter.empty();
}

namespace {

// As the Cyrus library, whose words these are, ranks them: PLAIN and LOGIN show the password; SCRAM proves both sides, yet who listens may
// try passwords against what it hears, now or later.
bool obeys(std::string_view mechanism, const SaslRules& rules)
{
    const bool plain = auth::is_plaintext(mechanism);
    if (plain) return !rules.no_plaintext && !rules.no_active && !rules.no_dictionary && !rules.forward_secrecy && !rules.mutual;
    return !rules.no_dictionary && !rules.forward_secrecy;
}

} // namespace

std::optional<std::string> choose_mechanism(std::string_view offered, const SaslRules& rules, const std::vector<std::string>& filter)
{
    const auto words = split(offered, " \t");
    for (const std::string& ours : auth::client_mechanism_names()) {
        const bool there = std::any_of(words.begin(), words.end(), [&](std::string_view word) { return iequals(word, ours); });
        if (there && obeys(ours, rules) && passes_filter(ours, filter)) return ours;
    }
    return std::nullopt;
}

Result<std::optional<Login>> find_login(const Lookup& table, const mail::Address* sender, const std::string& host, const std::string& next_hop)
{
    std::optional<std::string> value;
    if (sender && !sender->local.empty()) {
        value = TRY(table.find(sender->text()));
        if (!value && !sender->domain.empty()) value = TRY(table.find_part(cat('@', sender->domain)));
    }
    if (!value) value = TRY(table.find(host));
    if (!value) value = TRY(table.find(next_hop));
    if (!value) return std::optional<Login>();
    const auto [user, password] = cut(*value, ':');
    if (user.empty()) return std::optional<Login>();
    return std::optional<Login>(Login{std::string(user), std::string(password.value_or(""))});
}

} // namespace veredus::smtp_client

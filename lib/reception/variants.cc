// Settings as they hold for one client.
#include "lib/reception/variants.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/conf/expand.h"
#include "lib/log/log.h"
#include "lib/reception/session.h"

namespace veredus::reception {

namespace {

constexpr std::size_t most_variants = 1000;

struct Row {
    std::string_view word;
    bool smtp::Limits::*flag;
};
constexpr Row rows[] = {
    {"pipelining", &smtp::Limits::pipelining}, {"8bitmime", &smtp::Limits::eight_bit}, {"enhancedstatuscodes", &smtp::Limits::enhanced_codes},
    {"dsn", &smtp::Limits::dsn},               {"smtputf8", &smtp::Limits::smtputf8},  {"starttls", &smtp::Limits::starttls},
    {"auth", &smtp::Limits::auth},             {"chunking", &smtp::Limits::chunking},  {"requiretls", &smtp::Limits::requiretls},
    {"etrn", &smtp::Limits::etrn},             {"binarymime", &smtp::Limits::binary},
};
// Postfix knows these too: "size" cannot be left out here, the others are never announced or are not logged.
constexpr std::string_view without_effect[] = {"size", "vrfy", "silent-discard", "xclient", "xforward"};

// The table's keywords take the place of the list's, as in Postfix.
std::vector<std::string> keywords_for(const ClientRules& rules, const net::Address& client)
{
    if (!rules.discards || !client.is_ip()) return rules.discarded;
    const auto own = rules.discards->find(client.ip());
    if (!own) log::warning("smtpd_discard_ehlo_keyword_address_maps: ", own.error().text);
    if (!own || !*own) return rules.discarded;
    std::vector<std::string> out;
    for (const std::string_view word : conf::split_list(**own)) out.emplace_back(word);
    return out;
}

bool forgiven(const ClientRules& rules, const net::Address& client)
{
    if (rules.bare_lf_forgiven.empty() || !client.is_ip()) return false;
    const auto match = rules.bare_lf_forgiven.matches_client(client);
    if (!match) log::warning("smtpd_forbid_bare_newline_exclusions: ", match.error().text);
    return match && *match;
}

}  // namespace

void discard_keyword(smtp::Limits& limits, std::string_view keyword)
{
    for (const Row& row : rows)
        if (iequals(row.word, keyword)) limits.*row.flag = false;
}

std::vector<std::string> unknown_keywords(const std::vector<std::string>& keywords)
{
    std::vector<std::string> out;
    for (const std::string& word : keywords) {
        const bool known = std::any_of(std::begin(rows), std::end(rows), [&](const Row& row) { return iequals(row.word, word); }) ||
                           std::any_of(std::begin(without_effect), std::end(without_effect), [&](std::string_view one) { return iequals(one, word); });
        if (!known) out.push_back(word);
    }
    return out;
}

std::shared_ptr<const Settings> Variants::find(const std::shared_ptr<const Settings>& base, const net::Address& client)
{
    if (!base->client_rules) return base;
    const ClientRules& rules = *base->client_rules;
    const bool lf = base->limits.bare_lf != smtp::BareLf::normalize && forgiven(rules, client);
    const std::vector<std::string> keywords = keywords_for(rules, client);
    if (!lf && keywords.empty()) return base;
    std::string key = lf ? "+" : "-";
    for (const std::string& word : keywords) append(key, ' ', word);
    if (const auto known = made_.find({base.get(), key}); known != made_.end()) return known->second;
    // Once for each value, not at each connection. The list's own words were judged when it was read.
    if (const auto odd = unknown_keywords(keywords); !odd.empty() && keywords != rules.discarded)
        log::warning("smtpd_discard_ehlo_keyword_address_maps: ", client.ip(), ": \"", printable(odd[0], 50), "\" is no extension of SMTP that veredus announces");
    auto own = std::make_shared<Settings>(*base);
    if (lf) own->limits.bare_lf = smtp::BareLf::normalize;
    for (const std::string& word : keywords) discard_keyword(own->limits, word);
    if (made_.size() < most_variants) made_.emplace(std::pair(base.get(), std::move(key)), own);
    return own;
}

}  // namespace veredus::reception

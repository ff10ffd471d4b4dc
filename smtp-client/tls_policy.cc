#include "smtp-client/tls_policy.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::smtp_client {

bool parse_tls_level(std::string_view word, TlsLevel& level)
{
    static constexpr std::pair<std::string_view, TlsLevel> levels[] = {
        {"none", TlsLevel::none}, {"may", TlsLevel::may}, {"dane", TlsLevel::may}, {"encrypt", TlsLevel::encrypt},
        {"fingerprint", TlsLevel::fingerprint}, {"verify", TlsLevel::verify}, {"secure", TlsLevel::secure}};
    for (const auto& [name, value] : levels) {
        if (!iequals(word, name)) continue;
        level = value;
        return true;
    }
    return false;
}

namespace {

Result<std::vector<std::string>> fingerprints_from(const std::vector<std::string>& words)
{
    std::vector<std::string> out;
    for (const std::string& word : words) {
        std::string plain = tls::plain_fingerprint(word);
        if (plain.empty()) return fail(cat("\"", printable(word, 100), "\" is no fingerprint"));
        out.push_back(std::move(plain));
    }
    if (out.empty()) return fail("level fingerprint needs fingerprints to compare with");
    return out;
}

// Postfix's order: the next hop as it is written; a bare domain's parents, ".example.org" (tls_policy(5) has it so).
Result<std::optional<std::string>> find_line(const Lookup& table, const NextHop& hop)
{
    if (table.empty()) return std::optional<std::string>();
    auto value = TRY(table.find(hop.text));
    if (value || !hop.use_mx || hop.text.find(':') != std::string::npos) return value;
    for (std::size_t dot = hop.host.find('.'); dot != std::string::npos; dot = hop.host.find('.', dot + 1)) {
        value = TRY(table.find_part(hop.host.substr(dot)));
        if (value) return value;
    }
    return value;
}

// What one line of the table says on top of the settings.
struct Line {
    std::vector<std::string> match;
    std::optional<std::string> protocols, ciphers, server_name;
    std::vector<std::string> exclude;
};

Result<void> read_attribute(std::string_view word, Line& line)
{
    const auto [name, value] = cut(word, '=');
    if (!value || value->empty()) return fail(cat("\"", printable(word, 60), "\" is no name=value"));
    if (iequals(name, "match")) {
        for (const std::string_view one : split_on(*value, ':'))
            if (!one.empty()) line.match.emplace_back(one);
    } else if (iequals(name, "protocols")) {
        line.protocols = std::string(*value);
    } else if (iequals(name, "ciphers")) {
        line.ciphers = std::string(*value);
    } else if (iequals(name, "exclude")) {
        for (const std::string_view one : split(*value, ":,")) line.exclude.emplace_back(one);
    } else if (iequals(name, "servername")) {
        line.server_name = std::string(*value);
    } else if (!iequals(name, "connection_reuse") && !iequals(name, "enable_rpk")) {
        return fail(cat("\"", printable(name, 40), "\" is none of match, protocols, ciphers, exclude, servername"));
    }
    return {};
}

Result<Line> read_line(std::string_view value, TlsLevel& level)
{
    const auto words = split(value, " \t,");
    if (words.empty() || !parse_tls_level(words[0], level))
        return fail(cat("\"", printable(words.empty() ? value : words[0], 40), "\" is none of none, may, encrypt, fingerprint, verify, secure"));
    Line line;
    for (std::size_t i = 1; i < words.size(); ++i) {
        // A fingerprint has colons of its own.
        if (level == TlsLevel::fingerprint && istarts_with(words[i], "match=")) {
            for (const std::string_view one : split_on(words[i].substr(6), '|')) line.match.emplace_back(one);
            continue;
        }
        TRY(read_attribute(words[i], line));
    }
    return line;
}

} // namespace

Result<TlsPolicy> tls_policy(const TlsRules& rules, const NextHop& hop, mail::TlsNeed need)
{
    TlsPolicy policy;
    policy.level = rules.level;
    policy.wrapper = rules.wrapper;
    const auto found = TRY(find_line(*rules.table, hop));
    Line line;
    if (found) {
        auto read = read_line(*found, policy.level);
        if (!read) return fail(cat("TLS policy for ", hop.text, ": ", read.error().text));
        line = std::move(*read);
    }
    if (need == mail::TlsNeed::required && policy.level != TlsLevel::fingerprint && policy.level != TlsLevel::secure) {
        policy.level = TlsLevel::secure;
        line.match.clear(); // names of another level
    }
    if (need == mail::TlsNeed::waived && mandatory(policy.level)) policy.level = TlsLevel::may;
    if (policy.wrapper && policy.level < TlsLevel::encrypt) policy.level = TlsLevel::encrypt;
    const bool must = mandatory(policy.level);
    policy.versions = must ? rules.versions : rules.may_versions;
    if (line.protocols) {
        auto versions = tls::parse_protocols(*line.protocols);
        if (!versions) return fail(cat("TLS policy for ", hop.text, ": ", versions.error().text));
        policy.versions = *versions;
    }
    std::vector<std::string> exclude = rules.exclude;
    if (must) exclude.insert(exclude.end(), rules.mandatory_exclude.begin(), rules.mandatory_exclude.end());
    if (!line.exclude.empty()) exclude = line.exclude;
    auto ciphers = tls::cipher_list(line.ciphers.value_or(must ? rules.grade : rules.may_grade), exclude);
    if (!ciphers) return fail(cat("TLS policy for ", hop.text, ": ", ciphers.error().text));
    policy.ciphers = std::move(*ciphers);
    policy.digest = rules.digest;
    policy.server_name = line.server_name.value_or(rules.server_name);
    if (policy.level == TlsLevel::fingerprint) {
        auto prints = fingerprints_from(line.match.empty() ? rules.fingerprints : line.match);
        if (!prints) return fail(cat("TLS policy for ", hop.text, ": ", prints.error().text));
        policy.match = std::move(*prints);
    } else if (policy.level >= TlsLevel::verify) {
        policy.match = !line.match.empty() ? line.match : policy.level == TlsLevel::verify ? rules.verify_match : rules.secure_match;
    }
    policy.text = cat(static_cast<int>(policy.level), policy.wrapper ? "w" : "", ' ', found.value_or(""),
                      policy.level >= TlsLevel::verify ? cat(' ', hop.host) : std::string());
    return policy;
}

tls::ClientPolicy TlsPolicy::towards(const std::string& next_hop_host, const std::string& host) const
{
    tls::ClientPolicy out;
    out.host = host;
    out.server_name = server_name.empty() || iequals(server_name, "hostname") ? host : iequals(server_name, "nexthop") ? next_hop_host : server_name;
    out.versions = versions;
    out.ciphers = ciphers;
    if (level == TlsLevel::fingerprint) {
        out.demand = tls::ClientPolicy::Demand::fingerprint;
        out.fingerprints = match;
        out.digest = digest;
    } else if (level >= TlsLevel::verify) {
        out.demand = tls::ClientPolicy::Demand::name;
        for (const std::string& word : match)
            out.names.push_back(iequals(word, "hostname") ? host : iequals(word, "nexthop") ? next_hop_host
                                : iequals(word, "dot-nexthop") ? cat('.', next_hop_host) : lower(word));
    }
    return out;
}

} // namespace veredus::smtp_client

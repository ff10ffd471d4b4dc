#include "smtp-client/settings.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::smtp_client {

namespace {

Result<std::optional<net::Address>> read_bind(const conf::Values& values, const char* name, int family)
{
    const std::string_view text = values.text(name);
    if (text.empty()) return std::optional<net::Address>();
    const auto address = net::Address::parse_ip(text, 0);
    if (!address || address->family() != family)
        return fail(
            cat(name, " = ", printable(text, 100), ": an ", family == AF_INET ? "IPv4" : "IPv6", " address is wanted"));
    return address;
}

Family family(std::string_view word)
{
    if (iequals(word, "ipv4")) return Family::ipv4;
    return iequals(word, "ipv6") ? Family::ipv6 : Family::any;
}

Result<TlsRules> read_tls(const conf::Values& values, const ReadText& read)
{
    TlsRules rules;
    parse_tls_level(values.text("smtp_tls_security_level"), rules.level); // its words are checked by the table of settings
    rules.wrapper = values.flag("smtp_tls_wrappermode");
    const auto named = [](const char* name, auto result) {
        return result ? std::move(result) : decltype(result)(fail(cat(name, ": ", result.error().text)));
    };
    rules.may_versions = TRY(named("smtp_tls_protocols", tls::parse_protocols(values.text("smtp_tls_protocols"))));
    rules.versions = TRY(named("smtp_tls_mandatory_protocols", tls::parse_protocols(values.text("smtp_tls_mandatory_protocols"))));
    rules.may_grade = values.text("smtp_tls_ciphers");
    rules.grade = values.text("smtp_tls_mandatory_ciphers");
    rules.exclude = values.list("smtp_tls_exclude_ciphers");
    rules.mandatory_exclude = values.list("smtp_tls_mandatory_exclude_ciphers");
    TRY(named("smtp_tls_exclude_ciphers", tls::cipher_list("medium", rules.exclude)));
    TRY(named("smtp_tls_mandatory_exclude_ciphers", tls::cipher_list("medium", rules.mandatory_exclude)));
    rules.verify_match = values.list("smtp_tls_verify_cert_match");
    rules.secure_match = values.list("smtp_tls_secure_cert_match");
    rules.fingerprints = values.list("smtp_tls_fingerprint_cert_match");
    rules.digest = lower(values.text("smtp_tls_fingerprint_digest"));
    rules.server_name = values.text("smtp_tls_servername");
    rules.table = std::make_shared<const Lookup>(values.list("smtp_tls_policy_maps"), read);
    return rules;
}

Result<SaslSettings> read_sasl(const conf::Values& values, const ReadText& read)
{
    SaslSettings s;
    const auto rules = [&](const char* name) -> Result<SaslRules> {
        auto parsed = parse_sasl_rules(values.list(name));
        if (!parsed) return fail(cat(name, ": ", parsed.error().text));
        return parsed;
    };
    s.enabled = values.flag("smtp_sasl_auth_enable");
    s.by_sender = values.flag("smtp_sender_dependent_authentication");
    s.clear = TRY(rules("smtp_sasl_security_options"));
    s.tls = TRY(rules("smtp_sasl_tls_security_options"));
    s.verified = TRY(rules("smtp_sasl_tls_verified_security_options"));
    s.filter = values.list("smtp_sasl_mechanism_filter");
    if (s.enabled) s.table = std::make_shared<const Lookup>(values.list("smtp_sasl_password_maps"), read);
    return s;
}

} // namespace

Result<Settings> read_settings(const conf::Values& values, const ReadText& read)
{
    Settings s;
    const auto duration = [&](const char* name) { return std::chrono::seconds(values.seconds(name)); };
    s.myhostname = values.text("myhostname");
    s.helo_name = values.text("smtp_helo_name");
    const auto port = parse_port(values.text("smtp_tcp_port"));
    if (!port) return fail(cat("smtp_tcp_port = ", printable(values.text("smtp_tcp_port"), 100), ": no such port"));
    s.port = *port;
    s.connect = duration("smtp_connect_timeout");
    s.helo = duration("smtp_helo_timeout");
    s.starttls = duration("smtp_starttls_timeout");
    s.mail = duration("smtp_mail_timeout");
    s.rcpt = duration("smtp_rcpt_timeout");
    s.data_init = duration("smtp_data_init_timeout");
    s.data_xfer = duration("smtp_data_xfer_timeout");
    s.data_done = duration("smtp_data_done_timeout");
    s.rset = duration("smtp_rset_timeout");
    s.mx_session_limit = static_cast<std::size_t>(values.number("smtp_mx_session_limit"));
    s.order.limit = static_cast<std::size_t>(values.number("smtp_mx_address_limit"));
    s.order.prefer = family(values.text("smtp_address_preference"));
    s.order.randomize = values.flag("smtp_randomize_addresses");
    s.order.balance = values.flag("smtp_balance_inet_protocols");
    const auto protocols = values.list("inet_protocols");
    const auto has = [&](std::string_view word) {
        return std::any_of(protocols.begin(), protocols.end(), [&](const std::string& p) { return iequals(p, word); });
    };
    s.ipv4 = has("ipv4") || has("all");
    s.ipv6 = has("ipv6") || has("all");
    s.bind4 = TRY(read_bind(values, "smtp_bind_address", AF_INET));
    s.bind6 = TRY(read_bind(values, "smtp_bind_address6", AF_INET6));
    s.tls = TRY(read_tls(values, read));
    s.sasl = TRY(read_sasl(values, read));
    s.discard_keywords = values.list("smtp_discard_ehlo_keywords");
    s.tls_log = values.number("smtp_tls_loglevel") > 0;
    s.skip_5xx_greeting = values.flag("smtp_skip_5xx_greeting");
    s.ignore_mx_lookup_error = values.flag("ignore_mx_lookup_error");
    s.defer_if_no_mx_address = values.flag("smtp_defer_if_no_mx_address_found");
    s.cache_connections = values.flag("smtp_connection_cache_on_demand");
    s.cache_time = duration("smtp_connection_cache_time_limit");
    s.reuse_time = duration("smtp_connection_reuse_time_limit");
    s.reuse_count = static_cast<std::size_t>(values.number("smtp_connection_reuse_count_limit"));
    for (const std::string& hop : values.list("smtp_fallback_relay"))
        s.fallback.push_back(TRY(parse_nexthop(hop, s.port)));
    return s;
}

} // namespace veredus::smtp_client

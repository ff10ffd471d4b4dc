#include "smtp-client/settings.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/conf/port.h"

namespace veredus::smtp_client {

namespace {

constexpr int64_t least_line_limit = 64, most_line_limit = 65'536;

// The settings of one protocol: smtp_…, or their twins lmtp_….
class In {
public:
    In(const conf::Values& values, bool lmtp) : values_(values), lmtp_(lmtp) {}
    std::string name(std::string_view rest) const
    {
        if (!lmtp_) return cat("smtp_", rest);
        if (rest == "helo_name" || rest == "helo_timeout") return cat("lmtp_lhlo_", rest.substr(5));
        if (rest.starts_with("discard_ehlo_")) return cat("lmtp_discard_lhlo_", rest.substr(13));
        return cat("lmtp_", rest);
    }
    std::string_view text(std::string_view rest) const { return values_.text(name(rest)); }
    bool flag(std::string_view rest) const { return values_.flag(name(rest)); }
    int64_t number(std::string_view rest) const { return values_.number(name(rest)); }
    std::chrono::seconds time(std::string_view rest) const { return std::chrono::seconds(values_.seconds(name(rest))); }
    std::vector<std::string> list(std::string_view rest) const { return values_.list(name(rest)); }

private:
    const conf::Values& values_;
    bool lmtp_;
};

Result<std::optional<net::Address>> read_bind(const In& in, const char* name, int family)
{
    const std::string_view text = in.text(name);
    if (text.empty()) return std::optional<net::Address>();
    const auto address = net::Address::parse_ip(text, 0);
    if (!address || address->family() != family)
        return fail(
            cat(in.name(name), " = ", printable(text, 100), ": an ", family == AF_INET ? "IPv4" : "IPv6", " address is wanted"));
    return address;
}

Family family(std::string_view word)
{
    if (iequals(word, "ipv4")) return Family::ipv4;
    return iequals(word, "ipv6") ? Family::ipv6 : Family::any;
}

// "dns", "native", or both; without the DNS a domain is a host, and hosts(5) comes first, as with every other program of this system.
Result<HostLookup> read_lookup(const conf::Values& values, const In& in, const ReadText& read)
{
    HostLookup lookup;
    lookup.mx = !values.flag("disable_dns_lookups") && !iequals(in.text("dns_support_level"), "disabled");
    bool dns = false, native = !lookup.mx;
    for (const std::string& word : in.list("host_lookup")) {
        const bool is_native = iequals(word, "native");
        if (!is_native && !iequals(word, "dns")) return fail(cat(in.name("host_lookup"), " = ", printable(word, 100), ": dns or native is wanted"));
        (is_native ? native : dns) = true;
    }
    lookup.dns_first = dns && lookup.mx;
    if (!native) return lookup;
    // A host without that file knows localhost.
    const auto text = read(hosts_file);
    lookup.names = std::make_shared<const net::HostNames>(net::parse_host_names(text ? std::string_view(*text) : std::string_view()));
    return lookup;
}

Result<TlsRules> read_tls(const In& in, const ReadText& read)
{
    TlsRules rules;
    parse_tls_level(in.text("tls_security_level"), rules.level); // its words are checked by the table of settings
    rules.wrapper = in.flag("tls_wrappermode");
    const auto named = [&in](const char* name, auto result) {
        return result ? std::move(result) : decltype(result)(fail(cat(in.name(name), ": ", result.error().text)));
    };
    rules.may_versions = TRY(named("tls_protocols", tls::parse_protocols(in.text("tls_protocols"))));
    rules.versions = TRY(named("tls_mandatory_protocols", tls::parse_protocols(in.text("tls_mandatory_protocols"))));
    rules.may_grade = in.text("tls_ciphers");
    rules.grade = in.text("tls_mandatory_ciphers");
    rules.exclude = in.list("tls_exclude_ciphers");
    rules.mandatory_exclude = in.list("tls_mandatory_exclude_ciphers");
    TRY(named("tls_exclude_ciphers", tls::cipher_list("medium", rules.exclude)));
    TRY(named("tls_mandatory_exclude_ciphers", tls::cipher_list("medium", rules.mandatory_exclude)));
    rules.verify_match = in.list("tls_verify_cert_match");
    rules.secure_match = in.list("tls_secure_cert_match");
    rules.fingerprints = in.list("tls_fingerprint_cert_match");
    rules.digest = lower(in.text("tls_fingerprint_digest"));
    rules.server_name = in.text("tls_servername");
    rules.table = std::make_shared<const Lookup>(in.list("tls_policy_maps"), read);
    return rules;
}

// 0, as Postfix has it, or what is no limit to any mail: none. A line has room for what folding puts in.
Result<std::size_t> read_line_limit(const In& in)
{
    const int64_t limit = in.number("line_length_limit");
    if (limit > 0 && limit < least_line_limit) return fail(cat(in.name("line_length_limit"), " = ", limit, ": 0 for no limit, or ", least_line_limit, " and more is wanted"));
    return limit > most_line_limit ? 0 : static_cast<std::size_t>(limit);
}

Result<SaslSettings> read_sasl(const In& in, const ReadText& read)
{
    SaslSettings s;
    const auto rules = [&](const char* name) -> Result<SaslRules> {
        auto parsed = parse_sasl_rules(in.list(name));
        if (!parsed) return fail(cat(in.name(name), ": ", parsed.error().text));
        return parsed;
    };
    s.enabled = in.flag("sasl_auth_enable");
    s.by_sender = in.flag("sender_dependent_authentication");
    s.clear = TRY(rules("sasl_security_options"));
    s.tls = TRY(rules("sasl_tls_security_options"));
    s.verified = TRY(rules("sasl_tls_verified_security_options"));
    s.filter = in.list("sasl_mechanism_filter");
    if (s.enabled) s.table = std::make_shared<const Lookup>(in.list("sasl_password_maps"), read);
    return s;
}

} // namespace

Result<Settings> read_settings(const conf::Values& values, const ReadText& read, bool lmtp)
{
    const In in(values, lmtp);
    Settings s;
    s.lmtp = lmtp;
    s.myhostname = values.text("myhostname");
    s.helo_name = in.text("helo_name");
    const auto port = conf::port_of(in.text("tcp_port"));
    if (port.value_or(0) == 0) return fail(cat(in.name("tcp_port"), " = ", printable(in.text("tcp_port"), 100), ": no such port"));
    s.port = *port;
    s.connect = in.time("connect_timeout");
    s.helo = in.time("helo_timeout");
    s.starttls = in.time("starttls_timeout");
    s.mail = in.time("mail_timeout");
    s.rcpt = in.time("rcpt_timeout");
    s.data_init = in.time("data_init_timeout");
    s.data_xfer = in.time("data_xfer_timeout");
    s.data_done = in.time("data_done_timeout");
    s.rset = in.time("rset_timeout");
    s.mx_session_limit = static_cast<std::size_t>(in.number("mx_session_limit"));
    s.order.limit = static_cast<std::size_t>(in.number("mx_address_limit"));
    s.order.prefer = family(in.text("address_preference"));
    s.order.randomize = in.flag("randomize_addresses");
    s.order.balance = in.flag("balance_inet_protocols");
    const auto protocols = values.list("inet_protocols");
    const auto has = [&](std::string_view word) {
        return std::any_of(protocols.begin(), protocols.end(), [&](const std::string& p) { return iequals(p, word); });
    };
    s.ipv4 = has("ipv4") || has("all");
    s.ipv6 = has("ipv6") || has("all");
    s.bind4 = TRY(read_bind(in, "bind_address", AF_INET));
    s.bind6 = TRY(read_bind(in, "bind_address6", AF_INET6));
    s.lookup = TRY(read_lookup(values, in, read));
    s.tls = TRY(read_tls(in, read));
    s.sasl = TRY(read_sasl(in, read));
    s.rework = ReworkRules::read(values, [&in](std::string_view rest) { return in.name(rest); }, read);
    s.discard_keywords = in.list("discard_ehlo_keywords");
    s.discard_by_address = std::make_shared<const Lookup>(in.list("discard_ehlo_keyword_address_maps"), read);
    s.reply_filter = std::make_shared<const Lookup>(in.list("reply_filter"), read);
    s.line_limit = TRY(read_line_limit(in));
    s.tls_log = in.number("tls_loglevel") > 0;
    s.skip_5xx_greeting = in.flag("skip_5xx_greeting");
    s.ignore_mx_lookup_error = values.flag("ignore_mx_lookup_error");
    s.defer_if_no_mx_address = in.flag("defer_if_no_mx_address_found");
    s.cache_connections = in.flag("connection_cache_on_demand");
    s.cache_time = in.time("connection_cache_time_limit");
    s.reuse_time = in.time("connection_reuse_time_limit");
    s.reuse_count = static_cast<std::size_t>(in.number("connection_reuse_count_limit"));
    for (const std::string& hop : in.list("fallback_relay"))
        s.fallback.push_back(TRY(lmtp ? parse_lmtp_nexthop(hop, s.port) : parse_nexthop(hop, s.port)));
    return s;
}

} // namespace veredus::smtp_client

// The rows of main.cf that smtpd and submission have alike (smtpd_x, submission_x), as sessions want them.
#include "lib/reception/settings.h"

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/reception/check_rules.h"

namespace veredus::reception {

namespace {

Rates read_rates(const conf::Values& values, std::string_view prefix)
{
    const auto count = [&](const char* rest) { return static_cast<unsigned>(values.number(cat(prefix, rest))); };
    return {count("_client_connection_rate_limit"), count("_client_message_rate_limit"), count("_client_recipient_rate_limit"),
            count("_client_auth_rate_limit"), count("_client_new_tls_session_rate_limit")};
}

smtp::BareLf bare_lf_of(std::string_view word)
{
    if (iequals(word, "reject")) return smtp::BareLf::reject;
    return iequals(word, "note") ? smtp::BareLf::note : smtp::BareLf::normalize;
}

// A chain that cannot be opened is logged once here, and mail goes on without it.
std::shared_ptr<const table::Chain> open_chain(const conf::Values& values, const std::string& setting, const table::ReadText& read)
{
    const auto specs = values.list(setting);
    if (specs.empty()) return nullptr;
    auto chain = table::Chain::open_from(specs, read);
    if (chain) return std::make_shared<table::Chain>(std::move(*chain));
    log::warning(setting, ": ", chain.error().text, "; it has no effect until it can be read");
    return nullptr;
}

}  // namespace

void read_tables(Settings& out, const conf::Values& values, std::string_view prefix, const table::ReadText& read)
{
    const auto own = [&](const char* rest) { return cat(prefix, rest); };
    out.checks = open_checks(values, read);
    auto rules = std::make_shared<ClientRules>();
    rules->discarded = values.list(own("_discard_ehlo_keywords"));
    for (const std::string& word : unknown_keywords(rules->discarded))
        log::warning(own("_discard_ehlo_keywords"), ": \"", printable(word, 50), "\" is no extension of SMTP that veredus announces");
    rules->discards = open_chain(values, own("_discard_ehlo_keyword_address_maps"), read);
    if (auto forgiven = table::MatchList::networks(values.list(own("_forbid_bare_newline_exclusions")))) rules->bare_lf_forgiven = std::move(*forgiven);
    else log::warning(own("_forbid_bare_newline_exclusions"), ": ", forgiven.error().text);
    out.client_rules = std::move(rules);
    const auto maps = open_chain(values, "smtpd_reject_footer_maps", read);
    std::string text(values.text("smtpd_reject_footer"));
    out.footer = nullptr;
    if (text.empty() && !maps) return;
    Footer::Lookup look_up;
    if (maps) look_up = [maps](std::string_view key) { return maps->find(key); };
    out.footer = std::make_shared<const Footer>(std::move(text), std::move(look_up));
}

Settings read_settings(const conf::Values& values, std::string_view prefix)
{
    const auto own = [&](const char* rest) { return cat(prefix, rest); };
    const auto count = [&](std::string_view name) { return static_cast<unsigned>(values.number(name)); };
    Settings out;
    smtp::Limits& limits = out.limits;
    limits.hostname = values.text("myhostname");
    limits.banner = values.text(own("_banner"));
    limits.message_size = static_cast<uint64_t>(values.number("message_size_limit"));
    limits.recipients = count(own("_recipient_limit"));
    limits.recipients_beyond = count(own("_recipient_overshoot_limit"));
    out.drop_fields = values.list("message_drop_headers");
    limits.line_length = count("line_length_limit");
    limits.soft_errors = count(own("_soft_error_limit"));
    limits.hard_errors = count(own("_hard_error_limit"));
    limits.junk_commands = count(own("_junk_command_limit"));
    limits.helo_required = values.flag(own("_helo_required"));
    limits.disable_vrfy = values.flag("disable_vrfy_command");
    limits.strict_envelopes = values.flag("strict_rfc821_envelopes");
    limits.chunking = limits.binary = limits.starttls = limits.dsn = limits.smtputf8 = limits.requiretls = true;
    limits.bare_lf = bare_lf_of(values.text(own("_forbid_bare_newline")));
    limits.bare_lf_code = static_cast<int>(values.number(own("_forbid_bare_newline_reject_code")));
    out.timeout = std::chrono::seconds(values.seconds(own("_timeout")));
    out.stress_timeout = std::min(out.timeout, std::chrono::seconds(values.seconds(own("_stress_timeout"))));
    out.error_sleep = std::chrono::seconds(values.seconds(own("_error_sleep_time")));
    out.header_size = static_cast<std::size_t>(values.number("header_size_limit"));
    out.header_count = static_cast<std::size_t>(values.number("header_count_limit"));
    out.hops = count("hopcount_limit");
    const auto min_free = static_cast<uint64_t>(values.number("queue_minfree"));
    out.min_free = min_free ? min_free : limits.message_size + limits.message_size / 2;
    out.connections_per_client = count(own("_client_connection_count_limit"));
    out.rates = read_rates(values, prefix);
    out.stress_hard_errors = count(own("_stress_hard_error_limit"));
    out.stress_junk_commands = count(own("_stress_junk_command_limit"));
    out.look_up_names = values.flag(own("_peername_lookup"));
    limits.require_tls = iequals(values.text(own("_tls_security_level")), "encrypt");
    out.tls_offered = !iequals(values.text(own("_tls_security_level")), "none");
    out.tls_in_received = values.flag(own("_tls_received_header"));
    out.tls_logged = values.number(own("_tls_loglevel")) > 0;
    out.ask_certificate = values.flag(own("_tls_ask_ccert"));
    out.fingerprint_digest = lower(values.text(own("_tls_fingerprint_digest")));
    out.myorigin = values.text("myorigin");
    return out;
}

}  // namespace veredus::reception

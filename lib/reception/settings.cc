// The rows of main.cf that smtpd and submission have alike (smtpd_x, submission_x), as sessions want them.
#include "lib/reception/settings.h"

#include "lib/base/text.h"

namespace veredus::reception {

namespace {

// smtpd_discard_ehlo_keywords and its twin: what is not announced is not understood either.
void discard(smtp::Limits& limits, std::string_view keyword)
{
    struct Row {
        std::string_view word;
        bool smtp::Limits::*flag;
    };
    static constexpr Row rows[] = {
        {"pipelining", &smtp::Limits::pipelining}, {"8bitmime", &smtp::Limits::eight_bit}, {"enhancedstatuscodes", &smtp::Limits::enhanced_codes},
        {"dsn", &smtp::Limits::dsn},               {"smtputf8", &smtp::Limits::smtputf8},  {"starttls", &smtp::Limits::starttls},
        {"auth", &smtp::Limits::auth},             {"chunking", &smtp::Limits::chunking},
    };
    for (const Row& row : rows)
        if (iequals(row.word, keyword)) limits.*row.flag = false;
}

Rates read_rates(const conf::Values& values, std::string_view prefix)
{
    const auto count = [&](const char* rest) { return static_cast<unsigned>(values.number(cat(prefix, rest))); };
    return {count("_client_connection_rate_limit"), count("_client_message_rate_limit"), count("_client_recipient_rate_limit"),
            count("_client_auth_rate_limit"), count("_client_new_tls_session_rate_limit")};
}

}  // namespace

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
    limits.line_length = count("line_length_limit");
    limits.soft_errors = count(own("_soft_error_limit"));
    limits.hard_errors = count(own("_hard_error_limit"));
    limits.junk_commands = count(own("_junk_command_limit"));
    limits.helo_required = values.flag(own("_helo_required"));
    limits.disable_vrfy = values.flag("disable_vrfy_command");
    limits.strict_envelopes = values.flag("strict_rfc821_envelopes");
    limits.chunking = limits.starttls = limits.dsn = limits.smtputf8 = true;
    for (const std::string& word : values.list(own("_discard_ehlo_keywords"))) discard(limits, word);
    out.timeout = std::chrono::seconds(values.seconds(own("_timeout")));
    out.stress_timeout = std::min(out.timeout, std::chrono::seconds(values.seconds(own("_stress_timeout"))));
    out.error_sleep = std::chrono::seconds(values.seconds(own("_error_sleep_time")));
    out.header_size = static_cast<std::size_t>(values.number("header_size_limit"));
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

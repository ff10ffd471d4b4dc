// smtpd's rows of main.cf as the session room wants them.
#include "smtpd/settings.h"

#include "lib/base/text.h"

namespace veredus::smtpd {

namespace {

// smtpd_discard_ehlo_keywords: what is not announced is not understood either.
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

}  // namespace

reception::Settings read_settings(const conf::Values& values)
{
    const auto count = [&](std::string_view name) { return static_cast<unsigned>(values.number(name)); };
    reception::Settings out;
    smtp::Limits& limits = out.limits;
    limits.hostname = values.text("myhostname");
    limits.banner = values.text("smtpd_banner");
    limits.message_size = static_cast<uint64_t>(values.number("message_size_limit"));
    limits.recipients = count("smtpd_recipient_limit");
    limits.line_length = count("line_length_limit");
    limits.soft_errors = count("smtpd_soft_error_limit");
    limits.hard_errors = count("smtpd_hard_error_limit");
    limits.junk_commands = count("smtpd_junk_command_limit");
    limits.helo_required = values.flag("smtpd_helo_required");
    limits.disable_vrfy = values.flag("disable_vrfy_command");
    limits.strict_envelopes = values.flag("strict_rfc821_envelopes");
    limits.chunking = true;
    for (const std::string& word : values.list("smtpd_discard_ehlo_keywords")) discard(limits, word);
    out.timeout = std::chrono::seconds(values.seconds("smtpd_timeout"));
    out.error_sleep = std::chrono::seconds(values.seconds("smtpd_error_sleep_time"));
    out.header_size = static_cast<std::size_t>(values.number("header_size_limit"));
    out.hops = count("hopcount_limit");
    const auto min_free = static_cast<uint64_t>(values.number("queue_minfree"));
    out.min_free = min_free ? min_free : limits.message_size + limits.message_size / 2;
    out.connections_per_client = count("smtpd_client_connection_count_limit");
    out.look_up_names = values.flag("smtpd_peername_lookup");
    out.myorigin = values.text("myorigin");
    return out;
}

}  // namespace veredus::smtpd

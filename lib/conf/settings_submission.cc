// Settings: the MSA role, sendmail(1) and the drop directory.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words or unit, public
    {"submission_listen", Type::listeners, "587, 465/tls", master, "where submission listens for mail programs; empty: nowhere"},
    {"submission_processes", Type::number, "1", master, "processes that listen; the first one takes up the maildrop", 1, 32},
    {"submission_auth_required", Type::boolean, "yes", submission, "no: clients in mynetworks may send without a login"},
    {"submission_check_sender", Type::boolean, "yes", submission, "a user sends as an address of his own, or of smtpd_sender_login_maps"},
    {"submission_verify_domains", Type::boolean, "yes", submission, "refuse recipients and senders whose domain the DNS does not have"},
    {"submission_hide_client", Type::boolean, "no", submission, "leave name and address of a user's client out of Received"},
    {"submission_user_message_rate_limit", Type::number, "0", submission, "mails that a user may begin in anvil_rate_time_unit; 0: no limit", 0, 1000000000},
    {"submission_user_recipient_rate_limit", Type::number, "0", submission, "recipients that a user may name in anvil_rate_time_unit; 0: no limit", 0, 1000000000},
    {"message_drop_headers", Type::list, "bcc, content-length, resent-bcc, return-path", Who(smtpd | submission), "header fields that are dropped from each mail that comes"},
    {"submission_banner", Type::text, "$smtpd_banner", submission, "as smtpd_banner"},
    {"submission_timeout", Type::duration, "$smtpd_timeout", submission, "as smtpd_timeout", 1, 86400},
    {"submission_stress_timeout", Type::duration, "$smtpd_stress_timeout", submission, "as smtpd_stress_timeout, for who has not logged in", 1, 86400},
    {"submission_recipient_limit", Type::number, "$smtpd_recipient_limit", submission, "as smtpd_recipient_limit", 1, 100000},
    {"submission_recipient_overshoot_limit", Type::number, "$smtpd_recipient_overshoot_limit", submission, "as smtpd_recipient_overshoot_limit", 0, 100000},
    {"submission_soft_error_limit", Type::number, "$smtpd_soft_error_limit", submission, "as smtpd_soft_error_limit", 1, 1000000},
    {"submission_hard_error_limit", Type::number, "$smtpd_hard_error_limit", submission, "as smtpd_hard_error_limit", 1, 1000000},
    {"submission_error_sleep_time", Type::duration, "$smtpd_error_sleep_time", submission, "as smtpd_error_sleep_time", 0, 600},
    {"submission_junk_command_limit", Type::number, "$smtpd_junk_command_limit", submission, "as smtpd_junk_command_limit", 1, 1000000},
    {"submission_helo_required", Type::boolean, "$smtpd_helo_required", submission, "as smtpd_helo_required"},
    {"submission_peername_lookup", Type::boolean, "$smtpd_peername_lookup", submission, "as smtpd_peername_lookup"},
    {"submission_client_connection_count_limit", Type::number, "$smtpd_client_connection_count_limit", submission, "as smtpd_client_connection_count_limit", 0, 1000000},
    {"submission_client_connection_rate_limit", Type::number, "$smtpd_client_connection_rate_limit", submission, "as smtpd_client_connection_rate_limit", 0, 1000000},
    {"submission_client_message_rate_limit", Type::number, "$smtpd_client_message_rate_limit", submission, "as smtpd_client_message_rate_limit", 0, 1000000},
    {"submission_client_recipient_rate_limit", Type::number, "$smtpd_client_recipient_rate_limit", submission, "as smtpd_client_recipient_rate_limit", 0, 1000000},
    {"submission_client_auth_rate_limit", Type::number, "$smtpd_client_auth_rate_limit", submission, "as smtpd_client_auth_rate_limit", 0, 1000000},
    {"submission_client_new_tls_session_rate_limit", Type::number, "$smtpd_client_new_tls_session_rate_limit", submission, "as smtpd_client_new_tls_session_rate_limit", 0, 1000000},
    {"submission_stress_hard_error_limit", Type::number, "$smtpd_stress_hard_error_limit", submission, "as smtpd_stress_hard_error_limit", 1, 1000000},
    {"submission_stress_junk_command_limit", Type::number, "$smtpd_stress_junk_command_limit", submission, "as smtpd_stress_junk_command_limit", 1, 1000000},
    {"submission_client_event_limit_exceptions", Type::list, "$smtpd_client_event_limit_exceptions", submission, "as smtpd_client_event_limit_exceptions"},
    {"submission_client_restrictions", Type::list, "", submission, "what is asked about a client who has logged in"},
    {"submission_helo_restrictions", Type::list, "", submission, "what is asked about his HELO"},
    {"submission_sender_restrictions", Type::list, "", submission, "what is asked about a sender"},
    {"submission_relay_restrictions", Type::list, "permit_mynetworks, permit_sasl_authenticated, reject", submission, "who may send mail at all"},
    {"submission_recipient_restrictions", Type::list, "", submission, "what is asked about a recipient"},
    {"submission_data_restrictions", Type::list, "", submission, "what is asked before the content comes"},
    {"submission_end_of_data_restrictions", Type::list, "", submission, "what is asked once the content is here"},
    {"submission_delay_reject", Type::boolean, "$smtpd_delay_reject", submission, "as smtpd_delay_reject"},
    {"submission_relay_before_recipient_restrictions", Type::boolean, "$smtpd_relay_before_recipient_restrictions", submission, "as smtpd_relay_before_recipient_restrictions"},
    {"submission_reject_unlisted_recipient", Type::boolean, "$smtpd_reject_unlisted_recipient", submission, "as smtpd_reject_unlisted_recipient"},
    {"submission_reject_unlisted_sender", Type::boolean, "$smtpd_reject_unlisted_sender", submission, "as smtpd_reject_unlisted_sender"},
    {"submission_tls_CAfile", Type::path, "$smtpd_tls_CAfile", submission, "as smtpd_tls_CAfile"},
    {"submission_discard_ehlo_keywords", Type::list, "$smtpd_discard_ehlo_keywords", submission, "as smtpd_discard_ehlo_keywords"},
    {"submission_discard_ehlo_keyword_address_maps", Type::tables, "$smtpd_discard_ehlo_keyword_address_maps", submission, "as smtpd_discard_ehlo_keyword_address_maps"},
    {"submission_forbid_bare_newline", Type::word, "$smtpd_forbid_bare_newline", submission, "as smtpd_forbid_bare_newline", 0, 0, "normalize|yes|no|note|reject"},
    {"submission_forbid_bare_newline_exclusions", Type::list, "$smtpd_forbid_bare_newline_exclusions", submission, "as smtpd_forbid_bare_newline_exclusions"},
    {"submission_forbid_bare_newline_reject_code", Type::number, "$smtpd_forbid_bare_newline_reject_code", submission, "as smtpd_forbid_bare_newline_reject_code", 400, 599},
    {"submission_tls_security_level", Type::word, "may", submission, "as smtpd_tls_security_level; none: no STARTTLS, and so no login, on ports without /tls", 0, 0, "none|may|encrypt"},
    {"smtpd_tls_auth_only", Type::boolean, "yes", submission, "take passwords under TLS only"},
    {"submission_tls_auth_only", Type::boolean, "$smtpd_tls_auth_only", submission, "as smtpd_tls_auth_only"},
    {"submission_tls_cert_file", Type::path, "$smtpd_tls_cert_file", submission, "as smtpd_tls_cert_file"},
    {"submission_tls_key_file", Type::path, "$smtpd_tls_key_file", submission, "as smtpd_tls_key_file"},
    {"submission_tls_eccert_file", Type::path, "$smtpd_tls_eccert_file", submission, "as smtpd_tls_eccert_file"},
    {"submission_tls_eckey_file", Type::path, "$smtpd_tls_eckey_file", submission, "as smtpd_tls_eckey_file"},
    {"submission_tls_chain_files", Type::list, "$smtpd_tls_chain_files", submission, "as smtpd_tls_chain_files"},
    {"submission_tls_loglevel", Type::number, "$smtpd_tls_loglevel", submission, "as smtpd_tls_loglevel", 0, 4},
    {"submission_tls_ask_ccert", Type::boolean, "$smtpd_tls_ask_ccert", submission, "as smtpd_tls_ask_ccert"},
    {"submission_tls_fingerprint_digest", Type::word, "$smtpd_tls_fingerprint_digest", submission, "as smtpd_tls_fingerprint_digest", 0, 0, "sha256|sha384|sha512|sha1|md5"},
    {"submission_tls_received_header", Type::boolean, "$smtpd_tls_received_header", submission, "as smtpd_tls_received_header"},
    {"maildrop_scan_interval", Type::duration, "60s", submission, "how often maildrop is looked through besides being watched", 1, 86400},
};
}  // namespace

std::span<const Setting> submission_settings() { return rows; }

}  // namespace veredus::conf

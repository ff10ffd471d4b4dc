// Settings: the MX role.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words or unit, public
    {"smtpd_listen", Type::listeners, "25", master, "where smtpd listens"},
    {"smtpd_banner", Type::text, "$myhostname ESMTP", smtpd, "the greeting after 220; begins with the host name (RFC 5321)"},
    {"smtpd_timeout", Type::duration, "300s", smtpd, "silence after which a session ends", 1, 86400},
    {"smtpd_stress_timeout", Type::duration, "10s", smtpd, "the same for strangers while more than 80% of the possible sessions are open", 1, 86400},
    {"smtpd_recipient_limit", Type::number, "1000", smtpd, "recipients of one mail (RFC 5321: no fewer than 100)", 1, 100000},
    {"smtpd_soft_error_limit", Type::number, "10", smtpd, "errors after which a client is answered slowly", 1, 1000000},
    {"smtpd_hard_error_limit", Type::number, "20", smtpd, "errors after which a session ends", 1, 1000000},
    {"smtpd_error_sleep_time", Type::duration, "1s", smtpd, "how slowly, once there are too many errors", 0, 600},
    {"smtpd_junk_command_limit", Type::number, "100", smtpd, "NOOP, VRFY, RSET, EHLO and the like between mails before each is an error", 1, 1000000},
    {"smtpd_helo_required", Type::boolean, "no", smtpd, "refuse MAIL before HELO or EHLO"},
    {"disable_vrfy_command", Type::boolean, "yes", Who(smtpd | submission), "do not answer VRFY"},
    {"strict_rfc821_envelopes", Type::boolean, "no", Who(smtpd | submission), "refuse addresses without < and > and local parts over 64 bytes"},
    {"smtpd_peername_lookup", Type::boolean, "yes", smtpd, "look up the names of clients"},
    {"smtpd_client_connection_count_limit", Type::number, "50", smtpd, "connections of one client address at a time; 0: no limit", 0, 1000000},
    {"smtpd_client_connection_rate_limit", Type::number, "0", smtpd, "connections of one client address in anvil_rate_time_unit; 0: no limit", 0, 1000000},
    {"smtpd_client_message_rate_limit", Type::number, "0", smtpd, "mails of one client address in anvil_rate_time_unit; 0: no limit", 0, 1000000},
    {"smtpd_client_recipient_rate_limit", Type::number, "0", smtpd, "recipients of one client address in anvil_rate_time_unit; 0: no limit", 0, 1000000},
    {"smtpd_client_new_tls_session_rate_limit", Type::number, "0", smtpd, "TLS handshakes of one client address in anvil_rate_time_unit, resumed ones not counted; 0: no limit", 0, 1000000},
    {"smtpd_client_auth_rate_limit", Type::number, "0", smtpd, "AUTH commands of one client address in anvil_rate_time_unit; 0: no limit", 0, 1000000},
    {"smtpd_pregreet_wait", Type::duration, "0", smtpd, "how long a stranger waits for the greeting, to see whether he waits for it; 0: not at all", 0, 60},
    {"smtpd_pregreet_action", Type::word, "ignore", smtpd, "what becomes of a client that spoke before the greeting", 0, 0, "ignore|drop"},
    {"smtpd_stress_hard_error_limit", Type::number, "1", smtpd, "smtpd_hard_error_limit for strangers while more than 80% of the possible sessions are open", 1, 1000000},
    {"smtpd_stress_junk_command_limit", Type::number, "1", smtpd, "smtpd_junk_command_limit for them", 1, 1000000},
    {"smtpd_client_event_limit_exceptions", Type::list, "$mynetworks", smtpd, "clients that limits per client do not apply to"},
    {"smtpd_discard_ehlo_keywords", Type::list, "", smtpd, "extensions that are not announced: pipelining, 8bitmime, dsn, ..."},
    {"smtpd_tls_security_level", Type::word, "may", smtpd, "TLS for clients: never, for those who want it, or STARTTLS before anything else", 0, 0, "none|may|encrypt"},
    {"smtpd_tls_cert_file", Type::path, "", smtpd, "certificate with its issuers behind it (PEM); empty: a self-signed one"},
    {"smtpd_tls_key_file", Type::path, "$smtpd_tls_cert_file", smtpd, "the private key of smtpd_tls_cert_file"},
    {"smtpd_tls_eccert_file", Type::path, "", smtpd, "a second certificate, with a key of another kind (ECDSA beside RSA)"},
    {"smtpd_tls_eckey_file", Type::path, "$smtpd_tls_eccert_file", smtpd, "the private key of smtpd_tls_eccert_file"},
    {"smtpd_tls_chain_files", Type::list, "", smtpd, "files of keys, each followed by its certificates; instead of the four above"},
    {"smtpd_tls_loglevel", Type::number, "1", smtpd, "0: no log line for each TLS connection", 0, 4},
    {"smtpd_tls_ask_ccert", Type::boolean, "no", smtpd, "ask clients for a certificate; its fingerprints are logged, and can be looked up"},
    {"smtpd_tls_fingerprint_digest", Type::word, "sha256", smtpd, "digest of those fingerprints", 0, 0, "sha256|sha384|sha512|sha1|md5"},
    {"smtpd_tls_received_header", Type::boolean, "no", smtpd, "say in Received which TLS version and cipher the mail came with"},
    {"tls_server_sni_maps", Type::tables, "", Who(smtpd | submission), "other certificates for names that clients ask for: host.name, then files as in smtpd_tls_chain_files"},
    {"line_length_limit", Type::number, "2048", Who(smtpd | submission), "bytes of a command line", 512, 65536},
    {"header_size_limit", Type::size, "102400", Who(smtpd | submission), "bytes of a header field; all of them may have four times as much", 1024, 100000000},
};
}  // namespace

std::span<const Setting> smtpd_settings() { return rows; }

}  // namespace veredus::conf

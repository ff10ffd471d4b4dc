// Settings: the way out.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words or unit, public
    {"smtp_helo_name", Type::text, "$myhostname", smtp_client, "the name that EHLO gives"},
    {"smtp_tcp_port", Type::text, "smtp", smtp_client, "the port of next hops that name none"},
    {"smtp_bind_address", Type::text, "", smtp_client, "the IPv4 address that connections leave from; empty: the system chooses"},
    {"smtp_bind_address6", Type::text, "", smtp_client, "the IPv6 address that connections leave from; empty: the system chooses"},
    {"smtp_address_preference", Type::word, "any", smtp_client, "which addresses of equal MX preference come first", 0, 0, "any|ipv4|ipv6"},
    {"smtp_balance_inet_protocols", Type::boolean, "yes", smtp_client, "smtp_mx_address_limit leaves places for both IPv4 and IPv6"},
    {"smtp_randomize_addresses", Type::boolean, "yes", smtp_client, "equal addresses are tried in an order of chance"},
    {"smtp_mx_address_limit", Type::number, "5", smtp_client, "most addresses tried in one delivery; 0: all", 0, 1000},
    {"smtp_mx_session_limit", Type::number, "2", smtp_client, "most SMTP sessions that get past EHLO in one delivery; 0: no limit", 0, 1000},
    {"smtp_fallback_relay", Type::list, "", smtp_client, "next hops for mail whose destination cannot be found or reached"},
    {"ignore_mx_lookup_error", Type::boolean, "no", smtp_client, "when DNS fails for the MX records, use the address of the domain"},
    {"smtp_defer_if_no_mx_address_found", Type::boolean, "no", smtp_client, "when no MX host has an address, wait instead of returning the mail"},
    {"smtp_skip_5xx_greeting", Type::boolean, "yes", smtp_client, "a 5xx greeting sends the mail to the next MX host instead of back"},
    {"smtp_connect_timeout", Type::duration, "30s", smtp_client, "time for one connection to come about", 1, 3600},
    {"smtp_helo_timeout", Type::duration, "300s", smtp_client, "time for the greeting, and for EHLO and its answer", 1, 86400},
    {"smtp_starttls_timeout", Type::duration, "300s", smtp_client, "time for STARTTLS and the handshake", 1, 86400},
    {"smtp_mail_timeout", Type::duration, "300s", smtp_client, "time for MAIL FROM and its answer", 1, 86400},
    {"smtp_rcpt_timeout", Type::duration, "300s", smtp_client, "time for RCPT TO and its answer", 1, 86400},
    {"smtp_data_init_timeout", Type::duration, "120s", smtp_client, "time for DATA and its answer", 1, 86400},
    {"smtp_data_xfer_timeout", Type::duration, "180s", smtp_client, "time in which some of the content must get through", 1, 86400},
    {"smtp_data_done_timeout", Type::duration, "600s", smtp_client, "time for the answer to the end of the content", 1, 86400},
    {"smtp_rset_timeout", Type::duration, "20s", smtp_client, "time for RSET and its answer", 1, 86400},
    {"smtp_tls_security_level", Type::word, "may", smtp_client, "TLS to other servers: never, when offered, always, or only to who proves its name", 0, 0, "none|may|encrypt|dane|fingerprint|verify|secure"},
    {"smtp_tls_loglevel", Type::number, "1", smtp_client, "0: no log line for each TLS connection", 0, 4},
    {"smtp_tls_CAfile", Type::path, "", Who(smtp_client | master), "certificates of authorities in one file"},
    {"smtp_tls_CApath", Type::path, "", smtp_client, "the same as a folder of files"},
    {"smtp_connection_cache_on_demand", Type::boolean, "yes", smtp_client, "keep a connection a moment for the next mail to the same place"},
    {"smtp_connection_cache_time_limit", Type::duration, "2s", smtp_client, "how long a connection is kept idle", 1, 60},
    {"smtp_connection_reuse_time_limit", Type::duration, "300s", smtp_client, "no connection takes another mail after this time", 1, 86400},
    {"smtp_connection_reuse_count_limit", Type::number, "0", smtp_client, "most mails over one connection; 0: no limit", 0, 1'000'000},
    {"smtp_tls_policy_maps", Type::tables, "", Who(smtp_client | master), "TLS levels and their attributes by next hop", 0, INT64_MAX, nullptr, false},
    {"smtp_tls_wrappermode", Type::boolean, "no", smtp_client, "TLS before everything else, as on port 465"},
    {"smtp_tls_protocols", Type::text, ">=TLSv1.2", smtp_client, "protocol versions of level may"},
    {"smtp_tls_mandatory_protocols", Type::text, ">=TLSv1.2", smtp_client, "protocol versions of the levels from encrypt on"},
    {"smtp_tls_ciphers", Type::word, "medium", smtp_client, "least cipher grade of level may", 0, 0, "high|medium|low|export|null"},
    {"smtp_tls_mandatory_ciphers", Type::word, "medium", smtp_client, "least cipher grade of the levels from encrypt on", 0, 0, "high|medium|low|export|null"},
    {"smtp_tls_exclude_ciphers", Type::list, "", smtp_client, "ciphers that are never used, in OpenSSL's names"},
    {"smtp_tls_mandatory_exclude_ciphers", Type::list, "", smtp_client, "more of them for the levels from encrypt on"},
    {"smtp_tls_verify_cert_match", Type::list, "hostname", smtp_client, "names of which a certificate must have one at level verify"},
    {"smtp_tls_secure_cert_match", Type::list, "nexthop, dot-nexthop", smtp_client, "names of which a certificate must have one at level secure"},
    {"smtp_tls_fingerprint_cert_match", Type::list, "", smtp_client, "fingerprints of which one must fit at level fingerprint"},
    {"smtp_tls_fingerprint_digest", Type::word, "sha256", smtp_client, "digest of fingerprints", 0, 0, "sha256|sha384|sha512|sha1|md5"},
    {"smtp_tls_servername", Type::text, "", smtp_client, "name that the handshake asks for: hostname, nexthop, or a name; empty: hostname"},
    {"smtp_tls_cert_file", Type::path, "", Who(smtp_client | master), "certificate that is shown to servers that ask for one; empty: none"},
    {"smtp_tls_key_file", Type::path, "$smtp_tls_cert_file", Who(smtp_client | master), "its private key"},
    {"smtp_sasl_auth_enable", Type::boolean, "no", smtp_client, "log in to servers of smtp_sasl_password_maps"},
    {"smtp_sasl_password_maps", Type::tables, "", Who(smtp_client | master), "user:password by next hop, server or sender", 0, INT64_MAX, nullptr, false},
    {"smtp_sasl_security_options", Type::list, "noplaintext, noanonymous", smtp_client, "what mechanisms must not be on connections in clear"},
    {"smtp_sasl_tls_security_options", Type::list, "noanonymous", smtp_client, "the same under TLS"},
    {"smtp_sasl_tls_verified_security_options", Type::list, "$smtp_sasl_tls_security_options", smtp_client, "the same under TLS with a server that proved its name"},
    {"smtp_sasl_mechanism_filter", Type::list, "", smtp_client, "mechanisms that may be used; empty: all"},
    {"smtp_sender_dependent_authentication", Type::boolean, "no", smtp_client, "look for the sender in smtp_sasl_password_maps first"},
    {"smtp_discard_ehlo_keywords", Type::list, "", smtp_client, "extensions of servers that count as not there"},
};
}  // namespace

std::span<const Setting> smtp_client_settings() { return rows; }

}  // namespace veredus::conf

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
    {"smtp_tls_security_level", Type::word, "may", smtp_client, "TLS to other servers: never, when offered, or always", 0, 0, "none|may|encrypt|dane"},
    {"smtp_tls_loglevel", Type::number, "1", smtp_client, "0: no log line for each TLS connection", 0, 4},
    {"smtp_tls_CAfile", Type::path, "", smtp_client, "certificates of authorities in one file, for the word Trusted in the log"},
    {"smtp_tls_CApath", Type::path, "", smtp_client, "the same as a folder of files"},
    {"smtp_connection_cache_on_demand", Type::boolean, "yes", smtp_client, "keep a connection a moment for the next mail to the same place"},
    {"smtp_connection_cache_time_limit", Type::duration, "2s", smtp_client, "how long a connection is kept idle", 1, 60},
    {"smtp_connection_reuse_time_limit", Type::duration, "300s", smtp_client, "no connection takes another mail after this time", 1, 86400},
    {"smtp_connection_reuse_count_limit", Type::number, "0", smtp_client, "most mails over one connection; 0: no limit", 0, 1'000'000},
};
}  // namespace

std::span<const Setting> smtp_client_settings() { return rows; }

}  // namespace veredus::conf

// Settings: the login stages of imapd and pop3d, and the sessions behind them.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr Who stages = Who(pop3d | imapd);
constexpr Who mailboxes = Who(pop3_session | imap_session);
constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words or unit, public
    {"imapd_listen", Type::listeners, "143, 993/tls", master, "where imapd listens; empty: nowhere"},
    {"pop3d_listen", Type::listeners, "110, 995/tls", master, "where pop3d listens; empty: nowhere"},
    {"login_processes", Type::number, "0", master, "how many processes of each login stage; 0: one per core", 0, 64},
    {"login_process_per_connection", Type::boolean, "no", Who(stages | master), "a process of the login stage for each client"},
    {"login_process_limit", Type::number, "100", master, "processes of each login stage at a time, those included that take no more clients", 2, 2000},
    {"login_max_use", Type::number, "10000", stages, "clients that a process of a login stage takes before another one takes its place; 0: no limit", 0, 1000000000},
    {"login_connections", Type::number, "10000", stages, "clients of one login process, those it relays for included", 1,
     1000000},
    {"login_greeting", Type::text, "$mail_name ready.", stages, "what a client reads first"},
    {"login_timeout", Type::duration, "180s", Who(stages | authd), "time that a client has to log in", 1, 3600},
    {"login_failure_limit", Type::number, "10", stages, "a client that fails this often is disconnected", 1, 1000},
    {"login_trusted_networks", Type::list, "", stages,
     "clients whose passwords are taken in clear, whatever disable_plaintext_auth says"},
    {"login_client_connection_count_limit", Type::number, "50", stages,
     "connections of one address that are open in a login stage; 0: no limit", 0, 1000000},
    {"login_client_connection_rate_limit", Type::number, "0", stages,
     "connections of one address in anvil_rate_time_unit; 0: no limit", 0, 1000000},
    {"login_client_event_limit_exceptions", Type::list, "$mynetworks", stages, "addresses without such limits"},
    {"disable_plaintext_auth", Type::boolean, "yes", stages,
     "take passwords under TLS and from this host only"},
    {"haproxy_trusted_networks", Type::list, "", stages,
     "proxies: what comes from there begins with the PROXY protocol, version 1 or 2"},
    {"haproxy_timeout", Type::duration, "3s", stages, "time that a proxy has to say whom it brings", 1, 60},
    {"pop3d_tls_cert_file", Type::path, "$smtpd_tls_cert_file", pop3d, "as smtpd_tls_cert_file"},
    {"pop3d_tls_key_file", Type::path, "$smtpd_tls_key_file", pop3d, "as smtpd_tls_key_file"},
    {"pop3d_tls_eccert_file", Type::path, "$smtpd_tls_eccert_file", pop3d, "as smtpd_tls_eccert_file"},
    {"pop3d_tls_eckey_file", Type::path, "$smtpd_tls_eckey_file", pop3d, "as smtpd_tls_eckey_file"},
    {"pop3d_tls_chain_files", Type::list, "$smtpd_tls_chain_files", pop3d, "as smtpd_tls_chain_files"},
    {"pop3d_tls_ask_ccert", Type::boolean, "$smtpd_tls_ask_ccert", pop3d, "as smtpd_tls_ask_ccert"},
    {"pop3d_tls_CAfile", Type::path, "$smtpd_tls_CAfile", pop3d, "as smtpd_tls_CAfile"},
    {"pop3d_tls_req_ccert", Type::boolean, "no", pop3d, "nobody logs in without a certificate that pop3d_tls_CAfile trusts"},
    {"imapd_tls_cert_file", Type::path, "$smtpd_tls_cert_file", imapd, "as smtpd_tls_cert_file"},
    {"imapd_tls_key_file", Type::path, "$smtpd_tls_key_file", imapd, "as smtpd_tls_key_file"},
    {"imapd_tls_eccert_file", Type::path, "$smtpd_tls_eccert_file", imapd, "as smtpd_tls_eccert_file"},
    {"imapd_tls_eckey_file", Type::path, "$smtpd_tls_eckey_file", imapd, "as smtpd_tls_eckey_file"},
    {"imapd_tls_chain_files", Type::list, "$smtpd_tls_chain_files", imapd, "as smtpd_tls_chain_files"},
    {"imapd_tls_ask_ccert", Type::boolean, "$smtpd_tls_ask_ccert", imapd, "as smtpd_tls_ask_ccert"},
    {"imapd_tls_CAfile", Type::path, "$smtpd_tls_CAfile", imapd, "as smtpd_tls_CAfile"},
    {"imapd_tls_req_ccert", Type::boolean, "no", imapd, "nobody logs in without a certificate that imapd_tls_CAfile trusts"},
    {"imap_append_limit", Type::number, "52428800", imap_session, "bytes of a message that a client may store; 0: no limit", 0,
     INT64_MAX},
    {"imap_timeout", Type::duration, "1800s", imap_session, "time that a client may be silent", 60, 86400},
    {"imap_idle_notify_interval", Type::duration, "120s", imap_session, "how often a client in IDLE is told that all is well", 10,
     86400},
    {"mailbox_default_folders", Type::text, "Drafts \\Drafts, Sent \\Sent, Trash \\Trash, Junk \\Junk, Archive \\Archive",
     imap_session, "folders that a user has without making them, and what they are for (SPECIAL-USE)"},
    {"pop3_uidl_format", Type::raw, "%08Xu%08Xv", pop3_session,
     "what UIDL says of a message, as Dovecot's: %u its UID, %v UIDVALIDITY, %f its Maildir file, %g, %m"},
    {"pop3_timeout", Type::duration, "600s", pop3_session, "time that a client may be silent", 10, 86400},
    {"pop3_login_delay", Type::duration, "0s", Who(stages | pop3_session), "time between two POP3 logins of a user; 0: any", 0, 86400},
    {"pop3_lock_session", Type::boolean, "no", pop3_session, "one POP3 session of a user at a time"},
    {"pop3_no_flag_updates", Type::boolean, "no", pop3_session, "mail that was fetched stays unseen for IMAP"},
    {"pop3_deleted_flag", Type::raw, "", pop3_session, "an IMAP keyword that mail gets instead of being removed by QUIT, and that hides it from POP3; empty: none"},
    {"pop3_reuse_xuidl", Type::boolean, "no", pop3_session, "UIDL says what another server noted as X-UIDL"},
    {"pop3_client_workarounds", Type::list, "", pop3_session,
     "for clients with flaws: outlook-no-nuls, oe-ns-eoh", 0, 0, "outlook-no-nuls|oe-ns-eoh"},
    {"mail_max_userip_connections", Type::number, "10", mailboxes,
     "connections of one user from one address to one service; 0: no limit", 0, 1000000},
    {"session_linger", Type::duration, "10s", mailboxes,
     "how long a user's process stays when his last client has gone", 0, 3600},
};
} // namespace

std::span<const Setting> login_settings()
{
    return rows;
}

} // namespace veredus::conf

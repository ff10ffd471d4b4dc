// Settings: local delivery.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words (of raw: the names behind $) or unit, public
    {"mail_spool_directory", Type::path, VEREDUS_MAILSPOOL, Who(local | lockd | pop3_session | imap_session), "where the mailboxes of users are"},
    {"home_mailbox", Type::text, "", Who(local | pop3_session | imap_session), "mailbox below the home, like Maildir/; empty: USER in mail_spool_directory"},
    {"mailbox_command", Type::raw, "", local, "command that gets the mail of every user instead of a mailbox, run as that user"},
    {"mailbox_command_maps", Type::tables, "", local, "the same for single users"},
    {"mailbox_transport", Type::text, "", Who(local | master), "transport:nexthop that takes the mail of every user, known here or not, instead of a mailbox"},
    {"mailbox_transport_maps", Type::tables, "", local, "the same for single users"},
    {"fallback_transport", Type::text, "", Who(local | master), "transport:nexthop that takes mail for users who have no account"},
    {"fallback_transport_maps", Type::tables, "", local, "the same for single users"},
    {"mailbox_size_limit", Type::size, "0", local, "largest mbox file in bytes; 0: no limit"},
    {"forward_path", Type::raw, "$home/.forward${recipient_delimiter}${extension}, $home/.forward", local, "files that say where a user's mail goes, the first that is there", 0, 0,
     "home|user|shell|recipient|local|domain|extension|recipient_delimiter"},
    {"default_privs", Type::text, "nobody", Who(local | resolver), "the user that commands and files of aliases(5) run as"},
    {"root_mailbox_user", Type::text, "veredus-root", Who(local | lockd | pop3_session | imap_session), "the user that keeps root's mailbox while root has no alias"},
    {"allow_mail_to_commands", Type::list, "alias, forward", local, "where |command may stand: alias, forward, include", 0, 0, "alias|forward|include"},
    {"allow_mail_to_files", Type::list, "alias, forward", local, "where /file may stand: alias, forward, include", 0, 0, "alias|forward|include"},
    {"command_time_limit", Type::duration, "1000s", local, "time that a command has before it is killed and the mail deferred", 1, 86400},
    {"local_command_shell", Type::text, "", local, "program that gets every command as its last argument, like \"/usr/lib/sm.bin/smrsh -c\"; empty: /bin/sh where one is needed"},
    {"command_expansion_filter", Type::raw, "1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", local, "characters of a mail's addresses that its commands see; the others become _"},
    {"export_environment", Type::list, "TZ MAIL_CONFIG LANG", local, "environment of commands: NAME passes ours on, NAME=VALUE sets it"},
    {"deliver_lock_attempts", Type::number, "20", local, "how often the lock of a mailbox is tried", 1, 1000},
    {"deliver_lock_delay", Type::duration, "1s", local, "time between two tries", 1, 60},
    {"owner_request_special", Type::boolean, "yes", local, "an alias owner-NAME gets the bounces of the list NAME"},
    {"expand_owner_alias", Type::boolean, "no", local, "the one address behind owner-NAME is the envelope sender, not owner-NAME"},
    {"pipe_transports", Type::raw, "", Who(qmgr | local | router), "transports that are commands: {NAME flags=… user=… argv=…}"},
    {"luser_relay", Type::raw, "", local, "address for mail to local users that do not exist", 0, 0, "user|local|extension|domain|recipient|recipient_delimiter"},
    {"local_plus_folders", Type::boolean, "no", local, "user+folder goes into that folder of a Maildir when it exists"},
    {"virtual_mailbox_base", Type::path, "", Who(local | resolver), "folder that the paths of virtual_mailbox_maps are below"},
    {"virtual_uid_maps", Type::tables, "", Who(local | resolver), "the uid that keeps a virtual user's mailbox; static:5000 for all"},
    {"virtual_gid_maps", Type::tables, "", Who(local | resolver), "its gid; empty: that of the account with this uid"},
    {"virtual_minimum_uid", Type::number, "100", Who(local | resolver), "no uid of virtual_uid_maps may be lower", 1, 4294967294},
    {"lmtp_listen", Type::listeners, "", Who(master | smtpd), "where other mail servers hand in mail for mailboxes here: unix:/path, 24, host:24"},
    {"lmtp_trusted_networks", Type::list, "$mynetworks", smtpd, "clients over TCP that may; a Unix socket is open to all users of this host"},
    {"lmtpd_timeout", Type::duration, "300s", smtpd, "time that a client may be silent", 1, 86400},
    {"lmtpd_tls_security_level", Type::word, "may", smtpd, "TLS for clients over TCP: never, for those who want it, or STARTTLS before anything else", 0, 0, "none|may|encrypt"},
    {"lmtpd_tls_cert_file", Type::path, "$smtpd_tls_cert_file", smtpd, "as smtpd_tls_cert_file"},
    {"lmtpd_tls_key_file", Type::path, "$smtpd_tls_key_file", smtpd, "as smtpd_tls_key_file"},
    {"lmtpd_tls_eccert_file", Type::path, "$smtpd_tls_eccert_file", smtpd, "as smtpd_tls_eccert_file"},
    {"lmtpd_tls_eckey_file", Type::path, "$smtpd_tls_eckey_file", smtpd, "as smtpd_tls_eckey_file"},
    {"lmtpd_tls_chain_files", Type::list, "$smtpd_tls_chain_files", smtpd, "as smtpd_tls_chain_files"},
    {"lmtpd_tls_ask_ccert", Type::boolean, "$smtpd_tls_ask_ccert", smtpd, "as smtpd_tls_ask_ccert"},
    {"lmtpd_tls_CAfile", Type::path, "$smtpd_tls_CAfile", smtpd, "as smtpd_tls_CAfile"},
    {"lmtpd_tls_loglevel", Type::number, "$smtpd_tls_loglevel", smtpd, "as smtpd_tls_loglevel", 0, 4},
    {"lmtpd_tls_received_header", Type::boolean, "$smtpd_tls_received_header", smtpd, "as smtpd_tls_received_header"},
    {"lmtpd_recipient_limit", Type::number, "1000", smtpd, "recipients of a mail", 1, 50000},
    {"local_worker_limit", Type::number, "200", local, "processes of users at one time", 1, 100000},
    {"local_worker_idle", Type::duration, "10s", local, "time that a user's process stays after his last mail", 1, 3600},
    {"local_worker_timeout", Type::duration, "300s", local, "a user's process that answers nothing for so long is given up (commands: command_time_limit more)", 1, 86400},
};
}  // namespace

std::span<const Setting> local_settings() { return rows; }

}  // namespace veredus::conf

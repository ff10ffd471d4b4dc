// Settings: what belongs to no single role.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words or unit, public
    {"myhostname", Type::text, "", everyone, "the Internet name of this host; empty: what the system says"},
    {"mydomain", Type::text, "", everyone, "the domain of this host; empty: myhostname without its first label"},
    {"myorigin", Type::text, "$myhostname", everyone, "the domain that unqualified addresses get; a file name is read"},
    {"mydestination", Type::list, "$myhostname, localhost.$mydomain, localhost", Who(smtp_client | master | smtpd | submission | router | local | authd | tool), "domains whose mail is delivered here"},
    {"mynetworks", Type::list, "127.0.0.0/8 [::1]/128", Who(master | smtpd | submission | router), "clients that may relay"},
    {"recipient_delimiter", Type::text, "+", Who(smtp_client | smtpd | submission | router | qmgr | local | resolver), "characters that part a user name from its extension"},
    {"message_size_limit", Type::size, "10240000", everyone, "largest mail in bytes; 0: no limit"},
    {"mail_name", Type::text, "veredus", everyone, "what $mail_name in a banner says"},
    {"append_dot_mydomain", Type::boolean, "no", Who(router | submission | tool), "give user@host the domain of this host: user@host.$mydomain"},
    {"queue_directory", Type::path, VEREDUS_SPOOLDIR, everyone, "the spool"},
    {"run_directory", Type::path, VEREDUS_RUNDIR, everyone, "sockets and the pid file"},
    {"queue_minfree", Type::size, "0", Who(smtpd | submission | qmgr | tool), "free bytes that the spool must keep; 0: 1.5 times message_size_limit"},
    {"hopcount_limit", Type::number, "50", Who(smtpd | submission | qmgr), "a mail with more Received fields than this goes round in circles", 1, 1000},
    {"syslog_name", Type::text, "veredus", everyone, "the first part of the name in log lines"},
    {"maillog_file", Type::path, "", everyone, "log to this file instead of syslog; /dev/stderr: to standard error"},
};
}  // namespace

std::span<const Setting> general_settings() { return rows; }

}  // namespace veredus::conf

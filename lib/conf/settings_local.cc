// Settings: local delivery.
#include "config.h"
#include "lib/conf/tables.h"

namespace veredus::conf {

namespace {
constexpr Setting rows[] = {
    // name, type, default, who, help, min, max, words or unit, public
    {"mail_spool_directory", Type::path, VEREDUS_MAILSPOOL, Who(local | lockd), "where the mailboxes of users are"},
    {"home_mailbox", Type::text, "", local, "mailbox below the home, like Maildir/; empty: USER in mail_spool_directory"},
    {"default_privs", Type::text, "nobody", local, "the user that commands of aliases(5) run as"},
};
}  // namespace

std::span<const Setting> local_settings() { return rows; }

}  // namespace veredus::conf

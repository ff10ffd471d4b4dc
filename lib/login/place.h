// Where a user's mail is, as local delivers it: of a virtual user where his table says, else home_mailbox below his
// home, else his file in mail_spool_directory.
#pragma once

#include <memory>
#include <string>

#include "lib/base/result.h"
#include "lib/conf/values.h"
#include "lib/ipc/control.h"
#include "lib/store/mailbox.h"

namespace veredus::login {

struct Place {
    std::string path;   // absolute; a Maildir when it ends in a slash
    std::string home;   // where an mbox has its index and the other folders; empty: nowhere
    bool spool = false; // in mail_spool_directory: lockd locks it
};
Result<Place> place_of(const conf::Values& values, const ipc::Serve& user);
// Who locks the inbox from now on, where open_mailbox() finds an mbox outside of the spool; nothing: the user's own hands.
void set_inbox_keeper(std::shared_ptr<store::MboxKeeper> keeper);
// As the user himself: nothing else protects one user's mail from another's process. Errors say what could not be
// opened.
Result<std::unique_ptr<store::Mailbox>> open_mailbox(const conf::Values& values, const ipc::Serve& user);

} // namespace veredus::login

// The mailboxes of mail_spool_directory, for a process of their user: lockd locks and makes them (design.md §1).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/fd.h"
#include "lib/ipc/message.h"
#include "lib/ipc/user.h"
#include "lib/store/mbox.h"

namespace veredus::daemon {

// NAME's mailbox there: an mbox, or a Maildir where the setting ends in a slash, as under Postfix.
inline std::string spool_mailbox(std::string_view directory, std::string_view name)
{
    std::string path(directory);
    if (!path.ends_with('/')) return path.append(1, '/').append(name);
    return path.append(name).append(1, '/');
}

// The dotlock and the first file of a mailbox in the spool directory, through lockd's socket; one connection for the process's life.
class SpoolKeeper final : public store::MboxKeeper {
public:
    SpoolKeeper(std::string socket, std::string name) : socket_(std::move(socket)), name_(std::move(name)) {}
    Result<bool> lock() override;
    void unlock() override;
    Result<void> create() override;

private:
    Result<ipc::Message> ask(ipc::LockRequest::Op op);
    Result<ipc::Message> ask_once(const ipc::Message& request);
    std::string socket_, name_;
    Fd lockd_;
    uint32_t request_ = 0;
};

}  // namespace veredus::daemon

// Asking lockd.
#include "lib/daemon/spool_keeper.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "lib/base/text.h"
#include "lib/ipc/control.h"

namespace veredus::daemon {

namespace {
constexpr int lockd_timeout_ms = 20'000;
}  // namespace

// lockd, asked and answered one by one. An answer that does not come ends the connection, and with it every lock.
Result<ipc::Message> SpoolKeeper::ask_once(const ipc::Message& request)
{
    if (!lockd_) lockd_ = TRY(ipc::connect_unix(socket_));
    TRY(ipc::send_blocking(lockd_.get(), request, lockd_timeout_ms));
    auto answer = TRY(ipc::recv_blocking(lockd_.get(), lockd_timeout_ms));
    if (!answer) return fail_errno("closed the connection", ECONNRESET);
    if (!answer->answer || answer->request != request.request) return fail("answers something else");
    return std::move(*answer);
}

Result<ipc::Message> SpoolKeeper::ask(ipc::LockRequest::Op op)
{
    ipc::Message request;
    request.type = static_cast<uint16_t>(ipc::UserType::lock);
    request.request = ++request_;
    request.body = ipc::LockRequest{op, name_}.encode();
    auto answer = ask_once(request);
    if (answer) return answer;
    lockd_.reset();
    // EAGAIN: it may be starting again just now; the caller tries for as long as it would for a lock
    return fail_errno(cat("lockd: ", answer.error().text), EAGAIN);
}

Result<bool> SpoolKeeper::lock()
{
    const auto answer = TRY(ask(ipc::LockRequest::Op::lock));
    const auto status = TRY(ipc::Status::decode(answer.body));
    if (status.code == ipc::Code::ok) return true;
    if (status.code == ipc::Code::unavailable) return false;
    return fail(cat("lockd: ", status.text));
}

void SpoolKeeper::unlock() { (void)ask(ipc::LockRequest::Op::unlock); }    // if it fails, the connection is closed: unlocked too

Result<void> SpoolKeeper::create()
{
    const auto offer = TRY(ask(ipc::LockRequest::Op::create));
    const auto offered = TRY(ipc::Status::decode(offer.body));
    if (offered.code != ipc::Code::ok) return fail(cat("lockd: ", offered.text));
    if (offer.fds.empty()) return {};    // it exists by now
    const Fd file(::openat(offer.fds[0].get(), name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file || ::fsync(file.get()) < 0) return fail_errno(cat("create mailbox ", name_));
    const auto answer = TRY(ask(ipc::LockRequest::Op::created));
    const auto status = TRY(ipc::Status::decode(answer.body));
    if (status.code != ipc::Code::ok) return fail(cat("lockd: ", status.text));
    return {};
}

}  // namespace veredus::daemon

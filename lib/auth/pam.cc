// The passdb's side: who is asked for, and the way to the helper.
#include "lib/auth/pam.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lib/auth/pam_child.h"
#include "lib/auth/shadow.h"
#include "lib/base/text.h"
#include "lib/tls/digest.h"

namespace veredus::auth {

namespace {

constexpr std::size_t max_password = 12'288;      // ipc::max_sasl
constexpr const char* nobody = "veredus-unknown"; // who is asked for when there is no such account

Judgement unavailable(std::string why)
{
    return {ipc::AuthFailure::internal, cat("PAM: ", why)};
}

Judgement read_answer(std::string_view bytes)
{
    const std::string text = printable(bytes.substr(1), 200);
    switch (static_cast<PamAnswer>(bytes[0])) {
    case PamAnswer::right: return {ipc::AuthFailure::none, ""};
    case PamAnswer::wrong: return {ipc::AuthFailure::password_mismatch, "Password mismatch"};
    case PamAnswer::expired:
        return {ipc::AuthFailure::expired, cat("account or password has expired (PAM: ", text, ")")};
    case PamAnswer::locked: return {ipc::AuthFailure::locked, cat("account is locked (PAM: ", text, ")")};
    case PamAnswer::unavailable: break;
    }
    return unavailable(text);
}

} // namespace

PamHelper::~PamHelper()
{
    channel_.reset(); // the helper's end of work
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
}

Result<std::shared_ptr<const PamHelper>> PamHelper::start(Options options)
{
    if (!pam_built_in()) return fail("this veredus was built without PAM (configure found no libpam0g-dev)");
    auto [ours, theirs] = TRY(socket_pair(SOCK_SEQPACKET));
    const pid_t pid = ::fork();
    if (pid < 0) return fail_errno("fork");
    if (pid == 0) run_pam_helper(theirs.get(), options.directory, options.limit_ms);
    return std::shared_ptr<const PamHelper>(new PamHelper(std::move(ours), pid, options.limit_ms));
}

Judgement PamHelper::ask(const std::string& user, std::string_view password) const
{
    // Modules take strings of C, and one with a NUL in it would be another password.
    if (password.find('\0') != std::string_view::npos || password.size() > max_password)
        return {ipc::AuthFailure::password_mismatch, "Password mismatch"};
    auto pair = socket_pair(SOCK_SEQPACKET);
    if (!pair) return unavailable(pair.error().text);
    auto& [ours, theirs] = *pair;
    std::string question = cat(user, std::string_view("\0", 1), password);
    const bool asked =
        ::send(ours.get(), question.data(), question.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(question.size());
    tls::wipe(question);
    if (!asked) return unavailable("the question does not fit into a socket");
    if (auto sent = send_descriptor(channel_.get(), theirs.get()); !sent) return unavailable(sent.error().text);
    theirs.reset();

    pollfd wait{ours.get(), POLLIN, 0};
    int ready = 0;
    while ((ready = ::poll(&wait, 1, limit_ms_ + 1000)) < 0 && errno == EINTR) {
    }
    char answer[256];
    const ssize_t size = ready > 0 ? ::recv(ours.get(), answer, sizeof answer, MSG_DONTWAIT) : 0;
    if (size <= 0)
        return unavailable(cat("no answer within ", limit_ms_ / 1000, " s, or a module crashed (service veredus)"));
    return read_answer({answer, static_cast<std::size_t>(size)});
}

Result<std::optional<Found>> Pam::find(const std::string& user) const
{
    if (!is_account_name(user)) return std::optional<Found>();
    const auto uid = TRY(find_account(user));
    // Not root: nobody may guess his password here, nor lock him with guesses.
    if (!uid || *uid == 0) return std::optional<Found>();
    Found found;
    found.user = user;
    found.source = "pam";
    found.judged = true;
    return std::optional<Found>(std::move(found));
}

Judgement Pam::judge(const std::string& user, std::string_view password) const
{
    return helper_->ask(user.empty() ? nobody : user, password);
}

std::string Pam::stamp() const
{
    return cat(accounts_stamp(), ' ', file_stamp("/etc/pam.d/veredus"));
}

} // namespace veredus::auth

// Passwords that the host's PAM judges, service "veredus" (pam(3)). Its modules run in a process of their own.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "lib/auth/passdb.h"
#include "lib/base/fd.h"

namespace veredus::auth {

// A process with the rights that its maker had, and a child of it for each password: a module may block, leak or crash
// there. A child that has not answered in time is killed.
class PamHelper {
public:
    struct Options {
        std::string directory; // of service files; empty: PAM's own
        int limit_ms = 20'000; // for one password
    };
    // Forks: call it while there is one thread, and root if modules are to read shadow. Fails when this build has no
    // PAM.
    static Result<std::shared_ptr<const PamHelper>> start(Options options);
    ~PamHelper(); // ends the helper, and the children that are at work
    PamHelper(const PamHelper&) = delete;
    // `user` is an account's name: no NUL. Blocks, at most a second longer than the limit; from several threads.
    Judgement ask(const std::string& user, std::string_view password) const;
    // Becomes readable (end of file) when the helper is gone.
    int fd() const { return channel_.get(); }

private:
    PamHelper(Fd channel, pid_t pid, int limit_ms) : channel_(std::move(channel)), pid_(pid), limit_ms_(limit_ms) {}
    Fd channel_;
    pid_t pid_;
    int limit_ms_;
};

// The system's accounts (getpwnam) with PAM as the judge.
class Pam final : public Passdb {
public:
    explicit Pam(std::shared_ptr<const PamHelper> helper) : helper_(std::move(helper)) {}
    Result<std::optional<Found>> find(const std::string& user) const override;
    std::string likely_password(std::string_view) const override { return ""; }
    bool all_scram(bool) const override { return false; }
    std::string stamp() const override; // of /etc/passwd, /etc/shadow and /etc/pam.d/veredus
    bool judges() const override { return true; }
    Judgement judge(const std::string& user, std::string_view password) const override;

private:
    std::shared_ptr<const PamHelper> helper_;
};

} // namespace veredus::auth

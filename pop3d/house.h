// The POP3 sessions of one user, in his own process.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "lib/login/clients.h"
#include "lib/login/place.h"
#include "lib/login/session.h"
#include "lib/pop3/transaction.h"
#include "lib/pop3/uidl.h"
#include "lib/store/mailbox.h"
#include "pop3d/drop.h"

namespace veredus::pop3d {

struct Settings {
    pop3::UidlFormat uidl;
    pop3::Options options;
    std::chrono::milliseconds timeout{600'000};
    int64_t login_delay_s = 0;
    bool lock = false, keep_flags = false, reuse_xuidl = false;
    std::string deleted_flag;
    static Result<Settings> read(const conf::Values& values);
};

class Session;

class House final : public login::House {
public:
    House(Loop& loop, login::SessionHost& host, conf::Values values, Settings settings);
    ~House() override;
    void on_client(ipc::Arrival arrival, Fd client) override;
    std::vector<ipc::Presence> who() const override;
    std::size_t kick(uint64_t connection) override;
    void stop() override;
    void idle() override;

private:
    friend class Session;
    Result<store::Folder*> inbox();
    const Drop::Names& names(); // with what Dovecot, whose Maildir this was, has noted
    // pop3_login_delay: may he come now. That he does is noted.
    bool too_early();
    void forget(uint64_t connection); // after this turn

    Loop& loop_;
    login::SessionHost& host_;
    conf::Values values_;
    Settings settings_;
    std::unique_ptr<store::Mailbox> mailbox_;
    std::unique_ptr<store::Folder> inbox_;
    std::optional<Drop::Names> names_;
    login::Clients<Session> sessions_; // before the folder and the names in death
};

} // namespace veredus::pop3d

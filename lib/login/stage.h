// The login stage as a daemon: what is between the listeners and the sessions of imapd and pop3d (design.md §1). It has
// no rights, keeps TLS, and knows of a user only what authd says of him.
#pragma once

#include <memory>
#include <string>

#include "lib/daemon/server_tls.h"
#include "lib/daemon/service.h"
#include "lib/login/guests.h"

namespace veredus::login {

class Stage final : public daemon::Service {
public:
    // `role`: "pop3d", whose settings are pop3d_tls_… and so on; `service`: "pop3", as it is called in the log.
    Stage(std::string role, std::string service, MakeDialect dialect);
    Result<void> before_jail(const conf::Values& values, const daemon::Place& place) override;
    Result<void> after_jail(Loop& loop) override;
    void on_client(const std::string& listener, Fd client, net::Address peer) override;
    void on_file(const std::string& name, Fd fd) override { (void)tls_.on_file(name, fd); }
    Result<void> reload(const conf::Values& values) override;
    void make_room() override { guests_->shed_strangers(); }
    void stop(std::function<void()> done) override { guests_->stop(std::move(done)); }

private:
    void count_use();
    void retire(); // login_process_per_connection, login_max_use
    std::string service_;
    MakeDialect dialect_;
    std::shared_ptr<const Rules> rules_; // shared with the guests that came under them
    Loop* loop_ = nullptr;
    bool one_client_ = false, served_ = false, retired_ = false, asking_ = false;
    int64_t uses_ = 0, most_uses_ = 0;
    daemon::ServerTls tls_;              // outlives the guests
    std::unique_ptr<daemon::Link> authd_;
    std::unique_ptr<reception::Anvil> anvil_;
    std::unique_ptr<reception::Logins> logins_;
    std::unique_ptr<Guests> guests_; // last: it borrows them all
};

} // namespace veredus::login

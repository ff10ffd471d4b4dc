// The SMTP side of submission: 587 with STARTTLS, 465 with TLS from the start, logins by authd's word.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "lib/daemon/server_tls.h"
#include "lib/daemon/service.h"
#include "lib/daemon/table_files.h"
#include "lib/disk/pool.h"
#include "lib/queue/intake.h"
#include "lib/reception/arrivals.h"
#include "lib/reception/hops.h"
#include "lib/reception/logins.h"
#include "submission/policy.h"

namespace veredus::submission {

class Front {
public:
    // Outside the jail.
    Result<void> before_jail(const conf::Values& values, const daemon::Place& place);
    // Inside. All are borrowed and outlive the front; `queued` tells qmgr.
    void start(Loop& loop, queue::Intake& intake, std::function<void(std::string body)> tell_qmgr);
    void on_client(const std::string& listener, Fd client, net::Address peer);
    void on_file(const std::string& name, const Fd& fd);
    const std::shared_ptr<const queue::CheckRules>& checks() const { return settings_.checks; }   // for the maildrop too
    Result<void> reload(const conf::Values& values);
    reception::Rewriter* rewriter() { return &rewriter_; }    // to be used from start() on
    void stop(std::function<void()> done) { sessions_->stop(std::move(done)); }

private:
    void set_resolver(const Result<std::string>& text);
    Result<void> take_settings(const conf::Values& values);
    std::shared_ptr<const reception::Settings> settings_now() const;
    void ask_owner(const ipc::OwnerRequest& request, UserPolicy::OwnerDone done);

    std::unique_ptr<reception::Hops> hops_;
    std::map<std::string, std::string> hosts_;
    std::string resolv_conf_;                                 // as it was before the jail; master sends later ones
    std::shared_ptr<const reception::Trust> trust_, exempt_; // shared_ptr: see UserPolicy
    reception::Settings settings_;
    conf::Values values_; // of settings_
    daemon::TableFiles tables_;
    PolicySettings policy_settings_;
    daemon::ServerTls tls_{"submission"}; // outlives the sessions
    std::unique_ptr<daemon::Link> router_, authd_;
    std::unique_ptr<reception::Anvil> anvil_;
    reception::Rewriter rewriter_{[this](std::string body, std::function<void(Result<ipc::Message>)> done) {
        router_->call(static_cast<uint16_t>(ipc::RouterType::rewrite), std::move(body), {}, std::chrono::seconds(40), std::move(done));
    }};
    std::unique_ptr<reception::Logins> logins_;
    std::unique_ptr<reception::RouterRecipients> recipients_;
    std::unique_ptr<reception::Arrivals> arrivals_;
    std::unique_ptr<reception::PeerNames> names_;
    std::unique_ptr<reception::Domains> domains_;
    std::unique_ptr<UserPolicy> policy_;
    std::unique_ptr<reception::Sessions> sessions_; // last, so that sessions die before what they borrow
};

MendSettings read_mend_settings(const conf::Values& values);
queue::InspectSettings read_inspect_settings(const conf::Values& values);

} // namespace veredus::submission

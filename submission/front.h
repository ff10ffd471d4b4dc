// The SMTP side of submission: 587 with STARTTLS, 465 with TLS from the start, logins by authd's word.
#pragma once

#include <memory>
#include <string>

#include "lib/reception/front.h"
#include "submission/policy.h"

namespace veredus::submission {

class Front {
public:
    Front();
    // Outside the jail.
    Result<void> before_jail(const conf::Values& values, const daemon::Place& place) { return front_.before_jail(values, place); }
    // Inside. All are borrowed and outlive the front; `queued` tells qmgr.
    void start(Loop& loop, queue::Intake& intake, std::function<void(std::string body)> tell_qmgr);
    void on_client(const std::string& listener, Fd client, net::Address peer) { front_.on_client(listener, std::move(client), std::move(peer)); }
    void on_file(const std::string& name, const Fd& fd) { front_.on_file(name, fd); }
    const std::shared_ptr<const queue::CheckRules>& checks() const { return front_.settings().checks; }   // for the maildrop too
    Result<void> reload(const conf::Values& values);
    reception::Rewriter* rewriter() { return &front_.rewriter(); }    // to be used from start() on
    void stop(std::function<void()> done) { front_.stop(std::move(done)); }

private:
    Result<void> adjust(reception::Settings& settings, const conf::Values& values);

    PolicySettings policy_settings_;
    std::unique_ptr<reception::Domains> domains_;
    std::unique_ptr<UserPolicy> policy_;
    reception::Front front_; // last: its sessions die before what they borrow
};

MendSettings read_mend_settings(const conf::Values& values);
queue::InspectSettings read_inspect_settings(const conf::Values& values);

} // namespace veredus::submission

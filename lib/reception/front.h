// What smtpd and submission are made of alike, beside their policies: who is ours, tables, restriction lists, names in DNS, TLS, the
// neighbours, and the sessions.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/daemon/server_tls.h"
#include "lib/daemon/service.h"
#include "lib/daemon/table_files.h"
#include "lib/queue/intake.h"
#include "lib/reception/arrivals.h"
#include "lib/reception/examiner.h"
#include "lib/reception/hops.h"
#include "lib/reception/lists.h"
#include "lib/reception/logins.h"
#include "lib/reception/policy_dial.h"
#include "lib/reception/recipients.h"
#include "lib/reception/rewriter.h"
#include "lib/reception/session.h"

namespace veredus::reception {

class Front {
public:
    struct Role {
        const char* name;          // "smtpd": of its settings too
        conf::Who who;
        const char* service;       // in log lines about limits: "smtp"
        bool logins;               // AUTH, by authd's word
        bool warns_of_gateways;    // says which gateways mynetworks would have let in
    };
    // `adjust`: what only this role has to say about its sessions' settings; called for each set of settings.
    Front(const Role& role, std::function<Result<void>(Settings&, const conf::Values&)> adjust) : role_(role), adjust_(std::move(adjust)), tls_(role.name) {}
    Front(const Front&) = delete;

    // Outside the jail, still root: what the jail will hide. No byte of a peer is read here.
    Result<void> before_jail(const conf::Values& values, const daemon::Place& place);
    // Inside, first: the neighbours, and what a policy needs of them. `tell_qmgr` gets an ipc::Queued.
    void meet(Loop& loop, std::function<void(std::string body)> tell_qmgr);
    // Then, with the policy that was made of that: clients may come. Intake and policy are borrowed and outlive the front's sessions.
    void open(queue::Intake& intake, ListPolicy& policy);
    // Before open(), for a role that has fast_flush_domains: ETRN is offered for them. `call`: to qmgr.
    void offer_etrn(Etrn::Call call);

    void on_client(const std::string& listener, Fd client, net::Address peer);
    void on_file(const std::string& name, const Fd& fd);
    Result<void> reload(const conf::Values& values);     // an error keeps the old settings; sessions keep those that they began with
    void stop(std::function<void()> done) { sessions_->stop(std::move(done)); }

    const std::shared_ptr<const Trust>& trust() const { return trust_; }
    const std::shared_ptr<const Trust>& exempt() const { return exempt_; }
    const Settings& settings() const { return settings_; }
    daemon::Link& router() { return *router_; }          // from meet() on, as all that follows
    RouterRecipients& recipients() { return *recipients_; }
    Examiner& examiner() { return *examiner_; }
    // Whose an address is, by router's word; `done` comes later, with temporary when router cannot be asked.
    void ask_owner(const ipc::OwnerRequest& request, std::function<void(const ipc::OwnerReply&)> done);
    Meters& meters() { return *anvil_->meters; }
    Rewriter& rewriter() { return rewriter_; }
    dns::Resolver* resolver() { return names_->resolver(); }   // null while resolv.conf is not known

private:
    void set_resolver(const Result<std::string>& text);
    Result<void> take_settings(const conf::Values& values);
    Result<void> take_restrictions(const conf::Values& values);
    void put_into_force();
    void read_etrn();
    void meet_authd();
    std::shared_ptr<const Settings> settings_now() const;

    Role role_;
    std::function<Result<void>(Settings&, const conf::Values&)> adjust_;
    Loop* loop_ = nullptr;
    ListPolicy* policy_ = nullptr;
    bool speaks_ = true;                           // of several processes one says what all see
    std::unique_ptr<Hops> hops_;
    std::map<std::string, std::string> hosts_;
    std::map<std::string, std::vector<net::Address>> host_names_;
    std::string resolv_conf_;                      // as it was before the jail; master sends later ones
    std::shared_ptr<const Trust> trust_, exempt_;  // shared_ptr: see ListPolicy
    Settings settings_;
    conf::Values values_;                          // that settings and program are made of, also when a table changes
    daemon::TableFiles tables_;
    std::shared_ptr<const Program> program_;       // shared_ptr: judgements go on with the one they began with
    daemon::ServerTls tls_;                        // outlives the sessions
    std::unique_ptr<daemon::Link> router_, authd_;
    std::unique_ptr<Anvil> anvil_;
    Rewriter rewriter_{[this](std::string body, std::function<void(Result<ipc::Message>)> done) {
        router_->call(static_cast<uint16_t>(ipc::RouterType::rewrite), std::move(body), {}, rewrite_deadline, std::move(done));
    }};
    static constexpr std::chrono::milliseconds rewrite_deadline{40'000};   // longer than router asks servers of socketmap: tables
    std::unique_ptr<Logins> logins_;
    std::unique_ptr<RouterRecipients> recipients_;
    std::unique_ptr<Arrivals> arrivals_;
    std::unique_ptr<PeerNames> names_;
    std::unique_ptr<PolicyDialer> dialer_;
    std::unique_ptr<PolicyServices> services_;
    std::unique_ptr<Examiner> examiner_;
    std::unique_ptr<Etrn> etrn_;                   // null: no ETRN in this role
    std::unique_ptr<Sessions> sessions_;           // last, so that sessions die before what they borrow
};

}  // namespace veredus::reception

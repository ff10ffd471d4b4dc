// One attempt of qmgr from its arrival to the last verdict: which place is tried next, and what each reply means for
// whom.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/ipc/agent.h"
#include "smtp-client/host_memory.h"
#include "smtp-client/pool.h"

namespace veredus::smtp_client {

// What all deliveries share.
struct World {
    Loop& loop;
    const Clock& clock;
    dns::Resolver& resolver;
    Pool& pool;
    std::shared_ptr<const Settings> settings; // shared: a reload brings new ones while old deliveries run
    std::shared_ptr<tls::ClientContext> tls;  // null: none
    std::function<std::vector<net::Address>()> own_addresses;
    std::shared_ptr<const Settings> lmtp; // of transport lmtp; shared as above
    std::function<void(const std::string& path, std::function<void(Result<Fd>)> done)> unix_socket;
    std::shared_ptr<tls::ClientContext> lmtp_tls = nullptr; // of transport lmtp; null: that of the others
    HostMemory silent{1000, 600 * us_per_second};     // addresses that let a connection wait in vain
    HostMemory no_bdat{1000, 3600 * us_per_second}; // those that announce CHUNKING and do not know BDAT, as Endpoint::relay()
};

class Delivery final : public SessionUser, public SessionFollower {
public:
    using Report = std::function<void(std::vector<ipc::Verdict>)>; // some verdicts; each recipient gets one, once
    using Done = std::function<void()>; // after the last: destroy me, but not within this call
    Delivery(World& world, ipc::Attempt attempt, Fd file, Report report, Done done);
    ~Delivery() override;
    Delivery(const Delivery&) = delete;
    void start();
    void cancel(); // whoever is undecided is deferred; done() follows

private:
    enum class Reuse : uint8_t { none, by_hop, by_host };
    struct Rcpt {
        mail::Recipient recipient;
        mail::Address sender;
        bool decided = false, tried = false;        // tried: in this session
        std::string reason, dsn, relay, remote_mta; // of a refusal that may yet be bettered elsewhere
        bool permanent = false;                     // it is, unless it was
    };
    void on_ready() override;
    void on_finished() override;
    void on_broken(const Broken& broken) override;
    const Content* envelope(const Session& session, smtp::Transaction& transaction) override;
    void on_turn(std::unique_ptr<Session> session) override;
    void on_lead_lost() override;
    void wait_behind(Session& lead);
    void leave_lead();
    bool read_recipients();
    bool rework_header();
    queue::CheckedMail checked_mail() const;
    bool map_addresses(std::size_t index);
    Result<void> settle_content(const Session& session, smtp::Transaction& transaction);
    bool choose_group();
    Result<void> fill(const Session& session, smtp::Transaction& transaction);
    bool leads() const;
    bool is_current() const;
    void hand_over(SessionFollower& next);
    void next_hop();
    void find();
    void heard(Found found);
    void put_silent_last();
    void next_endpoint();
    bool settle_terms(const NextHop& hop);
    bool requires_tls() const;
    const std::shared_ptr<tls::ClientContext>& tls() const { return settings_->lmtp && world_.lmtp_tls ? world_.lmtp_tls : world_.tls; }
    bool lacks_tls(const Broken& broken, const Endpoint& endpoint);
    Result<Terms> terms_for(const Endpoint& endpoint, bool in_clear) const;
    void reuse(std::unique_ptr<Session> session, Reuse how);
    void connect(const Endpoint& endpoint, bool in_clear = false, std::optional<Endpoint> rival = std::nullopt);
    std::optional<Endpoint> rival_of(const Endpoint& endpoint) const;
    void settle_race();
    bool leads_to_ourselves();
    void begin_group();
    void leave_session();
    void without_bdat();
    bool is_stale() const;
    void begin_anew(const Endpoint& endpoint);
    bool last_chance() const;
    void take_results();
    void take_result(std::size_t index, const smtp::RecipientResult& result);
    void fail_all(ipc::Outcome outcome, const Failure& failure, bool site, const std::string& relay,
                  const std::string& remote_mta);
    void give_up();
    void decide(std::size_t index, ipc::Outcome outcome, std::string dsn, std::string text, std::string relay,
                std::string remote_mta, bool site);
    bool all_decided() const;
    void tell();   // reports what was decided
    void settle(); // tells, and ends when that was all
    void bury_session();
    World& world_;
    std::shared_ptr<const Settings> settings_;
    ipc::Attempt attempt_;
    Fd file_;
    Report report_;
    Done done_;
    std::optional<Content> content_;
    std::vector<Rcpt> rcpts_;        // one for each target
    std::vector<std::size_t> group_; // those of the running transaction
    std::vector<NextHop> hops_;
    std::size_t hop_ = 0; // the one after the one being tried
    std::vector<Endpoint> endpoints_;
    std::size_t endpoint_ = 0; // the one after the one being tried
    std::optional<Endpoint> rival_;       // of the connection that is being made
    std::unique_ptr<Finder> finder_;
    std::unique_ptr<Session> session_;
    Session* lead_ = nullptr;             // busy with another mail; ours comes next
    std::unique_ptr<Timer> lead_patience_;
    TlsPolicy policy_;       // of the hop being tried
    std::string terms_;      // the same and the login, as the pool's key
    bool in_clear_ = false;  // the session does without TLS although the policy would have it
    Reuse reuse_ = Reuse::none;    // where the session came from
    uint16_t best_preference_ = 0; // of the hop being tried
    bool finished_ = false, no_bdat_ = false;
    std::optional<net::Address> said_no_; // the host of a connection from the pool that refused somebody for now
    std::size_t sessions_ = 0;            // that got past EHLO
    Failure failure_;                     // the latest that hit all
    std::string failure_relay_ = "none", failure_mta_;
    std::vector<ipc::Verdict> batch_;
    int64_t received_us_ = 0, received_mono_us_ = 0, ready_mono_us_ = 0;
};

} // namespace veredus::smtp_client

// lmtpd: other mail servers hand in mail for mailboxes here (RFC 2033).  Manual: man/lmtpd.8
#include "lib/base/text.h"
#include "lib/daemon/server_tls.h"
#include "lib/daemon/service.h"
#include "lib/log/log.h"
#include "lib/reception/arrivals.h"
#include "lib/reception/disowned.h"
#include "lib/reception/hops.h"
#include "local/lmtpd/handover.h"
#include "local/lmtpd/policy.h"

namespace veredus::lmtpd {

namespace {

constexpr unsigned disk_threads = 8;
constexpr std::chrono::milliseconds router_deadline{15'000};
constexpr std::chrono::seconds between_looks{5};
constexpr int64_t draft_age_us = 24 * 3600 * us_per_second;

reception::Settings read_settings(const conf::Values& values)
{
    reception::Settings out;
    smtp::Limits& limits = out.limits;
    limits.lmtp = true;
    limits.hostname = values.text("myhostname");
    limits.banner = cat(limits.hostname, " LMTP ", values.text("mail_name"));
    limits.message_size = static_cast<uint64_t>(values.number("message_size_limit"));
    limits.recipients = static_cast<std::size_t>(values.number("lmtpd_recipient_limit"));
    // A mailing may name as many who are not here any more: they are no reason to hang up or to slow down.
    limits.hard_errors = limits.soft_errors = static_cast<unsigned>(limits.recipients) + smtp::Limits().hard_errors;
    limits.line_length = static_cast<std::size_t>(values.number("line_length_limit"));
    limits.helo_required = true;
    limits.strict_envelopes = values.flag("strict_rfc821_envelopes");
    limits.chunking = limits.binary = limits.smtputf8 = true;
    const std::string level = lower(values.text("lmtpd_tls_security_level"));
    limits.require_tls = level == "encrypt";
    out.timeout = std::chrono::seconds(values.seconds("lmtpd_timeout"));
    out.stress_timeout = out.timeout;
    out.drop_fields = values.list("message_drop_headers");
    out.header_size = static_cast<std::size_t>(values.number("header_size_limit"));
    out.hops = static_cast<unsigned>(values.number("hopcount_limit"));
    const auto min_free = static_cast<uint64_t>(values.number("queue_minfree"));
    out.min_free = min_free ? min_free : limits.message_size + limits.message_size / 2;
    out.connections_per_client = 0;
    out.look_up_names = false;
    out.myorigin = values.text("myorigin");
    out.tls_offered = level != "none";
    out.tls_on_sockets = false;
    out.tls_logged = values.number("lmtpd_tls_loglevel") > 0;
    out.tls_in_received = values.flag("lmtpd_tls_received_header");
    out.ask_certificate = values.flag("lmtpd_tls_ask_ccert");
    out.fingerprint_digest = lower(values.text("smtpd_tls_fingerprint_digest"));
    return out;
}

}  // namespace

class Lmtpd final : public daemon::Service {
public:
    Result<void> before_jail(const conf::Values& values, const daemon::Place& place) override
    {
        slot_ = place.slot;
        first_ = place.instance == 0;
        hops_ = std::make_unique<reception::Hops>();
        tls_.before_jail(values, place);
        TRY(take_settings(values));
        if (first_) trusted_->warn(hops_->addresses());
        return {};
    }

    // Inside: the jail is this role's own incoming directory.
    Result<void> after_jail(Loop& loop) override
    {
        hops_->watch(loop, [this](const std::vector<net::Address>& come) {
            if (first_) trusted_->warn(come);
        });
        pool_ = std::make_unique<disk::Pool>(disk_threads, [&loop](std::function<void()> done) { loop.post(std::move(done)); });
        intake_ = TRY(queue::Intake::open(disk::posix_disk(), ".", slot_, system_clock(), pool_.get()));
        const unsigned swept = TRY(intake_->sweep_drafts(system_clock().wall_us() - draft_age_us));
        if (swept > 0) log::info("removed ", swept, " unfinished queue files older than a day");
        router_ = std::make_unique<daemon::Link>(loop, "router");
        qmgr_ = std::make_unique<daemon::Link>(loop, "qmgr");
        qmgr_->on_state([this](bool connected) {
            if (connected) disowned_.tell();
        });
        intake_->on_doubt([this](const std::string& id) { disowned_.add(id); });
        local_ = std::make_unique<daemon::Link>(loop, "local");
        recipients_ = std::make_unique<reception::RouterRecipients>(loop, [this](std::string body, std::function<void(Result<ipc::Message>)> done) { ask_router(std::move(body), std::move(done)); });
        router_->on_state([this](bool connected) {
            if (!connected) recipients_->forget();
        });
        arrivals_ = std::make_unique<reception::Arrivals>(loop, [this](std::string body) {
            // While qmgr is away nothing is lost: it scans our directory when it is back.
            (void)qmgr_->send(static_cast<uint16_t>(ipc::QueueType::queued), std::move(body));
        });
        handover_ = std::make_unique<Handover>(handover_parts());
        local_->on_message([this](const ipc::Message& message) { heard(message); });
        local_->on_state([this](bool connected) {
            if (!connected) handover_->local_gone();
        });
        names_ = std::make_unique<reception::PeerNames>(loop);
        policy_ = std::make_unique<Policy>(trusted_, *recipients_);
        reception::Sessions::Parts parts{loop, *intake_, *policy_, *names_, system_clock(), [this](const std::string& id) { arrivals_->add(id); }, reception::session_limit() / 2};
        parts.service = "lmtp";
        parts.tls = &tls_.context();
        parts.hand_over = [this](reception::Handed mail, Handover::Done done) { handover_->begin(std::move(mail), std::move(done)); };
        sessions_ = std::make_unique<reception::Sessions>(std::move(parts), settings_now());
        tls_.start(loop, [this] { sessions_->set_settings(settings_now()); });
        for (daemon::Link* link : {router_.get(), qmgr_.get(), local_.get()}) link->start();
        sweeper_ = std::make_unique<Timer>(loop, [this] {
            handover_->expire();
            sweeper_->start(between_looks);
        });
        sweeper_->start(between_looks);
        return {};
    }

    void on_client(const std::string& listener, Fd client, net::Address peer) override
    {
        hops_->catch_up();    // a route that came before this client counts for him
        sessions_->accept(std::move(client), std::move(peer), listener.ends_with("/tls"));
    }

    void on_file(const std::string& name, Fd fd) override { (void)tls_.on_file(name, fd); }

    // Sessions keep the settings that they began with.
    Result<void> reload(const conf::Values& values) override
    {
        TRY(take_settings(values));
        policy_->set_trusted(trusted_);
        tls_.reload(values);
        sessions_->set_settings(settings_now());
        return {};
    }

    void stop(std::function<void()> done) override
    {
        sessions_->stop([this, done = std::move(done)] { handover_->stop(done); });
    }

private:
    Result<void> take_settings(const conf::Values& values)
    {
        auto networks = TRY(table::MatchList::networks(values.list("lmtp_trusted_networks")));
        trusted_ = std::make_shared<const reception::Trust>(std::move(networks), hops_->addresses(), "lmtp_trusted_networks");
        settings_ = read_settings(values);
        return {};
    }

    // STARTTLS is offered while there is a certificate.
    std::shared_ptr<const reception::Settings> settings_now() const
    {
        auto now = std::make_shared<reception::Settings>(settings_);
        now->limits.starttls = now->tls_offered && tls_.ready();
        return now;
    }

    void ask_router(std::string body, std::function<void(Result<ipc::Message>)> done)
    {
        router_->call(static_cast<uint16_t>(ipc::RouterType::route), std::move(body), {}, router_deadline, std::move(done));
    }

    Handover::Parts handover_parts()
    {
        auto route = [this](ipc::RouteRequest request, std::function<void(Result<ipc::RouteReply>)> done) {
            ask_router(request.encode(), [done = std::move(done)](Result<ipc::Message> message) {
                if (!message) return done(unexpected(message.error()));
                done(ipc::RouteReply::decode(message->body));
            });
        };
        auto attempt = [this](const ipc::Attempt& what, const Fd& mail) {
            const int fd = mail.get();
            return local_->send(static_cast<uint16_t>(ipc::AgentType::attempt), what.encode(), std::span(&fd, 1));
        };
        auto cancel = [this](uint64_t number) {
            ipc::Writer w;
            w.u64(number);
            (void)local_->send(static_cast<uint16_t>(ipc::AgentType::cancel), w.take());    // away: it has nothing of ours any more
        };
        // Half of the descriptors are for sessions, half for the mails that they have brought.
        return {*intake_, pool_.get(), system_clock(), std::move(route), std::move(attempt), [this](const std::string& id) { arrivals_->add(id); },
                std::move(cancel), std::max<std::size_t>(reception::session_limit() / 4, 1)};
    }

    void heard(const ipc::Message& message)
    {
        if (message.type != static_cast<uint16_t>(ipc::AgentType::verdicts)) return log::warning("local: message ", message.type, " is not for us");
        auto verdicts = ipc::Verdicts::decode(message.body);
        if (!verdicts) {
            log::warning("local: ", verdicts.error().text);
            if (const auto number = ipc::attempt_number(message.body)) handover_->local_said({*number, {}});
            return;
        }
        handover_->local_said(std::move(*verdicts));
    }

    unsigned slot_ = 0;
    bool first_ = true;                                       // of several processes: says what all would say
    std::unique_ptr<reception::Hops> hops_;
    std::shared_ptr<const reception::Trust> trusted_;         // shared_ptr: see Policy
    reception::Settings settings_;
    daemon::ServerTls tls_{"lmtpd"};                          // outlives the sessions
    std::unique_ptr<queue::Intake> intake_;
    std::unique_ptr<Handover> handover_;                      // its mails are what the pool works on
    std::unique_ptr<disk::Pool> pool_;                        // dies before both
    std::unique_ptr<daemon::Link> router_, qmgr_, local_;
    std::unique_ptr<Timer> sweeper_;
    reception::Disowned disowned_{[this](std::string body) { return qmgr_->send(static_cast<uint16_t>(ipc::QueueType::disowned), std::move(body)).has_value(); }};
    std::unique_ptr<reception::RouterRecipients> recipients_;
    std::unique_ptr<reception::Arrivals> arrivals_;
    std::unique_ptr<reception::PeerNames> names_;
    std::unique_ptr<Policy> policy_;
    std::unique_ptr<reception::Sessions> sessions_;           // last, so that sessions die before what they borrow
};

}  // namespace veredus::lmtpd

int main(int argc, char** argv)
{
    veredus::lmtpd::Lmtpd service;
    return veredus::daemon::run({"lmtpd", veredus::conf::smtpd, "lmtpd"}, service, argc, argv);
}

// smtpd: take mail from strangers into the queue.  Manual: man/smtpd.8
#include "lib/base/text.h"
#include "lib/daemon/server_tls.h"
#include "lib/daemon/service.h"
#include "lib/daemon/table_files.h"
#include "lib/log/log.h"
#include "lib/reception/arrivals.h"
#include "lib/reception/examiner.h"
#include "lib/reception/hops.h"
#include "lib/reception/policy_dial.h"
#include "lib/reception/settings.h"
#include "smtpd/policy.h"

namespace veredus::smtpd {

namespace {

using reception::Trust;
constexpr unsigned disk_threads = 16;                     // 16 writers share journal commits best (speed.md)
constexpr std::chrono::milliseconds router_deadline{15'000};
constexpr std::chrono::milliseconds rewrite_deadline{40'000};     // longer than router asks servers of socketmap: tables
constexpr int64_t draft_age_us = 24 * 3600 * us_per_second;
}  // namespace

class Smtpd final : public daemon::Service {
public:
    // Outside the jail, still root: what the jail will hide. No byte of a peer is read here.
    Result<void> before_jail(const conf::Values& values, const daemon::Place& place) override
    {
        slot_ = place.slot;
        hops_ = std::make_unique<reception::Hops>();
        tables_.before_jail(values, conf::smtpd);
        TRY(take_settings(values));
        trust_->warn(hops_->addresses());
        tls_.before_jail(values, place);
        TRY(take_restrictions(values));
        const auto hosts = read_file("/etc/hosts", 1 << 20);
        if (hosts) hosts_ = reception::parse_hosts(*hosts);
        if (auto resolv_conf = read_file("/etc/resolv.conf", 1 << 16)) resolv_conf_ = std::move(*resolv_conf);
        host_names_ = reception::parse_host_names(hosts ? std::string_view(*hosts) : std::string_view());
        return {};
    }

    // Inside: meet the neighbours. The jail is this role's own incoming directory.
    Result<void> after_jail(Loop& loop) override
    {
        loop_ = &loop;
        hops_->watch(loop, [this](const std::vector<net::Address>& come) { trust_->warn(come); });
        pool_ = std::make_unique<disk::Pool>(disk_threads, [&loop](std::function<void()> done) { loop.post(std::move(done)); });
        intake_ = TRY(queue::Intake::open(disk::posix_disk(), ".", slot_, system_clock(), pool_.get()));
        const unsigned swept = TRY(intake_->sweep_drafts(system_clock().wall_us() - draft_age_us));
        if (swept > 0) log::info("removed ", swept, " unfinished queue files older than a day");
        router_ = std::make_unique<daemon::Link>(loop, "router");
        qmgr_ = std::make_unique<daemon::Link>(loop, "qmgr");
        recipients_ = std::make_unique<reception::RouterRecipients>(loop, [this](std::string body, std::function<void(Result<ipc::Message>)> done) {
            router_->call(static_cast<uint16_t>(ipc::RouterType::route), std::move(body), {}, router_deadline, std::move(done));
        });
        router_->on_state([this](bool connected) {
            if (!connected) recipients_->forget();
        });
        arrivals_ = std::make_unique<reception::Arrivals>(loop, [this](std::string body) {
            // While qmgr is away nothing is lost: it scans our directory when it is back.
            (void)qmgr_->send(static_cast<uint16_t>(ipc::QueueType::queued), std::move(body));
        });
        anvil_ = std::make_unique<reception::Anvil>(loop);
        names_ = std::make_unique<reception::PeerNames>(loop);
        names_->set_hosts(std::move(hosts_));
        set_resolver(std::move(resolv_conf_));
        const auto resolver = [this] { return names_->resolver(); };
        dialer_ = std::make_unique<reception::PolicyDialer>(loop, std::move(host_names_), resolver);
        services_ = std::make_unique<reception::PolicyServices>(loop, [this](const std::string& endpoint, std::function<void(Result<Fd>)> done) { dialer_->dial(endpoint, std::move(done)); });
        examiner_ = std::make_unique<reception::Examiner>(reception::Examiner::Parts{*recipients_, *services_, resolver});
        examiner_->set_program(program_);
        policy_ = std::make_unique<MxPolicy>(trust_, exempt_, *recipients_, *examiner_);
        sessions_ = std::make_unique<reception::Sessions>(
            reception::Sessions::Parts{loop, *intake_, *policy_, *names_, system_clock(), [this](const std::string& id) { arrivals_->add(id); }, reception::session_limit(),
                                       &tls_.context(), nullptr, anvil_->meters.get(), "smtp", &rewriter_},
            settings_now());
        tls_.start(loop, [this] { sessions_->set_settings(settings_now()); });
        router_->start();
        qmgr_->start();
        return {};
    }

    void on_client(const std::string& listener, Fd client, net::Address peer) override
    {
        hops_->catch_up();    // a route that came before this client counts for him
        sessions_->accept(std::move(client), std::move(peer), listener.ends_with("/tls"));
    }

    void on_file(const std::string& name, Fd fd) override
    {
        if (tables_.on_file(name, fd)) {
            if (slot_ == 0) log::info("table ", name.substr(daemon::table_file_mark.size()), " changed: it is in force");
            reception::read_tables(settings_, values_, "smtpd", tables_.reader());
            if (sessions_) sessions_->set_settings(settings_now());
            if (auto taken = take_restrictions(values_); !taken) return log::warning(taken.error().text);
            return examiner_->set_program(program_);
        }
        if (tls_.on_file(name, fd) || name != "resolv.conf") return;
        set_resolver(read_all(fd.get(), 1 << 16));
    }

    // Sessions keep the settings that they began with.
    Result<void> reload(const conf::Values& values) override
    {
        TRY(take_restrictions(values));
        TRY(take_settings(values));
        examiner_->set_program(program_);
        policy_->set_trust(trust_, exempt_);
        tls_.reload(values);
        sessions_->set_settings(settings_now());
        return {};
    }

    void stop(std::function<void()> done) override { sessions_->stop(std::move(done)); }

private:
    void set_resolver(const Result<std::string>& text)
    {
        auto config = text ? dns::Config::from_resolv_conf(*text) : Result<dns::Config>(unexpected(text.error()));
        if (!config) return log::warning("resolv.conf: ", config.error().text, "; clients keep their addresses as names");
        names_->set_resolver(std::move(*config));
    }
    Result<void> take_restrictions(const conf::Values& values)
    {
        program_ = TRY(reception::make_program(values, "smtpd", tables_.reader()));
        values_ = values;
        return {};
    }
    Result<void> take_settings(const conf::Values& values)
    {
        auto networks = TRY(table::MatchList::networks(values.list("mynetworks")));
        auto exempt = TRY(table::MatchList::networks(values.list("smtpd_client_event_limit_exceptions")));
        trust_ = std::make_shared<const Trust>(std::move(networks), hops_->addresses());
        exempt_ = std::make_shared<const Trust>(std::move(exempt), hops_->addresses());
        settings_ = reception::read_settings(values, "smtpd");
        reception::read_tables(settings_, values, "smtpd", tables_.reader());
        values_ = values;
        settings_.pregreet_wait = std::chrono::seconds(values.seconds("smtpd_pregreet_wait"));
        settings_.pregreet_drop = iequals(values.text("smtpd_pregreet_action"), "drop");
        rewriter_.configure(values);
        return {};
    }
    // STARTTLS is offered while there is a certificate.
    std::shared_ptr<const reception::Settings> settings_now() const
    {
        auto now = std::make_shared<reception::Settings>(settings_);
        now->limits.starttls = now->limits.starttls && now->tls_offered && tls_.ready();
        return now;
    }

    Loop* loop_ = nullptr;
    unsigned slot_ = 0;
    std::unique_ptr<reception::Hops> hops_;
    std::map<std::string, std::string> hosts_;
    std::string resolv_conf_;                                 // as it was before the jail; master sends later ones
    std::shared_ptr<const Trust> trust_, exempt_;             // shared_ptr: see MxPolicy
    reception::Settings settings_;
    conf::Values values_;                                     // that the program is made of, also when a table changes
    daemon::TableFiles tables_;
    std::shared_ptr<const reception::Program> program_;       // shared_ptr: judgements go on with the one they began with
    std::map<std::string, std::vector<net::Address>> host_names_;
    daemon::ServerTls tls_{"smtpd"};                          // outlives the sessions
    std::unique_ptr<queue::Intake> intake_;
    std::unique_ptr<disk::Pool> pool_;                        // dies before the intake
    std::unique_ptr<daemon::Link> router_, qmgr_;
    std::unique_ptr<reception::Anvil> anvil_;
    reception::Rewriter rewriter_{[this](std::string body, std::function<void(Result<ipc::Message>)> done) {
        router_->call(static_cast<uint16_t>(ipc::RouterType::rewrite), std::move(body), {}, rewrite_deadline, std::move(done));
    }};
    std::unique_ptr<reception::RouterRecipients> recipients_;
    std::unique_ptr<reception::Arrivals> arrivals_;
    std::unique_ptr<reception::PeerNames> names_;
    std::unique_ptr<reception::PolicyDialer> dialer_;
    std::unique_ptr<reception::PolicyServices> services_;
    std::unique_ptr<reception::Examiner> examiner_;
    std::unique_ptr<MxPolicy> policy_;
    std::unique_ptr<reception::Sessions> sessions_;           // last, so that sessions die before what they borrow
};

}  // namespace veredus::smtpd

int main(int argc, char** argv)
{
    veredus::smtpd::Smtpd service;
    return veredus::daemon::run({"smtpd", veredus::conf::smtpd, "smtpd"}, service, argc, argv);
}

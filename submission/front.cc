#include "submission/front.h"

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/reception/settings.h"

namespace veredus::submission {

namespace {
using reception::Trust;
constexpr std::chrono::milliseconds router_deadline{15'000};
} // namespace

MendSettings read_mend_settings(const conf::Values& values)
{
    MendSettings out;
    out.origin.myorigin = values.text("myorigin");
    if (values.flag("append_dot_mydomain")) out.origin.dot_mydomain = cat('.', values.text("mydomain"));
    out.drop_fields = values.list("message_drop_headers");
    return out;
}

queue::InspectSettings read_inspect_settings(const conf::Values& values)
{
    queue::InspectSettings out;
    out.myhostname = values.text("myhostname");
    out.myorigin = values.text("myorigin");
    out.hopcount_limit = static_cast<unsigned>(values.number("hopcount_limit"));
    return out;
}

Result<void> Front::take_settings(const conf::Values& values)
{
    auto networks = TRY(table::MatchList::networks(values.list("mynetworks")));
    auto exempt = TRY(table::MatchList::networks(values.list("submission_client_event_limit_exceptions")));
    trust_ = std::make_shared<const Trust>(std::move(networks), hops_->addresses());
    exempt_ = std::make_shared<const Trust>(std::move(exempt), hops_->addresses());
    settings_ = reception::read_settings(values, "submission");
    reception::read_tables(settings_, values, "submission", tables_.reader());
    values_ = values;
    settings_.limits.auth = true;
    settings_.limits.auth_in_clear = !values.flag("submission_tls_auth_only");
    settings_.client_in_received = !values.flag("submission_hide_client");
    PolicySettings& policy = policy_settings_;
    policy.auth_required = values.flag("submission_auth_required");
    policy.check_owner = values.flag("submission_check_sender");
    policy.verify_domains = values.flag("submission_verify_domains");
    policy.messages_per_unit = static_cast<unsigned>(values.number("submission_user_message_rate_limit"));
    policy.recipients_per_unit = static_cast<unsigned>(values.number("submission_user_recipient_rate_limit"));
    policy.unit = std::chrono::seconds(values.seconds("anvil_rate_time_unit"));
    rewriter_.configure(values);
    policy.mend = read_mend_settings(values);
    policy.inspect = read_inspect_settings(values);
    return {};
}

Result<void> Front::before_jail(const conf::Values& values, const daemon::Place& place)
{
    hops_ = std::make_unique<reception::Hops>();
    tables_.before_jail(values, conf::submission);
    TRY(take_settings(values));
    tls_.before_jail(values, place);
    if (const auto hosts = read_file("/etc/hosts", 1 << 20)) hosts_ = reception::parse_hosts(*hosts);
    if (auto text = read_file("/etc/resolv.conf", 1 << 16)) resolv_conf_ = std::move(*text);
    return {};
}

void Front::start(Loop& loop, queue::Intake& intake, std::function<void(std::string body)> tell_qmgr)
{
    hops_->watch(loop, [](const std::vector<net::Address>&) {});
    router_ = std::make_unique<daemon::Link>(loop, "router");
    recipients_ = std::make_unique<reception::RouterRecipients>(
        loop, [this](std::string body, std::function<void(Result<ipc::Message>)> done) {
            router_->call(static_cast<uint16_t>(ipc::RouterType::route), std::move(body), {}, router_deadline,
                          std::move(done));
        });
    router_->on_state([this](bool connected) {
        if (!connected) recipients_->forget();
    });
    authd_ = std::make_unique<daemon::Link>(loop, "authd");
    reception::Logins::Doors doors;
    doors.call = [this](ipc::AuthType type, std::string body, std::function<void(Result<ipc::Message>)> done) {
        authd_->call(static_cast<uint16_t>(type), std::move(body), {}, std::chrono::milliseconds(ipc::auth_deadline_ms),
                     std::move(done));
    };
    doors.send = [this](ipc::AuthType type, std::string body) {
        (void)authd_->send(static_cast<uint16_t>(type), std::move(body));
    };
    logins_ = std::make_unique<reception::Logins>("submission", std::move(doors));
    authd_->on_message([this](const ipc::Message& message) { logins_->heard(message); });
    arrivals_ = std::make_unique<reception::Arrivals>(loop, std::move(tell_qmgr));
    anvil_ = std::make_unique<reception::Anvil>(loop);
    names_ = std::make_unique<reception::PeerNames>(loop);
    names_->set_hosts(std::move(hosts_));
    domains_ = std::make_unique<reception::Domains>(loop);
    set_resolver(std::move(resolv_conf_));
    UserPolicy::Doors policy_doors{
        *recipients_, *domains_,
        [this](const ipc::OwnerRequest& request, UserPolicy::OwnerDone done) { ask_owner(request, std::move(done)); },
        system_clock()};
    policy_ = std::make_unique<UserPolicy>(std::move(policy_doors), trust_, exempt_, policy_settings_);
    reception::Sessions::Parts parts{loop,
                                     intake,
                                     *policy_,
                                     *names_,
                                     system_clock(),
                                     [this](const std::string& id) { arrivals_->add(id); },
                                     reception::session_limit(),
                                     &tls_.context(),
                                     logins_.get(),
                                     anvil_->meters.get(),
                                     "submission",
                                     &rewriter_};
    sessions_ = std::make_unique<reception::Sessions>(std::move(parts), settings_now());
    tls_.start(loop, [this] { sessions_->set_settings(settings_now()); });
    router_->start();
    authd_->start();
}

void Front::ask_owner(const ipc::OwnerRequest& request, UserPolicy::OwnerDone done)
{
    router_->call(static_cast<uint16_t>(ipc::RouterType::owner), request.encode(), {}, router_deadline,
                  [done = std::move(done)](const Result<ipc::Message>& answer) {
                      auto reply = answer ? ipc::OwnerReply::decode(answer->body)
                                          : Result<ipc::OwnerReply>(unexpected(answer.error()));
                      if (!reply) log::warning("the owner of an address cannot be asked for: ", reply.error().text);
                      done(reply ? *reply : ipc::OwnerReply());
                  });
}

// STARTTLS, and with it AUTH, is offered while there is a certificate.
std::shared_ptr<const reception::Settings> Front::settings_now() const
{
    auto now = std::make_shared<reception::Settings>(settings_);
    now->limits.starttls = now->limits.starttls && now->tls_offered && tls_.ready();
    return now;
}

void Front::on_client(const std::string& listener, Fd client, net::Address peer)
{
    hops_->catch_up(); // a route that came before this client counts for him
    sessions_->accept(std::move(client), std::move(peer), listener.ends_with("/tls"));
}

void Front::on_file(const std::string& name, const Fd& fd)
{
    if (tables_.on_file(name, fd)) {
        reception::read_tables(settings_, values_, "submission", tables_.reader());
        if (sessions_) sessions_->set_settings(settings_now());
        return;
    }
    if (tls_.on_file(name, fd) || name != "resolv.conf") return;
    set_resolver(read_all(fd.get(), 1 << 16));
}

void Front::set_resolver(const Result<std::string>& text)
{
    auto config = text ? dns::Config::from_resolv_conf(*text) : Result<dns::Config>(unexpected(text.error()));
    if (!config) return log::warning("resolv.conf: ", config.error().text, "; clients keep their addresses as names, domains are not verified");
    domains_->set_resolver(*config);
    names_->set_resolver(std::move(*config));
}

// Sessions keep the settings that they began with.
Result<void> Front::reload(const conf::Values& values)
{
    TRY(take_settings(values));
    policy_->configure(trust_, exempt_, policy_settings_);
    tls_.reload(values);
    sessions_->set_settings(settings_now());
    return {};
}

} // namespace veredus::submission

// What smtpd and submission are made of alike.
#include "lib/reception/front.h"

#include <algorithm>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/reception/settings.h"

namespace veredus::reception {

namespace {
constexpr std::chrono::milliseconds router_deadline{15'000};
}

Result<void> Front::before_jail(const conf::Values& values, const daemon::Place& place)
{
    speaks_ = place.instance == 0;
    hops_ = std::make_unique<Hops>();
    tables_.before_jail(values, role_.who);
    TRY(take_settings(values));
    if (role_.warns_of_gateways) trust_->warn(hops_->addresses());
    tls_.before_jail(values, place);
    TRY(take_restrictions(values));
    const auto hosts = read_file("/etc/hosts", 1 << 20);
    if (hosts) hosts_ = parse_hosts(*hosts);
    host_names_ = net::parse_host_names(hosts ? std::string_view(*hosts) : std::string_view());
    if (auto text = read_file("/etc/resolv.conf", 1 << 16)) resolv_conf_ = std::move(*text);
    return {};
}

void Front::meet(Loop& loop, std::function<void(std::string body)> tell_qmgr)
{
    loop_ = &loop;
    hops_->watch(loop, [this](const std::vector<net::Address>& come) {
        if (role_.warns_of_gateways) trust_->warn(come);
    });
    router_ = std::make_unique<daemon::Link>(loop, "router");
    recipients_ = std::make_unique<RouterRecipients>(loop, [this](std::string body, std::function<void(Result<ipc::Message>)> done) {
        router_->call(static_cast<uint16_t>(ipc::RouterType::route), std::move(body), {}, router_deadline, std::move(done));
    });
    router_->on_state([this](bool connected) {
        if (!connected) recipients_->forget();
    });
    if (role_.logins) meet_authd();
    arrivals_ = std::make_unique<Arrivals>(loop, std::move(tell_qmgr));
    anvil_ = std::make_unique<Anvil>(loop);
    names_ = std::make_unique<PeerNames>(loop);
    names_->set_hosts(std::move(hosts_));
    set_resolver(std::move(resolv_conf_));
    const auto resolver = [this] { return names_->resolver(); };
    dialer_ = std::make_unique<PolicyDialer>(loop, std::move(host_names_), resolver);
    services_ = std::make_unique<PolicyServices>(loop, [this](const std::string& endpoint, std::function<void(Result<Fd>)> done) { dialer_->dial(endpoint, std::move(done)); });
    examiner_ = std::make_unique<Examiner>(Examiner::Parts{*recipients_, *services_, resolver, [this](const auto& request, auto done) { ask_owner(request, std::move(done)); }});
    examiner_->set_program(program_);
}

void Front::ask_owner(const ipc::OwnerRequest& request, std::function<void(const ipc::OwnerReply&)> done)
{
    router_->call(static_cast<uint16_t>(ipc::RouterType::owner), request.encode(), {}, router_deadline, [done = std::move(done)](const Result<ipc::Message>& answer) {
        auto reply = answer ? ipc::OwnerReply::decode(answer->body) : Result<ipc::OwnerReply>(unexpected(answer.error()));
        if (!reply) log::warning("the owner of an address cannot be asked for: ", reply.error().text);
        done(reply ? *reply : ipc::OwnerReply());
    });
}

void Front::meet_authd()
{
    authd_ = std::make_unique<daemon::Link>(*loop_, "authd");
    Logins::Doors doors;
    doors.call = [this](ipc::AuthType type, std::string body, std::function<void(Result<ipc::Message>)> done, std::function<bool()> wanted) {
        authd_->call(static_cast<uint16_t>(type), std::move(body), {}, std::chrono::milliseconds(ipc::auth_deadline_ms), std::move(done), std::move(wanted));
    };
    doors.send = [this](ipc::AuthType type, std::string body) { (void)authd_->send(static_cast<uint16_t>(type), std::move(body)); };
    logins_ = std::make_unique<Logins>(role_.name, std::move(doors));
    authd_->on_message([this](const ipc::Message& message) { logins_->heard(message); });
}

void Front::open(queue::Intake& intake, ListPolicy& policy)
{
    policy_ = &policy;
    Sessions::Parts parts{*loop_, intake, policy, *names_, system_clock(), [this](const std::string& id) { arrivals_->add(id); }, session_limit(), &tls_.context(),
                          logins_.get(), anvil_->meters.get(), role_.service, &rewriter_};
    parts.etrn = etrn_.get();
    sessions_ = std::make_unique<Sessions>(std::move(parts), settings_now());
    tls_.start(*loop_, [this] { sessions_->set_settings(settings_now()); });
    router_->start();
    if (authd_) authd_->start();
}

void Front::offer_etrn(Etrn::Call call)
{
    etrn_ = std::make_unique<Etrn>(std::move(call));
    read_etrn();
}

void Front::read_etrn()
{
    if (!etrn_) return;
    const auto parents = values_.list("parent_domain_matches_subdomains");
    const bool parents_match = std::any_of(parents.begin(), parents.end(), [](const std::string& word) { return iequals(word, "fast_flush_domains"); });
    etrn_->set_domains(DomainList::make(values_.list("fast_flush_domains"), parents_match, tables_.reader()));
}

void Front::on_client(const std::string& listener, Fd client, net::Address peer)
{
    hops_->catch_up();    // a route that came before this client counts for him
    sessions_->accept(std::move(client), std::move(peer), listener.ends_with("/tls"));
}

void Front::on_file(const std::string& name, const Fd& fd)
{
    if (!tables_.on_file(name, fd)) {
        if (!tls_.on_file(name, fd) && name == "resolv.conf") set_resolver(read_all(fd.get(), 1 << 16));
        return;
    }
    if (speaks_) log::info("table ", name.substr(daemon::table_file_mark.size()), " changed: it is in force");
    read_tables(settings_, values_, role_.name, tables_.reader());
    if (auto taken = take_restrictions(values_); !taken) log::warning(taken.error().text);
    put_into_force();
}

Result<void> Front::reload(const conf::Values& values)
{
    TRY(take_restrictions(values));
    TRY(take_settings(values));
    tls_.reload(values);
    put_into_force();
    return {};
}

void Front::put_into_force()
{
    read_etrn();
    if (examiner_) examiner_->set_program(program_);
    if (policy_) policy_->set_trust(trust_, exempt_);
    if (sessions_) sessions_->set_settings(settings_now());
}

void Front::set_resolver(const Result<std::string>& text)
{
    auto config = text ? dns::Config::from_resolv_conf(*text) : Result<dns::Config>(unexpected(text.error()));
    if (!config) return log::warning("resolv.conf: ", config.error().text, "; clients keep their addresses as names, and domains are not looked up");
    names_->set_resolver(std::move(*config));
}

Result<void> Front::take_restrictions(const conf::Values& values)
{
    program_ = TRY(make_program(values, role_.name, tables_.reader()));
    return {};
}

Result<void> Front::take_settings(const conf::Values& values)
{
    auto networks = TRY(table::MatchList::networks(values.list("mynetworks")));
    auto exempt = TRY(table::MatchList::networks(values.list(cat(role_.name, "_client_event_limit_exceptions"))));
    Settings fresh = read_settings(values, role_.name);
    read_tables(fresh, values, role_.name, tables_.reader());
    TRY(adjust_(fresh, values));
    trust_ = std::make_shared<const Trust>(std::move(networks), hops_->addresses());
    exempt_ = std::make_shared<const Trust>(std::move(exempt), hops_->addresses());
    settings_ = std::move(fresh);
    values_ = values;
    rewriter_.configure(values);
    return {};
}

// STARTTLS, and with it AUTH, is offered while there is a certificate.
std::shared_ptr<const Settings> Front::settings_now() const
{
    auto now = std::make_shared<Settings>(settings_);
    now->limits.etrn = etrn_ && etrn_->offered();
    now->limits.starttls = now->limits.starttls && now->tls_offered && tls_.ready();
    return now;
}

}  // namespace veredus::reception

// smtp-client: take mails from qmgr to other servers by SMTP.  Manual: man/smtp-client.8
#include <ifaddrs.h>

#include <list>

#include "lib/base/text.h"
#include "lib/daemon/service.h"
#include "lib/log/log.h"
#include "smtp-client/agent.h"

namespace veredus::smtp_client {

namespace {

constexpr std::size_t max_resolv_conf = 64 * 1024;
constexpr int64_t own_addresses_age_us = 30 * us_per_second;

// Every address of this host; asked anew now and then, as interfaces come and go.
class OwnAddresses {
public:
    explicit OwnAddresses(const Clock& clock) : clock_(clock) {}
    const std::vector<net::Address>& get()
    {
        const int64_t now = clock_.mono_us();
        if (read_us_ && now - read_us_ < own_addresses_age_us) return addresses_;
        ifaddrs* list = nullptr;
        if (::getifaddrs(&list) != 0) return addresses_;
        read_us_ = now;
        addresses_.clear();
        for (const ifaddrs* i = list; i; i = i->ifa_next) {
            if (!i->ifa_addr) continue;
            const int family = i->ifa_addr->sa_family;
            if (family == AF_INET) addresses_.push_back(net::Address::from_sockaddr(i->ifa_addr, sizeof(sockaddr_in)));
            if (family == AF_INET6)
                addresses_.push_back(net::Address::from_sockaddr(i->ifa_addr, sizeof(sockaddr_in6)));
        }
        ::freeifaddrs(list);
        return addresses_;
    }

private:
    const Clock& clock_;
    int64_t read_us_ = 0;
    std::vector<net::Address> addresses_;
};

Result<std::shared_ptr<tls::ClientContext>> make_tls(const conf::Values& values, const Settings& settings)
{
    if (settings.tls_level == TlsLevel::none) return std::shared_ptr<tls::ClientContext>();
    return std::shared_ptr<tls::ClientContext>(TRY(tls::ClientContext::create(
        std::string(values.text("smtp_tls_CAfile")), std::string(values.text("smtp_tls_CApath")))));
}

} // namespace

class SmtpClient final : public daemon::Service {
public:
    Result<void> before_jail(const conf::Values& values, const daemon::Place&) override
    {
        settings_ = std::make_shared<const Settings>(TRY(read_settings(values)));
        tls_ = TRY(make_tls(values, *settings_));
        const auto text = read_file("/etc/resolv.conf", max_resolv_conf);
        // A host without one asks itself, as with every other program.
        dns_config_ = TRY(dns::Config::from_resolv_conf(text ? std::string_view(*text) : std::string_view()));
        return {};
    }

    Result<void> after_jail(Loop& loop) override
    {
        resolver_ = std::make_unique<dns::Resolver>(loop, dns_config_);
        pool_ = std::make_unique<Pool>(loop);
        world_.reset(
            new World{loop, system_clock(), *resolver_, *pool_, settings_, tls_, [this] { return own_.get(); }});
        return {};
    }

    void on_peer(const ipc::Neighbour& peer, Fd channel) override
    {
        if (peer.role != "qmgr") return log::warning("refused a channel from ", printable(peer.role));
        agents_.emplace_front();
        const auto place = agents_.begin();
        *place = std::make_unique<Agent>(*world_, std::move(channel), [this, place] {
            world_->loop.defer([this, place] { agents_.erase(place); });
        });
    }

    Result<void> reload(const conf::Values& values) override
    {
        auto settings = std::make_shared<const Settings>(TRY(read_settings(values)));
        // The jail may hide the authorities' files by now: what was read at the start stays unless TLS was off.
        std::shared_ptr<tls::ClientContext> tls = tls_;
        if (settings->tls_level == TlsLevel::none)
            tls = nullptr;
        else if (!tls)
            tls = TRY(make_tls(values, *settings));
        settings_ = world_->settings = std::move(settings);
        tls_ = world_->tls = std::move(tls);
        pool_->clear();
        return {};
    }

    void on_file(const std::string& name, Fd fd) override
    {
        if (!name.ends_with("resolv.conf")) return;
        const auto text = read_all(fd.get(), max_resolv_conf);
        auto config = text ? dns::Config::from_resolv_conf(*text) : unexpected(text.error());
        if (!config) return log::warning("resolv.conf: ", config.error().text, "; the old one stays in use");
        resolver_->set_config(std::move(*config));
        log::info("resolv.conf was read again");
    }

    void stop(std::function<void()> done) override
    {
        pool_->clear();
        // Shared: the last of the agents to fall idle says done.
        const auto left = std::make_shared<std::size_t>(agents_.size() + 1);
        const auto one = [left, done = std::move(done)] {
            if (--*left == 0) done();
        };
        for (const auto& agent : agents_) agent->when_idle(one);
        one();
    }

private:
    std::shared_ptr<const Settings> settings_; // shared with the deliveries that began under them
    std::shared_ptr<tls::ClientContext> tls_;
    dns::Config dns_config_;
    OwnAddresses own_{system_clock()};
    std::unique_ptr<dns::Resolver> resolver_;
    std::unique_ptr<Pool> pool_;
    std::unique_ptr<World> world_;
    std::list<std::unique_ptr<Agent>> agents_; // last: deliveries die before what they borrow
};

} // namespace veredus::smtp_client

int main(int argc, char** argv)
{
    veredus::smtp_client::SmtpClient service;
    return veredus::daemon::run({"smtp-client", veredus::conf::smtp_client, "smtp"}, service, argc, argv);
}

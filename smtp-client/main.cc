// smtp-client: take mails from qmgr to other servers by SMTP.  Manual: man/smtp-client.8
#include <ifaddrs.h>
#include <sys/stat.h>

#include <algorithm>
#include <list>
#include <map>
#include <set>
#include <utility>

#include "lib/base/directory.h"
#include "lib/base/text.h"
#include "lib/daemon/client_files.h"
#include "lib/daemon/service.h"
#include "lib/log/log.h"
#include "lib/table/aliases.h"
#include "smtp-client/agent.h"

namespace veredus::smtp_client {

namespace {

constexpr std::size_t max_resolv_conf = 64 * 1024, max_file = 16 << 20, max_authorities = 16 << 20;
constexpr std::chrono::milliseconds settle_time{1000};
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

// The certificates of a folder as one text; the links that c_rehash makes are left out.
Result<std::string> read_authorities(const std::string& folder)
{
    std::string out;
    TRY(for_each_entry(folder, [&](const DirectoryEntry& entry) {
        const std::string_view name = entry.name;
        struct stat st {};
        const std::string path = cat(folder, '/', name);
        const bool hash_link = name.size() == 10 && name.find('.') == 8; // "5ed36f99.0"
        if (hash_link || ::stat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) return true;
        const auto text = read_file(path, max_file);
        if (text && text->find("-----BEGIN CERTIFICATE-----") != std::string::npos && out.size() < max_authorities) append(out, *text, '\n');
        return true;
    }));
    if (out.empty()) return fail(cat(folder, ": no certificate of an authority in it; give a folder with PEM files"));
    return out;
}

} // namespace

class SmtpClient final : public daemon::Service {
public:
    Result<void> before_jail(const conf::Values& values, const daemon::Place& place) override
    {
        speaks_ = place.instance == 0;
        values_ = values;
        for (const std::string& path : daemon::client_files(values))
            if (auto text = read_file(path, max_file)) texts_[path] = std::move(*text);
        if (const std::string folder(values.text("smtp_tls_CApath")); !folder.empty()) authorities_ = TRY(read_authorities(folder));
        warn_of_open_passwords();
        TRY(put_into_force());
        const auto text = read_file("/etc/resolv.conf", max_resolv_conf);
        // A host without one asks itself, as with every other program.
        dns_config_ = TRY(dns::Config::from_resolv_conf(text ? std::string_view(*text) : std::string_view()));
        return {};
    }

    Result<void> after_jail(Loop& loop) override
    {
        resolver_ = std::make_unique<dns::Resolver>(loop, dns_config_);
        pool_ = std::make_unique<Pool>(loop);
        settle_ = std::make_unique<Timer>(loop, [this] {
            if (const auto done = put_into_force(); !done) log::warning(done.error().text, "; the old settings stay in force");
        });
        world_.reset(
            new World{loop, system_clock(), *resolver_, *pool_, settings_, tls_, [this] { return own_.get(); }, lmtp_,
                      [](const std::string& path, std::function<void(Result<Fd>)> done) { daemon::context().unix_socket(path, std::move(done)); },
                      lmtp_tls_});
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
        const conf::Values old = std::exchange(values_, values);
        // Files that are new come next; the old settings do until then.
        const auto paths = daemon::client_files(values_);
        if (!std::all_of(paths.begin(), paths.end(), [this](const std::string& path) { return texts_.contains(path); })) {
            settle_->start(settle_time);
            return {};
        }
        auto done = put_into_force();
        if (!done) values_ = old;
        return done;
    }

    void on_file(const std::string& name, Fd fd) override
    {
        if (name.starts_with(daemon::client_file_mark)) return client_file(name.substr(daemon::client_file_mark.size()), fd);
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
    void client_file(const std::string& path, const Fd& fd)
    {
        auto text = read_all(fd.get(), max_file);
        if (!text) return log::warning(path, ": ", text.error().text);
        const auto known = texts_.find(path);
        if (known != texts_.end() && known->second == *text) return;
        texts_[path] = std::move(*text);
        changed_.insert(path);
        settle_->start(settle_time); // a certificate and its key are written one after the other
    }

    Result<std::string> text_of(const std::string& path) const
    {
        const auto found = texts_.find(path);
        if (found == texts_.end()) return fail(cat(path, ": is not there, or cannot be read"));
        return found->second;
    }

    // What is shown to servers that ask. smtp_tls_chain_files goes before the others (as with Postfix); LMTP has that of SMTP when it has
    // nothing of its own. The key of a single certificate may stand in its file, or is named.
    Result<tls::Chain> own_chain(bool lmtp) const
    {
        const std::string prefix = lmtp ? "lmtp" : "smtp";
        if (const auto files = values_.list(prefix + "_tls_chain_files"); !files.empty()) {
            tls::Chain chain{prefix + "_tls_chain_files", "", true};
            for (const std::string& path : files) append(chain.pem, TRY(text_of(path)), '\n');
            return chain;
        }
        const std::string certificate(values_.text(prefix + "_tls_cert_file"));
        if (certificate.empty()) return lmtp ? own_chain(false) : Result<tls::Chain>(tls::Chain());
        std::string key(values_.text(prefix + "_tls_key_file"));
        if (key.empty() && certificate == values_.text("smtp_tls_cert_file")) key = values_.text("smtp_tls_key_file");
        tls::Chain chain{certificate, TRY(text_of(certificate)), false};
        if (!key.empty() && key != certificate) append(chain.pem, '\n', TRY(text_of(key)));
        return chain;
    }

    Result<std::shared_ptr<tls::ClientContext>> tls_of(bool lmtp) const
    {
        const std::string ca(values_.text(lmtp ? "lmtp_tls_CAfile" : "smtp_tls_CAfile"));
        tls::ClientContext::Files files;
        if (!ca.empty()) files.ca_text = TRY(text_of(ca));
        if (!authorities_.empty()) append(files.ca_text, '\n', authorities_);
        files.own = TRY(own_chain(lmtp));
        files.kernel = values_.flag("tls_ktls");
        return std::shared_ptr<tls::ClientContext>(TRY(tls::ClientContext::create(files)));
    }

    // Settings and TLS from values_ and the files. An error leaves the old ones in force.
    Result<void> put_into_force()
    {
        const auto read = [this](const std::string& path) { return text_of(path); };
        auto settings = std::make_shared<const Settings>(TRY(read_settings(values_, read)));
        auto lmtp = std::make_shared<const Settings>(TRY(read_settings(values_, read, true)));
        auto context = TRY(tls_of(false));
        auto lmtp_context = TRY(tls_of(true));
        if (speaks_)
            for (const Settings* of : {settings.get(), lmtp.get()})
                for (const Lookup* table : {of->tls.table.get(), of->sasl.table.get(), of->reply_filter.get(), of->discard_by_address.get()})
                    if (!table->trouble().empty()) log::warning(table->trouble(), "; mail that needs it waits");
        if (speaks_)
            for (const Settings* of : {settings.get(), lmtp.get()})
                for (const std::string& problem : of->rework.problems()) log::warning(problem);
        settings_ = std::move(settings);
        lmtp_ = std::move(lmtp);
        tls_ = std::move(context);
        lmtp_tls_ = std::move(lmtp_context);
        for (const std::string& path : std::exchange(changed_, {}))
            if (speaks_) log::info(path, " was read again");
        if (!world_) return {};
        world_->settings = settings_;
        world_->lmtp = lmtp_;
        world_->tls = tls_;
        world_->lmtp_tls = lmtp_tls_;
        pool_->clear();
        return {};
    }

    void warn_of_open_passwords() const
    {
        for (const std::string& spec : values_.list("smtp_sasl_password_maps")) {
            const auto path = table::text_file_of(spec);
            struct stat st {};
            if (speaks_ && path && ::stat(path->c_str(), &st) == 0 && (st.st_mode & S_IROTH))
                log::warning(*path, ": passwords that everybody on this host can read; chmod 600 it");
        }
    }

    bool speaks_ = true; // of several processes one says what all see
    conf::Values values_;
    std::map<std::string, std::string> texts_; // of client_files(), by path
    std::set<std::string> changed_;            // of them, not in force yet
    std::string authorities_;                  // of smtp_tls_CApath
    std::unique_ptr<Timer> settle_;
    std::shared_ptr<const Settings> settings_, lmtp_; // shared with the deliveries that began under them
    std::shared_ptr<tls::ClientContext> tls_, lmtp_tls_;
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

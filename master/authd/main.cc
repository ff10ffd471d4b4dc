// authd: checks passwords; nothing else sees a hash.  Manual: man/authd.8
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "lib/auth/pam.h"
#include "lib/auth/shadow.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/daemon/roles.h"
#include "lib/daemon/service.h"
#include "lib/log/log.h"
#include "lib/table/table.h"
#include "master/authd/confine.h"
#include "master/authd/exchanges.h"
#include "master/authd/lasting_key.h"
#include "master/authd/passwd_files.h"

namespace veredus::authd {

namespace {

// A passwd-file that has not been read yet: whoever is not found before it may be in it, with another password than behind it.
class NotThere final : public auth::Passdb {
public:
    explicit NotThere(std::string path) : path_(std::move(path)) {}
    Result<std::optional<auth::Found>> find(const std::string&) const override { return fail(cat(path_, " could not be read")); }
    std::string likely_password(std::string_view) const override { return ""; }
    bool all_scram(bool) const override { return false; }
    std::string stamp() const override { return cat("none ", path_); }

private:
    std::string path_;
};

class Authd final : public daemon::Service {
public:
    Result<void> before_jail(const conf::Values& values, const daemon::Place& place) override
    {
        if (auto key = lasting_key(cat(place.queue_directory, "/auth-key"))) {
            key_ = std::move(*key);
        } else {
            log::warning(key.error().text, ": what SCRAM answers for names that nobody has changes with this start, which tells them from users");
            key_ = random_bytes(32);
        }
        files_ = std::make_unique<PasswdFiles>(key_);
        sources_ = values.list("passdb");
        threads_ = static_cast<unsigned>(values.number("auth_threads"));
        // Still root. One that cannot be read is no reason for there being no mail at all; master sends it when it is there.
        for (const std::string& source : sources_) {
            if (!source.starts_with("file:")) continue;
            if (auto done = files_->read_now(source.substr(5)); !done) log::warning("passdb: ", done.error().text, ": nobody who is not in a source before it can log in until it can be read");
        }
        rules_ = TRY(read_rules(values));
        if (asks_pam()) {
            auto helper = auth::PamHelper::start({});
            if (!helper) return fail(cat("passdb: pam: ", helper.error().text));
            pam_ = std::move(*helper);
        }
        return {};
    }

    Result<void> after_jail(Loop& loop) override
    {
        if (!TRY(forbid_network())) log::warning("no system call filter for this processor: the network is not walled off");
        exchanges_ = std::make_unique<Exchanges>(loop, system_clock(), threads_ ? threads_ : daemon::usable_cores(), Gate::Limits());
        exchanges_->set_key(key_);
        exchanges_->set_tickets([](const ipc::Ticket& ticket, std::function<void(Result<void>)> done) {
            daemon::context().tell_master(ipc::Control::ticket, ticket.encode(), -1, [done = std::move(done)](ipc::Code code, const std::string& text) {
                done(code == ipc::Code::ok ? Result<void>() : Result<void>(fail(text)));
            });
        });
        exchanges_->configure(rules_, chain());
        files_->begin(loop, [this] { exchanges_->set_passdbs(chain()); });
        if (pam_) {
            pam_watch_ = std::make_unique<Watch>(loop, pam_->fd(), readable, [](unsigned) { log::fatal_exit(EX_SOFTWARE, "the process that asks PAM has ended"); });
        }
        return {};
    }

    void on_file(const std::string& name, Fd fd) override
    {
        if (!name.starts_with("passdb:")) return;
        files_->update(name.substr(7), std::move(fd));
    }

    Result<void> reload(const conf::Values& values) override
    {
        // A file that is new in passdb arrives from master right behind the settings; until then it has no users.
        Rules rules = TRY(read_rules(values));
        const auto before = std::exchange(sources_, values.list("passdb"));
        if (asks_pam() && !pam_) {
            sources_ = before;
            return fail("passdb: pam takes effect with `veredus restart`: the process that asks PAM needs rights which authd has only at its start");
        }
        exchanges_->configure(std::move(rules), chain());
        return {};
    }

    void on_peer(const ipc::Neighbour& peer, Fd channel) override { exchanges_->add_peer(peer.role, peer.instance, std::move(channel)); }

private:
    static Result<Rules> read_rules(const conf::Values& values)
    {
        Rules rules;
        for (const std::string& name : values.list("auth_mechanisms")) {
            if (!auth::make_mechanism(name, {}, "x")) return fail(cat("auth_mechanisms: ", name, " is none of ours"));
            rules.mechanisms.push_back(upper(name));
        }
        rules.username_format = values.text("auth_username_format");
        rules.failure_delay = std::chrono::seconds(values.seconds("auth_failure_delay"));
        rules.greeting_patience = std::chrono::seconds(values.seconds("login_timeout"));
        rules.cache_us = values.seconds("auth_cache_time") * us_per_second;
        auto domains = std::make_shared<table::MatchList>(TRY(table::MatchList::domains(values.list("mydestination"), false)));    // shared: Rules are copied
        rules.is_local = [domains](std::string_view domain) -> Result<bool> {
            bool changed = false;
            const auto fresh = domains->refresh(changed);
            const bool listed = TRY(domains->matches_domain(domain));
            if (!listed && !fresh) return unexpected(fresh.error());    // it may be listed in what cannot be read
            return listed;
        };
        return rules;
    }

    bool asks_pam() const { return std::find(sources_.begin(), sources_.end(), "pam") != sources_.end(); }

    Chain::List chain()
    {
        Chain::List list;
        for (const std::string& source : sources_) {
            if (source == "system") list.push_back(std::make_shared<auth::Shadow>(key_));
            if (source == "pam" && pam_) list.push_back(std::make_shared<auth::Pam>(pam_));
            if (!source.starts_with("file:")) continue;
            if (auto file = files_->find(source.substr(5))) list.push_back(std::move(file));
            else list.push_back(std::make_shared<NotThere>(source.substr(5)));
        }
        return list;
    }

    std::string key_;
    std::vector<std::string> sources_;
    unsigned threads_ = 0;
    Rules rules_;
    std::shared_ptr<const auth::PamHelper> pam_;      // shared with the jobs on the threads
    std::unique_ptr<Exchanges> exchanges_;
    std::unique_ptr<PasswdFiles> files_;              // its tidings come to what stands above
    std::unique_ptr<Watch> pam_watch_;
};

}  // namespace

}  // namespace veredus::authd

int main(int argc, char** argv)
{
    veredus::authd::Authd service;
    return veredus::daemon::run({"authd", veredus::conf::authd, "auth"}, service, argc, argv);
}

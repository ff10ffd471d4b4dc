// local: final delivery. The dispatcher expands aliases and hands each recipient to a process of that user, forked from local-worker.
// Manual: man/local.8
#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <mutex>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/conf/pipes.h"
#include "lib/daemon/service.h"
#include "lib/ipc/user.h"
#include "lib/log/log.h"
#include "lib/table/table.h"
#include "local/dispatcher.h"

namespace veredus::local {

namespace {

constexpr std::chrono::seconds resolver_deadline{10};

// mydestination, asked from the loop and from the thread that expands lists.
class LocalDomains {
public:
    static Result<std::shared_ptr<LocalDomains>> load(const std::vector<std::string>& patterns)
    {
        auto domains = std::make_shared<LocalDomains>();    // shared_ptr: expansions under way keep the one they began with
        domains->list_ = TRY(table::MatchList::domains(patterns, false));
        return domains;
    }
    Result<bool> matches(std::string_view domain)
    {
        const std::lock_guard guard(mutex_);
        if (const int64_t now = system_clock().mono_us(); now - looked_us_ > us_per_second) {
            looked_us_ = now;
            bool changed = false;
            if (auto fresh = list_.refresh(changed); !fresh) log::warning("mydestination: ", fresh.error().text);
        }
        return list_.matches_domain(domain);
    }

private:
    std::mutex mutex_;
    table::MatchList list_;
    int64_t looked_us_ = 0;
};

Result<DispatchRules> read_rules(const conf::Values& values)
{
    DispatchRules rules;
    rules.policy.origin = values.text("myorigin");
    rules.policy.delimiters = values.text("recipient_delimiter");
    rules.policy.commands = TRY(Allowed::parse(values.list("allow_mail_to_commands")));
    rules.policy.files = TRY(Allowed::parse(values.list("allow_mail_to_files")));
    auto domains = TRY(LocalDomains::load(values.list("mydestination")));
    rules.policy.is_local = [domains](std::string_view domain) { return domains->matches(domain); };
    rules.policy.propagate = Allowed::among(values.list("propagate_unmatched_extensions"));
    rules.policy.owners = values.flag("owner_request_special");
    rules.policy.expand_owner = values.flag("expand_owner_alias");
    rules.luser_relay = values.text("luser_relay");
    rules.home_mailbox = values.text("home_mailbox");
    rules.default_privs = values.text("default_privs");
    rules.root_mailbox_user = values.text("root_mailbox_user");
    PlaceSettings places;
    places.transport = values.text("mailbox_transport");
    places.fallback_transport = values.text("fallback_transport");
    places.command = values.text("mailbox_command");
    places.transport_maps = values.list("mailbox_transport_maps");
    places.fallback_maps = values.list("fallback_transport_maps");
    places.command_maps = values.list("mailbox_command_maps");
    const auto pipes = TRY(conf::read_pipe_transports(values));
    for (const auto& pipe : pipes) {
        rules.pipes.emplace(pipe.name, pipe.user);
        places.pipes.push_back(pipe.name);
    }
    rules.places = TRY(Places::create(std::move(places)));
    rules.idle = std::chrono::seconds(values.seconds("local_worker_idle"));
    rules.lane_life = std::chrono::seconds(std::max<int64_t>(values.seconds("user_cache_time"), 1));
    rules.timeout = std::chrono::seconds(values.seconds("local_worker_timeout"));
    rules.command_time = std::chrono::seconds(values.seconds("command_time_limit"));
    for (const auto& pipe : pipes) rules.command_time = std::max<std::chrono::milliseconds>(rules.command_time, std::chrono::seconds(pipe.time_limit_s));
    if (rlimit files{}; ::getrlimit(RLIMIT_NOFILE, &files) == 0) rules.lmtp_attempts = std::clamp<std::size_t>(files.rlim_cur / 4, 1, rules.lmtp_attempts);
    rules.workers = static_cast<std::size_t>(values.number("local_worker_limit"));
    rules.virtual_mailboxes = std::make_shared<VirtualMailboxes>(table::VirtualSettings::read(values, rules.policy.delimiters));
    return rules;
}

class Local final : public daemon::Service {
public:
    Result<void> before_jail(const conf::Values& values, const daemon::Place&) override
    {
        rules_ = TRY(read_rules(values));
        aliases_.configure(values.list("alias_maps"));
        return {};
    }

    Result<void> after_jail(Loop& loop) override
    {
        resolver_ = std::make_unique<daemon::Link>(loop, "resolver");
        resolver_->start();
        dispatcher_ = std::make_unique<Dispatcher>(loop, std::move(rules_), aliases_, [](const ipc::Worker& who, auto done) {
            daemon::context().worker(who, std::move(done));
        }, [this](const std::string& name, auto done) { find_user(name, std::move(done)); });
        return {};
    }

    void on_peer(const ipc::Neighbour& peer, Fd channel) override
    {
        if (peer.role == "lmtpd") return dispatcher_->take_peer(std::move(channel), Dispatcher::From::lmtp);
        if (peer.role != "qmgr") return log::warning("a channel of ", peer.role, " is not for us");
        dispatcher_->take_peer(std::move(channel));
    }

    Result<void> reload(const conf::Values& values) override
    {
        DispatchRules rules = TRY(read_rules(values));
        aliases_.configure(values.list("alias_maps"));
        dispatcher_->set_rules(std::move(rules));
        return {};
    }

    void stop(std::function<void()> done) override { dispatcher_->stop(std::move(done)); }

private:
    void find_user(const std::string& name, std::function<void(Result<ipc::UserReply>)> done)
    {
        resolver_->call(static_cast<uint16_t>(ipc::UserType::resolve), ipc::UserRequest{name}.encode(), {}, resolver_deadline, [done = std::move(done)](const Result<ipc::Message>& answer) {
            done(answer ? ipc::UserReply::decode(answer->body) : Result<ipc::UserReply>(unexpected(answer.error())));
        });
    }

    DispatchRules rules_;
    AliasMaps aliases_;
    std::unique_ptr<daemon::Link> resolver_;
    std::unique_ptr<Dispatcher> dispatcher_;    // last: it borrows the aliases
};

}  // namespace

}  // namespace veredus::local

int main(int argc, char** argv)
{
    const veredus::daemon::RoleName name{"local", veredus::conf::local, "local"};
    veredus::local::Local service;
    return veredus::daemon::run(name, service, argc, argv);
}

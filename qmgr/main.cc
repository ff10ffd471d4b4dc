// qmgr: the only mover of a mail once it is queued.  Manual: man/qmgr.8
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <vector>

#include "lib/base/text.h"
#include "lib/daemon/roles.h"
#include "lib/daemon/service.h"
#include "lib/disk/disk.h"
#include "lib/log/log.h"
#include "lib/queue/spool_lock.h"
#include "qmgr/core.h"
#include "qmgr/limits.h"
#include "qmgr/public.h"

namespace veredus::qmgr {

namespace {
constexpr std::chrono::milliseconds predecessor_patience{10'000};
constexpr std::size_t descriptor_reserve = 400;      // directories, channels, the public socket, files that are only looked at

// Each open mail takes a descriptor: as many as the system lets us have, and no mail more than those.
Limits within_descriptors(Limits limits)
{
    rlimit r{};
    if (::getrlimit(RLIMIT_NOFILE, &r) != 0) return limits;
    const rlim_t wanted = limits.active + descriptor_reserve;
    if (r.rlim_cur < wanted) {
        rlimit raised{std::min(wanted, r.rlim_max), r.rlim_max};
        if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) r = raised;
    }
    if (r.rlim_cur >= wanted) return limits;
    limits.active = r.rlim_cur > descriptor_reserve + 10 ? r.rlim_cur - descriptor_reserve : 10;
    log::warning("only ", limits.active, " mails can be open at once: qmgr_message_active_limit needs ", wanted, " descriptors (RLIMIT_NOFILE)");
    return limits;
}
}  // namespace

class Qmgr final : public daemon::Service {
public:
    Result<void> before_jail(const conf::Values& values, const daemon::Place& place) override
    {
        limits_ = within_descriptors(read_limits(values));
        rights_ = Rights::read(values, place.unprivileged);
        smtp_instances_ = daemon::process_count(*daemon::find_role("smtp-client"), values, daemon::usable_cores());
        slot_ = place.slot;
        return {};
    }

    Result<void> after_jail(Loop& loop) override
    {
        loop_ = &loop;
        router_ = std::make_unique<daemon::Link>(loop, "router");
        agents_.push_back(std::make_unique<daemon::Link>(loop, "local"));
        for (uint32_t i = 0; i < smtp_instances_; ++i) agents_.push_back(std::make_unique<daemon::Link>(loop, "smtp-client", i));
        Neighbours neighbours;
        neighbours.router = [this] { return router_->channel(); };
        neighbours.agent = [this](Agent a) { return agents_.at(a.number())->channel(); };
        lock_ = TRY(queue::lock_spool(".", predecessor_patience));
        core_ = TRY(Core::open(loop, disk::posix_disk(), ".", slot_, system_clock(), limits_, smtp_instances_, std::move(neighbours)));
        public_ = std::make_unique<Public>(loop, *core_, rights_);
        for (std::size_t i = 0; i < agents_.size(); ++i) meet(agent_of(i));
        router_->on_state([this](bool connected) {
            if (connected) core_->router_up();
        });
        router_->start();
        return {};
    }

    void on_client(const std::string&, Fd client, net::Address) override { public_->client(std::move(client)); }

    void on_peer(const ipc::Neighbour& peer, Fd channel) override
    {
        for (uint8_t writer = 0; writer < queue::writer_count; ++writer)
            if (peer.role == queue::writer_roles[writer]) return meet_writer(writer, peer, std::move(channel));
        log::warning("a ", printable(peer.role, 40), " came to qmgr; it has no business here");
    }

    Result<void> reload(const conf::Values& values) override
    {
        limits_ = within_descriptors(read_limits(values));
        core_->set_limits(limits_);
        return {};
    }

    void stop(std::function<void()> done) override { core_->stop(std::move(done)); }

private:
    static Agent agent_of(std::size_t number)
    {
        return number == 0 ? Agent{Agent::Kind::local, 0} : Agent{Agent::Kind::smtp, static_cast<uint32_t>(number - 1)};
    }

    void meet(Agent agent)
    {
        daemon::Link& link = *agents_[agent.number()];
        link.on_message([this, agent](ipc::Message message) { core_->agent_message(agent, message); });
        link.on_state([this, agent](bool connected) { connected ? core_->agent_up(agent) : core_->agent_down(agent); });
        link.start();
    }

    void meet_writer(uint8_t writer, const ipc::Neighbour& peer, Fd fd)
    {
        const std::string key = cat(peer.role, ' ', peer.instance);
        ipc::Channel::User user;
        const unsigned slot = daemon::find_role(peer.role)->slot + peer.instance;
        user.message = [this, writer, key, slot, number = writer_number_ + 1](ipc::Message message) {
            if (message.type == ipc::flush_site_type) return flush_site(key, number, message);
            core_->writer_message(writer, slot, message);
        };
        user.closed = [this, writer, key, number = ++writer_number_](const std::string&) {
            loop_->defer([this, writer, key, number] {
                const auto old = writers_.find(key);
                if (old == writers_.end() || old->second.first != number) return;     // its successor is there
                writers_.erase(old);
                core_->writer_left(writer);
            });
        };
        auto channel = std::make_unique<ipc::Channel>(*loop_, std::move(fd), std::move(user));
        writers_[key] = {writer_number_, std::move(channel)};
        core_->writer_came(writer);
    }

    // The answer goes to who asked, if he is still there.
    void flush_site(const std::string& key, uint64_t number, const ipc::Message& message)
    {
        const auto request = ipc::FlushSite::decode(message.body);
        if (!request) return log::warning("a writer sent ", request.error().text);
        core_->flush_site(request->domain, [this, key, number, question = message.request](ipc::SiteFlushed flushed) {
            const auto writer = writers_.find(key);
            if (writer == writers_.end() || writer->second.first != number) return;
            (void)writer->second.second->reply(question, ipc::flush_site_type, flushed.encode());
        });
    }

    Fd lock_;                                            // before what works on the spool
    Loop* loop_ = nullptr;
    Limits limits_;
    Rights rights_;
    uint32_t smtp_instances_ = 1;
    unsigned slot_ = 0;
    std::unique_ptr<daemon::Link> router_;
    std::vector<std::unique_ptr<daemon::Link>> agents_;
    std::unique_ptr<Core> core_;
    std::unique_ptr<Public> public_;
    std::map<std::string, std::pair<uint64_t, std::unique_ptr<ipc::Channel>>> writers_;
    uint64_t writer_number_ = 0;
};

}  // namespace veredus::qmgr

int main(int argc, char** argv)
{
    veredus::qmgr::Qmgr service;
    return veredus::daemon::run({"qmgr", veredus::conf::qmgr, "qmgr"}, service, argc, argv);
}

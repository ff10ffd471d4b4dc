// anvil: counts per client what all processes of smtpd and submission see.  Manual: man/anvil.8
#include <map>
#include <memory>

#include "lib/base/text.h"
#include "lib/daemon/service.h"
#include "lib/ipc/channel.h"
#include "lib/log/log.h"
#include "master/anvil/counters.h"

namespace veredus::anvil {

namespace {

class Anvil final : public daemon::Service {
public:
    Result<void> before_jail(const conf::Values& values, const daemon::Place&) override { return reload(values); }

    Result<void> after_jail(Loop& loop) override
    {
        loop_ = &loop;
        status_ = std::make_unique<Timer>(loop, [this] { say_statistics(); });
        status_->start(status_interval_);
        return {};
    }

    void on_peer(const ipc::Neighbour& peer, Fd channel) override
    {
        const uint64_t number = ++last_peer_;
        ipc::Channel::User user;
        user.message = [this, number](ipc::Message message) { on_message(number, std::move(message)); };
        user.closed = [this, number](const std::string&) { drop(number); };
        Peer& fresh = peers_[number];
        fresh.role = peer.role;
        // Not from the message: who tells of clients of smtpd is smtpd.
        fresh.service = peer.role == "smtpd" ? "smtp" : peer.role;
        fresh.channel = std::make_unique<ipc::Channel>(*loop_, std::move(channel), std::move(user));
    }

    Result<void> reload(const conf::Values& values) override
    {
        counters_.set_unit(values.seconds("anvil_rate_time_unit") * us_per_second);
        status_interval_ = std::chrono::seconds(values.seconds("anvil_status_update_time"));
        return {};
    }

    void stop(std::function<void()> done) override
    {
        say_statistics();
        done();
    }

private:
    struct Peer {
        std::string role, service;
        std::unique_ptr<ipc::Channel> channel;
    };

    void on_message(uint64_t number, ipc::Message message)
    {
        const auto peer = peers_.find(number);
        if (peer == peers_.end()) return;
        const bool call = message.type == static_cast<uint16_t>(ipc::AnvilType::count) && message.request != 0;
        const bool known = call || message.type == static_cast<uint16_t>(ipc::AnvilType::note);
        const auto event = known ? ipc::AnvilEvent::decode(message.body)
                                 : Result<ipc::AnvilEvent>(fail(cat("no message is of type ", message.type)));
        if (!event) {
            log::warning("message from ", peer->second.role, ": ", event.error().text);
            return drop(number);
        }
        const ipc::AnvilCounts counts = counters_.count(number, peer->second.service, *event);
        if (!call) return;
        if (auto sent = peer->second.channel->reply(message, message.type, counts.encode()); !sent)
            log::warning("answer to ", peer->second.role, ": ", sent.error().text);
    }

    void drop(uint64_t number)
    {
        counters_.drop_peer(number);
        peers_.erase(number);
    }

    void say_statistics()
    {
        for (const std::string& line : counters_.statistics()) log::info(line);
        status_->start(status_interval_);
    }

    Loop* loop_ = nullptr;
    Counters counters_{system_clock()};
    std::chrono::seconds status_interval_{600};
    std::unique_ptr<Timer> status_;
    uint64_t last_peer_ = 0;
    std::map<uint64_t, Peer> peers_;
};

} // namespace

} // namespace veredus::anvil

int main(int argc, char** argv)
{
    veredus::anvil::Anvil service;
    return veredus::daemon::run({"anvil", veredus::conf::anvil, "anvil"}, service, argc, argv);
}

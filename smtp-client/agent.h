// qmgr's side of smtp-client: attempts come in over its channel, verdicts go back.
#pragma once

#include <functional>
#include <memory>
#include <unordered_map>

#include "lib/ipc/channel.h"
#include "smtp-client/delivery.h"

namespace veredus::smtp_client {

class Agent {
public:
    // `closed`: qmgr is gone, and with it all who would hear the verdicts; the owner may destroy the agent in it.
    Agent(World& world, Fd channel, std::function<void()> closed, std::size_t most_deliveries = 10'000);
    ~Agent();
    Agent(const Agent&) = delete;
    std::size_t running() const { return deliveries_.size(); }
    void when_idle(std::function<void()> idle); // once nothing runs any more

private:
    void hear(ipc::Message message);
    void begin(ipc::Attempt attempt, Fd file);
    void answer(uint64_t attempt, std::vector<ipc::Verdict> verdicts);
    void end(uint64_t attempt);
    World& world_;
    std::size_t most_deliveries_; // at once; more are put off
    std::unordered_map<uint64_t, std::unique_ptr<Delivery>> deliveries_;
    std::function<void()> closed_, idle_;
    std::unique_ptr<ipc::Channel> channel_;
};

} // namespace veredus::smtp_client

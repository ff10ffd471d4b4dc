#include "smtp-client/agent.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::smtp_client {

namespace {

constexpr std::size_t verdicts_bytes = 48 * 1024; // of one message; its limit is ipc::max_message

bool is_sane_id(std::string_view id)
{
    if (id.empty() || id.size() > 32) return false;
    for (const char c : id)
        if (!is_alnum(c)) return false;
    return true;
}

} // namespace

Agent::Agent(World& world, Fd channel, std::function<void()> closed, std::size_t most_deliveries)
    : world_(world), most_deliveries_(most_deliveries), closed_(std::move(closed)),
      channel_(std::make_unique<ipc::Channel>(
          world.loop, std::move(channel),
          ipc::Channel::User{[this](ipc::Message message) { hear(std::move(message)); },
                             [this](const std::string&) { closed_(); }})) // that qmgr went, master says
{}

Agent::~Agent()
{
    if (idle_) idle_();
}

void Agent::hear(ipc::Message message)
{
    if (message.type == static_cast<uint16_t>(ipc::AgentType::cancel)) {
        ipc::Reader reader(message.body);
        const uint64_t attempt = reader.u64();
        const auto found = deliveries_.find(attempt);
        if (reader.done() && found != deliveries_.end()) found->second->cancel();
        return;
    }
    if (message.type != static_cast<uint16_t>(ipc::AgentType::attempt))
        return log::warning("qmgr sent a message of unknown type ", message.type);
    auto attempt = ipc::Attempt::decode(message.body);
    if (!attempt) {
        log::warning("qmgr sent a malformed attempt: ", attempt.error().text);
        if (const auto number = ipc::attempt_number(message.body)) answer(*number, {});    // or qmgr would wait for it
        return;
    }
    if (!is_sane_id(attempt->queue_id) || attempt->targets.empty())
        return log::warning("qmgr sent an attempt without an ID or recipients");
    begin(std::move(*attempt), message.fds.empty() ? Fd() : std::move(message.fds[0]));
}

void Agent::begin(ipc::Attempt attempt, Fd file)
{
    const uint64_t number = attempt.attempt;
    if (deliveries_.contains(number)) return log::warning("qmgr sent attempt ", number, " twice");
    const auto put_off = [&](const char* dsn, const char* text) {
        const int64_t now = world_.clock.wall_us();
        std::vector<ipc::Verdict> verdicts;
        for (const ipc::Target& target : attempt.targets) {
            ipc::Verdict& verdict = verdicts.emplace_back();
            verdict.index = target.index;
            verdict.dsn = dsn;
            verdict.text = text;
            verdict.relay = "none";
            log::info(ipc::delivery_line(attempt, target, verdict, static_cast<double>(std::max<int64_t>(now - attempt.active_us, 0)) / us_per_second, 0, 0, now));
        }
        return answer(number, std::move(verdicts));
    };
    if (deliveries_.size() >= most_deliveries_) return put_off("4.3.2", "too many deliveries at once");
    auto delivery = std::make_unique<Delivery>(
        world_, std::move(attempt), std::move(file),
        [this, number](std::vector<ipc::Verdict> verdicts) { answer(number, std::move(verdicts)); },
        [this, number] { end(number); });
    Delivery& started = *delivery;
    deliveries_.emplace(number, std::move(delivery));
    started.start();
}

void Agent::answer(uint64_t attempt, std::vector<ipc::Verdict> verdicts)
{
    const auto send = [&](ipc::Verdicts& page) {
        const auto sent = channel_->send(static_cast<uint16_t>(ipc::AgentType::verdicts), page.encode());
        if (!sent) log::warning("verdicts for qmgr are lost: ", sent.error().text);
    };
    ipc::Verdicts page;
    page.attempt = attempt;
    std::size_t bytes = 0;
    for (ipc::Verdict& verdict : verdicts) {
        const std::size_t size =
            64 + verdict.text.size() + verdict.relay.size() + verdict.remote_mta.size() + verdict.dsn.size();
        if (bytes + size > verdicts_bytes && !page.verdicts.empty()) {
            send(page);
            page.verdicts.clear();
            bytes = 0;
        }
        bytes += size;
        page.verdicts.push_back(std::move(verdict));
    }
    send(page);
}

void Agent::end(uint64_t attempt)
{
    const auto found = deliveries_.find(attempt);
    if (found == deliveries_.end()) return;
    world_.loop.defer([old = std::shared_ptr<Delivery>(std::move(found->second))] {}); // it is on the call stack
    deliveries_.erase(found);
    if (deliveries_.empty() && idle_) world_.loop.defer(std::exchange(idle_, nullptr));
}

void Agent::when_idle(std::function<void()> idle)
{
    if (deliveries_.empty()) return idle();
    idle_ = std::move(idle);
}

} // namespace veredus::smtp_client

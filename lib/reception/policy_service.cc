// Policy services.
#include "lib/reception/policy_service.h"

#include <algorithm>
#include <list>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/net/stream.h"

namespace veredus::reception {

namespace {
constexpr std::size_t most_connections = 50;       // to one server, from one process; more requests wait their turn
constexpr std::size_t most_waiting = 5000;
}  // namespace

struct PolicyServices::Ask {
    std::shared_ptr<const PolicyServer> server;
    std::string request;
    std::function<void(const std::string&)> done;
    std::unique_ptr<Timer> deadline, pause;
    Connection* on = nullptr;
    int64_t tries = 0;
    bool over = false;
};

struct PolicyServices::Connection final : net::StreamUser {
    Connection(PolicyServices& owner, Loop& loop, Fd fd, std::string to) : house(owner), endpoint(std::move(to)), stream(loop, std::move(fd), *this) {}
    void on_data(std::string_view bytes) override
    {
        const auto state = current ? answer.feed(bytes) : PolicyAnswer::State::garbage;
        if (state == PolicyAnswer::State::complete) house.answered(*this);
        else if (state == PolicyAnswer::State::garbage) house.lost(*this, "malformed answer");
    }
    void on_end(net::End end, const std::string& why) override
    {
        house.lost(*this, end == net::End::eof ? "connection closed by the server" : printable(why));
    }
    PolicyServices& house;
    std::string endpoint;
    PolicyAnswer answer;
    std::shared_ptr<Ask> current;
    int64_t born_us = 0, requests = 0;
    net::Stream stream;
};

struct PolicyServices::Endpoint {
    std::list<std::unique_ptr<Connection>> connections;
    std::deque<std::shared_ptr<Ask>> waiting;
    std::size_t dialling = 0;
};

PolicyServices::PolicyServices(Loop& loop, Dial dial) : loop_(loop), dial_(std::move(dial)) {}
PolicyServices::~PolicyServices() { self_.reset(); }

std::size_t PolicyServices::connections() const
{
    std::size_t count = 0;
    for (const auto& [name, endpoint] : endpoints_) count += endpoint->connections.size();
    return count;
}

void PolicyServices::ask(std::shared_ptr<const PolicyServer> server, const std::string& request, std::function<void(const std::string&)> done)
{
    auto fresh = std::make_shared<Ask>();
    fresh->server = std::move(server);
    fresh->request = request;
    fresh->done = std::move(done);
    const auto weak = std::weak_ptr(fresh);
    fresh->deadline = std::make_unique<Timer>(loop_, [this, weak] {
        if (const auto ask = weak.lock()) late(ask);
    });
    fresh->pause = std::make_unique<Timer>(loop_, [this, weak] {
        if (const auto ask = weak.lock()) start(ask);
    });
    fresh->deadline->start(std::chrono::seconds(fresh->server->timeout_s));
    asks_.insert(fresh);
    // Not from inside this call, whatever happens.
    loop_.defer([self = std::weak_ptr(self_), fresh] {
        if (const auto alive = self.lock()) (*alive)->start(fresh);
    });
}

void PolicyServices::start(const std::shared_ptr<Ask>& ask)
{
    if (ask->over) return;
    auto& slot = endpoints_[ask->server->endpoint];
    if (!slot) slot = std::make_unique<Endpoint>();
    Endpoint& endpoint = *slot;
    for (const auto& connection : endpoint.connections)
        if (!connection->current) return send(*connection, ask);
    if (endpoint.connections.size() + endpoint.dialling >= most_connections) {
        if (endpoint.waiting.size() >= most_waiting) return finish(ask, ask->server->default_action);
        endpoint.waiting.push_back(ask);
        return;
    }
    ++endpoint.dialling;
    ++ask->tries;
    dial_(ask->server->endpoint, [self = std::weak_ptr(self_), ask](Result<Fd> fd) {
        if (const auto alive = self.lock()) (*alive)->dialled(ask, std::move(fd));
    });
}

void PolicyServices::dialled(const std::shared_ptr<Ask>& ask, Result<Fd> fd)
{
    const std::string name = ask->server->endpoint;
    Endpoint& endpoint = *endpoints_[name];
    --endpoint.dialling;
    if (!fd) {
        failed(ask, fd.error().text);
        return next(name);
    }
    endpoint.connections.push_front(std::make_unique<Connection>(*this, loop_, std::move(*fd), name));
    Connection& connection = *endpoint.connections.front();
    connection.born_us = loop_.now_us();
    connection.stream.set_timeout(std::chrono::seconds(ask->server->max_idle_s));
    if (!ask->over) return send(connection, ask);
    next(name);
}

void PolicyServices::send(Connection& connection, const std::shared_ptr<Ask>& ask)
{
    connection.current = ask;
    connection.answer = PolicyAnswer();
    ++connection.requests;
    ask->on = &connection;
    connection.stream.set_timeout(std::chrono::seconds(std::max(ask->server->timeout_s + 1, ask->server->max_idle_s)));
    connection.stream.restart_timeout();
    connection.stream.write(ask->request);
}

void PolicyServices::answered(Connection& connection)
{
    const auto ask = std::exchange(connection.current, nullptr);
    ask->on = nullptr;
    const PolicyServer& server = *ask->server;
    const std::string action = connection.answer.action(), name = connection.endpoint;
    const bool old = loop_.now_us() - connection.born_us > server.max_ttl_s * us_per_second;
    if (old || (server.request_limit > 0 && connection.requests >= server.request_limit)) {
        drop(connection);
    } else {
        connection.stream.set_timeout(std::chrono::seconds(server.max_idle_s));
        connection.stream.restart_timeout();
    }
    finish(ask, action);
    next(name);
}

// A kept connection may have been closed in the very moment in which it was used again: that costs no try.
void PolicyServices::lost(Connection& connection, const std::string& why)
{
    const auto ask = std::exchange(connection.current, nullptr);
    const bool was_used = connection.requests > 1;
    const std::string name = connection.endpoint;
    drop(connection);
    if (ask) {
        ask->on = nullptr;
        if (was_used) start(ask);
        else failed(ask, why);
    }
    next(name);
}

void PolicyServices::failed(const std::shared_ptr<Ask>& ask, const std::string& why)
{
    if (ask->over) return;
    log::warning("problem talking to server ", printable(ask->server->endpoint), ": ", why);
    if (ask->tries < ask->server->try_limit) return ask->pause->start(std::chrono::seconds(ask->server->retry_delay_s));
    finish(ask, ask->server->default_action);
}

void PolicyServices::late(const std::shared_ptr<Ask>& ask)
{
    if (ask->over) return;
    log::warning("problem talking to server ", printable(ask->server->endpoint), ": no answer within ", ask->server->timeout_s, " seconds");
    const std::string name = ask->server->endpoint;
    if (Connection* connection = std::exchange(ask->on, nullptr)) {
        connection->current = nullptr;
        drop(*connection);
    }
    finish(ask, ask->server->default_action);
    next(name);
}

void PolicyServices::finish(const std::shared_ptr<Ask>& ask, const std::string& action)
{
    if (std::exchange(ask->over, true)) return;
    ask->deadline->stop();
    ask->pause->stop();
    // The caller may ask anew, and the timers may be on their way through us.
    loop_.defer([ask, action] { std::exchange(ask->done, nullptr)(action); });
    asks_.erase(ask);
}

// Somebody's turn: a connection is free, or one more may be made.
void PolicyServices::next(const std::string& name)
{
    Endpoint& endpoint = *endpoints_[name];
    while (!endpoint.waiting.empty()) {
        const auto ask = endpoint.waiting.front();
        endpoint.waiting.pop_front();
        if (!ask->over) return start(ask);
    }
}

void PolicyServices::drop(Connection& connection)
{
    auto& list = endpoints_[connection.endpoint]->connections;
    const auto at = std::find_if(list.begin(), list.end(), [&](const auto& c) { return c.get() == &connection; });
    if (at == list.end()) return;
    // It may be a call of its own stream that brought us here.
    std::shared_ptr<Connection> last(std::move(*at));
    list.erase(at);
    loop_.defer([last] {});
}

}  // namespace veredus::reception

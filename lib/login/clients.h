// The clients in the process of one user, as a House (session.h) keeps them. Client has begin(), presence() and part(ended, told).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lib/ipc/login.h"
#include "lib/loop/loop.h"

namespace veredus::login {

template <class Client> class Clients {
public:
    explicit Clients(Loop& loop) : loop_(loop) {}
    Clients(const Clients&) = delete;

    void add(uint64_t connection, std::unique_ptr<Client> client)
    {
        auto& place = clients_[connection];
        place = std::move(client);
        place->begin();
    }
    // In the next turn, if we are still there then.
    void defer(std::function<void()> what)
    {
        loop_.defer([self = std::weak_ptr(alive_), what = std::move(what)] {
            if (!self.expired()) what();
        });
    }
    void later(uint64_t connection, void (Client::*what)())
    {
        defer([this, connection, what] {
            if (const auto at = clients_.find(connection); at != clients_.end()) (at->second.get()->*what)();
        });
    }
    // Its own calls are on the stack now. `then`: when it is no more.
    void forget(uint64_t connection, std::function<void()> then)
    {
        defer([this, connection, then = std::move(then)] {
            if (clients_.erase(connection) != 0) then();
        });
    }
    std::vector<ipc::Presence> who() const
    {
        std::vector<ipc::Presence> out;
        for (const auto& [number, client] : clients_) out.push_back(client->presence());
        return out;
    }
    // Of one connection, or, 0, of all: `ended` is for the log, `told` for the client. How many were told.
    std::size_t part(uint64_t connection, std::string_view ended, std::string_view told)
    {
        std::size_t count = 0;
        for (const auto& [number, client] : clients_) {
            if (connection != 0 && connection != number) continue;
            client->part(ended, told);
            ++count;
        }
        return count;
    }
    auto begin() const { return clients_.begin(); }
    auto end() const { return clients_.end(); }
    std::size_t size() const { return clients_.size(); }
    bool empty() const { return clients_.empty(); }

private:
    Loop& loop_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);    // shared_ptr: deferred work looks at it first
    std::unordered_map<uint64_t, std::unique_ptr<Client>> clients_;
};

} // namespace veredus::login

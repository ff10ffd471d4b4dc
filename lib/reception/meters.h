// What the clients of this process do, counted by anvil for all processes: the limits per client address.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "lib/base/result.h"
#include "lib/daemon/service.h"
#include "lib/ipc/anvil.h"
#include "lib/net/address.h"

namespace veredus::reception {

// Of one client in one anvil_rate_time_unit; 0: no limit, and then it is not counted either.
struct Rates {
    unsigned connections = 0, messages = 0, recipients = 0, auth = 0, new_tls = 0;
};

// "192.0.2.7", or of IPv6 the network, "2001:db8:1:2::/64": what limits count by, see client_network().
std::string meter_name(const net::Address& client);

// The same of a user who has logged in: "user alice".
std::string user_meter_name(std::string_view user);

class Meters {
public:
    using Kind = ipc::AnvilEvent::Kind;
    using Done = std::function<void(std::optional<ipc::AnvilCounts>)>; // nothing: anvil does not answer; nobody is
                                                                       // refused for that
    struct Doors {
        std::function<bool()> connected;
        std::function<void(std::string body, std::function<void(Result<ipc::Message>)> done)> call;
        std::function<void(std::string body)> note;
    };
    explicit Meters(Doors doors) : doors_(std::move(doors)) {}
    // False while anvil is away: then there is nothing to wait for.
    bool there() const { return doors_.connected(); }
    // Counts one more and tells how many that makes, later. connect(): disconnect() is owed.
    void count(Kind kind, const std::string& client, Done done);
    void ask(Kind kind, const std::string& client, Done done); // how many, without one more
    void note(Kind kind, const std::string& client);
    void connect(const std::string& client, Done done);
    void disconnect(const std::string& client);
    // anvil is back and knows nothing: the connections that are open are told again.
    void tell_again();

private:
    void call(const ipc::AnvilEvent& event, Done done);
    Doors doors_;
    std::unordered_map<std::string, uint32_t> open_;
};

// The way to anvil, and the meters at its end.
struct Anvil {
    explicit Anvil(Loop& loop);
    daemon::Link link;
    std::unique_ptr<Meters> meters;
};

} // namespace veredus::reception

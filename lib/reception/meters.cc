// Asking anvil.
#include "lib/reception/meters.h"

#include <arpa/inet.h>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/reception/client.h"

namespace veredus::reception {

using ipc::AnvilCounts;
using ipc::AnvilEvent;

namespace {
constexpr std::chrono::milliseconds patience{1000}; // nobody waits longer to be counted
}

std::string meter_name(const net::Address& client)
{
    std::string network = client_network(client);
    if (network.size() != 8) return client.is_ip() ? client.ip() : std::string("unknown");
    network.resize(16, '\0');
    char text[INET6_ADDRSTRLEN] = "";
    ::inet_ntop(AF_INET6, network.data(), text, sizeof text);
    return cat(text, "/64");
}

std::string user_meter_name(std::string_view user) { return cat("user ", user.substr(0, ipc::max_anvil_client - 5)); }

void Meters::call(const AnvilEvent& event, Done done)
{
    doors_.call(event.encode(), [done = std::move(done)](const Result<ipc::Message>& answer) {
        if (!answer) return done(std::nullopt);
        const auto counts = AnvilCounts::decode(answer->body);
        if (!counts) log::warning("anvil: ", counts.error().text);
        done(counts ? std::optional(*counts) : std::nullopt);
    });
}

void Meters::count(Kind kind, const std::string& client, Done done)
{
    call({kind, client, 1}, std::move(done));
}
void Meters::ask(Kind kind, const std::string& client, Done done)
{
    call({kind, client, 0}, std::move(done));
}

void Meters::note(Kind kind, const std::string& client)
{
    if (there()) doors_.note(AnvilEvent{kind, client, 1}.encode());
}

void Meters::connect(const std::string& client, Done done)
{
    ++open_[client];
    if (there()) return call({Kind::connect, client, 1}, std::move(done));
    done(std::nullopt);
}

void Meters::disconnect(const std::string& client)
{
    const auto at = open_.find(client);
    if (at == open_.end()) return;
    if (--at->second == 0) open_.erase(at);
    note(Kind::disconnect, client);
}

void Meters::tell_again()
{
    for (const auto& [client, open] : open_) doors_.note(AnvilEvent{Kind::held, client, open}.encode());
}

Anvil::Anvil(Loop& loop) : link(loop, "anvil")
{
    meters = std::make_unique<Meters>(Meters::Doors{
        [this] { return link.connected(); },
        [this](std::string body, std::function<void(Result<ipc::Message>)> done) {
            link.call(static_cast<uint16_t>(ipc::AnvilType::count), std::move(body), {}, patience, std::move(done));
        },
        [this](std::string body) { (void)link.send(static_cast<uint16_t>(ipc::AnvilType::note), std::move(body)); }});
    link.on_state([this](bool connected) {
        if (connected) meters->tell_again();
    });
    link.start();
}

} // namespace veredus::reception

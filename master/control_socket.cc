#include "master/control_socket.h"

#include <grp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/text.h"
#include "lib/daemon/roles.h"
#include "lib/log/log.h"
#include "lib/net/address.h"

namespace veredus::master {

namespace {
constexpr std::size_t most_peers = 20;
}

Result<void> ControlSocket::open(const std::string& run_directory)
{
    const std::string path = cat(run_directory, "/control");
    Fd listener = TRY(net::listen_unix(path, SOCK_SEQPACKET, 0660));
    if (::geteuid() == 0) {
        // Before anybody waits for us: the group may live in a directory far away.
        const group* admins = ::getgrnam(daemon::admin_group);
        if (::chown(path.c_str(), 0, admins ? admins->gr_gid : 0) < 0) return fail_errno(cat("chown ", path));
    }
    acceptor_ = std::make_unique<net::Acceptor>(loop_, std::move(listener),
                                                [this](Fd client, net::Address) { accept(std::move(client)); });
    return {};
}

void ControlSocket::accept(Fd client)
{
    if (peers_.size() >= most_peers)
        return log::warning("control: more than ", most_peers, " connections: one is closed");
    const uint64_t number = next_++;
    ipc::Channel::User user;
    user.message = [this, number](const ipc::Message& message) { ask(number, message); };
    user.closed = [this, number](const std::string&) { peers_.erase(number); };
    Peer& peer = peers_[number];
    peer.channel = std::make_unique<ipc::Channel>(loop_, std::move(client), std::move(user));
    peer.channel->one_request_at_a_time();
}

ipc::Channel* ControlSocket::channel_of(uint64_t number)
{
    const auto at = peers_.find(number);
    return at == peers_.end() ? nullptr : at->second.channel.get();
}

void ControlSocket::ask(uint64_t number, const ipc::Message& message)
{
    const auto answer = [this, number, request = message.request, type = message.type](ipc::Code code,
                                                                                       const std::string& text) {
        if (ipc::Channel* channel = channel_of(number))
            (void)channel->reply(request, type, ipc::Status{code, text}.encode());
    };
    switch (static_cast<ipc::LoginType>(message.type)) {
    case ipc::LoginType::ask_who:
        return sessions_.who(
            [this, number](const ipc::Presences& page) {
                if (ipc::Channel* channel = channel_of(number))
                    (void)channel->send(static_cast<uint16_t>(ipc::LoginType::present), page.encode());
            },
            [answer] { answer(ipc::Code::ok, ""); });
    case ipc::LoginType::ask_kick: {
        const auto kick = ipc::Kick::decode(message.body);
        if (!kick) return answer(ipc::Code::invalid, kick.error().text);
        return sessions_.kick(kick->user, [answer](uint64_t connections) { answer(ipc::Code::ok, cat(connections)); });
    }
    default: return answer(ipc::Code::invalid, "not a question for master");
    }
}

} // namespace veredus::master

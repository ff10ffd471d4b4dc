// lockd: makes and removes USER.lock and a first, empty USER in the mail spool directory, for the peer's own name only.
// Manual: man/lockd.8
#include <fcntl.h>

#include <map>
#include <memory>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/daemon/service.h"
#include "lib/ipc/user.h"
#include "lib/log/log.h"
#include "local/lockd/locks.h"

namespace veredus::lockd {

namespace {

constexpr std::size_t most_of_one_user = 20;
constexpr int64_t user_known_us = 10 * us_per_second;
constexpr std::chrono::seconds resolver_deadline{10};

class Lockd final : public daemon::Service {
public:
    Result<void> before_jail(const conf::Values& values, const daemon::Place&) override
    {
        self_ = store::this_process();    // the boot id is out of reach in the jail
        return reload(values);
    }

    Result<void> after_jail(Loop& loop) override
    {
        loop_ = &loop;
        disk::Directory spool{Fd(::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), "the mail spool directory"};
        if (!spool.fd) return fail_errno("open the mail spool directory");
        locks_ = std::make_unique<Locks>(std::move(spool), self_);
        locks_->sweep();
        resolver_ = std::make_unique<daemon::Link>(loop, "resolver");
        resolver_->start();
        return {};
    }

    Result<void> reload(const conf::Values& values) override
    {
        root_user_ = values.text("root_mailbox_user");
        known_.clear();
        return {};
    }

    void on_client(const std::string&, Fd client, net::Address) override
    {
        auto peer = ipc::peer_credentials(client.get());
        if (!peer) return log::warning("peer: ", peer.error().text);
        std::size_t same = 0;
        for (const auto& [number, session] : sessions_) same += session->peer.uid == peer->uid;
        if (same >= most_of_one_user) return log::warning("uid ", peer->uid, " has ", same, " connections: refusing another");
        const uint64_t number = ++last_;
        auto session = std::make_unique<Session>();
        session->peer = *peer;
        session->channel = std::make_unique<ipc::Channel>(*loop_, std::move(client),
                                                          ipc::Channel::User{[this, number](ipc::Message m) { on_message(number, std::move(m)); },
                                                                             [this, number](const std::string&) { close(number); }});
        sessions_[number] = std::move(session);
    }

private:
    struct Session {
        ipc::Credentials peer;
        std::unique_ptr<ipc::Channel> channel;
    };
    struct Known {
        uint32_t uid = 0;
        int64_t until_us = 0;
    };

    void close(uint64_t number)
    {
        locks_->closed(number);
        loop_->defer([this, number] { sessions_.erase(number); });
    }

    void on_message(uint64_t number, ipc::Message message)
    {
        auto request = ipc::LockRequest::decode(message.body);
        if (message.type != static_cast<uint16_t>(ipc::UserType::lock) || !request || !is_mailbox_name(request->user))
            return reply(number, message.request, {ipc::Code::invalid, "malformed request, or no mailbox name"});
        const std::string owner = owner_of(request->user, root_user_);
        if (const auto it = known_.find(owner); it != known_.end() && it->second.until_us > system_clock().mono_us())
            return serve(number, message.request, *request, it->second.uid);
        resolver_->call(static_cast<uint16_t>(ipc::UserType::resolve), ipc::UserRequest{owner}.encode(), {}, resolver_deadline,
                        [this, number, request = *request, id = message.request, owner](Result<ipc::Message> answer) {
                            auto user = answer ? ipc::UserReply::decode(answer->body) : Result<ipc::UserReply>(unexpected(answer.error()));
                            if (!user || user->found == ipc::UserReply::Found::temporary)
                                return reply(number, id, {ipc::Code::unavailable, cat("cannot look up ", owner, ": ", user ? user->text : user.error().text)});
                            if (user->found == ipc::UserReply::Found::no) return reply(number, id, {ipc::Code::refused, cat("no user ", owner)});
                            if (known_.size() > 10'000) known_.clear();
                            known_[owner] = {user->uid, system_clock().mono_us() + user_known_us};
                            serve(number, id, request, user->uid);
                        });
    }

    void serve(uint64_t number, uint32_t id, const ipc::LockRequest& request, uint32_t uid)
    {
        using Op = ipc::LockRequest::Op;
        const auto it = sessions_.find(number);
        if (it == sessions_.end()) return;    // gone while we asked
        const ipc::Credentials& peer = it->second->peer;
        if (uid != peer.uid) {
            log::warning("uid ", peer.uid, " asks for the mailbox of ", request.user, ": refused");
            return reply(number, id, {ipc::Code::refused, "not your mailbox"});
        }
        switch (request.op) {
        case Op::lock: return reply(number, id, locks_->lock(number, peer, request.user));
        case Op::unlock: return reply(number, id, locks_->unlock(number, request.user));
        case Op::created: return reply(number, id, locks_->created(number, peer, request.user));
        case Op::create: {
            auto offer = locks_->create(number, request.user);
            return reply(number, id, offer.status, offer.directory.get());
        }
        }
    }

    void reply(uint64_t number, uint32_t id, const ipc::Status& status, int fd = -1)
    {
        const auto it = sessions_.find(number);
        if (it == sessions_.end()) return;
        if (status.code == ipc::Code::invalid) log::warning("uid ", it->second->peer.uid, ": ", status.text);
        const std::span<const int> fds(&fd, fd >= 0 ? 1 : 0);
        (void)it->second->channel->reply(id, static_cast<uint16_t>(ipc::UserType::lock), status.encode(), fds);
    }

    Loop* loop_ = nullptr;
    store::Holder self_;
    std::string root_user_;
    std::unique_ptr<Locks> locks_;
    std::unique_ptr<daemon::Link> resolver_;
    std::map<std::string, Known> known_;
    uint64_t last_ = 0;
    std::map<uint64_t, std::unique_ptr<Session>> sessions_;    // last, so that sessions die before what they borrow
};

}  // namespace

}  // namespace veredus::lockd

int main(int argc, char** argv)
{
    veredus::lockd::Lockd service;
    return veredus::daemon::run({"lockd", veredus::conf::lockd, "lockd"}, service, argc, argv);
}

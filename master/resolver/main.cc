// resolver: tells master, router, local and lockd who a user is.  Manual: man/resolver.8
//
// It needs no right at all: NSS answers everybody, and passwd-files come from master as descriptors.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>

#include "lib/base/text.h"
#include "lib/daemon/lookups.h"
#include "lib/daemon/service.h"
#include "lib/daemon/worker_policy.h"
#include "lib/disk/pool.h"
#include "lib/ipc/codec.h"
#include "lib/log/log.h"
#include "master/resolver/local_accounts.h"
#include "master/resolver/users.h"

namespace veredus::resolver {

namespace {

constexpr std::size_t max_passwd_file = 64u << 20;
constexpr std::chrono::seconds table_patience{6};       // master and lockd wait for 8
constexpr std::size_t most_waiting = 10'000;

class Resolver final : public daemon::Service {
public:
    Result<void> before_jail(const conf::Values& values, const daemon::Place& place) override
    {
        auto system = [accounts = std::make_shared<LocalAccounts>(system_clock())](const std::string& name) {    // shared_ptr: std::function wants to be copied
            auto account = accounts->find(name);
            return account ? std::move(*account) : system_user(name);
        };
        users_ = std::make_unique<Users>(system_clock(), values.seconds("user_cache_time"), place.unprivileged, std::move(system));
        users_->set_sources(values.list("passdb"));
        unprivileged_ = place.unprivileged;
        read_tables(values);
        policy_ = daemon::WorkerPolicy::from(values, unprivileged_, ::geteuid());
        // Still root. While one cannot be read its users are "temporary", and mail waits; master sends it when it is there.
        for (const std::string& path : users_->files()) {
            if (auto text = read_file(path, max_passwd_file)) users_->set_file(path, *text);
            else log::warning("passdb: ", text.error().text, ": mail for users who may be in it waits until it can be read");
        }
        return {};
    }

    Result<void> after_jail(Loop& loop) override
    {
        loop_ = &loop;
        lookups_ = std::make_unique<daemon::Lookups>(loop, table_patience);
        return {};
    }

    void on_file(const std::string& name, Fd fd) override
    {
        if (!name.starts_with("passdb:")) return;
        update(name.substr(7), std::move(fd));
    }

    Result<void> reload(const conf::Values& values) override
    {
        // A file that is new in passdb arrives from master right behind the settings; until then its users are "temporary".
        read_tables(values);
        users_->set_sources(values.list("passdb"));
        users_->set_cache_seconds(values.seconds("user_cache_time"));
        policy_ = daemon::WorkerPolicy::from(values, unprivileged_, ::geteuid());
        return {};
    }

    void on_peer(const ipc::Neighbour& peer, Fd channel) override
    {
        const uint64_t number = next_++;
        ipc::Channel::User user;
        user.message = [this, number, who = peer.role](ipc::Message message) { answer(number, who, message); };
        user.closed = [this, number](const std::string&) { peers_.erase(number); };
        peers_[number] = std::make_unique<ipc::Channel>(*loop_, std::move(channel), std::move(user));
    }

private:
    struct Reading {
        Fd fd;
        std::optional<PasswdFile> file;
        std::string trouble;
    };

    // With a hundred thousand users it takes a while: on a thread, so that nobody waits who asks. A change that another one has followed
    // meanwhile is not looked at.
    void update(const std::string& path, Fd fd)
    {
        auto& newest = newest_[path];
        if (!newest) newest = std::make_shared<std::atomic<uint64_t>>(0);    // shared: the thread asks as well
        auto reading = std::make_shared<Reading>();                          // shared: thread and loop have it in turns
        reading->fd = std::move(fd);
        if (!reader_) reader_ = std::make_unique<disk::Pool>(1, [this](std::function<void()> done) { loop_->post(std::move(done)); });
        reader_->run(
            [reading, newest, number = ++*newest, unprivileged = unprivileged_] {
                if (*newest != number) return;
                ::lseek(reading->fd.get(), 0, SEEK_SET);
                if (auto text = read_all(reading->fd.get(), max_passwd_file)) reading->file = Users::parse_file(*text, unprivileged);
                else reading->trouble = text.error().text;
            },
            [this, path, reading] {
                if (!reading->trouble.empty()) log::warning(path, ": ", reading->trouble, ": the users read before stay in force");
                if (!reading->file) return;
                reading->file = users_->take_file(path, std::move(*reading->file));
                reader_->run([reading] { reading->file.reset(); }, [] {});
            });
    }

    void read_tables(const conf::Values& values)
    {
        virtual_users_.reset();
        if (!values.list("virtual_mailbox_maps").empty()) virtual_users_ = std::make_shared<VirtualUsers>(values, unprivileged_);
    }

    void answer(uint64_t number, const std::string& who, const ipc::Message& message)
    {
        const auto peer = peers_.find(number);
        if (peer == peers_.end() || message.answer) return;
        if (who == "master" && message.type == static_cast<uint16_t>(ipc::UserType::keep)) return tell_keeper(number, message);
        const auto request = ipc::UserRequest::decode(message.body);
        if (message.type != static_cast<uint16_t>(ipc::UserType::resolve) || !request) {
            log::warning(who, ": not a question about a user: the channel is closed");
            peers_.erase(peer);
            return;
        }
        const std::string& name = request->name;
        if (who == "router") return tell(number, message.request, policy_.as_recipient(users_->find(name)));
        if (who == "local" || !virtual_users_ || !Users::may_be_virtual(name)) return tell(number, message.request, users_->find(name));
        if (lookups_->waiting() >= most_waiting) return tell(number, message.request, busy(name));
        auto said = std::make_shared<VirtualUsers::Said>();    // shared_ptr: thread and loop have it in turns
        lookups_->run([said, name, tables = virtual_users_] { *said = tables->find(name); },
                      [this, number, name, said, asked = message.request] { tell(number, asked, users_->find(name, said.get())); });
    }

    static ipc::UserReply busy(const std::string& name)
    {
        ipc::UserReply reply;
        reply.name = name;
        reply.text = "too many questions wait for virtual_mailbox_maps";
        return reply;
    }

    void tell_keeper(uint64_t number, const ipc::Message& message)
    {
        const auto request = ipc::UserRequest::decode(message.body, ipc::max_address);
        auto said = std::make_shared<ipc::UserReply>();    // shared_ptr: thread and loop have it in turns
        if (!request || !virtual_users_) {
            said->text = request ? "there are no virtual users" : request.error().text;
            return tell(number, message.request, *said);
        }
        if (lookups_->waiting() >= most_waiting) return tell(number, message.request, busy(""));
        lookups_->run([said, address = request->name, tables = virtual_users_] { *said = tables->keeper(address); },
                      [this, number, said, asked = message.request] { tell(number, asked, *said); });
    }

    void tell(uint64_t number, uint32_t request, const ipc::UserReply& user)
    {
        if (const auto peer = peers_.find(number); request != 0 && peer != peers_.end())
            (void)peer->second->reply(request, static_cast<uint16_t>(ipc::UserType::resolve), user.encode());
    }

    Loop* loop_ = nullptr;
    std::unique_ptr<Users> users_;
    std::shared_ptr<VirtualUsers> virtual_users_;    // shared with the threads that ask them
    daemon::WorkerPolicy policy_;
    bool unprivileged_ = false;
    uint64_t next_ = 0;
    std::map<uint64_t, std::unique_ptr<ipc::Channel>> peers_;
    std::map<std::string, std::shared_ptr<std::atomic<uint64_t>>> newest_;    // changes of each passwd-file
    std::unique_ptr<disk::Pool> reader_;
    std::unique_ptr<daemon::Lookups> lookups_;       // last: it ends first
};

}  // namespace

}  // namespace veredus::resolver

int main(int argc, char** argv)
{
    veredus::resolver::Resolver service;
    return veredus::daemon::run({"resolver", veredus::conf::resolver, "resolver"}, service, argc, argv);
}

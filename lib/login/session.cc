#include "lib/login/session.h"

#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>

#include "lib/base/text.h"
#include "lib/daemon/confine.h"
#include "lib/daemon/rights.h"
#include "lib/daemon/spool_keeper.h"
#include "lib/ipc/channel.h"
#include "lib/log/log.h"
#include "lib/login/lock_keeper.h"
#include "lib/login/place.h"
#include "lib/store/mailbox.h"
#include "lib/store/mbox.h"

namespace veredus::login {

namespace {

using ipc::LoginType;
// The zygote kills who is still there 5 seconds after master has closed the channel.
constexpr std::chrono::milliseconds last_words{3000};

class Host final : public SessionHost {
public:
    Host(Loop& loop, std::string service, std::chrono::milliseconds linger, std::size_t most_from_one,
         const ipc::Serve& who, Fd channel)
        : loop_(loop), service_(std::move(service)), linger_time_(linger), user_(who), most_from_one_(most_from_one),
          linger_(loop, [this] { offer_to_go(); }), last_words_(loop, [this] { loop_.stop(); }),
          terminate_(loop, SIGTERM, [this] { leave(); }),
          channel_(
              loop, std::move(channel),
              {[this](ipc::Message message) { heard(std::move(message)); }, [this](const std::string&) { leave(); }})
    {}

    // `lasting`: stays for those who come back.
    void serve(House& house, bool lasting)
    {
        house_ = &house;
        linger_.start(linger_time_ + last_words); // a client is on his way
        if (!lasting) linger_time_ = std::chrono::milliseconds(0);
    }

    // Without him nothing can be changed in the inbox, and this process can start no other: a successor of it does.
    void needs(std::shared_ptr<const LockKeeper> keeper)
    {
        keeper_ = std::move(keeper);
        keeper_ends_.emplace(loop_, keeper_->channel(), readable, [this](unsigned) {
            if (!keeper_->has_ended()) return;
            keeper_ends_->set(0);
            log::warning("session of ", printable(user_.name, ipc::max_mailbox_user),
                         ": the process that keeps the dotlock of the mbox has ended: this one ends as well");
            leave();
        });
    }

    void gone(uint64_t connection) override
    {
        if (clients_.erase(connection) == 0 || !clients_.empty()) return;
        if (leaving_) return loop_.stop();
        house_->idle();
        linger_.start(linger_time_);
    }

    const ipc::Serve& user() const override { return user_; }
    const std::string& service() const override { return service_; }
    bool crowded(const ipc::Arrival& arrival) const override
    {
        const auto same = [&](const auto& client) { return client.second == arrival.remote; };
        return most_from_one_ > 0 &&
               static_cast<std::size_t>(std::count_if(clients_.begin(), clients_.end(), same)) > most_from_one_;
    }
    std::string log_prefix(const ipc::Arrival& arrival) const override
    {
        return cat(service_, '(', printable(user_.name, ipc::max_mailbox_user), ")<", ::getpid(), "><",
                   printable(arrival.session, 64), ">: ");
    }

private:
    void heard(ipc::Message message)
    {
        switch (static_cast<LoginType>(message.type)) {
        case LoginType::arrive: return arrive(std::move(message));
        case LoginType::who: return tell_who(message);
        case LoginType::ping: return (void)channel_.reply(message, message.type, "");
        case LoginType::kick: {
            ipc::Reader r(message.body);
            const uint64_t connection = r.u64();
            const uint64_t told = r.done() ? house_->kick(connection) : 0;
            (void)channel_.reply(message, message.type, ipc::Writer().u64(told).take());
            return;
        }
        default: return log::warning("master: message ", message.type, " is not for a session");
        }
    }

    void arrive(ipc::Message message)
    {
        if (leaving_) return; // master hears no answer, and gives the client to our successor
        ++taken_; // also one that cannot be used: master counts what it has sent
        (void)channel_.reply(message, message.type, ipc::Writer().u32(static_cast<uint32_t>(::getpid())).take());
        auto arrival = ipc::Arrival::decode(message.body);
        if (!arrival || message.fds.size() != 1)
            return log::warning("master: an arrival that cannot be used",
                                arrival ? std::string() : cat(": ", arrival.error().text));
        if (auto set = set_nonblocking(message.fds[0].get(), true); !set) return log::warning(set.error().text);
        clients_[arrival->connection] = arrival->remote;
        linger_.stop();
        house_->on_client(std::move(*arrival), std::move(message.fds[0]));
    }

    void tell_who(const ipc::Message& message)
    {
        ipc::Reader r(message.body);
        const uint64_t after = r.u64();
        if (!r.done()) return log::warning("master: a question for who is in that cannot be used");
        ipc::Presences all;
        all.list = house_->who();
        std::erase_if(all.list, [&](const ipc::Presence& p) { return p.connection <= after; });
        std::sort(all.list.begin(), all.list.end(),
                  [](const ipc::Presence& a, const ipc::Presence& b) { return a.connection < b.connection; });
        if (all.list.size() > ipc::max_presences) all.list.resize(ipc::max_presences);
        for (ipc::Presence& p : all.list) {
            p.user = user_.name;
            p.service = service_;
            p.pid = static_cast<uint32_t>(::getpid());
            if (p.folder.size() > 200) p.folder.resize(200);
            if (p.remote.size() > 64) p.remote.resize(64);
        }
        (void)channel_.reply(message, message.type, all.encode());
    }

    // Master lets go unless somebody is on his way here: then his arrival is what is heard next.
    void offer_to_go()
    {
        if (!clients_.empty() || leaving_) return;
        (void)channel_.send(static_cast<uint16_t>(LoginType::idle), ipc::Writer().u64(taken_).take());
    }

    void leave()
    {
        if (leaving_) return;
        leaving_ = true;
        if (clients_.empty()) return loop_.stop();
        last_words_.start(last_words);
        house_->stop();
    }

    Loop& loop_;
    std::string service_;
    std::chrono::milliseconds linger_time_;
    ipc::Serve user_;
    House* house_ = nullptr;
    std::size_t most_from_one_;
    std::map<uint64_t, std::string> clients_; // where each came from
    uint64_t taken_ = 0;
    bool leaving_ = false;
    std::shared_ptr<const LockKeeper> keeper_;
    std::optional<Watch> keeper_ends_;
    Timer linger_, last_words_;
    Signal terminate_;
    ipc::Channel channel_;
};

// Where none can be had: whoever comes is told, and the process goes, so that the next login finds out anew.
class NoHouse final : public House {
public:
    NoHouse(Host& host, const NoMailbox& words) : host_(host), words_(words) {}
    void on_client(ipc::Arrival arrival, Fd client) override
    {
        const std::string told = words_(arrival.hand_over);
        (void)!::send(client.get(), told.data(), told.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)::shutdown(client.get(), SHUT_WR);
        // What he has sent already would turn our close into a reset, which takes the answer with it.
        char unread[4096];
        for (int i = 0; i < 16 && ::recv(client.get(), unread, sizeof unread, MSG_DONTWAIT) > 0; ++i) {}
        log::info(host_.log_prefix(arrival), "Disconnected: Refused, the mailbox cannot be opened");
        host_.gone(arrival.connection);
    }
    std::vector<ipc::Presence> who() const override { return {}; }
    std::size_t kick(uint64_t) override { return 0; }
    void stop() override {}

private:
    Host& host_;
    const NoMailbox& words_;
};

// Of an account of the system the uid is his alone. Any other may share his with more users.
bool is_account(const ipc::Serve& who)
{
    if (who.mailbox[0] != '\0') return false; // from a table
    const passwd* found = ::getpwnam(who.name);
    return found && found->pw_uid == who.uid && std::string_view(found->pw_dir) == who.home;
}

// An mbox by itself: there has to be one.
Result<void> make_mbox(const conf::Values& values, const Place& place)
{
    struct stat st {};
    if (::lstat(place.path.c_str(), &st) == 0 || errno != ENOENT) return {};
    if (!place.spool) return store::OwnKeeper(place.path).create();
    return daemon::SpoolKeeper(cat(values.text("run_directory"), "/lockd"), place.path.substr(place.path.rfind('/') + 1)).create();
}

// What parts users of one uid is where their mail is: the Maildir, or the mbox and the home with its index. What lies beside the mbox
// may be others' mail: its dotlock is made by a process that does nothing else.
Result<void> confine(const conf::Values& values, const ipc::Serve& who, Host& host)
{
    if (who.unprivileged || is_account(who)) return {};
    const Place place = TRY(place_of(values, who));
    (void)TRY(open_mailbox(values, who)); // made now, where its parent can still be written to
    std::vector<std::string> own = {place.path};
    if (!place.path.ends_with('/')) {
        TRY(make_mbox(values, place));
        own.push_back(place.home);
        if (!place.spool && !place.path.starts_with(place.home + "/")) {
            const auto keeper = TRY(LockKeeper::start(place.path));
            set_inbox_keeper(keeper);
            host.needs(keeper);
        }
    }
    const bool confined = TRY(daemon::confine_to(
        own, {"/etc", "/usr", "/lib", "/lib64", "/dev", "/proc/self", "/sys/devices/system/cpu"}));
    if (!confined)
        log::info("this kernel has no Landlock (version 2, Linux 5.19): only its own code keeps the process of ", printable(who.name), " in ",
                  printable(place.path));
    return {};
}

} // namespace

int run_session(const std::string& service, std::chrono::milliseconds linger, const conf::Values& values,
                const ipc::Serve& who, Fd channel, const MakeHouse& make, const NoMailbox& no_mailbox)
{
    log::set_role(service);
    // No command runs here, unlike in local's workers: sudo and its like are nothing that a session needs.
    if (auto forbidden = daemon::forbid_privilege_gain(); !forbidden) {
        log::error("session of ", std::string_view(who.name), ": ", forbidden.error().text);
        return EX_OSERR;
    }
    auto loop = Loop::create();
    if (!loop) {
        log::error("session of ", std::string_view(who.name), ": ", loop.error().text);
        return EX_OSERR;
    }
    (*loop)->each_turn([] { log::flush(); });
    Host host(**loop, service, linger, static_cast<std::size_t>(values.number("mail_max_userip_connections")), who,
              std::move(channel));
    const auto confined = confine(values, who, host);
    auto house = confined ? make(**loop, host, values) : Result<std::unique_ptr<House>>(unexpected(confined.error()));
    if (!house) log::error("session of ", printable(who.name, ipc::max_mailbox_user), ": ", printable(house.error().text));
    std::unique_ptr<House> served = house ? std::move(*house) : std::make_unique<NoHouse>(host, no_mailbox);
    host.serve(*served, static_cast<bool>(house));
    (*loop)->run();
    served.reset();
    log::flush();
    return house ? EX_OK : EX_TEMPFAIL;
}

} // namespace veredus::login

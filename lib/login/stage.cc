#include "lib/login/stage.h"

#include <algorithm>

#include "lib/base/clock.h"
#include "lib/log/log.h"

namespace veredus::login {

Stage::Stage(std::string role, std::string service, MakeDialect dialect)
    : service_(std::move(service)), dialect_(std::move(dialect)), tls_(std::move(role))
{}

Result<void> Stage::before_jail(const conf::Values& values, const daemon::Place& place)
{
    rules_ = std::make_shared<const Rules>(TRY(Rules::read(values, service_)));
    one_client_ = values.flag("login_process_per_connection");
    most_uses_ = values.number("login_max_use");
    tls_.before_jail(values, place);
    return {};
}

Result<void> Stage::after_jail(Loop& loop)
{
    loop_ = &loop;
    authd_ = std::make_unique<daemon::Link>(loop, "authd");
    reception::Logins::Doors doors;
    doors.call = [this](ipc::AuthType type, std::string body, std::function<void(Result<ipc::Message>)> done,
                        std::function<bool()> wanted) {
        authd_->call(static_cast<uint16_t>(type), std::move(body), {}, std::chrono::milliseconds(ipc::auth_deadline_ms),
                     std::move(done), std::move(wanted));
    };
    doors.send = [this](ipc::AuthType type, std::string body) {
        (void)authd_->send(static_cast<uint16_t>(type), std::move(body));
    };
    logins_ = std::make_unique<reception::Logins>(service_, std::move(doors));
    anvil_ = std::make_unique<reception::Anvil>(loop);
    const auto enter = [](std::string body, int fd, std::function<void(ipc::Code, std::string)> done) {
        daemon::context().tell_master(ipc::Control::enter, std::move(body), fd, std::move(done));
    };
    guests_ = std::make_unique<Guests>(
        Guests::Parts{loop, system_clock(), service_, dialect_, *logins_, anvil_->meters.get(), &tls_.context(), enter, service_ == "pop3"},
        rules_);
    authd_->on_message([this](const ipc::Message& message) {
        logins_->heard(message);
        guests_->offers_changed();
    });
    tls_.start(loop, [this] { guests_->offers_changed(); });
    authd_->start();
    return {};
}

void Stage::on_client(const std::string& listener, Fd client, net::Address peer)
{
    served_ = true;
    const bool tls_first = listener.ends_with("/tls");
    if (!one_client_) {
        guests_->accept(std::move(client), std::move(peer), tls_first);
        return count_use();
    }
    // The listeners are closed at the end of this turn, and not before that a byte of the client is read.
    daemon::context().accept_no_more();
    loop_->defer([this, client = std::make_shared<Fd>(std::move(client)), peer = std::move(peer), tls_first] { // shared: a function is copied
        guests_->accept(std::move(*client), peer, tls_first);
        retire();
    });
}

// What a client may have made of this process does not stay for ever. Where master has no place for another one it serves on, and asks again
// after some more clients.
void Stage::count_use()
{
    if (++uses_ < most_uses_ || most_uses_ == 0 || retired_ || std::exchange(asking_, true)) return;
    daemon::context().tell_master(ipc::Control::worn, "", -1, [this](ipc::Code code, const std::string&) {
        asking_ = false;
        if (code == ipc::Code::ok) return retire();
        uses_ = most_uses_ - std::max<int64_t>(most_uses_ / 10, 1);
    });
}

// What its clients of now are is all that it ever sees.
void Stage::retire()
{
    if (std::exchange(retired_, true)) return;
    daemon::context().accept_no_more();
    guests_->when_empty([] { daemon::context().leave(); });
}

Result<void> Stage::reload(const conf::Values& values)
{
    rules_ = std::make_shared<const Rules>(TRY(Rules::read(values, service_)));
    guests_->configure(rules_);
    one_client_ = values.flag("login_process_per_connection");
    most_uses_ = values.number("login_max_use");
    if (one_client_ && served_) retire(); // what one client may have made of it, the next one does not meet
    tls_.reload(values);
    return {};
}

} // namespace veredus::login

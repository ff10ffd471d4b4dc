#include "pop3d/session.h"

#include <poll.h>
#include <sched.h>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/pop3/login.h"

namespace veredus::pop3d {

using Wants = pop3::Transaction::Wants;

namespace {
constexpr int pieces_per_turn = 16; // of a message to a fast client, before others have their turn

unsigned processors() // that this process may run on
{
    static const unsigned count = [] {
        cpu_set_t set;
        return ::sched_getaffinity(0, sizeof set, &set) == 0 ? static_cast<unsigned>(CPU_COUNT(&set)) : 1u;
    }();
    return count;
}
}

Session::Session(House& house, ipc::Arrival arrival, Fd client)
    : house_(house), arrival_(std::move(arrival)), since_wall_(system_clock().wall_us() / us_per_second),
      last_us_(house.loop_.now_us()), vigil_(processors()), stream_(house.loop_, std::move(client), *this)
{
    stream_.set_timeout(house.settings_.timeout);
}

void Session::begin()
{
    if (house_.host_.crowded(arrival_))
        return refuse(
            "-ERR [IN-USE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections).\r\n");
    if (house_.settings_.lock)
        for (const auto& [number, other] : house_.sessions_)
            if (other.get() != this && other->holds_maildrop())
                return refuse("-ERR [IN-USE] The maildrop is locked by another session.\r\n");
    auto inbox = house_.inbox();
    if (inbox && house_.too_early()) return refuse("-ERR [LOGIN-DELAY] minimum time between mail checks violated\r\n");
    auto drop =
        inbox ? Drop::open(**inbox, house_.names(), house_.settings_.deleted_flag) : Result<std::unique_ptr<Drop>>(unexpected(inbox.error()));
    if (!drop) {
        log::error(house_.host_.log_prefix(arrival_), "the inbox cannot be opened: ", printable(drop.error().text));
        return refuse(no_mailbox);
    }
    drop_ = std::move(*drop);
    transaction_ = std::make_unique<pop3::Transaction>(*drop_, house_.settings_.options);
    auto login = pop3::read_hand_over(arrival_.hand_over);
    if (login.utf8) transaction_->enable_utf8();
    transaction_->set_login_capabilities(std::move(login.capabilities));
    const std::string welcome = "+OK Logged in.\r\n";
    out_ += welcome.size();
    stream_.write(welcome);
    const std::string input = std::exchange(arrival_.input, {});
    if (!input.empty()) feed(input);
}

void Session::refuse(std::string_view told)
{
    stream_.write(told);
    close("Refused");
}

void Session::on_data(std::string_view bytes)
{
    if (closing_) return;
    vigil_.heard(system_clock().mono_us());
    feed(bytes);
}

void Session::feed(std::string_view bytes)
{
    in_ += bytes.size();
    last_us_ = house_.loop_.now_us();
    std::string out;
    const Wants wants = transaction_->feed(bytes, out);
    act(wants, out);
}

void Session::act(Wants wants, std::string& out)
{
    out_ += out.size();
    stream_.write(out);
    draining_ = wants == Wants::drain;
    if (wants == Wants::close) return close(transaction_->said_quit() ? "Logged out" : "Too many errors");
    // Who does not take his answers is asked for no more commands.
    stream_.pause_reading(draining_ || stream_.pending() > 0);
    if (stream_.pending() > 0) return;
    if (draining_) return pump();
    rest();
}

// The answers are out: time to read what will be asked for next, and, for a client as near as that, to look out for it.
void Session::rest()
{
    const int64_t for_us = vigil_.answered(system_clock().mono_us());
    transaction_->look_ahead();
    if (for_us == 0) return;
    pollfd socket{stream_.fd(), POLLIN, 0};
    const int64_t end = system_clock().mono_us() + for_us;
    do
        if (::poll(&socket, 1, 0) != 0) return; // the loop reads it now
    while (system_clock().mono_us() < end);
    vigil_.in_vain();
}

// What he asked for goes out in pieces, as he takes them.
void Session::pump()
{
    for (int i = 0; i < pieces_per_turn; ++i) {
        if (closing_ || stream_.pending() > 0) return;
        if (!draining_) {
            stream_.pause_reading(false);
            return rest();
        }
        std::string out;
        const Wants wants = transaction_->more(out);
        out_ += out.size();
        stream_.write(out);
        draining_ = wants == Wants::drain;
        if (wants == Wants::close)
            return close(transaction_->said_quit() ? "Logged out" : "The message could not be read");
    }
    house_.sessions_.later(arrival_.connection, &Session::pump);
}

void Session::part(std::string_view why, std::string_view told)
{
    if (closing_) return;
    // In the midst of a message there is no room for words.
    if (!draining_) stream_.write(told);
    close(why);
}

void Session::close(std::string_view why)
{
    closing_ = true;
    ended_ = why;
    stream_.close_after_flush();
}

void Session::on_end(net::End end, const std::string&)
{
    if (!closing_ && end == net::End::timeout) ended_ = "Inactivity";
    closing_ = true;
    finish();
}

void Session::finish()
{
    if (drop_ && !house_.settings_.keep_flags)
        if (auto marked = drop_->mark_seen(); !marked)
            log::warning(house_.host_.log_prefix(arrival_), marked.error().text);
    if (transaction_ && !transaction_->trouble().empty())
        log::error(house_.host_.log_prefix(arrival_), printable(transaction_->trouble()));
    if (transaction_)
        log::info(house_.host_.log_prefix(arrival_), "Disconnected: ", ended_, ' ', transaction_->tally());
    else
        log::info(house_.host_.log_prefix(arrival_), "Disconnected: ", ended_);
    house_.forget(arrival_.connection);
}

ipc::Presence Session::presence() const
{
    ipc::Presence p;
    p.connection = arrival_.connection;
    p.remote = arrival_.remote;
    p.folder = "INBOX";
    p.tls = !arrival_.tls.empty();
    p.since = since_wall_;
    p.idle = static_cast<uint32_t>(std::max<int64_t>(0, (house_.loop_.now_us() - last_us_) / us_per_second));
    p.in = in_;
    p.out = out_;
    return p;
}

} // namespace veredus::pop3d

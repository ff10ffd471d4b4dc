// All sessions of a process: who may come, who was silent too long, who goes first.
#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/reception/session_mail.h"

namespace veredus::reception {

using smtp::Reply;
using std::chrono::seconds;

namespace {
constexpr int64_t silence_counts_us = int64_t{24} * 3600 * us_per_second;     // who waited for one greeting need not wait for those of a day
constexpr std::size_t most_passed = 50'000;
}  // namespace


std::size_t session_limit()
{
    constexpr std::size_t reserved = 128;
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return 60'000;
    const auto all = static_cast<std::size_t>(limit.rlim_cur);
    return all > 2 * reserved ? all - reserved : std::max<std::size_t>(all / 2, 1);
}

Sessions::Sessions(Parts parts, std::shared_ptr<const Settings> settings)
    : parts_(std::move(parts)), settings_(std::move(settings)), sweeper_(parts_.loop, [this] { sweep(); })
{
    set_settings(settings_);
    sweeper_.start(seconds(1));
}

Sessions::~Sessions()
{
    self_.reset();
    sessions_.clear();
}

// Under stress a stranger's errors cost him the connection at once.
void Sessions::set_settings(std::shared_ptr<const Settings> settings)
{
    settings_ = std::move(settings);
    variants_.forget();
    auto stress = std::make_shared<Settings>(*settings_);
    stress->limits.hard_errors = std::min(stress->limits.hard_errors, stress->stress_hard_errors);
    stress->limits.soft_errors = std::min(stress->limits.soft_errors, stress->limits.hard_errors);
    stress->limits.junk_commands = std::min(stress->limits.junk_commands, stress->stress_junk_commands);
    stress_settings_ = std::move(stress);
    auto socket = std::make_shared<Settings>(*settings_);
    if (!socket->tls_on_sockets) socket->limits.starttls = socket->limits.require_tls = false;
    socket_settings_ = std::move(socket);
}

std::shared_ptr<const Settings> Sessions::settings_for(const net::Address& client)
{
    if (!client.is_ip()) return variants_.find(socket_settings_, client);
    const bool stranger = parts_.policy.origin(client) == mail::Origin::stranger;
    return variants_.find(stranger && stressed() ? stress_settings_ : settings_, client);
}

bool Sessions::passed_lately(const net::Address& client)
{
    const auto at = passed_.find(client_network(client));
    return at != passed_.end() && at->second > parts_.loop.now_us();
}

void Sessions::pass(const net::Address& client)
{
    if (passed_.size() >= most_passed) std::erase_if(passed_, [now = parts_.loop.now_us()](const auto& one) { return one.second <= now; });
    if (passed_.size() >= most_passed) passed_.erase(passed_.begin());
    passed_[client_network(client)] = parts_.loop.now_us() + silence_counts_us;
}

Session* Sessions::find(uint64_t number)
{
    const auto it = sessions_.find(number);
    return it == sessions_.end() ? nullptr : it->second.get();
}

void Sessions::touch(Session& session)
{
    session.active_us_ = parts_.loop.now_us();
    order_.splice(order_.end(), order_, session.place_);
}

// A sixteenth is kept for mynetworks: strangers, however many, do not shut out the administrator and his hosts.
std::size_t Sessions::room_for(mail::Origin newcomer) const
{
    return parts_.descriptors - (newcomer == mail::Origin::stranger ? parts_.descriptors / 16 : 0);
}

ClientNetwork& Sessions::network_of(const net::Address& peer) { return networks_[client_network(peer)]; }

void Sessions::accept(Fd fd, net::Address peer, bool tls_first)
{
    const std::string& host = settings_->limits.hostname;
    const mail::Origin origin = parts_.policy.origin(peer);
    if (sessions_.size() >= room_for(origin) && !make_room(origin))
        return refuse_unheard(std::move(fd), peer, {421, "4.3.2", cat(host, " Error: too many connections")});
    const bool counted = settings_->connections_per_client > 0 && parts_.policy.counted(peer);
    unsigned& now = network_of(peer).sessions;
    if (counted && now >= settings_->connections_per_client) {
        log::warning("Connection concurrency limit exceeded: ", now + 1, " from unknown[", peer.ip(), "] for service ", parts_.service);
        return refuse_unheard(std::move(fd), peer, {421, "4.7.0", cat(host, " Error: too many connections from ", peer.ip())});
    }
    ++now;
    const uint64_t number = ++last_number_;
    auto session = std::make_unique<Session>(*this, number, std::move(fd), std::move(peer), tls_first);
    Session& fresh = *session;
    fresh.place_ = order_.insert(order_.end(), &fresh);
    touch(fresh);
    sessions_.emplace(number, std::move(session));
    fresh.start();
}

// One who came too many: a line, and no session.
void Sessions::refuse_unheard(Fd fd, const net::Address& peer, const Reply& reply)
{
    (void)peer;
    const std::string line = reply.wire();
    (void)!::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    ::shutdown(fd.get(), SHUT_WR);
}

// Descriptors are short. Whoever is on his way out anyway goes first, then the stranger who has been silent longest, in whatever
// state he is: many who each open a transaction and say no more must not keep everybody else out. A mail that is being
// committed stays, and so does one of mynetworks while a stranger asks for his place.
bool Sessions::make_room(mail::Origin newcomer)
{
    if (warned_us_ == 0 || parts_.loop.now_us() - warned_us_ > 10 * us_per_second) {
        warned_us_ = parts_.loop.now_us();
        log::warning(sessions_.size(), " connections are as many as RLIMIT_NOFILE allows (LimitNOFILE of the service); the clients that were silent longest are sent away");
    }
    const auto committing = [](const Session& s) { return s.waiting_ && s.mail_ && s.mail_->committing; };
    const auto find = [&](auto&& fits) -> Session* {
        const auto at = std::find_if(order_.begin(), order_.end(), [&](const Session* s) { return s->stage_ != Session::Stage::ended && !committing(*s) && fits(*s); });
        return at == order_.end() ? nullptr : *at;
    };
    Session* victim = find([](const Session& s) { return s.stage_ == Session::Stage::closing; });
    if (!victim) victim = find([](const Session& s) { return s.client_.origin == mail::Origin::stranger; });
    if (!victim && newcomer != mail::Origin::stranger) victim = find([](const Session&) { return true; });
    if (!victim) return false;
    if (victim->stage_ == Session::Stage::talking) victim->refuse({421, "4.3.2", cat(settings_->limits.hostname, " Error: too many connections")});
    victim->end();         // at once: one that waits for its last word to be read would still take the place
    return true;
}

void Sessions::sweep()
{
    sweeper_.start(seconds(1));
    for (const uint64_t number : std::exchange(holding_, {}))
        if (Session* s = find(number)) s->say_so_far();
    const int64_t now = parts_.loop.now_us();
    const bool full = kept_ > parts_.most_kept / 2;
    const bool stress = stressed() || full;
    const auto patience = [all = stressed(), full](const Session& s) {
        const bool stranger = s.client_.origin == mail::Origin::stranger;
        return std::chrono::microseconds(stranger && (all || (full && s.weight_ > light)) ? s.settings_->stress_timeout : s.settings_->timeout).count();
    };
    // What strangers had us keep is given back to the system once they have gone.
    if (most_kept_lately_ > parts_.most_kept / 4 && kept_ < most_kept_lately_ / 4) {
        ::malloc_trim(0);
        most_kept_lately_ = kept_;
    }
    // A session that times out stays in the order until it is gone: leave it to its parting time.
    std::vector<Session*> late;
    for (Session* s : order_) {
        const int64_t silent = now - s->active_us_;
        if (silent < std::chrono::microseconds(stress ? s->settings_->stress_timeout : s->settings_->timeout).count()) break;
        if (silent >= patience(*s) && s->stage_ <= Session::Stage::talking) late.push_back(s);
    }
    for (Session* s : late) {
        if (s->waiting_ || s->behind_) touch(*s);              // it is we who are slow
        else s->timed_out();
    }
}

void Sessions::tell_kept()
{
    const int64_t now = parts_.loop.now_us();
    if (told_kept_us_ != 0 && now - told_kept_us_ < 60 * us_per_second) return;
    told_kept_us_ = now;
    log::warning("envelopes and headers of strangers take ", kept_ >> 20, " MB: who has many recipients or a large header is put off");
}

void Sessions::stop(std::function<void()> done)
{
    stopping_ = true;
    stopped_ = std::move(done);
    std::vector<Session*> idle;
    for (Session* s : order_)
        if (s->stage_ == Session::Stage::talking && !s->busy()) idle.push_back(s);
    for (Session* s : idle) s->refuse({421, "4.3.2", cat(s->settings_->limits.hostname, " Service shutting down")});
    if (sessions_.empty()) std::exchange(stopped_, nullptr)();
}

// A session asks for its own end, mostly from inside one of its own calls: it goes after this turn.
void Sessions::remove(uint64_t number)
{
    const auto it = sessions_.find(number);
    if (it == sessions_.end()) return;
    std::shared_ptr<Session> last(std::move(it->second));
    sessions_.erase(it);
    order_.erase(last->place_);
    kept_ -= last->weight_;
    last->network_ = nullptr;
    if (const auto network = networks_.find(client_network(last->client_.address)); network != networks_.end()) {
        network->second.kept -= last->weight_;
        if (--network->second.sessions == 0) networks_.erase(network);
    }
    if (last->told_) parts_.meters->disconnect(meter_name(last->client_.address));
    parts_.loop.defer([last] {});
    if (stopping_ && sessions_.empty() && stopped_) std::exchange(stopped_, nullptr)();
}

}  // namespace veredus::reception

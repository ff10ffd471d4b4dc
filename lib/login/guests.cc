#include "lib/login/guests.h"

#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::login {

Result<Rules> Rules::read(const conf::Values& values, const std::string& service)
{
    Rules rules;
    rules.greeting = values.text("login_greeting");
    rules.timeout = std::chrono::seconds(values.seconds("login_timeout"));
    rules.proxy_timeout = std::chrono::seconds(values.seconds("haproxy_timeout"));
    rules.connections = static_cast<std::size_t>(values.number("login_connections"));
    rules.failures = static_cast<unsigned>(values.number("login_failure_limit"));
    rules.per_client = static_cast<unsigned>(values.number("login_client_connection_count_limit"));
    rules.client_rate = static_cast<unsigned>(values.number("login_client_connection_rate_limit"));
    rules.pop3_login_delay_s = static_cast<unsigned>(values.seconds("pop3_login_delay"));
    rules.passwords_in_clear = !values.flag("disable_plaintext_auth");
    const auto name = [&](const char* rest) { return cat(service, "d_tls_", rest); };
    rules.needs_certificate = values.flag(name("req_ccert"));
    if (rules.needs_certificate && (!values.flag(name("ask_ccert")) || values.text(name("CAfile")).empty()))
        return fail(cat(name("req_ccert"), " = yes lets nobody log in without ", name("ask_ccert"), " = yes and ", name("CAfile"),
                        ": set them, or it to no"));
    rules.trusted = TRY(table::MatchList::networks(values.list("login_trusted_networks")));
    rules.exempt = TRY(table::MatchList::networks(values.list("login_client_event_limit_exceptions")));
    rules.proxies = TRY(table::MatchList::networks(values.list("haproxy_trusted_networks")));
    return rules;
}

Guests::Guests(Parts parts, std::shared_ptr<const Rules> rules) : parts_(std::move(parts)), rules_(std::move(rules)) {}

Guests::~Guests() = default;

Guest* Guests::find(uint64_t number)
{
    const auto at = guests_.find(number);
    return at == guests_.end() ? nullptr : at->second.get();
}

void Guests::accept(Fd client, net::Address remote, bool tls_first)
{
    const uint64_t number = next_++;
    auto guest = std::make_unique<Guest>(*this, number, std::move(client), std::move(remote), tls_first);
    Guest& there = *guest;
    guests_.emplace(number, std::move(guest));
    there.place_ = strangers_.insert(strangers_.end(), number);
    there.begin();
}

bool Guests::make_room(uint64_t newcomer)
{
    auto silent = strangers_.begin();
    if (silent != strangers_.end() && *silent == newcomer) ++silent;
    if (silent == strangers_.end()) return false;
    const int64_t now = parts_.loop.now_us();
    if (warned_us_ == 0 || now - warned_us_ > 10 * us_per_second) {
        warned_us_ = now;
        log::warning("login_connections (", rules_->connections,
                     ") reached: the clients without a login that were silent longest are sent away");
    }
    find(*silent)->shed();
    return true;
}

void Guests::heard(Guest& guest)
{
    if (guest.place_) strangers_.splice(strangers_.end(), strangers_, *guest.place_);
}

void Guests::is_no_stranger(Guest& guest)
{
    if (guest.place_) strangers_.erase(*guest.place_);
    guest.place_.reset();
}

// Its own calls are still on the stack.
void Guests::forget(uint64_t number)
{
    if (Guest* guest = find(number)) is_no_stranger(*guest);
    parts_.loop.defer([self = std::weak_ptr(self_), number] {
        const auto house = self.lock();
        if (!house) return;
        (*house)->guests_.erase(number);
        (*house)->say_empty();
    });
}

void Guests::say_empty()
{
    if (!guests_.empty()) return;
    if (stopped_) return std::exchange(stopped_, nullptr)();
    if (emptied_) std::exchange(emptied_, nullptr)();
}

void Guests::when_empty(std::function<void()> done)
{
    emptied_ = std::move(done);
    parts_.loop.defer([self = std::weak_ptr(self_)] {
        if (const auto house = self.lock()) (*house)->say_empty();
    });
}

void Guests::shed_strangers()
{
    for (const uint64_t number : std::vector<uint64_t>(strangers_.begin(), strangers_.end()))
        if (Guest* guest = find(number)) guest->shed();
}

void Guests::offers_changed()
{
    for (auto& [number, guest] : guests_) guest->offers_changed();
}

void Guests::stop(std::function<void()> done)
{
    if (guests_.empty()) return done();
    stopped_ = std::move(done);
    for (auto& [number, guest] : guests_) guest->part(Parting::stopping);
}

} // namespace veredus::login

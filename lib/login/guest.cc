// From accept to the greeting, the talk before the login, and the relay under TLS.
#include "lib/login/guest.h"

#include <sys/socket.h>

#include <algorithm>

#include "lib/base/base64.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/login/guests.h"

namespace veredus::login {

using std::chrono::milliseconds;

namespace {

constexpr std::size_t relay_buffer = 64 * 1024; // of each direction; then its reader waits
// A stranger who asks and does not read the answers is not read from either. Commands are looked at in pieces, because
// the answer may be many times as long as the question.
constexpr std::size_t most_unsent = 16 * 1024, piece_size = 512;
constexpr milliseconds short_patience{30'000}; // for a login while three quarters of the places are taken
constexpr std::size_t peek_size = ProxyHeader::longest;

} // namespace

bool Guest::listed(const table::MatchList& networks, const net::Address& client)
{
    if (networks.empty() || !client.is_ip()) return false;
    const auto matches = networks.matches_client(client);
    return matches && *matches;
}

void Guest::Inner::on_drained()
{
    if (guest.stream_) guest.stream_->pause_reading(false);
}

Guest::Guest(Guests& house, uint64_t number, Fd client, net::Address remote, bool tls_first)
    : house_(house), number_(number), tls_first_(tls_first), remote_(std::move(remote)),
      session_(base64_encode(random_bytes(9))), rules_(house.rules_), began_us_(house.parts_.loop.now_us()),
      knock_(std::make_unique<Knock>()), patience_(house.parts_.loop, [this] { out_of_patience(); })
{
    knock_->client = std::move(client);
}

Guest::~Guest()
{
    if (metered_ && house_.parts_.meters) house_.parts_.meters->disconnect(reception::meter_name(peer_));
}

void Guest::begin()
{
    if (auto local = net::Address::local_of(knock_->client.get())) local_ = *local;
    if (!listed(rules_->proxies, remote_)) return introduce();
    patience_.start(rules_->proxy_timeout);
    knock_->watch = std::make_unique<Watch>(house_.parts_.loop, knock_->client.get(), readable,
                                            [this](unsigned) { read_proxy_header(); });
}

void Guest::read_proxy_header()
{
    char bytes[peek_size];
    const int fd = knock_->client.get();
    const ssize_t n = ::recv(fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    std::size_t taken = 0;
    const auto heard = n <= 0 ? ProxyHeader::Heard::bad
                              : knock_->header.feed(std::string_view(bytes, static_cast<std::size_t>(n)), taken);
    const bool took = taken == 0 || ::recv(fd, bytes, taken, MSG_DONTWAIT) == static_cast<ssize_t>(taken);
    if (heard == ProxyHeader::Heard::more && took) return;
    knock_->watch.reset();
    if (heard == ProxyHeader::Heard::bad || !took) {
        log::warning("haproxy(", remote_.ip(), "): ", n <= 0 ? "closed before" : "does not begin with",
                     " the PROXY header that haproxy_trusted_networks asks for");
        said_ = true;
        return leave();
    }
    if (knock_->header.names_client()) {
        remote_ = knock_->header.source();
        local_ = knock_->header.destination();
    }
    introduce();
}

// The addresses are known.
void Guest::introduce()
{
    peer_ = remote_;
    state_ = State::waiting;
    stream_ = std::make_unique<net::Stream>(house_.parts_.loop, std::move(knock_->client), *this);
    knock_.reset();
    patience_.start(house_.nearly_full() ? std::min(rules_->timeout, short_patience) : rules_->timeout);
    if (house_.size() > rules_->connections && !house_.make_room(number_)) {
        log::warning("login_connections (", rules_->connections, ") reached by clients that have logged in: ",
                     remote_.ip(), " is turned away");
        return turn_away();
    }
    count();
    if (!tls_first_) return greet();
    if (house_.tls_ready())
        if (const auto begun = stream_->start_tls_server(*house_.parts_.tls)) return;
    say_ended("Disconnected", "TLS: there is no certificate");
    leave();
}

void Guest::count()
{
    reception::Meters* meters = house_.parts_.meters;
    if (!meters || (rules_->per_client == 0 && rules_->client_rate == 0) || !peer_.is_ip() ||
        listed(rules_->exempt, peer_))
        return;
    metered_ = true;
    meters->connect(reception::meter_name(peer_),
                    [self = std::weak_ptr(house_.self_), number = number_](std::optional<ipc::AnvilCounts> counts) {
                        const auto house = self.lock();
                        Guest* guest = house && counts ? (*house)->find(number) : nullptr;
                        if (guest) guest->counted(*counts);
                    });
}

void Guest::counted(const ipc::AnvilCounts& counts)
{
    if (state_ == State::relaying || state_ == State::closing) return;
    const auto over = [&](unsigned value, unsigned limit, const char* what) {
        if (limit == 0 || value <= limit) return false;
        log::warning("Connection ", what, " limit exceeded: ", value, " from ", peer_.ip(), " for service ",
                     house_.parts_.service);
        return true;
    };
    if (over(counts.connections, rules_->per_client, "concurrency") || over(counts.rate, rules_->client_rate, "rate"))
        turn_away();
}

void Guest::turn_away()
{
    said_ = true;
    if (!dialect_ && !tls_first_) {
        dialect_ = house_.parts_.dialect();
        dialect_->set(circumstances());
    }
    part(Parting::crowded);
}

// A mechanism that sends the password itself.
bool Guest::in_clear(std::string_view mechanism)
{
    return iequals(mechanism, "PLAIN") || iequals(mechanism, "LOGIN");
}

Circumstances Guest::circumstances() const
{
    const tls::Session* tls = stream_ ? stream_->tls() : nullptr;
    Circumstances now;
    now.greeting = rules_->greeting;
    now.timestamp = timestamp_;
    now.login_delay_s = rules_->pop3_login_delay_s;
    now.tls = tls != nullptr;
    now.starttls = !tls && house_.tls_ready();
    // From this host to this host nobody listens in; a network that is trusted has been said to be one.
    now.trusted = listed(rules_->trusted, peer_);
    const bool safe = tls || peer_.same_ip(local_) || now.trusted;
    now.passwords = safe || rules_->passwords_in_clear;
    const std::string offered = house_.parts_.logins.mechanisms(tls);
    for (const auto name : split(offered, " "))
        if (now.passwords || !in_clear(name)) now.mechanisms.emplace_back(name);
    return now;
}

void Guest::greet()
{
    if (!house_.parts_.logins.told() || wants_timestamp()) return stream_->pause_reading(true); // authd comes in a moment
    say_greeting();
}

void Guest::say_greeting()
{
    dialect_ = house_.parts_.dialect();
    dialect_->set(circumstances());
    state_ = State::talking;
    std::string out;
    dialect_->greet(out);
    stream_->write(out);
    stream_->pause_reading(false);
}

void Guest::offers_changed()
{
    if (!stream_ || state_ == State::relaying || state_ == State::closing) return;
    if (dialect_) return dialect_->set(circumstances());
    if (state_ == State::waiting && (!tls_first_ || secure_)) greet();
}

void Guest::on_secure()
{
    secure_ = true;
    house_.heard(*this);
    if (const auto shown = stream_->tls()->peer("sha256"))
        log::info("Client certificate: ", stream_->tls()->chain_trusted() ? "trusted" : "untrusted",
                  ", subject_CN=", printable(shown->subject, 64), ", issuer_CN=", printable(shown->issuer, 64),
                  ", fingerprint=", shown->fingerprint, ", pkey_fingerprint=", shown->key_fingerprint, ": ", describe());
    if (state_ != State::waiting) return;
    if (!dialect_) return greet();
    dialect_->secured();
    dialect_->set(circumstances());
    state_ = State::talking;
}

void Guest::on_data(std::string_view bytes)
{
    if (state_ == State::relaying) {
        inner_->stream->write(bytes);
        if (inner_->stream->pending() > relay_buffer) stream_->pause_reading(true);
        return;
    }
    if (state_ != State::talking) return; // closing
    house_.heard(*this);
    unread_ += bytes;
    listen();
}

// Feeds what has been read, as long as what comes of it is taken.
void Guest::listen()
{
    while (unread_at_ < unread_.size() && stream_->pending() <= most_unsent) {
        const std::string_view piece = std::string_view(unread_).substr(unread_at_, piece_size);
        unread_at_ += piece.size();
        std::string out;
        const auto wants = dialect_->feed(piece, out);
        if (wants != Dialect::Wants::input) return act(wants, out);
        stream_->write(out);
    }
    if (unread_at_ == unread_.size()) {
        unread_.clear();
        unread_at_ = 0;
    }
    stream_->pause_reading(!unread_.empty() || stream_->pending() > most_unsent); // on_drained() goes on
}

void Guest::act(Dialect::Wants wants, std::string& out)
{
    if (!out.empty()) stream_->write(out);
    out.clear();
    switch (wants) {
    case Dialect::Wants::input: state_ = State::talking; return listen();
    case Dialect::Wants::starttls: return start_tls();
    case Dialect::Wants::begin: return begin_exchange();
    case Dialect::Wants::step: return send_step();
    case Dialect::Wants::cancel: return cancel_exchange();
    case Dialect::Wants::close: return close();
    }
}

void Guest::start_tls()
{
    // What the client sends from now on is TLS: not a byte of it may be read before, and what was is forgotten (RFC 3501
    // §6.2.1, RFC 2595 §4).
    state_ = State::waiting;
    unread_.clear();
    unread_at_ = 0;
    stream_->pause_reading(true);
    if (stream_->pending() > 0) {
        wants_tls_ = true;
        return;
    }
    wants_tls_ = false;
    const auto begun = house_.tls_ready() ? stream_->start_tls_server(*house_.parts_.tls)
                                          : Result<void>(fail("there is no certificate"));
    if (begun) return stream_->pause_reading(false);
    say_ended("Disconnected", cat("TLS: ", begun.error().text));
    leave();
}

void Guest::from_session(std::string_view bytes)
{
    if (!stream_) return;
    stream_->write(bytes);
    if (stream_->pending() > relay_buffer) inner_->stream->pause_reading(true);
}

void Guest::on_drained()
{
    if (state_ == State::relaying && inner_->stream) inner_->stream->pause_reading(false);
    if (state_ == State::entering && !ticket_.empty()) return enter();
    if (wants_tls_) return start_tls();
    if (state_ == State::talking) listen();
}

void Guest::session_ended()
{
    if (state_ == State::closing) return leave();
    close();
}

} // namespace veredus::login

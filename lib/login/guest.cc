#include "lib/login/guest.h"

#include <sys/socket.h>

#include <algorithm>

#include "lib/base/base64.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/login/guests.h"
#include "lib/tls/digest.h"

namespace veredus::login {

using std::chrono::milliseconds;

namespace {

constexpr std::size_t relay_buffer = 64 * 1024; // of each direction; then its reader waits
constexpr milliseconds farewell_time{30'000};   // for the last bytes of a connection that has ended on one side
// A stranger who asks and does not read the answers is not read from either. Commands are looked at in pieces, because
// the answer may be many times as long as the question.
constexpr std::size_t most_unsent = 16 * 1024, piece_size = 512;
constexpr milliseconds short_patience{30'000}; // for a login while three quarters of the places are taken
constexpr std::size_t peek_size = ProxyHeader::longest;

bool in_clear(std::string_view mechanism)
{
    return iequals(mechanism, "PLAIN") || iequals(mechanism, "LOGIN");
}

bool listed(const table::MatchList& networks, const net::Address& client)
{
    if (networks.empty() || !client.is_ip()) return false;
    const auto matches = networks.matches_client(client);
    return matches && *matches;
}

// A client's own words are one word in the log, and end no bracket: nothing in them can look like another one's
// address.
std::string word_for_log(std::string word)
{
    for (char& c : word)
        if (is_space(c) || c == '<' || c == '>' || c == ',') c = '_';
    return word;
}

Refusal refusal_of(ipc::AuthFailure why)
{
    switch (why) {
    case ipc::AuthFailure::unknown_user:
    case ipc::AuthFailure::password_mismatch: return Refusal::password;
    case ipc::AuthFailure::locked: return Refusal::locked;
    case ipc::AuthFailure::expired: return Refusal::expired;
    case ipc::AuthFailure::malformed: return Refusal::malformed;
    case ipc::AuthFailure::no_mechanism: return Refusal::no_mechanism;
    case ipc::AuthFailure::throttled: return Refusal::throttled;
    case ipc::AuthFailure::none:
    case ipc::AuthFailure::internal: break;
    }
    return Refusal::unavailable;
}

} // namespace

struct Guest::Knock {
    Fd client;
    ProxyHeader header;
    std::unique_ptr<Watch> watch;
};

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
    if (metered_ && house_.parts_.meters) house_.parts_.meters->disconnect(reception::meter_name(remote_));
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
    if (!meters || (rules_->per_client == 0 && rules_->client_rate == 0) || !remote_.is_ip() ||
        listed(rules_->exempt, remote_))
        return;
    metered_ = true;
    meters->connect(reception::meter_name(remote_),
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
        log::warning("Connection ", what, " limit exceeded: ", value, " from ", remote_.ip(), " for service ",
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
    const bool safe = tls || remote_.same_ip(local_) || listed(rules_->trusted, remote_);
    now.passwords = safe || rules_->passwords_in_clear;
    const std::string offered = house_.parts_.logins.mechanisms(tls);
    for (const auto name : split(offered, " "))
        if (now.passwords || !in_clear(name)) now.mechanisms.emplace_back(name);
    return now;
}

void Guest::greet()
{
    if (!house_.has_offers() || wants_timestamp()) return stream_->pause_reading(true); // authd comes in a moment
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

// True: the greeting waits for it. The timestamp is authd's, good for one answer to it over this connection: a login stage
// that has seen an answer can use it nowhere.
bool Guest::wants_timestamp()
{
    if (!house_.parts_.timestamps || timestamped_ || !house_.parts_.logins.offers("APOP", nullptr)) return false;
    if (std::exchange(asked_timestamp_, true)) return state_ == State::waiting && timestamp_.empty();
    const auto heard = [self = std::weak_ptr(house_.self_), number = number_](const Result<ipc::AuthReply>& reply) {
        const auto house = self.lock();
        if (!house) return;
        const bool given = reply && reply->kind == ipc::AuthReply::Kind::challenge;
        Guest* guest = (*house)->find(number);
        if (!guest || guest->dialect_ || guest->state_ != State::waiting) {
            if (given) (*house)->parts_.logins.cancel(reply->exchange);
            return;
        }
        if (given) {
            guest->timestamped_ = reply->exchange;
            guest->timestamp_ = printable(reply->data, 200);
        }
        guest->say_greeting();
    };
    house_.parts_.logins.begin("APOP", std::nullopt, remote_, stream_->tls(), heard, number_);
    return true;
}

void Guest::drop_timestamp()
{
    if (timestamped_) house_.parts_.logins.cancel(std::exchange(timestamped_, 0));
}

void Guest::answer_timestamp(std::string response)
{
    if (!timestamped_) return refuse(Refusal::no_mechanism);
    if (!reception::Logins::fits(response)) return refuse(Refusal::malformed);
    state_ = State::asking;
    stream_->pause_reading(true);
    house_.parts_.logins.step(std::exchange(timestamped_, 0), std::move(response), answer());
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

reception::Logins::Done Guest::answer()
{
    return [self = std::weak_ptr(house_.self_), number = number_,
            question = ++question_](const Result<ipc::AuthReply>& reply) {
        const auto house = self.lock();
        if (!house) return;
        Guest* guest = (*house)->find(number);
        if (guest && guest->state_ == State::asking && guest->question_ == question) return guest->answered(reply);
        if (reply && reply->kind == ipc::AuthReply::Kind::challenge) (*house)->parts_.logins.cancel(reply->exchange);
    };
}

void Guest::begin_exchange()
{
    Dialect::Asked asked = std::move(dialect_->asked());
    method_ = word_for_log(upper(printable(asked.mechanism, 32)));
    if (tried_us_ == 0) tried_us_ = house_.parts_.loop.now_us();
    if (method_ == "APOP") return answer_timestamp(std::move(asked.initial).value_or(""));
    const auto now = circumstances();
    const bool allowed = std::any_of(now.mechanisms.begin(), now.mechanisms.end(),
                                     [&](const std::string& m) { return iequals(m, asked.mechanism); });
    if (!allowed) {
        if (asked.initial) tls::wipe(*asked.initial);
        disallowed_ = disallowed_ || (in_clear(asked.mechanism) && !now.passwords);
        return refuse(Refusal::no_mechanism);
    }
    if (asked.initial && !reception::Logins::fits(*asked.initial)) {
        tls::wipe(*asked.initial);
        return refuse(Refusal::malformed);
    }
    state_ = State::asking;
    stream_->pause_reading(true);
    house_.parts_.logins.begin(asked.mechanism, std::move(asked.initial), remote_, stream_->tls(), answer(), number_);
}

void Guest::send_step()
{
    std::string response = std::move(dialect_->asked().response);
    if (!reception::Logins::fits(response)) {
        tls::wipe(response);
        house_.parts_.logins.cancel(std::exchange(exchange_, 0));
        return refuse(Refusal::malformed);
    }
    state_ = State::asking;
    stream_->pause_reading(true);
    house_.parts_.logins.step(std::exchange(exchange_, 0), std::move(response), answer());
}

void Guest::cancel_exchange()
{
    if (exchange_) house_.parts_.logins.cancel(std::exchange(exchange_, 0));
    count_failure(Refusal::malformed);
    if (tries_ >= rules_->failures) return part(Parting::too_many_failures);
    std::string out;
    const auto wants = dialect_->feed("", out);
    act(wants, out);
}

void Guest::answered(const Result<ipc::AuthReply>& reply)
{
    state_ = State::talking;
    if (!reply) {
        log::warning("authd: ", reply.error().text);
        return refuse(Refusal::unavailable);
    }
    if (!reply->login.empty()) user_ = reply->login;
    switch (reply->kind) {
    case ipc::AuthReply::Kind::failed: return refuse(refusal_of(reply->why));
    case ipc::AuthReply::Kind::challenge: {
        exchange_ = reply->exchange;
        std::string out;
        const auto wants = dialect_->challenge(reply->data, out);
        return act(wants, out);
    }
    case ipc::AuthReply::Kind::ok: break;
    }
    if (reply->ticket.empty()) return refuse(Refusal::unavailable);
    login_ = reply->login;
    user_ = reply->user;
    ticket_ = reply->ticket;
    state_ = State::entering;
    house_.strangers_.erase(number_);
    drop_timestamp();
    stream_->pause_reading(true);
    if (stream_->pending() == 0) enter();
}

// What is ours, or says nothing about a password, must not look like a guess to those who ban guessers.
void Guest::count_failure(Refusal why)
{
    ++tries_;
    switch (why) {
    case Refusal::password:
    case Refusal::locked:
    case Refusal::expired:
    case Refusal::malformed: ++guesses_; return;
    case Refusal::no_mechanism: other_failure_ = "auth mechanism not offered"; return;
    case Refusal::throttled: other_failure_ = "auth refused for a while after many failures"; return;
    case Refusal::unavailable:
    case Refusal::not_admitted: other_failure_ = "auth service unavailable"; return;
    }
}

void Guest::refuse(Refusal why)
{
    count_failure(why);
    std::string out;
    const auto wants = dialect_->refused(why, out);
    if (tries_ < rules_->failures) return act(wants, out);
    stream_->write(out);
    part(Parting::too_many_failures);
}

// Everything that was said has left; what comes next the session says.
void Guest::enter()
{
    Dialect::HandOver rest = dialect_->hand_over();
    ipc::Enter enter;
    enter.ticket = std::exchange(ticket_, {});
    ipc::Arrival& a = enter.arrival;
    a.connection = number_;
    a.login = printable(login_, 255);
    a.method = method_;
    a.remote = remote_.ip();
    a.local = local_.ip();
    a.remote_port = remote_.port();
    a.local_port = local_.port();
    if (const tls::Session* tls = stream_->tls())
        a.tls = printable(cat(tls->protocol(), " with cipher ", tls->cipher()), 400);
    a.session = session_;
    a.hand_over = std::move(rest.text);
    a.input = std::move(rest.input);
    a.input += std::string_view(unread_).substr(unread_at_);
    unread_.clear();
    unread_at_ = 0;
    if (a.input.size() > ipc::max_unread) { // more than a message holds: we relay, and it goes first
        overflow_ = a.input.substr(ipc::max_unread);
        a.input.resize(ipc::max_unread);
    }
    Fd theirs;
    if (stream_->tls() || !overflow_.empty()) {
        auto pair = socket_pair(SOCK_STREAM);
        if (!pair) return entered(ipc::Code::unavailable, pair.error().text);
        for_relay_ = std::move(pair->first);
        theirs = std::move(pair->second);
    }
    house_.parts_.enter(
        enter.encode(), theirs ? theirs.get() : stream_->fd(),
        [self = std::weak_ptr(house_.self_), number = number_](ipc::Code code, const std::string& text) {
            const auto house = self.lock();
            Guest* guest = house ? (*house)->find(number) : nullptr;
            if (guest && guest->state_ == State::entering) guest->entered(code, text);
        });
}

void Guest::entered(ipc::Code code, const std::string& text)
{
    if (code != ipc::Code::ok) {
        log::warning("no session for user=<", printable(user_, 255), ">: ", printable(text));
        said_ = true;
        std::string out;
        (void)dialect_->refused(Refusal::not_admitted, out);
        stream_->write(out);
        return close();
    }
    log::info("Login: ", describe());
    said_ = true;
    if (!for_relay_) return leave(); // the session has the socket
    patience_.stop();
    state_ = State::relaying;
    dialect_.reset();
    inner_ = std::make_unique<Inner>(*this);
    inner_->stream = std::make_unique<net::Stream>(house_.parts_.loop, std::move(for_relay_), *inner_);
    inner_->stream->write(std::exchange(overflow_, {}));
    stream_->pause_reading(false);
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

// What was written leaves; then on_end.
void Guest::close()
{
    state_ = State::closing;
    patience_.start(farewell_time);
    stream_->close_after_flush();
}

void Guest::part(Parting why)
{
    if (state_ == State::relaying || state_ == State::closing) return;
    if (why == Parting::idle) ended_ = ": Inactivity";
    if (why == Parting::too_many_failures) ended_ = ": Too many failures";
    if (why == Parting::stopping) ended_ = ": Shutting down";
    if (!stream_) {
        said_ = true;
        return leave();
    }
    if (dialect_ && !wants_tls_ && !handshaking()) {
        std::string out;
        dialect_->part(why, out);
        stream_->write(out);
        return close();
    }
    say_ended("Disconnected", "");
    leave();
}

void Guest::shed()
{
    if (exchange_) house_.parts_.logins.cancel(std::exchange(exchange_, 0));
    ended_ = ": Too many connections";
    if (dialect_ && state_ != State::closing && !wants_tls_ && !handshaking()) {
        std::string out;
        dialect_->part(Parting::crowded, out);
        stream_->write(out);
    }
    if (stream_) say_ended("Disconnected", "");
    // Nothing more is to come of it in what is left of this turn.
    if (knock_) knock_->watch.reset();
    wants_tls_ = false;
    leave();
}

bool Guest::handshaking() const
{
    return stream_ && state_ == State::waiting && (stream_->tls() || wants_tls_) && !secure_;
}

void Guest::out_of_patience()
{
    if (state_ == State::proxy) {
        log::warning("haproxy(", remote_.ip(), "): no PROXY header within haproxy_timeout");
        said_ = true;
        return leave();
    }
    if (state_ == State::entering) {
        ended_ = ": Inactivity";
        say_ended("Disconnected", "");
    }
    if (state_ == State::closing || state_ == State::entering) return leave();
    part(Parting::idle);
}

void Guest::on_end(net::End end, const std::string& why)
{
    if (exchange_) house_.parts_.logins.cancel(std::exchange(exchange_, 0));
    if (state_ == State::relaying) {
        state_ = State::closing;
        patience_.start(farewell_time);
        return inner_->stream->close_after_flush();
    }
    const bool bye = dialect_ && dialect_->said_goodbye();
    const bool shaking = end == net::End::tls_failed;
    say_ended(bye ? "Aborted login" : "Disconnected",
              shaking ? cat("TLS handshaking: ", printable(why)) : std::string());
    leave();
}

void Guest::say_ended(std::string_view how, const std::string& trouble)
{
    if (std::exchange(said_, true)) return;
    const int64_t now = house_.parts_.loop.now_us();
    std::string what;
    if (state_ == State::entering)
        what = cat("password right, no session in ", (now - tried_us_) / us_per_second, " secs");
    else if (disallowed_)
        what = "tried to use disallowed plaintext auth";
    else if (guesses_ > 0)
        what = cat("auth failed, ", guesses_, " attempts in ", (now - tried_us_) / us_per_second, " secs");
    else if (other_failure_)
        what = cat(other_failure_, ", ", tries_, " attempts in ", (now - tried_us_) / us_per_second, " secs");
    else
        what = cat("no auth attempts in ", (now - began_us_) / us_per_second, " secs");
    log::info(how, ended_, " (", what, "): ", describe(trouble));
}

// Dovecot's words, for those who read them.
std::string Guest::describe(const std::string& trouble) const
{
    std::string out = cat("user=<", word_for_log(printable(user_, 255)), ">, ");
    if (!method_.empty()) append(out, "method=", method_, ", ");
    append(out, "rip=", remote_.is_ip() ? remote_.ip() : "unix", ", lip=", local_.is_ip() ? local_.ip() : "unix");
    if (!trouble.empty())
        append(out, ", ", trouble);
    else if (stream_ && stream_->tls())
        append(out, ", TLS");
    else if (remote_.same_ip(local_))
        append(out, ", secured");
    append(out, ", session=<", session_, ">");
    return out;
}

void Guest::leave()
{
    state_ = State::closing;
    patience_.stop();
    drop_timestamp();
    house_.forget(number_);
}

} // namespace veredus::login

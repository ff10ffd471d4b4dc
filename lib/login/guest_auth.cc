// What a client of a login stage says of who he is: exchanges with authd, APOP's timestamp, and the hand-over to master.
#include <algorithm>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/login/guest.h"
#include "lib/login/guests.h"
#include "lib/tls/digest.h"

namespace veredus::login {

namespace {

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
        guest->call_ = 0;
        if (given) {
            guest->timestamped_ = reply->exchange;
            guest->timestamp_ = printable(reply->data, 200);
        }
        guest->say_greeting();
    };
    call_ = house_.parts_.logins.begin("APOP", std::nullopt, remote_, stream_->tls(), heard, number_);
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
    call_ = house_.parts_.logins.step(std::exchange(timestamped_, 0), std::move(response), answer());
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

// A web mail logs in for many: guesses are counted, and shut out, by whose they are.
void Guest::believe_client()
{
    const auto named = net::Address::parse_ip(std::string(dialect_->speaks_for()), 0);
    if (!named || !listed(rules_->trusted, peer_)) return;
    remote_ = net::Address::from_sockaddr(named->raw(), named->raw_size()); // as if he had come himself: no IPv4 in IPv6 clothes
}

void Guest::begin_exchange()
{
    if (exchange_) house_.parts_.logins.cancel(std::exchange(exchange_, 0)); // one at a time, whatever the dialect does
    believe_client();
    Dialect::Asked asked = std::move(dialect_->asked());
    method_ = word_for_log(upper(printable(asked.mechanism, 32)));
    if (tried_us_ == 0) tried_us_ = house_.parts_.loop.now_us();
    const tls::Session* tls = stream_->tls();
    if (rules_->needs_certificate && !(tls && tls->chain_trusted())) {
        if (asked.initial) tls::wipe(*asked.initial);
        return refuse(Refusal::certificate);
    }
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
    call_ = house_.parts_.logins.begin(asked.mechanism, std::move(asked.initial), remote_, stream_->tls(), answer(), number_);
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
    call_ = house_.parts_.logins.step(std::exchange(exchange_, 0), std::move(response), answer());
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
    house_.heard(*this);
    call_ = 0;
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
    house_.is_no_stranger(*this);
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
    case Refusal::certificate:
        other_failure_ = stream_->tls() && stream_->tls()->peer_certificate() ? "client sent an invalid cert" : "client didn't send a cert";
        return;
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
        auto pair = socket_pair(SOCK_STREAM | SOCK_NONBLOCK);
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
    mail_pid_ = parse_number<uint32_t>(text).value_or(0);
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

} // namespace veredus::login

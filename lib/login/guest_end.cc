// How a client leaves a login stage, and the line in the log about it.
#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/login/guest.h"
#include "lib/login/guests.h"

namespace veredus::login {

namespace {
constexpr std::chrono::milliseconds farewell_time{30'000};   // for the last bytes of a connection that has ended on one side
}

// A client's own words are one word in the log, and end no bracket: nothing in them can look like another one's
// address.
std::string Guest::word_for_log(std::string word)
{
    for (char& c : word)
        if (is_space(c) || c == '<' || c == '>' || c == ',') c = '_';
    return word;
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
        if (end == net::End::tls_broken) log::info("TLS error: ", describe(cat("TLS: ", printable(why))));
        state_ = State::closing;
        patience_.start(farewell_time);
        return inner_->stream->close_after_flush();
    }
    const bool bye = dialect_ && dialect_->said_goodbye();
    std::string trouble;
    if (end == net::End::tls_failed) trouble = cat("TLS handshaking: ", printable(why));
    if (end == net::End::tls_broken) trouble = cat("TLS: ", printable(why));
    say_ended(bye ? "Aborted login" : "Disconnected", trouble);
    leave();
}

void Guest::say_ended(std::string_view how, const std::string& trouble)
{
    if (std::exchange(said_, true)) return;
    const int64_t now = house_.parts_.loop.now_us();
    std::string what;
    if (state_ == State::entering)
        what = cat("password right, no session in ", (now - tried_us_) / us_per_second, " secs");
    else if (disallowed_ || (dialect_ && dialect_->tried_in_clear()))
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
    if (mail_pid_ != 0) append(out, ", mpid=", mail_pid_);
    if (!trouble.empty())
        append(out, ", ", trouble);
    else if (stream_ && stream_->tls())
        append(out, ", TLS");
    else if (peer_.same_ip(local_))
        append(out, ", secured");
    append(out, ", session=<", session_, ">");
    return out;
}

void Guest::leave()
{
    state_ = State::closing;
    patience_.stop();
    drop_timestamp();
    if (exchange_) house_.parts_.logins.cancel(std::exchange(exchange_, 0));
    if (call_) house_.parts_.logins.withdraw(std::exchange(call_, 0));
    house_.forget(number_);
}

} // namespace veredus::login

// An SMTP session in the loop: from the greeting to the end, and what the engine asks before there is a mail.
#include "lib/reception/session.h"

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/mail/date.h"
#include "lib/reception/session_mail.h"

namespace veredus::reception {

namespace {

using smtp::Outcome;
using smtp::Pending;
using smtp::Reply;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t content_to_count = 1024;     // bytes of content that count as a sign of life
constexpr std::size_t held_limit = 32 * 1024;      // unanswered input of one session; then we stop reading
constexpr std::size_t unread_limit = 64 * 1024;    // answers that the peer does not take; then too
constexpr std::size_t foreseen_at_once = 300;
constexpr std::size_t checked_at_once = 4 * 1024;  // bytes of content between two looks at the clock
constexpr int64_t checking_us = 2000;              // of one session in a turn; then the others have theirs
constexpr unsigned most_growth = 10;               // of the delay after an error
constexpr std::size_t kept_output = 512;
constexpr seconds parting_time{20};                // for a peer to take our last words

// What came too early, for the log: no word of it may be a password, which stands behind AUTH (RFC 4954 §4).
std::string loggable(std::string_view after, std::string_view early)
{
    if (after == "AUTH") return cat(early.size(), " bytes that are not shown");
    const std::size_t auth = lower(early).find("auth");
    if (auth == std::string::npos) return printable(early, 100);
    return cat(printable(early.substr(0, std::min<std::size_t>(auth + 4, 100)), 100), " (the rest is not shown)");
}

// A name that a client gave itself: it may not look like the fields behind it.
std::string one_field(const std::string& name)
{
    std::string out = printable(name, 255);
    for (char& c : out)
        if (c == ',' || c == '=') c = '?';
    return out;
}

// What a greeting may wait for.
enum Awaited : unsigned { name_known = 1, counted_by_anvil = 2, was_silent = 4 };

}  // namespace

Session::Session(Sessions& house, uint64_t number, Fd fd, net::Address peer, bool tls_first)
    : house_(house), settings_(house.settings_for(peer)), number_(number), stream_(house.parts_.loop, std::move(fd), *this),
      engine_(*this, settings_->limits), begun_us_(house.parts_.clock.wall_us()), network_(&house.network_of(peer)), tls_first_(tls_first)
{
    client_.address = std::move(peer);
    client_.origin = house.parts_.policy.origin(client_.address);
    counted_ = house.parts_.policy.counted(client_.address);
}

const std::string Session::nobody;

std::string Session::draft_id() const { return mail_ ? mail_->draft.id() : std::string(); }

Session::~Session() = default;

// The greeting waits for the client's name, for the count of his connections and, if he is a stranger, for his silence: side by side.
void Session::start()
{
    came_us_ = house_.parts_.loop.now_us();
    awaits_ = name_known | counted_by_anvil | was_silent;
    stream_.pause_reading(true);
    paused_ = true;
    watch_silence();
    if (counted_ && house_.parts_.meters) {
        told_ = true;
        house_.parts_.meters->connect(meter_name(client_.address), [self = std::weak_ptr(house_.self_), number = number_](const std::optional<ipc::AnvilCounts>& counts) {
            const auto house = self.lock();
            if (Session* session = house ? (*house)->find(number) : nullptr) session->admitted(counts);
        });
    } else {
        admitted(std::nullopt);
    }
    if (stage_ != Stage::naming) return;
    if (!settings_->look_up_names) return named(PeerName());
    auto known = house_.parts_.names.find(client_.address, settings_->name_timeout,
                                          [self = std::weak_ptr(house_.self_), number = number_](PeerName name) {
                                              const auto house = self.lock();
                                              Session* session = house ? (*house)->find(number) : nullptr;
                                              if (session) session->named(std::move(name));
                                          });
    if (known) named(std::move(*known));
}

void Session::named(PeerName name)
{
    if (stage_ != Stage::naming || !(awaits_ & name_known)) return;
    if (!name.warning.empty()) log::warning(name.warning);
    client_.name = std::move(name.name);
    client_.reverse_name = std::move(name.reverse);
    client_.name_trouble = name.trouble;
    log::info("connect from ", client_.label());
    connected_said_ = true;
    ready(name_known);
}

// A client that does not wait for the greeting (RFC 5321 section 3.1) is in a hurry that mail servers are not in. Under TLS he has to speak first.
void Session::watch_silence()
{
    const bool wait = settings_->pregreet_wait.count() > 0 && counted_ && client_.origin == mail::Origin::stranger && !tls_first_ && !house_.passed_lately(client_.address);
    if (!wait) return ready(was_silent);
    paused_ = false;
    stream_.pause_reading(false);
    quiet_ = std::make_unique<Timer>(house_.parts_.loop, [this] {
        house_.pass(client_.address);
        ready(was_silent);
    });
    quiet_->start(settings_->pregreet_wait);
}

void Session::spoke_early(std::string_view bytes)
{
    const auto after_ms = (house_.parts_.loop.now_us() - came_us_) / 1000;
    const std::string fraction = cat(1000 + after_ms % 1000).substr(1, 2);
    log::info("PREGREET ", bytes.size(), " after ", after_ms / 1000, '.', fraction, " from [", client_.address.ip(), "]:", client_.address.port(), ": ", printable(bytes, 100));
    quiet_->stop();
    if (settings_->pregreet_drop) {
        connected_said_ = true;
        stage_ = Stage::talking;
        return refuse({521, "5.5.1", "Protocol error"});
    }
    early_ = bytes;
    if (!std::exchange(paused_, true)) stream_.pause_reading(true);
    ready(was_silent);
}

void Session::admitted(const std::optional<ipc::AnvilCounts>& counts)
{
    if (stage_ != Stage::naming || !(awaits_ & counted_by_anvil)) return;
    const auto over = [&](const char* what, unsigned count, unsigned limit) {
        if (limit == 0 || count <= limit) return false;
        log::warning(what, " limit exceeded: ", count, " from ", client_.label(), " for service ", house_.service());
        stage_ = Stage::talking;
        refuse({421, "4.7.0", cat(settings_->limits.hostname, " Error: too many connections from ", client_.address.ip())});
        return true;
    };
    if (counts && over("Connection concurrency", counts->connections, settings_->connections_per_client)) return;
    if (counts && over("Connection rate", counts->rate, settings_->rates.connections)) return;
    ready(counted_by_anvil);
}

void Session::ready(unsigned what)
{
    awaits_ &= ~what;
    if (awaits_ != 0 || stage_ != Stage::naming) return;
    stage_ = Stage::talking;
    if (std::exchange(paused_, false)) stream_.pause_reading(false);
    if (tls_first_) return secure();
    welcome();
    if (!early_.empty() && stage_ == Stage::talking) on_data(std::exchange(early_, {}));
}

void Session::welcome()
{
    if (house_.stopping_) return refuse({421, "4.3.2", cat(settings_->limits.hostname, " Service shutting down")});
    if (const auto refusal = house_.parts_.policy.greet(client_)) return refuse(*refusal);
    engine_.greet(out_);
    flush();
}

// ---- bytes in and out ----

void Session::on_data(std::string_view bytes)
{
    if (stage_ == Stage::naming && (awaits_ & was_silent)) return spoke_early(bytes);
    if (stage_ != Stage::talking) return;
    // Content that is checked goes in pieces: hundreds of patterns for each line of it must not stop the loop.
    const int64_t began_us = settings_->checks ? house_.parts_.clock.mono_us() : 0;
    auto wants = smtp::Server::Wants::input;
    in_engine_ = true;
    do {
        const std::string_view piece = mail_ && mail_->check && engine_.in_data() ? bytes.substr(0, checked_at_once) : bytes;
        wants = engine_.feed(piece, out_);
        // Half a line is no sign of life, nor is content that trickles: else a byte now and then would hold a session for ever.
        heard_ += piece.size();
        given_ += piece.size();
        bytes.remove_prefix(piece.size());
    } while (!bytes.empty() && !(wants == smtp::Server::Wants::input && over_time(began_us)));
    in_engine_ = false;
    rest_ = bytes;
    if (!out_.empty() || wants != smtp::Server::Wants::input || (engine_.in_data() && heard_ >= content_to_count)) {
        heard_ = 0;
        house_.touch(*this);
    }
    after(wants);
}

void Session::after(smtp::Server::Wants wants)
{
    waiting_ = wants == smtp::Server::Wants::answer;
    weigh();
    if (waiting_) {
        // Replies of the same group wait for this one: they leave in one write, unless it takes long.
        if (!out_.empty() && !std::exchange(holds_back_, true)) house_.holding_.push_back(number_);
        if (engine_.held() > 0 && !engine_.in_data()) foresee();
        if (engine_.held() > held_limit && !std::exchange(paused_, true)) stream_.pause_reading(true);
        return;
    }
    if (wants == smtp::Server::Wants::close) return close();
    if (wants == smtp::Server::Wants::starttls) return secure();
    if (house_.stopping_ && !busy()) return refuse({421, "4.3.2", cat(settings_->limits.hostname, " Service shutting down")});
    const bool erred = engine_.errors() > errors_seen_;
    errors_seen_ = engine_.errors();
    if (erred && errors_seen_ > settings_->limits.soft_errors && settings_->error_sleep.count() > 0) return slow_down();
    if (mail_ && mail_->draft.behind()) return wait_for_disk();
    if (!rest_.empty()) return brake(milliseconds(1));
    flush();
}

// What strangers have us keep is counted for all of them: each may have a little, and many may not fill the memory.
void Session::weigh()
{
    if (client_.origin != mail::Origin::stranger || !network_) return;
    const auto& recipients = engine_.envelope().recipients;
    if (recipients.size() < weighed_) recipients_weight_ = weighed_ = 0;
    for (; weighed_ < recipients.size(); ++weighed_) {
        const mail::Recipient& r = recipients[weighed_];
        recipients_weight_ += sizeof r + r.address.local.capacity() + r.address.domain.capacity() + r.orcpt.capacity();
    }
    const std::size_t now = recipients_weight_ + engine_.held() + (mail_ ? mail_->header_bytes : 0);
    house_.kept_ += now - weight_;
    network_->kept += now - weight_;
    house_.most_kept_lately_ = std::max(house_.most_kept_lately_, house_.kept_);
    weight_ = now;
}

// `weight`: of what he adds to.
bool Session::crowded(std::size_t weight) const
{
    if (client_.origin != mail::Origin::stranger || !network_ || !house_.too_heavy(*network_, weight)) return false;
    house_.tell_kept();
    return true;
}

bool Session::over_time(int64_t began_us) const
{
    return mail_ && mail_->check && engine_.in_data() && house_.parts_.clock.mono_us() - began_us >= checking_us;
}

// A pipelined RCPT waits for the one before it; the policy hears of all of them now, so that the wait is one wait.
void Session::foresee()
{
    std::vector<mail::Address> coming;
    std::string_view rest = engine_.held_bytes();
    const uint64_t begin = given_ - rest.size();
    foreseen_ = std::max(foreseen_, begin);
    rest.remove_prefix(static_cast<std::size_t>(foreseen_ - begin));
    while (coming.size() < foreseen_at_once) {
        const std::size_t end = rest.find('\n');
        const smtp::Line line = smtp::split_verb(rest.substr(0, end));
        if (end == std::string_view::npos || !iequals(line.verb, "RCPT")) break;
        if (auto path = smtp::parse_rcpt_to(line.rest, false)) coming.push_back(std::move(path->address));
        rest.remove_prefix(end + 1);
        foreseen_ += end + 1;
    }
    if (!coming.empty()) house_.parts_.policy.foresee(*this, coming);
}

// Postfix's smtpd_error_sleep_time, without a process that sleeps; longer with each further error.
void Session::slow_down()
{
    brake(settings_->error_sleep * std::min(errors_seen_ - settings_->limits.soft_errors, most_growth));
}

// He alone waits: nobody else, and not for longer than it takes.
void Session::wait_for_disk()
{
    behind_ = true;
    if (!std::exchange(paused_, true)) stream_.pause_reading(true);
    mail_->draft.when_caught_up([self = std::weak_ptr(house_.self_), number = number_] {
        const auto house = self.lock();
        Session* session = house ? (*house)->find(number) : nullptr;
        if (!session) return;
        session->behind_ = false;
        (*house)->touch(*session);
        session->go_on();
    });
}

// Neither hears nor says anything for that long.
void Session::brake(milliseconds time)
{
    if (!brake_) brake_ = std::make_unique<Timer>(house_.parts_.loop, [this] { go_on(); });
    if (!std::exchange(paused_, true)) stream_.pause_reading(true);
    brake_->start(time);
}

void Session::go_on()
{
    if (stage_ != Stage::talking) return;
    if (const auto resume = std::exchange(resume_, nullptr)) return resume();
    if (rest_.empty()) return flush();
    const std::string rest = std::exchange(rest_, {});
    on_data(rest);
}

void Session::flush()
{
    if (!out_.empty()) stream_.write(out_);
    if (out_.capacity() > kept_output) out_ = {};
    else out_.clear();
    const bool pause = stream_.pending() > unread_limit;
    if (pause != paused_) {
        paused_ = pause;
        stream_.pause_reading(pause);
    }
}

// The next reply is late: a client that has heard nothing for minutes gives up (RFC 5321 section 4.5.3.2).
void Session::say_so_far()
{
    holds_back_ = false;
    if (stage_ != Stage::talking || !waiting_ || out_.empty()) return;
    stream_.write(out_);
    out_.clear();
}

void Session::on_drained()
{
    if (paused_ && stage_ == Stage::talking && !waiting_ && !behind_ && !securing_ && !(brake_ && brake_->armed())) {
        paused_ = false;
        stream_.pause_reading(false);
    }
}

// A handshake costs much more than what makes us do one. Who resumes a session costs little and is not counted.
void Session::secure()
{
    flush();
    Meters* meters = house_.parts_.meters;
    if (!settings_->rates.new_tls || !counted_ || !meters || !meters->there()) return start_tls();
    securing_ = true;
    stream_.pause_reading(true);
    paused_ = true;
    meters->ask(Meters::Kind::new_tls, meter_name(client_.address), [self = std::weak_ptr(house_.self_), number = number_](const std::optional<ipc::AnvilCounts>& counts) {
        const auto house = self.lock();
        Session* session = house ? (*house)->find(number) : nullptr;
        if (!session || session->stage_ != Stage::talking) return;
        const unsigned limit = session->settings_->rates.new_tls;
        if (counts && counts->rate >= limit) {
            log::warning("New TLS session rate limit exceeded: ", counts->rate + 1, " from ", session->client_.label(), " for service ", session->house_.service());
            return session->end();
        }
        session->paused_ = false;
        session->stream_.pause_reading(false);
        session->start_tls();
    });
}

void Session::start_tls()
{
    securing_ = false;
    if (house_.parts_.tls) {
        auto started = stream_.start_tls_server(*house_.parts_.tls);
        securing_ = started.has_value();
        if (started) return;
        log::warning("TLS for ", client_.label(), ": ", started.error().text);
    }
    close();
}

void Session::on_secure()
{
    house_.touch(*this);
    securing_ = false;
    const tls::Session& tls = *stream_.tls();
    if (settings_->rates.new_tls && counted_ && house_.parts_.meters && !tls.resumed()) house_.parts_.meters->note(Meters::Kind::new_tls, meter_name(client_.address));
    if (settings_->tls_logged) {
        const std::string name = tls.server_name();
        log::info(tls.trust_word(), " TLS connection established from ", client_.label(), name.empty() ? "" : " to ", printable(name, 255), ": ", tls.summary(), tls.sends_files() ? " (kTLS)" : "");
    }
    client_.certificate = settings_->ask_certificate ? tls.peer(settings_->fingerprint_digest) : std::nullopt;
    if (const auto& shown = client_.certificate; shown && settings_->tls_logged)
        log::info(client_.label(), ": subject_CN=", one_field(shown->subject), ", issuer_CN=", one_field(shown->issuer), ", fingerprint=", shown->fingerprint,
                  ", pkey_fingerprint=", shown->key_fingerprint);
    const auto wants = engine_.tls_started();
    if (std::exchange(tls_first_, false)) return welcome();
    after(wants);
}

void Session::answer(uint32_t question, const Reply& reply)
{
    if (stage_ != Stage::talking || question != question_) return;
    if (in_engine_) {  // so soon that the engine has not heard "Pending" yet
        house_.parts_.loop.defer([again = resume(question), reply] { again(reply); });
        return;
    }
    if (!waiting_) return;
    pursuit_ = nullptr;
    if (mail_ && mail_->committing) mail_.reset();
    if (judged_stage_ && !reply.positive()) log_reject(judged_stage_, reply);
    judged_stage_ = nullptr;
    house_.touch(*this);
    if (const auto next = std::exchange(after_, nullptr)) {
        if (reply.positive()) {
            const Outcome outcome = next();
            if (const Reply* final = std::get_if<Reply>(&outcome)) give(*final);
            return;
        }
        mail_.reset();
    }
    give(reply);
}

void Session::give(const Reply& reply)
{
    in_engine_ = true;
    const auto wants = engine_.answer(reply, out_);
    in_engine_ = false;
    if (wants != smtp::Server::Wants::answer && std::exchange(paused_, false)) stream_.pause_reading(false);
    after(wants);
}

std::function<void(const Reply&)> Session::later() { return resume(++question_); }

std::function<void(const std::function<Outcome(Session&)>&)> Session::later_here()
{
    return [self = std::weak_ptr(house_.self_), number = number_, question = ++question_](const std::function<Outcome(Session&)>& find) {
        const auto house = self.lock();
        Session* session = house ? (*house)->find(number) : nullptr;
        if (!session || session->stage_ != Stage::talking || session->question_ != question) return;
        const Outcome outcome = find(*session);
        if (const Reply* reply = std::get_if<Reply>(&outcome)) session->answer(session->question_, *reply);
    };
}

std::function<void(const Reply&)> Session::resume(uint32_t question)
{
    return [self = std::weak_ptr(house_.self_), number = number_, question](const Reply& reply) {
        const auto house = self.lock();
        Session* session = house ? (*house)->find(number) : nullptr;
        if (session) session->answer(question, reply);
    };
}

// ---- endings ----

void Session::refuse(const Reply& reply)
{
    if (securing_) return end();
    engine_.refuse(reply, out_);
    close();
}

void Session::timed_out()
{
    if (stage_ == Stage::naming) return end();
    if (securing_) log::info("SSL_accept error from ", client_.label(), ": Connection timed out");
    const std::string bytes = engine_.in_data() ? cat(" (", engine_.data_bytes(), " bytes)") : std::string();
    log::info("timeout after ", engine_.last_verb(), bytes, " from ", client_.label());
    refuse({421, "4.4.2", cat(settings_->limits.hostname, " Error: timeout exceeded")});
}

void Session::close()
{
    if (stage_ >= Stage::closing) return;
    stage_ = Stage::closing;
    if (engine_.too_many_errors()) log::info("too many errors after ", engine_.last_verb(), " from ", client_.label());
    if (!engine_.surplus().empty())
        log::info("improper command pipelining after ", engine_.last_verb(), " from ", client_.label(), ": ", loggable(engine_.last_verb(), engine_.surplus()));
    mail_.reset();
    pursuit_ = nullptr;
    if (!out_.empty()) stream_.write(out_);
    out_ = {};
    stream_.set_timeout(parting_time);
    stream_.close_after_flush();
}

void Session::on_end(net::End how, const std::string& why)
{
    if (how == net::End::tls_failed) log::info("SSL_accept error from ", client_.label(), ": ", printable(why));
    if (stage_ == Stage::talking) {
        if (how == net::End::tls_broken) log::info("TLS error from ", client_.label(), ": ", printable(why));
        const std::string bytes = engine_.in_data() ? cat(" (", engine_.data_bytes(), " bytes)") : std::string();
        log::info("lost connection after ", engine_.last_verb(), bytes, " from ", client_.label());
    }
    end();
}

void Session::end()
{
    if (stage_ == Stage::ended) return;
    stage_ = Stage::ended;
    pursuit_ = nullptr;
    if (mail_ && !mail_->committing) mail_.reset();
    auth_cancelled();
    if (connected_said_) log::info("disconnect from ", client_.label(), ' ', engine_.tally());
    house_.remove(number_);
}

// ---- the delegate: what the engine asks ----

Outcome Session::judged(const char* stage, Outcome outcome)
{
    if (const Reply* reply = std::get_if<Reply>(&outcome)) {
        if (!reply->positive()) log_reject(stage, *reply);
    } else {
        judged_stage_ = stage;
    }
    return outcome;
}

void Session::log_event(std::string_view what, std::string_view stage, std::string_view text) const
{
    const mail::Address* to = judged_to_.empty() ? nullptr : &judged_to_;
    log::info(mail_ ? mail_->draft.id() : std::string("NOQUEUE"), ": ", event_line(what, stage, client_, text, judged_from_, to, talk()));
}

void Session::log_reject(const char* stage, const Reply& reply)
{
    const mail::Address* to = judged_to_.empty() ? nullptr : &judged_to_;
    log::info(mail_ ? mail_->draft.id() : std::string("NOQUEUE"), ": ", reject_line(stage, client_, reply, judged_from_, to, talk()));
}

namespace {

struct Limit {
    unsigned Rates::*row;
    const char *log, *reply;
};

Limit limit_of(Meters::Kind kind)
{
    if (kind == Meters::Kind::message) return {&Rates::messages, "Message delivery request rate", "too much mail"};
    if (kind == Meters::Kind::recipient) return {&Rates::recipients, "Recipient address rate", "too many recipients"};
    return {&Rates::auth, "AUTH command rate", "too many AUTH commands"};
}

}  // namespace

// Counts one more, where there is a limit; then goes on with `then`, or refuses. `stage`: of the reject line; null: there is none.
Outcome Session::metered(Meters::Kind kind, const char* stage, std::function<Outcome()> then)
{
    const Limit limit = limit_of(kind);
    const unsigned most = settings_->rates.*limit.row;
    Meters* meters = house_.parts_.meters;
    if (!most || !counted_ || !meters || !meters->there()) return then();
    meters->count(kind, meter_name(client_.address), [self = std::weak_ptr(house_.self_), number = number_, question = ++question_, limit, most, stage,
                                                      then = std::move(then)](const std::optional<ipc::AnvilCounts>& counts) {
        const auto house = self.lock();
        Session* session = house ? (*house)->find(number) : nullptr;
        if (!session || session->stage_ != Stage::talking || session->question_ != question) return;
        if (!counts || counts->rate <= most) {
            const Outcome outcome = then();
            if (const Reply* reply = std::get_if<Reply>(&outcome)) session->answer(session->question_, *reply);
            return;
        }
        log::warning(limit.log, " limit exceeded: ", counts->rate, " from ", session->client_.label(), " for service ", session->house_.service());
        session->judged_stage_ = stage;
        session->answer(question, {450, "4.7.1", cat("Error: ", limit.reply, " from ", session->client_.address.ip())});
    });
    return Pending{};
}

Outcome Session::sender(const mail::Envelope& envelope, uint64_t declared_size)
{
    judged_from_ = envelope.sender;
    judged_to_ = {};
    note_.reset();
    ++mails_begun_;
    declared_size_ = declared_size;
    const auto room = house_.parts_.intake.free_bytes();
    if (!room) return judged("MAIL", storage_reply(room.error()));
    if (*room < settings_->min_free || *room - settings_->min_free < declared_size)
        return judged("MAIL", Reply{452, "4.3.1", "Insufficient system storage"});
    return metered(Meters::Kind::message, "MAIL", [this] { return judged("MAIL", house_.parts_.policy.sender(*this, engine_.envelope())); });
}

Outcome Session::recipient(mail::Recipient rcpt, const mail::Envelope& envelope)
{
    judged_to_ = rcpt.address;
    (void)envelope;      // it is the engine's
    weigh();
    if (crowded(weight_)) return judged("RCPT", crowded_reply());
    return metered(Meters::Kind::recipient, "RCPT", [this, rcpt] { return judged("RCPT", house_.parts_.policy.recipient(*this, rcpt, engine_.envelope())); });
}

Outcome Session::helo(std::string_view, bool)
{
    judged_from_ = judged_to_ = {};
    return judged("HELO", house_.parts_.policy.helo(*this));
}

Outcome Session::etrn(std::string_view text)
{
    judged_from_ = judged_to_ = {};
    const Etrn* const etrn = house_.parts_.etrn;
    if (!etrn || !settings_->limits.etrn) return Delegate::etrn(text);
    const auto run = [etrn, node = std::string(text)](Session& s) {
        return etrn->run(node, s.client_.origin != mail::Origin::stranger || !s.user().empty(), [&s] { return s.later(); });
    };
    return judged("ETRN", house_.parts_.policy.etrn(*this, text, run));
}

Outcome Session::data(const mail::Envelope& envelope)
{
    judged_to_ = {};
    Outcome outcome = judged("DATA", house_.parts_.policy.data(*this, envelope));
    if (std::holds_alternative<Pending>(outcome)) {
        after_ = [this] { return open_draft(); };
        return outcome;
    }
    return std::get<Reply>(outcome).positive() ? open_draft() : outcome;
}

void Session::reset()
{
    mail_.reset();
    note_.reset();
    after_ = nullptr;
    declared_size_ = 0;
    recipients_weight_ = weighed_ = 0;
}

void Session::bare_newline(std::string_view where) { log::info("notice: bare <LF> received after ", where, " from ", client_.label()); }

std::string Session::footer(const Reply& reply)
{
    if (!settings_->footer) return {};
    const auto values = [this] {
        const auto here = net::Address::local_of(stream_.fd());
        const net::Address server = here ? *here : net::Address();
        return Footer::Values{{"client", client_.label()}, {"client_address", client_.address.ip()}, {"client_name", client_.name},
                              {"client_port", cat(client_.address.port())}, {"reverse_client_name", client_.reverse_name},
                              {"helo_name", std::string(engine_.helo_name())}, {"sender", judged_from_.text()}, {"recipient", judged_to_.text()},
                              {"server_name", settings_->limits.hostname}, {"server_address", server.is_ip() ? server.ip() : std::string()},
                              {"server_port", server.is_ip() ? cat(server.port()) : std::string()}, {"sasl_username", user()},
                              {"localtime", mail::date_asctime(house_.parts_.clock.wall_us())}, {"mail_name", "veredus"}};
    };
    return settings_->footer->of(reply, values, [](const std::string& why) { log::warning("smtpd_reject_footer_maps: ", why); });
}

void Session::refused(const Reply& reply) { log_reject("END-OF-MESSAGE", reply); }

}  // namespace veredus::reception

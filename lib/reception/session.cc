// An SMTP session in the loop: stream, engine, draft, intake.
#include "lib/reception/session.h"

#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/text.h"
#include "lib/log/log.h"

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
constexpr std::size_t kept_output = 512;
constexpr seconds parting_time{20};                // for a peer to take our last words
constexpr int64_t silence_counts_us = int64_t{24} * 3600 * us_per_second;     // who waited for one greeting need not wait for those of a day
constexpr std::size_t most_passed = 50'000;
constexpr std::size_t headers_at_once = 4;         // header_size_limit is about one field; all of them may have this much more

bool is_full(const Error& error) { return error.code == ENOSPC || error.code == EDQUOT; }

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

Reply storage_reply(const Error& error)
{
    if (is_full(error)) return {452, "4.3.1", "Insufficient system storage"};
    return {451, "4.3.0", "Error: queue file write error"};
}

}  // namespace

struct Session::Mail {
    Mail(queue::Draft d, std::size_t header_limit) : draft(std::move(d)), cutter(header_limit) {}
    queue::Draft draft;
    mail::HeaderCutter cutter;
    std::unique_ptr<queue::ContentCheck> check;      // null: nothing is checked
    std::string header;                              // once the cutter is done
    std::optional<Error> trouble;
    bool committing = false;

    bool body(std::string_view bytes)
    {
        if (bytes.empty()) return true;
        if (!check) return store(bytes);
        std::string checked;
        check->body(bytes, checked);
        return store(checked);
    }
    void begin_body()
    {
        header = cutter.take_header();
        if (check) check->begin_body(header);
    }
    void end_body()
    {
        std::string rest;
        if (check) check->finish_body(rest);
        store(rest);
    }
    bool store(std::string_view bytes)
    {
        auto result = draft.append(bytes);
        if (!result) trouble = result.error();
        return result.has_value();
    }
};

Session::Session(Sessions& house, uint64_t number, Fd fd, net::Address peer, bool tls_first)
    : house_(house), settings_(house.settings_for(house.parts_.policy.origin(peer))), number_(number), stream_(house.parts_.loop, std::move(fd), *this),
      engine_(*this, settings_->limits), tls_first_(tls_first)
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
    in_engine_ = true;
    const auto wants = engine_.feed(bytes, out_);
    in_engine_ = false;
    // Half a line is no sign of life, nor is content that trickles: else a byte now and then would hold a session for ever.
    heard_ += bytes.size();
    if (!out_.empty() || wants != smtp::Server::Wants::input || (engine_.in_data() && heard_ >= content_to_count)) {
        heard_ = 0;
        house_.touch(*this);
    }
    after(wants);
}

void Session::after(smtp::Server::Wants wants)
{
    waiting_ = wants == smtp::Server::Wants::answer;
    if (waiting_) {
        // Replies of the same group wait for this one: they leave in one write.
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
    flush();
}

// A pipelined RCPT waits for the one before it; the policy hears of all of them now, so that the wait is one wait.
void Session::foresee()
{
    std::vector<mail::Address> coming;
    for (std::string_view rest = engine_.held_bytes(); coming.size() < foreseen_at_once;) {
        const std::size_t end = rest.find('\n');
        const smtp::Line line = smtp::split_verb(rest.substr(0, end));
        if (end == std::string_view::npos || !iequals(line.verb, "RCPT")) break;
        if (auto path = smtp::parse_rcpt_to(line.rest, false)) coming.push_back(std::move(path->address));
        rest.remove_prefix(end + 1);
    }
    if (!coming.empty()) house_.parts_.policy.foresee(coming);
}

// Postfix's smtpd_error_sleep_time, without a process that sleeps.
void Session::slow_down()
{
    if (!brake_)
        brake_ = std::make_unique<Timer>(house_.parts_.loop, [this] {
            if (stage_ == Stage::talking) flush();
        });
    if (!std::exchange(paused_, true)) stream_.pause_reading(true);
    brake_->start(settings_->error_sleep);
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

void Session::on_drained()
{
    if (paused_ && stage_ == Stage::talking && !waiting_ && !securing_ && !(brake_ && brake_->armed())) {
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
        log::info(tls.trust_word(), " TLS connection established from ", client_.label(), name.empty() ? "" : " to ", printable(name, 255), ": ", tls.summary());
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

std::function<void(const std::function<Reply(Session&)>&)> Session::later_here()
{
    return [self = std::weak_ptr(house_.self_), number = number_, question = ++question_](const std::function<Reply(Session&)>& find) {
        const auto house = self.lock();
        Session* session = house ? (*house)->find(number) : nullptr;
        if (session && session->stage_ == Stage::talking && session->question_ == question) session->answer(question, find(*session));
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
        log::info("improper command pipelining after ", engine_.last_verb(), " from ", client_.label(), ": ", printable(engine_.surplus(), 100));
    mail_.reset();
    if (!out_.empty()) stream_.write(out_);
    out_ = {};
    stream_.set_timeout(parting_time);
    stream_.close_after_flush();
}

void Session::on_end(net::End how, const std::string& why)
{
    if (how == net::End::tls_failed) log::info("SSL_accept error from ", client_.label(), ": ", printable(why));
    if (stage_ == Stage::talking) {
        const std::string bytes = engine_.in_data() ? cat(" (", engine_.data_bytes(), " bytes)") : std::string();
        log::info("lost connection after ", engine_.last_verb(), bytes, " from ", client_.label());
    }
    end();
}

void Session::end()
{
    if (stage_ == Stage::ended) return;
    stage_ = Stage::ended;
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
    return metered(Meters::Kind::recipient, "RCPT", [this, rcpt] { return judged("RCPT", house_.parts_.policy.recipient(*this, rcpt, engine_.envelope())); });
}

Outcome Session::helo(std::string_view, bool)
{
    judged_from_ = judged_to_ = {};
    return judged("HELO", house_.parts_.policy.helo(*this));
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

Outcome Session::open_draft()
{
    auto draft = house_.parts_.intake.create();
    if (!draft) {
        log::error("no queue file: ", draft.error().text);
        return judged("DATA", storage_reply(draft.error()));
    }
    mail_ = std::make_unique<Mail>(std::move(*draft), std::min(settings_->header_size * headers_at_once, queue::max_intake_header));
    if (settings_->checks) {
        const mail::Envelope& envelope = engine_.envelope();
        queue::CheckedMail about{mail_->draft.id(), client_.label(), envelope.sender.text(), {}, std::string(engine_.protocol()), std::string(engine_.helo_name())};
        if (!envelope.recipients.empty()) about.recipient = envelope.recipients.back().address.text();
        mail_->check = std::make_unique<queue::ContentCheck>(settings_->checks, std::move(about));
    }
    const std::string who = user().empty() ? std::string() : cat(", sasl_method=", login_->method, ", sasl_username=", printable(login_->name, 255));
    log::info(mail_->draft.id(), ": client=", client_.label(), who);
    return Reply{354, "", ""};
}

bool Session::content(std::string_view bytes)
{
    Mail& m = *mail_;
    if (m.trouble) return false;
    if (m.cutter.done()) return m.body(bytes);
    bytes = m.cutter.feed(bytes);
    if (!m.cutter.done()) return true;
    m.begin_body();
    return m.body(m.cutter.take_body_start()) && m.body(bytes);
}

void Session::reset()
{
    mail_.reset();
    note_.reset();
    after_ = nullptr;
}

void Session::refused(const Reply& reply) { log_reject("END-OF-MESSAGE", reply); }

Outcome Session::end_of_data(const Content& facts, mail::Envelope&& envelope)
{
    judged_to_ = {};
    Outcome outcome = mail_->trouble ? Outcome(Reply{250, "", ""}) : judged("END-OF-MESSAGE", house_.parts_.policy.end_of_data(*this, envelope, facts.size));
    if (std::holds_alternative<Pending>(outcome)) {
        after_ = [this, facts, envelope = std::move(envelope)]() mutable { return queue_mail(facts, std::move(envelope)); };
        return outcome;
    }
    if (std::get<Reply>(outcome).positive()) return queue_mail(facts, std::move(envelope));
    mail_.reset();
    return outcome;
}

Outcome Session::queue_mail(const Content& facts, mail::Envelope&& envelope)
{
    Mail& m = *mail_;
    const std::string id = m.draft.id();
    const auto give_up = [&](const Reply& reply) {
        log_reject("END-OF-MESSAGE", reply);
        mail_.reset();
        return reply;
    };
    const bool in_header = !m.cutter.done();
    m.cutter.finish();
    if (in_header) {
        m.begin_body();
        m.body(m.cutter.take_body_start());
    }
    m.end_body();
    if (m.trouble) {
        log::error(id, ": ", m.trouble->text);
        return give_up(storage_reply(*m.trouble));
    }
    if (m.cutter.too_long()) return give_up({552, "5.3.4", "Error: message header too big"});
    mail::HeaderBlock header = mail::HeaderBlock::parse(m.header);
    const mail::Field* message_id = header.find("Message-ID");
    log::info(id, ": message-id=", message_id ? printable(message_id->unfolded(), 500) : std::string("<>"));

    Talk spoken = talk();
    if (settings_->tls_in_received && stream_.tls()) spoken.tls = stream_.tls()->summary();
    spoken.hide_client = !settings_->client_in_received && client_.origin == mail::Origin::authenticated;
    envelope.arrival_us = house_.parts_.clock.wall_us();
    envelope.origin = client_.origin;
    envelope.client_name = client_.name;
    envelope.client_address = client_.address.is_ip() ? client_.address.ip() : std::string("unknown");
    envelope.helo = printable(spoken.helo, 255);
    envelope.protocol = spoken.protocol;
    if (facts.eight_bit) envelope.body = mail::Body::eight_bit;
    m.draft.note(facts.leading_dot, facts.eight_bit);
    const mail::Address* only = envelope.recipients.size() == 1 ? &envelope.recipients[0].address : nullptr;
    queue::InspectSettings inspect_settings;
    inspect_settings.hopcount_limit = settings_->hops;
    inspect_settings.myhostname = settings_->limits.hostname;
    inspect_settings.myorigin = settings_->myorigin;
    auto chain = house_.parts_.policy.inspectors(*this, id);
    chain.insert(chain.begin(), queue::hop_count(inspect_settings));
    using Kind = queue::Decision::Kind;
    queue::Decision decision = queue::inspect(chain, header, envelope);
    if (decision.kind == Kind::reject) return give_up({decision.code, decision.enhanced, decision.text});
    if (decision.kind == Kind::discard) log::info(id, ": discard: END-OF-MESSAGE from ", client_.label(), ": ", printable(decision.text));
    header.prepend("Received", received_body(client_, spoken, settings_->limits.hostname, id, only, envelope.arrival_us));
    envelope.hold = envelope.hold || decision.kind == Kind::hold;
    // The checks see our Received too, as rules that hide what is in it expect, and log themselves what they do.
    if (m.check && decision.kind != Kind::discard) decision = m.check->finish(header, envelope);
    envelope.hold = envelope.hold || decision.kind == Kind::hold;
    if (m.draft.eight_bit() || header.has_8bit()) envelope.body = mail::Body::eight_bit;     // a rule may have put it in
    if (decision.kind == Kind::reject || decision.kind == Kind::discard) {
        mail_.reset();
        return decision.kind == Kind::reject ? Reply{decision.code, decision.enhanced, decision.text} : Reply{250, "2.0.0", cat("Ok: queued as ", id)};
    }

    m.committing = true;
    judged_stage_ = nullptr;
    auto reply = later();
    auto committed = [reply, id, queued = house_.parts_.queued](Result<queue::Receipt> receipt) {
        if (!receipt) {
            log::error(id, ": not queued: ", receipt.error().text);
            return reply(storage_reply(receipt.error()));
        }
        // Also when the peer has gone meanwhile: what is on disk is our duty.
        queued(receipt->id());
        reply({250, "2.0.0", cat("Ok: queued as ", receipt->id())});
    };
    queue::Intake& intake = house_.parts_.intake;
    Rewriter* const rewriter = house_.parts_.rewriter;
    if (!rewriter || !rewriter->wanted()) {
        intake.commit(std::move(m.draft), header, envelope, std::move(committed));
        return Pending{};
    }
    auto draft = std::make_shared<queue::Draft>(std::move(m.draft));     // shared: a std::function must be copyable
    rewriter->run({std::move(header), std::move(envelope)}, [&intake, draft, id, reply, committed](Result<Rewriter::Mail> mail) {
        if (mail) return intake.commit(std::move(*draft), mail->header, mail->envelope, committed);
        log::warning(id, ": not queued: its addresses cannot be looked up: ", mail.error().text);
        reply({451, "4.3.0", "Error: temporary lookup failure"});
    });
    return Pending{};
}

// ---- all of them ----

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
    auto stress = std::make_shared<Settings>(*settings_);
    stress->limits.hard_errors = std::min(stress->limits.hard_errors, stress->stress_hard_errors);
    stress->limits.soft_errors = std::min(stress->limits.soft_errors, stress->limits.hard_errors);
    stress->limits.junk_commands = std::min(stress->limits.junk_commands, stress->stress_junk_commands);
    stress_settings_ = std::move(stress);
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

unsigned& Sessions::count_of(const net::Address& peer) { return per_client_[client_network(peer)]; }

void Sessions::accept(Fd fd, net::Address peer, bool tls_first)
{
    const std::string& host = settings_->limits.hostname;
    const mail::Origin origin = parts_.policy.origin(peer);
    if (sessions_.size() >= room_for(origin) && !make_room(origin))
        return refuse_unheard(std::move(fd), peer, {421, "4.3.2", cat(host, " Error: too many connections")});
    const bool counted = settings_->connections_per_client > 0 && parts_.policy.counted(peer);
    unsigned& now = count_of(peer);
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
    const int64_t now = parts_.loop.now_us();
    const bool stress = stressed();
    const auto patience = [stress](const Session& s) {
        const bool stranger = s.client_.origin == mail::Origin::stranger;
        return std::chrono::microseconds(stress && stranger ? s.settings_->stress_timeout : s.settings_->timeout).count();
    };
    // A session that times out stays in the order until it is gone: leave it to its parting time.
    std::vector<Session*> late;
    for (Session* s : order_) {
        const int64_t silent = now - s->active_us_;
        if (silent < std::chrono::microseconds(stress ? s->settings_->stress_timeout : s->settings_->timeout).count()) break;
        if (silent >= patience(*s) && s->stage_ <= Session::Stage::talking) late.push_back(s);
    }
    for (Session* s : late) {
        if (s->waiting_) touch(*s);                // it is we who are slow
        else s->timed_out();
    }
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
    const auto count = per_client_.find(client_network(last->client_.address));
    if (count != per_client_.end() && --count->second == 0) per_client_.erase(count);
    if (last->told_) parts_.meters->disconnect(meter_name(last->client_.address));
    parts_.loop.defer([last] {});
    if (stopping_ && sessions_.empty() && stopped_) std::exchange(stopped_, nullptr)();
}

}  // namespace veredus::reception

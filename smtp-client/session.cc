#include "smtp-client/session.h"

#include <cerrno>

#include "lib/auth/client.h"
#include "lib/base/base64.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::smtp_client {

namespace {

using namespace std::chrono_literals;

// However slowly a peer drips its replies, one mail's dialogue ends (the content is not counted).
constexpr std::chrono::seconds max_dialogue = 3600s;

smtp::ClientOptions client_options(const Settings& settings, const Terms& terms)
{
    smtp::ClientOptions options;
    options.helo_name = settings.helo_name;
    options.lmtp = settings.lmtp;
    options.starttls = terms.level != TlsLevel::none;
    options.discard = terms.discard;
    if (!settings.reply_filter->empty())
        options.filter = [table = settings.reply_filter](std::string& line) {
            const auto other = table->find(line);
            if (!other) log::warning("filter of replies: ", other.error().text);
            else if (*other) line = **other;
            return other.has_value();
        };
    return options;
}

std::string connect_error(const Error& error)
{
    if (error.code == ETIMEDOUT) return "Connection timed out";
    if (error.code != 0) return fail_errno("", error.code).error.text.substr(2); // after ": "
    return error.text;
}

} // namespace

std::string said(const smtp::Reply& reply)
{
    std::string text = cat(reply.code, ' ');
    if (!reply.enhanced.empty()) append(text, reply.enhanced, ' ');
    for (const char c : reply.text) text += c == '\n' ? ' ' : c;
    while (text.ends_with(' ')) text.pop_back();
    return printable(text, 1000);
}

std::string host_said(const Endpoint& endpoint, const smtp::Reply& reply, std::string_view command)
{
    return cat("host ", endpoint.name(), " said: ", said(reply), " (in reply to ", command, " command)");
}

std::string dsn_of(const smtp::Reply& reply)
{
    if (!reply.enhanced.empty()) return reply.enhanced;
    return reply.permanent() ? "5.0.0" : reply.temporary() ? "4.0.0" : "2.0.0";
}

Session::Session(Loop& loop, std::shared_ptr<const Settings> settings, std::shared_ptr<tls::ClientContext> tls,
                 Endpoint endpoint, Terms terms, SessionUser& user, std::optional<Endpoint> rival)
    : loop_(loop), settings_(std::move(settings)), tls_(std::move(tls)), endpoint_(std::move(endpoint)), terms_(std::move(terms)),
      user_(&user), client_(client_options(*settings_, terms_)), started_us_(loop.now_us()),
      stage_timer_(std::make_unique<Timer>(loop, [this] { lost(true); })),
      total_timer_(std::make_unique<Timer>(loop, [this] { lost(true); }))
{
    if (endpoint_.is_unix()) {
        const auto heard = [this, life = std::weak_ptr<int>(alive_)](Result<Fd> fd) {
            if (!life.expired()) connected(std::move(fd));
        };
        // Never within the constructor: master's answer takes a turn of the loop, and so does our own.
        if (terms_.unix_socket) terms_.unix_socket(endpoint_.path(), heard);
        else loop_.defer([heard] { heard(fail("no access to Unix sockets")); });
        return;
    }
    race(std::move(rival));
}

void Session::race(std::optional<Endpoint> rival)
{
    const auto runner = [this](const Endpoint& e) { return Race::Runner{e.address, e.address.family() == AF_INET ? settings_->bind4 : settings_->bind6}; };
    const auto second = rival ? std::optional(runner(*rival)) : std::nullopt;
    race_ = std::make_unique<Race>(loop_, runner(endpoint_), second, Race::Times{settings_->connect, settings_->head_start}, [this, rival = std::move(rival)](Result<Fd> fd, Race::Who who) {
        if (const Error* error = race_->second_error()) {
            rival_error_ = *error;
            log::info("connect to ", rival->relay(), ": ", connect_error(*error));
        }
        if (who == Race::Who::second) {
            log::info("connect to ", endpoint_.relay(), ": no answer yet; ", rival->relay(), " was tried too and answered first");
            endpoint_ = *rival;
            rival_won_ = true;
        }
        connected(std::move(fd));
    });
}

Session::~Session()
{
    lose_follower();
}

void Session::connected(Result<Fd> fd)
{
    if (!user_) return;
    if (!fd)
        return broken(Broken::When::connecting,
                      {false, "4.4.1", cat("connect to ", endpoint_.relay(), ": ", connect_error(fd.error()))}, {}, fd.error().code == ETIMEDOUT);
    stream_ = std::make_unique<net::Stream>(loop_, std::move(*fd), *this);
    total_timer_->start(max_dialogue);
    arm();
    if (terms_.wrapper) start_tls();
}

Settings::Time Session::stage_time() const
{
    struct Row {
        std::string_view word;
        Settings::Time Settings::*time;
    };
    static constexpr Row rows[] = {
        {"greeting", &Settings::helo},
        {"EHLO", &Settings::helo},
        {"HELO", &Settings::helo},
        {"LHLO", &Settings::helo},
        {"STARTTLS", &Settings::starttls},
        {"TLS", &Settings::starttls},
        {"MAIL FROM", &Settings::mail},
        {"RCPT TO", &Settings::rcpt},
        {"DATA command", &Settings::data_init},
        {"body", &Settings::data_xfer},
        {"end of data", &Settings::data_done},
        {"RSET", &Settings::rset},
    };
    const std::string_view stage = client_.stage();
    if (in_handshake_) return settings_->starttls;
    for (const Row& row : rows)
        if (stage.find(row.word) != std::string_view::npos) return (*settings_).*row.time;
    return settings_->helo;
}

void Session::arm()
{
    stage_ = client_.stage();
    if (sender_) { // the content: some of it must move
        stage_timer_->stop();
        stream_->set_timeout(settings_->data_xfer);
        return;
    }
    stream_->set_timeout(0ms);
    stage_timer_->start(stage_time());
}

// The peer is gone or silent.
void Session::lost(bool timeout, const std::string& tls_error)
{
    if (in_handshake_)
        return handshake_failed(timeout ? "timed out" : "lost connection");
    std::string text = timeout ? cat("conversation with ", endpoint_.name(), " timed out while ", client_.stage())
                               : cat("lost connection with ", endpoint_.name(), " while ", client_.stage());
    if (!tls_error.empty()) append(text, " (TLS: ", printable(tls_error), ')');
    const auto when = after_dot_        ? Broken::When::after_dot
                      : in_transaction_ ? Broken::When::transaction
                                        : Broken::When::early;
    broken(when, {false, "4.4.2", text});
}

void Session::handshake_failed(const std::string& why)
{
    log::info("SSL_connect error to ", endpoint_.relay(), ": ", printable(why));
    broken(Broken::When::handshake,
           {false, "4.7.5", cat("Cannot start TLS: handshake failure with ", endpoint_.name(), ": ", printable(why))});
}

void Session::on_data(std::string_view bytes)
{
    if (!user_) { // idle or quitting: a peer that speaks now says good-bye
        if (gone_) std::exchange(gone_, nullptr)();
        return;
    }
    std::string out;
    const auto wants = client_.feed(bytes, out);
    const std::weak_ptr<int> life = alive_;
    handle(wants, std::move(out));
    if (life.expired() || !stream_ || !user_) return;
    // Each whole line is progress; bytes that never end a line are none.
    if (!sender_ && (client_.stage() != stage_ || bytes.find('\n') != std::string_view::npos) &&
        wants == smtp::Client::Wants::input)
        arm();
}

void Session::on_end(net::End end, const std::string& why)
{
    if (!user_) {
        if (gone_) std::exchange(gone_, nullptr)();
        return;
    }
    if (end == net::End::tls_failed) return handshake_failed(why);
    lost(end == net::End::timeout, end == net::End::tls_broken ? why : std::string());
}

void Session::on_drained()
{
    if (!sender_) return;
    if (content_all_queued_) return content_queued();
    send_content();
}

void Session::on_secure()
{
    if (!user_) return;
    in_handshake_ = false;
    log_tls();
    if (!certificate_will_do()) return;
    if (terms_.wrapper) { // the greeting comes now
        client_.tls_from_start();
        return arm();
    }
    std::string out;
    const auto wants = client_.tls_started(out);
    handle(wants, std::move(out));
}

// At the levels that demand a name or a fingerprint. False: the session has ended.
bool Session::certificate_will_do()
{
    const tls::Session* session = stream_->tls();
    if (terms_.tls.demand == tls::ClientPolicy::Demand::nothing || session->matched()) return true;
    log::info("certificate verification failed for ", endpoint_.relay(), ": ", printable(session->why_not(), 500));
    const bool untrusted = terms_.tls.demand == tls::ClientPolicy::Demand::name && !session->chain_trusted();
    broken(Broken::When::early, {false, "4.7.5", untrusted ? "Server certificate not trusted" : "Server certificate not verified"});
    return false;
}

void Session::log_tls() const
{
    const tls::Session* session = stream_->tls();
    if (!session || !settings_->tls_log) return;
    log::info(session->trust_word(), " TLS connection established to ", endpoint_.relay(), ": ", session->summary(), session->sends_files() ? " (kTLS)" : "");
}

void Session::handle(smtp::Client::Wants wants, std::string out)
{
    using Wants = smtp::Client::Wants;
    if (!out.empty()) stream_->write(out);
    switch (wants) {
    case Wants::input:
        if (client_.stage() != stage_) arm();
        return;
    case Wants::starttls: return start_tls();
    case Wants::ready: return be_ready();
    case Wants::content:
        if (sent_us_) envelope_us_ = loop_.now_us() - std::exchange(sent_us_, 0);
        sender_ = std::make_unique<ContentSender>(*content_, client_.chunked());
        content_all_queued_ = false;
        arm();
        return send_content();
    case Wants::finished:
        stage_timer_->stop();
        total_timer_->stop();
        stream_->set_timeout(0ms);
        sender_.reset();
        if (queued_us_) content_us_ = loop_.now_us() - std::exchange(queued_us_, 0);
        in_transaction_ = after_dot_ = false;
        return user_->on_finished();
    case Wants::close: return refused();
    }
}

void Session::start_tls()
{
    in_handshake_ = true;
    arm();
    const std::string cache_key = cat(endpoint_.address.text(), ' ', endpoint_.host, ' ', terms_.tls_key);
    const auto started = stream_->start_tls_client(*tls_, terms_.tls, cache_key);
    if (!started) handshake_failed(started.error().text);
}

void Session::be_ready()
{
    if (mandatory(terms_.level) && !client_.tls()) {
        const smtp::Reply& refusal = client_.failure();
        if (refusal.code)
            return broken(Broken::When::early, {false, "4.7.4",
                                                cat("TLS is required, but host ", endpoint_.name(),
                                                    " refused to start TLS: ", said(refusal))});
        return broken(Broken::When::early,
                      {false, "4.7.4", cat("TLS is required, but was not offered by host ", endpoint_.name())});
    }
    // A server without AUTH wants none, as Postfix has it.
    if (terms_.login && !client_.authenticated() && !client_.extensions().auth.empty()) return log_in();
    stage_timer_->stop();
    total_timer_->stop();
    ready_us_ = loop_.now_us();
    user_->on_ready();
}

const SaslRules& Session::sasl_rules() const
{
    if (!client_.tls()) return settings_->sasl.clear;
    return stream_->tls()->matched() ? settings_->sasl.verified : settings_->sasl.tls;
}

// Once before AUTH, and once more when the server said no.
void Session::log_in()
{
    if (std::exchange(login_tried_, true)) {
        const smtp::Reply& reply = client_.failure();
        std::string dsn = dsn_of(reply);
        dsn[0] = '4'; // a password that was changed is no reason to return mail (smtp_sasl_auth_soft_bounce)
        return broken(Broken::When::early, {false, dsn, cat("SASL authentication failed; server ", endpoint_.name(), " said: ", said(reply))}, endpoint_.host);
    }
    const auto refuse = [&](std::string_view why) {
        broken(Broken::When::early, {false, "4.7.0", cat("SASL authentication failed; cannot authenticate to server ", endpoint_.name(), ": ", why)});
    };
    const auto mechanism = choose_mechanism(client_.extensions().auth, sasl_rules(), settings_->sasl.filter);
    if (!mechanism) return refuse(client_.tls() ? "no mechanism available" : "no mechanism available on a connection without TLS");
    const std::shared_ptr<auth::ClientMechanism> exchange =
        auth::make_client_mechanism(*mechanism, terms_.login->user, terms_.login->password, base64_encode(random_bytes(18)));
    if (!exchange) return refuse(cat("the name or the password has characters that ", *mechanism, " cannot carry"));
    smtp::Sasl sasl{*mechanism, exchange->initial(), [exchange](std::string_view challenge) { return exchange->answer(challenge); },
                    [exchange] { return exchange->complete(); }};
    std::string out;
    const auto wants = client_.authenticate(std::move(sasl), out);
    handle(wants, std::move(out));
}

// The conversation ended before a mail: the greeting or the answer to EHLO was no welcome.
void Session::refused()
{
    const smtp::Reply& reply = client_.failure();
    Failure failure{reply.permanent(), dsn_of(reply),
                    cat("host ", endpoint_.name(), " refused to talk to me: ", said(reply))};
    if (client_.failed_command().empty() && failure.permanent && settings_->skip_5xx_greeting) {
        failure.permanent = false;
        failure.dsn[0] = '4';
    }
    broken(Broken::When::greeting, std::move(failure), endpoint_.host);
}

bool Session::joinable() const
{
    return last_ && in_transaction_ && user_ && !follower_ && stream_ && !abandoned_ && client_.extensions().pipelining && settings_->cache_connections &&
           (settings_->reuse_count == 0 || uses_ < settings_->reuse_count) && loop_.now_us() - started_us_ < settings_->reuse_time.count() * 1000 &&
           content_us_ > 0 && content_us_ <= 2 * envelope_us_ + settings_->prompt.count();
}

void Session::join(SessionFollower& follower)
{
    follower_ = &follower;
    std::string out;
    send_follower(out);
    if (!out.empty()) stream_->write(out);
}

void Session::send_follower(std::string& out)
{
    if (!follower_ || !client_.may_follow()) return;
    smtp::Transaction transaction;
    const Content* content = follower_->envelope(*this, transaction);
    if (!content || client_.why_unfit(transaction)) return;
    next_content_ = content;
    client_.follow(std::move(transaction), out);
}

void Session::leave()
{
    follower_ = nullptr;
    if (client_.followed()) abandoned_ = true;
}

void Session::lose_follower()
{
    if (SessionFollower* follower = std::exchange(follower_, nullptr)) follower->on_lead_lost();
}

// The mail whose envelope followed is now the one that is sent.
void Session::go_on(bool last)
{
    content_ = std::exchange(next_content_, nullptr);
    in_transaction_ = true;
    last_ = last;
    ++uses_;
    total_timer_->start(max_dialogue);
    std::string out;
    const auto wants = client_.go_on(out);
    arm();
    if (wants == smtp::Client::Wants::input) return handle(wants, std::move(out));
    // Told after this call, as always.
    loop_.defer([this, life = std::weak_ptr<int>(alive_), wants, out = std::move(out)]() mutable {
        if (!life.expired() && user_) handle(wants, std::move(out));
    });
}

void Session::send(smtp::Transaction transaction, const Content& content, bool last)
{
    content_ = &content;
    in_transaction_ = true;
    last_ = last;
    sent_us_ = loop_.now_us();
    ++uses_;
    total_timer_->start(max_dialogue);
    std::string out;
    const auto wants = client_.begin(std::move(transaction), out);
    if (wants != smtp::Client::Wants::finished) {
        if (!out.empty()) stream_->write(out);
        return arm();
    }
    // Decided without a word to the peer: told after this call, as always.
    loop_.defer([this, life = std::weak_ptr<int>(alive_), out = std::move(out)]() mutable {
        if (!life.expired() && user_) handle(smtp::Client::Wants::finished, std::move(out));
    });
}

void Session::send_content()
{
    switch (sender_->step(*stream_)) {
    case ContentSender::Step::more:
        if (stream_->pending() > 0) return; // on_drained goes on
        loop_.post([this, life = std::weak_ptr<int>(alive_)] {
            if (!life.expired() && sender_ && !content_all_queued_ && stream_) send_content();
        });
        return;
    case ContentSender::Step::queued:
        content_all_queued_ = true;
        if (stream_->pending() == 0) content_queued();
        return;
    case ContentSender::Step::failed: {
        log::error("queue file read error");
        std::string out;
        const auto wants = client_.content_failed(); // the peer gets no final dot, so it drops what it has
        return handle(wants, std::move(out));
    }
    }
}

void Session::content_queued()
{
    sender_.reset();
    std::string out;
    const auto wants = client_.content_sent(out);
    if (wants == smtp::Client::Wants::close) return; // the peer broke off meanwhile, and its results are told
    after_dot_ = true;
    queued_us_ = loop_.now_us();
    send_follower(out);
    handle(wants, std::move(out));
}

void Session::broken(Broken::When when, Failure failure, std::string remote_mta, bool no_answer)
{
    race_.reset();
    stream_.reset();
    stage_timer_->stop();
    total_timer_->stop();
    sender_.reset();
    lose_follower();
    if (user_) std::exchange(user_, nullptr)->on_broken({when, std::move(failure), std::move(remote_mta), no_answer});
}

void Session::idle(std::function<void()> gone)
{
    user_ = nullptr;
    content_ = nullptr;
    gone_ = std::move(gone);
}

void Session::adopt(SessionUser& user)
{
    gone_ = nullptr;
    user_ = &user;
}

void Session::detach()
{
    lose_follower();
    user_ = nullptr;
    gone_ = nullptr;
    content_ = nullptr;
    sender_.reset();
    stage_timer_->stop();
    total_timer_->stop();
    if (stream_) stream_->pause_reading(true);
}

void Session::quit(std::function<void()> gone)
{
    user_ = nullptr;
    content_ = nullptr;
    stage_timer_->stop();
    total_timer_->stop();
    gone_ = std::move(gone);
    if (!usable()) {
        loop_.defer([this, life = std::weak_ptr<int>(alive_)] {
            if (!life.expired() && gone_) std::exchange(gone_, nullptr)();
        });
        return;
    }
    std::string out;
    client_.quit(out);
    stream_->write(out);
    stream_->set_timeout(10s); // the answer is not waited for (smtp_skip_quit_response), only that ours leaves
    stream_->close_after_flush();
}

} // namespace veredus::smtp_client

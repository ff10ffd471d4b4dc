// From a message of a role to an answer, through mechanism, gate, cache and threads.
#include "master/authd/exchanges.h"

#include <algorithm>

#include "lib/base/base64.h"
#include "lib/base/panic.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/daemon/roles.h"
#include "lib/log/log.h"
#include "lib/tls/digest.h"

namespace veredus::authd {

using ipc::AuthFailure;
using Kind = auth::Mechanism::Step::Kind;

namespace {
constexpr std::size_t max_jobs = 10'000;
constexpr unsigned judge_threads = 48;              // they only wait; lib/auth/pam_child.cc takes 64 questions at once
constexpr unsigned judges_of_one = judge_threads / 4;    // one address cannot occupy them all with questions that hang
constexpr int64_t wrong_us = 60 * us_per_second;    // so long the same wrong password from the same address is known for one
const char* const too_long = "malformed exchange: a response longer than any mechanism has";

// In the log a name is one word: its spaces could end it, and what follows could look like another's address.
std::string one_word(std::string_view name)
{
    std::string out = printable(name, 200);
    for (char& c : out)
        if (is_space(c)) c = '_';
    return out;
}
}  // namespace

struct Exchanges::PasswordJob {
    PasswordJob() = default;
    PasswordJob(const PasswordJob&) = delete;
    ~PasswordJob() { tls::wipe(password); }
    std::shared_ptr<const Chain> chain;            // shared: the passdbs may be replaced meanwhile
    std::vector<std::string> names;
    std::string password, stamp;
    Chain::Looked looked;
};

Exchanges::Exchanges(Loop& loop, const Clock& clock, unsigned threads, Gate::Limits limits)
    : loop_(loop), clock_(clock), gate_(limits), cache_(random_bytes(32)), wrong_(random_bytes(32)), key_(random_bytes(32)), chain_(std::make_shared<Chain>(Chain::List{}, key_)),
      next_exchange_(random_u64() >> 16), timer_(loop, [this] { turn(); }), pool_(threads, [this](std::function<void()> done) { loop_.post(std::move(done)); }),
      judges_(judge_threads, [this](std::function<void()> done) { loop_.post(std::move(done)); }), turns_(pool_, 2 * threads, 2 * threads),
      judge_turns_(judges_, judge_threads, judges_of_one)
{
    wrong_.set_lifetime(wrong_us);
    set_rules({});
}

Exchanges::~Exchanges() { *alive_ = false; }

void Exchanges::take_rules(Rules rules)
{
    rules_ = std::move(rules);
    cache_.set_lifetime(rules_.cache_us);
    cache_.clear();
    wrong_.clear();
}

void Exchanges::take_passdbs(Chain::List list)
{
    chain_ = std::make_shared<Chain>(std::move(list), key_);
    cache_.clear();
    wrong_.clear();
}

void Exchanges::set_rules(Rules rules)
{
    take_rules(std::move(rules));
    tell_offers();
}

void Exchanges::set_passdbs(Chain::List list)
{
    take_passdbs(std::move(list));
    tell_offers();
}

void Exchanges::configure(Rules rules, Chain::List list)
{
    take_rules(std::move(rules));
    take_passdbs(std::move(list));
    tell_offers();
}

// Clients take the strongest mechanism and do not fall back: SCRAM is offered when nobody would be locked out by it.
std::vector<std::string> Exchanges::offered() const
{
    std::vector<std::string> list;
    // APOP is wanted by name only: a password in clear is its price.
    for (const std::string& name : rules_.mechanisms)
        if (name != "APOP" || chain_->all_plain()) list.push_back(name);
    if (!rules_.mechanisms.empty()) return list;
    for (const std::string& name : auth::mechanism_names()) {
        const bool sha1 = name.starts_with("SCRAM-SHA-1"), sha256 = name.starts_with("SCRAM-SHA-256");
        if ((sha1 && !chain_->all_scram(true)) || (sha256 && !chain_->all_scram(false))) continue;
        list.push_back(name);
    }
    return list;
}

void Exchanges::tell_offers()
{
    const auto offer = offered();
    // An administrator who named mechanisms did not ask for others.
    if (!std::exchange(said_nothing_left_, offer.empty()) && offer.empty())
        log::warning("auth_mechanisms: nothing is left to offer, nobody can log in: APOP needs every password of passdb in clear ({PLAIN})");
    for (auto& [number, peer] : peers_) {
        if (peer.offer == offer) continue;
        peer.offer = offer;
        (void)peer.channel->send(static_cast<uint16_t>(ipc::AuthType::offer), ipc::AuthOffer{offer}.encode());
    }
}

void Exchanges::add_peer(const std::string& role, uint32_t instance, Fd channel)
{
    const uint64_t number = next_peer_++;
    ipc::Channel::User user;
    user.message = [this, number](ipc::Message message) { on_message(number, std::move(message)); };
    user.closed = [this, number](const std::string&) { drop_peer(number, ""); };
    Peer& peer = peers_[number];
    peer.role = role;
    peer.instance = instance;
    peer.channel = std::make_unique<ipc::Channel>(loop_, std::move(channel), std::move(user));
    peer.offer = offered();
    (void)peer.channel->send(static_cast<uint16_t>(ipc::AuthType::offer), ipc::AuthOffer{peer.offer}.encode());
}

void Exchanges::drop_peer(uint64_t number, const std::string& why)
{
    const auto at = peers_.find(number);
    if (at == peers_.end()) return;
    if (!why.empty()) log::warning(at->second.role, ": ", why, ": the channel is closed");
    peers_.erase(at);
    std::vector<uint64_t> orphans;
    for (const auto& [id, exchange] : exchanges_)
        if (exchange.peer == number) orphans.push_back(id);
    for (const uint64_t id : orphans) abandon(id);
}

// Its client is gone. What is at the gate or on a thread for it comes back from there first: hanging up early saves a guesser nothing.
void Exchanges::abandon(uint64_t id)
{
    Exchange& exchange = exchanges_.at(id);
    if (exchange.request == 0) return end(id, Gate::Outcome::neither);
    if (const auto peer = peers_.find(exchange.peer); peer != peers_.end()) --count_of(peer->second, exchange);
    wait_no_more(exchange);
    exchange.peer = 0;
}

void Exchanges::wait_for_us(uint64_t id, Exchange& exchange, uint32_t request, uint64_t call)
{
    exchange.request = request;
    exchange.call = call;
    if (call) calls_[{exchange.peer, call}] = id;
}

uint32_t Exchanges::wait_no_more(Exchange& exchange)
{
    if (exchange.call) calls_.erase({exchange.peer, std::exchange(exchange.call, 0)});
    return std::exchange(exchange.request, 0);
}

// Its turn at the threads has come, and its client is gone: he is spared nothing that he could learn from.
bool Exchanges::unwanted(uint64_t id)
{
    const auto at = exchanges_.find(id);
    if (at != exchanges_.end() && at->second.peer != 0) return false;
    end(id, Gate::Outcome::neither);
    return true;
}

// Who hangs up takes no room in the channel that others log in by. What his address owes, a place at the gate or in the crowd, it owes on.
void Exchanges::withdraw(uint64_t number, uint64_t call)
{
    const ipc::AuthReply gone{ipc::AuthReply::Kind::failed, 0, "", "", "", AuthFailure::internal};
    if (const auto at = calls_.find({number, call}); at != calls_.end()) {
        const uint64_t id = at->second;
        send(number, exchanges_.at(id).request, gone);
        return abandon(id);
    }
    const auto late = late_calls_.find({number, call});
    if (late == late_calls_.end()) return;      // it has been answered meanwhile
    send(number, std::exchange(late->second->second.request, 0), gone);
    late_calls_.erase(late);
}

void Exchanges::on_message(uint64_t number, ipc::Message message)
{
    if (message.answer) return;
    switch (static_cast<ipc::AuthType>(message.type)) {
    case ipc::AuthType::begin:
        return begin(number, message);
    case ipc::AuthType::step:
        return step(number, message);
    case ipc::AuthType::cancel: {
        ipc::Reader r(message.body);
        const uint64_t id = r.u64();
        const auto at = exchanges_.find(id);
        if (r.done() && at != exchanges_.end() && at->second.peer == number) abandon(id);
        return;
    }
    case ipc::AuthType::withdraw: {
        ipc::Reader r(message.body);
        const uint64_t call = r.u64();
        if (r.done()) withdraw(number, call);
        return;
    }
    default:
        return drop_peer(number, cat("message ", message.type, " is not for authd"));
    }
}

void Exchanges::begin(uint64_t number, const ipc::Message& message)
{
    auto facts = ipc::AuthBegin::decode(message.body);
    if (!facts || message.request == 0) return drop_peer(number, facts ? "a begin that wants no answer" : facts.error().text);
    Peer& peer = peers_.at(number);
    const bool greeting = iequals(facts->mechanism, "APOP");
    const std::size_t most = greeting ? rules_.greetings_per_peer : rules_.per_peer;
    if ((greeting ? peer.greetings : peer.exchanges) >= most) {
        log::warning(peer.role, ": more than ", most, " exchanges at once");
        return send(number, message.request, {ipc::AuthReply::Kind::failed, 0, "", "", "", AuthFailure::internal});
    }
    std::string from = guesser_of(facts->client);
    if (!greeting && !join_crowd(from, facts->client)) {
        if (facts->initial) tls::wipe(*facts->initial);
        return send(number, message.request, {ipc::AuthReply::Kind::failed, 0, "", "", "", AuthFailure::throttled});
    }
    const uint64_t id = next_exchange_++;
    Exchange& exchange = exchanges_[id];
    exchange.greeting = greeting;
    exchange.crowded = !greeting;
    exchange.from = std::move(from);
    ++count_of(peer, exchange);
    exchange.peer = number;
    wait_for_us(id, exchange, message.request, facts->call);
    exchange.facts = std::move(*facts);
    exchange.name = upper(exchange.facts.mechanism);
    const auto allowed = offered();
    if (std::find_if(allowed.begin(), allowed.end(), [&](const std::string& name) { return iequals(name, exchange.name); }) != allowed.end())
        exchange.mechanism = auth::make_mechanism(exchange.name, {exchange.facts.tls_exporter, exchange.facts.tls_unique, exchange.facts.plus_offered},
                                                  base64_encode(random_bytes(18)));
    if (!exchange.mechanism) return refuse(id, AuthFailure::no_mechanism, "passdb", "mechanism is not offered");
    std::optional<std::string> initial = std::move(exchange.facts.initial);
    if (initial && initial->size() > ipc::max_sasl) {
        tls::wipe(*initial);
        return refuse(id, AuthFailure::malformed, "passdb", too_long);
    }
    auto first = exchange.mechanism->start(initial ? std::optional<std::string_view>(*initial) : std::nullopt);
    if (initial) tls::wipe(*initial);
    take(id, std::move(first));
}

void Exchanges::step(uint64_t number, const ipc::Message& message)
{
    auto said = ipc::AuthStep::decode(message.body);
    if (!said || message.request == 0) return drop_peer(number, said ? "a step that wants no answer" : said.error().text);
    const auto at = exchanges_.find(said->exchange);
    // Unknown: the client was too slow. Another role's, or one that waits for us: nothing that a role of ours does.
    if (at == exchanges_.end()) return send(number, message.request, {ipc::AuthReply::Kind::failed, 0, "", "", "", AuthFailure::malformed});
    if (at->second.peer != number || at->second.request != 0) return drop_peer(number, "a step out of turn");
    wait_for_us(said->exchange, at->second, message.request, said->call);
    stop_waiting(said->exchange, at->second);
    if (!at->second.crowded && !join_crowd(at->second.from, at->second.facts.client)) {
        tls::wipe(said->response);
        return refuse(said->exchange, AuthFailure::throttled, "passdb", "too many logins under way from there");
    }
    at->second.crowded = true;
    if (said->response.size() > ipc::max_sasl) {
        tls::wipe(said->response);
        return refuse(said->exchange, AuthFailure::malformed, "passdb", too_long);
    }
    auto next = at->second.mechanism->feed(said->response);
    tls::wipe(said->response);
    take(said->exchange, std::move(next));
}

// One more of this address, unless it has too many under way already. An APOP greeting begins to count with its answer.
bool Exchanges::join_crowd(const std::string& from, const std::string& client)
{
    Crowd& crowd = crowds_[from];
    if (crowd.size < rules_.per_address) return ++crowd.size, true;
    if (!std::exchange(crowd.told, true))
        log::warning(one_word(client), ": ", rules_.per_address, " logins under way at once: its others are told to come back later");
    return false;
}

void Exchanges::leave_crowd(const std::string& from)
{
    const auto at = crowds_.find(from);
    if (at != crowds_.end() && --at->second.size == 0) crowds_.erase(at);
}

void Exchanges::take(uint64_t id, auth::Mechanism::Step step)
{
    Exchange& exchange = exchanges_.at(id);
    if (!step.user.empty()) exchange.login = step.user;
    switch (step.kind) {
    case Kind::challenge:
        return challenge(id, std::move(step.data));
    case Kind::check_password:
        return ask_password(id, std::move(step.password));
    case Kind::check_digest:
        return ask_digest(id, std::move(step.data), std::move(step.password));
    case Kind::want_secret:
        return ask_secret(id);
    case Kind::proven: {
        Verdict verdict = std::move(exchange.secret.verdict);
        return decide(id, std::move(verdict));
    }
    case Kind::mismatch: {
        const Verdict& known = exchange.secret.verdict;
        const bool unknown = known.why == AuthFailure::unknown_user;
        const bool has_own_words = !exchange.secret.real && !known.text.empty();
        return refuse(id, unknown ? AuthFailure::unknown_user : AuthFailure::password_mismatch, known.source, has_own_words ? known.text : "Password mismatch");
    }
    case Kind::malformed:
        return refuse(id, AuthFailure::malformed, "passdb", "malformed exchange");
    }
}

void Exchanges::challenge(uint64_t id, std::string data)
{
    Exchange& exchange = exchanges_.at(id);
    // What a greeting begins lasts as long as its client may take to log in.
    const auto patience = exchange.greeting ? rules_.greeting_patience : rules_.patience;
    exchange.until_us = clock_.mono_us() + patience.count() * 1000;
    deadlines_.emplace(exchange.until_us, id);
    ipc::AuthReply reply;
    reply.kind = ipc::AuthReply::Kind::challenge;
    reply.exchange = id;
    reply.data = std::move(data);
    const uint32_t request = wait_no_more(exchange);
    send(exchange.peer, request, reply);
    arm();
}

void Exchanges::enter_gate(uint64_t id, std::function<void()> then)
{
    Exchange& exchange = exchanges_.at(id);
    const auto names = auth::names_of(rules_.username_format, exchange.login, rules_.is_local);
    if (!names) return refuse(id, AuthFailure::internal, "passdb", names.error().text);
    exchange.user_key = names->empty() ? "" : names->back();     // all spellings of a user are one to a guesser
    gate_.enter(guesser_of(exchange.facts.client), exchange.user_key, clock_.mono_us(), [this, id, then = std::move(then)](bool may) {
        const auto at = exchanges_.find(id);
        if (at == exchanges_.end()) panic("authd: an exchange ended while it stood at the gate");
        if (!may) return refuse(id, AuthFailure::throttled, "passdb", "too many failures from there: not looked at");
        at->second.admitted = true;
        if (at->second.peer == 0) return end(id, Gate::Outcome::neither);
        then();
    });
    arm();
}

void Exchanges::ask_password(uint64_t id, std::string password)
{
    exchanges_.at(id).attempt = cache_.mark(exchanges_.at(id).login, password);
    // The copy that waits at the gate is wiped by its owner.
    auto held = std::shared_ptr<std::string>(new std::string(std::move(password)), [](std::string* p) {
        tls::wipe(*p);
        delete p;
    });
    enter_gate(id, [this, id, held] { check_password(id, *held); });
}

bool Exchanges::is_full(const Turns& turns, uint64_t id)
{
    if (turns.waiting() < max_jobs) return false;
    refuse(id, AuthFailure::internal, "passdb", "too many passwords to check");
    return true;
}

void Exchanges::take_turn(Turns& turns, uint64_t id, std::function<void()> work, std::function<void()> done)
{
    const auto standing = [this, id] {
        const auto at = exchanges_.find(id);
        return at == exchanges_.end() ? Standing::failing : gate_.standing(at->second.from, at->second.user_key, clock_.mono_us());
    };
    turns.run(exchanges_.at(id).from, standing, std::move(work), std::move(done), [this, id] { return unwanted(id); });
}

void Exchanges::check_password(uint64_t id, std::string password)
{
    Exchange& exchange = exchanges_.at(id);
    const std::string stamp = chain_->stamp();
    auto known = cache_.find(exchange.attempt, stamp, clock_.mono_us());
    // What was wrong is wrong again: nobody keeps the threads busy by saying it over and over.
    if (!known) known = wrong_.find(exchange.from + exchange.attempt, stamp, clock_.mono_us());
    if (known) {
        tls::wipe(password);
        return decide(id, std::move(*known));
    }
    if (is_full(turns_, id)) return tls::wipe(password);
    auto job = std::make_shared<PasswordJob>();
    job->chain = chain_;
    job->names = auth::names_of(rules_.username_format, exchange.login, rules_.is_local).value_or(std::vector<std::string>());
    job->password = std::move(password);
    take_turn(
        turns_, id,
        [job] {
            // The stamp before the look: a change in between makes what is found worthless, not lasting.
            job->stamp = job->chain->stamp();
            job->looked = job->chain->look(job->names, job->password);
        },
        [this, id, job, alive = alive_] {
            if (!*alive || !exchanges_.contains(id)) return;
            if (job->looked.ask == Chain::Looked::Ask::nobody) return password_checked(id, *job);
            ask_judge(id, job);
        });
}

// PAM may take its time, 20 s and more: that is time of threads that do nothing else.
void Exchanges::ask_judge(uint64_t id, std::shared_ptr<PasswordJob> job)
{
    if (is_full(judge_turns_, id)) return;
    take_turn(
        judge_turns_, id, [job] { job->looked.verdict = job->chain->judge(std::move(job->looked), job->password); },
        [this, id, job, alive = alive_] {
            if (*alive && exchanges_.contains(id)) password_checked(id, *job);
        });
}

void Exchanges::password_checked(uint64_t id, PasswordJob& job)
{
    const Exchange& exchange = exchanges_.at(id);
    Verdict verdict = std::move(job.looked.verdict);
    const AuthFailure why = verdict.why;
    const bool wrong = why == AuthFailure::unknown_user || why == AuthFailure::password_mismatch;
    if (why == AuthFailure::none && job.chain == chain_) cache_.add(exchange.attempt, job.stamp, verdict, clock_.mono_us());
    if (wrong && job.chain == chain_) wrong_.add(exchange.from + exchange.attempt, job.stamp, verdict, clock_.mono_us());
    decide(id, std::move(verdict));
}

void Exchanges::ask_digest(uint64_t id, std::string timestamp, std::string digest)
{
    enter_gate(id, [this, id, timestamp = std::move(timestamp), digest = std::move(digest)] { check_digest(id, timestamp, digest); });
}

void Exchanges::check_digest(uint64_t id, const std::string& timestamp, const std::string& digest)
{
    if (is_full(turns_, id)) return;
    struct Job {
        std::shared_ptr<const Chain> chain;
        std::vector<std::string> names;
        std::string timestamp, digest;
        Verdict verdict;
    };
    auto job = std::make_shared<Job>();
    job->chain = chain_;
    job->names = auth::names_of(rules_.username_format, exchanges_.at(id).login, rules_.is_local).value_or(std::vector<std::string>());
    job->timestamp = timestamp;
    job->digest = digest;
    take_turn(turns_, id, [job] { job->verdict = job->chain->check_digest(job->names, job->timestamp, job->digest); },
              [this, id, job, alive = alive_] {
                  if (*alive && exchanges_.contains(id)) decide(id, std::move(job->verdict));
              });
}

void Exchanges::ask_secret(uint64_t id)
{
    enter_gate(id, [this, id] { look_up_secret(id); });
}

void Exchanges::look_up_secret(uint64_t id)
{
    if (is_full(turns_, id)) return;
    struct Job {
        std::shared_ptr<const Chain> chain;
        std::vector<std::string> names;
        tls::Digest hash;
        Secret secret;
    };
    auto job = std::make_shared<Job>();
    Exchange& exchange = exchanges_.at(id);
    job->chain = chain_;
    job->names = auth::names_of(rules_.username_format, exchange.login, rules_.is_local).value_or(std::vector<std::string>());
    job->hash = exchange.mechanism->hash();
    take_turn(turns_, id, [job] { job->secret = job->chain->scram(job->names, job->hash); },
              [this, id, job, alive = alive_] {
                  if (!*alive) return;
                  const auto at = exchanges_.find(id);
                  if (at == exchanges_.end()) return;
                  if (at->second.peer == 0) return end(id, Gate::Outcome::neither);
                  at->second.secret = std::move(job->secret);
                  const Secret& secret = at->second.secret;
                  if (secret.verdict.why == AuthFailure::internal) return refuse(id, AuthFailure::internal, secret.verdict.source, secret.verdict.text);
                  take(id, at->second.mechanism->secret(secret.secret, secret.real));
              });
}

// The password was right, or was not, or could not be looked at.
void Exchanges::decide(uint64_t id, Verdict verdict)
{
    Exchange& exchange = exchanges_.at(id);
    if (verdict.why != AuthFailure::none) return refuse(id, verdict.why, verdict.source, verdict.text);
    const auto client = net::Address::parse_ip(exchange.facts.client, 0);
    const auto& allowed = verdict.found.allowed;
    const bool from_there = allowed.empty() || (client && std::any_of(allowed.begin(), allowed.end(), [&](const net::Network& net) { return net.contains(*client); }));
    if (!from_there) return refuse(id, AuthFailure::locked, verdict.source, "allow_nets does not allow this address");
    succeed(id, std::move(verdict.found));
}

void Exchanges::succeed(uint64_t id, auth::Found found)
{
    const Exchange& exchange = exchanges_.at(id);
    ipc::AuthReply reply;
    reply.kind = ipc::AuthReply::Kind::ok;
    reply.user = std::move(found.user);
    reply.login = one_word(exchange.login);
    if (exchange.facts.connection != 0) admit(exchange, std::move(reply));
    else send(exchange.peer, exchange.request, reply);
    end(id, Gate::Outcome::success);
}

// The ticket is for the peer that asks, whoever it says it is: no role can have one made out to another.
void Exchanges::admit(const Exchange& exchange, ipc::AuthReply reply)
{
    const auto at = peers_.find(exchange.peer);
    if (at == peers_.end()) return;
    const auto refuse = [this, number = exchange.peer, request = exchange.request, login = reply.login](const std::string& why) {
        log::warning("no ticket for ", printable(login, 200), ": ", why);
        send(number, request, {ipc::AuthReply::Kind::failed, 0, "", "", login, AuthFailure::internal, ""});
    };
    if (!give_ticket_ || daemon::session_zygote(at->second.role).empty()) return refuse(cat(at->second.role, " is no login stage"));
    if (reply.user.size() > ipc::max_mailbox_user) return refuse("the name is too long");
    const ipc::Ticket ticket{random_bytes(ipc::ticket_size), at->second.role, at->second.instance, exchange.facts.connection, reply.user};
    reply.ticket = ticket.id;
    give_ticket_(ticket, [this, alive = alive_, number = exchange.peer, request = exchange.request, reply = std::move(reply), refuse](const Result<void>& given) {
        if (!*alive) return;
        if (!given) return refuse(given.error().text);
        send(number, request, reply);
    });
}

void Exchanges::refuse(uint64_t id, AuthFailure why, const std::string& source, const std::string& text)
{
    const Exchange& exchange = exchanges_.at(id);
    log_failure(exchange, source, text);
    ipc::AuthReply reply;
    reply.kind = ipc::AuthReply::Kind::failed;
    reply.login = one_word(exchange.login);
    reply.why = why;
    const bool guess = why == AuthFailure::unknown_user || why == AuthFailure::password_mismatch;
    // What says nothing about a password may be said at once.
    if (guess && rules_.failure_delay.count() > 0 && exchange.request != 0) {
        ++crowds_[exchange.from].size;
        const auto late = later_.emplace(clock_.mono_us() + rules_.failure_delay.count() * 1000, Later{exchange.peer, exchange.request, exchange.call, std::move(reply), exchange.from});
        if (exchange.call) late_calls_[{exchange.peer, exchange.call}] = late;
    } else {
        send(exchange.peer, exchange.request, reply);
    }
    end(id, guess ? Gate::Outcome::failure : Gate::Outcome::neither);
    arm();
}

// Dovecot's shape, for those who read logs for guessers: "passwd-file(alice,192.0.2.7,submission/PLAIN): Password mismatch"
void Exchanges::log_failure(const Exchange& exchange, const std::string& source, const std::string& text)
{
    const std::string line = cat(source, '(', one_word(exchange.login), ',', one_word(exchange.facts.client), ',', one_word(exchange.facts.service), '/',
                                 one_word(exchange.name), "): ", printable(text));
    log::write(log::Level::info, line);
}

void Exchanges::send(uint64_t number, uint32_t request, const ipc::AuthReply& reply)
{
    const auto at = peers_.find(number);
    if (at == peers_.end() || request == 0) return;
    (void)at->second.channel->reply(request, static_cast<uint16_t>(reply.kind == ipc::AuthReply::Kind::challenge ? ipc::AuthType::step : ipc::AuthType::begin), reply.encode());
}

void Exchanges::end(uint64_t id, Gate::Outcome outcome)
{
    const auto at = exchanges_.find(id);
    if (at == exchanges_.end()) return;
    stop_waiting(id, at->second);
    wait_no_more(at->second);
    Exchange exchange = std::move(at->second);
    exchanges_.erase(at);
    if (const auto peer = peers_.find(exchange.peer); peer != peers_.end()) --count_of(peer->second, exchange);
    if (exchange.crowded) leave_crowd(exchange.from);
    if (exchange.admitted) gate_.done(guesser_of(exchange.facts.client), exchange.user_key, clock_.mono_us(), outcome, exchange.attempt);
    arm();
}

void Exchanges::stop_waiting(uint64_t id, Exchange& exchange)
{
    if (exchange.until_us != 0) deadlines_.erase({std::exchange(exchange.until_us, 0), id});
}

void Exchanges::arm()
{
    int64_t next = gate_.next_us();
    if (!later_.empty()) next = std::min(next, later_.begin()->first);
    if (!deadlines_.empty()) next = std::min(next, deadlines_.begin()->first);
    if (next == INT64_MAX) return timer_.stop();
    timer_.start(std::chrono::milliseconds(std::max<int64_t>(0, (next - clock_.mono_us() + 999) / 1000)));
}

void Exchanges::turn()
{
    const int64_t now = clock_.mono_us();
    while (!later_.empty() && later_.begin()->first <= now) {
        const Later late = std::move(later_.begin()->second);
        later_.erase(later_.begin());
        if (late.call) late_calls_.erase({late.peer, late.call});
        send(late.peer, late.request, late.reply);
        leave_crowd(late.from);
    }
    while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
        const uint64_t id = deadlines_.begin()->second;
        deadlines_.erase(deadlines_.begin());
        end(id, Gate::Outcome::neither);
    }
    gate_.turn(now);
    arm();
}

}  // namespace veredus::authd

// Where an attempt goes: from hop to hop, from server to server, and over which connection.
#include "smtp-client/delivery.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/conf/expand.h"
#include "lib/log/log.h"

namespace veredus::smtp_client {

namespace {
constexpr std::chrono::milliseconds lead_patience{2000}; // then a connection of its own
}

Delivery::Delivery(World& world, ipc::Attempt attempt, Fd file, Report report, Done done)
    : world_(world), settings_(attempt.transport == "lmtp" && world.lmtp ? world.lmtp : world.settings), attempt_(std::move(attempt)), file_(std::move(file)),
      report_(std::move(report)), done_(std::move(done)), received_us_(world.clock.wall_us()),
      received_mono_us_(world.clock.mono_us())
{}

Delivery::~Delivery()
{
    leave_lead();
    bury_session();
}

void Delivery::start()
{
    auto content = Content::open(std::move(file_), attempt_.layout, attempt_.delivered_to, attempt_.body == mail::Body::binary);
    if (!content) {
        log::error(printable(attempt_.queue_id), ": ", content.error().text);
        rcpts_.resize(attempt_.targets.size());
        return fail_all(ipc::Outcome::deferred, {false, "4.3.0", content.error().text}, false, "none", "");
    }
    content_ = std::move(*content);
    if (attempt_.transport != "smtp" && attempt_.transport != "relay" && attempt_.transport != "lmtp") {
        const std::string text = cat("mail transport unavailable: \"", printable(attempt_.transport, 60), "\" is no transport of smtp-client");
        log::error(printable(attempt_.queue_id), ": ", text);
        rcpts_.resize(attempt_.targets.size());
        return fail_all(ipc::Outcome::deferred, {false, "4.3.5", text}, false, "none", "");
    }
    if (const std::string& trouble = settings_->reply_filter->trouble(); !trouble.empty()) {
        rcpts_.resize(attempt_.targets.size());
        return fail_all(ipc::Outcome::deferred, {false, "4.3.0", "the table that filters replies cannot be read now"}, false, "none", "");
    }
    if (!read_recipients() || !rework_header()) return settle();
    auto hop = settings_->lmtp ? parse_lmtp_nexthop(attempt_.nexthop, settings_->port) : parse_nexthop(attempt_.nexthop, settings_->port);
    if (!hop) return fail_all(ipc::Outcome::deferred, {false, "4.3.5", hop.error().text}, false, "none", "");
    hops_.push_back(std::move(*hop));
    hops_.insert(hops_.end(), settings_->fallback.begin(), settings_->fallback.end());
    next_hop();
}

void Delivery::next_hop()
{
    if (hop_ == hops_.size()) return give_up();
    const NextHop& hop = hops_[hop_++];
    endpoints_.clear();
    endpoint_ = 0;
    if (!settle_terms(hop)) return next_hop();
    if (auto session = world_.pool.take(hop.key(), terms_)) return reuse(std::move(session), Reuse::by_hop);
    if (Session* lead = world_.pool.joinable(hop.key(), terms_)) return wait_behind(*lead);
    find();
}

// The next turn of a connection that is busy now, if that comes soon.
void Delivery::wait_behind(Session& lead)
{
    lead_ = &lead;
    lead_patience_ = std::make_unique<Timer>(world_.loop, [this] {
        leave_lead();
        on_lead_lost();
    });
    lead_patience_->start(lead_patience);
    lead.join(*this);
}

void Delivery::leave_lead()
{
    if (lead_) std::exchange(lead_, nullptr)->leave();
    if (lead_patience_) lead_patience_->stop();
}

void Delivery::on_turn(std::unique_ptr<Session> session)
{
    lead_ = nullptr;
    lead_patience_->stop();
    session_ = std::move(session);
    session_->adopt(*this);
    reuse_ = Reuse::by_hop;
    ++sessions_;
    ready_mono_us_ = world_.clock.mono_us();
    if (!session_->followed()) {
        for (Rcpt& r : rcpts_) r.tried = false;
        return begin_group();
    }
    const bool last = leads();
    if (last) world_.pool.lead(hops_[hop_ - 1].key(), terms_, *session_);
    session_->go_on(last);
}

void Delivery::on_lead_lost()
{
    lead_ = nullptr;
    lead_patience_->stop();
    for (Rcpt& r : rcpts_) r.tried = false;
    group_.clear();
    if (auto session = world_.pool.take(hops_[hop_ - 1].key(), terms_)) return reuse(std::move(session), Reuse::by_hop);
    find();
}

// What a connection to this hop must be; false: that cannot be told, and the mail waits.
bool Delivery::settle_terms(const NextHop& hop)
{
    // A login may stand behind the level: then a sender does not lower it.
    const bool lowers = attempt_.tls == mail::TlsNeed::waived && !settings_->sasl.enabled && !settings_->lmtp;
    const auto need = requires_tls() ? mail::TlsNeed::required : lowers ? mail::TlsNeed::waived : mail::TlsNeed::unset;
    auto policy = tls_policy(settings_->tls, hop, need);
    if (policy && mandatory(policy->level) && !tls()) policy = fail(cat("TLS policy for ", hop.text, ": TLS is not to be had here"));
    if (!policy) {
        log::warning(policy.error().text);
        failure_ = {false, "4.7.5", cat("client TLS configuration problem: ", policy.error().text)};
        failure_relay_ = "none";
        failure_mta_.clear();
        return false;
    }
    policy_ = std::move(*policy);
    if (!tls()) policy_.level = TlsLevel::none;
    terms_ = cat(settings_->lmtp ? "lmtp " : "", policy_.text);
    if (settings_->sasl.enabled) append(terms_, '\n', hop.text, '\n', settings_->sasl.by_sender ? attempt_.sender : std::string());
    return true;
}

// RFC 8689 §4.2.1: a report, with its null sender, goes out in any case. LMTP is the end of the way.
bool Delivery::requires_tls() const
{
    return attempt_.tls == mail::TlsNeed::required && !attempt_.sender.empty() && !settings_->lmtp;
}

Result<Terms> Delivery::terms_for(const Endpoint& endpoint, bool in_clear) const
{
    const NextHop& hop = hops_[hop_ - 1];
    Terms terms;
    terms.level = in_clear ? TlsLevel::none : policy_.level;
    terms.wrapper = policy_.wrapper;
    terms.tls = policy_.towards(hop.host, endpoint.host);
    terms.tls_key = policy_.text;
    terms.unix_socket = world_.unix_socket;
    terms.discard = settings_->discard_keywords;
    if (!settings_->discard_by_address->empty() && endpoint.address.is_ip()) {
        if (const auto words = TRY(settings_->discard_by_address->find(endpoint.address.ip()))) {
            const auto list = conf::split_list(*words);
            terms.discard.assign(list.begin(), list.end());
        }
    }
    if (!settings_->sasl.enabled) return terms;
    const auto sender = attempt_.sender.empty() ? Result<mail::Address>(mail::Address()) : mail::parse_address(attempt_.sender);
    auto login = find_login(*settings_->sasl.table, settings_->sasl.by_sender && sender ? &*sender : nullptr, endpoint.host, hop.text);
    if (!login) return fail(cat("smtp_sasl_password_maps: ", login.error().text));
    terms.login = std::move(*login);
    return terms;
}

void Delivery::reuse(std::unique_ptr<Session> session, Reuse how)
{
    session_ = std::move(session);
    session_->adopt(*this);
    reuse_ = how;
    ++sessions_;
    ready_mono_us_ = world_.clock.mono_us();
    begin_group();
}

void Delivery::find()
{
    finder_ = std::make_unique<Finder>(world_.loop, world_.resolver, settings_, hops_[hop_ - 1], world_.own_addresses(),
                                       [this](Found found) { heard(std::move(found)); });
}

void Delivery::heard(Found found)
{
    world_.loop.defer([old = std::shared_ptr<Finder>(std::move(finder_))] {}); // it is on the call stack
    endpoints_ = std::move(found.endpoints);
    endpoint_ = 0;
    if (!endpoints_.empty()) {
        best_preference_ = endpoints_.front().preference;
        // The host of a connection from the pool has had its say.
        if (said_no_) std::erase_if(endpoints_, [&](const Endpoint& e) { return e.address.same_ip(*said_no_); });
        said_no_.reset();
        put_silent_last();
        return next_endpoint();
    }
    failure_ = std::move(found.failure);
    failure_relay_ = "none";
    failure_mta_.clear();
    next_hop();
}

// An address that nobody answered at a moment ago comes after the others that are as good: where one family leads nowhere, one mail stalls
// and not each.
void Delivery::put_silent_last()
{
    if (world_.silent.size() == 0) return;
    const auto rank = [this, now = world_.clock.mono_us()](const Endpoint& e) { return std::pair(e.preference, world_.silent.has(e.address.ip(), now)); };
    std::stable_sort(endpoints_.begin(), endpoints_.end(), [&](const Endpoint& a, const Endpoint& b) { return rank(a) < rank(b); });
}

void Delivery::next_endpoint()
{
    if (reuse_ == Reuse::by_hop) {
        reuse_ = Reuse::none;
        return find();
    }
    const bool sessions_left = settings_->mx_session_limit == 0 || sessions_ < settings_->mx_session_limit;
    if (endpoint_ == endpoints_.size() || !sessions_left) return next_hop();
    const Endpoint endpoint = endpoints_[endpoint_++];
    if (auto session = world_.pool.take_host(endpoint, terms_)) return reuse(std::move(session), Reuse::by_host);
    connect(endpoint, false, rival_of(endpoint));
}

// The first address of the same host's other family that is still to be tried, unless it was silent a moment ago.
std::optional<Endpoint> Delivery::rival_of(const Endpoint& endpoint) const
{
    const int64_t now = world_.clock.mono_us();
    const auto found = std::find_if(endpoints_.begin() + static_cast<std::ptrdiff_t>(endpoint_), endpoints_.end(), [&](const Endpoint& e) {
        return e.host == endpoint.host && e.preference == endpoint.preference && e.address.family() != endpoint.address.family() && !world_.silent.has(e.address.ip(), now);
    });
    // What a table says of one address need not hold for another.
    if (found == endpoints_.end() || !settings_->discard_by_address->empty()) return std::nullopt;
    return *found;
}

// Of two addresses the one that answered was the one being tried; one that was tried in vain beside it is not tried again.
void Delivery::settle_race()
{
    if (!rival_) return;
    const Endpoint rival = std::move(*std::exchange(rival_, std::nullopt));
    const auto at = std::find_if(endpoints_.begin() + static_cast<std::ptrdiff_t>(endpoint_), endpoints_.end(), [&](const Endpoint& e) { return e.address.same_ip(rival.address); });
    if (!session_ || at == endpoints_.end()) return;
    const int64_t now = world_.clock.mono_us();
    if (session_->rival_won()) {
        Endpoint& loser = endpoints_[endpoint_ - 1];
        world_.silent.remember(loser.address.ip(), now);
        std::swap(loser, *at);
    } else if (const Error* error = session_->rival_error()) {
        if (error->code == ETIMEDOUT) world_.silent.remember(rival.address.ip(), now);
        endpoints_.erase(at);
    }
}

void Delivery::connect(const Endpoint& endpoint, bool in_clear, std::optional<Endpoint> rival)
{
    in_clear_ = in_clear;
    reuse_ = Reuse::none;
    auto terms = terms_for(endpoint, in_clear);
    if (!terms) { // never without the login that a table may hold
        log::warning(terms.error().text);
        failure_ = {false, "4.3.0", "a table for this server cannot be read now"};
        failure_relay_ = "none";
        failure_mta_.clear();
        return next_hop();
    }
    rival_ = rival;
    session_ = std::make_unique<Session>(world_.loop, settings_, tls(), endpoint, std::move(*terms), *this, std::move(rival));
}

// Whether nothing else could be tried after the place being tried now.
bool Delivery::last_chance() const
{
    if (hop_ < hops_.size() || reuse_ == Reuse::by_hop)
        return false; // for a connection from the pool, who else there is is not known yet
    if (endpoint_ == endpoints_.size()) return true;
    return settings_->mx_session_limit != 0 && sessions_ >= settings_->mx_session_limit;
}

void Delivery::on_ready()
{
    settle_race();
    ++sessions_;
    ready_mono_us_ = world_.clock.mono_us();
    if (leads_to_ourselves()) return;
    begin_group();
}

// A server of this host's name is this host, or one that takes our mail for a loop: as Postfix has it. Another port is another server.
bool Delivery::leads_to_ourselves()
{
    const Endpoint endpoint = session_->endpoint();
    if (settings_->lmtp || endpoint.address.port() != settings_->port || !iequals(session_->peer_name(), settings_->myhostname)) return false;
    log::warning("host ", endpoint.name(), " replied to EHLO with this host's own name, ", settings_->myhostname);
    world_.pool.retire(std::move(session_));
    const bool best = endpoint.preference == best_preference_;
    failure_ = {best, best ? "5.4.6" : "4.4.6", cat("mail for ", hops_[hop_ - 1].host, " loops back to myself")};
    failure_relay_ = endpoint.relay();
    failure_mta_.clear();
    if (best) {
        fail_all(ipc::Outcome::failed, failure_, false, failure_relay_, failure_mta_);
        return true;
    }
    std::erase_if(endpoints_, [&](const Endpoint& e) { return e.preference >= endpoint.preference; });
    endpoint_ = std::min(endpoint_, endpoints_.size());
    next_endpoint();
    return true;
}

// Another mail may follow this one on its session: all of ours are in it, the host is one of the hop's best, and its settings are today's.
bool Delivery::leads() const
{
    const bool all = std::all_of(rcpts_.begin(), rcpts_.end(), [](const Rcpt& r) { return r.decided || r.tried; });
    return all && is_current() && (reuse_ == Reuse::by_hop || session_->endpoint().preference == best_preference_);
}

void Delivery::begin_group()
{
    if (!choose_group()) return leave_session();
    smtp::Transaction transaction;
    if (const auto settled = fill(*session_, transaction); !settled) {
        log::error(attempt_.queue_id, ": ", settled.error().text);
        bury_session();
        return fail_all(ipc::Outcome::deferred, {false, "4.3.0", settled.error().text}, false, "none", "");
    }
    const bool last = leads();
    if (last) world_.pool.lead(hops_[hop_ - 1].key(), terms_, *session_);
    session_->send(std::move(transaction), *content_, last);
}

void Delivery::on_finished()
{
    if (is_stale()) {
        const Endpoint endpoint = session_->endpoint();
        for (Rcpt& r : rcpts_) r.tried = false;
        bury_session();
        return begin_anew(endpoint);
    }
    take_results();
    tell();
    SessionFollower* const next = session_->take_follower();
    if (next && session_->usable()) return hand_over(*next);
    if (next) next->on_lead_lost();
    if (session_->bdat_refused()) return without_bdat();
    if (session_->usable() && !all_decided()) return begin_group();
    leave_session();
}

// The peer said good-bye to an idle connection just when we came: all that it answered is 421, to the first command.
bool Delivery::is_stale() const
{
    const auto& results = session_->results();
    const auto turned_away = [](const smtp::RecipientResult& r) { return !r.ours && r.reply.code == 421 && r.command == "MAIL FROM"; };
    return reuse_ != Reuse::none && !session_->usable() && !results.empty() && std::all_of(results.begin(), results.end(), turned_away);
}

// The connection from the pool was of no use, which is no judgement: a new one to the same place.
void Delivery::begin_anew(const Endpoint& endpoint)
{
    --sessions_;
    if (reuse_ == Reuse::by_host) return connect(endpoint);
    reuse_ = Reuse::none;
    find();
}

// The session goes to the mail that waited for it.
void Delivery::hand_over(SessionFollower& next)
{
    for (Rcpt& r : rcpts_) r.tried = false;
    group_.clear();
    if (reuse_ == Reuse::by_hop) said_no_ = session_->endpoint().address;
    next.on_turn(std::move(session_));
    if (!all_decided()) return next_endpoint();
    settle();
}

bool Delivery::is_current() const
{
    return settings_ == (settings_->lmtp ? world_.lmtp : world_.settings);
}

// The same host once more, with DATA: a connection that reads the content as commands is of no use.
void Delivery::without_bdat()
{
    const Endpoint endpoint = session_->endpoint();
    log::info(attempt_.queue_id, ": ", endpoint.relay(), " announces CHUNKING and refuses BDAT; trying again with DATA");
    world_.no_bdat.remember(endpoint.relay(), world_.clock.mono_us());
    no_bdat_ = true;
    for (Rcpt& r : rcpts_) r.tried = false;
    group_.clear();
    bury_session();
    if (all_decided()) return settle();
    --sessions_;
    if (std::exchange(reuse_, Reuse::none) == Reuse::by_hop) return find(); // it, and who else there is
    connect(endpoint, in_clear_);
}

// The session has done what it could for us.
void Delivery::leave_session()
{
    for (Rcpt& r : rcpts_) r.tried = false;
    group_.clear();
    if (reuse_ == Reuse::by_hop) said_no_ = session_->endpoint().address;
    const bool best = reuse_ == Reuse::by_hop || session_->endpoint().preference == best_preference_;
    // One that was made under settings or files of before (a password, say) serves nobody after us.
    if (is_current()) world_.pool.put(best ? hops_[hop_ - 1].key() : std::string(), terms_, std::move(session_), *settings_);
    else world_.pool.retire(std::move(session_));
    if (!all_decided()) return next_endpoint();
    settle();
}

void Delivery::cancel()
{
    if (finished_) return;
    leave_lead();
    bury_session();
    finder_.reset();
    if (rcpts_.empty()) rcpts_.resize(attempt_.targets.size());
    fail_all(ipc::Outcome::deferred, {false, "4.3.2", "delivery was cancelled"}, false, "none", "");
}

// It may be on the call stack.
void Delivery::bury_session()
{
    if (!session_) return;
    session_->detach();
    world_.loop.defer([old = std::shared_ptr<Session>(std::move(session_))] {});
}

} // namespace veredus::smtp_client

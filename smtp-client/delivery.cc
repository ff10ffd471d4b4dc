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

// False: nobody is left to try.
bool Delivery::read_recipients()
{
    rcpts_.resize(attempt_.targets.size());
    for (std::size_t i = 0; i < rcpts_.size(); ++i) {
        const ipc::Target& target = attempt_.targets[i];
        const auto sender = [&]() -> Result<mail::Address> {
            const std::string& text = target.sender == "-" ? attempt_.sender : target.sender;
            if (text.empty()) return mail::Address();
            return mail::parse_address(text);
        }();
        const auto address = mail::parse_address(target.address);
        if (target.kind != queue::Child::Kind::address || !address || address->domain.empty()) {
            decide(i, ipc::Outcome::failed, "5.1.3", "bad address syntax", "none", "", false);
        } else if (!sender) {
            decide(i, ipc::Outcome::failed, "5.1.7", "bad sender address syntax", "none", "", false);
        } else {
            rcpts_[i].recipient = {*address, target.notify, target.orcpt};
            rcpts_[i].sender = *sender;
            if (settings_->rework.maps_addresses()) map_addresses(i);
        }
    }
    return !all_decided();
}

// smtp_generic_maps for one recipient and its sender; false: it was put off.
bool Delivery::map_addresses(std::size_t index)
{
    Rcpt& r = rcpts_[index];
    for (mail::Address* address : {&r.recipient.address, &r.sender}) {
        auto other = settings_->rework.mapped(*address);
        if (!other) {
            log::warning(attempt_.queue_id, ": ", other.error().text);
            decide(index, ipc::Outcome::deferred, "4.3.0", "the table of generic addresses cannot be used now", "none", "", false);
            return false;
        }
        if (*other) *address = std::move(**other);
    }
    return true;
}

// What smtp_generic_maps and smtp_header_checks make of the header; false: all were put off.
bool Delivery::rework_header()
{
    const ReworkRules& rules = settings_->rework;
    const auto put_off = [this](std::string_view text) {
        for (std::size_t i = 0; i < rcpts_.size(); ++i)
            if (!rcpts_[i].decided) decide(i, ipc::Outcome::deferred, "4.3.0", std::string(text), "none", "", false);
        return false;
    };
    if (rules.maps_addresses()) {
        auto header = rules.mapped_header(content_->header());
        if (!header) return put_off("the table of generic addresses cannot be used now");
        content_->set_header(std::move(*header));
    }
    const std::string_view cannot = "the tables of header and body checks cannot be used now";
    if (rules.checks_unusable()) return put_off(cannot);
    if (rules.checks()) {
        auto header = mail::HeaderBlock::parse(content_->header());
        mail::Envelope nobody;
        queue::ContentCheck check(rules.checks(), checked_mail());
        if (check.finish(header, nobody).kind == queue::Decision::Kind::reject) return put_off(cannot);
        content_->set_header(header.text());
    }
    if (settings_->line_limit) content_->fold_header(settings_->line_limit);
    return true;
}

queue::CheckedMail Delivery::checked_mail() const
{
    queue::CheckedMail mail;
    mail.id = attempt_.queue_id;
    mail.origin = attempt_.client_name.empty() ? std::string("local") : cat(attempt_.client_name, '[', attempt_.client_address, ']');
    mail.sender = attempt_.sender;
    mail.recipient = attempt_.targets.front().address;
    mail.protocol = attempt_.protocol;
    mail.helo = attempt_.helo;
    return mail;
}

// What the peer is told of the content, and what is done to it for the peer's sake. Binary content that cannot be encoded stays binary, and
// the engine sends it to nobody who did not ask for it. An Error: the mail cannot be read now.
Result<void> Delivery::settle_content(const Session& session, smtp::Transaction& transaction)
{
    const smtp::Extensions& peer = session.extensions();
    const bool bdat = peer.chunking && !no_bdat_ && !world_.no_bdat.has(session.endpoint().relay(), world_.clock.mono_us());
    transaction.body = attempt_.layout.eight_bit && attempt_.body == mail::Body::seven_bit ? mail::Body::eight_bit : attempt_.body;
    // RFC 6152 §3, RFC 3030 §3: a server that did not say that it can take them gets neither 8-bit nor binary content.
    const bool binary = attempt_.body == mail::Body::binary;
    ReworkPlan plan;
    const auto& checks = settings_->rework.checks();
    const bool checked = checks && (checks->mime || checks->nested || checks->body);
    // What rules may change has no size before it is sent, so it does not go as a chunk.
    const bool foreign = binary ? !(bdat && peer.binarymime) || checked : attempt_.layout.eight_bit && !peer.eight_bit;
    if (foreign && settings_->rework.converts()) {
        plan.seven_bit = true;
        plan.unmarked = attempt_.layout.eight_bit;
        if (binary) plan = TRY(content_->seven_bit_plan()).value_or(ReworkPlan());
    }
    if (checked) plan.checks = checks;
    if (plan.seven_bit) transaction.body = mail::Body::seven_bit;
    if (plan.checks) plan.mail = checked_mail();
    // RFC 5321 §4.5.3.1.6. Binary content has no lines.
    if (settings_->line_limit && (!binary || plan.seven_bit) && content_->may_pass(settings_->line_limit)) plan.line_limit = settings_->line_limit;
    const bool may_say = attempt_.tls == mail::TlsNeed::required && peer.requiretls && session.encrypted() && !settings_->lmtp;
    transaction.require_tls = requires_tls() || may_say;
    transaction.size = content_->size();
    if (bdat && !plan.any()) transaction.chunk_size = content_->chunk_size();
    transaction.utf8_header = !content_->header_is_ascii();
    content_->set_plan(std::move(plan));
    return {};
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

const Content* Delivery::envelope(const Session& session, smtp::Transaction& transaction)
{
    // What cannot be read now is told when the turn has come.
    if (!choose_group() || !fill(session, transaction)) return nullptr;
    return &*content_;
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

// One transaction takes all who are undecided and have the same sender.
bool Delivery::choose_group()
{
    group_.clear();
    for (std::size_t i = 0; i < rcpts_.size(); ++i) {
        const Rcpt& r = rcpts_[i];
        if (!r.decided && !r.tried && (group_.empty() || r.sender == rcpts_[group_.front()].sender))
            group_.push_back(i);
    }
    return !group_.empty();
}

Result<void> Delivery::fill(const Session& session, smtp::Transaction& transaction)
{
    transaction.sender = rcpts_[group_.front()].sender;
    for (const std::size_t i : group_) {
        rcpts_[i].tried = true;
        transaction.recipients.push_back(rcpts_[i].recipient);
    }
    transaction.smtputf8 = attempt_.smtputf8;
    transaction.ret = attempt_.ret;
    transaction.envid = attempt_.envid;
    return settle_content(session, transaction);
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

void Delivery::take_results()
{
    const auto& results = session_->results();
    for (std::size_t k = 0; k < group_.size() && k < results.size(); ++k) take_result(group_[k], results[k]);
}

void Delivery::take_result(std::size_t index, const smtp::RecipientResult& result)
{
    const smtp::Reply& reply = result.reply;
    const Endpoint& endpoint = session_->endpoint();
    Rcpt& r = rcpts_[index];
    if (reply.code == 0 || r.decided || (result.ours && session_->bdat_refused())) return;
    if (!result.ours && reply.code < 400)
        return decide(index, ipc::Outcome::delivered, dsn_of(reply), said(reply), endpoint.relay(), endpoint.host,
                      false);
    std::string text;
    if (!result.ours)
        text = host_said(endpoint, reply, result.command);
    else if (reply.text.ends_with("server"))
        text = cat(reply.text, ' ', endpoint.name());
    else
        text = cat("host ", endpoint.name(), ": ", printable(reply.text),
                   result.command.empty() ? std::string() : cat(" (in reply to ", result.command, " command)"));
    const std::string mta = result.ours ? std::string() : endpoint.host;
    // RFC 8689 §4.2.1: another host may have it.
    const bool elsewhere = requires_tls() && result.ours && reply.enhanced == "5.7.30" && !last_chance();
    if (reply.permanent() && !elsewhere)
        return decide(index, ipc::Outcome::failed, dsn_of(reply), std::move(text), endpoint.relay(), mta, false);
    if (last_chance())
        return decide(index, ipc::Outcome::deferred, dsn_of(reply), std::move(text), endpoint.relay(), mta,
                      reply.code == 421);
    log::info(attempt_.queue_id, ": ", text);
    r.reason = std::move(text);
    r.dsn = dsn_of(reply);
    r.relay = endpoint.relay();
    r.remote_mta = mta;
    r.permanent = reply.permanent();
}

void Delivery::on_broken(const Broken& broken)
{
    using When = Broken::When;
    settle_race();
    take_results();
    for (Rcpt& r : rcpts_) r.tried = false;
    const Endpoint endpoint = session_->endpoint();
    const bool stale = reuse_ != Reuse::none && (broken.when == When::transaction || broken.when == When::early);
    bury_session();
    if (all_decided()) return settle();
    if (broken.when == When::handshake && policy_.level == TlsLevel::may && !in_clear_) {
        const auto terms = terms_for(endpoint, true);
        if (terms && !terms->login) {      // RFC 7435 §3; but never with a password that the server's TLS was to protect
            log::info(attempt_.queue_id, ": ", broken.failure.text, "; trying again without TLS");
            return connect(endpoint, true);
        }
    }
    if (stale) return begin_anew(endpoint); // the peer grew tired of the idle connection just when we came
    if (lacks_tls(broken, endpoint)) {
        group_.clear();
        return next_endpoint();
    }
    if (broken.when == When::connecting) log::info(broken.failure.text);
    if (broken.no_answer) world_.silent.remember(endpoint.address.ip(), world_.clock.mono_us());
    failure_ = broken.failure;
    failure_relay_ = broken.when == When::connecting ? "none" : endpoint.relay();
    failure_mta_ = broken.remote_mta;
    if (broken.failure.permanent) return fail_all(ipc::Outcome::failed, failure_, true, failure_relay_, failure_mta_);
    // The peer may have taken the mail: another host now would double it for sure when that one did.
    if (broken.when == When::after_dot)
        return fail_all(ipc::Outcome::deferred, failure_, true, failure_relay_, failure_mta_);
    if (broken.when != When::connecting && !last_chance()) log::info(attempt_.queue_id, ": ", broken.failure.text);
    group_.clear();
    next_endpoint();
}

// RFC 8689 §4.2.1: a server without TLS, or that does not prove its name, does not get the mail; when all are like that, the sender hears of
// it at once. A handshake that fails may be our own trouble: that waits.
bool Delivery::lacks_tls(const Broken& broken, const Endpoint& endpoint)
{
    if (!requires_tls() || broken.when != Broken::When::early || (broken.failure.dsn != "4.7.4" && broken.failure.dsn != "4.7.5")) return false;
    log::info(attempt_.queue_id, ": ", broken.failure.text);
    for (Rcpt& r : rcpts_) {
        if (r.decided) continue;
        r.reason = cat("REQUIRETLS: ", broken.failure.text);
        r.dsn = "5.7.10";
        r.relay = endpoint.relay();
        r.remote_mta.clear();
        r.permanent = true;
    }
    return true;
}

void Delivery::give_up()
{
    for (std::size_t i = 0; i < rcpts_.size(); ++i) {
        Rcpt& r = rcpts_[i];
        if (!r.decided && !r.reason.empty())
            decide(i, r.permanent && failure_.text.empty() ? ipc::Outcome::failed : ipc::Outcome::deferred, r.dsn, r.reason, r.relay, r.remote_mta, false);
    }
    fail_all(failure_.permanent ? ipc::Outcome::failed : ipc::Outcome::deferred, failure_, true, failure_relay_,
             failure_mta_);
}

void Delivery::fail_all(ipc::Outcome outcome, const Failure& failure, bool site, const std::string& relay,
                        const std::string& remote_mta)
{
    for (std::size_t i = 0; i < rcpts_.size(); ++i)
        if (!rcpts_[i].decided) decide(i, outcome, failure.dsn, failure.text, relay, remote_mta, site);
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

void Delivery::decide(std::size_t index, ipc::Outcome outcome, std::string dsn, std::string text, std::string relay,
                      std::string remote_mta, bool site)
{
    rcpts_[index].decided = true;
    ipc::Verdict verdict;
    verdict.index = attempt_.targets[index].index;
    verdict.outcome = outcome;
    verdict.dsn = std::move(dsn);
    verdict.text = std::move(text);
    verdict.relay = std::move(relay);
    verdict.remote_mta = std::move(remote_mta);
    verdict.dsn_taken = outcome == ipc::Outcome::delivered && session_ && session_->reports_dsn();
    verdict.site = site && outcome == ipc::Outcome::deferred;
    const int64_t now = world_.clock.mono_us();
    const int64_t ready = ready_mono_us_ ? ready_mono_us_ : now;
    const auto seconds = [](int64_t us) { return static_cast<double>(std::max<int64_t>(us, 0)) / us_per_second; };
    ipc::Verdict shown = verdict;
    if (session_ && session_->uses() > 1 && verdict.relay != "none")
        append(shown.relay, ", conn_use=", session_->uses());
    log::info(ipc::delivery_line(attempt_, attempt_.targets[index], shown, seconds(received_us_ - attempt_.active_us),
                                 seconds(ready - received_mono_us_), seconds(now - ready), world_.clock.wall_us()));
    batch_.push_back(std::move(verdict));
}

bool Delivery::all_decided() const
{
    return std::all_of(rcpts_.begin(), rcpts_.end(), [](const Rcpt& r) { return r.decided; });
}

void Delivery::tell()
{
    if (!batch_.empty()) report_(std::exchange(batch_, {}));
}

void Delivery::settle()
{
    if (finished_) return;
    tell();
    if (!all_decided()) return;
    finished_ = true;
    const Done done = std::move(done_);
    done();
}

// It may be on the call stack.
void Delivery::bury_session()
{
    if (!session_) return;
    session_->detach();
    world_.loop.defer([old = std::shared_ptr<Session>(std::move(session_))] {});
}

} // namespace veredus::smtp_client

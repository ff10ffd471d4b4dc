// What each reply, and each failure, means for whom.
#include <algorithm>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "smtp-client/delivery.h"

namespace veredus::smtp_client {

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

} // namespace veredus::smtp_client

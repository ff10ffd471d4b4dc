// A mail from LMTP on its way into mailboxes.
#include "local/lmtpd/handover.h"

#include <algorithm>
#include <cerrno>
#include <optional>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/mail/address.h"
#include "lib/mail/dsn.h"

namespace veredus::lmtpd {

namespace {

using ipc::Outcome;
using smtp::Reply;

constexpr std::size_t recipients_at_once = 40;      // of a question to router and of an attempt: both fit into a message
constexpr std::size_t most_text = 300;
constexpr uint64_t small_mail = 32 * 1024;          // its draft is in memory

constexpr int64_t longest_us = 240 * us_per_second; // at local; Exim's LMTP client waits for 300 s, Postfix' for 600 s

const Reply full_reply{451, "4.3.2", "too many mails are being delivered; try again later"};
const Reply late_reply{451, "4.2.0", "the delivery takes too long; try again later"};
const Reply later_reply{451, "4.3.0", "mail system error; try again later"};

Reply named(int code, std::string enhanced, const std::string& address, std::string_view text)
{
    return {code, std::move(enhanced), cat('<', printable(address, 255), "> ", printable(text, most_text))};
}

// The enhanced code when it is of that class.
std::string code_or(const std::string& dsn, char wanted, const char* fallback)
{
    return mail::is_enhanced_code(dsn) && dsn[0] == wanted ? dsn : std::string(fallback);
}

int refusal_code(std::string_view dsn)
{
    if (dsn.starts_with("5.1.")) return 550;
    return dsn == "5.2.2" || dsn == "5.3.4" ? 552 : 554;
}

Reply storage_reply(const Error& error)
{
    if (error.code == ENOSPC || error.code == EDQUOT) return {452, "4.3.1", "Insufficient system storage"};
    return {451, "4.3.0", "Error: queue file write error"};
}

bool is_local(const ipc::Route& route) { return route.kind == ipc::Route::Kind::deliver && (route.transport == "local" || route.transport == "virtual"); }

}  // namespace

Reply reply_of(const ipc::Verdict& v, const std::string& address)
{
    const char wanted = v.outcome == Outcome::delivered ? '2' : v.outcome == Outcome::failed ? '5' : '4';
    if (wanted == '2') return named(250, code_or(v.dsn, wanted, "2.0.0"), address, v.text);
    if (wanted == '5') return named(refusal_code(v.dsn), code_or(v.dsn, wanted, "5.0.0"), address, v.text);
    const bool full = v.dsn == "4.2.2" || v.dsn == "4.3.1";
    return named(full ? 452 : 451, code_or(v.dsn, wanted, "4.3.0"), address, v.text);
}

struct Handover::Mail {
    Mail(reception::Handed mail, Done d) : handed(std::move(mail)), done(std::move(d)), id(handed.draft.id())
    {
        std::map<std::string, std::size_t> seen;
        for (const mail::Recipient& r : handed.envelope.recipients) {
            const std::string address = r.address.text();
            const auto [at, fresh] = seen.try_emplace(lower(address), whom.size());
            if (fresh) whom.push_back({address, r, {}, {}});
            which.push_back(at->second);
        }
    }
    struct Whom {
        std::string address;
        mail::Recipient recipient;
        ipc::Route route;
        std::optional<Reply> reply;
    };
    reception::Handed handed;
    Done done;
    std::string id;
    std::vector<Whom> whom;              // each address once
    std::vector<std::size_t> which;      // of the envelope's recipients: index into whom
    unsigned attempts = 0;               // that local has not answered
    std::vector<std::size_t> rest;       // for the queue
    queue::Draft::Sealed sealed;
    int64_t active_us = 0;
    int64_t begun_us = 0;                // monotonic
};

Handover::Handover(Parts parts) : parts_(std::move(parts)) {}
Handover::~Handover() { *alive_ = false; }

void Handover::begin(reception::Handed handed, Done done)
{
    if (is_full()) return done(Replies(handed.envelope.recipients.size(), full_reply));
    const uint64_t number = ++last_number_;
    mails_[number] = std::make_unique<Mail>(std::move(handed), std::move(done));
    mails_[number]->active_us = parts_.clock.wall_us();
    mails_[number]->begun_us = parts_.clock.mono_us();
    ask(number);
}

// A client may hang up behind its dot: the number of sessions bounds nothing.
bool Handover::is_full()
{
    if (mails_.size() < parts_.most) return false;
    const int64_t now = parts_.clock.mono_us();
    if (warned_us_ == 0 || now - warned_us_ > 10 * us_per_second) {
        warned_us_ = now;
        log::warning(mails_.size(), " mails are being delivered, as many as RLIMIT_NOFILE allows (LimitNOFILE of the service): further ones are answered 451");
    }
    return true;
}

// A page at a time: a mail with many recipients does not fill router's queue.
void Handover::ask(uint64_t number)
{
    Mail& mail = *mails_.at(number);
    ipc::RouteRequest request;
    request.sender = mail.handed.envelope.sender.text();
    std::vector<std::size_t> asked;
    for (std::size_t i = 0; i < mail.whom.size() && asked.size() < recipients_at_once; ++i) {
        if (!mail.whom[i].route.address.empty() || mail.whom[i].reply) continue;
        asked.push_back(i);
        request.recipients.push_back(mail.whom[i].address);
    }
    if (asked.empty()) return seal(number);
    parts_.route(std::move(request), [this, number, asked, alive = alive_](const Result<ipc::RouteReply>& answer) {
        if (*alive) routed(number, asked, answer);
    });
}

void Handover::routed(uint64_t number, const std::vector<std::size_t>& asked, const Result<ipc::RouteReply>& answer)
{
    const auto found = mails_.find(number);
    if (found == mails_.end()) return;
    Mail& mail = *found->second;
    if (!answer || answer->routes.size() != asked.size()) log::warning(mail.id, ": routing: ", answer ? "the router answered another question" : answer.error().text);
    for (std::size_t i = 0; i < asked.size(); ++i) {
        Mail::Whom& whom = mail.whom[asked[i]];
        if (!answer || answer->routes.size() != asked.size()) {
            whom.reply = later_reply;
            continue;
        }
        whom.route = answer->routes[i];
        if (whom.route.address.empty()) whom.route.address = whom.address;
        using Kind = ipc::Route::Kind;
        if (whom.route.kind == Kind::reject) whom.reply = named(550, code_or(whom.route.dsn, '5', "5.1.1"), whom.address, whom.route.text);
        else if (whom.route.kind == Kind::defer) whom.reply = named(451, code_or(whom.route.dsn, '4', "4.3.0"), whom.address, whom.route.text);
        else if (!is_local(whom.route)) mail.rest.push_back(asked[i]);
    }
    ask(number);
}

// For local the mail becomes a file, unless nobody needs it; of a large one, which is on the disk, on the pool's thread.
void Handover::seal(uint64_t number)
{
    Mail& mail = *mails_.at(number);
    const auto needed = std::any_of(mail.whom.begin(), mail.whom.end(), [](const Mail::Whom& w) { return !w.reply && is_local(w.route); });
    if (!needed) return settle(number);
    if (!parts_.pool || mail.handed.draft.body_size() <= small_mail) return hand_in(number, mail.handed.draft.seal(mail.handed.header, mail.handed.envelope));
    auto sealed = std::make_shared<Result<queue::Draft::Sealed>>(fail("not sealed"));    // shared_ptr: std::function wants to be copied
    parts_.pool->run([sealed, handed = &mail.handed] { *sealed = handed->draft.seal(handed->header, handed->envelope); },
                     [this, number, sealed, alive = alive_] {
                         if (*alive) hand_in(number, std::move(*sealed));
                     });
}

void Handover::hand_in(uint64_t number, Result<queue::Draft::Sealed> sealed)
{
    Mail& mail = *mails_.at(number);
    if (!sealed) {
        log::error(mail.id, ": ", sealed.error().text);
        for (Mail::Whom& whom : mail.whom)
            if (!whom.reply) whom.reply = storage_reply(sealed.error());
        mail.rest.clear();
        return settle(number);
    }
    mail.sealed = std::move(*sealed);
    ++mail.attempts;    // held until all are sent
    for (const char* transport : {"local", "virtual"}) {
        std::vector<std::size_t> who;
        for (std::size_t i = 0; i < mail.whom.size(); ++i) {
            if (mail.whom[i].reply || !is_local(mail.whom[i].route) || mail.whom[i].route.transport != transport) continue;
            who.push_back(i);
            if (who.size() == recipients_at_once) send(number, transport, std::exchange(who, {}));
        }
        if (!who.empty()) send(number, transport, who);
    }
    --mail.attempts;
    settle(number);
}

ipc::Attempt Handover::attempt_of(const Mail& mail, const std::string& transport) const
{
    const mail::Envelope& envelope = mail.handed.envelope;
    ipc::Attempt a;
    a.queue_id = mail.id;
    a.sender = envelope.sender.text();
    a.transport = transport;
    a.layout = mail.sealed.layout;
    a.body = envelope.body;
    a.smtputf8 = envelope.smtputf8;
    a.arrival_us = envelope.arrival_us;
    a.active_us = mail.active_us;
    a.client_name = envelope.client_name;
    a.client_address = envelope.client_address;
    a.helo = envelope.helo;
    a.protocol = envelope.protocol;
    return a;
}

void Handover::send(uint64_t number, const std::string& transport, const std::vector<std::size_t>& who)
{
    Mail& mail = *mails_.at(number);
    ipc::Attempt attempt = attempt_of(mail, transport);
    attempt.attempt = ++last_number_;
    Attempt open;
    open.mail = number;
    for (const std::size_t i : who) {
        const Mail::Whom& whom = mail.whom[i];
        ipc::Target target;
        target.index = static_cast<uint32_t>(i);
        target.address = whom.route.address;
        if (target.address != whom.address) target.original = whom.address;
        target.sender = std::string(1, '-');    // a literal makes g++ 12 warn of an overlap
        attempt.targets.push_back(std::move(target));
        open.open.insert(static_cast<uint32_t>(i));
    }
    if (auto sent = parts_.attempt(attempt, mail.sealed.file); !sent) {
        log::warning(mail.id, ": local delivery: ", sent.error().text);
        for (const std::size_t i : who) mail.whom[i].reply = later_reply;
        return;
    }
    ++mail.attempts;
    attempts_[attempt.attempt] = std::move(open);
}

void Handover::local_said(ipc::Verdicts verdicts)
{
    const auto found = attempts_.find(verdicts.attempt);
    if (found == attempts_.end()) return;
    const uint64_t number = found->second.mail;
    Mail& mail = *mails_.at(number);
    if (verdicts.verdicts.empty())    // local, or we, could not read what the other said
        for (const uint32_t index : std::exchange(found->second.open, {})) mail.whom[index].reply = later_reply;
    for (const ipc::Verdict& v : verdicts.verdicts) {
        if (found->second.open.erase(v.index) == 0) continue;
        if (v.outcome == Outcome::expanded) mail.rest.push_back(v.index);
        else mail.whom[v.index].reply = reply_of(v, mail.whom[v.index].address);
    }
    if (!found->second.open.empty()) return;
    attempts_.erase(found);
    --mail.attempts;
    settle(number);
}

void Handover::local_gone()
{
    std::set<uint64_t> touched;
    for (const auto& [attempt, open] : std::exchange(attempts_, {})) {
        Mail& mail = *mails_.at(open.mail);
        for (const uint32_t index : open.open) mail.whom[index].reply = later_reply;
        --mail.attempts;
        touched.insert(open.mail);
    }
    for (const uint64_t number : touched) settle(number);
}

// What a process has it may still deliver: 4xx is the word that loses nothing.
void Handover::expire()
{
    const int64_t now = parts_.clock.mono_us();
    std::set<uint64_t> late;
    for (const auto& [number, mail] : mails_) {
        if (now - mail->begun_us < longest_us) break;    // the later ones are younger
        if (mail->attempts > 0) late.insert(number);
    }
    if (late.empty()) return;
    std::erase_if(attempts_, [&](const auto& one) {
        const auto& [attempt, open] = one;
        if (!late.contains(open.mail)) return false;
        Mail& mail = *mails_.at(open.mail);
        for (const uint32_t index : open.open) mail.whom[index].reply = late_reply;
        --mail.attempts;
        if (parts_.cancel) parts_.cancel(attempt);
        return true;
    });
    for (const uint64_t number : late) {
        log::warning(mails_.at(number)->id, ": a recipient is not served after ", longest_us / us_per_second, " s: answered 451");
        settle(number);
    }
}

// Once local has answered for all: what goes on from here is made durable as a mail of its own.
void Handover::settle(uint64_t number)
{
    Mail& mail = *mails_.at(number);
    if (mail.attempts > 0) return;
    mail.sealed.file.reset();
    if (mail.rest.empty()) return conclude(number);
    std::sort(mail.rest.begin(), mail.rest.end());
    mail::Envelope envelope = mail.handed.envelope;
    envelope.recipients.clear();
    for (const std::size_t i : mail.rest) envelope.recipients.push_back(mail.whom[i].recipient);
    auto committed = [this, number, alive = alive_](const Result<queue::Receipt>& receipt) {
        if (!*alive) return;
        Mail& m = *mails_.at(number);
        if (!receipt) log::error(m.id, ": not queued: ", receipt.error().text);
        else parts_.queued(receipt->id());
        for (const std::size_t i : m.rest)
            m.whom[i].reply = receipt ? named(250, "2.0.0", m.whom[i].address, cat("Ok: queued as ", receipt->id())) : storage_reply(receipt.error());
        conclude(number);
    };
    parts_.intake.commit(std::move(mail.handed.draft), mail.handed.header, envelope, std::move(committed));
}

void Handover::conclude(uint64_t number)
{
    const auto found = mails_.find(number);
    const std::unique_ptr<Mail> mail = std::move(found->second);
    mails_.erase(found);
    Replies replies;
    for (const std::size_t i : mail->which) replies.push_back(mail->whom[i].reply.value_or(later_reply));
    mail->done(std::move(replies));
    if (stopped_ && mails_.empty()) std::exchange(stopped_, nullptr)();
}

void Handover::stop(std::function<void()> done)
{
    if (mails_.empty()) return done();
    stopped_ = std::move(done);
}

}  // namespace veredus::lmtpd

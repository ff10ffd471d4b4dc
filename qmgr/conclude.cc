// Scheduler: what becomes of a mail once its recipients are answered: done, deferred, expired, and who is told.
#include <algorithm>
#include <utility>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/ipc/agent.h"
#include "lib/log/log.h"
#include "lib/mail/dsn.h"
#include "qmgr/records.h"
#include "qmgr/scheduler.h"

namespace veredus::qmgr {

namespace {
constexpr int64_t notice_delay_us = 60 * us_per_second;    // a notification could not be written (full disk)
constexpr int64_t router_delay_us = 2 * us_per_second;
constexpr auto failed_outcome = static_cast<uint8_t>(ipc::Outcome::failed);
}  // namespace

void Scheduler::touch(Mail& mail)
{
    if (mail.touched) return;
    mail.touched = true;
    touched_.push_back(mail.number);
}

void Scheduler::conclude_touched()
{
    while (!touched_.empty()) {
        for (const uint64_t id : std::exchange(touched_, {}))
            if (Mail* mail = find(id); mail && mail->touched) {
                mail->touched = false;
                conclude(*mail);
            }
    }
}

void Scheduler::finish(Mail& mail, uint32_t index, uint8_t outcome, std::string dsn, std::string text)
{
    MailRecipient& r = mail.recipients[index];
    r.progress = Progress::finished;
    r.outcome = outcome;
    mail.unrecorded.push_back(index);
    r.dsn = std::move(dsn);
    r.text = printable(text, 1000);
    touch(mail);
}

void Scheduler::defer(Mail& mail, uint32_t index, std::string dsn, std::string text)
{
    MailRecipient& r = mail.recipients[index];
    r.progress = Progress::deferred;
    r.dsn = std::move(dsn);
    r.text = printable(text, 1000);
    touch(mail);
}

// A permanent failure; with soft_bounce it waits instead, so that a mistake in the configuration returns nobody's mail.
void Scheduler::refuse(Mail& mail, uint32_t index, const std::string& given_dsn, const std::string& given_text, bool said)
{
    // A name that was somebody on the way here, and is nobody's mailbox, is no unknown user: it leads in a circle.
    const MailRecipient& r = mail.recipients[index];
    const bool circle = r.final_route && given_dsn == "5.1.1";
    const std::string dsn = circle ? std::string("5.4.6") : given_dsn, text = circle ? cat("mail forwarding loop for ", local_name(r)) : given_text;
    if (!limits_.soft_bounce) {
        finish(mail, index, failed_outcome, dsn, text);
        if (!said) say(mail, index, ipc::Outcome::failed, dsn, text);
        return;
    }
    const std::string soft = cat('4', std::string_view(dsn).substr(1));
    defer(mail, index, soft, text);
    if (said) log::info(mail.id, ": to=<", printable(mail.recipients[index].address), ">, dsn=", soft, ", status=SOFTBOUNCE (soft_bounce = yes: it is kept and tried again)");
    else say(mail, index, ipc::Outcome::deferred, soft, text);
}

// RFC 3461 §5.2.2, §5.2.3: the sender hears of a success when he asked for it, from us unless the next host does it.
void Scheduler::delivered(Mail& mail, uint32_t index, const Flight& flight, const ipc::Verdict& v, std::string text)
{
    MailRecipient& r = mail.recipients[index];
    const bool asked = r.notify & mail::notify_success;
    const bool wants_delay = r.notify == mail::notify_unset || (r.notify & mail::notify_delay);
    const bool cleared = limits_.confirm_delay_cleared && catalog_.find(mail.number)->delay_told && wants_delay;
    const bool relayed = flight.agent.kind == Agent::Kind::smtp;
    r.report_owed = !mail.effective_sender(r).empty() && (asked ? !(relayed && v.dsn_taken) : cleared);
    if (relayed && r.remote_mta.empty()) r.remote_mta = printable(v.relay.substr(0, v.relay.find('[')), 255);
    const std::string dsn = mail::is_enhanced_code(v.dsn) && v.dsn[0] == '2' ? v.dsn : "2.0.0";
    finish(mail, index, relayed ? outcome_relayed : static_cast<uint8_t>(ipc::Outcome::delivered), dsn, std::move(text));
}

// A decision of our own; what an agent decided, it has logged itself.
void Scheduler::say(const Mail& mail, uint32_t index, ipc::Outcome outcome, const std::string& dsn, const std::string& text)
{
    const MailRecipient& r = mail.recipients[index];
    const Now now = world_.now();
    ipc::Attempt attempt;
    attempt.queue_id = mail.id;
    attempt.arrival_us = mail.envelope.arrival_us;
    attempt.active_us = mail.active_wall_us;
    ipc::Target target;
    target.address = r.address;
    target.original = r.original;
    ipc::Verdict verdict;
    verdict.outcome = outcome;
    verdict.dsn = dsn;
    verdict.text = text;
    const double in_qmgr = static_cast<double>(now.mono_us - mail.active_mono_us) / 1e6;
    log::info(ipc::delivery_line(attempt, target, verdict, in_qmgr, 0, 0, now.wall_us));
}

void Scheduler::record_outcomes(Mail& mail)
{
    for (const uint32_t i : std::exchange(mail.unrecorded, {})) {
        MailRecipient& r = mail.recipients[i];
        if (r.recorded) continue;
        r.recorded = true;
        // The words are kept for a report; a success without them has none.
        const bool words = r.outcome == failed_outcome || r.report_owed;
        record(outcome_record(mail.id, i, r.outcome, words ? r.dsn : "", words ? r.text : ""));
    }
}

void Scheduler::conclude(Mail& mail)
{
    Entry& entry = *catalog_.find(mail.number);
    if ((mail.hold_wanted || mail.remove_wanted) && mail.attempts_in_flight == 0 && mail.waits == 0) {
        record_outcomes(mail);
        const bool remove = mail.remove_wanted;
        Deeds deeds;
        if (const auto asked = deeds_.find(mail.number); asked != deeds_.end()) deeds = std::move(asked->second);
        close(mail);
        if (remove)
            leave(entry.id, entry.place(), "removed", std::move(deeds));
        else
            set_aside(entry, queue::State::hold, deeds);
        return;
    }
    if (mail.waits > 0) {
        record_outcomes(mail);
        return;
    }
    if ((mail.router_away || mail.notice_failed) && mail.attempts_in_flight == 0) {
        if (mail.router_away) unrouted_.insert(mail.number);
        postpone(mail, mail.notice_failed ? notice_delay_us : router_delay_us);
        return;
    }
    if (mail.any_open()) {
        if (!try_to_park(mail)) record_outcomes(mail);
        return;
    }
    expire(mail, entry);
    if (notices_needed(mail)) return;
    if (mail.all_finished()) {
        const uint64_t id = mail.number;
        const queue::Place place = entry.place();
        close(mail);
        leave(id, place, "removed");
        return;
    }
    if (delays_needed(mail, entry)) return;
    put_off(mail, entry);
}

// Too old: what still waits has failed, for the reason that it had.
void Scheduler::expire(Mail& mail, Entry& entry)
{
    const bool waits = std::any_of(mail.recipients.begin(), mail.recipients.end(), [](const MailRecipient& r) { return r.progress == Progress::deferred; });
    if (!waits || !expired(entry, mail.sender.empty())) return;
    log::info(mail.id, ": from=<", printable(mail.sender), ">, status=expired, returned to sender");
    for (uint32_t i = 0; i < mail.recipients.size(); ++i) {
        MailRecipient& r = mail.recipients[i];
        if (r.progress == Progress::deferred) finish(mail, i, failed_outcome, r.dsn, r.text);
    }
}

// Later again. What differs between its recipients is kept for mailq; one reason for all is one record.
void Scheduler::put_off(Mail& mail, Entry& entry)
{
    record_outcomes(mail);
    const Now now = world_.now();
    const int64_t wait = entry.forced ? 0 : backoff(entry);    // somebody asked for an attempt while this one was under way
    const MailRecipient* first = nullptr;
    std::vector<queue::Record> others;
    for (uint32_t i = 0; i < mail.recipients.size(); ++i) {
        const MailRecipient& r = mail.recipients[i];
        if (r.progress != Progress::deferred) continue;
        if (!first) first = &r;
        if (r.dsn != first->dsn || r.text != first->text) others.push_back(retry_record(mail.id, i, r.dsn, r.text));
    }
    entry.skipped = 0;
    record(deferral_record(mail.id, mail.site, now.wall_us + wait, entry.attempts + 1, first->dsn, first->text));
    for (queue::Record& r : others) record(std::move(r));
    if (const auto nought = nought_to_note(entry, now)) record(aged_record(mail.id, *nought));
    catalog_.schedule(entry, now.mono_us + wait);
    move_when_durable(entry, queue::State::deferred);
    catalog_.summarize(entry, mail.layout, mail.envelope);
    close(mail);
    if (wait == 0) world_.wake();
}

}  // namespace veredus::qmgr

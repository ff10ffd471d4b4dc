// Scheduler: what becomes of a mail once its recipients are answered: done, deferred, expired, and who is told.
#include <algorithm>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/ipc/agent.h"
#include "lib/log/log.h"
#include "qmgr/records.h"
#include "qmgr/scheduler.h"

namespace veredus::qmgr {

namespace {
constexpr int64_t notice_delay_us = 60 * us_per_second;    // a notification could not be written (full disk)
constexpr int64_t router_delay_us = 2 * us_per_second;
constexpr uint64_t nobody_told = UINT64_MAX;               // in memory only: there is nobody to tell
constexpr uint8_t internal_writer = 2;
static_assert(std::string_view(queue::writer_roles[internal_writer]) == "internal");
constexpr auto failed_outcome = static_cast<uint8_t>(ipc::Outcome::failed);

// RFC 3461 §4.1: NOTIFY=NEVER, or a list without FAILURE, means that no failure is told.
bool wants_failure(const MailRecipient& r) { return r.notify == mail::notify_unset || (r.notify & mail::notify_failure); }

bool untold(const MailRecipient& r) { return r.progress == Progress::finished && r.outcome == failed_outcome && r.notice == 0; }
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
    for (uint32_t i = 0; i < mail.recipients.size(); ++i) {
        MailRecipient& r = mail.recipients[i];
        if (r.progress != Progress::finished || r.recorded) continue;
        r.recorded = true;
        const bool failed = r.outcome == failed_outcome;
        record(outcome_record(mail.id, i, r.outcome, failed ? r.dsn : "", failed ? r.text : ""));
    }
}

void Scheduler::conclude(Mail& mail)
{
    Entry& entry = *catalog_.find(mail.number);
    if ((mail.hold_wanted || mail.remove_wanted) && mail.attempts_in_flight == 0 && mail.waits == 0) {
        record_outcomes(mail);
        const bool remove = mail.remove_wanted;
        close(mail);
        if (remove)
            leave(entry.id, entry.place(), "removed");
        else
            set_aside(entry, queue::State::hold);
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
    if (notices_needed(mail, entry)) return;
    if (mail.all_finished()) {
        const uint64_t id = mail.number;
        const queue::Place place = entry.place();
        close(mail);
        leave(id, place, "removed");
        return;
    }
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

// True when the mail must wait until a notification is written (or cannot be written now).
bool Scheduler::notices_needed(Mail& mail, Entry&)
{
    std::map<std::string, std::vector<uint32_t>> by_sender;
    for (uint32_t i = 0; i < mail.recipients.size(); ++i) {
        MailRecipient& r = mail.recipients[i];
        if (!untold(r)) continue;
        if (wants_failure(r))
            by_sender[mail.effective_sender(r)].push_back(i);
        else
            r.notice = nobody_told;
    }
    if (by_sender.empty()) return false;
    const std::string double_bounce = cat(limits_.double_bounce, '@', limits_.myhostname);
    bool any = false;
    for (const auto& [sender, about] : by_sender) {
        const bool to_postmaster = sender.empty();
        if (iequals(sender, double_bounce) || (to_postmaster && !limits_.notify_postmaster)) {
            log::warning(mail.id, ": undeliverable ", to_postmaster ? "mail with the null sender" : "postmaster notification", " discarded");
            for (const uint32_t i : about) mail.recipients[i].notice = nobody_told;
            continue;
        }
        const std::string postmaster = limits_.postmaster.find('@') == std::string::npos ? cat(limits_.postmaster, '@', limits_.myorigin) : limits_.postmaster;
        if (!make_notice(mail, to_postmaster ? postmaster : sender, to_postmaster, about)) {
            if (mail.waits == 0) postpone(mail, notice_delay_us);
            return true;
        }
        any = true;
    }
    return any;
}

// The ID goes into the journal with the failures that cause it, and only then the file is written: a crash in between
// leaves an ID without a file, for which the file is made again. So nobody is told twice, and nobody not at all.
bool Scheduler::make_notice(Mail& mail, const std::string& to, bool to_postmaster, const std::vector<uint32_t>& about)
{
    auto id = world_.reserve_id();
    if (!id) {
        log::warning(mail.id, ": no notification can be made now: ", id.error().text, "; will try again");
        return false;
    }
    record_outcomes(mail);
    for (const uint32_t i : about) {
        mail.recipients[i].notice = id_number(*id);
        record(notice_record(mail.id, i, *id));
    }
    ++mail.waits;
    when_durable([this, number = mail.number, id = *id, to_postmaster, to, about] {
        Mail* const m = find(number);
        if (!m) return;
        --m->waits;
        write_notice(*m, id, to_postmaster, to, about);
    });
    return true;
}

void Scheduler::write_notice(Mail& mail, std::string id, bool to_postmaster, std::string to, const std::vector<uint32_t>& about)
{
    Notice notice;
    notice.id = id;
    notice.to_postmaster = to_postmaster;
    notice.to = std::move(to);
    for (const uint32_t i : about) {
        const MailRecipient& r = mail.recipients[i];
        mail::ReportRecipient report;
        report.final_recipient = r.kind == queue::Child::Kind::address ? r.address : r.original;
        report.original_recipient = r.orcpt;
        report.status = mail::is_enhanced_code(r.dsn) ? r.dsn : "5.0.0";
        report.remote_mta = r.remote_mta;
        report.diagnostic = r.text;
        report.diagnostic_is_smtp = !r.remote_mta.empty() || r.text.starts_with("host ");   // after a restart only the text is left
        notice.recipients.push_back(std::move(report));
    }
    ++mail.waits;
    world_.notify(std::move(notice), mail, [this, number = mail.number, id, to_postmaster](Result<void> written) {
        Mail* const m = find(number);
        if (!m) return;
        --m->waits;
        touch(*m);
        world_.wake();
        if (!written) {
            log::warning(m->id, ": the notification ", id, " cannot be written: ", written.error().text, "; will try again");
            m->notice_failed = true;
            return;
        }
        log::info(m->id, to_postmaster ? ": postmaster" : ": sender", " non-delivery notification: ", id);
        if (Entry* entry = catalog_.find(number); entry && entry->history) std::erase(entry->history->owed, id_number(id));
        queued(id_number(id), internal_writer);
    });
}

// Notifications whose ID was given before a crash, or before the disk was full, are written now under that ID.
void Scheduler::pay_owed(Mail& mail, Entry& entry)
{
    const auto owed = entry.history->owed;
    for (const uint64_t id : owed) {
        std::vector<uint32_t> about;
        for (uint32_t i = 0; i < mail.recipients.size(); ++i)
            if (mail.recipients[i].notice == id) about.push_back(i);
        if (about.empty() || catalog_.find(id) || catalog_.done(id)) {
            std::erase(entry.history->owed, id);
            continue;
        }
        const std::string sender = mail.effective_sender(mail.recipients[about.front()]);
        const std::string postmaster = limits_.postmaster.find('@') == std::string::npos ? cat(limits_.postmaster, '@', limits_.myorigin) : limits_.postmaster;
        write_notice(mail, id_text(id), sender.empty(), sender.empty() ? postmaster : sender, about);
    }
}

// Later again. What differs between its recipients is kept for mailq; one reason for all is one record.
void Scheduler::put_off(Mail& mail, Entry& entry)
{
    record_outcomes(mail);
    const Now now = world_.now();
    const int64_t wait = backoff(entry);
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
    catalog_.schedule(entry, now.mono_us + wait);
    move_when_durable(entry, queue::State::deferred);
    close(mail);
}

}  // namespace veredus::qmgr

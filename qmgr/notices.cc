// Scheduler: who is told what became of a mail: failures, successes that were asked for, and delays (RFC 3461, 3464).
#include <algorithm>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/ipc/agent.h"
#include "lib/log/log.h"
#include "qmgr/records.h"
#include "qmgr/scheduler.h"

namespace veredus::qmgr {

namespace {
constexpr int64_t notice_delay_us = 60 * us_per_second; // a notification could not be written (full disk)
constexpr uint64_t nobody_told = UINT64_MAX;            // in memory only: there is nobody to tell
constexpr uint8_t internal_writer = 2;
static_assert(std::string_view(queue::writer_roles[internal_writer]) == "internal");
constexpr auto failed_outcome = static_cast<uint8_t>(ipc::Outcome::failed);
constexpr auto expanded_outcome = static_cast<uint8_t>(ipc::Outcome::expanded);

// RFC 3461 §4.1: NOTIFY=NEVER, or a list without FAILURE, means that no failure is told. A delay may be told to whoever
// did not say.
bool wants_failure(const MailRecipient& r)
{
    return r.notify == mail::notify_unset || (r.notify & mail::notify_failure);
}
bool wants_delay(const MailRecipient& r)
{
    return r.notify == mail::notify_unset || (r.notify & mail::notify_delay);
}

bool untold(const MailRecipient& r)
{
    return r.progress == Progress::finished && r.notice == 0 && (r.outcome == failed_outcome || r.report_owed);
}

const char* kind_text(Notice::Kind kind)
{
    switch (kind) {
    case Notice::Kind::failure: return "non-delivery notification";
    case Notice::Kind::success: return "delivery status notification";
    case Notice::Kind::delay: return "delay notification";
    }
    return "";
}
} // namespace

std::string Scheduler::full_address(const std::string& who) const
{
    return who.empty() || who.find('@') != std::string::npos ? who : cat(who, '@', limits_.myorigin);
}

// True when the mail must wait until a notification is written (or cannot be written now).
bool Scheduler::notices_needed(Mail& mail)
{
    std::map<Telling, std::vector<uint32_t>> all;
    for (uint32_t i = 0; i < mail.recipients.size(); ++i) {
        MailRecipient& r = mail.recipients[i];
        if (!untold(r)) continue;
        const bool failed = r.outcome == failed_outcome;
        const std::string& sender = mail.effective_sender(r);
        if (failed ? wants_failure(r) : !sender.empty())
            all[{sender, failed ? Notice::Kind::failure : Notice::Kind::success}].push_back(i);
        else
            r.notice = nobody_told;
    }
    return !all.empty() && tell(mail, all);
}

bool Scheduler::delay_due(const Entry& entry) const
{
    return limits_.delay_warning_us > 0 && !entry.delay_told && age_us(entry, world_.now()) >= limits_.delay_warning_us;
}

// The same for a report that it waits: once in the life of a mail, for those that wait then.
bool Scheduler::delays_needed(Mail& mail, Entry& entry)
{
    if (!delay_due(entry)) return false;
    const std::string double_bounce = cat(limits_.double_bounce, '@', limits_.myhostname);
    std::map<Telling, std::vector<uint32_t>> all;
    for (uint32_t i = 0; i < mail.recipients.size(); ++i) {
        const MailRecipient& r = mail.recipients[i];
        const std::string& sender = mail.effective_sender(r);
        if (r.progress == Progress::deferred && wants_delay(r) && !sender.empty() && !iequals(sender, double_bounce))
            all[{sender, Notice::Kind::delay}].push_back(i);
    }
    entry.delay_told = true; // or there is nobody who wants to know
    return !all.empty() && tell(mail, all);
}

bool Scheduler::tell(Mail& mail, const std::map<Telling, std::vector<uint32_t>>& all)
{
    const std::string double_bounce = cat(limits_.double_bounce, '@', limits_.myhostname);
    // First all IDs, then a record: so none of several reports is made again because another could not be.
    std::vector<Reserved> reserved;
    for (const auto& [telling, about] : all) {
        const bool to_postmaster = telling.first.empty();
        if (iequals(telling.first, double_bounce) || (to_postmaster && !limits_.notify_postmaster)) {
            log::warning(mail.id, ": undeliverable ",
                         to_postmaster ? "mail with the null sender" : "postmaster notification", " discarded");
            for (const uint32_t i : about) mail.recipients[i].notice = nobody_told;
            continue;
        }
        auto id = world_.reserve_id();
        if (!id) {
            log::warning(mail.id, ": no notification can be made now: ", id.error().text, "; will try again");
            if (telling.second == Notice::Kind::delay) catalog_.find(mail.number)->delay_told = false;
            if (mail.waits == 0) postpone(mail, notice_delay_us);
            return true;
        }
        reserved.push_back({std::move(*id), telling, about});
    }
    for (const Reserved& one : reserved) make_notice(mail, one.id, one.telling, one.about);
    return !reserved.empty();
}

// The ID goes into the journal with the outcomes that cause it, and only then the file is written: a crash in between
// leaves an ID without a file, for which the file is made again. So nobody is told twice, and nobody not at all.
void Scheduler::make_notice(Mail& mail, const std::string& id, const Telling& telling, const std::vector<uint32_t>& about)
{
    record_outcomes(mail);
    const bool delay = telling.second == Notice::Kind::delay;
    for (const uint32_t i : about) {
        if (!delay) mail.recipients[i].notice = id_number(id);
        record(delay ? delay_record(mail.id, i, id) : notice_record(mail.id, i, id));
    }
    ++mail.waits;
    when_durable([this, number = mail.number, id, telling, about] {
        Mail* const m = find(number);
        if (!m) return;
        --m->waits;
        write_notice(*m, id, telling, about);
    });
}

mail::ReportRecipient Scheduler::report_of(const MailRecipient& r, Notice::Kind kind) const
{
    using mail::ReportAction;
    mail::ReportRecipient out;
    out.final_recipient = r.kind == queue::Child::Kind::address ? r.address : r.original;
    out.original_recipient = r.orcpt;
    out.remote_mta = r.remote_mta;
    out.diagnostic = r.text;
    // After a restart only the text is left.
    out.diagnostic_is_smtp = !r.remote_mta.empty() || r.text.starts_with("host ") || r.outcome == outcome_relayed;
    const auto status = [&](std::string_view classes, const char* otherwise) {
        return mail::is_enhanced_code(r.dsn) && classes.find(r.dsn[0]) != std::string_view::npos
                   ? r.dsn
                   : std::string(otherwise);
    };
    switch (kind) {
    case Notice::Kind::failure:
        out.action = ReportAction::failed;
        out.status = status("45", "5.0.0");
        break;
    case Notice::Kind::delay:
        out.action = ReportAction::delayed;
        out.status = status("4", "4.0.0");
        break;
    case Notice::Kind::success:
        out.action = r.outcome == outcome_relayed               ? ReportAction::relayed
                     : r.outcome == expanded_outcome && !r.list ? ReportAction::expanded
                                                                : ReportAction::delivered;
        out.status = status("2", "2.0.0");
        break;
    }
    return out;
}

void Scheduler::write_notice(Mail& mail, std::string id, const Telling& telling, const std::vector<uint32_t>& about)
{
    const auto& [sender, kind] = telling;
    Notice notice;
    notice.kind = kind;
    notice.id = id;
    notice.to_postmaster = sender.empty();
    notice.to = sender.empty() ? full_address(limits_.postmaster) : sender;
    notice.original_sender = sender == mail.sender;
    if (kind != Notice::Kind::success && !notice.to_postmaster)
        notice.copy_to = full_address(kind == Notice::Kind::failure ? limits_.bounce_copy_to : limits_.delay_copy_to);
    for (const uint32_t i : about) notice.recipients.push_back(report_of(mail.recipients[i], kind));
    const std::string text = cat(notice.to_postmaster ? "postmaster " : "sender ", kind_text(kind));
    ++mail.waits;
    world_.notify(std::move(notice), mail, [this, number = mail.number, id, text](Result<void> written) {
        Mail* const m = find(number);
        if (!m) return;
        --m->waits;
        touch(*m);
        world_.wake();
        if (!written) {
            log::warning(m->id, ": the notification ", id, " cannot be written: ", written.error().text,
                         "; will try again");
            m->notice_failed = true;
            return;
        }
        log::info(m->id, ": ", text, ": ", id);
        if (Entry* entry = catalog_.find(number); entry && entry->history)
            std::erase(entry->history->owed, id_number(id));
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
        const bool delay = about.empty();
        for (const auto& [index, notice] : entry.history->delays)
            if (delay && notice == id && index < mail.recipients.size()) about.push_back(index);
        if (about.empty() || catalog_.find(id) || catalog_.done(id)) {
            std::erase(entry.history->owed, id);
            continue;
        }
        const MailRecipient& first = mail.recipients[about.front()];
        const auto kind = delay                             ? Notice::Kind::delay
                          : first.outcome == failed_outcome ? Notice::Kind::failure
                                                            : Notice::Kind::success;
        write_notice(mail, id_text(id), {mail.effective_sender(first), kind}, about);
    }
}

} // namespace veredus::qmgr

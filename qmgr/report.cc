#include "qmgr/report.h"

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/queue/file.h"

namespace veredus::qmgr {

bool returns_whole(const Notice& notice, const Mail& about, const Limits& limits)
{
    // RFC 3461 §6.2: what tells of no failure returns the header only.
    if (notice.kind != Notice::Kind::failure) return false;
    if (about.envelope.tls == mail::TlsNeed::required) return false; // RFC 8689 §5: whatever RET says
    if (about.envelope.body == mail::Body::binary) return false;     // RFC 3030 §3: the report goes to where binary content may not
    if (notice.original_sender && about.envelope.ret == mail::Ret::headers) return false;
    return about.layout.content_size() <= limits.bounce_size;
}

Result<ComposedNotice> compose(const Notice& notice, const Mail& about, const Limits& limits, int64_t wall_us)
{
    mail::Report report;
    report.reporting_mta = limits.myhostname;
    report.queue_id = about.id;
    report.from = cat("MAILER-DAEMON@", limits.myhostname);
    report.to = notice.to;
    report.message_id = cat('<', notice.id, '@', limits.myhostname, '>');
    report.boundary = cat(notice.id, '.', hex_upper(random_u64(), 16), '/', limits.myhostname);
    report.now_us = wall_us;
    report.arrival_us = about.envelope.arrival_us;
    report.original_sender = about.sender;
    if (notice.original_sender) report.envid = about.envelope.envid;
    if (notice.kind == Notice::Kind::delay) report.give_up_us = about.envelope.arrival_us + limits.lifetime_us;
    report.global = about.envelope.smtputf8;
    report.recipients = notice.recipients;

    const bool whole = returns_whole(notice, about, limits);
    std::string header = TRY(queue::read_header(about.file, about.layout, queue::max_header_size));
    if (header.size() > limits.header_size) header.resize(header.rfind("\r\n", limits.header_size - 2) + 2);   // its start, in whole lines
    ComposedNotice out;
    out.eight_bit = about.layout.eight_bit;
    const mail::ReportText text = mail::make_report(report, whole, out.eight_bit);
    out.body = cat(text.body, header);
    if (whole) {
        out.body += "\r\n";
        out.body += TRY(pread_exact(about.file.get(), static_cast<off_t>(about.layout.body_offset), about.layout.body_size));
    }
    if (!out.body.ends_with("\r\n")) out.body += "\r\n";
    out.body += text.tail;
    out.header = mail::HeaderBlock::parse(text.header);

    // RFC 5321 §4.5.5: a notification has the null sender. A double bounce has one of its own, so that its failure is
    // known for what it is and dropped.
    if (notice.to_postmaster) out.envelope.sender = {limits.double_bounce, limits.myhostname};
    mail::Recipient to;
    to.address = TRY(mail::parse_address(notice.to));
    out.envelope.recipients.push_back(std::move(to));
    if (const auto copy = mail::parse_address(notice.copy_to); copy && !iequals(notice.copy_to, notice.to)) {
        mail::Recipient postmaster;
        postmaster.address = *copy;
        out.envelope.recipients.push_back(std::move(postmaster));
    }
    out.envelope.origin = mail::Origin::internal;
    out.envelope.arrival_us = wall_us;
    out.envelope.body = text.eight_bit ? mail::Body::eight_bit : mail::Body::seven_bit;
    out.envelope.smtputf8 = about.envelope.smtputf8;
    if (about.envelope.tls == mail::TlsNeed::required) out.envelope.tls = mail::TlsNeed::required; // RFC 8689 §5
    return out;
}

}  // namespace veredus::qmgr

// Delivery status notifications: the report a sender gets (RFC 3464 in RFC 6522), and enhanced codes (RFC 3463).
#include "lib/mail/dsn.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/mail/date.h"

namespace veredus::mail {

namespace {

constexpr std::size_t wrap_column = 76;

std::string_view action_name(ReportAction action)
{
    switch (action) {
    case ReportAction::failed: return "failed";
    case ReportAction::delayed: return "delayed";
    case ReportAction::delivered: return "delivered";
    case ReportAction::relayed: return "relayed";
    case ReportAction::expanded: return "expanded";
    }
    return "failed";
}

// What the whole report is about: the worst that happened to anyone.
ReportAction gravest(const Report& report)
{
    ReportAction worst = ReportAction::expanded;
    for (const ReportRecipient& r : report.recipients) worst = std::min(worst, r.action);
    return report.recipients.empty() ? ReportAction::failed : worst;
}

std::string_view subject(ReportAction action)
{
    if (action == ReportAction::failed) return "Undelivered Mail Returned to Sender";
    if (action == ReportAction::delayed) return "Delayed Mail (still being retried)";
    return "Successful Mail Delivery Report";
}

// Breaks `text` at blanks, the following lines begin with `indent`; a word that fits nowhere is cut before a line could
// pass what RFC 5322 §2.1.1 allows.
std::string wrapped(std::string_view first, std::string_view text, std::string_view indent)
{
    std::string out(first);
    std::size_t column = first.size();
    bool line_empty = true;
    const auto new_line = [&] {
        append(out, "\r\n", indent);
        column = indent.size();
        line_empty = true;
    };
    for (std::string_view word : split(text, " \t\r\n")) {
        if (!line_empty && column + 1 + word.size() > wrap_column) new_line();
        if (!line_empty) {
            out.push_back(' ');
            ++column;
        }
        for (; word.size() > 900; word.remove_prefix(900)) {
            out.append(word.substr(0, 900));
            new_line();
        }
        out.append(word);
        column += word.size();
        line_empty = false;
    }
    return out + "\r\n";
}

// RFC 3464 fields are ASCII: UTF-8 addresses become utf-8-addr-xtext (RFC 6533 §3), other text gets '?'.
std::string ascii(std::string_view text)
{
    std::string out = printable(text, 2000);
    for (char& c : out)
        if (static_cast<unsigned char>(c) >= 0x80) c = '?';
    return out;
}

void encode_point(std::string_view sequence, std::string& out)
{
    uint32_t point = static_cast<unsigned char>(sequence[0]) & (0xFFu >> (sequence.size() + 1));
    for (const char c : sequence.substr(1)) point = (point << 6) | (static_cast<unsigned char>(c) & 0x3Fu);
    std::string digits = hex_upper(point, 6);
    append(out, "\\x{", std::string_view(digits).substr(std::min<std::size_t>(digits.find_first_not_of('0'), 4)), '}');
}

std::string typed_address(std::string_view address, bool global)
{
    if (global && !is_ascii(address)) return cat("utf-8; ", printable(address, 1000));    // RFC 6533 §3: as it is
    if (is_ascii(address)) return cat("rfc822; ", printable(address, 1000));
    const std::string clean = printable(address, 1000);
    std::string out = "utf-8; ";
    for (std::size_t i = 0; i < clean.size();) {
        const auto lead = static_cast<unsigned char>(clean[i]);
        const std::size_t n = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
        if (n == 1) out.push_back(clean[i]);
        else encode_point(std::string_view(clean).substr(i, n), out);
        i += n;
    }
    return out;
}

std::string make_header(const Report& report, ReportAction about, bool eight_bit)
{
    std::string out;
    append(out, "Date: ", date_rfc5322(report.now_us), "\r\n");
    append(out, "From: Mail Delivery System <", report.from, ">\r\n");
    append(out, "Subject: ", subject(about), "\r\nTo: ", report.to, "\r\n");
    append(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");  // RFC 3834 §5
    append(out, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"", report.boundary, "\"\r\n");
    if (eight_bit) append(out, "Content-Transfer-Encoding: 8bit\r\n");
    append(out, "Message-ID: ", report.message_id, "\r\n");
    return out;
}

std::string_view opening(ReportAction about)
{
    if (about == ReportAction::failed)
        return "Your message did not reach the recipients named below, and it will not be\r\n"
               "tried again. What you sent is returned with this report.\r\n";
    if (about == ReportAction::delayed)
        return "Your message has not reached the recipients named below yet. You need not\r\n"
               "send it again: this server goes on trying.\r\n";
    return "You asked for a report when your message arrives. This is what became of it:\r\n";
}

// What happened to this recipient, in a word or two.
std::string_view happened(ReportAction action)
{
    switch (action) {
    case ReportAction::failed: return "was not reached.";
    case ReportAction::delayed: return "was not reached yet.";
    case ReportAction::delivered: return "has it: it was delivered to the mailbox.";
    case ReportAction::relayed: return "is behind a server that took it and will not report what follows.";
    case ReportAction::expanded: return "stands for several recipients, and it was sent on to them.";
    }
    return "";
}

// What a person can do about it, by the class of the first failure (RFC 3463 §3).
std::string_view advice(const ReportRecipient& r)
{
    if (r.action != ReportAction::failed) return "";
    const std::string_view status = r.status;
    if (status.starts_with("5.1.")) return "The address seems to be wrong: check its spelling, also behind the @.";
    if (status.starts_with("5.2.2")) return "The mailbox is full: tell its owner by other means, or try again later.";
    if (status.starts_with("5.2.")) return "The mailbox does not take mail at present: tell its owner by other means.";
    if (status.starts_with("5.3.4")) return "The message is too large for that server: send less at once, or a link.";
    if (status.starts_with("5.4.")) return "There is no way to that server, or mail goes in a circle: its postmaster can tell.";
    if (status.starts_with("5.7.")) return "That server refuses the message by a rule of its own: its words say which.";
    if (status.starts_with("4.")) return "No attempt succeeded in the time allowed: ask whether that server is up.";
    return "The words of the server that refused say why.";
}

std::string explanation(const Report& report, ReportAction about, bool utf8)
{
    const auto shown = [&](std::string_view text, std::size_t most) { return utf8 ? printable(text, most) : ascii(text); };
    std::string out(opening(about));
    for (const ReportRecipient& r : report.recipients) {
        append(out, "\r\n", wrapped("", cat("<", shown(r.final_recipient, 1000), "> ", happened(r.action)), "    "));
        if (const auto help = advice(r); !help.empty()) out += wrapped("    ", help, "    ");
        if (!r.diagnostic.empty()) out += wrapped("    In detail: ", shown(r.diagnostic, 2000), "    ");
    }
    if (about == ReportAction::delayed && report.give_up_us > 0)
        append(out, "\r\nAttempts go on until ", date_rfc5322(report.give_up_us), ". If none succeeds by then,\r\nyou get another report.\r\n");
    append(out, "\r\nQuestions: postmaster of ", ascii(report.reporting_mta), "; send this report along.\r\n");
    return out;
}

// RFC 3464 §2.3.6 wants what the peer said, without our words around it: "host mx[ip] said: 550 … (in reply to RCPT TO command)".
std::string_view reply_within(std::string_view text)
{
    for (const std::string_view before : {std::string_view(" said: "), std::string_view(" refused to talk to me: ")}) {
        const auto at = text.find(before);
        if (!text.starts_with("host ") || at == std::string_view::npos) continue;
        text.remove_prefix(at + before.size());
        return text.substr(0, text.rfind(" (in reply to "));
    }
    return text;
}

std::string status_fields(const Report& report)
{
    const auto shown = [&](std::string_view text, std::size_t most) { return report.global ? printable(text, most) : ascii(text); };
    std::string out = cat("Reporting-MTA: dns; ", ascii(report.reporting_mta), "\r\n");
    if (!report.envid.empty()) append(out, "Original-Envelope-Id: ", ascii(report.envid), "\r\n");
    append(out, "X-Veredus-Queue-ID: ", report.queue_id, "\r\n");
    append(out, "X-Veredus-Sender: ", typed_address(report.original_sender, report.global), "\r\n");
    if (report.arrival_us > 0) append(out, "Arrival-Date: ", date_rfc5322(report.arrival_us), "\r\n");
    for (const ReportRecipient& r : report.recipients) {
        append(out, "\r\nFinal-Recipient: ", typed_address(r.final_recipient, report.global), "\r\n");
        if (!r.original_recipient.empty()) {
            const auto [type, address] = cut(r.original_recipient, ';');
            append(out, "Original-Recipient: ", ascii(type), ";", shown(address.value_or(""), 1000), "\r\n");
        }
        append(out, "Action: ", action_name(r.action), "\r\n");
        append(out, "Status: ", is_enhanced_code(r.status) ? r.status : std::string("5.0.0"), "\r\n");
        if (!r.remote_mta.empty()) append(out, "Remote-MTA: dns; ", ascii(r.remote_mta), "\r\n");
        if (!r.diagnostic.empty())
            out += wrapped(cat("Diagnostic-Code: ", r.diagnostic_is_smtp ? "smtp; " : "x-veredus; "),
                           shown(r.diagnostic_is_smtp ? reply_within(r.diagnostic) : r.diagnostic, 2000), "    ");
        if (r.action == ReportAction::delayed && report.give_up_us > 0)
            append(out, "Will-Retry-Until: ", date_rfc5322(report.give_up_us), "\r\n");
    }
    return out;
}

}  // namespace

ReportText make_report(const Report& report, bool returned_full, bool eight_bit)
{
    const ReportAction about = gravest(report);
    const std::string line = cat("--", report.boundary, "\r\n");
    const std::string_view encoding = "Content-Transfer-Encoding: 8bit\r\n";
    const std::string words = explanation(report, about, report.global || eight_bit), fields = status_fields(report);
    ReportText out;
    out.eight_bit = eight_bit || !is_ascii(words) || !is_ascii(fields);
    out.header = make_header(report, about, out.eight_bit);
    append(out.body, "This is a MIME-encapsulated message.\r\n\r\n", line);
    append(out.body, "Content-Description: Notification\r\nContent-Type: text/plain; charset=", is_ascii(words) ? "us-ascii" : "utf-8", "\r\n");
    if (!is_ascii(words)) out.body += encoding;
    append(out.body, "\r\n", words, "\r\n", line);
    append(out.body, "Content-Description: Delivery report\r\nContent-Type: message/", report.global ? "global-delivery-status" : "delivery-status", "\r\n");
    if (!is_ascii(fields)) out.body += encoding;
    append(out.body, "\r\n", fields, "\r\n", line);
    const std::string_view kind = about == ReportAction::failed ? "Undelivered Message" : about == ReportAction::delayed ? "Delayed Message" : "Delivered Message";
    append(out.body, "Content-Description: ", kind, returned_full ? "" : " Headers", "\r\n");
    // RFC 6533 §4: what may have UTF-8 in its header is message/global.
    const bool global = report.global && eight_bit;
    append(out.body, "Content-Type: ", returned_full ? (global ? "message/global" : "message/rfc822") : global ? "message/global-headers" : "text/rfc822-headers", "\r\n");
    if (eight_bit) out.body += encoding;
    out.body += "\r\n";
    out.tail = cat("\r\n--", report.boundary, "--\r\n");
    return out;
}

bool is_enhanced_code(std::string_view code)
{
    // RFC 3463 §2: class 2, 4 or 5, then two numbers of up to three digits.
    const auto parts = split_on(code, '.');
    if (parts.size() != 3 || parts[0].size() != 1 || std::string_view("245").find(parts[0]) == std::string_view::npos) return false;
    return std::all_of(parts.begin() + 1, parts.end(), [](std::string_view p) {
        return !p.empty() && p.size() <= 3 && std::all_of(p.begin(), p.end(), is_digit);
    });
}

Coded cut_enhanced_code(std::string_view text)
{
    const std::size_t end = std::min(text.find(' '), text.size());
    if (!is_enhanced_code(text.substr(0, end))) return {{}, text};
    Coded out{std::string(text.substr(0, end)), text.substr(end)};
    while (!out.text.empty() && out.text.front() == ' ') out.text.remove_prefix(1);
    return out;
}

}  // namespace veredus::mail

#include "submission/sendmail/prepare.h"

#include <algorithm>
#include <set>

#include "lib/base/text.h"
#include "lib/mail/date.h"
#include "submission/sendmail/content.h"

namespace veredus::sendmail {

namespace {

Unexpected data_error(std::string text) { return unexpected(Error{EX_DATAERR, std::move(text)}); }

bool is_resent(std::string_view name) { return istarts_with(name, "Resent-"); }

bool was_resent(const mail::HeaderBlock& header)
{
    return std::any_of(header.fields().begin(), header.fields().end(), [](const mail::Field& f) { return is_resent(f.name()); });
}

class RecipientList {
public:
    RecipientList(const Invocation& invocation, mail::Envelope& envelope) : notify_(invocation.notify), envelope_(envelope) {}
    void add(mail::Address address)
    {
        if (address.empty() || !seen_.insert(mail::address_key(address)).second) return;
        mail::Recipient recipient;
        recipient.address = std::move(address);
        recipient.notify = notify_;
        envelope_.recipients.push_back(std::move(recipient));
    }

private:
    uint8_t notify_;
    mail::Envelope& envelope_;
    std::set<std::string> seen_;
};

// RFC 5322 §3.6.3 and, when the mail was sent on, §3.6.6: then the Resent- fields name whom this sending is for.
Result<void> add_header_recipients(const mail::HeaderBlock& header, RecipientList& list)
{
    const bool resent = was_resent(header);
    for (const mail::Field& field : header.fields()) {
        std::string_view name = field.name();
        if (is_resent(name) != resent) continue;
        if (resent) name.remove_prefix(7);
        if (!iequals(name, "To") && !iequals(name, "Cc") && !iequals(name, "Bcc")) continue;
        auto boxes = mail::parse_address_list(field.unfolded());
        if (!boxes) return data_error(cat("the ", printable(field.name(), 20), " field of the header: ", boxes.error().text));
        for (mail::Mailbox& box : *boxes) list.add(std::move(box.address));
    }
    return {};
}

Result<mail::Address> choose_sender(const Invocation& invocation, std::string_view from_line, const Caller& caller)
{
    if (invocation.sender) return TRY(parse_sender(*invocation.sender));
    if (invocation.from_line_sender) {
        auto named = parse_sender(from_line_sender(from_line));
        if (named && !named->empty()) return *named;
    }
    if (caller.login.empty())
        return unexpected(Error{EX_OSERR, "who are you? your uid has no name in the user database; say who sends with -f"});
    mail::Address own;
    own.local = caller.login;
    return own;
}

}  // namespace

std::string gecos_name(std::string_view gecos, std::string_view login)
{
    std::string out;
    for (const char c : gecos.substr(0, gecos.find(','))) {
        if (c == '&' && !login.empty()) append(out, to_upper(login[0]), login.substr(1));
        else out.push_back(c);
    }
    return out;
}

void mend_header(mail::HeaderBlock& header, const mail::Address& sender, std::string_view full_name, int64_t wall_us)
{
    const bool resent = was_resent(header);
    // Bcc says whom the others must not hear of (RFC 5322 §3.6.3); the other two are for a mailbox to write, and a
    // Content-Length that lies makes mbox readers cut mails in the wrong place.
    for (const char* name : {"Bcc", "Resent-Bcc", "Return-Path", "Content-Length"}) header.remove(name);

    const std::string prefix = resent ? "Resent-" : "";
    if (!header.find(prefix + "From")) {
        const std::string address = sender.empty() ? "MAILER-DAEMON" : sender.text();
        std::string name(full_name);
        std::erase_if(name, [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
        header.append(prefix + "From", name.empty() ? address : cat(mail::quote_phrase(name), " <", address, ">"));
    }
    if (!header.find(prefix + "Date")) header.append(prefix + "Date", mail::date_rfc5322(wall_us));
    // A Message-ID is made where the queue ID is known.
}

Result<Prepared> prepare(const Invocation& invocation, std::string_view header_text, std::string_view from_line, const Caller& caller, int64_t wall_us)
{
    Prepared out;
    out.envelope.sender = TRY(choose_sender(invocation, from_line, caller));
    out.envelope.body = invocation.body;
    out.envelope.ret = invocation.ret;
    out.envelope.envid = invocation.envid;

    RecipientList list(invocation, out.envelope);
    for (const std::string& operand : invocation.operands)
        for (mail::Address& address : TRY(parse_operand(operand))) list.add(std::move(address));
    auto header = mail::HeaderBlock::parse(header_text);
    if (invocation.header_recipients) TRY(add_header_recipients(header, list));
    if (out.envelope.recipients.empty()) {
        if (invocation.header_recipients) return data_error("no recipients: neither the header nor the command line names one");
        return unexpected(Error{EX_USAGE, "no recipients: name them on the command line, or use -t to take them from the header"});
    }
    const auto needs_utf8 = [](const mail::Address& a) { return !is_ascii(a.local) || !is_ascii(a.domain); };
    out.envelope.smtputf8 = needs_utf8(out.envelope.sender);
    for (const mail::Recipient& r : out.envelope.recipients) out.envelope.smtputf8 |= needs_utf8(r.address);

    mend_header(header, out.envelope.sender, invocation.full_name ? *invocation.full_name : invocation.sender ? "" : caller.full_name, wall_us);
    out.header = header.text();
    return out;
}

}  // namespace veredus::sendmail

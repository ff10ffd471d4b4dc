// The Inspect stage: hop count and mending.
#include "lib/queue/inspect.h"

#include <time.h>

#include <cstdio>

#include "lib/base/text.h"
#include "lib/mail/date.h"

namespace veredus::queue {

namespace {

class HopCount final : public Inspector {
public:
    HopCount(unsigned limit, std::size_t fields) : limit_(limit), fields_(fields) {}
    Decision finish(mail::HeaderBlock& header, mail::Envelope&) override
    {
        if (header.fields().size() > fields_) return {Decision::Kind::reject, 552, "5.3.4", "Error: message header has too many fields"};
        if (header.count("Received") <= limit_) return {};
        return {Decision::Kind::reject, 554, "5.4.0", "Error: too many hops"};    // RFC 5321 §6.3; Postfix's text
    }

private:
    unsigned limit_;
    std::size_t fields_;
};

std::string gmt_digits(int64_t wall_us)
{
    const time_t seconds = static_cast<time_t>(wall_us / 1'000'000);
    tm t{};
    gmtime_r(&seconds, &t);
    char out[32];
    return std::string(out, strftime(out, sizeof out, "%Y%m%d%H%M%S", &t));
}

class Mender final : public Inspector {
public:
    Mender(const InspectSettings& settings, std::string queue_id) : settings_(settings), queue_id_(std::move(queue_id)) {}
    Decision finish(mail::HeaderBlock& header, mail::Envelope& envelope) override;

private:
    std::string from(const mail::Envelope& envelope) const;
    InspectSettings settings_;
    std::string queue_id_;
};

bool is_resent(const mail::HeaderBlock& header)
{
    for (const mail::Field& field : header.fields())
        if (istarts_with(field.name(), "resent-")) return true;
    return false;
}

std::string Mender::from(const mail::Envelope& envelope) const
{
    mail::Address sender = envelope.sender;
    if (!sender.empty()) {
        if (sender.domain.empty()) sender.domain = settings_.myorigin;
        return sender.text();
    }
    return cat("MAILER-DAEMON@", settings_.myorigin, " (Mail Delivery System)");
}

Decision Mender::finish(mail::HeaderBlock& header, mail::Envelope& envelope)
{
    if (envelope.origin != mail::Origin::local && envelope.origin != mail::Origin::authenticated) return {};
    // RFC 5322 §3.6.6: who resends writes a set of fields of his own, and that set is the one to complete.
    const std::string prefix = is_resent(header) ? "Resent-" : "";
    const auto lacks = [&](const char* name) { return !header.find(cat(prefix, name)); };
    if (lacks("Message-ID"))
        header.append(cat(prefix, "Message-ID"), cat('<', gmt_digits(envelope.arrival_us), '.', queue_id_, '@', settings_.myhostname, '>'));
    if (lacks("Date")) header.append(cat(prefix, "Date"), mail::date_rfc5322(envelope.arrival_us));
    if (lacks("From")) header.append(cat(prefix, "From"), from(envelope));
    return {};
}

}  // namespace

std::unique_ptr<Inspector> hop_count(const InspectSettings& settings) { return std::make_unique<HopCount>(settings.hopcount_limit, settings.header_count_limit); }

std::unique_ptr<Inspector> mender(const InspectSettings& settings, std::string queue_id)
{
    return std::make_unique<Mender>(settings, std::move(queue_id));
}

void note_tls_wish(const mail::HeaderBlock& header, mail::Envelope& envelope)
{
    const mail::Field* wish = header.find("TLS-Required");
    if (wish && envelope.tls == mail::TlsNeed::unset && iequals(trim(wish->unfolded()), "No")) envelope.tls = mail::TlsNeed::waived;
}

Decision inspect(const std::vector<std::unique_ptr<Inspector>>& chain, mail::HeaderBlock& header, mail::Envelope& envelope)
{
    for (const auto& inspector : chain)
        if (Decision decision = inspector->finish(header, envelope); decision.kind != Decision::Kind::accept) return decision;
    envelope.filtered = true;
    return {};
}

}  // namespace veredus::queue

// What of the mail goes to whom, and in which form.
#include <algorithm>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "smtp-client/delivery.h"

namespace veredus::smtp_client {

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

const Content* Delivery::envelope(const Session& session, smtp::Transaction& transaction)
{
    // What cannot be read now is told when the turn has come.
    if (!choose_group() || !fill(session, transaction)) return nullptr;
    return &*content_;
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

} // namespace veredus::smtp_client

// A session's mail: draft, content, and its way into the queue.
#include "lib/reception/session_mail.h"

#include <algorithm>
#include <cerrno>
#include <optional>

#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::reception {

namespace {

using smtp::Outcome;
using smtp::Pending;
using smtp::Reply;

constexpr int64_t checking_us = 2000;              // of one session in a turn; then the others have theirs
constexpr std::size_t headers_at_once = 4;         // header_size_limit is about one field; all of them may have this much more

std::size_t header_limit(const Settings& settings) { return std::min(settings.header_size * headers_at_once, queue::max_intake_header); }

bool is_full(const Error& error) { return error.code == ENOSPC || error.code == EDQUOT; }

}  // namespace

Reply storage_reply(const Error& error)
{
    if (is_full(error)) return {452, "4.3.1", "Insufficient system storage"};
    return {451, "4.3.0", "Error: queue file write error"};
}

Reply crowded_reply() { return {452, "4.3.1", "Error: too much mail is being received; try again later"}; }

Outcome Session::open_draft()
{
    auto draft = house_.parts_.intake.create();
    if (!draft) {
        log::error("no queue file: ", draft.error().text);
        return judged("DATA", storage_reply(draft.error()));
    }
    mail_ = std::make_unique<Mail>(std::move(*draft), header_limit(*settings_));
    mail_->draft.write_in_background();
    mail_->binary = engine_.envelope().body == mail::Body::binary;
    if (settings_->checks) {
        const mail::Envelope& envelope = engine_.envelope();
        queue::CheckedMail about{mail_->draft.id(), client_.label(), envelope.sender.text(), {}, std::string(engine_.protocol()), std::string(engine_.helo_name())};
        if (!envelope.recipients.empty()) about.recipient = envelope.recipients.back().address.text();
        mail_->check = std::make_unique<queue::ContentCheck>(settings_->checks, std::move(about));
    }
    const std::string who = user().empty() ? std::string() : cat(", sasl_method=", login_->method, ", sasl_username=", printable(login_->name, 255));
    log::info(mail_->draft.id(), ": client=", client_.label(), who);
    return Reply{354, "", ""};
}

bool Session::content(std::string_view bytes)
{
    Mail& m = *mail_;
    if (m.trouble) return false;
    if (m.cutter.done()) return m.body(bytes);
    const std::size_t came = bytes.size();
    bytes = m.cutter.feed(bytes);
    m.header_bytes = std::min(m.header_bytes + came - bytes.size(), header_limit(*settings_));
    weigh();
    if (crowded(m.header_bytes)) {
        m.trouble = Error{ENOSPC, "envelopes and headers of strangers take too much memory"};
        m.crowded_out = true;
        m.cutter = mail::HeaderCutter(0);
        m.header_bytes = 0;
        return false;
    }
    if (!m.cutter.done()) return true;
    m.begin_body();
    return m.body(m.cutter.take_body_start()) && m.body(bytes);
}

Outcome Session::end_of_data(const Content& facts, mail::Envelope&& envelope)
{
    judged_to_ = {};
    Outcome outcome = mail_->trouble ? Outcome(Reply{250, "", ""}) : judged("END-OF-MESSAGE", house_.parts_.policy.end_of_data(*this, envelope, facts.size));
    if (std::holds_alternative<Pending>(outcome)) {
        after_ = [this, facts, envelope = std::move(envelope)]() mutable { return queue_mail(facts, std::move(envelope)); };
        return outcome;
    }
    if (std::get<Reply>(outcome).positive()) return queue_mail(facts, std::move(envelope));
    mail_.reset();
    return outcome;
}

Outcome Session::queue_mail(const Content& facts, mail::Envelope&& envelope)
{
    Mail& m = *mail_;
    const std::string id = m.draft.id();
    const auto give_up = [&](const Reply& reply) {
        log_reject("END-OF-MESSAGE", reply);
        mail_.reset();
        return reply;
    };
    const bool in_header = !m.cutter.done();
    m.cutter.finish();
    if (in_header) {
        m.begin_body();
        m.body(m.cutter.take_body_start());
    }
    m.end_body();
    if (m.crowded_out) return give_up(crowded_reply());
    if (m.trouble) {
        log::error(id, ": ", m.trouble->text);
        return give_up(storage_reply(*m.trouble));
    }
    if (m.cutter.too_long()) return give_up({552, "5.3.4", "Error: message header too big"});
    mail::HeaderBlock header = mail::HeaderBlock::parse(m.header);
    const mail::Field* message_id = header.find("Message-ID");
    log::info(id, ": message-id=", message_id ? printable(message_id->unfolded(), 500) : std::string("<>"));

    Talk spoken = talk();
    if (settings_->tls_in_received && stream_.tls()) spoken.tls = stream_.tls()->summary();
    spoken.hide_client = !settings_->client_in_received && client_.origin == mail::Origin::authenticated;
    envelope.arrival_us = house_.parts_.clock.wall_us();
    envelope.origin = client_.origin;
    envelope.client_name = client_.name;
    envelope.client_address = client_.address.is_ip() ? client_.address.ip() : std::string("unknown");
    envelope.helo = printable(spoken.helo, 255);
    envelope.protocol = spoken.protocol;
    const std::string utf8_protocol = cat("UTF8", spoken.protocol.substr(spoken.protocol.starts_with('E') ? 1 : 0));
    if (envelope.smtputf8) spoken.protocol = utf8_protocol;     // in the Received field: RFC 6531 §4.3
    const bool binary = envelope.body == mail::Body::binary;
    if (facts.eight_bit && !binary) envelope.body = mail::Body::eight_bit;
    queue::note_tls_wish(header, envelope);
    m.draft.note(facts.leading_dot, facts.eight_bit);
    // A copy: what follows may add recipients, or take others in their place.
    const std::optional<mail::Address> only = envelope.recipients.size() == 1 ? std::optional(envelope.recipients[0].address) : std::nullopt;
    queue::InspectSettings inspect_settings;
    inspect_settings.hopcount_limit = settings_->hops;
    inspect_settings.header_count_limit = settings_->header_count;
    inspect_settings.myhostname = settings_->limits.hostname;
    inspect_settings.myorigin = settings_->myorigin;
    auto chain = house_.parts_.policy.inspectors(*this, id);
    chain.insert(chain.begin(), queue::hop_count(inspect_settings));
    using Kind = queue::Decision::Kind;
    queue::Decision decision = queue::inspect(chain, header, envelope);
    if (decision.kind == Kind::reject) return give_up({decision.code, decision.enhanced, decision.text});
    if (decision.kind == Kind::discard) log::info(id, ": discard: END-OF-MESSAGE from ", client_.label(), ": ", printable(decision.text));
    header.prepend("Received", received_body(client_, spoken, settings_->limits.hostname, id, only ? &*only : nullptr, envelope.arrival_us));
    envelope.hold = envelope.hold || decision.kind == Kind::hold;
    m.discarded = decision.kind == Kind::discard;
    m.fields = std::move(header);
    m.envelope = std::move(envelope);
    judged_stage_ = nullptr;
    return look_into_header();
}

// Hundreds of patterns for each of many fields must not stop the loop, as in on_data() for the body. The checks see our Received too, as
// rules that hide what is in it expect, and log themselves what they do.
Outcome Session::look_into_header()
{
    Mail& m = *mail_;
    if (!m.check || m.discarded) return commit_mail();
    const Clock& clock = house_.parts_.clock;
    const int64_t began_us = clock.mono_us();
    if (m.check->look_at_fields(m.fields, [&] { return clock.mono_us() - began_us >= checking_us; })) return commit_mail();
    resume_ = [again = later_here()] { again([](Session& s) { return s.look_into_header(); }); };
    brake(std::chrono::milliseconds(1));
    return Pending{};
}

Outcome Session::commit_mail()
{
    using Kind = queue::Decision::Kind;
    Mail& m = *mail_;
    const std::string id = m.draft.id();
    mail::HeaderBlock header = std::move(m.fields);
    mail::Envelope envelope = std::move(m.envelope);
    queue::Decision decision;
    if (m.discarded) decision.kind = Kind::discard;
    else if (m.check) decision = m.check->finish(header, envelope);
    envelope.hold = envelope.hold || decision.kind == Kind::hold;
    for (const std::string& name : settings_->drop_fields) header.remove(name);     // behind the checks, which may want to see them
    if (envelope.body != mail::Body::binary && (m.draft.eight_bit() || header.has_8bit())) envelope.body = mail::Body::eight_bit;     // a rule may have put it in
    if (decision.kind == Kind::reject || decision.kind == Kind::discard) {
        mail_.reset();
        return decision.kind == Kind::reject ? Reply{decision.code, decision.enhanced, decision.text} : Reply{250, "2.0.0", cat("Ok: queued as ", id)};
    }

    m.committing = true;
    // Whether he says more, or has said all and closed his side (FIN), is looked at once he has his answer: who does not hear that his mail
    // is queued brings it again.
    if (!std::exchange(paused_, true)) stream_.pause_reading(true);
    if (house_.parts_.hand_over) {
        auto done = [again = later_here()](const std::vector<Reply>& replies) {
            again([&replies](Session& session) {
                session.engine_.to_each(replies);
                const auto good = std::find_if(replies.begin(), replies.end(), [](const Reply& r) { return r.positive(); });
                return good != replies.end() ? *good : replies.empty() ? Reply{451, "4.3.0", "Error: nobody to deliver to"} : replies.front();
            });
        };
        house_.parts_.hand_over({std::move(m.draft), std::move(header), std::move(envelope)}, std::move(done));
        return Pending{};
    }
    auto reply = later();
    auto committed = [reply, id, queued = house_.parts_.queued](Result<queue::Receipt> receipt) {
        if (!receipt) {
            log::error(id, ": not queued: ", receipt.error().text);
            return reply(storage_reply(receipt.error()));
        }
        // Also when the peer has gone meanwhile: what is on disk is our duty.
        queued(receipt->id());
        reply({250, "2.0.0", cat("Ok: queued as ", receipt->id())});
    };
    queue::Intake& intake = house_.parts_.intake;
    Rewriter* const rewriter = house_.parts_.rewriter;
    if (!rewriter || !rewriter->wanted()) {
        intake.commit(std::move(m.draft), header, envelope, std::move(committed));
        return Pending{};
    }
    auto draft = std::make_shared<queue::Draft>(std::move(m.draft));     // shared: a std::function must be copyable
    rewriter->run({std::move(header), std::move(envelope)}, [&intake, draft, id, reply, committed](Result<Rewriter::Mail> mail) {
        if (mail) return intake.commit(std::move(*draft), mail->header, mail->envelope, committed);
        log::warning(id, ": not queued: its addresses cannot be looked up: ", mail.error().text);
        reply({451, "4.3.0", "Error: temporary lookup failure"});
    });
    return Pending{};
}

}  // namespace veredus::reception

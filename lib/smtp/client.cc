// One SMTP conversation, client side (RFC 5321, RFC 2920): who answers what, and what it means for each recipient.
#include "lib/smtp/client.h"

#include <algorithm>

#include "lib/base/base64.h"
#include "lib/base/panic.h"
#include "lib/base/text.h"
#include "lib/smtp/grammar.h"

namespace veredus::smtp {

namespace {

constexpr std::string_view rcpt_to = "RCPT TO", mail_from = "MAIL FROM", end_of_data = "end of DATA", data_command = "DATA",
                           bdat_command = "BDAT", auth_command = "AUTH";
constexpr unsigned most_sasl_steps = 10; // more challenges are no exchange of ours

// A peer that breaks the protocol is the world's trouble, not the sender's: never a bounce.
const Reply garbage{451, "4.5.0", "Protocol error: the reply makes no sense"};
const Reply unfiltered{451, "4.3.0", "the table that filters replies cannot be used now"};

bool is_high(const mail::Address& address) { return !is_ascii(address.local) || !is_ascii(address.domain); }

}  // namespace

Client::Client(ClientOptions options) : options_(std::move(options)), reader_(options_.filter) {}

Client::Wants Client::feed(std::string_view bytes, std::string& out)
{
    Wants wants = Wants::input;
    while (!bytes.empty()) {
        std::size_t taken = 0;
        const auto state = reader_.feed(bytes, taken);
        bytes.remove_prefix(taken);
        if (state == ReplyReader::State::more) break;
        wants = state == ReplyReader::State::complete ? hear(reader_.take(), out)
                                                      : break_off(state == ReplyReader::State::garbage ? garbage : unfiltered, std::string(stage_), true);
        // RFC 3207 §5: what came in clear behind the 220 is forgotten.
        if (wants == Wants::starttls || wants == Wants::close) {
            reader_ = ReplyReader(options_.filter);
            break;
        }
        if (wants == Wants::finished && next_ && usable_) {
            held_ = bytes;    // of the transaction that follows
            break;
        }
        if (wants == Wants::finished) {
            // What comes behind the last reply was not asked for: a good-bye (421), or nonsense. The mail's fate stands.
            if (!bytes.empty() && usable_) leave();
            break;
        }
    }
    return wants;
}

Client::Wants Client::hear(const Reply& reply, std::string& out)
{
    if (reply.code == 421 && state_ != State::quitting)  // RFC 5321 §3.8: anywhere, and then the peer hangs up
        return break_off(reply, state_ == State::transaction || state_ == State::content || state_ == State::after_dot ? failed_command_ : std::string(), false);
    switch (state_) {
    case State::greeting:
        if (reply.code != 220) return break_off(reply.code >= 400 ? reply : garbage, "", reply.code < 400);
        return say_hello(out, true);
    case State::ehlo:
    case State::helo: return hear_hello(reply, out);
    case State::starttls:
        if (reply.code == 220) {
            state_ = State::handshake;
            stage_ = "performing the TLS handshake";
            return Wants::starttls;
        }
        failure_ = reply;
        failed_command_ = "STARTTLS";
        state_ = State::ready;
        usable_ = true;
        return Wants::ready;
    case State::transaction: return hear_step(reply, out);
    case State::content:  // the peer did not wait for the end
        if (reply.code < 400) return break_off(garbage, failed_command_, true);
        // It does not know BDAT although it announced CHUNKING: that is no judgement on the mail.
        if (knows_no_bdat(reply)) return refuse_bdat(reply);
        return break_off(reply, failed_command_, false);
    case State::after_dot: return hear_after_dot(reply);
    case State::quitting: state_ = State::closed; return Wants::close;
    case State::auth: return hear_auth(reply, out);
    case State::ready:
    case State::handshake:
    case State::closed: return break_off(garbage, "", true);
    }
    panic("smtp client: no such state");
}

Client::Wants Client::say_hello(std::string& out, bool extended)
{
    const std::string_view verb = options_.lmtp ? "LHLO" : extended ? "EHLO" : "HELO";
    state_ = extended ? State::ehlo : State::helo;
    failed_command_ = verb;
    stage_ = options_.lmtp ? "performing the LHLO handshake" : extended ? "performing the EHLO handshake" : "performing the HELO handshake";
    extensions_ = Extensions();
    append(out, verb, ' ', options_.helo_name, "\r\n");
    return Wants::input;
}

Client::Wants Client::hear_hello(const Reply& reply, std::string& out)
{
    if (!reply.positive()) {
        // RFC 5321 §3.2: a server that does not know EHLO gets HELO.
        if (state_ == State::ehlo && reply.permanent() && !options_.lmtp && !tls_) return say_hello(out, false);
        return break_off(reply, failed_command_, false);
    }
    if (reply.code / 100 != 2) return break_off(garbage, failed_command_, true);
    peer_name_ = reply.text.substr(0, reply.text.find_first_of(" \t\n"));
    if (state_ == State::ehlo) read_extensions(reply);
    if (((extensions_.starttls && options_.starttls) || options_.require_starttls) && !tls_ && extensions_.esmtp) {
        state_ = State::starttls;
        stage_ = "sending the STARTTLS command";
        append(out, "STARTTLS\r\n");
        return Wants::input;
    }
    state_ = State::ready;
    usable_ = true;
    return Wants::ready;
}

void Client::read_extensions(const Reply& reply)
{
    extensions_ = Extensions();
    extensions_.esmtp = true;
    const auto lines = split_on(reply.text, '\n');
    for (std::size_t i = 1; i < lines.size(); ++i) {
        const Line line = split_verb(lines[i]);
        const auto discarded = [&](const std::string& word) {
            return iequals(line.verb, word) || (iequals(word, "AUTH") && istarts_with(lines[i], "AUTH="));
        };
        if (std::any_of(options_.discard.begin(), options_.discard.end(), discarded)) continue;
        struct Row {
            std::string_view word;
            bool Extensions::*flag;
        };
        static constexpr Row rows[] = {
            {"PIPELINING", &Extensions::pipelining}, {"SIZE", &Extensions::size},         {"8BITMIME", &Extensions::eight_bit},
            {"STARTTLS", &Extensions::starttls},     {"SMTPUTF8", &Extensions::smtputf8}, {"ENHANCEDSTATUSCODES", &Extensions::enhanced_codes},
            {"DSN", &Extensions::dsn},               {"CHUNKING", &Extensions::chunking}, {"BINARYMIME", &Extensions::binarymime},
            {"REQUIRETLS", &Extensions::requiretls},
        };
        for (const Row& row : rows)
            if (iequals(line.verb, row.word)) extensions_.*row.flag = true;
        if (iequals(line.verb, "SIZE")) extensions_.max_size = parse_number<uint64_t>(line.rest).value_or(0);
        if (iequals(line.verb, "AUTH")) extensions_.auth = line.rest;
        else if (istarts_with(lines[i], "AUTH=") && extensions_.auth.empty()) extensions_.auth = lines[i].substr(5);
    }
}

Client::Wants Client::tls_started(std::string& out)
{
    if (state_ != State::handshake) panic("smtp client: TLS without STARTTLS");
    tls_ = true;
    reader_ = ReplyReader();
    return say_hello(out, true);
}

Client::Wants Client::authenticate(Sasl exchange, std::string& out)
{
    if (state_ != State::ready || !usable_) panic("smtp client: AUTH while not ready");
    sasl_ = std::move(exchange);
    sasl_steps_ = 0;
    authenticated_ = false;
    failure_ = Reply();
    failed_command_ = auth_command;
    state_ = State::auth;
    stage_ = "performing the AUTH exchange";
    append(out, "AUTH ", sasl_.mechanism);
    // RFC 4954 §4: an initial response of no bytes is "=".
    if (sasl_.initial) append(out, ' ', sasl_.initial->empty() ? std::string("=") : base64_encode(*sasl_.initial));
    append(out, "\r\n");
    return Wants::input;
}

Client::Wants Client::hear_auth(const Reply& reply, std::string& out)
{
    if (reply.code == 334 && ++sasl_steps_ <= most_sasl_steps) {
        const auto challenge = base64_decode(reply.text);
        const auto answer = challenge && sasl_.answer ? sasl_.answer(*challenge) : std::nullopt;
        append(out, answer ? base64_encode(*answer) : "*", "\r\n"); // RFC 4954 §4: "*" cancels
        if (!answer) sasl_.answer = nullptr;
        return Wants::input;
    }
    if (reply.code == 334) return break_off(garbage, std::string(auth_command), true);
    if (reply.code < 400 && reply.code != 235) return break_off(garbage, std::string(auth_command), true);
    const bool proven = reply.code == 235 && sasl_.answer && sasl_.complete();
    sasl_ = Sasl();
    state_ = State::ready;
    authenticated_ = proven;
    if (reply.code != 235) failure_ = reply;
    else if (!proven) failure_ = Reply{454, "4.7.0", "the server did not prove that it knows the password"};
    return Wants::ready;
}

bool Client::transaction_needs_utf8(const Transaction& t) const
{
    return (t.smtputf8 && t.utf8_header) || is_high(t.sender) ||
           std::any_of(t.recipients.begin(), t.recipients.end(), [](const auto& r) { return is_high(r.address); });
}

Client::Wants Client::begin(Transaction transaction, std::string& out)
{
    if (state_ != State::ready || !usable_) panic("smtp client: begin while not ready");
    const auto unfit = why_unfit(transaction);
    start(std::move(transaction));
    if (unfit) {
        state_ = State::ready;
        return refuse_all(*unfit, "", true);
    }
    step_ = needs_rset_ ? Step::rset : Step::mail;
    if (needs_rset_) append(out, "RSET\r\n");
    if (pipelined_) send_group(transaction_, out);
    else if (!needs_rset_) send_mail(transaction_, out);
    if (pipelined_) next_rcpt_ = transaction_.recipients.size();
    return Wants::input;
}

// What the peer cannot take need not be offered.
std::optional<Reply> Client::why_unfit(const Transaction& t) const
{
    if (extensions_.max_size && t.size > extensions_.max_size)  // RFC 1870 §6.1
        return Reply{552, "5.3.4", cat("message size ", t.size, " exceeds size limit ", extensions_.max_size, " of server")};
    if (transaction_needs_utf8(t) && !extensions_.smtputf8)  // RFC 6531 §3.2
        return Reply{550, "5.6.7", "SMTPUTF8 is required, but was not offered by the server"};
    if (t.body == mail::Body::binary && !(chunks(t) && extensions_.binarymime))  // RFC 3030 §3: "under no circumstances"
        return Reply{550, "5.6.3", "BINARYMIME is required, but was not offered by the server"};
    if (t.require_tls && !(tls_ && extensions_.requiretls))  // RFC 8689 §4.2.1
        return Reply{550, "5.7.30", "REQUIRETLS support required, but was not offered by the server"};
    return std::nullopt;
}

void Client::start(Transaction transaction)
{
    transaction_ = std::move(transaction);
    results_.assign(transaction_.recipients.size(), RecipientResult());
    accepted_.clear();
    next_rcpt_ = answered_ = 0;
    mail_refused_ = empty_dot_ = false;
    failure_ = Reply();
    pipelined_ = options_.pipelining && extensions_.pipelining;
    chunked_ = chunks(transaction_);
    state_ = State::transaction;
    failed_command_ = mail_from;
    stage_ = "sending MAIL FROM";
}

// The whole envelope at once.
void Client::send_group(const Transaction& t, std::string& out) const
{
    send_mail(t, out);
    for (const mail::Recipient& r : t.recipients) send_rcpt(r, out);
    // RFC 2920 §3.1: the last of the group. BDAT waits for the replies: its content cannot be taken back.
    if (!chunks(t)) append(out, "DATA\r\n");
}

void Client::follow(Transaction next, std::string& out)
{
    if (!may_follow() || why_unfit(next)) panic("smtp client: no transaction may follow now");
    next_ = std::move(next);
    // RFC 3030 §2: only RSET helps when a BDAT fails, and whether it does is not known yet.
    if (chunked_) append(out, "RSET\r\n");
    send_group(*next_, out);
}

Client::Wants Client::go_on(std::string& out)
{
    if (state_ != State::ready || !usable_ || !next_) panic("smtp client: nothing follows");
    const bool reset = chunked_;
    start(std::move(*std::exchange(next_, std::nullopt)));
    step_ = reset ? Step::rset : Step::mail;
    next_rcpt_ = transaction_.recipients.size();
    return held_.empty() ? Wants::input : feed(std::exchange(held_, {}), out);
}

void Client::send_mail(const Transaction& t, std::string& out) const
{
    append(out, "MAIL FROM:<", t.sender.text(), '>');
    if (extensions_.size && t.size) append(out, " SIZE=", t.size);
    if (t.body == mail::Body::binary) append(out, " BODY=BINARYMIME");
    else if (extensions_.eight_bit && t.body != mail::Body::seven_bit) append(out, " BODY=8BITMIME");
    if (extensions_.smtputf8 && (t.smtputf8 || transaction_needs_utf8(t))) append(out, " SMTPUTF8");
    if (t.require_tls) append(out, " REQUIRETLS");
    if (extensions_.dsn && t.ret != mail::Ret::unset) append(out, " RET=", t.ret == mail::Ret::full ? "FULL" : "HDRS");
    if (extensions_.dsn && !t.envid.empty()) append(out, " ENVID=", xtext_encode(t.envid));
    append(out, "\r\n");
}

void Client::send_rcpt(const mail::Recipient& r, std::string& out) const
{
    append(out, "RCPT TO:<", r.address.text(), '>');
    if (extensions_.dsn && r.notify != mail::notify_unset) {
        append(out, " NOTIFY=");
        if (r.notify & mail::notify_never) append(out, "NEVER");
        else {
            std::string list;
            if (r.notify & mail::notify_success) append(list, "SUCCESS,");
            if (r.notify & mail::notify_failure) append(list, "FAILURE,");
            if (r.notify & mail::notify_delay) append(list, "DELAY,");
            list.pop_back();
            append(out, list);
        }
    }
    if (extensions_.dsn && !r.orcpt.empty()) {
        const auto [type, address] = cut(r.orcpt, ';');
        append(out, " ORCPT=", type, ';', iequals(type, "utf-8") ? std::string(address.value_or("")) : xtext_encode(address.value_or("")));
    }
    append(out, "\r\n");
}

Client::Wants Client::hear_step(const Reply& reply, std::string& out)
{
    switch (step_) {
    case Step::rset:
        if (reply.code / 100 != 2) return break_off(reply.code >= 400 ? Reply{451, "4.5.0", "the server refuses RSET"} : garbage, "RSET", true);
        needs_rset_ = false;
        step_ = Step::mail;
        if (!pipelined_) send_mail(transaction_, out);
        return Wants::input;
    case Step::mail:
        if (reply.code / 100 == 3) return break_off(garbage, std::string(mail_from), true);
        mail_refused_ = !reply.positive();
        if (mail_refused_) undecided(reply, std::string(mail_from), false);
        else needs_rset_ = true;
        if (mail_refused_ && !pipelined_) return finish();
        step_ = transaction_.recipients.empty() ? Step::data : Step::rcpt;
        failed_command_ = rcpt_to;
        stage_ = "sending RCPT TO";
        return next_step(out);
    case Step::rcpt: {
        if (reply.code / 100 == 3) return break_off(garbage, std::string(rcpt_to), true);
        const std::size_t index = answered_++;
        if (!mail_refused_ && reply.positive()) {
            accepted_.push_back(index);
        } else if (!mail_refused_) {
            results_[index] = {reply, std::string(rcpt_to), false};
            if (reply.code == 552) {  // RFC 5321 §4.5.3.1.10: means "too many recipients" from old servers
                results_[index].reply.code = 452;
                if (!reply.enhanced.empty()) results_[index].reply.enhanced[0] = '4';
            }
        }
        if (answered_ == results_.size()) {
            step_ = Step::data;
            failed_command_ = data_command;
            stage_ = "sending DATA command";
        }
        return next_step(out);
    }
    case Step::data: return hear_data(reply, out);
    }
    panic("smtp client: no such step");
}

// One by one, when the peer does not pipeline.
Client::Wants Client::next_step(std::string& out)
{
    if (step_ == Step::data && chunked_) {
        if (accepted_.empty()) return finish();
        append(out, "BDAT ", transaction_.chunk_size, " LAST\r\n");
        state_ = State::content;
        failed_command_ = bdat_command;
        stage_ = "sending message body";
        return Wants::content;
    }
    if (pipelined_) return Wants::input;
    if (step_ == Step::rcpt) send_rcpt(transaction_.recipients[next_rcpt_++], out);
    else if (accepted_.empty()) return finish();
    else append(out, "DATA\r\n");
    return Wants::input;
}

Client::Wants Client::hear_data(const Reply& reply, std::string& out)
{
    if (reply.code / 100 == 2) return break_off(garbage, std::string(data_command), true);
    if (reply.code < 400 && accepted_.empty()) {
        // RFC 2920 §3.1: a server may say 354 although nobody is left; it gets an empty mail that it cannot deliver.
        append(out, ".\r\n");
        empty_dot_ = true;
        state_ = State::after_dot;
        stage_ = "sending end of data";
        return Wants::input;
    }
    if (reply.code >= 400) {
        undecided(reply, std::string(data_command), false);
        return finish();
    }
    state_ = State::content;
    failed_command_ = end_of_data;
    stage_ = "sending message body";
    return Wants::content;
}

Client::Wants Client::content_sent(std::string& out)
{
    (void)out;
    if (state_ != State::content) return Wants::close;  // the peer broke off meanwhile
    state_ = State::after_dot;
    stage_ = "sending end of data -- message may be sent more than once";
    answered_ = 0;
    return Wants::input;
}

Client::Wants Client::content_failed()
{
    undecided(Reply{451, "4.3.0", "queue file read error"}, "", true);
    usable_ = false;
    state_ = State::closed;
    return Wants::finished;
}

Client::Wants Client::hear_after_dot(const Reply& reply)
{
    if (empty_dot_) {
        needs_rset_ = false;
        return finish();
    }
    if (reply.code / 100 == 3) return break_off(garbage, failed_command_, true);
    if (knows_no_bdat(reply)) return refuse_bdat(reply);
    needs_rset_ = chunked_ && !reply.positive();  // RFC 3030 §2: after a failed BDAT only RSET helps
    if (!options_.lmtp) {
        undecided(reply, failed_command_, false);
        return finish();
    }
    results_[accepted_[answered_++]] = {reply, failed_command_, false};  // RFC 2033 §4.2: in the order of RCPT
    return answered_ == accepted_.size() ? finish() : Wants::input;
}

bool Client::knows_no_bdat(const Reply& reply) const { return chunked_ && (reply.code == 500 || reply.code == 502); }

// Who announces CHUNKING but does not know BDAT has judged no mail; and it reads the content as commands, so that nothing it says from
// here on counts.
Client::Wants Client::refuse_bdat(const Reply& reply)
{
    bdat_refused_ = true;
    return break_off(Reply{451, "4.5.0", cat("the server announced CHUNKING and refuses BDAT: ", reply.code)}, std::string(bdat_command), true);
}

// No further mail goes over this conversation.
void Client::leave()
{
    usable_ = false;
    state_ = State::closed;
}

Client::Wants Client::finish()
{
    state_ = State::ready;
    usable_ = true;
    return Wants::finished;
}

void Client::undecided(const Reply& reply, const std::string& command, bool ours)
{
    for (RecipientResult& r : results_)
        if (r.reply.code == 0) r = {reply, command, ours};
}

// Our own verdict before a byte was sent.
Client::Wants Client::refuse_all(Reply reply, std::string command, bool ours)
{
    undecided(reply, command, ours);
    return Wants::finished;
}

// The conversation is over: whoever has no verdict yet gets this one, as a temporary one.
Client::Wants Client::break_off(const Reply& reply, std::string command, bool ours)
{
    const bool in_transaction = state_ == State::transaction || state_ == State::content || state_ == State::after_dot;
    usable_ = false;
    failure_ = reply;
    failed_command_ = command;
    state_ = State::closed;
    if (!in_transaction) return Wants::close;
    undecided(reply, command, ours);
    return Wants::finished;
}

Client::Wants Client::quit(std::string& out)
{
    append(out, "QUIT\r\n");
    state_ = State::quitting;
    stage_ = "sending QUIT command";
    usable_ = false;
    return Wants::input;
}

}  // namespace veredus::smtp

// One SMTP conversation, server side (RFC 5321): the table of verbs, lines, replies, and what they do to the state.
#include "lib/smtp/server.h"

#include <algorithm>
#include <cstring>

#include "lib/base/panic.h"
#include "lib/base/text.h"

namespace veredus::smtp {

namespace {

constexpr std::size_t longest_auth_line = 12'288;  // RFC 4954 §4
constexpr std::size_t kept_surplus = 200;

enum Flags : unsigned {
    plaintext_ok = 1,  // also when TLS is required
    ends_group = 2,    // RFC 2920 §3.1: must be the last of its group
    junk = 4,          // does no work: too many of them are an error each
    no_arguments = 8,
    smtp_only = 16,
    lmtp_only = 32,
};

// RFC 5321 §3.8: said with 421 is that we hang up; 521 of an access table or a policy service does so, too (Postfix's access(5)).
bool ends_session(const Reply& reply) { return reply.code == 421 || reply.code == 521; }

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

}  // namespace

struct Server::Verb {
    const char* name;
    Outcome (Server::*handler)(std::string_view);
    const char* tally;  // the name in the disconnect line
    State earliest;
    const char* too_early;
    unsigned flags;
};

// In the order of the disconnect line. `earliest` is the RFC's order of commands (§4.1.4).
const Server::Verb Server::verbs[] = {
    {"EHLO", &Server::ehlo, "ehlo", State::connected, "", plaintext_ok | ends_group | junk | smtp_only},
    {"HELO", &Server::helo, "helo", State::connected, "", plaintext_ok | ends_group | junk | smtp_only},
    {"LHLO", &Server::lhlo, "lhlo", State::connected, "", plaintext_ok | ends_group | junk | lmtp_only},
    {"STARTTLS", &Server::starttls, "starttls", State::connected, "", plaintext_ok | ends_group | no_arguments},
    {"AUTH", &Server::auth, "auth", State::greeted, "send EHLO first", ends_group},
    {"MAIL", &Server::mail, "mail", State::connected, "", 0},
    {"RCPT", &Server::rcpt, "rcpt", State::mail, "need MAIL command", 0},
    {"DATA", &Server::data, "data", State::mail, "need RCPT command", ends_group | no_arguments},
    {"BDAT", &Server::bdat, "bdat", State::connected, "", 0},
    {"RSET", &Server::rset, "rset", State::connected, "", plaintext_ok | junk | no_arguments},
    {"NOOP", &Server::noop, "noop", State::connected, "", plaintext_ok | junk},
    {"VRFY", &Server::vrfy, "vrfy", State::connected, "", junk},
    {"ETRN", &Server::etrn, "etrn", State::greeted, "send EHLO first", junk},
    {"HELP", &Server::help, "help", State::connected, "", plaintext_ok | junk},
    {"QUIT", &Server::quit, "quit", State::connected, "", plaintext_ok | no_arguments},
    // A browser or a proxy was made to talk to us; what follows is not meant for a mail server.
    {"GET POST CONNECT PUT HEAD OPTIONS", &Server::forbidden, "forbidden", State::connected, "", plaintext_ok},
};

Server::Server(Delegate& delegate, const Limits& limits) : limits_(limits), delegate_(delegate)
{
    static_assert(std::size(verbs) == unknown_verb);
}

void Server::greet(std::string& out) { append(out, "220 ", limits_.banner, "\r\n"); }

void Server::refuse(const Reply& reply, std::string& out)
{
    speak(reply, out);
    closing_ = true;
    pending_ = false;
    forget_transaction();
    input_ = {};
}

Server::Wants Server::wants() const
{
    if (closing_) return Wants::close;
    if (want_tls_) return Wants::starttls;
    return pending_ ? Wants::answer : Wants::input;
}

Server::Wants Server::feed(std::string_view bytes, std::string& out)
{
    if (closing_) return Wants::close;
    if (pending_ && !extended_ && !bytes.empty()) hasty_ = true;
    if (!input_.empty()) {
        input_.append(bytes);
        drain(out);
        return wants();
    }
    const std::size_t taken = consume(bytes, out);
    if (!closing_ && !want_tls_) input_.append(bytes.substr(taken));
    return wants();
}

Server::Wants Server::answer(const Reply& reply, std::string& out)
{
    if (closing_) return Wants::close;
    if (!pending_) panic("an answer to no question");
    pending_ = false;
    settle(reply, out);
    drain(out);
    return wants();
}

// Runs on with the bytes held; what must wait again stays, without the memory of what went.
void Server::drain(std::string& out)
{
    std::string held;
    held.swap(input_);
    const std::size_t taken = consume(held, out);
    if (!closing_ && !want_tls_) input_.assign(held, taken);
}

Server::Wants Server::tls_started()
{
    // RFC 3207 §4.2: nothing that was said in clear counts.
    forget_transaction();
    want_tls_ = false;
    tls_ = true;
    state_ = State::connected;
    extended_ = false;
    helo_.clear();
    input_ = {};
    return wants();
}

void Server::authenticated(std::string_view user)
{
    auth_done_ = true;
    envelope_.auth_user = user;
}

std::string_view Server::protocol() const
{
    if (!extended_) return limits_.lmtp ? "LMTP" : "SMTP";
    if (limits_.lmtp && tls_) return auth_done_ ? "LMTPSA" : "LMTPS";
    if (limits_.lmtp) return auth_done_ ? "LMTPA" : "LMTP";
    if (tls_) return auth_done_ ? "ESMTPSA" : "ESMTPS";
    return auth_done_ ? "ESMTPA" : "ESMTP";
}

std::string Server::tally() const
{
    std::string out;
    Count total;
    for (std::size_t i = 0; i < verb_count; ++i) {
        const Count& c = counts_[i];
        if (c.all == 0) continue;
        total.good += c.good;
        total.all += c.all;
        append(out, i == unknown_verb ? "unknown" : verbs[i].tally, '=', c.good);
        if (c.good != c.all) append(out, '/', c.all);
        out.push_back(' ');
    }
    append(out, "commands=", total.good);
    if (total.good != total.all) append(out, '/', total.all);
    return out;
}

std::size_t Server::consume(std::string_view bytes, std::string& out)
{
    std::size_t at = 0;
    while (at < bytes.size() && !blocked()) {
        const std::string_view rest = bytes.substr(at);
        const std::size_t taken = state_ == State::data    ? consume_data(rest, out)
                                  : state_ == State::chunk ? consume_chunk(rest, out)
                                                           : consume_line(rest, out);
        if (taken == 0) break;
        at += taken;
    }
    return at;
}

std::size_t Server::consume_line(std::string_view bytes, std::string& out)
{
    const std::size_t limit = in_auth_ ? longest_auth_line : limits_.line_length;
    const std::size_t end = bytes.find('\n');
    if (end == std::string_view::npos) {
        if (!skipping_ && bytes.size() <= limit) return 0;
        skipping_ = true;  // an endless line costs no memory
        return bytes.size();
    }
    if (skipping_ || end > limit) {
        skipping_ = false;
        const bool in_auth = std::exchange(in_auth_, false);
        if (in_auth) delegate_.auth_cancelled();
        verb_ = unknown_verb;
        ++counts_[verb_].all;
        waiting_ = Waiting::other;
        // RFC 4954 §4, §6.
        settle(in_auth ? Reply{500, "5.5.6", "Authentication exchange line is too long"} : Reply{500, "5.5.2", "Error: line too long"}, out);
        return end + 1;
    }
    std::string_view line = bytes.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    else if (limits_.bare_lf != BareLf::normalize) {
        const Reply refusal = bare_newline(in_auth_ ? "AUTH" : last_verb_);
        if (limits_.bare_lf == BareLf::reject) {
            refuse(refusal, out);
            return end + 1;
        }
    }
    run(line, bytes.substr(end + 1), out);
    return end + 1;
}

// smtpd_forbid_bare_newline, in Postfix's words.
Reply Server::bare_newline(std::string_view where)
{
    if (!std::exchange(bare_told_, true)) delegate_.bare_newline(where);
    return {limits_.bare_lf_code, limits_.bare_lf_code < 500 ? "4.5.2" : "5.5.2", cat(limits_.hostname, " Error: bare <LF> received")};
}

// One command line. `more`: what was sent after it, before its reply.
void Server::run(std::string_view line, std::string_view more, std::string& out)
{
    if (!more.empty() && !extended_) hasty_ = true;
    if (in_auth_) {
        waiting_ = Waiting::auth;
        if (line == "*") delegate_.auth_cancelled();
        if (line == "*") return take(Reply{501, "5.7.0", "Authentication aborted"}, out);  // RFC 4954 §4
        return take(delegate_.auth_response(line), out);
    }
    const Line parts = split_verb(line);
    const std::string_view word = parts.verb, rest = parts.rest;
    const auto matches = [&](const Verb& v) {  // RFC 5321 §2.4: case does not matter
        if (v.flags & (limits_.lmtp ? smtp_only : lmtp_only)) return false;    // RFC 2033 §4.1: EHLO and HELO are no commands of LMTP
        if (v.handler != &Server::forbidden) return iequals(word, v.name);
        const auto names = split(v.name, " ");
        return std::find(names.begin(), names.end(), word) != names.end();
    };
    verb_ = static_cast<std::size_t>(std::find_if(std::begin(verbs), std::end(verbs), matches) - std::begin(verbs));
    ++counts_[verb_].all;
    last_verb_ = verb_ == unknown_verb ? "UNKNOWN" : verbs[verb_].handler == &Server::forbidden ? "CONNECT" : verbs[verb_].name;
    waiting_ = Waiting::other;
    if (std::any_of(line.begin(), line.end(), [](char c) { return is_control(c) && c != '\t'; }))
        return settle(Reply{500, "5.5.2", "Error: bad syntax"}, out);
    if (verb_ == unknown_verb) return settle(Reply{500, "5.5.2", "Error: command not recognized"}, out);
    const Verb& verb = verbs[verb_];
    if (limits_.require_tls && !tls_ && !(verb.flags & plaintext_ok))
        return settle(Reply{530, "5.7.0", "Must issue a STARTTLS command first"}, out);
    if (!more.empty() && limits_.strict_groups && (verb.flags & ends_group)) {
        surplus_ = more.substr(0, kept_surplus);
        settle(Reply{554, "5.5.0", "Error: SMTP protocol synchronization"}, out);
        closing_ = true;
        return;
    }
    if ((verb.flags & junk) && ++junk_ > limits_.junk_commands) ++errors_;
    if (state_ < verb.earliest) return settle(Reply{503, "5.5.1", cat("Error: ", verb.too_early)}, out);
    if ((verb.flags & no_arguments) && !rest.empty()) return settle(Reply{501, "5.5.4", cat("Syntax: ", verb.name)}, out);
    take((this->*verb.handler)(rest), out);
}

void Server::take(Outcome outcome, std::string& out)
{
    if (const Reply* reply = std::get_if<Reply>(&outcome)) return settle(*reply, out);
    pending_ = true;
}

// A reply and what it means for the conversation; the only place where the state goes forward.
void Server::settle(const Reply& reply, std::string& out)
{
    const Waiting what = std::exchange(waiting_, Waiting::nothing);
    const bool good = reply.positive();
    in_auth_ = what == Waiting::auth && reply.code == 334;
    switch (what) {
    case Waiting::helo:
        if (!good) break;
        state_ = State::greeted;
        return say(extended_ ? Reply{250, "", announcement()} : Reply{250, "", limits_.hostname}, out);
    case Waiting::mail:
        if (good) state_ = State::mail;
        else forget_transaction();
        break;
    case Waiting::rcpt:
        if (good) {
            envelope_.recipients.push_back(std::move(recipient_));
            state_ = State::rcpt;
        } else {
            rcpt_refused_ = true;
            // Too many for one mail, or no room for one more now: no error of his, he brings it later (RFC 5321 §4.5.3.1.10).
            forgiven_ = reply.code == 452 && ++beyond_ <= limits_.recipients_beyond;
        }
        recipient_ = {};
        break;
    case Waiting::data:
        if (!good) break;
        state_ = State::data;
        dot_ = DotReader();
        content_open_ = true;
        append(out, "354 End data with <CR><LF>.<CR><LF>\r\n");  // RFC 2034 §4: no enhanced code here
        return;
    case Waiting::chunks:
        if (good && chunks_ == Chunks::none) {
            dot_ = DotReader(envelope_.body == mail::Body::binary ? DotReader::Dots::binary : DotReader::Dots::plain);
            content_open_ = true;
        }
        chunks_ = good ? Chunks::open : Chunks::failed;
        chunk_refusal_ = reply;
        state_ = State::chunk;
        if (chunk_left_ == 0) end_chunk(out);
        return;
    case Waiting::end:
        if (limits_.lmtp) return say_to_each(reply, out);
        if (good) errors_ = junk_ = 0;
        break;
    default: break;
    }
    if (what != Waiting::auth || reply.code != 334) return say(reply, out);
    append(out, Reply{334, "", reply.text}.wire());
}

void Server::say(const Reply& reply, std::string& out)
{
    const bool forgiven = std::exchange(forgiven_, false);
    if (reply.positive()) ++counts_[verb_].good;
    else if (!forgiven) ++errors_;
    speak(reply, out);
    if (ends_session(reply)) closing_ = true;
    close_if_hopeless(out);
}

// RFC 2033 §4.2, §4.3: after the content a reply for each RCPT that was taken, in their order, whatever befell the mail.
void Server::say_to_each(const Reply& reply, std::string& out)
{
    const std::vector<Reply> each = std::exchange(each_, {});
    const std::size_t owed = std::exchange(owed_, 0);
    bool good = false;
    for (std::size_t i = 0; i < owed; ++i) {
        const Reply& own = i < each.size() ? each[i] : reply;
        good = good || own.positive();
        speak(own, out);
    }
    if (good) ++counts_[verb_].good, errors_ = junk_ = 0;
    else ++errors_;
    if (ends_session(reply)) closing_ = true;
    close_if_hopeless(out);
}

void Server::close_if_hopeless(std::string& out)
{
    if (!closing_ && errors_ >= limits_.hard_errors) {
        speak(Reply{421, "4.7.0", cat(limits_.hostname, " Error: too many errors")}, out);
        closing_ = true;
    }
    if (closing_) forget_transaction();
}

void Server::speak(const Reply& reply, std::string& out) const
{
    Reply said = reply;
    if (!limits_.enhanced_codes) said.enhanced.clear();
    if (!reply.positive()) said.text += delegate_.footer(reply);
    append(out, said.wire());
}

void Server::forget_transaction()
{
    const std::string user = std::move(envelope_.auth_user);
    envelope_ = mail::Envelope();
    envelope_.auth_user = user;
    recipient_ = {};
    rcpt_refused_ = false;
    beyond_ = 0;
    chunks_ = Chunks::none;
    waiting_ = Waiting::nothing;
    if (state_ > State::greeted) state_ = helo_.empty() ? State::connected : State::greeted;
    delegate_.reset();
}

}  // namespace veredus::smtp

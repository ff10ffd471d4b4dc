// One SMTP conversation, server side (RFC 5321): the table of verbs, and what each does to the state.
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

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

// RFC 3461 §4.1 to §4.4 say of each of theirs that it comes once; of the others a second one would say something else or nothing.
std::optional<Reply> repeated(const std::vector<Param>& params)
{
    for (std::size_t i = 0; i < params.size(); ++i)
        for (std::size_t j = 0; j < i; ++j)
            if (iequals(params[i].name, params[j].name)) return Reply{501, "5.5.4", cat("Parameter ", printable(params[i].name, 40), " is there twice")};
    return std::nullopt;
}

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
        in_auth_ = false;
        verb_ = unknown_verb;
        ++counts_[verb_].all;
        waiting_ = Waiting::other;
        settle(Reply{500, "5.5.2", "Error: line too long"}, out);
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
    if (reply.positive()) ++counts_[verb_].good;
    else ++errors_;
    speak(reply, out);
    if (reply.code == 421) closing_ = true;  // RFC 5321 §3.8: said with it is that we hang up
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
    if (reply.code == 421) closing_ = true;
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
    chunks_ = Chunks::none;
    waiting_ = Waiting::nothing;
    if (state_ > State::greeted) state_ = helo_.empty() ? State::connected : State::greeted;
    delegate_.reset();
}

// ---- content ----

std::size_t Server::consume_data(std::string_view bytes, std::string& out)
{
    // One buffer for all sessions of the thread: an idle session keeps none.
    static thread_local std::string content;
    content.clear();
    const std::size_t taken = dot_.feed(bytes, content);
    give_content(content);
    if (dot_.ended()) finish_content(out);
    return taken;
}

void Server::give_content(std::string& content)
{
    const bool fits = limits_.message_size == 0 || dot_.size() <= limits_.message_size;
    if (content_open_ && fits && !content.empty()) content_open_ = delegate_.content(content);
    if (content.capacity() > 1'000'000) content = {};
}

// RFC 3030 §2: a chunk is read to its end whatever is wrong with it, and answered then.
std::size_t Server::consume_chunk(std::string_view bytes, std::string& out)
{
    static thread_local std::string content;
    content.clear();
    bytes = bytes.substr(0, static_cast<std::size_t>(std::min<uint64_t>(bytes.size(), chunk_left_)));
    chunk_left_ -= bytes.size();
    if (chunks_ == Chunks::open) {
        dot_.feed(bytes, content);
        give_content(content);
    }
    if (chunk_left_ == 0) end_chunk(out);
    return bytes.size();
}

void Server::end_chunk(std::string& out)
{
    state_ = before_chunk_;
    if (chunks_ == Chunks::open && limits_.message_size && dot_.size() > limits_.message_size) {
        chunk_refusal_ = Reply{552, "5.3.4", "Error: message file too big"};
        delegate_.refused(chunk_refusal_);
        delegate_.reset();
        chunks_ = Chunks::failed;
    }
    waiting_ = Waiting::other;
    if (chunks_ == Chunks::failed && limits_.lmtp && chunk_last_) {
        owed_ = envelope_.recipients.size();    // RFC 2033 §4.3: nobody was taken, nothing is said; a client that pipelines counts on it
        waiting_ = Waiting::end;
    }
    if (chunks_ == Chunks::failed) {
        if (state_ < State::mail) chunks_ = Chunks::none;  // there was no transaction that could have failed
        return settle(chunk_refusal_, out);
    }
    if (!chunk_last_) return settle(Reply{250, "2.0.0", "Ok"}, out);
    std::string tail;
    dot_.finish(tail);
    give_content(tail);
    finish_content(out);
}

void Server::finish_content(std::string& out)
{
    last_verb_ = "END-OF-MESSAGE";
    state_ = State::greeted;
    chunks_ = Chunks::none;
    waiting_ = Waiting::end;
    owed_ = envelope_.recipients.size();
    each_.clear();
    std::optional<Reply> refusal;
    if (limits_.message_size != 0 && dot_.size() > limits_.message_size)
        refusal = Reply{552, "5.3.4", "Error: message file too big"};
    else if (limits_.bare_lf != BareLf::normalize && dot_.saw_bare_lf()) {
        const Reply reply = bare_newline("DATA content");
        if (limits_.bare_lf == BareLf::reject) refusal = reply;
    }
    if (refusal) {
        delegate_.refused(*refusal);
        forget_transaction();
        waiting_ = Waiting::end;
        return settle(*refusal, out);
    }
    Delegate::Content facts;
    facts.size = dot_.size();
    facts.eight_bit = dot_.saw_8bit();
    facts.nul = dot_.saw_nul();
    facts.leading_dot = dot_.saw_leading_dot();
    facts.bare_lf = dot_.saw_bare();
    facts.longest_line = dot_.longest_line();
    mail::Envelope envelope = std::move(envelope_);
    envelope_ = mail::Envelope();
    envelope_.auth_user = envelope.auth_user;
    rcpt_refused_ = false;
    take(delegate_.end_of_data(facts, std::move(envelope)), out);
}

// ---- the verbs ----

Outcome Server::ehlo(std::string_view text) { return greeting(text, true); }
Outcome Server::helo(std::string_view text) { return greeting(text, false); }
Outcome Server::lhlo(std::string_view text) { return greeting(text, true); }

Outcome Server::greeting(std::string_view name, bool extended)
{
    if (!is_helo_name(name)) return Reply{501, "", cat("Syntax: ", limits_.lmtp ? "LHLO" : extended ? "EHLO" : "HELO", " hostname")};
    forget_transaction();  // RFC 5321 §4.1.4: as if RSET had been said
    helo_ = name;
    extended_ = extended;
    waiting_ = Waiting::helo;
    return delegate_.helo(name, extended);
}

std::string Server::announcement() const
{
    std::string out = limits_.hostname;
    const auto row = [&](bool on, std::string_view text) {
        if (on) append(out, '\n', text);
    };
    row(limits_.pipelining, "PIPELINING");
    row(true, limits_.message_size ? cat("SIZE ", limits_.message_size) : std::string("SIZE"));  // RFC 1870 §3
    row(!limits_.disable_vrfy, "VRFY");
    row(limits_.etrn, "ETRN");
    row(limits_.starttls && !tls_, "STARTTLS");
    if (const std::string mechanisms = auth_mechanisms(); !auth_done_) row(!mechanisms.empty(), cat("AUTH ", mechanisms));
    row(limits_.enhanced_codes, "ENHANCEDSTATUSCODES");
    row(limits_.eight_bit, "8BITMIME");
    row(limits_.dsn, "DSN");
    row(limits_.smtputf8, "SMTPUTF8");
    row(limits_.chunking, "CHUNKING");
    row(limits_.chunking && limits_.binary, "BINARYMIME");
    row(limits_.requiretls && tls_, "REQUIRETLS");  // RFC 8689 §2: in clear there is nothing to promise
    return out;
}

std::string Server::auth_mechanisms() const
{
    if (!limits_.auth || (!tls_ && !limits_.auth_in_clear)) return {};
    std::string now = delegate_.auth_mechanisms();
    return now.empty() ? limits_.auth_mechanisms : now;
}

Outcome Server::starttls(std::string_view)
{
    if (!limits_.starttls && limits_.require_tls && !tls_) return Reply{454, "4.7.0", "TLS not available due to local problem"};  // RFC 3207 §4
    if (!limits_.starttls) return Reply{502, "5.5.1", "Error: command not implemented"};
    if (tls_) return Reply{554, "5.5.1", "Error: TLS already active"};
    // RFC 3207 §4.2: nothing that was heard in clear may count under TLS; a login would.
    if (auth_done_) return Reply{503, "5.5.1", "Error: STARTTLS must come before AUTH"};
    want_tls_ = true;
    return Reply{220, "2.0.0", "Ready to start TLS"};
}

Outcome Server::auth(std::string_view text)
{
    if (!limits_.auth || !extended_) return Reply{503, "5.5.1", "Error: authentication not enabled"};
    if (!tls_ && !limits_.auth_in_clear) return Reply{538, "5.7.11", "Encryption required for requested authentication mechanism: turn on STARTTLS or SSL/TLS"};
    if (auth_done_) return Reply{503, "5.5.1", "Error: already authenticated"};  // RFC 4954 §4
    if (state_ >= State::mail) return Reply{503, "5.5.1", "Error: MAIL transaction in progress"};
    const auto words = split(text, " ");
    if (words.empty() || words.size() > 2) return Reply{501, "5.5.4", "Syntax: AUTH mechanism"};
    waiting_ = Waiting::auth;
    return delegate_.auth(words[0], words.size() > 1 ? words[1] : std::string_view());
}

Outcome Server::mail(std::string_view text)
{
    if (state_ == State::connected && limits_.helo_required) return Reply{503, "5.5.1", limits_.lmtp ? "Error: send LHLO first" : "Error: send HELO/EHLO first"};
    if (state_ >= State::mail) return Reply{503, "5.5.1", "Error: nested MAIL command"};
    if (!istarts_with(text, "FROM:")) return Reply{501, "5.5.4", "Syntax: MAIL FROM:<address>"};
    auto path = parse_mail_from(text, limits_.strict_envelopes);
    if (!path) return Reply{501, "5.1.7", cat("Bad sender address syntax: ", path.error().text)};
    forget_transaction();
    uint64_t declared = 0;
    if (const auto twice = repeated(path->params)) return *twice;
    for (const Param& p : path->params)
        if (auto refusal = mail_param(p, declared)) {
            forget_transaction();
            return *refusal;
        }
    if (path->utf8 && !envelope_.smtputf8) return Reply{553, "5.6.7", "Must declare SMTPUTF8 to send a non-ASCII address"};  // RFC 6531 §3.5
    envelope_.sender = std::move(path->address);
    waiting_ = Waiting::mail;
    return delegate_.sender(envelope_, declared);
}

std::optional<Reply> Server::mail_param(const Param& p, uint64_t& declared)
{
    const std::string_view value = p.value.value_or("");
    const auto bad = [&] { return Reply{501, "5.5.4", cat("Bad ", upper(p.name), " parameter")}; };
    if (iequals(p.name, "SIZE")) {  // RFC 1870 §4
        const auto size = parse_number<uint64_t>(value);
        if (!size) return bad();
        if (limits_.message_size && *size > limits_.message_size) return Reply{552, "5.3.4", "Message size exceeds fixed limit"};
        declared = *size;
    } else if (iequals(p.name, "BODY") && (limits_.eight_bit || (limits_.chunking && limits_.binary))) {  // RFC 6152 §3, RFC 3030 §3
        if (iequals(value, "8BITMIME") && limits_.eight_bit) envelope_.body = mail::Body::eight_bit;
        else if (iequals(value, "BINARYMIME") && limits_.chunking && limits_.binary) envelope_.body = mail::Body::binary;
        else if (!iequals(value, "7BIT")) return bad();
    } else if (iequals(p.name, "SMTPUTF8") && limits_.smtputf8) {  // RFC 6531 §3.4
        if (p.value) return bad();
        envelope_.smtputf8 = true;
    } else if (iequals(p.name, "REQUIRETLS") && limits_.requiretls && tls_) {  // RFC 8689 §4.1
        if (p.value) return bad();
        envelope_.tls = mail::TlsNeed::required;
    } else if (iequals(p.name, "RET") && limits_.dsn) {  // RFC 3461 §4.3
        if (iequals(value, "FULL")) envelope_.ret = mail::Ret::full;
        else if (iequals(value, "HDRS")) envelope_.ret = mail::Ret::headers;
        else return bad();
    } else if (iequals(p.name, "ENVID") && limits_.dsn) {  // RFC 3461 §4.4
        const auto id = value.size() <= 100 ? xtext_decode(value) : std::nullopt;
        if (!id || id->empty() || std::any_of(id->begin(), id->end(), is_control)) return bad();
        envelope_.envid = *id;
    } else if (iequals(p.name, "AUTH") && limits_.auth) {  // RFC 4954 §5: whom the client vouches for; we vouch for nobody
        if (!xtext_decode(value)) return bad();
    } else {
        return Reply{555, "5.5.4", cat("Unsupported option: ", printable(p.name, 50))};
    }
    return std::nullopt;
}

Outcome Server::rcpt(std::string_view text)
{
    if (chunks_ != Chunks::none) return Reply{503, "5.5.1", "Error: RCPT after BDAT"};
    if (!istarts_with(text, "TO:")) return Reply{501, "5.5.4", "Syntax: RCPT TO:<address>"};
    waiting_ = Waiting::rcpt;
    auto path = parse_rcpt_to(text, limits_.strict_envelopes);
    if (!path) return Reply{501, "5.1.3", cat("Bad recipient address syntax: ", path.error().text)};
    if (envelope_.recipients.size() >= limits_.recipients)
        return Reply{452, "4.5.3", "Error: too many recipients"};  // RFC 5321 §4.5.3.1.10: 452, not 552
    recipient_ = {};
    if (const auto twice = repeated(path->params)) return *twice;
    for (const Param& p : path->params)
        if (auto refusal = rcpt_param(p, recipient_)) return *refusal;
    if (path->utf8 && !envelope_.smtputf8) return Reply{553, "5.6.7", "Must declare SMTPUTF8 to send to a non-ASCII address"};
    recipient_.address = std::move(path->address);
    return delegate_.recipient(recipient_, envelope_);
}

std::optional<Reply> Server::rcpt_param(const Param& p, mail::Recipient& recipient)
{
    const std::string_view value = p.value.value_or("");
    if (limits_.dsn && iequals(p.name, "NOTIFY")) {
        const auto notify = parse_notify(value);
        if (!notify) return Reply{501, "5.5.4", "Bad NOTIFY parameter"};
        recipient.notify = *notify;
        return std::nullopt;
    }
    if (limits_.dsn && iequals(p.name, "ORCPT")) {  // RFC 3461 §4.2
        const auto [type, address] = cut(value, ';');
        auto decoded = value.size() <= 500 ? xtext_decode(address.value_or("")) : std::nullopt;
        // RFC 6533 §3: after utf-8; stands plain UTF-8 or its own escapes.
        if (iequals(type, "utf-8") && address && is_utf8(*address)) decoded = std::string(*address);
        const bool clean = decoded && !decoded->empty() && std::none_of(decoded->begin(), decoded->end(), is_control);
        if (!clean || type.empty() || !std::all_of(type.begin(), type.end(), [](char c) { return is_alnum(c) || c == '-'; }))
            return Reply{501, "5.5.4", "Bad ORCPT parameter"};
        recipient.orcpt = cat(type, ';', *decoded);
        return std::nullopt;
    }
    return Reply{555, "5.5.4", cat("Unsupported option: ", printable(p.name, 50))};
}

Outcome Server::data(std::string_view)
{
    if (chunks_ != Chunks::none) return Reply{503, "5.5.1", "Error: DATA after BDAT"};  // RFC 3030 §2
    if (envelope_.body == mail::Body::binary) return Reply{503, "5.5.1", "Error: BODY=BINARYMIME goes with BDAT, not with DATA"};  // RFC 3030 §3
    if (envelope_.recipients.empty()) {
        if (rcpt_refused_) return Reply{limits_.lmtp ? 503 : 554, "5.5.1", "Error: no valid recipients"};  // RFC 5321 §3.3; RFC 2033 §4.2: 503
        return Reply{503, "5.5.1", "Error: need RCPT command"};
    }
    waiting_ = Waiting::data;
    return delegate_.data(envelope_);
}

// RFC 3030 §2: "size" or "size LAST"; the bytes follow the line at once.
Outcome Server::bdat(std::string_view text)
{
    if (!limits_.chunking) {
        closing_ = true;  // its data would be taken for commands
        return Reply{502, "5.5.1", "Error: command not implemented"};
    }
    const auto words = split(text, " \t");
    const auto size = words.empty() ? std::nullopt : parse_number<uint64_t>(words[0]);
    if (!size || words.size() > 2 || (words.size() == 2 && !iequals(words[1], "LAST"))) {
        closing_ = true;  // nobody knows where the data ends
        return Reply{501, "5.5.4", "Syntax: BDAT count [LAST]"};
    }
    chunk_left_ = *size;
    chunk_last_ = words.size() == 2;
    before_chunk_ = state_;
    waiting_ = Waiting::chunks;
    if (chunks_ == Chunks::open) return Reply{250, "", ""};  // goes on
    if (chunks_ == Chunks::failed) return Reply{503, "5.5.1", "Error: RSET after a failed BDAT"};
    if (state_ < State::mail) return Reply{503, "5.5.1", "Error: need RCPT command"};
    if (envelope_.recipients.empty())
        return rcpt_refused_ ? Reply{554, "5.5.1", "Error: no valid recipients"} : Reply{503, "5.5.1", "Error: need RCPT command"};
    return delegate_.data(envelope_);
}

Outcome Server::rset(std::string_view)
{
    forget_transaction();
    return Reply{250, "2.0.0", "Ok"};
}

Outcome Server::noop(std::string_view) { return Reply{250, "2.0.0", "Ok"}; }

Outcome Server::vrfy(std::string_view text)
{
    if (limits_.disable_vrfy) return Reply{502, "5.5.1", "VRFY command is disabled"};
    if (text.empty()) return Reply{501, "5.5.4", "Syntax: VRFY address"};
    return delegate_.vrfy(text);
}

Outcome Server::help(std::string_view)
{
    return Reply{214, "2.0.0", limits_.lmtp ? "Commands: LHLO MAIL RCPT DATA RSET NOOP VRFY QUIT\nSee RFC 2033" : "Commands: EHLO HELO MAIL RCPT DATA RSET NOOP VRFY QUIT\nSee RFC 5321"};
}

Outcome Server::etrn(std::string_view text)
{
    if (in_transaction()) return Reply{503, "5.5.1", "Error: MAIL transaction in progress"};   // RFC 1985 §5
    return delegate_.etrn(text);
}

Outcome Server::quit(std::string_view)
{
    closing_ = true;
    return Reply{221, "2.0.0", "Bye"};
}

Outcome Server::forbidden(std::string_view)
{
    closing_ = true;
    return Reply{421, "4.7.0", cat(limits_.hostname, " Error: this is a mail server, no web server")};
}

}  // namespace veredus::smtp

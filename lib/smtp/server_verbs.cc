// What each command of SMTP does (RFC 5321 §4.1.1 and its extensions), and the parameters of MAIL and RCPT.
#include "lib/smtp/server.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::smtp {

namespace {

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

Outcome Server::ehlo(std::string_view text) { return greeting(text, true); }
Outcome Server::helo(std::string_view text) { return greeting(text, false); }
Outcome Server::lhlo(std::string_view text) { return greeting(text, true); }

Outcome Server::greeting(std::string_view name, bool extended)
{
    auto named = parse_helo(name);
    if (!named) return Reply{501, "", cat("Syntax: ", limits_.lmtp ? "LHLO" : extended ? "EHLO" : "HELO", " hostname")};
    forget_transaction();  // RFC 5321 §4.1.4: as if RSET had been said
    helo_ = std::move(*named);
    extended_ = extended;
    waiting_ = Waiting::helo;
    return delegate_.helo(helo_, extended);
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
    if (limits_.dsn && iequals(p.name, "ORCPT")) {  // RFC 3461 §4.2: up to 500 characters
        const auto [type, address] = cut(value, ';');
        const auto characters = std::count_if(value.begin(), value.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
        auto decoded = characters <= 500 ? xtext_decode(address.value_or("")) : std::nullopt;
        // RFC 6533 §3: after utf-8; stands plain UTF-8 or its own escapes.
        if (iequals(type, "utf-8") && characters <= 500 && address && is_utf8(*address)) decoded = std::string(*address);
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

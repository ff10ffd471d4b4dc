#include "lib/pop3/login.h"

#include <algorithm>
#include <utility>

#include "lib/base/base64.h"
#include "lib/base/text.h"

namespace veredus::pop3 {

using login::Parting;
using login::Refusal;
using Wants = login::Dialect::Wants;

namespace {

constexpr unsigned most_errors = 10; // commands that are none: whoever speaks another protocol soon stops
constexpr std::string_view in_clear =
    "-ERR [AUTH] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.\r\n";

// RFC 3206: AUTH means that other credentials are needed, SYS/TEMP that the same ones may do later.
std::string_view reply_to(Refusal why)
{
    switch (why) {
    case Refusal::password: return "-ERR [AUTH] Authentication failed.\r\n";
    case Refusal::locked: return "-ERR [AUTH] This account is locked.\r\n";
    case Refusal::expired: return "-ERR [AUTH] The account or its password has expired.\r\n";
    case Refusal::malformed: return "-ERR Authentication exchange not understood.\r\n";
    case Refusal::no_mechanism: return "-ERR Unsupported authentication mechanism.\r\n";
    case Refusal::certificate: return "-ERR [AUTH] Nobody logs in here without a client certificate that is trusted.\r\n";
    case Refusal::throttled: return "-ERR [SYS/TEMP] Too many failures, try again later.\r\n";
    case Refusal::unavailable: return "-ERR [SYS/TEMP] Temporary authentication failure, try again later.\r\n";
    case Refusal::not_admitted: return "-ERR [SYS/TEMP] The mailbox cannot be opened now, try again later.\r\n";
    }
    return "-ERR [SYS/TEMP] Try again later.\r\n";
}

constexpr std::string_view said_utf8 = "UTF8\r\n";

} // namespace

// A login process that was taken over may say anything: what it says goes to its client only, in lines that are some of CAPA's.
LoginFacts read_hand_over(std::string_view text)
{
    LoginFacts facts;
    facts.utf8 = text.starts_with(said_utf8);
    if (facts.utf8) text.remove_prefix(said_utf8.size());
    const auto fits = [](char c) { return is_alnum(c) || c == '-' || c == '_' || c == ' ' || c == '\r' || c == '\n'; };
    if (text.size() <= 500 && text.ends_with("\r\n") && std::all_of(text.begin(), text.end(), fits)) facts.capabilities = text;
    return facts;
}

struct Login::Verb {
    std::string_view name;
    Wants (Login::*handler)(std::string_view, std::string&);
};

const Login::Verb Login::verbs[] = {
    {"APOP", &Login::apop}, {"AUTH", &Login::auth}, {"CAPA", &Login::capa}, {"LANG", &Login::lang},
    {"NOOP", &Login::noop}, {"PASS", &Login::pass}, {"QUIT", &Login::quit},
    {"STLS", &Login::stls}, {"USER", &Login::user}, {"UTF8", &Login::utf8}, {"XCLIENT", &Login::xclient},
};

void Login::greet(std::string& out)
{
    append(out, now_.trusted ? "+OK [XCLIENT] " : "+OK ", now_.greeting, now_.timestamp.empty() ? "" : " ", now_.timestamp, "\r\n");
}

Wants Login::feed(std::string_view bytes, std::string& out)
{
    input_.erase(0, std::exchange(taken_, 0));
    input_ += bytes;
    return go_on(out);
}

Wants Login::go_on(std::string& out)
{
    for (;;) {
        const std::size_t end = input_.find('\n', taken_);
        if (end == std::string::npos) {
            input_.erase(0, std::exchange(taken_, 0));
            if (input_.size() < longest_line) return Wants::input;
            // Half a line that can be none any more is not kept.
            skipping_ = true;
            input_.clear();
            return Wants::input;
        }
        std::string line = input_.substr(taken_, end - taken_);
        taken_ = end + 1;
        if (line.ends_with('\r')) line.pop_back();
        Wants wants = Wants::input;
        if (std::exchange(skipping_, false) || line.size() > longest_line)
            wants = too_long(out);
        else
            wants = in_exchange_ ? response(line, out) : run(line, out);
        if (wants != Wants::input) return wants;
    }
}

Wants Login::erred(std::string_view text, std::string& out)
{
    append(out, text);
    if (++errors_ < most_errors) return Wants::input;
    append(out, "-ERR Too many invalid commands.\r\n");
    return Wants::close;
}

// An exchange is over with it: -ERR ends it for the client (RFC 5034 §4), and what comes next is a command.
Wants Login::too_long(std::string& out)
{
    const Wants wants = erred("-ERR The line is too long.\r\n", out);
    return std::exchange(in_exchange_, false) && wants == Wants::input ? Wants::cancel : wants;
}

Wants Login::run(std::string_view line, std::string& out)
{
    const std::size_t blank = std::min(line.find(' '), line.size());
    const auto verb = std::find_if(std::begin(verbs), std::end(verbs),
                                   [&](const Verb& v) { return iequals(v.name, line.substr(0, blank)); });
    if (verb == std::end(verbs)) return erred("-ERR Unknown command.\r\n", out);
    return (this->*verb->handler)(line.substr(std::min(blank + 1, line.size())), out);
}

Wants Login::capa(std::string_view, std::string& out)
{
    append(out, "+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\nUTF8 USER\r\nLANG\r\n",
           capabilities_);
    if (now_.login_delay_s > 0) append(out, "LOGIN-DELAY ", now_.login_delay_s, "\r\n");
    if (now_.starttls) append(out, "STLS\r\n");
    append(out, login_capabilities(), ".\r\n");
    return Wants::input;
}

std::string Login::login_capabilities() const
{
    std::string out;
    // RFC 2449 §6.3: only where it would be taken, and USER is PLAIN to authd.
    const bool plain = std::find(now_.mechanisms.begin(), now_.mechanisms.end(), "PLAIN") != now_.mechanisms.end();
    if (now_.passwords && plain) append(out, "USER\r\n");
    if (now_.mechanisms.empty()) return out;
    append(out, "SASL");
    for (const std::string& name : now_.mechanisms) append(out, " ", name);
    append(out, "\r\n");
    return out;
}

Wants Login::stls(std::string_view, std::string& out)
{
    if (now_.tls) return erred("-ERR TLS is active already.\r\n", out);
    if (!now_.starttls) return erred("-ERR TLS is not available.\r\n", out);
    append(out, "+OK Begin TLS negotiation now.\r\n");
    return Wants::starttls;
}

void Login::secured()
{
    input_.clear();
    taken_ = 0;
    user_.clear();
    originating_.clear();
    in_exchange_ = skipping_ = utf8_ = false;
}

Wants Login::user(std::string_view name, std::string& out)
{
    if (!now_.passwords) {
        tried_in_clear_ = true;
        append(out, in_clear);
        return Wants::input;
    }
    if (name.empty() || name.size() > 255) return erred("-ERR A user name is wanted.\r\n", out);
    user_ = name;
    append(out, "+OK\r\n");
    return Wants::input;
}

// RFC 1939 §7: whatever is behind the blank, blanks included, is the password.
Wants Login::pass(std::string_view password, std::string& out)
{
    if (!now_.passwords) {
        tried_in_clear_ = true;
        append(out, in_clear);
        return Wants::input;
    }
    if (user_.empty()) return erred("-ERR No username given.\r\n", out);
    asked_ = {"PLAIN", cat('\0', user_, '\0', password), ""};
    user_.clear();
    return Wants::begin;
}

// RFC 1939 §7. No password goes over the line.
Wants Login::apop(std::string_view rest, std::string& out)
{
    if (now_.timestamp.empty()) return erred("-ERR The greeting had no timestamp.\r\n", out);
    asked_ = {"APOP", std::string(rest), ""};
    return Wants::begin;
}

// RFC 5034 §4: AUTH alone lists the mechanisms, as clients of RFC 1734's days expect.
Wants Login::auth(std::string_view rest, std::string& out)
{
    if (rest.empty()) {
        append(out, "+OK\r\n");
        for (const std::string& name : now_.mechanisms) append(out, name, "\r\n");
        append(out, ".\r\n");
        return Wants::input;
    }
    const auto [mechanism, initial] = cut(rest, ' ');
    asked_ = {std::string(mechanism), std::nullopt, ""};
    if (initial) {
        asked_.initial = *initial == "=" ? std::optional(std::string()) : base64_decode(*initial);
        if (!asked_.initial) return erred("-ERR The initial response is no base64 text.\r\n", out);
    }
    return Wants::begin;
}

Wants Login::challenge(std::string_view data, std::string& out)
{
    in_exchange_ = true;
    append(out, "+ ", base64_encode(data), "\r\n");
    return go_on(out);
}

Wants Login::response(std::string_view line, std::string& out)
{
    in_exchange_ = false;
    std::optional<std::string> bytes;
    if (line != "*") bytes = base64_decode(line);
    if (!bytes) {
        append(out, line == "*" ? "-ERR Authentication cancelled.\r\n" : "-ERR The response is no base64 text.\r\n");
        return Wants::cancel;
    }
    asked_.response = std::move(*bytes);
    return Wants::step;
}

Wants Login::refused(Refusal why, std::string& out)
{
    in_exchange_ = false;
    append(out, reply_to(why));
    return go_on(out);
}

Wants Login::lang(std::string_view rest, std::string& out)
{
    // RFC 6856 §3: "*" is whatever the server likes best.
    if (rest.empty())
        append(out, "+OK languages follow\r\nen English\r\n.\r\n");
    else if (rest == "*" || iequals(rest, "en") || iequals(rest, "i-default"))
        append(out, "+OK en English it is\r\n");
    else
        append(out, "-ERR there is no such language\r\n");
    return Wants::input;
}

Wants Login::utf8(std::string_view, std::string& out)
{
    utf8_ = true;
    append(out, "+OK UTF8 enabled\r\n");
    return Wants::input;
}

// As Dovecot's proxies say whose connection it is: "XCLIENT ADDR=192.0.2.7 PORT=4711 SESSION=x". The address counts.
Wants Login::xclient(std::string_view rest, std::string& out)
{
    constexpr std::size_t longest_address = 45; // of an IPv6 address, as text
    if (!now_.trusted) return erred("-ERR XCLIENT is for login_trusted_networks.\r\n", out);
    originating_.clear();
    for (const std::string_view word : split(rest, " ")) {
        const auto [name, value] = cut(word, '=');
        if (!value) return erred("-ERR XCLIENT is followed by NAME=VALUE.\r\n", out);
        if (iequals(name, "ADDR") && value->size() <= longest_address) originating_ = *value;
    }
    append(out, "+OK Updated\r\n");
    return Wants::input;
}

Wants Login::noop(std::string_view, std::string& out)
{
    append(out, "+OK\r\n");
    return Wants::input;
}

Wants Login::quit(std::string_view, std::string& out)
{
    goodbye_ = true;
    append(out, "+OK Logging out\r\n");
    return Wants::close;
}

login::Dialect::HandOver Login::hand_over()
{
    input_.erase(0, std::exchange(taken_, 0));
    return {cat(utf8_ ? said_utf8 : "", login_capabilities()), std::exchange(input_, {})};
}

void Login::part(Parting why, std::string& out)
{
    switch (why) {
    case Parting::idle: append(out, "-ERR Disconnected for inactivity.\r\n"); break;
    case Parting::stopping: append(out, "-ERR [SYS/TEMP] Server shutting down.\r\n"); break;
    case Parting::crowded: append(out, "-ERR [SYS/TEMP] Too many connections, try again later.\r\n"); break;
    case Parting::too_many_failures: append(out, "-ERR Too many failures, good bye.\r\n"); break;
    }
}

} // namespace veredus::pop3

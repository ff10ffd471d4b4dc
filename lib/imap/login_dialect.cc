#include "lib/imap/login_dialect.h"

#include <string.h>

#include <algorithm>
#include <utility>

#include "lib/base/base64.h"
#include "lib/base/text.h"

namespace veredus::imap {

using login::Parting;
using Why = login::Refusal;
using Wants = login::Dialect::Wants;

namespace {

constexpr unsigned most_errors = 10;         // commands that are none: whoever speaks another protocol soon stops
constexpr std::size_t longest_address = 45; // of an IPv6 address, as text
constexpr std::size_t longest_client = 1000; // of what ID said, bytes

// A stranger gets little: no command before the login is long.
const ReaderLimits limits = [] {
    ReaderLimits l;
    l.command = 40'000; // ID may have 30 fields of 1,054 bytes (RFC 2971 §3.3)
    l.depth = 10;
    l.ranges = 100;
    l.swallow = 65'536;
    return l;
}();

// RFC 5530 §3.
std::string_view answer_to(Why why, bool passwords)
{
    switch (why) {
    case Why::password: return "NO [AUTHENTICATIONFAILED] Authentication failed.";
    case Why::locked: return "NO [CONTACTADMIN] This account is locked.";
    case Why::expired: return "NO [EXPIRED] The account or its password has expired.";
    case Why::malformed: return "BAD Authentication exchange not understood.";
    case Why::no_mechanism:
        return passwords
                   ? "NO [CANNOT] Unsupported authentication mechanism."
                   : "NO [PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.";
    case Why::certificate: return "NO [PRIVACYREQUIRED] Nobody logs in here without a client certificate that is trusted.";
    case Why::throttled: return "NO [UNAVAILABLE] Too many failures, try again later.";
    case Why::unavailable: return "NO [UNAVAILABLE] Temporary authentication failure, try again later.";
    case Why::not_admitted: return "NO [UNAVAILABLE] The mailbox cannot be opened now, try again later.";
    }
    return "NO [UNAVAILABLE] Try again later.";
}

} // namespace

std::string describe_id(const Id& id)
{
    std::string out;
    for (const auto& [name, value] : id.fields) {
        if (out.size() > longest_client) break;
        append(out, out.empty() ? "" : ", ", printable(name, 30), "=");
        if (value)
            append(out, '"', printable(*value, 200), '"');
        else
            append(out, "NIL");
    }
    return out;
}

LoginFacts read_hand_over(std::string_view text)
{
    const std::size_t blank = text.find(' ');
    if (blank == text.npos) return {text, {}};
    return {text.substr(0, blank), text.substr(blank + 1)};
}

LoginDialect::LoginDialect()
{
    start_over();
}

LoginDialect::~LoginDialect() = default;

void LoginDialect::start_over()
{
    Handler& self = *this;
    reader_ = std::make_unique<Reader>(self, limits);
}

std::string LoginDialect::capabilities() const
{
    std::string out = "CAPABILITY IMAP4rev1 IMAP4rev2 SASL-IR ID ENABLE IDLE LITERAL+";
    if (now_.starttls) out += " STARTTLS";
    // LOGIN is PLAIN to authd: without that it would be refused (RFC 9051 §6.2.3).
    const bool plain = std::find(now_.mechanisms.begin(), now_.mechanisms.end(), "PLAIN") != now_.mechanisms.end();
    if (!now_.passwords || !plain) out += " LOGINDISABLED";
    for (const auto& name : now_.mechanisms) append(out, " AUTH=", name);
    return out;
}

void LoginDialect::greet(std::string& out)
{
    append(out, "* OK [", capabilities(), "] ", now_.greeting, "\r\n");
}

Wants LoginDialect::feed(std::string_view bytes, std::string& out)
{
    wants_ = Wants::input;
    out_ = &out;
    if (std::exchange(cancelled_, false)) reader_->resume(out);
    reader_->feed(bytes, out);
    return after(out);
}

// The command in hand has its answer.
Wants LoginDialect::go_on(std::string& out)
{
    wants_ = Wants::input;
    out_ = &out;
    reader_->resume(out);
    return after(out);
}

Wants LoginDialect::after(std::string& out)
{
    out_ = nullptr;
    if (reader_->closed() && wants_ != Wants::close) {
        append(out, "* BYE [TOOBIG] That is more than a login needs.\r\n");
        wants_ = Wants::close;
    }
    return wants_;
}

bool LoginDialect::command(std::string tag, Command command)
{
    tag_ = std::move(tag);
    if (const auto* c = std::get_if<Simple>(&command)) return simple(c->verb);
    if (auto* c = std::get_if<Login>(&command)) {
        std::string response = cat('\0', c->user, '\0', c->password);
        ::explicit_bzero(c->password.data(), c->password.size());
        return ask("PLAIN", std::move(response));
    }
    if (auto* c = std::get_if<Authenticate>(&command)) return ask(std::move(c->mechanism), std::move(c->initial));
    if (const auto* c = std::get_if<Id>(&command)) return identify(*c);
    return erred(tag_, "BAD Log in first.");
}

bool LoginDialect::simple(Verb verb)
{
    switch (verb) {
    case Verb::capability:
        append(*out_, "* ", capabilities(), "\r\n", tag_, " OK Capability completed.\r\n");
        return true;
    case Verb::noop: append(*out_, tag_, " OK NOOP completed.\r\n"); return true;
    case Verb::logout:
        append(*out_, "* BYE Logging out.\r\n", tag_, " OK Logout completed.\r\n");
        goodbye_ = true;
        wants_ = Wants::close;
        return false;
    case Verb::starttls: return starttls();
    default: return erred(tag_, "BAD Log in first.");
    }
}

bool LoginDialect::starttls()
{
    if (now_.tls) return erred(tag_, "BAD TLS is active already.");
    if (!now_.starttls) return erred(tag_, "BAD TLS is not available.");
    append(*out_, tag_, " OK Begin TLS negotiation now.\r\n");
    wants_ = Wants::starttls;
    return false;
}

bool LoginDialect::identify(const Id& id)
{
    client_ = describe_id(id);
    originating_.clear();
    for (const auto& [name, value] : id.fields)
        if (iequals(name, "x-originating-ip") && value && value->size() <= longest_address) originating_ = *value;
    append(*out_, "* ID (\"name\" \"veredus\")\r\n", tag_, " OK ID completed.\r\n");
    return true;
}

// What may be asked for is the stage's to say: refused() comes back.
bool LoginDialect::ask(std::string mechanism, std::optional<std::string> initial)
{
    asked_ = {std::move(mechanism), std::move(initial), ""};
    wants_ = Wants::begin;
    return false;
}

Wants LoginDialect::challenge(std::string_view data, std::string& out)
{
    append(out, "+ ", base64_encode(data), "\r\n");
    reader_->set_sasl(true);
    return go_on(out);
}

bool LoginDialect::sasl_line(std::string_view line)
{
    reader_->set_sasl(false);
    std::optional<std::string> bytes;
    if (line != "*") bytes = base64_decode(line);
    if (bytes) {
        asked_.response = std::move(*bytes);
        wants_ = Wants::step;
    } else {
        // RFC 9051 §6.2.2: both are BAD.
        append(*out_, tag_,
               line == "*" ? " BAD Authentication cancelled.\r\n" : " BAD The response is not base64.\r\n");
        cancelled_ = true;
        wants_ = Wants::cancel;
    }
    return false;
}

Wants LoginDialect::refused(Why why, std::string& out)
{
    append(out, tag_, " ", answer_to(why, now_.passwords), "\r\n");
    reader_->set_sasl(false);
    if (why == Why::not_admitted) { // the stage closes; RFC 9051 §7.1.5
        append(out, "* BYE [UNAVAILABLE] Come back later.\r\n");
        return Wants::close;
    }
    return go_on(out);
}

void LoginDialect::secured()
{
    start_over();
    client_.clear();
    originating_.clear();
    tag_.clear();
    asked_ = {};
    cancelled_ = false;
}

login::Dialect::HandOver LoginDialect::hand_over()
{
    return {client_.empty() ? tag_ : cat(tag_, " ", client_), reader_->take_rest()};
}

void LoginDialect::part(Parting why, std::string& out)
{
    switch (why) {
    case Parting::idle: append(out, "* BYE Disconnected for inactivity.\r\n"); break;
    case Parting::stopping: append(out, "* BYE [UNAVAILABLE] Server shutting down.\r\n"); break;
    case Parting::crowded: append(out, "* BYE [UNAVAILABLE] Too many connections, try again later.\r\n"); break;
    case Parting::too_many_failures: append(out, "* BYE Too many failures, good bye.\r\n"); break;
    }
}

bool LoginDialect::erred(std::string_view tag, std::string_view answer)
{
    append(*out_, tag, " ", answer, "\r\n");
    if (++errors_ < most_errors) return true;
    append(*out_, "* BYE Too many invalid commands.\r\n");
    wants_ = Wants::close;
    return false;
}

bool LoginDialect::refused(const std::string& tag, const Refusal& refusal)
{
    return erred(tag, cat(refusal.bad ? "BAD " : "NO ", refusal.text));
}

std::unique_ptr<Refusal> LoginDialect::append_begin(const std::string&, const Append&)
{
    return std::make_unique<Refusal>(Refusal{true, "Log in first."});
}

void LoginDialect::append_aborted(const std::string& tag, const Refusal& refusal)
{
    (void)refused(tag, refusal);
}

// append_begin() lets none of these come.
std::unique_ptr<Refusal> LoginDialect::append_message(const AppendMessage&)
{
    return std::make_unique<Refusal>(Refusal{true, "Log in first."});
}

std::unique_ptr<Refusal> LoginDialect::append_content(std::string_view)
{
    return std::make_unique<Refusal>(Refusal{true, "Log in first."});
}

std::unique_ptr<Refusal> LoginDialect::append_content_end()
{
    return std::make_unique<Refusal>(Refusal{true, "Log in first."});
}

bool LoginDialect::append_end(const std::string& tag)
{
    return erred(tag, "BAD Log in first.");
}

} // namespace veredus::imap

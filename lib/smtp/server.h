// One SMTP conversation, server side (RFC 5321). Bytes in, bytes out: no fd, no clock, no libevent.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "lib/mail/envelope.h"
#include "lib/smtp/dot.h"
#include "lib/smtp/grammar.h"
#include "lib/smtp/reply.h"

namespace veredus::smtp {

struct Limits {
    std::string hostname;                   // in the greeting and EHLO
    std::string banner;                     // after "220 "; begins with the host name
    uint64_t message_size = 10'240'000;     // bytes of content; 0: no limit (and SIZE without a number)
    std::size_t recipients = 1000;          // RFC 5321 §4.5.3.1.8: at least 100
    std::size_t line_length = max_command_line;
    unsigned soft_errors = 10;              // from here on the host slows down
    unsigned hard_errors = 20;              // 421 and close
    unsigned junk_commands = 100;           // NOOP, VRFY, RSET … between mails before each counts as an error
    bool helo_required = false;
    bool disable_vrfy = true;
    bool strict_envelopes = false;
    DotReader::BareLf bare_lf = DotReader::BareLf::normalize;
    // What EHLO announces; off rows are also not understood.
    bool pipelining = true, eight_bit = true, enhanced_codes = true;
    bool starttls = false;                  // announced while in clear
    bool require_tls = false;               // 530 for anything but EHLO, STARTTLS, NOOP, QUIT in clear
    bool auth = false, smtputf8 = false, dsn = false, chunking = false;
    std::string auth_mechanisms;            // "PLAIN LOGIN"
};

struct Pending {};                           // the delegate will call Server::answer() later
using Outcome = std::variant<Reply, Pending>;

// Counters for the disconnect line (dropin.md §3.3): verb in lower case -> {good, all}.
struct Count {
    unsigned good = 0, all = 0;
};

// The policy behind an engine. Each call is answered at once or Pending; while Pending the engine holds all further input.
class Delegate {
public:
    virtual ~Delegate() = default;
    virtual Outcome helo(std::string_view name, bool extended) = 0;               // a positive Reply's text is ignored
    virtual Outcome sender(const mail::Envelope& envelope, uint64_t declared_size) = 0;
    virtual Outcome recipient(mail::Recipient rcpt, const mail::Envelope& envelope) = 0;
    virtual Outcome data(const mail::Envelope& envelope) = 0;                     // 354 on a positive Reply
    // Content in CRLF form, unstuffed. False: the delegate has no room or heart for more; the engine reads on to the
    // end, drops it, and then gives end_of_data() as usual.
    virtual bool content(std::string_view bytes) = 0;
    struct Content {
        uint64_t size = 0;
        bool eight_bit = false, nul = false, leading_dot = false, bare_lf = false, too_big = false;
    };
    virtual Outcome end_of_data(const Content& content, mail::Envelope&& envelope) = 0;
    virtual void reset() {}                                                       // RSET, EHLO, a new MAIL, or an end: drop the draft
    virtual Outcome vrfy(std::string_view) { return Reply{252, "2.0.0", "Cannot VRFY user, but will accept message and attempt delivery"}; }
    virtual Outcome auth(std::string_view mechanism, std::string_view initial) { (void)mechanism, (void)initial; return Reply{502, "5.5.1", "AUTH not available"}; }
    virtual Outcome auth_response(std::string_view line) { (void)line; return Reply{501, "5.5.2", "no AUTH in progress"}; }   // a 334 Reply goes on
    virtual Outcome etrn(std::string_view) { return Reply{502, "5.5.1", "ETRN not available"}; }
};

class Server {
public:
    enum class Wants { input, answer, starttls, close };
    Server(Delegate& delegate, const Limits& limits);      // limits are borrowed and must outlive the server
    void greet(std::string& out);                          // "220 banner"
    void refuse(const Reply& reply, std::string& out);     // instead of greet: 421/554, then close
    Wants feed(std::string_view bytes, std::string& out);  // any cut: half a line, or ten pipelined ones
    Wants answer(const Reply& reply, std::string& out);    // the delegate's late answer to a Pending; goes on with held input
    Wants tls_started();                                   // the handshake is done: forgets all heard in clear (RFC 3207 §4.2)
    void authenticated(std::string_view user);             // the delegate vouches; further AUTH gets 503
    bool tls() const { return tls_; }
    bool in_data() const;                                  // between 354 and the end of content
    bool in_transaction() const;
    std::string_view helo_name() const { return helo_; }
    bool extended() const { return extended_; }
    unsigned errors() const { return errors_; }
    std::string_view last_verb() const { return last_verb_; }   // for "lost connection after RCPT"; "CONNECT" at first
    uint64_t data_bytes() const;                           // content bytes of the running or last DATA
    const mail::Envelope& envelope() const { return envelope_; }
    const std::map<std::string, Count, std::less<>>& counts() const { return counts_; }

private:
    friend struct Verbs;
    enum class State : unsigned char { connected, greeted, mail, rcpt, data, chunk };
    const Limits& limits_;
    Delegate& delegate_;
    mail::Envelope envelope_;
    State state_ = State::connected;
    std::string helo_, input_, last_verb_ = "CONNECT";
    bool extended_ = false, tls_ = false, auth_done_ = false, pending_ = false, closing_ = false, in_auth_ = false;
    unsigned errors_ = 0, junk_ = 0;
    std::map<std::string, Count, std::less<>> counts_;
    struct Private;                                        // what only server.cc knows
    std::shared_ptr<Private> private_;                     // shared_ptr: only so that Private may stay incomplete here
};

}  // namespace veredus::smtp

// One SMTP conversation, server side (RFC 5321). Bytes in, bytes out: no fd, no clock, no libevent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lib/mail/envelope.h"
#include "lib/smtp/dot.h"
#include "lib/smtp/grammar.h"
#include "lib/smtp/reply.h"

namespace veredus::smtp {

// Lines that end in a bare LF are mended, and the owner may want to hear of it; or whoever sends one is refused.
enum class BareLf : uint8_t { normalize, note, reject };

struct Limits {
    std::string hostname;                   // in the greeting and EHLO
    std::string banner;                     // after "220 "; begins with the host name
    uint64_t message_size = 10'240'000;     // bytes of content; 0: no limit (and SIZE without a number)
    std::size_t recipients = 1000;          // RFC 5321 §4.5.3.1.8: at least 100
    std::size_t recipients_beyond = 1000;   // so many more of a mail are refused before a further one counts as an error (§4.5.3.1.10: the client sends them later)
    std::size_t line_length = max_command_line;
    unsigned soft_errors = 10;              // from here on the host slows down
    unsigned hard_errors = 20;              // 421 and close
    unsigned junk_commands = 100;           // NOOP, VRFY, RSET … between mails before each counts as an error
    bool helo_required = false;
    bool disable_vrfy = true;
    bool strict_envelopes = false;
    BareLf bare_lf = BareLf::normalize;
    int bare_lf_code = 550;                 // of reject
    bool lmtp = false;                      // RFC 2033: LHLO instead of EHLO and HELO, and a reply for each recipient after the content
    bool strict_groups = true;              // a command that must end its group but does not: 554 and close (RFC 2920 §3.1)
    // What EHLO announces; off rows are also not understood.
    bool pipelining = true, eight_bit = true, enhanced_codes = true;
    bool starttls = false;                  // announced while in clear
    bool require_tls = false;               // 530 for anything but EHLO, STARTTLS, NOOP, QUIT in clear
    bool auth_in_clear = false;             // else AUTH is neither announced nor taken before TLS (RFC 4954 §4)
    bool auth = false, smtputf8 = false, dsn = false, chunking = false;
    bool binary = false;                    // BODY=BINARYMIME, with chunking only (RFC 3030 §3)
    bool etrn = false;                      // announced (RFC 1985); what is done about it, the delegate says
    bool requiretls = false;                // announced and taken under TLS only (RFC 8689 §2)
    std::string auth_mechanisms;            // "PLAIN LOGIN"
};

struct Pending {};                           // the delegate will call Server::answer() later
using Outcome = std::variant<Reply, Pending>;

// The policy behind an engine. Each call is answered at once or Pending; while Pending the engine holds all further input.
class Delegate {
public:
    virtual ~Delegate() = default;
    virtual Outcome helo(std::string_view name, bool extended) = 0;               // a positive Reply's text is ignored
    virtual Outcome sender(const mail::Envelope& envelope, uint64_t declared_size) = 0;
    virtual Outcome recipient(mail::Recipient rcpt, const mail::Envelope& envelope) = 0;
    virtual Outcome data(const mail::Envelope& envelope) = 0;                     // 354 on a positive Reply
    // Content in CRLF form, unstuffed; of a mail with Body::binary the bytes as they came, its header too. False: the delegate has no room or heart for more; the engine reads on to the
    // end, drops it, and then gives end_of_data() as usual.
    virtual bool content(std::string_view bytes) = 0;
    struct Content {
        uint64_t size = 0;
        bool eight_bit = false, nul = false, leading_dot = false, bare_lf = false;
        std::size_t longest_line = 0;
    };
    // Not called for content that is too big or breaks the rule for line ends: the engine refuses that itself, after refused().
    virtual Outcome end_of_data(const Content& content, mail::Envelope&& envelope) = 0;
    virtual void refused(const Reply& reply) { (void)reply; }                     // of content: for the log; reset() follows
    virtual void reset() {}                                                       // RSET, EHLO, a new MAIL, or an end: drop the draft
    virtual Outcome vrfy(std::string_view) { return Reply{252, "2.0.0", "Cannot VRFY user, but will accept message and attempt delivery"}; }
    virtual Outcome auth(std::string_view mechanism, std::string_view initial) { (void)mechanism, (void)initial; return Reply{502, "5.5.1", "AUTH not available"}; }
    virtual Outcome auth_response(std::string_view line) { (void)line; return Reply{501, "5.5.2", "no AUTH in progress"}; }   // a 334 Reply goes on
    virtual void bare_newline(std::string_view where) { (void)where; }            // once per session, with BareLf::note or reject; where: a verb, or "DATA content"
    // What follows the text of a 4xx or 5xx reply on its last line, or, from a '\n' on, on further ones; empty: nothing.
    virtual std::string footer(const Reply& reply) { (void)reply; return {}; }
    virtual void auth_cancelled() {}                                              // "*": the exchange is over (RFC 4954 §4)
    virtual std::string auth_mechanisms() const { return {}; }                    // for this client and now; empty: those of Limits
    virtual Outcome etrn(std::string_view) { return Reply{502, "5.5.1", "ETRN not available"}; }
};

class Server {
public:
    enum class Wants { input, answer, starttls, close };
    Server(Delegate& delegate, const Limits& limits);      // limits are borrowed and must outlive the server
    void greet(std::string& out);                          // "220 banner"
    void refuse(const Reply& reply, std::string& out);     // 421 or 554 instead of a greeting, or in the midst of it all; then close
    Wants feed(std::string_view bytes, std::string& out);  // any cut: half a line, or ten pipelined ones
    Wants answer(const Reply& reply, std::string& out);    // the delegate's late answer to a Pending; goes on with held input
    // LMTP, before the answer to end_of_data(): the replies of single recipients, in the order of the envelope. Without it all have the
    // answer's.
    void to_each(std::vector<Reply> replies) { each_ = std::move(replies); }
    Wants tls_started();                                   // the handshake is done: forgets all heard in clear (RFC 3207 §4.2)
    void authenticated(std::string_view user);             // the delegate vouches; further AUTH gets 503
    bool tls() const { return tls_; }
    bool in_data() const { return state_ >= State::data || chunks_ == Chunks::open; }   // between 354 (or the first BDAT) and the end of content
    bool in_transaction() const { return state_ >= State::mail || waiting_ == Waiting::end; }
    bool closing() const { return closing_; }
    std::string_view helo_name() const { return helo_; }
    std::string_view protocol() const;                     // "SMTP", "ESMTP", "LMTP", with S for TLS and A for a login (RFC 3848)
    bool extended() const { return extended_; }
    unsigned errors() const { return errors_; }
    bool too_many_errors() const { return closing_ && errors_ >= limits_.hard_errors; }
    std::string_view last_verb() const { return last_verb_; }   // for "lost connection after RCPT"; "CONNECT" at first
    uint64_t data_bytes() const { return dot_.size(); }    // content bytes of the running or last DATA
    const mail::Envelope& envelope() const { return envelope_; }
    std::string_view surplus() const { return surplus_; }  // what a peer sent that had to wait for a reply (strict_groups)
    bool hasty() const { return hasty_; }                  // once sent commands ahead of a reply without EHLO, which alone allows that (RFC 2920)
    std::size_t held() const { return input_.size(); }     // bytes kept while an answer is pending: the owner stops reading
    std::string_view held_bytes() const { return input_; } // until the next call: what the peer has said already
    std::string tally() const;                             // "ehlo=1 rcpt=0/1 quit=1 commands=2/3", for the disconnect line

private:
    enum class State : unsigned char { connected, greeted, mail, rcpt, data, chunk };
    enum class Chunks : unsigned char { none, open, failed };     // of the running transaction: BDAT was said, or went wrong
    enum class Waiting : unsigned char { nothing, helo, mail, rcpt, data, chunks, end, auth, other };   // whose reply it is
    struct Verb;
    static const Verb verbs[];
    static constexpr std::size_t verb_count = 17;          // rows of verbs, and "unknown" after them
    static constexpr std::size_t unknown_verb = verb_count - 1;
    struct Count {
        uint32_t good = 0, all = 0;
    };

    Outcome ehlo(std::string_view), helo(std::string_view), lhlo(std::string_view), starttls(std::string_view), auth(std::string_view), mail(std::string_view),
        rcpt(std::string_view), data(std::string_view), bdat(std::string_view), rset(std::string_view), noop(std::string_view), vrfy(std::string_view),
        help(std::string_view), etrn(std::string_view), quit(std::string_view), forbidden(std::string_view);
    Outcome greeting(std::string_view name, bool extended);
    std::string announcement() const;
    std::string auth_mechanisms() const;                   // empty: AUTH is not to be had
    std::optional<Reply> mail_param(const Param& param, uint64_t& declared);
    std::optional<Reply> rcpt_param(const Param& param, mail::Recipient& recipient);

    std::size_t consume(std::string_view bytes, std::string& out);
    std::size_t consume_line(std::string_view bytes, std::string& out);
    std::size_t consume_data(std::string_view bytes, std::string& out);
    std::size_t consume_chunk(std::string_view bytes, std::string& out);
    void end_chunk(std::string& out);
    void give_content(std::string& content);
    void drain(std::string& out);
    void run(std::string_view line, std::string_view more, std::string& out);
    void finish_content(std::string& out);
    void take(Outcome outcome, std::string& out);
    void settle(const Reply& reply, std::string& out);
    void say(const Reply& reply, std::string& out);
    void speak(const Reply& reply, std::string& out) const;
    Reply bare_newline(std::string_view where);
    void say_to_each(const Reply& reply, std::string& out);
    void close_if_hopeless(std::string& out);
    void forget_transaction();
    bool blocked() const { return pending_ || closing_ || want_tls_; }
    Wants wants() const;

    const Limits& limits_;
    Delegate& delegate_;
    mail::Envelope envelope_;
    mail::Recipient recipient_;                            // the one that a pending RCPT is about
    std::string helo_, input_, surplus_;
    std::string_view last_verb_ = "CONNECT";
    DotReader dot_;
    std::vector<Reply> each_;
    std::size_t owed_ = 0;                                 // LMTP: replies after the content
    Reply chunk_refusal_;                                  // said once the refused chunk was read
    uint64_t chunk_left_ = 0;
    bool chunk_last_ = false;
    Chunks chunks_ = Chunks::none;
    State state_ = State::connected, before_chunk_ = State::connected;
    Waiting waiting_ = Waiting::nothing;
    std::size_t verb_ = unknown_verb;                      // the row that the next reply belongs to
    bool extended_ = false, tls_ = false, auth_done_ = false, pending_ = false, closing_ = false, in_auth_ = false, want_tls_ = false,
         content_open_ = false, skipping_ = false, rcpt_refused_ = false, forgiven_ = false, bare_told_ = false, hasty_ = false;
    unsigned errors_ = 0, junk_ = 0;
    std::size_t beyond_ = 0;                // recipients of this mail that were too many
    Count counts_[verb_count];
};

}  // namespace veredus::smtp

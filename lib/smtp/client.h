// One SMTP conversation, client side (RFC 5321, RFC 2920). Bytes in, bytes out: no fd, no clock, no libevent. It sends
// whole transactions as far as PIPELINING allows and turns replies into one verdict per recipient.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/mail/envelope.h"
#include "lib/smtp/reply.h"

namespace veredus::smtp {

struct ClientOptions {
    std::string helo_name;
    bool lmtp = false;                   // LHLO, and a reply per recipient after the dot (RFC 2033)
    bool starttls = true;                // use it when offered and not in TLS yet
    bool pipelining = true;
    bool require_starttls = false;       // STARTTLS is the next command whatever EHLO says of it: a line without TLS is of no use
    std::vector<std::string> discard;    // keywords of EHLO that count as not said
    ReplyReader::Filter filter;          // of each line of a reply; none: as they come
};

// One SASL exchange (RFC 4954), raw bytes; base64 is the engine's.
struct Sasl {
    std::string mechanism;
    std::optional<std::string> initial;                                        // nothing: the server speaks first
    std::function<std::optional<std::string>(std::string_view)> answer;        // to a challenge; nothing: cancel
    std::function<bool()> complete;                                            // whether a yes of the server counts
};

struct Extensions {                      // what the peer's EHLO announced
    bool esmtp = false, pipelining = false, size = false, eight_bit = false, enhanced_codes = false, starttls = false,
         smtputf8 = false, dsn = false, chunking = false, binarymime = false, requiretls = false;
    uint64_t max_size = 0;               // of SIZE; 0: none given
    std::string auth;                    // "PLAIN LOGIN"
};

// What to send in one transaction. The content itself is sent by the caller (sendfile, or DotWriter) when asked for.
struct Transaction {
    mail::Address sender;
    std::vector<mail::Recipient> recipients;
    mail::Body body = mail::Body::seven_bit;
    bool smtputf8 = false;
    mail::Ret ret = mail::Ret::unset;
    std::string envid;
    uint64_t size = 0;                   // of the content in CRLF form
    bool utf8_header = true;             // what smtputf8 is for: non-ASCII in the header. Addresses count by themselves
    bool require_tls = false;            // RFC 8689: to be said, or the mail is not sent
    uint64_t chunk_size = 0;             // exact octets of the content as BDAT sends it; 0: use DATA
};

struct RecipientResult {
    Reply reply;                         // the peer's, or one of our own making; code 0 while it is not decided (the
                                         // caller fills in its own "lost connection …" when the connection breaks)
    std::string command;                 // "RCPT TO", "end of DATA", "MAIL FROM" …: for "(in reply to X command)"
    bool ours = false;                   // we made the reply up (needs 8BITMIME, SIZE too large …)
};

class Client {
public:
    enum class Wants {
        input,        // wait for the peer's bytes
        starttls,     // do the handshake, then tls_started(); when it fails: close
        ready,        // greeted and idle: begin() a transaction, or quit(). tls() may be false although it was offered: the
                      // peer said no to STARTTLS (failure() has its words), and the caller's policy decides
        content,      // send the whole content now, then content_sent(). chunked(): its chunk_size octets as they are; else
                      // dot-stuffed, with the final dot
        finished,     // the transaction is over: results() are complete; then ready again, if usable()
        close         // the conversation is over; see failure()
    };
    explicit Client(ClientOptions options);
    Wants feed(std::string_view bytes, std::string& out);
    Wants begin(Transaction transaction, std::string& out);      // only when ready
    // Only when ready. Ready again when it is over: authenticated(), or failure() has the words of the server that said no.
    Wants authenticate(Sasl exchange, std::string& out);
    Wants content_sent(std::string& out);
    // The next transaction while this one waits for the verdict on its content: its envelope goes out now, in one group with the content
    // that was sent (RFC 2920 §3.1). Only when may_follow(). After `finished` and its results(), when usable(): go_on(). When not usable(),
    // nothing of it has happened, as its content was not sent.
    void follow(Transaction next, std::string& out);
    bool may_follow() const { return state_ == State::after_dot && pipelined_ && !empty_dot_ && !next_; }
    bool followed() const { return next_.has_value(); }
    Wants go_on(std::string& out);
    Wants content_failed();                                      // our own read error: the transaction failed, the caller closes
    Wants tls_started(std::string& out);                         // says EHLO again
    Wants quit(std::string& out);
    const std::vector<RecipientResult>& results() const { return results_; }
    const Extensions& extensions() const { return extensions_; }
    const std::string& peer_name() const { return peer_name_; }   // what it calls itself in its answer to EHLO or HELO
    const Reply& failure() const { return failure_; }            // why a conversation ended before a transaction: greeting, EHLO
    std::string_view failed_command() const { return failed_command_; }
    std::string_view stage() const { return stage_; }            // for time-outs and "lost connection … while STAGE" (Postfix's words)
    bool usable() const { return usable_; }                      // may take another transaction
    bool tls() const { return tls_; }
    void tls_from_start() { tls_ = true; }                       // the connection began with a handshake (port 465); before any feed()
    bool authenticated() const { return authenticated_; }
    bool chunked() const { return chunked_; }                    // of the running transaction: BDAT (RFC 3030)
    bool bdat_refused() const { return bdat_refused_; }          // it announced CHUNKING and did not know BDAT: DATA in a conversation of
                                                                 // its own may do; whoever has no verdict has one of ours
    bool transaction_needs_utf8(const Transaction& transaction) const;
    std::optional<Reply> why_unfit(const Transaction& transaction) const;   // what this peer cannot take, so that there is no need to ask

private:
    enum class State : unsigned char { greeting, ehlo, helo, starttls, handshake, auth, ready, transaction, content, after_dot, quitting, closed };
    enum class Step : unsigned char { rset, mail, rcpt, data };   // of a transaction: whose reply comes next
    Wants hear(const Reply& reply, std::string& out);
    Wants hear_hello(const Reply& reply, std::string& out);
    Wants hear_auth(const Reply& reply, std::string& out);
    Wants hear_step(const Reply& reply, std::string& out);
    Wants hear_data(const Reply& reply, std::string& out);
    Wants hear_after_dot(const Reply& reply);
    Wants say_hello(std::string& out, bool extended);
    Wants next_step(std::string& out);
    Wants refuse_all(Reply reply, std::string command, bool ours);
    Wants finish();
    void start(Transaction transaction);
    bool chunks(const Transaction& transaction) const { return extensions_.chunking && transaction.chunk_size > 0; }
    void send_group(const Transaction& transaction, std::string& out) const;
    Wants break_off(const Reply& reply, std::string command, bool ours);
    void read_extensions(const Reply& reply);
    void send_mail(const Transaction& transaction, std::string& out) const;
    void send_rcpt(const mail::Recipient& recipient, std::string& out) const;
    void undecided(const Reply& reply, const std::string& command, bool ours);
    bool knows_no_bdat(const Reply& reply) const;
    Wants refuse_bdat(const Reply& reply);
    void leave();

    ClientOptions options_;
    Extensions extensions_;
    ReplyReader reader_;
    Transaction transaction_;
    std::optional<Transaction> next_;    // its envelope is sent
    std::string held_;                   // replies to it that came with the last one of this transaction
    std::vector<RecipientResult> results_;
    std::vector<std::size_t> accepted_;  // recipients that RCPT took, in order
    Reply failure_;
    std::string failed_command_, peer_name_;
    std::string_view stage_ = "receiving the initial server greeting";
    State state_ = State::greeting;
    Step step_ = Step::mail;
    std::size_t next_rcpt_ = 0, answered_ = 0;   // of the transaction's recipients; after the dot: of accepted_ (LMTP)
    bool pipelined_ = false, mail_refused_ = false, needs_rset_ = false, empty_dot_ = false;
    bool usable_ = false, tls_ = false, chunked_ = false, bdat_refused_ = false, authenticated_ = false;
    Sasl sasl_;
    unsigned sasl_steps_ = 0;
};

}  // namespace veredus::smtp

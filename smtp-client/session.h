// One connection to a peer, from connect(2) to QUIT: bytes, TLS and time-outs around lib/smtp's engine. It may carry
// one mail after another, for one user after another.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "lib/net/stream.h"
#include "lib/smtp/client.h"
#include "lib/tls/tls.h"
#include "smtp-client/content.h"
#include "smtp-client/finder.h"
#include "smtp-client/order.h"
#include "smtp-client/race.h"
#include "smtp-client/settings.h"

namespace veredus::smtp_client {

struct Broken {
    enum class When : uint8_t {
        connecting,  // no connection came about
        greeting,    // the peer refused to talk to us
        early,       // lost, timed out or nonsense before a mail was begun
        transaction, // the same while a mail was under way: results() may hold some replies
        after_dot,   // the same after the end of the content: the peer may have taken the mail
        handshake,   // TLS failed
    } when = When::connecting;
    Failure failure;
    std::string remote_mta; // who said it; empty when nobody did
    bool no_answer = false; // connecting: not even a refusal came
};

// What a connection must be before mail goes over it.
struct Terms {
    TlsLevel level = TlsLevel::none;
    bool wrapper = false;       // TLS comes first
    tls::ClientPolicy tls;
    std::string tls_key;        // of the policy: TLS sessions are resumed under the same one only
    std::optional<Login> login;
    std::vector<std::string> discard; // keywords of EHLO that count as not said
    // Whoever may connect to a Unix socket, as the jail has none: Context::unix_socket.
    std::function<void(const std::string& path, std::function<void(Result<Fd>)> done)> unix_socket;
};

// Whoever has work for a session. It may hand the session on or retire it inside any of these calls.
class Session;
class SessionUser {
public:
    virtual ~SessionUser() = default;
    virtual void on_ready() = 0;    // greeted: send() may come
    virtual void on_finished() = 0; // results() are complete; usable() tells whether another mail may follow
    virtual void on_broken(const Broken& broken) = 0; // the end of this session
};

// Whoever waits for a session that is busy with another mail. Its envelope goes out with that mail's content (RFC 2920 §3.1), so that a
// mail costs one round trip instead of two.
class SessionFollower {
public:
    virtual ~SessionFollower() = default;
    // What is to be sent on this session; null: nothing yet, the turn will do. The content is borrowed.
    virtual const Content* envelope(const Session& session, smtp::Transaction& transaction) = 0;
    virtual void on_turn(std::unique_ptr<Session> session) = 0; // it is yours: adopt(), then go_on() when followed(), else send()
    virtual void on_lead_lost() = 0;                            // it will not be: nothing of the envelope has happened
};

class Session final : public net::StreamUser {
public:
    // `rival`: an address of the same host to try as well when `endpoint` does not answer at once; the terms hold for both.
    Session(Loop& loop, std::shared_ptr<const Settings> settings, std::shared_ptr<tls::ClientContext> tls,
            Endpoint endpoint, Terms terms, SessionUser& user, std::optional<Endpoint> rival = std::nullopt);
    ~Session() override;
    Session(const Session&) = delete;

    const Endpoint& endpoint() const { return endpoint_; } // the rival, when that answered
    bool rival_won() const { return rival_won_; }
    const Error* rival_error() const { return rival_error_ ? &*rival_error_ : nullptr; } // it was tried too, in vain; null: not so
    const std::string& peer_name() const { return client_.peer_name(); }
    // When ready or finished and usable(); the content is borrowed. `last`: its user needs it for no further mail, so that one may follow.
    void send(smtp::Transaction transaction, const Content& content, bool last = false);
    // For one whose next mail is somebody else's. Only when joinable(): towards a peer that answers contents as fast as envelopes, where the
    // round trips are what takes time; behind one that works on each mail, a connection of its own is faster.
    bool joinable() const;
    void join(SessionFollower& follower);
    void leave(); // the follower does
    bool followed() const { return client_.followed(); } // an envelope that follows is sent
    // Of a finished session: to whom it goes next; null: nobody waits.
    SessionFollower* take_follower() { return std::exchange(follower_, nullptr); }
    void go_on(bool last); // as of send()
    std::weak_ptr<const int> life() const { return alive_; }
    const std::vector<smtp::RecipientResult>& results() const { return client_.results(); }
    bool usable() const { return client_.usable() && stream_ && !abandoned_; }
    void idle(std::function<void()> gone); // nobody's for now; `gone` when the peer ends it
    void adopt(SessionUser& user);         // back to work
    void quit(std::function<void()> gone); // says QUIT, leaves; `gone` when it may be destroyed
    void detach();                         // calls nobody any more; to be destroyed soon
    bool encrypted() const { return client_.tls(); }
    bool reports_dsn() const { return client_.extensions().dsn; } // the peer has DSN and was given what concerns it
    const smtp::Extensions& extensions() const { return client_.extensions(); }
    bool bdat_refused() const { return client_.bdat_refused(); }
    int64_t started_us() const { return started_us_; }
    int64_t ready_us() const { return ready_us_; } // when it was greeted: connection set-up ends
    unsigned uses() const { return uses_; }        // mails so far, the running one included
    const smtp::Reply& starttls_refusal() const { return client_.failure(); }

private:
    void on_data(std::string_view bytes) override;
    void on_end(net::End end, const std::string& why) override;
    void on_drained() override;
    void on_secure() override;
    void race(std::optional<Endpoint> rival);
    void connected(Result<Fd> fd);
    void handle(smtp::Client::Wants wants, std::string out);
    void start_tls();
    void be_ready();
    bool certificate_will_do();
    void log_in();
    const SaslRules& sasl_rules() const;
    void refused();
    void send_content();
    void content_queued();
    void send_follower(std::string& out);
    void lose_follower();
    void arm(); // the time-out of the stage we are in
    Settings::Time stage_time() const;
    void log_tls() const;
    void broken(Broken::When when, Failure failure, std::string remote_mta = {}, bool no_answer = false);
    void lost(bool timeout, const std::string& tls_error = {});
    void handshake_failed(const std::string& why);
    Loop& loop_;
    std::shared_ptr<const Settings> settings_; // shared, as is tls_: a reload brings new ones while sessions live
    std::shared_ptr<tls::ClientContext> tls_;
    Endpoint endpoint_;
    Terms terms_;
    bool login_tried_ = false, in_handshake_ = false;
    SessionUser* user_;
    std::function<void()> gone_; // while idle or quitting
    smtp::Client client_;
    const Content* content_ = nullptr;
    std::unique_ptr<ContentSender> sender_;
    bool content_all_queued_ = false, in_transaction_ = false, after_dot_ = false;
    SessionFollower* follower_ = nullptr;
    const Content* next_content_ = nullptr;       // the follower's, whose envelope is sent
    bool last_ = false, abandoned_ = false;       // the follower has left, and its envelope is with the peer
    int64_t sent_us_ = 0, queued_us_ = 0;         // when envelope and content of the running mail were sent
    int64_t envelope_us_ = 0, content_us_ = 0;    // how long the peer took for those of the last one
    std::string_view stage_; // for which the time-out is armed
    int64_t started_us_ = 0, ready_us_ = 0;
    unsigned uses_ = 0;
    std::unique_ptr<Race> race_;
    bool rival_won_ = false;
    std::optional<Error> rival_error_;
    std::unique_ptr<net::Stream> stream_;
    std::unique_ptr<Timer> stage_timer_, total_timer_;
    std::shared_ptr<int> alive_ = std::make_shared<int>(); // shared: deferred calls see whether we still are
};

// What a peer said, as one line: "550 5.1.1 no such user".
std::string said(const smtp::Reply& reply);
// "host mx[ip] said: 450 … (in reply to RCPT TO command)"
std::string host_said(const Endpoint& endpoint, const smtp::Reply& reply, std::string_view command);
// The enhanced code of a reply, or one made from its code: 4.0.0, 5.0.0, 2.0.0.
std::string dsn_of(const smtp::Reply& reply);

} // namespace veredus::smtp_client

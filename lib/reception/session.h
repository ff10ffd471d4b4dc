// An SMTP session in the loop: stream, engine, draft, intake. What is allowed in it is a Policy's business; smtpd and
// submission are two of them.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/clock.h"
#include "lib/net/stream.h"
#include "lib/queue/checks.h"
#include "lib/queue/inspect.h"
#include "lib/queue/intake.h"
#include "lib/reception/client.h"
#include "lib/reception/etrn.h"
#include "lib/reception/footer.h"
#include "lib/reception/logins.h"
#include "lib/reception/judge.h"
#include "lib/reception/meters.h"
#include "lib/reception/peer_name.h"
#include "lib/reception/rewriter.h"
#include "lib/reception/variants.h"
#include "lib/smtp/server.h"

namespace veredus::reception {

class Session;
class Sessions;

// Of one client_network(), in one process.
struct ClientNetwork {
    unsigned sessions = 0;
    std::size_t kept = 0;                        // bytes that those of strangers make us keep
};

// One set of settings; sessions keep the one they began with when it is replaced.
struct Settings {
    smtp::Limits limits;
    std::chrono::seconds timeout{300};
    std::chrono::seconds stress_timeout{10};     // for strangers while the process is nearly full
    std::chrono::milliseconds error_sleep{1000};
    std::vector<std::string> drop_fields;                       // of each mail, in any case
    std::size_t header_size = 102'400, header_count = 1000;     // of one field; fields
    unsigned hops = 50;
    uint64_t min_free = 0;                       // bytes that the spool keeps
    unsigned connections_per_client = 50;        // of one client_network() at a time; 0: no limit
    Rates rates;                                 // of one client_network()
    std::chrono::milliseconds pregreet_wait{0};  // for strangers that have not passed it lately
    bool pregreet_drop = false;                  // who spoke meanwhile is refused; else the log says it
    unsigned stress_hard_errors = 1, stress_junk_commands = 1;      // instead of those of limits, for strangers under stress
    bool look_up_names = true;
    std::chrono::milliseconds name_timeout{2000};
    std::string myorigin;
    std::shared_ptr<const queue::CheckRules> checks;   // of headers and bodies; null: none
    std::shared_ptr<const ClientRules> client_rules;   // null: all clients are treated alike
    std::shared_ptr<const Footer> footer;        // of refusals; null: none
    bool tls_offered = true;                     // by smtpd_tls_security_level; whether there is a certificate is another matter
    bool tls_on_sockets = true;                  // a Unix socket, which nobody listens in on, gets STARTTLS too
    bool tls_logged = true, tls_in_received = false;
    bool ask_certificate = false;                // of clients; its fingerprints are in Session::client()
    std::string fingerprint_digest = "sha256";
    bool client_in_received = true;              // else Received tells nobody where a user's mail was written
};

class Policy {
public:
    virtual ~Policy() = default;
    virtual mail::Origin origin(const net::Address& client) = 0;
    virtual bool counted(const net::Address& client) = 0;          // false: exempt from limits per client
    virtual std::optional<smtp::Reply> greet(const Client&) { return std::nullopt; }   // a reply refuses the client
    virtual smtp::Outcome helo(Session&) { return smtp::Reply{250, "", ""}; }
    virtual smtp::Outcome sender(Session&, const mail::Envelope&) { return smtp::Reply{250, "2.1.0", "Ok"}; }
    virtual smtp::Outcome recipient(Session& session, const mail::Recipient& rcpt, const mail::Envelope& envelope) = 0;
    virtual smtp::Outcome data(Session&, const mail::Envelope&) { return smtp::Reply{354, "", ""}; }
    virtual smtp::Outcome end_of_data(Session&, const mail::Envelope&, uint64_t size) { (void)size; return smtp::Reply{250, "2.0.0", "Ok"}; }
    // Whether this client may have mail for `domain` tried; `then`, once he may, says what becomes of it.
    virtual smtp::Outcome etrn(Session& session, std::string_view domain, std::function<smtp::Outcome(Session&)> then) { (void)domain; return then(session); }
    // Recipients that the client has sent already and that will be asked about one by one: they may be looked up together.
    virtual void foresee(const Session&, const std::vector<mail::Address>&) {}
    // What looks at the mail before it is committed, besides the hop count.
    virtual std::vector<std::unique_ptr<queue::Inspector>> inspectors(const Session&, const std::string& id) { (void)id; return {}; }
};

// What a policy keeps about the mail at hand; the session drops it with the transaction.
struct PolicyNote {
    virtual ~PolicyNote() = default;
};

class Session final : public net::StreamUser, public smtp::Delegate {
public:
    Session(Sessions& house, uint64_t number, Fd fd, net::Address peer, bool tls_first);
    ~Session() override;
    const Client& client() const { return client_; }
    const Settings& settings() const { return *settings_; }
    // For a policy that returned Pending: call it once with the reply, any time later, whether the session still lives or not.
    std::function<void(const smtp::Reply&)> later();
    // The same for a policy that must look at the session to find its reply; not called when the session is gone. Pending: it has
    // asked for another later() meanwhile.
    std::function<void(const std::function<smtp::Outcome(Session&)>&)> later_here();
    // What this session waits for: let go once it is answered, or the session has ended.
    void pursue(std::shared_ptr<void> work) { pursuit_ = std::move(work); }
    std::unique_ptr<PolicyNote>& note() { return note_; }
    const PolicyNote* note() const { return note_.get(); }
    Situation situation() const;                 // for restriction lists
    void log_event(std::string_view what, std::string_view stage, std::string_view text) const;    // "NOQUEUE: hold: RCPT from ...: text; from=<> ..."
    const std::string& user() const { return login_ ? login_->user : nobody; }    // by authd's word; empty: nobody has logged in

private:
    friend class Sessions;
    struct Login {                               // made by AUTH
        std::string method, user, name;          // name: what the client called himself
        uint64_t exchange = 0;                   // that waits for the client's next response
        uint64_t call = 0;                       // that waits for authd's
    };
    static const std::string nobody;
    struct Mail;                                 // from DATA to its end; an idle session has none
    enum class Stage : unsigned char { naming, talking, closing, ended };

    void start();
    void named(PeerName name);
    void watch_silence();
    void spoke_early(std::string_view bytes);
    void admitted(const std::optional<ipc::AnvilCounts>& counts);
    void ready(unsigned what);
    void welcome();
    smtp::Outcome metered(Meters::Kind kind, const char* stage, std::function<smtp::Outcome()> then);
    void start_tls();
    void refuse(const smtp::Reply& reply);
    void timed_out();
    bool busy() const { return engine_.in_data() || mail_; }
    void answer(uint32_t question, const smtp::Reply& reply);
    void give(const smtp::Reply& reply);
    std::string instance() const;
    std::string draft_id() const;                // empty: there is none
    void after(smtp::Server::Wants wants);
    void foresee();
    bool over_time(int64_t began_us) const;
    void slow_down();
    void wait_for_disk();
    void brake(std::chrono::milliseconds time);
    void go_on();
    void secure();
    std::function<void(const smtp::Reply&)> resume(uint32_t question);
    void flush();
    void weigh();
    bool crowded(std::size_t weight) const;
    void say_so_far();
    void close();
    void end();
    Talk talk() const { return {engine_.helo_name(), engine_.protocol()}; }
    smtp::Outcome judged(const char* stage, smtp::Outcome outcome);
    void log_reject(const char* stage, const smtp::Reply& reply);

    void on_data(std::string_view bytes) override;
    void on_end(net::End end, const std::string& why) override;
    void on_drained() override;
    void on_secure() override;

    std::string auth_mechanisms() const override;
    smtp::Outcome auth(std::string_view mechanism, std::string_view initial) override;
    smtp::Outcome auth_response(std::string_view line) override;
    void auth_cancelled() override;
    Logins::Done auth_answer();
    smtp::Reply judge_auth(const Result<ipc::AuthReply>& reply);
    void say_auth_failed(std::string_view why, std::string_view name);

    smtp::Outcome helo(std::string_view name, bool extended) override;
    smtp::Outcome open_draft();
    smtp::Outcome queue_mail(const Content& content, mail::Envelope&& envelope);
    smtp::Outcome look_into_header();
    smtp::Outcome commit_mail();
    smtp::Outcome sender(const mail::Envelope& envelope, uint64_t declared_size) override;
    smtp::Outcome recipient(mail::Recipient rcpt, const mail::Envelope& envelope) override;
    smtp::Outcome data(const mail::Envelope& envelope) override;
    bool content(std::string_view bytes) override;
    smtp::Outcome end_of_data(const Content& content, mail::Envelope&& envelope) override;
    smtp::Outcome etrn(std::string_view text) override;
    void refused(const smtp::Reply& reply) override;
    void bare_newline(std::string_view where) override;
    std::string footer(const smtp::Reply& reply) override;
    void reset() override;

    Sessions& house_;
    std::shared_ptr<const Settings> settings_;   // shared_ptr: the engine borrows the limits while a reload brings others
    uint64_t number_;
    Client client_;
    net::Stream stream_;
    smtp::Server engine_;
    std::unique_ptr<Mail> mail_;
    std::unique_ptr<Login> login_;
    std::unique_ptr<PolicyNote> note_;
    std::shared_ptr<void> pursuit_;
    std::function<smtp::Outcome()> after_;       // what is to be done once the policy's late answer is positive
    std::function<void()> resume_;               // what goes on once others had their turn
    std::unique_ptr<Timer> brake_;               // made when the peer errs too often, or checks of his mail take long
    std::string rest_;                           // content that came, until others had their turn
    std::string out_;
    mail::Address judged_from_, judged_to_;      // for the reject line of an answer that comes late
    const char* judged_stage_ = nullptr;
    unsigned errors_seen_ = 0;
    unsigned mails_begun_ = 0;
    uint64_t declared_size_ = 0;                 // SIZE= of the mail under way
    const int64_t begun_us_;                     // by the clock on the wall
    uint32_t question_ = 0;                      // which Pending an answer belongs to
    Stage stage_ = Stage::naming;
    unsigned awaits_ = 0;                        // of Awaited: what the greeting waits for
    bool counted_ = false;                       // limits per client hold for him
    bool told_ = false;                          // anvil has been told that he is here
    int64_t came_us_ = 0;
    std::string early_;                          // what he said before he was greeted
    std::unique_ptr<Timer> quiet_;               // the pre-greeting wait
    ClientNetwork* network_;                     // null once Sessions has let go of us
    bool tls_first_;                             // port 465: the handshake comes before the greeting
    bool securing_ = false;                      // in a handshake: nothing can be said
    bool behind_ = false;                        // the disk is: it has as much of the mail as it may have
    bool waiting_ = false, in_engine_ = false, connected_said_ = false, paused_ = false;
    bool holds_back_ = false;                    // replies, for the rest of their group: Sessions::holding_ knows it
    std::list<Session*>::iterator place_;        // in Sessions::order_
    int64_t active_us_ = 0;                      // when he last finished a command, or gave some content
    std::size_t heard_ = 0;                      // bytes since then
    std::size_t weight_ = 0;                     // bytes that he makes us keep: recipients, header, unanswered input
    std::size_t recipients_weight_ = 0, weighed_ = 0;   // of so many recipients
    uint64_t given_ = 0;                         // bytes that the engine ever got
    uint64_t foreseen_ = 0;                      // up to which of them the policy knows the recipients
};

// How many sessions RLIMIT_NOFILE leaves room for, beside drafts, channels, resolver and log.
std::size_t session_limit();

// A mail that is to be delivered at once instead of queued: its draft holds the body.
struct Handed {
    queue::Draft draft;
    mail::HeaderBlock header;
    mail::Envelope envelope;
};

// All sessions of a process: who may come, who was silent too long, who goes first when descriptors get short.
class Sessions {
public:
    struct Parts {
        Loop& loop;
        queue::Intake& intake;
        Policy& policy;
        PeerNames& names;
        const Clock& clock;
        std::function<void(const std::string& id)> queued;     // tells qmgr
        std::size_t descriptors;                               // how many sessions may be open at once
        tls::ServerContext* tls = nullptr;                     // for STARTTLS, where the limits offer it
        Logins* logins = nullptr;                              // for AUTH, where the limits offer it
        Meters* meters = nullptr;                              // for limits that all processes share
        std::string service = "smtp";                          // its name in the log lines about limits
        Rewriter* rewriter = nullptr;                          // changes addresses before a mail is queued
        // LMTP: takes each mail instead of the queue. `done`, once and later, hears a reply for each recipient in order.
        std::function<void(Handed mail, std::function<void(std::vector<smtp::Reply>)> done)> hand_over = nullptr;
        const Etrn* etrn = nullptr;                            // for ETRN, where the limits offer it
        std::size_t most_kept = 64 << 20;                      // bytes of envelopes and headers that strangers' sessions may have us keep
        std::size_t most_kept_of_one = 8 << 20;                // and those of one client_network(), once half of that is taken
    };
    Sessions(Parts parts, std::shared_ptr<const Settings> settings);
    ~Sessions();
    Sessions(const Sessions&) = delete;
    void accept(Fd fd, net::Address peer, bool tls_first = false);
    void set_settings(std::shared_ptr<const Settings> settings);
    // Who is not giving content hears 421; the others finish. `done` when nobody is left.
    void stop(std::function<void()> done);
    std::size_t size() const { return sessions_.size(); }

private:
    friend class Session;
    void touch(Session& session);
    void sweep();
    const std::string& service() const { return parts_.service; }
    std::shared_ptr<const Settings> settings_for(const net::Address& client);
    // Whether a stranger with that much may have no more kept: the many that keep little go on for twice as long.
    bool too_heavy(const ClientNetwork& of, std::size_t weight) const
    {
        const bool much = kept_ > parts_.most_kept || (kept_ > parts_.most_kept / 2 && of.kept > parts_.most_kept_of_one);
        return kept_ > 2 * parts_.most_kept || (much && weight > light);
    }
    void tell_kept();
    bool stressed() const { return sessions_.size() * 5 > parts_.descriptors * 4; }
    // Ends one session for a client of this origin; false: nobody may be sent away for him.
    bool make_room(mail::Origin newcomer);
    std::size_t room_for(mail::Origin newcomer) const;
    ClientNetwork& network_of(const net::Address& peer);
    void remove(uint64_t number);
    bool passed_lately(const net::Address& client);
    void pass(const net::Address& client);
    void refuse_unheard(Fd fd, const net::Address& peer, const smtp::Reply& reply);
    Session* find(uint64_t number);

    Parts parts_;
    std::shared_ptr<const Settings> settings_, stress_settings_, socket_settings_;
    Variants variants_;
    std::unordered_map<uint64_t, std::unique_ptr<Session>> sessions_;
    std::list<Session*> order_;                                // longest silent first
    std::unordered_map<std::string, ClientNetwork> networks_;  // by client_network(); those with sessions
    std::unordered_map<std::string, int64_t> passed_;          // clients that waited for their greeting, and until when that counts
    static constexpr std::size_t light = 16 << 10;             // the weight of an ordinary session
    std::size_t kept_ = 0, most_kept_lately_ = 0;              // weight of all strangers' sessions
    int64_t told_kept_us_ = 0;
    std::vector<uint64_t> holding_;                            // numbers of sessions that keep replies back
    Timer sweeper_;
    uint64_t last_number_ = 0;
    int64_t warned_us_ = 0;
    std::function<void()> stopped_;
    bool stopping_ = false;
    std::shared_ptr<Sessions*> self_ = std::make_shared<Sessions*>(this);   // late answers find null when we are gone
};

}  // namespace veredus::reception

// One client of a login stage: from accept to the hand-over of its socket, or, under TLS, as the relay between it and
// its session.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "lib/ipc/auth.h"
#include "lib/ipc/login.h"
#include "lib/login/dialect.h"
#include "lib/login/proxy_header.h"
#include "lib/net/stream.h"
#include "lib/reception/logins.h"
#include "lib/reception/meters.h"
#include "lib/table/table.h"

namespace veredus::login {

class Guests;
struct Rules;

class Guest final : public net::StreamUser {
public:
    Guest(Guests& house, uint64_t number, Fd client, net::Address remote, bool tls_first);
    ~Guest() override;
    void begin();           // once it is in the house's list
    void offers_changed();  // authd's mechanisms, or the certificate: they are there now, or others
    void part(Parting why); // the house wants it gone; one that is relayed for stays
    void shed();            // a newcomer needs its place: a word, and it is gone
    bool relaying() const { return state_ == State::relaying; }

    void on_data(std::string_view bytes) override;
    void on_end(net::End end, const std::string& why) override;
    void on_drained() override;
    void on_secure() override;

private:
    enum class State : uint8_t {
        proxy,   // the PROXY header is awaited
        waiting, // TLS is shaken, or authd has not said yet what it offers
        talking,
        asking,   // authd is asked
        entering, // what is written must leave first; then master is asked
        relaying,
        closing,
    };
    // The session's end of a relay.
    struct Inner final : net::StreamUser {
        explicit Inner(Guest& g) : guest(g) {}
        void on_data(std::string_view bytes) override { guest.from_session(bytes); }
        void on_end(net::End, const std::string&) override { guest.session_ended(); }
        void on_drained() override;
        Guest& guest;
        std::unique_ptr<net::Stream> stream;
    };
    struct Knock { // until the PROXY header has come
        Fd client;
        ProxyHeader header;
        std::unique_ptr<Watch> watch;
    };
    void read_proxy_header();
    void introduce();
    void count();
    void counted(const ipc::AnvilCounts& counts);
    void turn_away();
    void greet();
    void say_greeting();
    bool wants_timestamp();
    void drop_timestamp();
    void answer_timestamp(std::string response);
    static bool listed(const table::MatchList& networks, const net::Address& client);
    void believe_client();
    static bool in_clear(std::string_view mechanism);
    static std::string word_for_log(std::string word);
    Circumstances circumstances() const;
    void act(Dialect::Wants wants, std::string& out);
    void listen();
    void start_tls();
    bool handshaking() const;
    void begin_exchange();
    void send_step();
    void cancel_exchange();
    reception::Logins::Done answer();
    void answered(const Result<ipc::AuthReply>& reply);
    void refuse(Refusal why);
    void count_failure(Refusal why);
    void enter();
    void entered(ipc::Code code, const std::string& text);
    void from_session(std::string_view bytes);
    void session_ended();
    void close();
    void out_of_patience();
    void say_ended(std::string_view how, const std::string& trouble);
    std::string describe(const std::string& trouble = {}) const; // "user=<>, rip=…, lip=…, mpid=…, TLS, session=<…>"
    void leave();

    friend class Guests;
    Guests& house_;
    uint64_t number_;
    std::optional<std::list<uint64_t>::iterator> place_; // among the strangers of the house
    State state_ = State::proxy;
    bool tls_first_, metered_ = false, said_ = false, wants_tls_ = false, secure_ = false, disallowed_ = false;
    net::Address peer_;                  // who the connection is with; after a proxy's header, whom that names
    net::Address remote_, local_;        // whose login it is: speaks_for()'s
    std::string session_;                // its ID in the log
    std::shared_ptr<const Rules> rules_; // shared: those it came under
    int64_t began_us_, tried_us_ = 0;
    unsigned tries_ = 0, guesses_ = 0;   // all that came to nothing; of those, what the client got wrong
    const char* other_failure_ = nullptr; // what the last of the others was
    uint64_t exchange_ = 0; // authd's, while the client has the turn
    uint64_t call_ = 0;     // that waits for authd's answer
    uint64_t timestamped_ = 0; // authd's exchange that the greeting began
    bool asked_timestamp_ = false;
    std::string timestamp_;
    uint32_t question_ = 0; // an answer to an older one is nobody's
    std::string method_, login_, user_, ticket_, ended_, overflow_;
    uint32_t mail_pid_ = 0; // of the session, once it is there
    std::string unread_; // of one read: what the dialect is fed when the client has taken its answers
    std::size_t unread_at_ = 0;
    std::unique_ptr<Knock> knock_;
    std::unique_ptr<Dialect> dialect_;
    std::unique_ptr<net::Stream> stream_;
    std::unique_ptr<Inner> inner_;
    Fd for_relay_; // our end, until the session has the other
    Timer patience_;
};

} // namespace veredus::login

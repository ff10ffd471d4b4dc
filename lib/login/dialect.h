// A protocol before the login, as a pure engine: bytes in, bytes out. The stage around it (stage.h) has the socket,
// TLS, the clock, authd and the limits; the dialect knows the words. IMAP's is in lib/imap, POP3's in lib/pop3.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace veredus::login {

// What the stage knows about this connection and the dialect announces. It may change at any time; it does at
// secured().
struct Circumstances {
    std::string greeting;  // login_greeting
    std::string timestamp; // authd's, for this connection's APOP (RFC 1939 §7); empty: there is none
    unsigned login_delay_s = 0; // pop3_login_delay
    bool tls = false;      // also a client whose way to us counts as safe: see `passwords`
    bool trusted = false;  // of login_trusted_networks: what it says of whom it speaks for is believed
    bool starttls = false; // may be offered: there is a certificate, and no TLS yet
    bool passwords =
        false; // passwords may come over this connection (TLS, this host, login_trusted_networks, or allowed in clear)
    std::vector<std::string>
        mechanisms; // what authd offers and this connection can do, strongest first; empty: authd is away
};

enum class Refusal : uint8_t {
    password, // unknown user or wrong password: the same words for both
    locked,   // the account may not log in, or not from there
    expired,
    malformed, // the client does not speak the mechanism
    no_mechanism,
    certificate,  // no client certificate, or none that is trusted, where nobody is let in without
    throttled,    // too many failures: temporary, try again later
    unavailable,  // ours: temporary
    not_admitted, // the password was right, but no session could be had: temporary
};

enum class Parting : uint8_t {
    idle,     // the time before the login is over
    stopping, // the mail system goes down
    crowded,  // too many connections, from there or at all; said instead of the greeting
    too_many_failures,
};

class Dialect {
public:
    enum class Wants : uint8_t {
        input,    // more bytes, when there are some
        starttls, // `out` has the go-ahead: send it, shake hands, then secured()
        begin,    // an exchange: asked() has mechanism and initial response; then challenge(), refused() or hand_over()
        step,     // the client's response to a challenge: asked().response
        cancel,   // the client gave the exchange up, and `out` says so to him: tell authd, then feed("")
        close,    // send `out`, then close
    };
    struct Asked {
        std::string mechanism;              // LOGIN, USER and PASS are PLAIN; APOP: `initial` has name and digest
        std::optional<std::string> initial; // decoded; "" when the client sent "="
        std::string response;               // decoded
    };
    struct HandOver {
        std::string text;  // for the session's half of the protocol: ipc::Arrival::hand_over
        std::string input; // what the client has sent behind its login, at most ipc::max_unread
    };
    virtual ~Dialect() = default;

    // Before anything else, and whenever something in it has changed. It outlives the dialect's use of it: copied.
    virtual void set(const Circumstances& now) = 0;
    virtual void greet(std::string& out) = 0;
    // Any cut of input. While the dialect wants something else than input the stage feeds nothing; what came along with
    // a command is kept inside (bounded by one read) and looked at when the stage comes back.
    virtual Wants feed(std::string_view bytes, std::string& out) = 0;
    // The stage takes it (and wipes it).
    virtual Asked& asked() = 0;
    virtual Wants challenge(std::string_view data, std::string& out) = 0;
    virtual Wants refused(Refusal why, std::string& out) = 0;
    // TLS is up: everything heard in clear is forgotten, pipelined bytes included (RFC 3501 §6.2.1, RFC 2595 §4).
    virtual void secured() = 0;
    // The login is good. Called once, last: the success is told to the client by the session.
    virtual HandOver hand_over() = 0;
    virtual void part(Parting why, std::string& out) = 0;
    // Says why the client went away without a login, for the log, when the dialect knows better than the stage: "no
    // auth attempts" …
    virtual bool said_goodbye() const = 0; // QUIT, LOGOUT
    // The address that the client says somebody else has, for whom it speaks (a web mail): believed of login_trusted_networks. "": of nobody.
    virtual std::string_view speaks_for() const { return {}; }
    virtual bool tried_in_clear() const { return false; } // a password, where none may come over this connection
};

using MakeDialect = std::function<std::unique_ptr<Dialect>()>;

} // namespace veredus::login

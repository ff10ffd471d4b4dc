// POP3 before the login (RFC 1939 §4 and §7, RFC 2449, RFC 2595 §4, RFC 5034, RFC 6856): greeting, CAPA, STLS, USER, PASS,
// APOP, AUTH; Dovecot's XCLIENT.
#pragma once

#include <string>
#include <string_view>

#include "lib/login/dialect.h"

namespace veredus::pop3 {

// What the session learns of the login from HandOver::text.
struct LoginFacts {
    bool utf8 = false;        // the client has said UTF8 (RFC 6856 §2.1)
    std::string capabilities; // lines of CAPA about logins, which it says afterwards, too (RFC 2449 §6.3): "USER\r\nSASL PLAIN\r\n"
};
LoginFacts read_hand_over(std::string_view text);

class Login final : public login::Dialect {
public:
    // `capabilities`: further lines of CAPA, each ended by CRLF, the same as after the login ("IMPLEMENTATION
    // veredus\r\n").
    explicit Login(std::string capabilities) : capabilities_(std::move(capabilities)) {}
    void set(const login::Circumstances& now) override { now_ = now; }
    void greet(std::string& out) override;
    Wants feed(std::string_view bytes, std::string& out) override;
    Asked& asked() override { return asked_; }
    Wants challenge(std::string_view data, std::string& out) override;
    Wants refused(login::Refusal why, std::string& out) override;
    void secured() override;
    HandOver hand_over() override;
    void part(login::Parting why, std::string& out) override;
    bool said_goodbye() const override { return goodbye_; }
    bool tried_in_clear() const override { return tried_in_clear_; }
    std::string_view speaks_for() const override { return originating_; }

    static constexpr std::size_t longest_line = 16'384; // of a SASL response; other lines are shorter

private:
    struct Verb;
    static const Verb verbs[];
    Wants run(std::string_view line, std::string& out);
    Wants response(std::string_view line, std::string& out);
    Wants apop(std::string_view, std::string&out), auth(std::string_view, std::string&out), capa(std::string_view, std::string&out),
        lang(std::string_view, std::string&out), noop(std::string_view, std::string&out),
        pass(std::string_view, std::string&out), quit(std::string_view, std::string&out),
        stls(std::string_view, std::string&out), user(std::string_view, std::string&out),
        utf8(std::string_view, std::string&out), xclient(std::string_view, std::string&out);
    Wants go_on(std::string& out);
    Wants erred(std::string_view text, std::string& out);
    Wants too_long(std::string& out);
    std::string login_capabilities() const;

    std::string capabilities_, input_, user_;
    std::string originating_; // of XCLIENT
    login::Circumstances now_;
    Asked asked_;
    std::size_t taken_ = 0; // of input_: lines that were answered, cut off when more comes
    unsigned errors_ = 0;
    bool in_exchange_ = false, skipping_ = false, goodbye_ = false, utf8_ = false, tried_in_clear_ = false;
};

} // namespace veredus::pop3

// IMAP before the login (RFC 9051 §3.1, §6.1, §6.2; RFC 3501, RFC 4959, RFC 2971): greeting, CAPABILITY, NOOP, LOGOUT, ID, STARTTLS,
// AUTHENTICATE, LOGIN.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "lib/imap/reader.h"
#include "lib/login/dialect.h"

namespace veredus::imap {

class LoginDialect final : public login::Dialect, private Handler {
public:
    LoginDialect();
    ~LoginDialect() override;
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
    std::string_view speaks_for() const override { return originating_; }

private:
    bool command(std::string tag, Command command) override;
    bool refused(const std::string& tag, const Refusal& refusal) override;
    bool sasl_line(std::string_view line) override;
    std::unique_ptr<Refusal> append_begin(const std::string& tag, const Append& append) override;
    std::unique_ptr<Refusal> append_message(const AppendMessage& message) override;
    std::unique_ptr<Refusal> append_content(std::string_view bytes) override;
    std::unique_ptr<Refusal> append_content_end() override;
    bool append_end(const std::string& tag) override;
    void append_aborted(const std::string& tag, const Refusal& refusal) override;

    void start_over();
    bool simple(Verb verb);
    bool starttls();
    bool identify(const Id& id);
    bool ask(std::string mechanism, std::optional<std::string> initial);
    std::string capabilities() const;
    bool erred(std::string_view tag, std::string_view answer);
    Wants go_on(std::string& out);
    Wants after(std::string& out);

    login::Circumstances now_;
    Asked asked_;
    std::string tag_;                          // of the command in hand
    std::string client_;                       // what ID said, for the session's log
    std::string originating_;                  // of ID's, its field x-originating-ip, as Dovecot knows it from web mails
    std::string* out_ = nullptr;               // where the call in hand writes
    std::unique_ptr<Reader> reader_;
    Wants wants_ = Wants::input;
    unsigned errors_ = 0;
    bool goodbye_ = false, cancelled_ = false;
};

// What the session learns of the login from HandOver::text.
struct LoginFacts {
    std::string_view tag;                      // the login waits for its tagged OK
    std::string_view client;                   // what ID said before: `name="mutt", version="2"`, printable; empty: nothing
};
LoginFacts read_hand_over(std::string_view text);

// The fields of ID for a log line: `name="mutt", version="2"`; bounded and printable.
std::string describe_id(const Id& id);

}  // namespace veredus::imap

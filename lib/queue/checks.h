// Header and body checks: rules asked about each header field and each body line of a mail on its way into the queue
// (header_checks(5)).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/mail/action.h"
#include "lib/mail/envelope.h"
#include "lib/mail/header.h"
#include "lib/mail/mime.h"
#include "lib/queue/inspect.h"

namespace veredus::queue {

// One set for all mails; where the answers come from is the owner's business. An Error defers the mail.
struct CheckRules {
    using Lookup = std::function<Result<std::optional<std::string>>(std::string_view text)>;
    Lookup header;                  // fields of the mail itself, save those about MIME; null: not checked
    Lookup mime;                    // Content-… and MIME-Version anywhere, and all fields of a part
    Lookup nested;                  // the other fields of messages within the mail
    Lookup body;                    // lines of everything else, boundaries included
    std::size_t body_size = 51'200; // bytes of each part that are looked at; of a whole mail, body_parts as many
    static constexpr unsigned body_parts = 20;
    static constexpr std::size_t least_line = 32; // bytes that a line counts in what a mail may cost: asking the rules costs, too
    unsigned depth = 100;           // of parts within parts
    bool only_changes = false;      // the mail is on its way out: verbs that would refuse, hold or redirect it have no effect
};

// Why a rule with this right-hand side would not do what it was written for; empty: nothing is wrong with it. `header`: it is asked about
// fields, not about lines of a body. `only_changes` as in CheckRules. `variable`: parts of the text come from the pattern ($1).
std::string action_problem(std::string_view text, bool header, bool only_changes, bool variable);

// What log lines say of the mail besides its envelope.
struct CheckedMail {
    std::string id;
    std::string origin;            // "host[192.0.2.7]" or "local"
    std::string sender, recipient; // addresses; recipient: one of them, for the log
    std::string protocol, helo;    // empty: not said
};

// The checks of one mail. Body bytes pass through it while they come, the header when it is complete.
class ContentCheck final : mail::MimeSink {
public:
    ContentCheck(std::shared_ptr<const CheckRules> rules,
                 CheckedMail mail); // shared_ptr: a reload brings others meanwhile
    ~ContentCheck() override;
    ContentCheck(const ContentCheck&) = delete;
    // Where the body begins: the header in CRLF form as it was received, without the blank line. Only the structure is
    // taken from it.
    void begin_body(std::string_view header);
    // Appends to `out` what is to be stored instead of `bytes`, which are in CRLF form; some may be held back until the
    // next call.
    void body(std::string_view bytes, std::string& out);
    void finish_body(std::string& out);
    // Afterwards: checks the fields and changes them, adds and redirects recipients. The verdict is about the whole
    // mail; reject with a code of 4NN when a rule could not be asked.
    Decision finish(mail::HeaderBlock& header, mail::Envelope& envelope);
    // The same in pieces: looks at fields until `enough`, asked after each, says so. False: call it again, with the same header; true:
    // finish() has no field left to look at.
    bool look_at_fields(const mail::HeaderBlock& header, const std::function<bool()>& enough);

private:
    enum class Context : uint8_t { header, body };
    bool looks_into_body() const { return rules_->mime || rules_->nested || rules_->body; }
    bool over() const { return verdict_.kind == Decision::Kind::reject || verdict_.kind == Decision::Kind::discard; }
    void field(const mail::MimePart& part, const mail::MimeField& field) override;
    void headers_end(const mail::MimePart& part) override;
    void part_begins(const mail::MimePart& part) override;
    void line(const mail::MimePart& part, const mail::MimeLine& line) override;
    void check(const CheckRules::Lookup& rules, Context context, std::string_view raw, std::string& out);
    void act(const mail::Action& action, Context context, std::string_view raw, std::string& out);
    bool insert(const mail::Action& action, Context context, std::string& out);
    void add_recipient(const mail::Action& action, bool instead);
    void reject(const mail::Action& action);
    void say(std::string_view what, Context context, std::string_view raw, std::string_view text);

    std::shared_ptr<const CheckRules> rules_;
    CheckedMail mail_;
    std::unique_ptr<mail::MimeParser> parser_;
    std::string* out_ = nullptr; // of the call that is running
    uint64_t stored_ = 0;        // offset up to which the parser's input was dealt with
    uint64_t looked_at_ = 0;     // body bytes of the running part
    uint64_t spent_ = 0;         // of what the whole mail may cost
    Decision verdict_;
    bool hold_ = false, drop_line_ = false;
    std::vector<mail::Address> bcc_;
    std::optional<mail::Address> redirect_;
    unsigned lines_said_ = 0;
    std::size_t fields_seen_ = 0;   // by look_at_fields()
    std::string checked_header_;    // what became of them
};

} // namespace veredus::queue

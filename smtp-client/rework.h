// What main.cf and the peer change in a mail on its way out: other addresses (smtp_generic_maps), header and body
// checks, 7-bit forms,
// and lines that are too long.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/conf/values.h"
#include "lib/mail/address.h"
#include "lib/mail/seven_bit.h"
#include "lib/queue/checks.h"
#include "lib/smtp/fold.h"
#include "lib/table/table.h"

namespace veredus::smtp_client {

// The rules of one protocol. A table that cannot be read makes every question an error, and the mail waits.
class ReworkRules {
public:
    // `names`: of the settings, "generic_maps" to "smtp_generic_maps" or its twin for LMTP.
    static ReworkRules read(const conf::Values& values, const std::function<std::string(std::string_view)>& names,
                            const table::ReadText& read);
    bool maps_addresses() const { return maps_ || !trouble_.empty(); }
    // Another address in the place of this one, or nothing to keep it (Postfix's generic(5)).
    Result<std::optional<mail::Address>> mapped(const mail::Address& address) const;
    Result<std::string>
    mapped_header(std::string_view header) const; // a header block in CRLF form, without the blank line
    const std::shared_ptr<const queue::CheckRules>& checks() const { return checks_; } // null: none
    bool checks_unusable() const { return checks_unusable_; }                   // a table of them cannot be read
    bool converts() const { return converts_; }
    std::vector<std::string> problems() const; // what cannot be used, for the log

private:
    std::shared_ptr<const table::Chain> maps_; // shared: settings are copied
    std::shared_ptr<const queue::CheckRules> checks_;
    std::set<std::string> ours_; // domains where a bare user name is a key
    std::string delimiters_, myorigin_, trouble_;
    std::vector<std::string> problems_;
    bool converts_ = true, propagates_ = false, checks_unusable_ = false;
};

// What is to be done with the content of one transaction.
struct ReworkPlan {
    std::shared_ptr<const queue::CheckRules> checks; // null: none that look into the body
    queue::CheckedMail mail;                         // for their log lines
    bool seven_bit = false, unmarked = false;        // see mail::SevenBit
    mail::SevenBit::Care care = mail::SevenBit::Care::text;
    std::size_t line_limit = 0; // longer lines are folded; 0: none are
    bool any() const { return checks || seven_bit || line_limit; }
};

// The content of one transaction while it streams by.
class Rework {
public:
    explicit Rework(const ReworkPlan& plan);
    void begin(std::string_view header, std::string& out); // without the blank line
    void body(std::string_view bytes, std::string& out);
    bool finish(std::string& out); // false: a rule could not be asked; the mail must not go out like this

private:
    void pass(std::string_view bytes, std::string& out);
    void fold(std::string_view bytes, std::string& out);
    std::unique_ptr<queue::ContentCheck> check_;
    std::unique_ptr<mail::SevenBit> seven_bit_;
    std::unique_ptr<smtp::LineFolder> folder_;
    std::string checked_, encoded_;
};

} // namespace veredus::smtp_client

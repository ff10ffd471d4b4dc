// The mail that sendmail(1) hands over: who gets it, what its header says; pure functions of what the caller gave.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/mail/envelope.h"
#include "lib/mail/header.h"
#include "submission/sendmail/arguments.h"

namespace veredus::sendmail {

struct Caller {
    std::string login;          // of the real uid; empty: the uid has no name
    std::string full_name;      // $NAME, else from the GECOS field
};
// "Joe & Sons,room 2" of user "doe": "Joe Doe Sons".
std::string gecos_name(std::string_view gecos, std::string_view login);

struct Prepared {
    mail::Envelope envelope;    // addresses may lack a domain: submission completes them
    std::string header;         // without the blank line
};

// `header` is the header block as it came. An Error's code is a sysexits(3) status.
Result<Prepared> prepare(const Invocation& invocation, std::string_view header, std::string_view from_line, const Caller& caller, int64_t wall_us);

// The header's part of it, also for -bs: what must not leave goes, what must be there comes.
void mend_header(mail::HeaderBlock& header, const mail::Address& sender, std::string_view full_name, int64_t wall_us);

}  // namespace veredus::sendmail

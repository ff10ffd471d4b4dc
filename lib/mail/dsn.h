// Delivery status notifications: the report a sender gets (RFC 3464 in RFC 6522), and enhanced codes (RFC 3463).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/mail/envelope.h"

namespace veredus::mail {

enum class ReportAction : uint8_t { failed, delayed, delivered, relayed, expanded };   // RFC 3464 §2.3.3

struct ReportRecipient {
    std::string final_recipient;      // address in external form
    std::string original_recipient;   // ORCPT "type;address", or empty
    ReportAction action = ReportAction::failed;
    std::string status;               // "5.1.1"
    std::string remote_mta;           // "mx.example.net" or empty
    std::string diagnostic;           // the remote or local reply, printable
    bool diagnostic_is_smtp = true;   // "smtp;" or "x-veredus;"
};

struct Report {
    std::string reporting_mta;        // myhostname
    std::string queue_id;             // of the mail reported on
    std::string from;                 // "MAILER-DAEMON@host" in external form
    std::string to;                   // the sender, external form
    std::string message_id;
    std::string boundary;             // unique to this mail
    int64_t now_us = 0;
    int64_t arrival_us = 0;
    std::string original_sender;      // external form
    std::string envid;
    bool global = false;              // the mail was one of SMTPUTF8, so its sender can read addresses as they are (RFC 6533)
    int64_t give_up_us = 0;           // for delayed: when it will be returned (0: not said)
    std::vector<ReportRecipient> recipients;
};

// The parts of a multipart/report in CRLF form, the returned content left out: header block, then all of the body up to and including
// the header of the third part; the caller appends the original headers or the whole mail, then tail.
struct ReportText {
    std::string header;   // without the blank line
    std::string body;
    std::string tail;
    bool eight_bit = false;   // some of it, or of what is returned, has bytes >= 0x80
};
// `returned_full`: third part is message/rfc822, else text/rfc822-headers. `eight_bit`: the returned part has 8-bit bytes.
ReportText make_report(const Report& report, bool returned_full, bool eight_bit);

// "4.4.1 text", "5.1.1 text": cuts a leading RFC 3463 code; empty when there is none.
struct Coded {
    std::string code;
    std::string_view text;
};
Coded cut_enhanced_code(std::string_view text);
bool is_enhanced_code(std::string_view code);

}  // namespace veredus::mail

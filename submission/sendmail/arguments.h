// The command line of sendmail(1) and of its other names: argv in, one Invocation out. Touches nothing of the system.
#pragma once

#include <sysexits.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/mail/envelope.h"

namespace veredus::sendmail {

enum class Mode : uint8_t {
    deliver,         // -bm, and nothing said: a mail comes on standard input
    smtp,            // -bs: SMTP on standard input and output
    list,            // -bp, mailq
    flush,           // -q, -qI, -qR, -qS, runq
    aliases,         // -bi, -I, newaliases: check the alias files
    verify,          // -bv
    daemon,          // -bd, -q30m, smtpd
    foreground,      // -bD
    address_test,    // -bt
    host_status,     // -bh, hoststat
    purge_status,    // -bH, purgestat
    help, version,
};

struct Invocation {
    Mode mode = Mode::deliver;
    std::vector<std::string> operands;       // recipients as given; not yet parsed as addresses
    std::optional<std::string> sender;       // -f, -r: without brackets; "" is the null sender
    std::optional<std::string> full_name;    // -F
    bool header_recipients = false;          // -t
    bool dot_ends = true;                    // no -i: a line that is only "." ends the mail
    bool from_line_sender = false;           // rmail: the From_ line names the sender
    bool batch_smtp = false;                 // rsmtp: SMTP in, nobody reads the replies
    bool json = false;                       // mailq -j
    mail::Body body = mail::Body::seven_bit; // -B
    uint8_t notify = mail::notify_unset;     // -N
    mail::Ret ret = mail::Ret::unset;        // -R
    std::string envid;                       // -V
    std::string config_directory;            // -C; empty: the default
    std::string alias_file;                  // -oA: what newaliases looks at
    std::string flush_id, flush_recipient, flush_sender;
    std::vector<std::string> warnings;       // for standard error; they change no exit status
};

// An Error's code is the sysexits(3) status to end with.
Result<Invocation> parse_arguments(const std::vector<std::string>& argv);

// "a@x, \"b, c\"@y": the addresses of one recipient argument, or of -f. EX_USAGE for CR, LF and NUL, EX_DATAERR for the rest.
Result<std::vector<mail::Address>> parse_operand(std::string_view text);
Result<mail::Address> parse_sender(std::string_view text);

std::string_view usage();

}  // namespace veredus::sendmail

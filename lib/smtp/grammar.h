// The grammar of SMTP commands and paths as pure functions (RFC 5321 §4.1, RFC 3461, RFC 6531). No state, no policy.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/mail/envelope.h"

namespace veredus::smtp {

// RFC 5321 §4.5.3.1.
constexpr std::size_t max_local_part = 64;
constexpr std::size_t max_domain = 255;
constexpr std::size_t max_path = 256;
constexpr std::size_t max_command_line = 2048;   // 512 plus what extensions add (RFC 1870, 3461, 4954, 6531)

struct Line {
    std::string_view verb;
    std::string_view rest;   // leading blanks dropped
};
Line split_verb(std::string_view line);

struct Param {
    std::string_view name;                   // "SIZE"
    std::optional<std::string_view> value;
};

// "<path> PARAMS" or "<>" or "<postmaster>"; source routes are taken and ignored (§4.1.1.3). `strict` false also takes
// a path without brackets, and blanks after the colon, as mail programs send them.
struct Path {
    mail::Address address;
    std::vector<Param> params;
    bool utf8 = false;       // the address needs SMTPUTF8
};
Result<Path> parse_mail_from(std::string_view rest, bool strict);   // rest begins with "FROM:"
Result<Path> parse_rcpt_to(std::string_view rest, bool strict);     // rest begins with "TO:"

std::optional<std::string> xtext_decode(std::string_view text);     // RFC 3461 §4
std::string xtext_encode(std::string_view text);
std::optional<uint8_t> parse_notify(std::string_view value);        // RFC 3461 §4.1: NEVER alone, or a list
// An EHLO/HELO argument: domain or address literal, or, as real clients send (devices with names of several words), anything printable, with single blanks.
std::optional<std::string> parse_helo(std::string_view words);

}  // namespace veredus::smtp

// Addresses: the two halves, their quoting, and the address lists of header fields (RFC 5322 §3.4, RFC 5321 §4.1.2).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace veredus::mail {

// An address in internal form: local part without quoting, domain in lower case (ASCII letters only; UTF-8 labels as
// they came) or "[literal]" or empty for a bare local part. Never contains CR, LF or NUL.
struct Address {
    std::string local;
    std::string domain;
    bool operator==(const Address&) const = default;
    bool empty() const { return local.empty() && domain.empty(); }
    // External form: the local part quoted when it is no dot-atom (RFC 5321 §4.1.2), then "@domain" when there is one.
    std::string text() const;
};

// A dot-string local part needs no quoting; UTF-8 counts as atext (RFC 6531 §3.3).
bool is_dot_atom(std::string_view local);
std::string quote_local(std::string_view local);

// "local@domain", "local", "\"quoted local\"@domain", without angle brackets, comments or routes.
Result<Address> parse_address(std::string_view text);

// The key under which tables and the "seen in this mail" set know it: local part as is, domain lower-case.
std::string address_key(const Address& address);

// One mailbox of a header field.
struct Mailbox {
    std::string display;  // decoded of quotes, not of RFC 2047
    Address address;
};

// The addresses of a To, Cc, Bcc, From … field body: groups are flattened, comments and folding dropped, routes
// ignored, obsolete syntax taken (RFC 5322 §3.4, §4.4). Bounded: more than `limit` addresses is an error.
Result<std::vector<Mailbox>> parse_address_list(std::string_view body, std::size_t limit = 100'000);

// "user+ext" with delimiters "+-": {"user", "ext", '+'}. Nothing to cut: extension is nullopt. The first delimiter that
// is not the first character rules; the local parts "mailer-daemon", "postmaster" and "owner-…" are never cut.
struct Split {
    std::string user;
    std::optional<std::string> extension;
    char delimiter = 0;
};
Split split_extension(std::string_view local, std::string_view delimiters);

// RFC 1123 §2.1, RFC 5321 §4.1.2 with underscore tolerated: labels of 1 to 63 bytes, 255 in all, no leading or trailing dot or
// hyphen in a label. UTF-8 labels pass when `utf8` is true.
bool is_domain(std::string_view domain, bool utf8 = false);
// "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321 §4.1.3). The bytes between the brackets are checked as an address.
bool is_address_literal(std::string_view domain);

}  // namespace veredus::mail

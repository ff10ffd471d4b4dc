// Other addresses in the place of those of a header: which fields name people, and where in them an address stands.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "lib/mail/header.h"

namespace veredus::mail {

enum class AddressField { none, sender, recipient };     // From, Sender, Reply-To …; To, Cc, Bcc …; the Resent- fields likewise
AddressField address_field(std::string_view name);

// The pieces of an address list (RFC 5322 §3.4), comments and blanks left out: `take(begin, end, kind)` with kind 'w' for an atom, a quoted
// string or a domain literal, else the special itself, one of <>@,;: . False: not well-formed, or `take` said so.
bool each_piece(std::string_view list, const std::function<bool(std::size_t begin, std::size_t end, char kind)>& take);

// The new address in external form, or nothing to keep this one.
using MapAddress = std::function<std::optional<std::string>(const std::string& address)>;
// The body of an address field (RFC 5322 §3.4) with each address that `map` changes; all other bytes stay as they are. What is
// not well-formed comes back unchanged, and so do addresses with blanks or comments inside.
std::string rewrite_list(std::string_view body, const MapAddress& map);
// Each address field of a header, in place.
HeaderBlock rewrite_header(const HeaderBlock& header, const std::function<std::optional<std::string>(AddressField, const std::string&)>& map);

}  // namespace veredus::mail

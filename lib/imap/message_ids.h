// Message IDs out of Message-ID, In-Reply-To and References fields, in the one form that can be compared (RFC 5256 §3).
#pragma once

#include <string>
#include <string_view>

namespace veredus::imap {

// Takes the next valid one (RFC 5322 §3.6.4: left part, @, right part) off `rest`, a raw field body; false: there is
// none. `id` has it without angle brackets, blanks and the marks of quoting. It lives in `rest`'s bytes or in
// `scratch`.
bool next_message_id(std::string_view& rest, std::string_view& id, std::string& scratch);
constexpr std::size_t longest_message_id = 1000; // of a valid one, brackets included

} // namespace veredus::imap

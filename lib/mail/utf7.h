// Modified UTF-7 (RFC 3501 §5.1.3): folder names of IMAP4rev1 and of Maildir++ directories.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace veredus::mail {

// Nothing: not UTF-8.
std::optional<std::string> to_utf7(std::string_view utf8);
// Nothing: not modified UTF-7, or not in its only canonical form (two spellings of one name would be two folders).
std::optional<std::string> from_utf7(std::string_view text);

}  // namespace veredus::mail

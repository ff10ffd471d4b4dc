// The charset argument of SEARCH, SORT and THREAD (RFC 9051 §6.4.4, RFC 5256 §3).
#pragma once

#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace veredus::imap {

// Errors: EINVAL the charset is unknown (NO [BADCHARSET (…)]), EILSEQ the bytes are no text in it.
Result<std::string> to_utf8(std::string_view charset, std::string_view bytes);

// For BADCHARSET: names between blanks. Those that mail is written in; others that iconv knows are taken too.
std::string_view charset_list();

} // namespace veredus::imap

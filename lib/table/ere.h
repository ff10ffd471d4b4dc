// Extended regular expressions of POSIX as PCRE2 takes them: regexec(3) knows no limit, and one with back-references may take it for ever.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace veredus::table {

bool has_back_reference(std::string_view pattern);
// Of a pattern that regcomp(3) takes. The same texts match, with PCRE2_DOTALL and PCRE2_DOLLAR_ENDONLY, or, for REG_NEWLINE,
// PCRE2_MULTILINE. What the two would read differently and nobody writes (a repetition of a repetition, one of nothing, a collating
// symbol) is an Error.
Result<std::string> pcre_of_ere(std::string_view pattern);

}  // namespace veredus::table

// The collation i;unicode-casemap (RFC 5051), which SEARCH, SORT and THREAD compare text by (RFC 5255 §4.2): every
// character in its title case, decomposed. The tables are of Unicode 14, made by lib/mail/casemap_table.py.
#pragma once

#include <string>
#include <string_view>

namespace veredus::mail {

// Appends the key of `utf8`: two texts are equal when their keys are, and a text contains another when its key does.
// What is not UTF-8 is copied as it stands.
void casemap(std::string_view utf8, std::string& out);
std::string casemap(std::string_view utf8);

} // namespace veredus::mail

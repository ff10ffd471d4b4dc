// The header of an internationalized message (RFC 6532) for those who take ASCII only: the surrogate of RFC 6858.
#pragma once

#include <string>
#include <string_view>

namespace veredus::mail {

// `header`: a header block in CRLF form without the blank line that ends it. Subject and display names become encoded words, addresses that
// ASCII cannot say become invalid ones, parameters and fields that cannot be said go (RFC 6858 §2). Of fields that hold bytes
// which are no UTF-8 nobody knows what they say: in Subject, Comments and Content-Description they become encoded words of charset
// unknown-8bit, in others, and from a line on that is no field, a "?" each. What comes out is ASCII (RFC 6856 §2.1).
std::string downgrade_header(std::string_view header);

// `text` (UTF-8) as encoded words (RFC 2047 §4.1) of at most 75 bytes, folded.
std::string encoded_words(std::string_view text);

}  // namespace veredus::mail

// The header fields of MIME: Content-Type and its kin, parameters with RFC 2231, and the small ones (RFC 2045, 2046,
// 2183).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace veredus::mail {

// The size of the field name that `line` begins with (RFC 5322 §2.2; blanks before the colon as in §4.5), or 0 when the
// line is no field.
std::size_t field_name_size(std::string_view line);

// A field body on one line: CR and LF dropped, blanks at both ends too. This is what Content-Description,
// Content-Location and Content-MD5 say.
std::string unfold(std::string_view body);

struct MimeParameter {
    std::string name;    // lower case, without the marks of RFC 2231
    std::string value;   // continuations joined, %XX decoded: bytes in `charset`
    std::string charset; // lower case; empty unless RFC 2231 §4 was used
    std::string language;
    bool extended = false; // was written as name*=charset'language'...
    std::string joined; // extended: "charset'language'%XX..." in one piece (RFC 2231 §6: what IMAP shows); else empty
};

// At most `max_mime_parameters` of them; what comes after is ignored.
constexpr std::size_t max_mime_parameters = 100;
using MimeParameters = std::vector<MimeParameter>;
const MimeParameter* find_parameter(const MimeParameters& parameters, std::string_view name);

struct ContentType {
    std::string type = "text", subtype = "plain"; // lower case
    MimeParameters parameters;
    bool is(std::string_view want_type, std::string_view want_subtype) const
    {
        return type == want_type && subtype == want_subtype;
    }
    // Of a multipart; empty when there is none that could be looked for. Blanks at its end are no part of it (RFC 2046
    // §5.1.1).
    std::string boundary() const;
};
constexpr std::size_t max_boundary = 1000; // RFC 2046 §5.1.1 allows 70; longer ones are seen

// Takes any bytes. What is no type is text/plain (RFC 2045 §5.2); comments are dropped, bad parameters left out.
ContentType parse_content_type(std::string_view body);

enum class Encoding : uint8_t { seven_bit, eight_bit, binary, quoted_printable, base64, unknown };
Encoding parse_transfer_encoding(std::string_view body);    // an empty one is 7bit (RFC 2045 §6.1)
std::string transfer_encoding_token(std::string_view body); // as written, lower case; "7bit" for an empty one
bool is_identity(Encoding encoding);                        // the bytes stand as they are

struct Disposition {
    std::string type; // lower case: "inline", "attachment"; empty: none
    MimeParameters parameters;
};
Disposition parse_disposition(std::string_view body); // RFC 2183 §2

std::string parse_content_id(std::string_view body); // "<id@host>", comments dropped; as it came when it is none
std::vector<std::string> parse_languages(std::string_view body); // RFC 3282 §2: tags between commas; at most 100

} // namespace veredus::mail

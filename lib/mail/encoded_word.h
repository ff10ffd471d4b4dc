// Header text as people read it: encoded words (RFC 2047) and extended parameters (RFC 2231) as UTF-8.
#pragma once

#include <string>
#include <string_view>

#include "lib/mail/mime_fields.h"

namespace veredus::mail {

// A field body unfolded (CR and LF dropped), with its encoded words decoded wherever they stand: mail programs put them
// in quoted strings too, which RFC 2047 §5 forbids. Words in one charset that follow each other are decoded in one
// piece, since characters get cut between them (RFC 2047 §6.2 forbids that as well). Always valid UTF-8; what is broken
// becomes U+FFFD or stays as it was written.
std::string decode_header_text(std::string_view body);
void decode_header_text(std::string_view body, std::string& out); // appends

// A parameter's value as text: by its own charset, or with encoded words decoded.
std::string parameter_text(const MimeParameter& parameter);

} // namespace veredus::mail

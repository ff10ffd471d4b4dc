// Domains with UTF-8 labels in the form that DNS knows (RFC 5890 A-labels, RFC 3492 Punycode).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace veredus::mail {

// "grüße.example" -> "xn--gre-6ka8i.example". ASCII labels pass in lower case. The text is taken as it is (NFC and in
// lower case, as RFC 6531 §3.2 wants U-labels to be): only ASCII letters are folded. No UTF-8, or a label that grows
// past 63 bytes: nullopt.
std::optional<std::string> domain_to_ascii(std::string_view domain);

}  // namespace veredus::mail

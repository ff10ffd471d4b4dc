// Addresses without a domain get ours: in the envelope, and in the header fields that name people (RFC 6409 §8).
#pragma once

#include <string>
#include <string_view>

#include "lib/mail/address.h"
#include "lib/mail/header.h"

namespace veredus::submission {

struct Origin {
    std::string myorigin;
    std::string dot_mydomain;     // ".example.org" when user@host becomes user@host.example.org; else empty
};

void complete(mail::Address& address, const Origin& origin);      // the null sender stays

// The body of an address field with each unqualified address completed; all other bytes stay as they are. A body that is
// no address list comes back unchanged.
std::string complete_list(std::string_view body, std::string_view domain);
mail::HeaderBlock complete(const mail::HeaderBlock& header, const Origin& origin);

}  // namespace veredus::submission

// Names of Maildir files: the base that never changes, and the flags behind ":2," (Maildir's info, and Dovecot's keyword
// letters). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace veredus::store {

std::string_view maildir_base(std::string_view name);       // up to the ':'

struct MaildirFlags {
    uint8_t flags = 0;              // Flag of uid_table.h
    bool passed = false;            // P: forwarded; IMAP's $Forwarded
    uint32_t letters = 0;           // bit n: keyword letter 'a' + n
    bool operator==(const MaildirFlags&) const = default;
};
MaildirFlags maildir_flags(std::string_view name);
// The same file with these flags: letters that mean nothing to us, and what other programs put behind them, stay.
std::string with_maildir_flags(std::string_view name, const MaildirFlags& flags);

// Sizes that the name tells (Maildir++): S= as stored, W= with CRLF. What is no number is not there.
struct NamedSizes {
    std::optional<uint64_t> stored, wire;
};
NamedSizes named_sizes(std::string_view name);
// The order in which mails that were found together get their UIDs: by time of delivery, then by name.
bool delivered_before(std::string_view a, std::string_view b);

}  // namespace veredus::store

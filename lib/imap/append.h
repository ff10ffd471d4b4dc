// Messages on their way into a mailbox: APPEND, MULTIAPPEND, REPLACE (RFC 9051 §6.3.12, RFC 3502, RFC 8508).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/imap/account.h"
#include "lib/imap/session.h"
#include "lib/mail/seven_bit.h"
#include "lib/store/folder.h"

namespace veredus::imap {

struct Session::Appending {
    std::shared_ptr<OpenFolder> target; // shared with the account; declared before the drafts, which are its
    std::vector<store::Incoming> messages;
    std::optional<uint32_t> replaced; // UID in the selected mailbox
    // Of the message that is coming, when it is a literal8: what is binary in it becomes base64, for a mailbox keeps
    // lines and not their ends (RFC 3516 §4.4).
    std::unique_ptr<mail::SevenBit> binary;
};

} // namespace veredus::imap

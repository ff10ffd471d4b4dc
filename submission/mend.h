// What an MSA mends in everything that its users hand in, over SMTP or through the maildrop (RFC 6409 section 8):
// addresses without a domain get ours, fields that tell what nobody shall read go. Message-ID, Date and From are
// queue::mender's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lib/queue/inspect.h"
#include "submission/complete.h"

namespace veredus::submission {

struct MendSettings {
    Origin origin;
    std::vector<std::string> drop_fields; // names of header fields, any case: message_drop_headers
};

std::unique_ptr<queue::Inspector> completer(const MendSettings& settings);

} // namespace veredus::submission

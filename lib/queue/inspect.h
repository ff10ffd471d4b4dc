// The Inspect stage: the one place where everything that enters passes before END. Today: hop count, header limits,
// adding what an MSA must add. Later: header and body checks, milters, DKIM.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/mail/envelope.h"
#include "lib/mail/header.h"

namespace veredus::queue {

struct Decision {
    enum class Kind { accept, reject, discard, hold } kind = Kind::accept;
    int code = 0;                 // reject: SMTP code
    std::string enhanced, text;
};

class Inspector {
public:
    virtual ~Inspector() = default;
    // Sees each body piece as it streams (optional), then the header block, which it may change, and the envelope.
    virtual void body(std::string_view bytes) { (void)bytes; }
    virtual Decision finish(mail::HeaderBlock& header, mail::Envelope& envelope) = 0;
    virtual void reset() {}
};

struct InspectSettings {
    std::size_t header_size_limit = 102'400;
    unsigned hopcount_limit = 50;
    std::size_t header_count_limit = 1000;
    std::string myhostname, myorigin;
};

// Loops: more than hopcount_limit Received fields -> 554 5.4.0 (RFC 5321 §6.3). More fields than header_count_limit -> 552 5.3.4.
std::unique_ptr<Inspector> hop_count(const InspectSettings& settings);
// Adds From, Date, Message-ID when missing and the origin is ours (RFC 6409 §8); never for strangers' mail, save that
// Postfix's always_add_missing_headers = no rule is kept: only local and authenticated origins are mended.
std::unique_ptr<Inspector> mender(const InspectSettings& settings, std::string queue_id);

// "TLS-Required: No" in the header (RFC 8689 §4.1): the sender would rather have the mail arrive than secret. It does not count beside the
// parameter REQUIRETLS.
void note_tls_wish(const mail::HeaderBlock& header, mail::Envelope& envelope);

// Runs the chain in order; the first that does not accept decides.
Decision inspect(const std::vector<std::unique_ptr<Inspector>>& chain, mail::HeaderBlock& header, mail::Envelope& envelope);

}  // namespace veredus::queue

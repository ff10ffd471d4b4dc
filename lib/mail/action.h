// The right-hand side of access(5) tables and of header and body checks: a verb and what belongs to it. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace veredus::mail {

enum class Verb : uint8_t {
    ok, dunno,                                       // OK, RELAY and all-numerical results; DUNNO
    reject, defer, defer_if_permit, defer_if_reject, // REJECT, 5NN; DEFER, 4NN
    hold, discard, prepend, redirect, bcc, warn, info, filter, ignore, strip, replace,
};

struct Action {
    Verb verb = Verb::dunno;
    int code = 0;           // of "4NN text" and "5NN text"; 0: the caller's own
    std::string enhanced;   // "5.7.1" when the text began with one and may have one; else empty
    std::string text;       // the rest of the line, trimmed; may be empty. prepend: "Name: body"; redirect, bcc: an address
};

// "REJECT 5.7.1 Go away", "550 Go away", "PREPEND X-Seen: yes", "ok"; verbs in any case. Nothing: the first word is no verb (in an
// access table it may be a restriction, then). Whether a verb makes sense where it stands is the caller's to judge.
std::optional<Action> parse_action(std::string_view text);
std::string_view verb_name(Verb verb);               // "REJECT", for messages

// "5.7.1", "4.1.10": an enhanced status code (RFC 3463 §2) of class 2, 4 or 5.
bool is_enhanced_status(std::string_view word);
// The status with its class made that of the reply code: (554, "4.7.1") gives "5.7.1".
std::string status_for(int code, std::string_view enhanced);

}  // namespace veredus::mail

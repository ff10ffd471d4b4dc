// Why a mail did not get into a mailbox, as the sender's report and the log will say it (RFC 3463).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace veredus::store {

struct Problem {
    std::string dsn;      // "4.2.2": the first digit says whether to try again
    std::string text;
    bool permanent() const { return dsn.starts_with('5'); }
};

using Delivered = std::optional<Problem>;    // nothing: the mail is durably there

// What the kernel refused is never the sender's fault: always temporary. A full quota is 4.2.2, a full or broken disk and
// what else we run out of 4.3.x, anything else about the mailbox 4.2.0.
Problem problem_of(const Error& error);

}  // namespace veredus::store

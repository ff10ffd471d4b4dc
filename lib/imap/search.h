// SEARCH: a key compiled once, then asked of message after message (RFC 9051 §6.4.4, RFC 3501 §6.4.4, RFC 5032, RFC
// 8514, RFC 8474).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/imap/candidate.h"
#include "lib/imap/command.h"

namespace veredus::imap {

// What the key's words mean at this moment.
struct Situation {
    uint32_t messages = 0;              // in the client's view
    uint32_t last_uid = 0;              // of the last of them: "*"
    int64_t now = 0;                    // seconds since 1970: OLDER, YOUNGER
    std::vector<std::string> keywords;  // names of the bits, UidTable::keywords()
    std::vector<store::UidRange> saved; // UIDs that "$" stands for (RFC 5182), in any order
    bool save_dates = true;             // SAVEDATESUPPORTED
};

// Days of INTERNALDATE and SAVEDATE are those of the local time zone, as FETCH should show it; days of Date fields as
// written. Text is found in any case and charset (i;unicode-casemap), encoded words and transfer encodings undone. BODY
// and TEXT look into parts of type text and into messages within the message; TEXT into all headers too. Keys that cost
// little are tried first, and a message is read once for all BODY and TEXT keys.
class Program {
public:
    Program(const SearchKey& key, const Situation& situation);
    ~Program();
    Program(Program&&) noexcept;
    Program& operator=(Program&&) noexcept;

    const Needs& needs() const;
    Result<bool> matches(Candidate& candidate);

private:
    struct Private;
    std::unique_ptr<Private> private_;
};

} // namespace veredus::imap

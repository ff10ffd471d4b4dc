// A message as SEARCH, SORT and THREAD look at it: what the index knows is at hand, all else is asked for when it
// decides.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/store/uid_table.h"

namespace veredus::imap {

// One object may stand for one message after the other. Errors end the whole command, so a message that another program
// removed in the meantime is best given as an empty one.
class Candidate {
public:
    virtual ~Candidate() = default;

    uint32_t number = 0; // in the client's view
    uint32_t uid = 0;
    uint8_t flags = 0;     // store::Flag
    bool recent = false;   // for this session
    uint64_t keywords = 0; // bits as in Situation::keywords
    uint64_t modseq = 0;
    int64_t saved = store::unknown_time; // SAVEDATE, seconds since 1970

    virtual Result<uint64_t> size() = 0;    // RFC822.SIZE
    virtual Result<int64_t> received() = 0; // INTERNALDATE, seconds since 1970
    virtual std::string email_id() = 0;     // as FETCH gives it, without parentheses; empty: NIL
    virtual std::string thread_id() = 0;
    // Appends the bodies of all fields of that name (lower case) in the message's own header, in order: after the
    // colon, folding and encoded words kept. They live until the object stands for another message.
    virtual Result<void> header(std::string_view name, std::vector<std::string_view>& bodies) = 0;
    // The whole message in any cut, with CRLF or LF, until `take` says false.
    virtual Result<void> content(const std::function<bool(std::string_view)>& take) = 0;
};

// What will be asked of candidates, so that the owner can get it from its cache for many at once.
struct Needs {
    bool size = false, received = false, content = false;
    bool modseq = false;             // SEARCH MODSEQ: the answer tells the highest one (RFC 7162 §3.1.5)
    std::vector<std::string> fields; // lower case, each once
};

} // namespace veredus::imap

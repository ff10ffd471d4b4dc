// THREAD (RFC 5256 §3): ORDEREDSUBJECT and REFERENCES over small records of the messages that matched.
#pragma once

#include <memory>
#include <string>

#include "lib/imap/candidate.h"
#include "lib/imap/command.h"
#include "lib/imap/message_keys.h"

namespace veredus::imap {

class Threader {
public:
    explicit Threader(Thread::Algorithm algorithm, std::shared_ptr<MessageKeys> keys = nullptr); // as of Sorter
    ~Threader();
    Threader(Threader&&) noexcept;
    Threader& operator=(Threader&&) noexcept;

    Result<void> add(Candidate& candidate); // in ascending order of message numbers
    std::string finish(bool uid);           // "(2)(3 6 (4 23)(44 7 96))", empty when there is none. Once

private:
    struct Private;
    std::unique_ptr<Private> private_;
};

} // namespace veredus::imap

// SORT (RFC 5256 §3): keys are taken out of each message that matched, then put in order.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lib/imap/candidate.h"
#include "lib/imap/command.h"
#include "lib/imap/message_keys.h"

namespace veredus::imap {

class Sorter {
public:
    // `keys`: what was taken out of messages of the same folder before, and will be after; shared with other commands
    // that run.
    explicit Sorter(const std::vector<SortCriterion>& by, std::shared_ptr<MessageKeys> keys = nullptr);
    ~Sorter();
    Sorter(Sorter&&) noexcept;
    Sorter& operator=(Sorter&&) noexcept;

    Result<void> add(Candidate& candidate); // keeps a small record of it, at most about 2 KB of text
    std::vector<uint32_t> finish(bool uid); // UIDs or message numbers in order; ties by message number. Once

private:
    struct Private;
    std::unique_ptr<Private> private_;
};

} // namespace veredus::imap

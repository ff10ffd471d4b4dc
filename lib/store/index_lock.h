// What the folders of one mailbox share in its index directory: a lock for changes of the tree, and the last UIDVALIDITY given.
#pragma once

#include <cstdint>

#include "lib/base/fd.h"
#include "lib/disk/disk.h"

namespace veredus::store {

// Held while folders or text files like subscriptions change; waits for who has it. No crash leaves it behind.
class IndexLock {
public:
    static Result<IndexLock> take(const disk::Directory& index);

private:
    explicit IndexLock(Fd fd) : fd_(std::move(fd)) {}
    Fd fd_;
};

// Later than every one before in this mailbox, whatever the clock says (RFC 9051 §2.3.1.1); durable when it returns. Takes the lock.
Result<uint32_t> new_uidvalidity(const disk::Directory& index);

}  // namespace veredus::store

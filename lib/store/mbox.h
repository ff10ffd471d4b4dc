// Delivery into an mbox: both locks, append, one sync for a batch, and back to the old end when anything fails.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lib/disk/disk.h"
#include "lib/store/content.h"
#include "lib/store/dotlock.h"
#include "lib/store/problem.h"

namespace veredus::store {

// The dotlock of one mbox, and who may make the file: beside a mailbox under the home the owner himself, in /var/mail lockd.
class MboxKeeper {
public:
    virtual ~MboxKeeper() = default;
    virtual Result<bool> lock() = 0;            // false: somebody else holds it, try again
    virtual void unlock() = 0;
    virtual Result<void> create() = 0;          // an empty file of the owner, 0600, its name durable; it may exist by now
};

// The owner's own hands. A directory that he may not write to has no dotlock (as Postfix does for /file targets).
class OwnKeeper final : public MboxKeeper {
public:
    explicit OwnKeeper(std::string path);
    ~OwnKeeper() override;
    Result<bool> lock() override;
    void unlock() override;
    Result<void> create() override;

private:
    Result<void> open_directory();
    std::string path_, lock_name_;
    disk::Directory dir_;
    HeldLock held_;
    bool locked_ = false;
};

struct MboxRules {
    uint64_t size_limit = 0;                    // of the mailbox after a mail; 0: none
    int lock_attempts = 20;
    std::chrono::milliseconds lock_delay{1000};
    uid_t owner = 0;                            // whose file it must be
};

// One answer for each mail, in order. Symbolic and hard links, other people's files and what is no file are refused.
std::vector<Delivered> deliver_mbox(disk::Disk& disk, const std::string& path, MboxKeeper& keeper, const MboxRules& rules,
                                    const std::vector<Content>& mails);

}  // namespace veredus::store

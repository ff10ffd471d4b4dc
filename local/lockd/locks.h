// The locks of the mail spool directory: who holds which, for as long as his connection lasts.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "lib/disk/disk.h"
#include "lib/ipc/control.h"
#include "lib/ipc/message.h"
#include "lib/store/dotlock.h"

namespace veredus::lockd {

// A mailbox name that can be a user's: no path, no hidden file, nothing that is another one's lock.
bool is_mailbox_name(std::string_view name);
// Whose user must be the peer's: root's mailbox is kept by root_mailbox_user, any other by the user of that name.
std::string owner_of(std::string_view name, std::string_view root_mailbox_user);

class Locks {
public:
    Locks(disk::Directory dir, store::Holder self) : dir_(std::move(dir)), self_(std::move(self)) {}
    ~Locks();
    // What an earlier lockd left behind: its half-made mailboxes. Its locks name their holders and fall with them.
    void sweep();

    // `connection` and `peer` are the kernel's word (SO_PEERCRED); that the peer may use this name was checked before.
    ipc::Status lock(uint64_t connection, const ipc::Credentials& peer, const std::string& name);
    ipc::Status unlock(uint64_t connection, const std::string& name);
    // ok without an fd: the mailbox exists.
    struct Offer {
        ipc::Status status;
        Fd directory;
    };
    Offer create(uint64_t connection, const std::string& name);
    ipc::Status created(uint64_t connection, const ipc::Credentials& peer, const std::string& name);
    void closed(uint64_t connection);
    std::size_t held() const { return held_.size(); }

private:
    struct Held {
        uint64_t connection = 0;
        store::HeldLock lock;
    };
    void remove_draft(const std::string& draft);
    ipc::Status move_into_place(const std::string& draft, const ipc::Credentials& peer, const std::string& name);
    disk::Directory dir_;
    store::Holder self_;                              // host and boot; the pid is each peer's
    std::map<std::string, Held> held_;                // by mailbox name
    std::map<std::pair<uint64_t, std::string>, std::string> drafts_;   // (connection, name) -> directory below nursery
};

// Below it lie the directories in which new mailboxes are made: 0700 and ours, so that nobody reaches one but by the fd we gave him.
constexpr const char* nursery = ".veredus-new";

}  // namespace veredus::lockd

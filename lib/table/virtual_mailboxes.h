// Virtual users: whose mailbox is where, and which uid and gid keep it (virtual_mailbox_maps, virtual_uid_maps, virtual_gid_maps): where
// local delivers to, and what resolver knows of those who fetch their mail.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/conf/values.h"
#include "lib/mail/address.h"
#include "lib/table/held.h"
#include "lib/table/table.h"

namespace veredus::table {

struct VirtualSettings {
    static VirtualSettings read(const conf::Values& values, std::string delimiters);    // those of virtual(8), virtual_mailbox_maps first
    std::vector<std::string> mailboxes, uids, gids;   // table specs
    std::string base, delimiters;
    int64_t minimum_uid = 100;
};

struct VirtualMailbox {
    enum class Kind : uint8_t { found, unknown, deferred } kind = Kind::deferred;
    std::string user;             // the account whose process delivers, or "uid:gid" when none has both; unknown: his own name, which a
                                  // passwd-file may have
    std::string path;             // absolute; a Maildir when it ends in a slash, else an mbox
    std::string dsn, text;        // why not
    uid_t uid = 0;                // whose rights that process has
    gid_t gid = 0;
    bool catch_all = false;       // found by "@domain" alone, or by a pattern that answers for whoever there may be
};

// "5000:5000": no name of an account, which has no colon.
std::string ids_text(uid_t uid, gid_t gid);
bool is_ids(std::string_view user);

struct KeeperAccount {
    std::string name;
    gid_t gid = 0;
};

// Asked on a thread beside the loop: tables and the user database may take their time.
class VirtualMailboxes {
public:
    using Accounts = std::function<Result<std::optional<KeeperAccount>>(uid_t)>;
    explicit VirtualMailboxes(VirtualSettings settings, Accounts accounts = system_account);
    // Changed tables are in force at once; a trouble that stays is said once.
    void refresh();
    VirtualMailbox find(const mail::Address& recipient) const { return find(recipient, settings_.delimiters); }
    VirtualMailbox find(const mail::Address& recipient, std::string_view delimiters) const;
    // Only who keeps his mailbox: what virtual_mailbox_maps says is not asked, and there is no path.
    VirtualMailbox keeper(const mail::Address& recipient) const;
    static Result<std::optional<KeeperAccount>> system_account(uid_t uid);

private:
    using Maps = Held<Chain>;
    Result<std::optional<std::string>> id(const Maps& maps, const char* setting, const mail::Address& recipient, std::string_view delimiters) const;
    VirtualMailbox with_keeper(const mail::Address& recipient, std::string_view delimiters, std::string path, std::unique_lock<std::mutex>& tables) const;
    VirtualSettings settings_;
    Accounts accounts_;
    mutable std::mutex mutex_;
    Maps mailboxes_, uids_, gids_;
    std::vector<std::string> trouble_;
};

// The value of virtual_mailbox_maps for an address, and the key that has it. Nothing also when a pattern has put a part of the address
// into the value that leads out of mailboxes or into one: "bob/.Sent", ".", "". Who writes to us chooses it.
Result<std::optional<AddressHit>> find_virtual_mailbox(const Chain& maps, const mail::Address& recipient, std::string_view delimiters);

// Below `base`, when there is one. An Error: not absolute, too long, or a part "..", which an address may have smuggled through a pattern.
constexpr std::size_t longest_virtual_path = 3000;
Result<std::string> virtual_path(const std::string& base, const std::string& value);

}  // namespace veredus::table

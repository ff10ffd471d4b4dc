// All folders of one user: INBOX and what is beside it, made, removed, renamed, listed and subscribed to. Names are UTF-8; INBOX in
// any case is the inbox (RFC 9051 §5.1). Nothing is made on disk before it is needed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/disk/disk.h"
#include "lib/store/folder.h"
#include "lib/store/mbox.h"

namespace veredus::store {

struct Listed {
    std::string name;
    bool selectable = true;         // false: only its children exist
    bool children = false;
    std::string special_use;        // "\\Sent"; several with blanks between (RFC 6154)
    bool on_disk = true;            // false: a default folder that nobody has needed yet; open() makes it
};

class Mailbox {
public:
    virtual ~Mailbox() = default;
    virtual char separator() const = 0;
    // Nothing about its characters is wrong; it may not exist.
    virtual bool is_name(std::string_view name) const = 0;
    virtual Result<std::vector<Listed>> list() = 0;                       // sorted; INBOX first, always there
    // Errors: ENOENT no such folder, EEXIST it is there already, EINVAL not a name, ENOTEMPTY it has children.
    virtual Result<std::unique_ptr<Folder>> open(std::string_view name) = 0;   // refreshed
    virtual Result<void> create(std::string_view name) = 0;
    virtual Result<void> remove(std::string_view name) = 0;               // its children stay (RFC 9051 §6.3.5)
    // Its children go with it. EPERM: INBOX stays (RFC 9051 §6.3.6: its messages move, which is for who has it open).
    virtual Result<void> rename(std::string_view from, std::string_view to) = 0;
    virtual Result<std::vector<std::string>> subscriptions() = 0;         // sorted; of names that need not exist
    virtual Result<void> subscribe(std::string_view name, bool on) = 0;
    // RFC 6154 attributes of a folder, blanks between; empty: none. EINVAL: an attribute we do not know.
    virtual Result<std::string> special_use(std::string_view name);
    virtual Result<void> set_special_use(std::string_view name, std::string_view attributes);
    // Is `folder`, which open(name) gave once, still what the name means? False also when it cannot be told: open it again.
    virtual bool is_still(std::string_view name, const Folder& folder) const;
    // The directory of what the folders share.
    virtual const disk::Directory& index() const = 0;
    // Throws the folder's index away: it is made anew, with new numbers. For a person who knows why.
    virtual Result<void> forget_index(std::string_view name) = 0;
};

// A Maildir++ tree at `path` (made when it is missing, with its parents there): INBOX is the directory itself, folder A.B is ".A.B"
// in it, names in modified UTF-7, subscriptions in "subscriptions", as Courier and Dovecot have it.
Result<std::unique_ptr<Mailbox>> open_maildir(const std::string& path);

struct MboxPlaces {
    std::string inbox;                             // /var/mail/USER, or a file of the home
    std::shared_ptr<MboxKeeper> keeper;            // of its dotlock; nothing: the owner's own hands (lib/store/mbox.h)
    std::string folders;                           // directory of the other folders, ~/mail; it need not be there
    std::string home;                              // .veredus/ in it has the index
};
// Folder a/b is the file a/b below `folders`, names in modified UTF-7, subscriptions in ".subscriptions" there.
Result<std::unique_ptr<Mailbox>> open_mbox(MboxPlaces places);

// Folders that a user expects, there for every client and on disk only once one is opened, with what they are for.
struct DefaultFolder {
    std::string name, special_use;
};
inline constexpr char usual_default_folders[] = "Drafts \\Drafts, Sent \\Sent, Trash \\Trash, Junk \\Junk, Archive \\Archive";
// "NAME \\USE, NAME, ...": names may have blanks. An error says which entry is wrong.
Result<std::vector<DefaultFolder>> parse_default_folders(std::string_view setting);
// `box` with these folders listed and subscribed to, until a user unsubscribes, and with special uses, which are kept in
// "special-use" of the index.
std::unique_ptr<Mailbox> with_default_folders(std::unique_ptr<Mailbox> box, std::vector<DefaultFolder> folders);

}  // namespace veredus::store

// The mail of one user as all of his sessions share it: each folder is open once, what one session does the others see
// from memory at once, and what other programs did as soon as somebody looks.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/imap/message_keys.h"
#include "lib/imap/view.h"
#include "lib/store/mailbox.h"

namespace veredus::imap {

// One folder that is open, and who looks at it.
// Messages of one APPEND. Those of several sessions go in together, so that one wait for the disk serves all.
struct Joining {
    std::vector<store::Incoming> messages;
    std::optional<Result<std::vector<uint32_t>>> done; // UIDs, in order; of an error nothing happened
};

class OpenFolder {
public:
    OpenFolder(std::string name, std::unique_ptr<store::Folder> folder);
    const std::string& name() const { return name_; }
    const store::UidTable& table() const { return folder_->table(); }
    // Calls of store::Folder go through here, so that the views learn what they changed: also reading may find that a
    // mail is gone.
    template <class Call> auto use(Call&& call)
    {
        auto done = call(*folder_);
        settle();
        return done;
    }
    Result<bool> refresh(); // after ENOENT it is lost
    bool wants_apply() const { return folder_->wants_apply(); }
    bool is_busy() const { return folder_->is_busy(); }
    std::vector<store::WatchPoint> watch_points() const { return folder_->watch_points(); }
    unsigned incarnation() const { return incarnation_; } // another one: other watch points
    void join(std::shared_ptr<Joining> mine) { joining_.push_back(std::move(mine)); }
    void leave(const std::shared_ptr<Joining>& mine) { std::erase(joining_, mine); }
    void append_joined(); // what all have joined; each finds `done`
    store::Folder& raw() { return *folder_; }             // as a target of copy() and move(): call settle() afterwards
    void settle();
    // What SORT and THREAD took out of its messages; shared with the commands that run. It goes when nobody has asked
    // for a while, unless it is small.
    std::shared_ptr<MessageKeys> keys();
    void forget_keys();

    void enter(View& view) { views_.push_back(&view); }
    void leave(View& view) { std::erase(views_, &view); }
    std::size_t visitors() const { return views_.size(); }
    // The mailbox is no more what its visitors know: removed, or its UIDs are others now. Their sessions end.
    bool lost() const { return lost_; }
    // Its name means another folder now, or none: what is added to it nobody would find.
    bool removed() const { return removed_; }
    void lose();
    bool is_still_in(const store::Mailbox& mailbox) const { return mailbox.is_still(name_, *folder_); }
    void renamed(std::string name, std::unique_ptr<store::Folder> folder);

    // \Recent (RFC 3501 §2.3.2): what no session was told of yet is recent to who asks first; ends with it unless
    // `peek`.
    store::UidRange take_recent(bool peek);

private:
    void append_all(const std::vector<std::shared_ptr<Joining>>& all);
    std::string name_;
    std::unique_ptr<store::Folder> folder_;
    std::vector<std::shared_ptr<Joining>> joining_; // shared with the sessions that wait for it
    std::vector<View*> views_;    // borrowed: enter() and leave()
    std::vector<uint32_t> known_; // UIDs of the table when it was looked at last
    std::shared_ptr<MessageKeys> keys_;
    uint64_t noted_modseq_ = 0, mailbox_id_ = 0;
    uint32_t uidvalidity_ = 0, recent_above_ = 0;
    unsigned incarnation_ = 0;
    bool lost_ = false, removed_ = false;
};

class Account {
public:
    explicit Account(std::unique_ptr<store::Mailbox> mailbox) : mailbox_(std::move(mailbox)) {}
    store::Mailbox& mailbox() { return *mailbox_; }

    // The folder, refreshed, the same object for everybody. Errors as of store::Mailbox::open(). Look::later: for who only adds to it,
    // which needs no look at what others did: one that is open already is not refreshed.
    enum class Look : uint8_t { now, later };
    Result<std::shared_ptr<OpenFolder>> open(std::string_view name, Look look = Look::now);
    Result<void> create(std::string_view name);
    Result<void> remove(std::string_view name);
    Result<void> rename(std::string_view from, std::string_view to); // not of INBOX, whose messages move instead
    bool is_trash(std::string_view name);

    // Flags go where other programs see them; folders nobody has selected are closed when `close`. Errors are logged.
    // True: a piece is done, and there is more of it.
    bool tidy(bool close);
    const std::map<std::string, std::shared_ptr<OpenFolder>>& open_folders() const { return folders_; }
    static std::string canonical(std::string_view name); // INBOX in its one spelling

private:
    static constexpr std::size_t most_unused = 16; // folders that stay open though nobody has them selected
    void close_unused(std::size_t keep);
    std::unique_ptr<store::Mailbox> mailbox_;
    std::map<std::string, std::shared_ptr<OpenFolder>> folders_; // shared with the sessions that have it selected
};

} // namespace veredus::imap

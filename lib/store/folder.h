// One folder, whatever its kind: the interface that imapd, pop3d and veredus(8) share. Other programs may work in the same
// mailbox at any moment. Not thread-safe; one object per process and folder. All calls may block on the disk.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/store/facts.h"
#include "lib/store/uid_table.h"
#include "lib/store/watch.h"
#include "lib/store/wire_reader.h"

namespace veredus::store {

struct FlagChange {
    enum class How { set, add, remove } how = How::set;
    uint8_t flags = 0;
    std::vector<std::string> keywords;
    // RFC 7162 §3.1.3: messages changed after this are left alone
    std::optional<uint64_t> unchanged_since;
};

struct FlagsChanged {
    std::vector<uint32_t> changed;             // that are different now; all have the table's highest mod-sequence
    std::vector<uint32_t> modified;            // not touched: unchanged_since
    uint64_t before = 0;                       // the table's highest mod-sequence when the change began
    bool keyword_refused = false;              // no bit left for one of them: it was left out (NO [LIMIT])
};

// A mail on its way in: wire form, in pieces. Destroyed before append(), it leaves nothing behind.
class Draft {
public:
    virtual ~Draft() = default;
    virtual Result<void> write(std::string_view wire) = 0;
};

struct Incoming {
    std::unique_ptr<Draft> draft;              // of the same folder
    uint8_t flags = 0;
    std::vector<std::string> keywords;
    int64_t received = unknown_time;           // unknown: now
    uint64_t id = 0;                           // EMAILID of what it is a copy of
};

struct Copied {
    uint32_t from = 0, to = 0;
};

// What an expunge came to once it had begun. UIDs that are in neither list may be there or not: the next refresh tells.
struct Expunged {
    std::vector<uint32_t> gone;                // no longer in the mailbox, ascending
    std::vector<uint32_t> left;                // certainly still there, untouched
    Error trouble;                             // has a text: not all was done, or the index could not be told
};

struct Moved {
    std::vector<Copied> moved;                 // also those whose original could not be taken away for certain: twice, but never lost
    Error trouble;                             // has a text: some messages are where they were, or in both places
};

class Folder {
public:
    virtual ~Folder() = default;
    // As of the last refresh or change. References into it last until the next call of any kind.
    virtual const UidTable& table() const = 0;
    // Looks at the disk: new mail, mail that is gone, flags that other programs changed. True: something did. What
    // happened since a client was told last, table().highest_modseq() tells. All of it is synced: UIDs may be told.
    virtual Result<bool> refresh() = 0;
    // ENOENT: another program removed it; refresh() will say so.
    virtual Result<std::unique_ptr<WireReader>> open(uint32_t uid) = 0;
    virtual Result<uint64_t> size(uint32_t uid) = 0;          // RFC822.SIZE
    virtual Result<int64_t> received(uint32_t uid) = 0;       // INTERNALDATE, seconds
    // From the cache, or made now by one pass over the mail, which the cache keeps. It lives until the next call of any kind. Ascending
    // UIDs are read many at a time. Errors as of open().
    virtual Result<const Facts*> facts(uint32_t uid) = 0;
    // What Facts::preview will say of it; for who made one.
    virtual void keep_preview(uint32_t uid, std::string_view preview) = 0;
    // Durable when they return. UIDs that are not there are passed over. On an error of append, copy, move or expunge nothing happened.
    // ESTALE, of whatever is done by UID: the index was made anew since the first refresh(), and UIDs mean other messages now.
    virtual Result<FlagsChanged> change_flags(const std::vector<uint32_t>& uids, const FlagChange& change) = 0;
    virtual Result<std::unique_ptr<Draft>> draft() = 0;
    // What can fail of these mails alone, before append() of them together with others. append() does it where nobody has.
    virtual Result<void> prepare(std::vector<Incoming>& mails) = 0;
    virtual Result<std::vector<uint32_t>> append(std::vector<Incoming> mails) = 0;     // their UIDs, in order
    virtual Result<std::vector<Copied>> copy(const std::vector<uint32_t>& uids, Folder& target) = 0;
    virtual Result<Moved> move(const std::vector<uint32_t>& uids, Folder& target);
    virtual Result<Expunged> expunge(const std::vector<uint32_t>& uids) = 0;
    // Puts flags where other programs see them, and takes mails out of new/: when idle, and before leaving. Until then the UID
    // log has them safe.
    virtual Result<void> apply() = 0;
    virtual bool wants_apply() const = 0;
    // The last refresh() or apply() did nothing, because another program held the mailbox's lock: call it again in a moment.
    virtual bool is_busy() const { return false; }
    // Where deliveries, other programs and other processes of ours change it (watch.h). Valid while the folder lives.
    virtual std::vector<WatchPoint> watch_points() const = 0;
    // Its name means another folder now, or none: nothing is written any more that only speed needs.
    virtual void abandon() {}
    virtual bool healed() const = 0;           // the index was damaged and was mended; for a log line
};

class UidLog;
// change_flags() as far as the log goes: synced when it returns.
Result<FlagsChanged> change_flags_in_log(UidLog& log, const std::vector<uint32_t>& uids, const FlagChange& change);
// copy() for folders of different kinds: reads and writes each mail.
Result<std::vector<Copied>> copy_by_reading(Folder& from, const std::vector<uint32_t>& uids, Folder& to);
// RFC 9051 §6.3.11 STATUS; RFC 8438 SIZE.
struct Counts {
    uint32_t messages = 0, unseen = 0, deleted = 0;
};
Counts counts_of(const UidTable& table);
Result<uint64_t> total_size(Folder& folder);          // of those that are still there
// What append, copy and move answer (ENOBUFS) when a message has a keyword that the folder has no bit for: none is dropped silently.
Unexpected no_room_for_keyword(std::string_view word);
// The keywords of a message by name.
std::vector<std::string> keywords_of(const UidTable& table, const Message& m);

}  // namespace veredus::store

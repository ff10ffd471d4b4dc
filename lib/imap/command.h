// The commands of IMAP (RFC 9051 §6, RFC 3501 §6 and the extensions veredus announces) as data: what the parser makes of a client's
// bytes, and all that the login stage and the session ever see of them. Mailbox names are UTF-8 here, whatever the wire had.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace veredus::imap {

// A sequence-set (RFC 9051 §9): message numbers or UIDs, as given. 0 is "*"; resolved by whoever knows the mailbox.
struct SequenceSet {
    struct Range {
        uint32_t first = 0, last = 0;
        bool operator==(const Range&) const = default;
    };
    std::vector<Range> ranges;
    bool saved = false;                        // "$" (RFC 5182)
    bool operator==(const SequenceSet&) const = default;
};

// Flags as STORE, APPEND and SEARCH name them: bits of store::Flag, and keywords as written. \Recent cannot be named by a client.
struct Flags {
    uint8_t system = 0;
    std::vector<std::string> keywords;
};

// --- commands without arguments
enum class Verb : uint8_t { capability, noop, logout, starttls, check, close, unselect, namespace_, idle, compress_deflate };
struct Simple {
    Verb verb = Verb::noop;
};

// --- before the login
struct Login {
    std::string user, password;
};
struct Authenticate {
    std::string mechanism;
    std::optional<std::string> initial;        // RFC 4959, decoded; "" for "="
};

// --- any time
struct Id {                                    // RFC 2971
    std::vector<std::pair<std::string, std::optional<std::string>>> fields;
};
struct Enable {                                // RFC 5161; upper case
    std::vector<std::string> capabilities;
};

// --- mailboxes
struct Qresync {                               // RFC 7162 §3.2.5
    uint32_t uidvalidity = 0;
    uint64_t modseq = 0;
    std::optional<SequenceSet> known_uids;
    std::optional<std::pair<SequenceSet, SequenceSet>> match;    // message numbers and the UIDs they had
};
struct Select {
    std::string mailbox;
    bool examine = false, condstore = false;
    std::optional<Qresync> qresync;
};
struct Create {
    std::string mailbox;
    std::vector<std::string> special_use;      // RFC 6154: "\Sent", as written
};
struct Delete {
    std::string mailbox;
};
struct Rename {
    std::string from, to;
};
struct Subscribe {
    std::string mailbox;
    bool on = true;
};

enum StatusItem : uint16_t {
    status_messages = 1, status_recent = 2, status_uidnext = 4, status_uidvalidity = 8, status_unseen = 16, status_deleted = 32,
    status_size = 64, status_highestmodseq = 128, status_mailboxid = 256, status_appendlimit = 512,
};
struct Status {
    std::string mailbox;
    uint16_t items = 0;                        // StatusItem
};
struct List {                                  // RFC 9051 §6.3.9, RFC 5258; LSUB too
    bool lsub = false, extended = false;       // extended: options or a list of patterns were given
    bool select_subscribed = false, select_remote = false, select_recursive_match = false, select_special_use = false;
    bool return_subscribed = false, return_children = false, return_special_use = false;
    uint16_t return_status = 0;                // StatusItem; 0: not asked for
    std::string reference;
    std::vector<std::string> patterns;         // with % and *; without those that can match no name (not modified UTF-7)
};

// --- messages
// The message itself streams past (reader.h).
struct Append {
    std::string mailbox;
    bool replace = false, uid = false;         // REPLACE, UID REPLACE (RFC 8508)
    uint32_t replaced = 0;                     // its message number or UID; 0: "*"
};
struct AppendMessage {
    Flags flags;
    std::optional<int64_t> received;           // seconds since 1970
    uint64_t size = 0;
    bool literal8 = false, utf8 = false;       // ~{n}; UTF8 (~{n}) (RFC 9755)
};

// Fetch's section (RFC 9051 §6.4.5.1), also of BINARY, which has part only.
struct Section {
    enum class Kind : uint8_t { all, header, header_fields, header_fields_not, text, mime } kind = Kind::all;
    std::vector<uint32_t> part;                // 4.2.1; empty: the message
    std::vector<std::string> fields;           // as written
};
struct FetchItem {
    enum class What : uint8_t {
        flags, uid, internaldate, rfc822_size, envelope, body, bodystructure, section, rfc822, rfc822_header, rfc822_text, binary, binary_size,
        modseq, emailid, threadid, savedate, preview, preview_lazy,
    } what = What::flags;
    Section section;                           // section, binary, binary_size
    bool peek = false;                         // sets no \Seen: all but BODY[…], BINARY[…], RFC822, RFC822.TEXT
    std::optional<std::pair<uint64_t, uint64_t>> partial;    // offset, count (never 0)
};
struct Fetch {
    SequenceSet set;
    bool uid = false;
    std::vector<FetchItem> items;              // macros resolved; uid is among them for UID FETCH, modseq with changed_since
    std::optional<uint64_t> changed_since;
    bool vanished = false;
};
struct Store {
    SequenceSet set;
    bool uid = false, silent = false;
    enum class How : uint8_t { set, add, remove } how = How::set;
    Flags flags;
    std::optional<uint64_t> unchanged_since;
};
struct Copy {
    SequenceSet set;
    bool uid = false, move = false;
    std::string mailbox;
};
struct Expunge {
    std::optional<SequenceSet> uids;           // UID EXPUNGE (RFC 4315)
};

// --- search, sort, thread
struct SearchKey {
    enum class Kind : uint8_t {
        all, all_of, any_of, not_, sequence, uid,
        flag, no_flag, keyword, no_keyword, recent, old, new_,
        before, on, since, sent_before, sent_on, sent_since, saved_before, saved_on, saved_since, save_date_supported, older, younger,
        larger, smaller, header, from, to, cc, bcc, subject, body, text, modseq, emailid, threadid,
    } kind = Kind::all;
    std::vector<SearchKey> keys;               // all_of, any_of (two), not_ (one)
    SequenceSet set;                           // sequence, uid
    uint8_t flag = 0;                          // flag, no_flag: one bit of store::Flag
    std::string field;                         // header: its name
    std::string text;                          // what to look for, UTF-8 after charset conversion; keyword; object ID
    uint64_t number = 0;                       // larger, smaller, modseq; older, younger: seconds
    int32_t day = 0;                           // dates: days since 1970-01-01
};
struct Search {
    bool uid = false;
    bool extended = false;                     // RETURN was given: ESEARCH answers
    bool min = false, max = false, all = false, count = false, save = false;    // RETURN (): all
    SearchKey key;                             // one all_of at the top
};
struct SortCriterion {
    enum class By : uint8_t { arrival, cc, date, from, size, subject, to } by = By::arrival;
    bool reverse = false;
};
struct Sort {
    bool uid = false;
    std::vector<SortCriterion> by;
    SearchKey key;
};
struct Thread {
    bool uid = false;
    enum class Algorithm : uint8_t { ordered_subject, references } algorithm = Algorithm::references;
    SearchKey key;
};

using Command = std::variant<Simple, Login, Authenticate, Id, Enable, Select, Create, Delete, Rename, Subscribe, Status, List, Fetch, Store, Copy, Expunge,
                             Search, Sort, Thread>;

}  // namespace veredus::imap

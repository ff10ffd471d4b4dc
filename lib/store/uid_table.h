// What one folder's UID log says: UIDVALIDITY, UIDs, flags, keywords, mod-sequences, vanished UIDs, names. Pure: bytes in,
// bytes out; the file is uid_log.h's, the format veredus-mailbox(5)'s.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace veredus::store {

// System flags (RFC 9051 §2.3.2); \Recent is a session's, never stored.
enum Flag : uint8_t { answered = 1, flagged = 2, deleted = 4, seen = 8, draft = 16 };
inline constexpr uint8_t all_flags = 31;
inline constexpr std::size_t max_keywords = 64;         // in one folder: bits of Message::keywords
inline constexpr std::size_t max_keyword_size = 255;
inline constexpr int64_t unknown_time = INT64_MIN;

struct Message {
    uint64_t modseq = 0;
    uint64_t keywords = 0;             // bit n: UidTable::keywords()[n]
    int64_t received = unknown_time;   // INTERNALDATE, seconds since 1970
    int64_t saved = unknown_time;      // SAVEDATE (RFC 8514)
    uint64_t id = 0;                   // EMAILID (RFC 8474): a copy keeps it
    uint32_t uid = 0;
    uint32_t name_at = 0;              // UidTable::name()
    uint16_t name_size = 0;
    uint8_t flags = 0;
    bool fresh = false;                // in new/ when its name was last seen
    bool gone = false;                 // within a batch only
};

struct UidRange {
    uint32_t first = 0, last = 0;      // both inclusive
    bool operator==(const UidRange&) const = default;
};

// The record types of veredus-mailbox(5).
enum class Record : uint8_t { head = 1, add = 2, flags = 3, name = 4, keyword = 5, vanished = 6, next = 7, state = 8 };

inline constexpr uint16_t uid_log_version = 1;
inline constexpr std::size_t max_record = 65536;        // payload
inline constexpr std::size_t record_head = 12;
inline constexpr std::size_t max_name = max_record - 64;  // of a message: the record that adds it says more
inline constexpr std::size_t max_vanished = 32768;      // ranges remembered for QRESYNC

// A message's first record. `uid` 0: the next one.
struct NewMessage {
    uint32_t uid = 0;
    std::string name;                  // Maildir: file name in cur/ or new/; mbox: fingerprint
    bool fresh = false;
    uint8_t flags = 0;
    uint64_t keywords = 0;
    int64_t received = unknown_time;
    int64_t saved = unknown_time;
    uint64_t id = 0;                   // 0: made from the name
};

// What a log starts from when there is none: fresh numbers, or those of Dovecot's index or an mbox's headers.
struct Seed {
    uint32_t uidvalidity = 0;
    uint32_t uidnext = 1;
    uint64_t mailbox_id = 0;           // MAILBOXID (RFC 8474)
    std::vector<std::string> keywords;
    std::vector<NewMessage> messages;  // ascending UIDs
};

class UidTable {
public:
    uint32_t uidvalidity() const { return uidvalidity_; }
    uint32_t uidnext() const { return uidnext_; }
    uint64_t highest_modseq() const { return highest_modseq_; }
    uint64_t mailbox_id() const { return mailbox_id_; }
    const std::vector<Message>& messages() const { return messages_; }     // ascending UIDs
    const Message* find(uint32_t uid) const;
    std::string_view name(const Message& m) const { return std::string_view(names_).substr(m.name_at, m.name_size); }
    const std::vector<std::string>& keywords() const { return keywords_; } // an empty one: its bit is free
    std::optional<unsigned> keyword_bit(std::string_view keyword) const;   // ASCII case does not matter
    bool has_room_for_keyword() const;                                     // a bit is free, or no message has it any more
    const std::string& state() const { return state_; }                    // what the folder noted about the files
    // UIDs that vanished after `modseq` (RFC 7162 §3.2.6), ascending, merged. When that is further back than is remembered:
    // every UID below UIDNEXT that is not there.
    std::vector<UidRange> vanished_since(uint64_t modseq) const;
    bool remembers(uint64_t modseq) const { return modseq >= vanished_floor_; }    // vanished_since() knows, and need not guess

    // A Change's bytes, in order: `encode_*` below. What contradicts the table is dropped, and counted as damage.
    void apply(std::string_view records);
    // A whole file. False: no head survived, so uidvalidity() is 0 and the caller must give a new one.
    // `torn`: the size of what is whole when only the end is bad.
    struct Loaded {
        bool has_head = false;
        bool damaged = false;           // rewrite it
        uint16_t version = 0;           // of the file: more than uid_log_version means hands off
        std::size_t whole = 0;          // bytes up to the last good record
    };
    Loaded load(std::string_view file);
    void start(const Seed& seed);       // an empty table becomes this; what is no keyword is left out
    std::string snapshot() const;       // the whole table as a file
    std::size_t snapshot_size() const;  // about

private:
    bool apply_one(Record type, std::string_view payload);
    bool apply_head(std::string_view payload);
    bool apply_add(std::string_view payload);
    bool apply_flags(std::string_view payload);
    bool apply_name(std::string_view payload);
    bool apply_keyword(std::string_view payload);
    bool apply_vanished(std::string_view payload);
    bool apply_next(std::string_view payload);
    Message* find_mutable(uint32_t uid);
    void note_name(Message& m, std::string_view name);
    void purge();
    void bump(std::size_t lost);

    struct Vanished {
        uint64_t modseq;
        UidRange range;
    };
    uint32_t uidvalidity_ = 0, uidnext_ = 1, vanished_to_ = 0;
    uint64_t highest_modseq_ = 1, mailbox_id_ = 0, vanished_floor_ = 0;
    uint16_t version_ = 0;
    std::vector<Message> messages_;
    std::string names_;                 // renamed ones leave holes, which a snapshot closes
    std::vector<std::string> keywords_;
    std::vector<Vanished> vanished_;    // by modseq
    std::string state_;
    bool any_gone_ = false;
};

// --- records
std::string encode_add(const NewMessage& m, uint32_t uid, uint64_t modseq);
void encode_flags(std::string& out, uint64_t modseq, uint8_t flags, uint64_t keywords, const std::vector<UidRange>& uids);
void encode_vanished(std::string& out, uint64_t modseq, const std::vector<UidRange>& uids);
std::string encode_name(uint32_t uid, bool fresh, std::string_view name);
std::string encode_keyword(unsigned bit, std::string_view keyword);
std::string encode_next(uint32_t uidnext, uint64_t modseq);
std::string encode_state(std::string_view state);

struct RecordView {
    Record type = Record::head;
    std::string_view payload;
};
// Takes the record at `at` and moves it on; nothing: no whole record with a right checksum begins there.
std::optional<RecordView> next_record(std::string_view bytes, std::size_t& at);

uint64_t name_id(std::string_view name);    // EMAILID of a message that never had one: the same for the same base name
// An atom (RFC 9051 §9 flag-keyword) of at most max_keyword_size bytes, without what a flag list or a Status header would misread.
bool is_keyword(std::string_view word);
// Ascending UIDs as ranges.
std::vector<UidRange> to_ranges(const std::vector<uint32_t>& uids);

}  // namespace veredus::store

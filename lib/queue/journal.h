// qmgr's log: what happened to each mail (veredus-queue(5)). Append-only, checksummed, group-committed by a thread (one
// fdatasync for all that wait), compacted by rename. "Journal" in code, so that `log` stays the word for syslog.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/disk/disk.h"

namespace veredus::queue {

enum class Event : uint8_t {
    deferred = 1,     // next attempt, attempts so far, reason; per mail
    outcome = 2,      // one recipient is finished: delivered, failed, expanded, discarded
    expansion = 3,    // children of a recipient
    bounced = 4,      // one recipient is told of in the notification named in text; in the same commit as its cause
    done = 5,         // every recipient is finished: the mail file may go
    moved = 6,        // which state directory holds it: incoming, deferred, hold
    gone = 7,         // the unlink is durable too: forget the ID (only in compaction)
    retry = 8,        // one recipient waits: why (for mailq); not final
    aged = 9,         // the mail is of another age than its date says: when its age was nought, by the clock as it goes now
};

// run_as of an address that is final here, past aliases and .forward: what takes the place of the user's mailbox is asked at each attempt.
constexpr std::string_view by_place = ">";

struct Child {
    enum class Kind : uint8_t { address, mailbox, command, file } kind = Kind::address;
    std::string text;         // address in external form, user name, command line, or path
    std::string run_as;       // user that commands and files run as; empty: default_privs. Of an address: by_place, or TRANSPORT:NEXTHOP that takes it
    std::string sender;       // owner-alias replaces the envelope sender; "-" keeps it
};

struct Record {
    Event event = Event::deferred;
    std::string id;                 // queue ID
    uint32_t recipient = 0;         // index: of the envelope first, then children in order of expansion; deferred: hash of the site
    uint8_t outcome = 0;            // queue-wide Outcome value (lib/ipc/agent.h)
    int64_t time_us = 0;            // deferred: next attempt, wall clock; else when it happened
    uint32_t attempts = 0;
    std::string dsn;                // "4.4.1"
    std::string text;               // reason, printable; for moved: the state; for bounced: the new ID
    std::vector<Child> children;    // expansion
    bool operator==(const Record&) const = default;
};
bool operator==(const Child& a, const Child& b);

inline constexpr std::size_t journal_start_size = 32;
inline constexpr std::size_t max_frame = 16u << 20;      // payload; a larger commit is refused
inline constexpr std::size_t max_children = 100'000;

// One frame, which is there as a whole or not at all. `salt` is the file's; texts longer than 65535 bytes are cut.
std::string encode_frame(const std::vector<Record>& records, std::string_view salt = {});
std::string encode_record(const Record& record);           // a frame of one
// The records of the frames up to the first damaged one; `valid` is how many bytes were good.
std::vector<Record> decode_records(std::string_view bytes, std::size_t& valid, std::string_view salt = {});
std::string journal_start(std::string_view salt);          // 8 bytes of salt
std::optional<std::string> parse_journal_start(std::string_view bytes);   // its salt

class Journal {
public:
    // Reads `dir`/journal, gives each record to `replay` in order, cuts a torn tail off, sets a file without a good
    // start aside. `post` as in disk::Pool; after ~Journal none of the callbacks runs any more.
    static Result<std::unique_ptr<Journal>> open(disk::Disk& disk, disk::Directory dir, std::function<void(const Record&)> replay,
                                                 std::function<void(std::function<void()>)> post);
    ~Journal();                                 // finishes what was committed
    // `durable` runs (through post) once all of `records` are on disk, together or not at all, or with the error that
    // kept them out. After a full disk the next commit may succeed; after a failed sync every commit fails until
    // compact() has written a fresh file: see broken().
    void commit(std::vector<Record> records, std::function<void(Result<void>)> durable);
    // Writes a new file that holds just `live`, durable before it replaces the old one. Commits wait meanwhile: what was
    // committed before the call must be in `live`, what comes after is appended behind it.
    void compact(std::vector<Record> live, std::function<void(Result<void>)> done);
    bool broken() const;                        // only compact() heals
    uint64_t size() const;                      // bytes in the file: the owner decides when to compact
    Result<void> flush();                       // waits until all that was committed is durable or refused (stop, tests)

private:
    struct State;
    explicit Journal(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace veredus::queue

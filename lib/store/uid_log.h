// The UID log of a folder as a file: append-only, one writer at a time under an OFD lock, compacted by rename
// (veredus-mailbox(5)). Several processes may hold one open; each reads what the others appended.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/disk/disk.h"
#include "lib/store/uid_table.h"

namespace veredus::store {

enum class Wait { no, yes };

class UidLog {
public:
    // Why a log begins: there was none, or its head is lost and the numbers must be ones that nobody had.
    enum class Begins { first_contact, damaged };
    using MakeSeed = std::function<Result<Seed>(Begins)>;

    // Opens `name` in `dir`, or makes it, durably, from what `make_seed` says; a log without a readable head gets a new
    // UIDVALIDITY from it and keeps flags and names. A file of a later version is an error (EPROTONOSUPPORT) and stays as it
    // is. `disk` must outlive the log.
    static Result<std::unique_ptr<UidLog>> open(disk::Disk& disk, disk::Directory dir, std::string name, MakeSeed make_seed);
    ~UidLog();
    UidLog(const UidLog&) = delete;

    const UidTable& table() const { return table_; }
    bool created() const { return created_; }        // by this open()
    bool healed() const { return healed_; }          // damage was found and written over; for a log line

    // What other processes appended; true: something. Takes no lock.
    Result<bool> refresh();

    // From the first call on callers know UIDs as they are now. When the log is made anew under us they mean other messages, or none:
    // then, for good, numbers_hold() says ESTALE. Whoever does something by UID asks when he has the lock.
    void hold_numbers();
    Result<void> numbers_hold() const;

    // The only way to change anything: the lock is held while it lives. Nothing is changed, on disk or here, before commit();
    // destroyed without it, nothing was.
    class Change {
    public:
        Change(Change&& other) noexcept;
        Change& operator=(Change&&) = delete;
        ~Change();
        uint64_t modseq() const { return modseq_; }              // that all of this change gets
        uint32_t next_uid() const { return next_uid_; }
        // The UID it gets; 0: the last one is used up, or the name is longer than max_name.
        uint32_t add(NewMessage message);
        void set_flags(uint8_t flags, uint64_t keywords, const std::vector<UidRange>& uids);   // as they shall be
        void vanish(const std::vector<UidRange>& uids);
        bool rename(uint32_t uid, bool fresh, std::string_view name);    // false, and nothing noted: longer than max_name
        // Its bit, made if need be; nothing: all bits are used by messages, or it is no keyword we take.
        std::optional<unsigned> keyword(std::string_view keyword);
        void note_state(std::string_view state);                  // nothing waits for it: losing it costs another look
        bool empty() const { return records_.empty(); }
        // Written, not synced: promise nothing to a client before UidLog::sync(). After an error nothing changed, or, on a disk that filled
        // up, a first part of it: what other processes may have read is not taken back.
        Result<void> commit();

    private:
        friend class UidLog;
        explicit Change(UidLog& log);
        void keep_whole_records();
        UidLog* log_;
        std::string records_;
        uint64_t modseq_;
        uint32_t next_uid_;
        std::vector<std::pair<unsigned, std::string>> made_keywords_;
        uint64_t handed_out_ = 0;                                // bits that this change uses: not free, whoever else has them
        bool notes_only_ = true;                                 // nothing that was ever told to a client
    };
    // Nothing (Wait::no): another process is at it.
    Result<std::optional<Change>> begin(Wait wait = Wait::yes);

    // All that was committed is on disk. A failed sync is final for the file: the next begin() writes a new one.
    Result<void> sync();
    bool unsynced() const { return unsynced_; }
    bool wants_compaction() const;
    Result<void> compact();                          // takes the lock; a durable new file in place of the old one

private:
    UidLog(disk::Disk& disk, disk::Directory dir, std::string name, MakeSeed make_seed);
    Result<void> attach();                           // open what the name means now, and read all of it
    Result<bool> create(const std::string& content);
    Result<bool> read_all();
    Result<bool> read_more(uint64_t size);
    Result<bool> lock(Wait wait);
    void unlock();
    Result<bool> is_current();                       // does the name still mean our file?
    Result<void> catch_up();
    Result<void> mend();                             // under the lock: torn or damaged ends, a lost head
    Result<void> rewrite();                          // under the lock
    std::string where() const;

    disk::Disk& disk_;
    disk::Directory dir_;
    std::string name_;
    MakeSeed make_seed_;
    UidTable table_;
    std::optional<std::pair<uint32_t, uint64_t>> held_;      // UIDVALIDITY and MAILBOXID of hold_numbers()
    Fd file_;
    uint64_t file_id_ = 0;
    uint64_t read_to_ = 0;                           // of the file, in whole records
    bool locked_ = false, created_ = false, healed_ = false, unsynced_ = false, broken_ = false, has_head_ = false, name_synced_ = false;
};

}  // namespace veredus::store

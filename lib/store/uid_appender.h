// Adding new messages to a UID log for who does not want to read it: a delivery looks at its end only, and leaves the numbers to
// the next session when that is not enough.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/disk/disk.h"
#include "lib/store/uid_table.h"

namespace veredus::store {

// What follows the end of a log, from its last bytes. Nothing: they do not tell.
struct LogEnd {
    uint32_t uidnext = 0;
    uint64_t highest_modseq = 0;
};
std::optional<LogEnd> read_log_end(std::string_view tail, bool whole);    // whole: from the file's first byte

class UidAppender {
public:
    // Holds the log's lock while it lives. Nothing: there is no log, another process has it locked, or it must be read or mended first.
    static Result<std::optional<UidAppender>> try_begin(disk::Disk& disk, const disk::Directory& dir, const std::string& name);
    uint32_t uidvalidity() const { return uidvalidity_; }
    // Its UID; 0: the last one is used up.
    uint32_t add(NewMessage message);
    // Written, not synced: whoever tells a client of them syncs the log first. After an error nothing changed.
    Result<void> commit();

private:
    UidAppender(disk::Disk& disk, Fd file, uint64_t size) : disk_(&disk), file_(std::move(file)), size_(size) {}
    disk::Disk* disk_;
    Fd file_;
    uint64_t size_;
    uint32_t uidvalidity_ = 0, next_uid_ = 0;
    uint64_t modseq_ = 0;
    std::string records_;
};

}  // namespace veredus::store

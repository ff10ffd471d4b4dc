// Queue IDs: 16 upper-case hex digits, sorted by time. Bits: 32 of seconds, then 32 that tell writers apart:
//   daemon writers: 1sssssss cccccccc cccccccc cccccccc   slot (7 bits) and counter (24 bits)
//   veredus-drop:   0uuuuuuu uuuuuuuu uuuupppp pppppppp   microseconds / 2 (19 bits, below 0x7A120) and pid (12 bits)
// The seconds never go back: each writer keeps a high-water mark on disk, reserved ahead (durability.md, point 4).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/clock.h"
#include "lib/base/result.h"
#include "lib/disk/disk.h"

namespace veredus::queue {

bool is_queue_id(std::string_view text);         // 16 upper-case hex digits
bool is_drop_id(std::string_view id);             // of veredus-drop
unsigned id_slot(std::string_view id);           // of a daemon writer
int64_t id_seconds(std::string_view id);         // the time in it
std::string drop_id(int64_t wall_us, int pid);   // for veredus-drop; uniqueness is checked by O_EXCL

class IdMaker {
public:
    // Reads the high-water mark ".mark-SLOT" of `dir` and reserves ahead. `slot` 0 to 127 belongs to one living process,
    // and always to a writer of the same directory.
    static Result<IdMaker> open(disk::Disk& disk, const disk::Directory& dir, unsigned slot, const Clock& clock);
    Result<std::string> next();                  // syncs the mark once in some minutes
    // For event loops: never touches the disk; takes of what is reserved, lagging behind the clock when it must. Empty
    // when not even that is left (16 million IDs later).
    std::optional<std::string> next_reserved();
    bool runs_low() const;                       // time to refill()
    // Reserves more; from any thread, while the owner takes IDs.
    Result<void> refill();

private:
    struct Mark;
    IdMaker(std::shared_ptr<Mark> mark, unsigned slot, const Clock& clock, uint32_t seconds) : mark_(std::move(mark)), slot_(slot), clock_(&clock), seconds_(seconds) {}
    bool advance();
    uint32_t wall_seconds() const;
    std::string text() const;
    std::shared_ptr<Mark> mark_;                 // shared with a refill that runs in a pool
    unsigned slot_;
    const Clock* clock_;
    uint32_t seconds_ = 0, counter_ = 0;         // of the next ID
};

}  // namespace veredus::queue

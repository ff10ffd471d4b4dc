// What a delivery notes on an mbox while it appends: where it began and what is to come, so that half a mail of a
// killed process is known as one, and cut off before anybody of ours reads or appends.
//
// It is an extended attribute of the file ("user.veredus.append"), for file systems keep the changes of one inode in
// order: a crash shows no growth without the note that was made before, which a file beside the mailbox could promise
// only by a sync of its own. Where there are no such attributes (NFS before 4.2), the half stays beside the mail that
// is delivered again.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace veredus::store {

struct PlannedMail {
    uint64_t size = 0;                // bytes in the mbox, with its From_ line and the empty line behind it
    uint32_t sum = 0;                 // CRC-32C of them
    uint16_t line = 0;                // bytes of the From_ line, its end included
    uint32_t line_sum = 0;            // CRC-32C of that
    void add(std::string_view bytes); // of the mail, in order, from its beginning

private:
    bool line_ended_ = false;
};

struct AppendMark {
    static constexpr std::size_t most_mails = 100;
    uint64_t from = 0;   // the file's end before
    uint32_t before = 0; // CRC-32C of up to 4096 bytes in front of it
    uint8_t gap = 0;     // line ends in front of the first mail, for what another program left without
    std::vector<PlannedMail> mails;
};

// The checksum of what stands in front of `from`.
Result<uint32_t> sum_before(int fd, uint64_t from);

// Before the first byte is appended. False: the file system keeps no such notes, or has no room for one.
bool set_append_mark(int fd, const AppendMark& mark);
// When all is written, and before it is synced: by fsync, for fdatasync may leave the note behind. Nothing there is no
// error.
Result<void> clear_append_mark(int fd);
bool has_append_mark(int fd);

// With the file locked for writing. Cuts off all that the noted delivery appended when it ends within a mail: then
// nobody was told that any of it is there. What may be another program's is never cut: the bytes in front, each whole
// mail and the From_ line of the last are compared with the note, and no other mail may stand in the rest. The note is
// gone afterwards. Gives the bytes that were cut.
Result<uint64_t> cut_half_append(int fd);

} // namespace veredus::store

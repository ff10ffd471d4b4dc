// What a change of an mbox will put behind a place in it, kept beside the UID log until it is done (veredus-mailbox(5)). It knows the
// file that it was made for by its bytes, so that no other one is ever changed by it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/disk/disk.h"

namespace veredus::store {

class MboxJournal {
public:
    static constexpr std::size_t head_size = 64, sector = 512;
    // A draft of one called `name` in `index`: `file`, an mbox that is locked for writing, will have behind `from` what add() is given. Both
    // outlive it.
    static Result<MboxJournal> begin(const disk::Directory& index, std::string name, int file, uint64_t from);
    Result<void> add(std::string_view bytes);
    // Whole and durable: from here on a crash does not undo it. `file` was not touched up to then.
    Result<void> publish();

    // What a crash left. One that cannot be read is put aside, and nothing is left. `mbox`: for messages.
    static Result<std::optional<MboxJournal>> find(const disk::Directory& index, std::string name, const std::string& mbox);
    // Is `file` the one it was made for, with nothing where it will write but what was there then and what it has written?
    Result<bool> is_of(int file) const;
    static Result<void> forget(const disk::Directory& index, const std::string& name);
    // It was for another file, or cannot be read: a person may want to look at it. One at a time is kept.
    static Result<void> put_aside(const disk::Directory& index, const std::string& name, const std::string& mbox, std::string_view why);

    int fd() const { return file_.get(); }               // the bytes stand behind head_size
    uint64_t from() const { return head_.from; }
    uint64_t old_size() const { return head_.old_size; }
    uint64_t tail() const { return head_.tail; }
    uint64_t new_size() const { return head_.from + head_.tail; }
    uint32_t beyond() const { return head_.beyond; }     // checksum() of the old file from its new end to its old one

private:
    struct Head {
        uint64_t inode = 0, from = 0, old_size = 0, tail = 0;
        uint32_t beyond = 0, before = 0, bytes = 0;      // CRC-32Cs: see `beyond()`, before_sum(), and all behind the head
        std::string encode() const;
        static std::optional<Head> decode(std::string_view bytes);
    };
    MboxJournal(const disk::Directory& index, std::string name) : index_(&index), name_(std::move(name)) {}
    Result<void> write(std::string_view bytes);
    uint64_t overlap_end() const { return head_.old_size < new_size() ? head_.old_size : new_size(); }

    const disk::Directory* index_;                       // borrowed
    std::string name_;
    Fd file_;
    int mbox_ = -1;                                      // borrowed
    Head head_;
};

// CRC-32C of bytes [from, to) of a file; nothing from `to` on.
Result<uint32_t> checksum(int fd, uint64_t from, uint64_t to);

}  // namespace veredus::store

// Names of files and directories that were made lately, perhaps by a process that was killed before it made them durable, or whose sync
// failed: a later process finds them there, and must not take their word.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/disk/disk.h"

namespace veredus::store {

// What a name stood for when it was looked at.
struct NameStamp {
    uint64_t device = 0, inode = 0;
    int64_t born_us = 0;           // where the file system does not tell, of the last change
    auto operator<=>(const NameStamp&) const = default;
};

// A directory to be synced before what lies below counts, and the names in it for whose sake.
struct YoungParent {
    std::string directory;
    uint64_t device = 0;           // that it lies on
    std::vector<NameStamp> names;
};

// The directory of `path` when its last part is younger than an hour and not known to be durable. Nothing, too, when there is no such
// name, it cannot be seen, or something is mounted there. For one path; and for all names on the way to it, the deepest first.
std::optional<YoungParent> young_parent(const std::string& path);
std::vector<YoungParent> young_parents(std::string path);
// Syncs the directory, and remembers that its names are durable. One that may not be read or that knows no sync is passed over, or there
// would never be mail below. May be called by several threads.
Result<void> settle(disk::Disk& disk, const YoungParent& parent);
// It was made durable in another way.
void settled(const YoungParent& parent);

}  // namespace veredus::store

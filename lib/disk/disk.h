// The disk seam: the few steps that durable files are made of. PosixDisk is the kernel's; the tests' ForgetfulDisk
// forgets what was not synced (strict POSIX: a name lasts only after its directory's fsync) and tears writes.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace veredus::disk {

// An open directory. Names given to a Disk are single components, never paths.
struct Directory {
    Fd fd;                 // O_DIRECTORY
    std::string path;      // for messages only
};

// What a name refers to; links are not followed.
struct FileInfo {
    uint64_t file = 0;        // the same for two names of one file of this file system
    uint64_t size = 0;
    int64_t changed_us = 0;   // modification time
    uint32_t uid = 0;
    uint32_t links = 0;
    bool regular = false;
};

class Disk {
public:
    virtual ~Disk() = default;
    virtual Result<Directory> open_directory(const Directory* base, const std::string& path) = 0;   // base null: path as is; path may have slashes
    virtual Result<Fd> create(const Directory& dir, const std::string& name, mode_t mode) = 0;      // O_CREAT|O_EXCL|O_RDWR|O_NOFOLLOW; the mode is exact, whatever the umask
    virtual Result<Fd> open_read(const Directory& dir, const std::string& name) = 0;                // O_RDONLY|O_NOFOLLOW|O_NONBLOCK; a regular file or an error
    virtual Result<Fd> open_append(const Directory& dir, const std::string& name, mode_t mode) = 0; // O_CREAT|O_RDWR|O_NOFOLLOW, for logs
    virtual Result<void> write(const Fd& file, std::string_view bytes) = 0;                         // at the end of the file
    virtual Result<void> truncate(const Fd& file, uint64_t size) = 0;
    virtual Result<std::string> read(const Fd& file, uint64_t offset, std::size_t size) = 0;        // shorter at the end of the file
    virtual Result<uint64_t> size(const Fd& file) = 0;
    // Waits until the device was given what the file holds. Promises nothing, but a journalling file system that writes data before the journal
    // speaks of it (ext4 data=ordered, xfs) then keeps no name given later without these bytes. A failure is final for that file, as one of
    // sync() is: the kernel tells it once, and a sync after it would say yes.
    virtual Result<void> write_out(const Fd& file) = 0;
    virtual Result<void> sync(const Fd& file) = 0;                  // fdatasync; a failure is final for that file
    virtual Result<void> sync(const Directory& dir) = 0;            // fsync of the directory
    virtual Result<void> rename(const Directory& from, const std::string& name, const Directory& to, const std::string& new_name) = 0;
    // Never over another file: EEXIST then. Crossing directories, a crash may leave either name, both or none.
    virtual Result<void> rename_new(const Directory& from, const std::string& name, const Directory& to, const std::string& new_name) = 0;
    virtual Result<void> link(const Directory& from, const std::string& name, const Directory& to, const std::string& new_name) = 0;
    virtual Result<void> unlink(const Directory& dir, const std::string& name) = 0;
    virtual Result<std::vector<std::string>> list(const Directory& dir) = 0;                        // without "." and "..", any order
    virtual Result<FileInfo> stat(const Directory& dir, const std::string& name) = 0;
    virtual Result<uint64_t> free_bytes(const Directory& dir) = 0;                                  // for queue_minfree
};

Disk& posix_disk();

}  // namespace veredus::disk

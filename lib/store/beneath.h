// Directories below a mailbox's own: no link and no ".." leads out of it (openat2, RESOLVE_BENEATH).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/disk/disk.h"

namespace veredus::store {

// `path` is relative to `base`. ELOOP or EXDEV: it leads out, or through a link that the kernel does not let us follow.
Result<disk::Directory> open_beneath(const disk::Directory& base, const std::string& path);
// Made (0700) if it is not there, its name durable.
Result<disk::Directory> make_beneath(const disk::Directory& base, const std::string& name);
// The directory of an absolute path, made with all on the way to it (0700, durable) where there is none.
Result<disk::Directory> make_way(const std::string& path);
// `dir`, `name` in `base`, was removed while it was open: it is made and opened anew. An error leaves it as it is.
Result<void> reopen_if_removed(disk::Directory& dir, const disk::Directory& base, const std::string& name);
Result<bool> is_directory(const disk::Directory& base, const std::string& name);    // links are not followed
// It is another's, or leads elsewhere: of a list it is left out, and the rest is told.
bool is_forbidden(const Error& error);
// A file of ours in `dir` is replaced as a whole, durably: text files that others read.
Result<void> replace_file(const disk::Directory& dir, const std::string& name, std::string_view content);
// A regular file's content; nothing: it is not there.
Result<std::optional<std::string>> read_small(const disk::Directory& dir, const std::string& name, std::size_t limit);

// How far apart two changes must be to have two modification times, for sure: file systems of this host are finer than others.
int64_t time_grain_us(int fd);

}  // namespace veredus::store

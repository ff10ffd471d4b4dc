// A file that only grows, by whole lines.
#include "lib/store/taken_numbers.h"

#include "lib/base/text.h"
#include "lib/store/beneath.h"

namespace veredus::store {

namespace {
constexpr std::size_t max_size = 1u << 22;
}

Result<bool> is_taken(const disk::Directory& dir, const std::string& name, uint32_t uidvalidity)
{
    const auto text = TRY(read_small(dir, name, max_size));
    if (!text) return false;
    for (const auto line : split_on(*text, '\n'))
        if (parse_number<uint32_t>(line, UINT32_MAX) == uidvalidity) return true;
    return false;
}

Result<void> note_taken(const disk::Directory& dir, const std::string& name, uint32_t uidvalidity)
{
    if (TRY(is_taken(dir, name, uidvalidity))) return {};
    disk::Disk& disk = disk::posix_disk();
    const Fd file = TRY(disk.open_append(dir, name, 0600));
    // With a line feed before it: what a crash cut short stays a line of its own.
    TRY(disk.write(file, cat('\n', uidvalidity, '\n')));
    TRY(disk.sync(file));
    return disk.sync(dir);
}

}  // namespace veredus::store

// Writing inside a file that has its length already: what is synced then is bytes alone, and a journalling file system has nothing to
// commit beside them. For logs that are made longer now and then, and synced often.
#pragma once

#include "lib/disk/disk.h"

namespace veredus::disk {

// A Disk that can do so is one of these too; dynamic_cast finds out.
class InPlace {
public:
    // Within what the file holds; never past its end. The descriptor is one of create() or open_in_place(): with one of open_append() all
    // that is written goes to the end.
    virtual Result<void> write_at(const Fd& file, uint64_t offset, std::string_view bytes) = 0;
    virtual Result<Fd> open_in_place(const Directory& dir, const std::string& name) = 0;    // O_RDWR|O_NOFOLLOW; it must be there. write() goes to its end

protected:
    ~InPlace() = default;
};

}  // namespace veredus::disk

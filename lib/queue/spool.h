// The spool tree as qmgr sees it (design.md §2): which directory holds which state, and moves that never lose a name.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/disk/pool.h"
#include "lib/queue/file.h"

namespace veredus::queue {

enum class State : uint8_t { incoming, deferred, hold, corrupt };

// incoming/ROLE/new for each writer role, deferred/X, hold, corrupt, log.
inline constexpr const char* writer_roles[] = {"smtpd", "submission", "internal"};

struct Place {
    State state = State::incoming;
    uint8_t writer = 0;               // index into writer_roles when incoming
};

// The directories to make and their owners, modes: `veredus setup` and the unprivileged start share the table.
struct SpoolDirectory {
    const char* path;                 // below queue_directory; "" is the root itself
    const char* user;                 // "root" or a role's user
    const char* group;
    unsigned mode;
};
const std::vector<SpoolDirectory>& spool_directories();

class Spool {
public:
    static Result<std::unique_ptr<Spool>> open(disk::Disk& disk, const std::string& base);
    ~Spool();
    struct Found {
        std::string id;
        Place place;
    };
    // Every mail of every state, in order of ID; a name that is no queue ID is left alone and told to `odd`.
    Result<std::vector<Found>> scan(std::function<void(const std::string& path)> odd);
    Result<std::vector<std::string>> scan_writer(uint8_t writer);
    Result<Fd> open_mail(const std::string& id, Place place);
    // link, sync of the target directory, unlink; many at once share one sync. Blocking: call from a pool thread.
    // The first error stops it; what was linked stays under both names, which scan() heals (deferred wins over incoming).
    Result<void> move(const std::vector<std::string>& ids, Place from, Place to);
    Result<void> remove(const std::string& id, Place place);      // unlink only; no sync (qmgr's log says done)
    disk::Directory& log_directory();
    disk::Disk& disk();

private:
    struct Private;
    explicit Spool(std::unique_ptr<Private> p);
    std::unique_ptr<Private> private_;
};

}  // namespace veredus::queue

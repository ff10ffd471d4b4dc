// The spool tree as qmgr sees it (design.md §2): which directory holds which state, and moves that never lose a name.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/disk/pool.h"
#include "lib/queue/file.h"

namespace veredus::queue {

enum class State : uint8_t { incoming, deferred, hold, corrupt };

// incoming/ROLE/new for each writer role, deferred/X, hold, corrupt, log.
inline constexpr const char* writer_roles[] = {"smtpd", "submission", "internal", "lmtpd"};
inline constexpr std::size_t writer_count = std::size(writer_roles);

struct Place {
    State state = State::incoming;
    uint8_t writer = 0;               // index into writer_roles when incoming
    bool operator==(const Place& other) const { return state == other.state && (state != State::incoming || writer == other.writer); }
};
std::string_view state_name(State state);      // "incoming", …: the text of a `moved` record

// The directories to make and their owners, modes: `veredus setup` and the unprivileged start share the table.
struct SpoolDirectory {
    const char* path;                 // below queue_directory; "" is the root itself
    const char* user;                 // "root" or a role's user
    const char* group;
    unsigned mode;                    // exact, whatever the umask
};
const std::vector<SpoolDirectory>& spool_directories();   // parents first

// Thread-safe: its directories are opened once and each call is a few system calls.
class Spool {
public:
    static Result<std::unique_ptr<Spool>> open(disk::Disk& disk, const std::string& base);
    ~Spool();
    struct Found {
        std::string id;
        Place place;
    };
    // Every mail of every state, in order of ID; a name that is no queue ID is left alone and told to `odd`, and so is a
    // second file that pretends to be a known mail (it goes to corrupt/ID-N). Heals what a crash amid a move left:
    // corrupt wins over hold, hold over deferred, deferred over incoming. Blocking.
    Result<std::vector<Found>> scan(std::function<void(const std::string& path)> odd);
    Result<std::vector<std::string>> scan_writer(uint8_t writer);
    Result<Fd> open_mail(const std::string& id, Place place);
    // link, sync of the target directory, unlink; many at once share one sync per directory. Blocking: call from a pool
    // thread. The first error stops it: what is not in the target for sure stays where it was, and moving it again later
    // is right. Into and out of hold and corrupt the directory that is left is synced too.
    // A mail that cannot go to corrupt/ID because a different file has that name goes to corrupt/ID-N.
    Result<void> move(const std::vector<std::string>& ids, Place from, Place to);
    Result<void> remove(const std::string& id, Place place);      // unlink only; no sync (qmgr's log says done)
    // Syncs every directory: each remove() before is durable, so that a compaction may forget those mails. Blocking.
    // After any directory's sync failed, in any process, it fails until the spool is opened again: what that one lost is
    // not known, so the journal must go on remembering what is done.
    Result<void> settle();
    disk::Directory& log_directory();
    disk::Disk& disk();

private:
    struct Private;
    explicit Spool(std::unique_ptr<Private> p);
    std::unique_ptr<Private> private_;
};

}  // namespace veredus::queue

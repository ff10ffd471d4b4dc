// What the scheduler asks to be done. Each answer comes later, never from inside the call, on the same thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "lib/ipc/agent.h"
#include "lib/ipc/route.h"
#include "lib/mail/dsn.h"
#include "lib/queue/file.h"
#include "lib/queue/journal.h"
#include "lib/queue/spool.h"
#include "qmgr/catalog.h"
#include "qmgr/destination.h"
#include "qmgr/mail.h"

namespace veredus::qmgr {

struct Opened {
    enum class How : uint8_t { open, gone, corrupt, trouble } how = How::trouble;
    Fd file;
    queue::Layout layout;
    mail::Envelope envelope;
    bool body_unchecked = false;   // too large to be read in the loop: see check_body
    std::string why;               // of what is not open
};

// A notification to be written into incoming/internal, under an ID that is in the journal already.
struct Notice {
    enum class Kind : uint8_t { failure, success, delay } kind = Kind::failure;
    std::string id;
    bool to_postmaster = false;    // a double bounce
    std::string to;                // external form
    std::string copy_to;           // the postmaster who wants to see it too (notify_classes); empty: nobody
    bool original_sender = true;   // false: told to the owner of a list, whose mail it became: ENVID and RET were not his
    std::vector<mail::ReportRecipient> recipients;
};

class World {
public:
    virtual ~World() = default;
    virtual Now now() const = 0;
    virtual Opened open(const std::string& id, queue::Place place) = 0;
    // Reads the body for its checksum, on a thread of its own. An error with code 0: the file is corrupt; else the world's.
    virtual void check_body(const Mail& mail, std::function<void(Result<void>)> done) = 0;
    virtual void route(ipc::RouteRequest request, std::function<void(Result<std::vector<ipc::Route>>)> done) = 0;
    virtual bool attempt(Agent agent, const ipc::Attempt& attempt, const Fd& file) = 0;   // false: the agent is away
    virtual void cancel(Agent agent, uint64_t attempt) = 0;
    virtual void commit(std::vector<queue::Record> records, std::function<void(Result<void>)> durable) = 0;
    // After a failed commit: a new journal with all that is true now.
    virtual void rebuild(std::vector<queue::Record> live, std::function<void(Result<void>)> done) = 0;
    virtual void move(std::vector<std::string> ids, queue::Place from, queue::Place to, std::function<void(Result<void>)> done) = 0;
    virtual void remove(std::vector<std::pair<std::string, queue::Place>> mails, std::function<void(Result<void>)> done) = 0;
    virtual Result<std::string> reserve_id() = 0;
    virtual void notify(Notice notice, const Mail& about, std::function<void(Result<void>)> written) = 0;
    virtual void after(int64_t us, std::function<void()> work) = 0;                       // a timer
    virtual void wake() = 0;                                                              // call pump() soon
};

}  // namespace veredus::qmgr

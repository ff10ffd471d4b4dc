// A mail from LMTP on its way into mailboxes: router says where each recipient is, local delivers, and what goes on from there (an
// alias, a .forward, another transport) becomes a mail in the queue.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/disk/pool.h"
#include "lib/ipc/agent.h"
#include "lib/ipc/route.h"
#include "lib/queue/intake.h"
#include "lib/reception/session.h"
#include "lib/smtp/reply.h"

namespace veredus::lmtpd {

class Handover {
public:
    struct Parts {
        queue::Intake& intake;
        disk::Pool* pool;                    // null: work in the caller's thread (tests)
        const Clock& clock;
        std::function<void(ipc::RouteRequest, std::function<void(Result<ipc::RouteReply>)>)> route;
        std::function<Result<void>(const ipc::Attempt&, const Fd& mail)> attempt;    // to local; an Error: it is away
        std::function<void(const std::string& id)> queued;                           // tells qmgr
        std::function<void(uint64_t attempt)> cancel = {};                           // to local: what no process has got yet is to wait
        std::size_t most = 5'000;                                                    // mails at once; each may take two descriptors
    };
    using Replies = std::vector<smtp::Reply>;
    using Done = std::function<void(Replies)>;

    explicit Handover(Parts parts);
    ~Handover();
    Handover(const Handover&) = delete;
    // `done` hears a reply for each recipient of the envelope, in order, once what it promises is on disk. A recipient that is named twice
    // gets one copy and two replies.
    void begin(reception::Handed mail, Done done);
    void local_said(ipc::Verdicts verdicts);
    void local_gone();                       // what it had is answered with 4xx: nobody knows what became of it
    // To be called now and then. Clients do not wait for ever, and bring the whole mail again: who was not served in four minutes hears 4xx,
    // and the others what became of theirs.
    void expire();
    std::size_t in_flight() const { return mails_.size(); }
    void stop(std::function<void()> done);   // when nothing is in flight any more

private:
    struct Mail;
    void ask(uint64_t number);
    void routed(uint64_t number, const std::vector<std::size_t>& asked, const Result<ipc::RouteReply>& answer);
    void seal(uint64_t number);
    void hand_in(uint64_t number, Result<queue::Draft::Sealed> sealed);
    void send(uint64_t number, const std::string& transport, const std::vector<std::size_t>& who);
    void settle(uint64_t number);
    bool is_full();
    void conclude(uint64_t number);
    ipc::Attempt attempt_of(const Mail& mail, const std::string& transport) const;

    struct Attempt {
        uint64_t mail = 0;
        std::set<uint32_t> open;
    };
    Parts parts_;
    uint64_t last_number_ = 0;
    std::map<uint64_t, std::unique_ptr<Mail>> mails_;
    std::map<uint64_t, Attempt> attempts_;
    int64_t warned_us_ = 0;
    std::function<void()> stopped_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);    // shared_ptr: answers that outlive us look at it first
};

// local's word on one recipient as LMTP says it. Expanded: not here.
smtp::Reply reply_of(const ipc::Verdict& verdict, const std::string& address);

}  // namespace veredus::lmtpd

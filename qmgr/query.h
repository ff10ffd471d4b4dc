// Looking through the queue: which mails a filter means, page by page, files read by the pool and never all at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/ipc/queue.h"
#include "qmgr/core.h"

namespace veredus::qmgr {

// "user@example.org" is meant by itself, by "@example.org", by "*ample*" and, for the null sender, by "<>". Case does not matter.
bool address_matches(std::string_view pattern, std::string_view address);

struct Seen {
    ipc::Listed listed;
    uint32_t uid = UINT32_MAX;         // of a local submission
};

// What a listing goes on with: the IDs that come next, put in order when its last share was gathered. One listing at a time.
struct Share {
    std::string filter;                // encoded; those of another one do not count
    std::vector<uint64_t> ids;
    bool more = false;                 // mails beyond these
};

class Query : public std::enable_shared_from_this<Query> {
public:
    // `seen` gets each mail in order of ID and says whether it wants another; then `end`, with true when it was stopped by
    // `seen` and there may be more. `details`: sender and recipients are wanted even where the filter does not need them.
    // `share`: of the listing that this one may go on with, or null.
    static void run(Core& core, ipc::Filter filter, const std::string& after, bool details, std::shared_ptr<Share> share,
                    std::function<bool(Seen&)> seen, std::function<void(bool more)> end);

private:
    struct Candidate {
        uint64_t id = 0;
        queue::Place place;
        uint64_t summary_at = 0;
        bool read = false, summarized = false;
        bool later = false;            // not read: those before it were all that there was room for
        queue::MailFile file;
    };
    Query(Core& core, ipc::Filter filter, bool details, std::shared_ptr<Share> share)
        : core_(core), filter_(std::move(filter)), details_(details), share_(std::move(share))
    {
    }
    void go_on_after(uint64_t id);
    void gather(uint64_t beyond);
    std::shared_ptr<std::vector<Candidate>> next_batch();
    bool needs_files() const;
    bool may_mean(const Entry& entry) const;
    bool means(const Seen& seen) const;
    void next();
    void read(std::shared_ptr<std::vector<Candidate>> batch, int tries);
    void summarize(const std::vector<Candidate>& batch);
    static void read_one(Candidate& candidate, queue::Spool& spool, const Summaries& summaries);
    bool moved(std::vector<Candidate>& batch) const;
    bool take(std::vector<Candidate>& batch);      // false: that was the last one
    void describe(Entry& entry, const Candidate& candidate, Seen& seen) const;

    Core& core_;
    ipc::Filter filter_;
    bool details_;
    std::vector<uint32_t> sites_;
    std::shared_ptr<Share> share_;
    std::size_t at_ = 0;               // in the share
    std::function<bool(Seen&)> seen_;
    std::function<void(bool)> end_;
};

}  // namespace veredus::qmgr

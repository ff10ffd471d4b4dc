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

class Query : public std::enable_shared_from_this<Query> {
public:
    // `seen` gets each mail in order of ID and says whether it wants another; then `end`, with true when it was stopped by
    // `seen` and there may be more. `details`: sender and recipients are wanted even where the filter does not need them.
    static void run(Core& core, ipc::Filter filter, std::string after, bool details, std::function<bool(Seen&)> seen, std::function<void(bool more)> end);

private:
    struct Candidate {
        uint64_t id = 0;
        queue::Place place;
        bool read = false;
        queue::MailFile file;
    };
    Query(Core& core, ipc::Filter filter, bool details) : core_(core), filter_(std::move(filter)), details_(details) {}
    void gather(uint64_t beyond);
    bool may_mean(const Entry& entry) const;
    bool means(const Seen& seen) const;
    void next();
    void read(std::shared_ptr<std::vector<Candidate>> batch, int tries);
    bool moved(std::vector<Candidate>& batch) const;
    void take(std::vector<Candidate>& batch);
    void describe(Entry& entry, const Candidate& candidate, Seen& seen) const;

    Core& core_;
    ipc::Filter filter_;
    bool details_;
    std::vector<uint32_t> sites_;
    std::vector<uint64_t> ids_;
    std::size_t at_ = 0;
    bool more_ = false;                // mails beyond ids_
    std::function<bool(Seen&)> seen_;
    std::function<void(bool)> end_;
};

}  // namespace veredus::qmgr
